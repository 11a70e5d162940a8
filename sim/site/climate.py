"""Outside temperature by the hour: a year's and a day's sine for a place, or the hours that a person gives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from profiler.files import InputError, nearest, read_text, read_toml
from profiler.units import Amount
from sim.hardware import CATALOGUE

Array = NDArray[np.float64]

DAY_HOURS, YEAR_HOURS = 24, 8760
COLUMN = "temperature_c"
COLDEST_C, HOTTEST_C = -90.0, 60.0
"""No place on Earth is colder or hotter (WMO's archive of extremes: -89.2 and 56.7 °C)."""


@dataclass(frozen=True, kw_only=True)
class Climate:
    """A place's mean year: temperature = mean + a year's cosine + a day's cosine, in local time.

    Weather (warm spells, cold fronts) is not in it.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    label: str
    mean_c: Annotated[float, Ge(COLDEST_C), Le(HOTTEST_C)]
    annual_amplitude_c: Amount
    """Half of what lies between the warmest and the coldest day."""
    warmest_day: Annotated[float, Ge(0), Le(366)]
    """Day of the year, from 0."""
    daily_amplitude_c: Amount
    """Half of what lies between the warmest and the coolest hour of a day."""
    warmest_hour: Annotated[float, Ge(0), Le(24)]
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    def year_c(self) -> Array:
        """Temperature in the middle of each hour of a year from 1 January [°C], shape (8760,)."""
        hour = np.arange(YEAR_HOURS) + 0.5
        season = 2 * math.pi * (hour - self.warmest_day * DAY_HOURS) / YEAR_HOURS
        day = 2 * math.pi * (hour - self.warmest_hour) / DAY_HOURS
        return self.mean_c + self.annual_amplitude_c * np.cos(season) + self.daily_amplitude_c * np.cos(day)


@dataclass(frozen=True, kw_only=True)
class MeasuredYear:
    """The hours of one year as someone measured them, from 1 January, local standard time."""

    name: str
    label: str
    hours_c: tuple[float, ...]

    def year_c(self) -> Array:
        """Temperature of each hour [°C], shape (8760,)."""
        return np.array(self.hours_c)


def hours_of_year(start: datetime, hours: int) -> NDArray[np.int64]:
    """Index into a year of 8,760 hours for each of `hours` hours from `start`; 29 February repeats the 28th."""
    first = np.datetime64(start.replace(minute=0, second=0, microsecond=0, tzinfo=None), "h")
    times = first + np.arange(hours)
    days = times.astype("datetime64[D]")
    year = days.astype("datetime64[Y]")
    day = (days - year.astype("datetime64[D]")).astype(np.int64)
    years = year.astype(np.int64) + 1970
    leap = (years % 4 == 0) & ((years % 100 != 0) | (years % 400 == 0))
    day = np.where(leap & (day >= 59), day - 1, day)
    found: NDArray[np.int64] = day * DAY_HOURS + (times - days).astype(np.int64)
    return found


def climate_names() -> tuple[str, ...]:
    """What the catalogue holds."""
    return tuple(sorted(path.stem for path in (CATALOGUE / "climate").glob("*.toml")))


@cache
def load_climate(name: str) -> Climate | MeasuredYear:
    """A climate by its catalogue name, a TOML file of the same form, or a CSV file with a year's hours.

    Raises:
        InputError: no such climate, or a file that cannot be used.
    """
    if name.endswith(".toml"):
        return read_toml(Path(name), Climate)
    if name.endswith(".csv"):
        return _read_year(Path(name))
    if name not in climate_names():
        allowed = nearest(name, climate_names())
        raise InputError(f"climate '{name}' is not in the catalogue; {allowed} (or a .toml or .csv file).")
    return read_toml(CATALOGUE / "climate" / f"{name}.toml", Climate)


def _read_year(path: Path) -> MeasuredYear:
    import csv

    reader = csv.DictReader(read_text(path).splitlines())
    columns = [name.strip() for name in reader.fieldnames or ()]
    if COLUMN not in columns:
        raise InputError(f"{path}: no column '{COLUMN}'; its columns are {', '.join(columns) or 'none'}.")
    reader.fieldnames = columns
    hours = [_degrees(path, line, row.get(COLUMN)) for line, row in enumerate(reader, start=2)]
    if len(hours) == YEAR_HOURS + DAY_HOURS:
        del hours[59 * DAY_HOURS : 60 * DAY_HOURS]  # a leap year's 29 February
    if len(hours) != YEAR_HOURS:
        raise InputError(f"{path}: {len(hours)} rows; a year from 1 January has 8760 hours, a leap year 8784.")
    return MeasuredYear(name=path.stem, label=str(path), hours_c=tuple(hours))


def _degrees(path: Path, line: int, text: str | None) -> float:
    try:
        degrees = float(text or "")
    except ValueError:
        degrees = math.nan
    if not COLDEST_C <= degrees <= HOTTEST_C:
        raise InputError(
            f"{path}: line {line}: {COLUMN} is '{text or ''}'; a temperature between {COLDEST_C:g} and "
            f"{HOTTEST_C:g} °C is needed."
        )
    return degrees
