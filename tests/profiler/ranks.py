"""Start a module on several ranks of one machine, as torchrun would, and collect what they print."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(**extra: str) -> dict[str, str]:
    """This environment with the checkout importable and one thread a process."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **extra}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_ranks(ranks: int, *command: str, timeout_s: float = 120) -> str:
    """Run `python command...` as `ranks` processes; return what rank 0 printed. Every rank must succeed."""
    ended = end_of_ranks(ranks, *command, timeout_s=timeout_s)
    for process in ended:
        assert process.returncode == 0, process.stderr
    return ended[0].stdout


def end_of_ranks(
    ranks: int, *command: str, timeout_s: float = 120, **variables: str
) -> "list[subprocess.CompletedProcess[str]]":
    """Run `python command...` as `ranks` processes; return how each ended, rank 0 first."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks), **variables}
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment(**shared, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(ranks)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        outputs = [process.communicate(timeout=timeout_s) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]
