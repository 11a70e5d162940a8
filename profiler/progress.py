"""Runs as a person sees them: one live line with the time left, one line for every row, and how to go on."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from profiler.files import write_atomic
from profiler.measure import DeviceLost
from profiler.options import Options, SelfCheckOptions
from profiler.profile import CollectiveRow, LayerRow, read_profile
from profiler.rollcall import RankLost
from profiler.session import Listener, run
from profiler.tables import collective_line, collective_table, print_selfcheck, row_line
from profiler.tables import console as terminal
from profiler.training import check_self
from profiler.world import World, open_world

_GO_ON = "Go on with the same command and --resume."


def run_with_progress(options: Options, out: Path, *, resume: bool) -> int:
    """Run on whatever device there is; return the exit code: 0, 130 after Ctrl-C, 1 where the run cannot go on."""
    console = terminal()
    left: int | None = None
    with open_world(options.device) as world:
        request = options.request(world.device.type, world.ranks)
        try:
            with _listener(console, world, options.budget_s, out) as tell:
                left = run(request, world, out, options.budget_s, resume=resume, tell=tell)
        except KeyboardInterrupt:
            pass
        except (RankLost, DeviceLost) as error:
            if world.leads:
                _say_lost(console, out, str(error))
            _leave()
        if world.leads:
            _say_end(console, out, left)
    return 0 if left is not None else 130


def selfcheck_with_progress(options: SelfCheckOptions, json_to: str) -> None:
    """Check the sum of the parts against the whole; print it, and write JSON to a file or ("-") the terminal."""
    screen = Console(stderr=True)
    with open_world(options.device) as world, screen.status("preparing") as status:
        trial = options.trial(world.device.type)
        found = check_self(
            trial,
            world,
            options.window_s,
            tell=lambda label: status.update(f"measuring {label}"),
            show=lambda row: screen.print(row_line(row)),  # what was measured is on the screen if the rest fails
        )
    if json_to == "-":
        print(found.to_json())
        return
    print_selfcheck(found)
    if json_to:
        write_atomic(Path(json_to), found.to_json() + "\n")


def _leave() -> None:
    """End this process at once: what it would wait for on the way out (other ranks, a dead GPU) never comes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


@contextlib.contextmanager
def _listener(console: Console, world: World, budget_s: float, out: Path) -> Iterator[Listener]:
    if not world.leads:
        yield Listener(on_lost=lambda _: _leave())
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("about {task.fields[left]} left"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("preparing", total=None, left=_minutes(budget_s))
        yield _Telling(console, progress, task, out).listener()


class _Telling:
    def __init__(self, console: Console, progress: Progress, task: TaskID, out: Path) -> None:
        self._console = console
        self._progress = progress
        self._task = task
        self._out = out

    def listener(self) -> Listener:
        return Listener(on_plan=self.plan, on_point=self.point, on_row=self.row, on_lost=self.lost)

    def plan(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def point(self, label: str, remaining_s: float) -> None:
        self._progress.update(self._task, description=label, left=_minutes(remaining_s))

    def row(self, row: LayerRow | CollectiveRow) -> None:
        if isinstance(row, CollectiveRow):
            self._console.print(collective_line(row))
            return
        self._console.print(row_line(row))
        self._progress.advance(self._task)

    def lost(self, reason: str) -> None:
        self._progress.stop()
        _say_lost(self._console, self._out, reason)
        _leave()


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def _say_end(console: Console, out: Path, left: int | None) -> None:
    """Say what is in the file and how to go on; `left` points are unmeasured, None after Ctrl-C."""
    if not out.exists():
        console.print("Stopped before anything was measured; no file was written.")
        return
    profile = read_profile(out)
    rows = f"{len(profile.layers)} rows, {len(profile.collectives)} collectives in {out}"
    if left is None:
        rows = f"Stopped; kept {rows}. {_GO_ON}"
    elif left:
        rows += f"; the budget ended before {left} more. {_GO_ON}"
    else:
        rows += "."
    if profile.collectives:
        console.print(collective_table(profile.collectives))
    _say(console, f"{rows}\nSee them: herdplan-profile show {out}")


def _say_lost(console: Console, out: Path, reason: str) -> None:
    """Say why no more can be measured now, and that what was measured is kept."""
    _say(console, f"Stopped: {reason}\nWhat was measured is in {out}. {_GO_ON}")


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)
