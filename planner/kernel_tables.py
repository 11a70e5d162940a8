"""A profile beside published kernels, on the terminal."""

from collections.abc import Sequence

from rich.table import Table

from planner.kernel_comparison import ComparedRow, by_part
from planner.quantities import counted, percent
from profiler.profile import Profile
from profiler.tables import seconds


def print_comparison(profile: Profile, rows: Sequence[ComparedRow], *, worst: int) -> None:
    """By part, then the rows that are furthest off."""
    from planner.terminal import console

    screen, came = console(), profile.provenance
    screen.print(
        f"{profile.name}: {counted(len(rows), 'row')} of {came.device}, {came.origin} over what herdplan "
        "computes from published kernels and its fitted constants.",
        highlight=False,
    )
    table = Table("part", box=None, pad_edge=False, header_style="bold")
    for heading in ("rows", "median", "p10", "p90"):
        table.add_column(heading, justify="right", no_wrap=True)
    for part in by_part(rows):
        table.add_row(
            part.part, str(part.rows), *(percent(x, signed=True) for x in (part.median, part.low, part.high))
        )
    screen.print(table)
    screen.print("")
    far = Table("furthest off", box=None, pad_edge=False, header_style="bold")
    for heading in (came.origin, "expected", "difference"):
        far.add_column(heading, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda one: -abs(one.difference))[:worst]:
        far.add_row(row.label, seconds(row.measured_s), seconds(row.expected_s), percent(row.difference, signed=True))
    screen.print(far)
