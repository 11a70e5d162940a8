"""What every command shares: one sentence for bad input, JSON output, plan files with overrides."""

import os
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.refusal import PlanError
from profiler.files import InputError, write_atomic

if TYPE_CHECKING:
    from planner.plan import Plan
    from planner.plan_file import PlanRequest

JsonOption = Annotated[
    str, typer.Option("--json", metavar="FILE|-", help="Write JSON to a file, or - for the screen.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override any key, such as cluster.gpus=8192."),
]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@contextmanager
def sentences(file: Path | None = None) -> Iterator[None]:
    """Turn bad input into one sentence on stderr and exit code 2, Ctrl-C into one and 130.

    What is refused of a plan names `file`, from which it was read.
    """
    try:
        with naming(file):
            yield
    except InputError as error:
        text = str(error).removesuffix(".")
        typer.echo(f"herdplan: {text}{'' if text.endswith('?') else '.'}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("herdplan: stopped before the end; no file is half written.", err=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def naming(file: Path | None) -> Iterator[None]:
    """Put the file's name before what is refused of its plan."""
    try:
        yield
    except InputError as error:
        if file is None or not isinstance(error, PlanError):
            raise
        raise InputError(f"{file}: {error}") from None


def write_json(target: str, data: object) -> None:
    """JSON to a file or, for `-`, to the screen. Same data, same bytes."""
    import json

    text = json.dumps(data, indent=2, allow_nan=False, default=float) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        write_atomic(Path(target), text)


def check_figure(path: Path | None) -> None:
    """Refuse a figure in another format than the one that is drawn, before any work is done.

    Raises:
        InputError: names the file.
    """
    if path and path.suffix != ".svg":
        raise InputError(f"--figure is {path}; only .svg can be drawn.")


def overrides(named: dict[str, object], settings: list[str]) -> list[tuple[str, object]]:
    given = [(key, value) for key, value in named.items() if value not in (None, "")]
    return [*given, *(parse_override(text) for text in settings)]


def requests(files: list[Path], overrides: list[tuple[str, object]]) -> "list[PlanRequest]":
    from planner.plan_file import plan_request, read_plan_request

    if files:
        return [read_plan_request(path, overrides) for path in files]
    if "model" not in dict(overrides):
        raise InputError(
            "nothing to plan: give a plan file, such as examples/llama3.1-405b.toml, or --model and --tokens."
        )
    return [plan_request({}, overrides, source="command line")]


def make_plans(files: list[Path], overrides: list[tuple[str, object]]) -> "list[Plan]":
    """The plan of each file, all of them read before the first is made; those named alike are told apart by file."""
    from planner.plan import make_plan

    plans = []
    for file, request in zip(files or (None,), requests(files, overrides), strict=True):
        with naming(file):
            plans.append(make_plan(request))
    alike = Counter(plan.name for plan in plans)
    return [
        replace(plan, name=f"{plan.name} ({file})") if alike[plan.name] > 1 else plan
        for file, plan in zip(files or (None,), plans, strict=True)
    ]


def parse_override(text: str) -> tuple[str, object]:
    """`cluster.gpus=8192` → ("cluster.gpus", 8192); the value is read as TOML, else as text.

    Raises:
        InputError: there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"'{text}' is not KEY=VALUE, such as cluster.gpus=8192.")
    try:
        parsed: object = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    return key.strip(), parsed


def become(command: list[str]) -> int:
    """Run a program of our own in the place of this process, so that a signal reaches it; beside it, until it ends,
    where a system has no way to. Its exit status."""
    import subprocess

    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)  # noqa: S606 - our own command
    return subprocess.call(command)  # noqa: S603 - our own command
