"""A run as a person sees it: one live line with the time left, one line for every row, and how to go on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from profiler.files import InputError
from profiler.options import Options
from profiler.profile import CollectiveRow, LayerRow, read_profile
from profiler.session import Listener, run
from profiler.tables import collective_line, row_line
from profiler.tables import console as terminal
from profiler.world import World, open_world


def run_with_progress(options: Options, out: Path, *, resume: bool) -> bool:
    """Run on whatever device there is; return whether it ended by itself rather than by Ctrl-C."""
    console = terminal()
    left: int | None = None
    with open_world(options.device) as world:
        request = options.request(world.device.type, world.ranks)
        try:
            with _listener(console, world, options.budget_s) as tell:
                left = run(request, world, out, options.budget_s, resume=resume, tell=tell)
        except KeyboardInterrupt:
            pass
        if world.leads:
            _say_end(console, out, left)
    return left is not None


@contextlib.contextmanager
def _listener(console: Console, world: World, budget_s: float) -> Iterator[Listener]:
    if not world.leads:
        yield Listener()
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
        yield _Telling(console, progress, task).listener()


class _Telling:
    def __init__(self, console: Console, progress: Progress, task: TaskID) -> None:
        self._console = console
        self._progress = progress
        self._task = task

    def listener(self) -> Listener:
        return Listener(on_plan=self.plan, on_point=self.point, on_row=self.row)

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


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def _say_end(console: Console, out: Path, left: int | None) -> None:
    """Say what is in the file and how to go on; `left` points are unmeasured, None after Ctrl-C."""
    try:
        profile = read_profile(out)
    except InputError:
        console.print("Stopped before anything was measured; no file was written.")
        return
    rows = f"{len(profile.layers)} rows, {len(profile.collectives)} collectives in {out}"
    if left is None:
        rows = f"Stopped; kept {rows}. Go on with the same command and --resume."
    elif left:
        rows += f"; the budget ended before {left} more: go on with the same command and --resume."
    else:
        rows += "."
    console.print(f"{rows}\nSee them: herdplan-profile show {out}", soft_wrap=True, markup=False, highlight=False)
