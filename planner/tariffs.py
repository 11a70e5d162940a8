"""Electricity bills: energy by the hour, demand by the calendar month, and fixed charges.

Hours are the site's local clock hours. Energy is what the site meter reads [kWh], demand its highest power in
the month [kW].
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from planner.market import MARKET, amount, rows
from profiler.files import InputError, nearest, read_toml
from profiler.units import Amount

Month = Annotated[int, Ge(1), Le(12)]
Hour = Annotated[int, Ge(0), Le(24)]
US_INDUSTRIAL = "us-industrial"
SATURDAY = 5
HOUR = timedelta(hours=1)
LONGEST_DAYS = 36_525.0
"""A century; a longer load is a mistake."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Hours that cost something else: from `from_hour` until `to_hour`, on some days of some months.

    A window whose `to_hour` is not above its `from_hour` runs through midnight, each hour on its own day.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    label: str
    months: tuple[Month, ...] = tuple(range(1, 13))
    days: Literal["all", "weekdays", "weekends"] = "all"
    from_hour: Hour
    to_hour: Hour
    usd_per_kwh: Amount

    def __post_init__(self) -> None:
        amount("usd_per_kwh", self.usd_per_kwh)

    def holds(self, hour: datetime) -> bool:
        """Whether the hour that begins at `hour` is in the window."""
        if hour.month not in self.months:
            return False
        if self.days != "all" and (self.days == "weekends") != (hour.weekday() >= SATURDAY):
            return False
        if self.from_hour < self.to_hour:
            return self.from_hour <= hour.hour < self.to_hour
        return hour.hour >= self.from_hour or hour.hour < self.to_hour


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """What electricity costs: the first window that holds an hour prices it, else `energy_usd_per_kwh`."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    label: str
    energy_usd_per_kwh: Amount
    windows: tuple[Window, ...] = ()
    demand_usd_per_kw_month: Amount = 0.0
    fixed_usd_per_month: Amount = 0.0
    assumed: bool = False
    """Whether this is an example and not a price that someone pays."""
    source: str
    date: str

    def __post_init__(self) -> None:
        for key in ("energy_usd_per_kwh", "demand_usd_per_kw_month", "fixed_usd_per_month"):
            amount(key, getattr(self, key))

    def usd_per_kwh(self, hour: datetime) -> float:
        """The price of energy in the hour that begins at `hour`."""
        return next((w.usd_per_kwh for w in self.windows if w.holds(hour)), self.energy_usd_per_kwh)


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What the electricity cost [USD], and the energy it bought [kWh]."""

    tariff: str
    energy_kwh: float
    energy_usd: float
    demand_usd: float
    fixed_usd: float
    months: tuple[str, ...]
    """The calendar months it covers, YYYY-MM."""

    @property
    def total_usd(self) -> float:
        """Energy, demand and fixed charges together [USD]."""
        return self.energy_usd + self.demand_usd + self.fixed_usd

    @property
    def average_usd_per_kwh(self) -> float:
        """All charges over all energy; 0 where no energy was used."""
        return self.total_usd / self.energy_kwh if self.energy_kwh else 0.0


def names() -> tuple[str, ...]:
    """The tariffs in the catalogue; `us-industrial` alone is its newest year."""
    files = (path.stem for path in MARKET.glob("*.toml") if path.stem not in ("costs", "priors"))
    years = (f"{US_INDUSTRIAL}-{row['year']}" for row in rows("us_industrial_electricity.csv"))
    return tuple(sorted((*files, US_INDUSTRIAL, *years)))


@cache
def load_tariff(name: str) -> Tariff:
    """A tariff by its catalogue name or a TOML file; raises `InputError` when there is none."""
    if name.endswith(".toml"):
        return read_toml(Path(name), Tariff)
    if name not in names():
        close = nearest(name, names())
        raise InputError(f"tariff '{name}' is not in the catalogue; {close} (or a .toml file).")
    if name.startswith(US_INDUSTRIAL):
        return _us_industrial(name)
    return read_toml(MARKET / f"{name}.toml", Tariff)


def _us_industrial(name: str) -> Tariff:
    """The average that US industry paid in a year: demand and fixed charges are in it already."""
    prices = {row["year"]: float(row["usd_per_kwh"]) for row in rows("us_industrial_electricity.csv")}
    year = name.removeprefix(f"{US_INDUSTRIAL}-") if name != US_INDUSTRIAL else max(prices)
    return Tariff(
        name=f"{US_INDUSTRIAL}-{year}",
        label=f"US industrial average, {year}",
        energy_usd_per_kwh=prices[year],
        source="US Energy Information Administration (public domain), as tabulated by Epoch AI",
        date=year,
    )


def flat_tariff(usd_per_kwh: float, *, source: str = "given by the user") -> Tariff:
    """One price for every hour and nothing else; raises `InputError` for a price that is no finite amount."""
    return Tariff(
        name="flat",
        label=f"{usd_per_kwh:g} USD per kWh",
        energy_usd_per_kwh=amount("usd_per_kwh", usd_per_kwh),
        source=source,
        date="",
    )


def _month(moment: datetime) -> str:
    return f"{moment.year:04d}-{moment.month:02d}"


def _whole_hour(start: datetime) -> datetime:
    if (start.minute, start.second, start.microsecond) != (0, 0, 0):
        raise InputError(f"start is {start.isoformat()}; a whole hour is needed, since prices change on the hour.")
    return start.replace(tzinfo=None)  # the site's clock, whatever zone it keeps


def bill(
    tariff: Tariff,
    start: datetime,
    hourly_kwh: Sequence[float],
    peak_kw_by_month: Mapping[str, float] | None = None,
) -> Bill:
    """Bill a load given hour by hour from `start`.

    Energy: each hour at its price. Demand: the peak of each calendar month touched, from `peak_kw_by_month`
    (YYYY-MM → kW), or where it is silent the month's highest hour. Demand and fixed charges are due in full
    for every month touched, however briefly.

    Raises:
        InputError: a start that is not a whole hour, an energy or peak that is no finite amount, or a peak
            below the month's highest hour.
    """
    hour = _whole_hour(start)
    costs: list[float] = []
    highest: dict[str, float] = {}
    for i, kwh in enumerate(hourly_kwh):
        amount(f"hourly_kwh[{i}]", kwh)
        costs.append(kwh * tariff.usd_per_kwh(hour))
        month = _month(hour)
        highest[month] = max(kwh, highest.get(month, 0.0))
        hour += HOUR
    peaks = _peaks(highest, peak_kw_by_month or {})
    return _billed(tariff, math.fsum(hourly_kwh), math.fsum(costs), peaks)


def _peaks(highest: Mapping[str, float], given: Mapping[str, float]) -> dict[str, float]:
    peaks = dict(highest)
    for month, kw in given.items():
        if month not in highest:
            raise InputError(f"peak_kw_by_month has {month}; the load covers {', '.join(highest) or 'no month'}.")
        if amount(f"peak_kw_by_month[{month}]", kw) < highest[month] * (1 - 1e-9):
            raise InputError(
                f"peak_kw_by_month[{month}] is {kw}; an hour of that month averages {highest[month]:g} kW, "
                "which the peak cannot be below."
            )
        peaks[month] = kw
    return peaks


def _billed(tariff: Tariff, energy_kwh: float, energy_usd: float, peaks: Mapping[str, float]) -> Bill:
    return Bill(
        tariff=tariff.name,
        energy_kwh=energy_kwh,
        energy_usd=energy_usd,
        demand_usd=tariff.demand_usd_per_kw_month * math.fsum(peaks.values()),
        fixed_usd=tariff.fixed_usd_per_month * len(peaks),
        months=tuple(peaks),
    )


def steady_bill(tariff: Tariff, start: datetime, days: float, energy_kwh: float, peak_kw: float) -> Bill:
    """Bill `energy_kwh` spread evenly over `days` from `start`, with the same peak every month.

    The shortcut for a load whose hours are not known; a tariff without windows needs none of them.
    """
    hours = 24 * amount("days", days, most=LONGEST_DAYS)
    if not hours:
        raise InputError("days is 0; more than 0 is needed.")
    energy_kwh = amount("energy_kwh", energy_kwh)
    mean_kw = energy_kwh / hours
    if amount("peak_kw", peak_kw) < mean_kw * (1 - 1e-9):
        raise InputError(f"peak_kw is {peak_kw:g}; {energy_kwh:g} kWh in {days:g} days average {mean_kw:g} kW.")
    start = _whole_hour(start)
    peaks = dict.fromkeys((_month(moment) for moment in _months_of(start, hours)), peak_kw)
    if not tariff.windows:
        return _billed(tariff, energy_kwh, energy_kwh * tariff.energy_usd_per_kwh, peaks)
    whole = int(hours)
    costs = [tariff.usd_per_kwh(start + i * HOUR) for i in range(whole)]
    costs.append((hours - whole) * tariff.usd_per_kwh(start + whole * HOUR))
    return _billed(tariff, energy_kwh, mean_kw * math.fsum(costs), peaks)


def _months_of(start: datetime, hours: float) -> Iterator[datetime]:
    """The start, then the first of every later month that a load of `hours` reaches."""
    end = start + timedelta(hours=hours)
    moment = start
    while moment < end:
        yield moment
        year, month = moment.year + moment.month // 12, moment.month % 12 + 1
        moment = datetime(year, month, 1)
