"""Long work as a person sees it: one live line on stderr with the time left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Tell(Protocol):
    """Takes how many are done and, where it has become known or has changed, of how many."""

    def __call__(self, done: int, of: int | None = None, /) -> None: ...


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Tell]:
    """A live line while work goes on; call what it gives with how many of `total` are done.

    Nothing stays behind, and where stderr is no terminal nothing is written.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("about"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as live:
        task = live.add_task(what, total=total)

        def tell(done: int, of: int | None = None, /) -> None:
            live.update(task, completed=done, total=of or total)

        yield tell
