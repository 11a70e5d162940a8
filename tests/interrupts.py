"""Programs that Ctrl-C is sent to, for tests: they hear it wherever they were started, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]

HEARING = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""A program ignores Ctrl-C if whoever started it did, as nohup and a shell's & do."""


@contextmanager
def hearing(program: str, *words: str, env: Mapping[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A Python program in a session of its own, all of whose processes are ended afterwards: a test that fails would
    leave its workers running."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEARING + program, *words],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def interrupted(program: str, *words: str, timeout_s: float) -> tuple[int, str, str]:
    """Run a program that interrupts itself: its exit code, and what it wrote to stdout and stderr."""
    with hearing(program, *words) as process:
        out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err
