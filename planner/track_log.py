"""The log of a run in progress: a CSV of time and tokens or steps, and power where it is known."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planner.runs.cells import Cells
from profiler.files import InputError, read_text
from profiler.units import DAY_S, HOUR_S

TIMES = {"time": 0.0, "time_s": 1.0, "time_h": HOUR_S, "time_days": DAY_S}
"""Columns of time: a date and time (ISO 8601), or a number of seconds, hours or days."""
PROGRESS = ("tokens", "step", "steps")
POWERS = {"power_w": 1.0, "power_kw": 1e3, "power_mw": 1e6}
"""Columns of the site's power, and their watts."""

LARGEST = 1e18
"""Beyond any count of a run: tens of thousands of times the tokens of Llama 3.1 405B (15.6e12, arXiv:2407.21783)."""
MOST_BAD_SHARE = 0.1
"""A log with a larger share of rows that cannot be read is refused."""


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """Samples of a run in order of time."""

    times_s: NDArray[np.float64]
    """Since the first row."""
    progress: NDArray[np.float64]
    """Tokens, or optimizer steps; falls where a restart went back to a checkpoint."""
    in_steps: bool
    power_w: NDArray[np.float64]
    """At the site's meter; NaN where it is not stated."""
    start: datetime | None
    """Of the first row, where times are dates."""
    notes: tuple[str, ...]


def read_log(path: Path) -> RunLog:
    """Read a log; rows that cannot be read, or are out of order, are set right or left out, and said.

    Raises:
        InputError: no such file, no column of time or progress, fewer than two rows, or too many that are bad.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")]
    reader = csv.DictReader(io.StringIO("\n".join(lines)), skipinitialspace=True)
    columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    time, done = _column(columns, tuple(TIMES), path, "time"), _column(columns, PROGRESS, path, "progress")
    power = next((name for name in POWERS if name in columns), "")
    rows, bad, total = [], [], 0
    for number, row in enumerate(reader, start=1):
        total += 1
        try:
            rows.append(_row(row, time, done, power))
        except InputError as error:
            bad.append(f"row {number}: {error}")
    if total - len(bad) < 2:
        raise InputError(f"{path}: two rows or more are needed{f'; {bad[0]}' if bad else '.'}")
    if len(bad) > MOST_BAD_SHARE * total:
        raise InputError(f"{path}: {len(bad)} of {total} rows cannot be read; {bad[0]}")
    notes = [f"{len(bad)} of {total} rows could not be read; {bad[0].rstrip('.')}"] if bad else []
    return _ordered(rows, in_steps=done != "tokens", dated=time == "time", notes=notes)


def _column(columns: list[str], known: tuple[str, ...], path: Path, what: str) -> str:
    found = next((name for name in known if name in columns), None)
    if found is None:
        raise InputError(f"{path}: no column of {what} ({', '.join(known)}); it has {', '.join(columns) or 'none'}.")
    return found


def _row(row: Mapping[str, str | None], time: str, done: str, power: str) -> tuple[float, float, float]:
    """Seconds, progress and watts of one row."""
    texts = {name: (value or "").strip() for name, value in row.items() if name and isinstance(value, str)}
    cells = Cells(texts, most=LARGEST)
    at_s = _moment(cells.text(time)) if time == "time" else _number(cells, time) * TIMES[time]
    progress = _number(cells, done)
    if progress < 0:
        raise InputError(f"column '{done}' is {progress:g}; 0 or more is needed.")
    watts = cells.number(power) if power else None
    return at_s, progress, float("nan") if watts is None else watts * POWERS[power]


def _number(cells: Cells, column: str) -> float:
    value = cells.number(column)
    if value is None:
        raise InputError(f"column '{column}' is empty; a number is needed.")
    return value


def _moment(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 time; without a zone it is taken as UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"column 'time' is '{text[:40]}'; a time such as 2026-01-05T13:00:00 is needed (or time_s, time_h)."
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _ordered(rows: list[tuple[float, float, float]], *, in_steps: bool, dated: bool, notes: list[str]) -> RunLog:
    """In order of time, the last of rows with the same time kept."""
    times = [row[0] for row in rows]
    if times != sorted(times):
        notes.append("rows were not in order of time and have been sorted")
    by_time = {row[0]: row for row in sorted(rows, key=lambda row: row[0])}  # sorted is stable: the last stays
    if len(by_time) < len(rows):
        notes.append(f"{len(rows) - len(by_time)} rows repeated a time; the last one of each counts")
    if len(by_time) < 2:
        raise InputError("the log holds one moment only; two or more are needed.")
    table = np.array(list(by_time.values()))
    return RunLog(
        times_s=table[:, 0] - table[0, 0],
        progress=table[:, 1],
        in_steps=in_steps,
        power_w=table[:, 2],
        start=datetime.fromtimestamp(table[0, 0], UTC).replace(tzinfo=None) if dated else None,
        notes=tuple(notes),
    )
