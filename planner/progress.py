"""Long work as a person sees it: one live line on stderr with the time left."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text


class Tell(Protocol):
    """Takes how many are done and, where it has become known or has changed, of how many."""

    def __call__(self, done: int, of: int | None = None, /) -> None: ...


class Counted(ProgressColumn):
    """How many are done, and of how many once that is known."""

    def render(self, task: Task) -> Text:
        """`3/12`."""
        total = "" if task.total is None else f"/{task.total:.0f}"
        return Text(f"{task.completed:.0f}{total}", style="progress.download")


class Left(ProgressColumn):
    """The time left; nothing as long as there is nothing to tell it from."""

    def render(self, task: Task) -> Text:
        """`about 0:01:23 left`."""
        if task.total is None or task.time_remaining is None:
            return Text("")
        left = timedelta(seconds=round(task.time_remaining))
        return Text.assemble("about ", (str(left), "progress.remaining"), " left")


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Tell]:
    """A live line while work goes on; call what it gives with how many of `total` are done.

    Nothing stays behind, and where stderr is no terminal nothing is written.
    """
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), Counted(), Left())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as live:
        task = live.add_task(what, total=total)

        def tell(done: int, of: int | None = None, /) -> None:
            live.update(task, completed=done, total=of or total)

        yield tell
