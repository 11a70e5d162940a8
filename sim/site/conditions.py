"""A site through time: outside temperature, what it does to PUE and to clocks, and how much power is allowed."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from profiler.files import InputError
from profiler.units import Amount
from sim.site.climate import DAY_HOURS, Climate, MeasuredYear, hours_of_year

Array = NDArray[np.float64]

PUE_SQUARE, PUE_SLOPE, PUE_BASE = 7.1705e-5, 0.0041, 0.0743
PUE_COLDEST_C = -3.9
"""Cooling overhead of a production air-side economizer by outside temperature T: pPUE = 7.1705e-5 T² + 0.0041 T +
1.0743, fitted between -3.9 °C (1.05) and 35 °C (1.30). Xu, Feng and Li, "Temperature aware workload management in
geo-distributed datacenters", USENIX ICAC 2013. Colder air saves nothing more."""

DAILY_SWING = 0.015
"""Throughput between the coolest and the hottest hour of a day: 1 to 2 % (arXiv:2407.21783 section 3.3.4)."""
DAILY_RANGE_C = 10.0
"""Outside temperature between those hours. Assumed: the paper does not say; the catalogue's places have 5 to 11 K."""

Month = Annotated[int, Ge(1), Le(12)]
Hour = Annotated[int, Ge(0), Le(24)]
SATURDAY = 5


@dataclass(frozen=True, kw_only=True)
class PowerWindow:
    """Hours in which the site may draw no more than so much: a curtailment, a demand response, a standing cap.

    From `from_hour` until `to_hour` of local time, through midnight where that is not above it, on some days of some
    months, from a first to a last date.

    Raises:
        InputError: a date that is none, or a last before the first.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    label: str = "power window"
    allowed_w: Amount
    """At the site's meter. What cannot run below it is slowed, else paused, else switched off."""
    from_hour: Hour = 0
    to_hour: Hour = 24
    months: tuple[Month, ...] = tuple(range(1, 13))
    days: Literal["all", "weekdays", "weekends"] = "all"
    first_date: str = "0001-01-01"
    last_date: str = "9999-12-31"

    def __post_init__(self) -> None:
        for key in ("first_date", "last_date"):
            try:
                date.fromisoformat(getattr(self, key))
            except ValueError:
                raise InputError(f"{key} is '{getattr(self, key)}'; a date such as 2026-07-14 is needed.") from None
        if self.last_date < self.first_date:
            raise InputError(f"last_date is {self.last_date}, before first_date {self.first_date}.")

    def holds(self, times: NDArray[np.datetime64]) -> NDArray[np.bool_]:
        """Whether the hours that begin at `times` (datetime64[h]) are in the window."""
        days = times.astype("datetime64[D]")
        hour = (times - days).astype(np.int64)
        month = times.astype("datetime64[M]").astype(np.int64) % 12 + 1
        weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        found: NDArray[np.bool_] = (hour >= self.from_hour) & (hour < self.to_hour)
        if self.from_hour >= self.to_hour:
            found = (hour >= self.from_hour) | (hour < self.to_hour)
        found &= np.isin(month, self.months)
        if self.days != "all":
            found &= (weekday >= SATURDAY) == (self.days == "weekends")
        return found & (days >= np.datetime64(self.first_date)) & (days <= np.datetime64(self.last_date))


@dataclass(frozen=True, kw_only=True)
class SiteConditions:
    """What changes with the hour at a site."""

    start: datetime
    """The campaign's first moment, local time."""
    climate: Climate | MeasuredYear | None = None
    """`None` for the same PUE and the same clocks at every hour."""
    windows: tuple[PowerWindow, ...] = ()
    daily_swing: float = DAILY_SWING

    def hours(self, hours: int, pue: float) -> "Hours":
        """The first `hours` hours, at a site whose mean PUE over a year is `pue`."""
        first = np.datetime64(self.start.replace(minute=0, second=0, microsecond=0, tzinfo=None), "h")
        times = first + np.arange(hours)
        allowed_w = np.full(hours, np.inf)
        for window in self.windows:
            allowed_w = np.where(window.holds(times), np.minimum(allowed_w, window.allowed_w), allowed_w)
        if self.climate is None:
            return Hours(pue=np.full(hours, pue), speed=np.ones(hours), allowed_w=allowed_w)
        year_c = self.climate.year_c()
        index = hours_of_year(self.start, hours)
        return Hours(
            pue=pue_by_temperature(year_c, pue)[index],
            speed=speed_by_temperature(year_c, self.daily_swing)[index],
            allowed_w=allowed_w,
        )


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Hour by hour from the start; arrays of one shape."""

    pue: Array
    speed: Array
    """Throughput over its mean."""
    allowed_w: Array
    """At the meter; infinite where nothing is said."""


def pue_by_temperature(year_c: Array, mean_pue: float) -> Array:
    """PUE at each of a year's temperatures [°C], so that the year's mean is `mean_pue`.

    The overhead follows the economizer's curve (see `PUE_SQUARE`) and is scaled to the site's own mean.
    """
    warm = np.maximum(year_c, PUE_COLDEST_C)
    overhead = PUE_SQUARE * warm**2 + PUE_SLOPE * warm + PUE_BASE
    found: Array = 1 + (mean_pue - 1) * overhead / overhead.mean()
    return found


def speed_by_temperature(year_c: Array, daily_swing: float = DAILY_SWING) -> Array:
    """Throughput over its mean at each hour of a year's temperatures [°C]: hot hours are slower than their day.

    Only the day's swing is published, so a season's changes nothing.
    """
    by_day = year_c.reshape(-1, DAY_HOURS)
    found: Array = (1 - daily_swing * (by_day - by_day.mean(axis=1, keepdims=True)) / DAILY_RANGE_C).ravel()
    return found
