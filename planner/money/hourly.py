"""A year of hourly values from a person's CSV file: prices, grid intensities."""

import csv
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from profiler.files import InputError, read_text
from sim.site.climate import DAY_HOURS, YEAR_HOURS

TIME = "time"
LEAP_DAY = slice(59 * DAY_HOURS, 60 * DAY_HOURS)


def read_year(path: Path, columns: Mapping[str, float], *, least: float, most: float) -> tuple[float, ...]:
    """The 8,760 hours of a year from 1 January, local standard time; of a leap year 29 February is left out.

    Args:
        path: CSV with a header line; one row an hour, in order. A column `time` (ISO 8601), where there is one, is
            checked to begin with a year and to go on hour by hour.
        columns: which columns may hold the values, with the factor that turns each into the unit wanted.
        least, most: what is possible, in the unit wanted.

    Raises:
        InputError: no such column, a cell that is no number or is impossible, an hour that is missing, or no whole
            year.
    """
    reader = csv.DictReader(read_text(path).splitlines())
    names = [name.strip() for name in reader.fieldnames or ()]
    found = next((name for name in columns if name in names), None)
    if found is None:
        wanted = " or ".join(f"'{name}'" for name in columns)
        raise InputError(f"{path}: no column {wanted}; its columns are {', '.join(names) or 'none'}.")
    reader.fieldnames = names
    values: list[float] = []
    expected: datetime | None = None
    for line, row in enumerate(reader, start=2):
        if TIME in names:
            expected = _next_hour(path, line, row[TIME], expected)
        values.append(_value(path, line, found, row[found], columns[found], least, most))
    if len(values) == YEAR_HOURS + DAY_HOURS:
        del values[LEAP_DAY]
    if len(values) != YEAR_HOURS:
        raise InputError(f"{path}: {len(values)} rows; a year from 1 January has 8760 hours, a leap year 8784.")
    return tuple(values)


def _value(path: Path, line: int, column: str, text: str | None, factor: float, least: float, most: float) -> float:
    try:
        value = float(text or "") * factor
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise InputError(
            f"{path}: line {line}: {column} is '{text or ''}'; a number from {least / factor:g} to {most / factor:g} "
            "is needed."
        )
    return value


def _next_hour(path: Path, line: int, text: str | None, expected: datetime | None) -> datetime:
    """The hour after that of this line, which is refused where it is not the one expected."""
    try:
        hour = datetime.fromisoformat((text or "").strip()).replace(tzinfo=None)
    except ValueError:
        raise InputError(
            f"{path}: line {line}: time is '{text or ''}'; one like 2025-01-01T00:00 is needed."
        ) from None
    if expected is None and (hour.month, hour.day, hour.hour, hour.minute) != (1, 1, 0, 0):
        raise InputError(f"{path}: line {line}: time is {hour}; the first row must be midnight of 1 January.")
    if expected is not None and hour != expected:
        raise InputError(f"{path}: line {line}: time is {hour}, where {expected} should follow; one row an hour.")
    return hour + timedelta(hours=1)
