"""Electricity bills: energy by the hour, demand by the calendar month, and fixed charges.

Hours are the site's local clock hours. Energy is what the site meter reads [kWh], demand its highest hour in the
month [kW].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from planner.market import MARKET, amount, rows
from planner.money.hourly import read_year
from planner.quantities import parse_quantity
from profiler.files import InputError, nearest, read_toml
from profiler.units import MONTH_DAYS, Amount
from sim.site.climate import YEAR_HOURS, hours_of_year
from sim.site.conditions import Hour, Month, PowerWindow

Times = NDArray[np.datetime64]
Array = NDArray[np.float64]

US_INDUSTRIAL = "us-industrial"
PLACES = "electricity_places.csv"
CSV_COLUMNS = {"usd_per_kwh": 1.0, "usd_per_mwh": 1e-3}
LOWEST_USD_PER_KWH, HIGHEST_USD_PER_KWH = -1.0, 10.0
"""No wholesale market has gone beyond: caps of -500 EUR/MWh (Europe) and 9,000 USD/MWh (Texas, until 2021)."""
HIGHEST_USD_PER_KW_MONTH, HIGHEST_USD_PER_MONTH = 1_000.0, 1e9
"""Far beyond any demand charge (tens of USD) and any fixed one."""

UsdPerKwh = Annotated[Amount, BeforeValidator(partial(parse_quantity, unit="USD/kWh"))]
"""A price of electricity: 0.045, or "45 USD/MWh"."""


def price(key: str, usd_per_kwh: float) -> float:
    """A price of electricity, if it is one that may be paid all year or in a window [USD per kWh].

    Raises:
        InputError: below 0, or beyond what any market has seen.
    """
    if amount(key, usd_per_kwh) > HIGHEST_USD_PER_KWH:
        raise InputError(f"{key} is {usd_per_kwh:g}; {beyond_price(usd_per_kwh)}")
    return usd_per_kwh


def beyond_price(usd_per_kwh: float) -> str:
    """What is said of a price that is too high: it is probably one of a MWh."""
    return (
        f"at most {HIGHEST_USD_PER_KWH:g} USD per kWh is possible. If {usd_per_kwh:g} USD per MWh are meant, "
        f"that is {usd_per_kwh / 1000:g} USD per kWh."
    )


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
    usd_per_kwh: UsdPerKwh

    def __post_init__(self) -> None:
        price("usd_per_kwh", self.usd_per_kwh)

    def holds(self, times: Times) -> NDArray[np.bool_]:
        """Whether the hours that begin at `times` (datetime64[h]) are in the window."""
        calendar = PowerWindow(
            allowed_w=0.0, from_hour=self.from_hour, to_hour=self.to_hour, months=self.months, days=self.days
        )
        return calendar.holds(times)


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """What electricity costs: a year's hours where there are any; else the first window that holds an hour prices it,
    else `energy_usd_per_kwh`."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    label: str
    energy_usd_per_kwh: UsdPerKwh
    windows: tuple[Window, ...] = ()
    hourly_usd_per_kwh: tuple[float, ...] = ()
    """Of each hour of a year from 1 January, local standard time; may be negative. Any year's hours are priced so."""
    demand_usd_per_kw_month: Amount = 0.0
    fixed_usd_per_month: Amount = 0.0
    assumed: bool = False
    """Whether this is an example and not a price that someone pays."""
    source: str
    date: str

    def __post_init__(self) -> None:
        price("energy_usd_per_kwh", self.energy_usd_per_kwh)
        amount("demand_usd_per_kw_month", self.demand_usd_per_kw_month, most=HIGHEST_USD_PER_KW_MONTH)
        amount("fixed_usd_per_month", self.fixed_usd_per_month, most=HIGHEST_USD_PER_MONTH)
        if self.hourly_usd_per_kwh and len(self.hourly_usd_per_kwh) != YEAR_HOURS:
            raise InputError(
                f"hourly_usd_per_kwh has {len(self.hourly_usd_per_kwh)} values; a year has {YEAR_HOURS}."
            )

    @property
    def flat(self) -> bool:
        """Whether every hour costs the same."""
        return not self.windows and not self.hourly_usd_per_kwh

    @cached_property
    def mean_usd_per_kwh(self) -> float:
        """Energy alone, over the hours of a year that begins on a Monday."""
        return float(self.usd_per_kwh(datetime(2035, 1, 1), YEAR_HOURS).mean())

    def usd_per_kwh(self, start: datetime, hours: int) -> Array:
        """The price of energy in each of `hours` hours from `start`, shape (hours,)."""
        if self.hourly_usd_per_kwh:
            return np.array(self.hourly_usd_per_kwh)[hours_of_year(start, hours)]
        times = np.datetime64(start, "h") + np.arange(hours)
        prices = np.full(hours, self.energy_usd_per_kwh)
        for window in reversed(self.windows):
            prices[window.holds(times)] = window.usd_per_kwh
        return prices


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What the electricity cost [USD], and the energy it bought [kWh]."""

    tariff: str
    energy_kwh: float
    energy_usd: float
    demand_usd: float
    fixed_usd: float
    usd_by_month: Mapping[str, float]
    """All charges by calendar month, YYYY-MM; they add up to the total."""

    @property
    def months(self) -> tuple[str, ...]:
        """The calendar months it covers, YYYY-MM."""
        return tuple(self.usd_by_month)

    @property
    def total_usd(self) -> float:
        """Energy, demand and fixed charges together [USD]."""
        return self.energy_usd + self.demand_usd + self.fixed_usd

    def beside(self, other: "Bill") -> "Bill":
        """Both bills as one, each with what the other does not have."""
        months = sorted({*self.usd_by_month, *other.usd_by_month})
        return Bill(
            tariff=self.tariff,
            energy_kwh=self.energy_kwh + other.energy_kwh,
            energy_usd=self.energy_usd + other.energy_usd,
            demand_usd=self.demand_usd + other.demand_usd,
            fixed_usd=self.fixed_usd + other.fixed_usd,
            usd_by_month={m: self.usd_by_month.get(m, 0.0) + other.usd_by_month.get(m, 0.0) for m in months},
        )

    def steady_usd_per_day(self, days: float) -> float:
        """A day of the same load through the years [USD], the bill being for `days` of it.

        The charges of a month are due in full for each month that the bill touches, however briefly: they are spread
        over a whole one.
        """
        by_month_usd = (self.demand_usd + self.fixed_usd) / len(self.months)
        return self.energy_usd / days + by_month_usd / MONTH_DAYS

    @property
    def average_usd_per_kwh(self) -> float:
        """All charges over all energy; 0 where no energy was used."""
        return self.total_usd / self.energy_kwh if self.energy_kwh else 0.0


@cache
def names() -> tuple[str, ...]:
    """The tariffs in the catalogue; `us-industrial` alone is its newest year."""
    files = (path.stem for path in MARKET.glob("*.toml") if path.stem not in ("costs", "priors"))
    years = (f"{US_INDUSTRIAL}-{row['year']}" for row in rows("us_industrial_electricity.csv"))
    places = (row["name"] for row in rows(PLACES))
    return tuple(sorted((*files, US_INDUSTRIAL, *years, *places)))


def load_tariff(name: str) -> Tariff:
    """A tariff by its catalogue name, a TOML file, or a CSV file with a year's hourly prices.

    Raises:
        InputError: no such tariff, or a file that cannot be used.
    """
    if name.endswith(".toml"):
        return read_toml(Path(name), Tariff)
    if name.endswith(".csv"):
        return _hourly(Path(name))
    if name not in names():
        close = nearest(name, names())
        raise InputError(f"tariff '{name}' is not in the catalogue; {close} (or a .toml or .csv file).")
    return _of_catalogue(name)


@cache
def _of_catalogue(name: str) -> Tariff:
    if name.startswith(US_INDUSTRIAL):
        return _us_industrial(name)
    place = next((row for row in rows(PLACES) if row["name"] == name), None)
    return read_toml(MARKET / f"{name}.toml", Tariff) if place is None else _industry_of(place)


def _hourly(path: Path) -> Tariff:
    """The hours of a person's CSV file; no other charges."""
    hours = read_year(path, CSV_COLUMNS, least=LOWEST_USD_PER_KWH, most=HIGHEST_USD_PER_KWH)
    return Tariff(
        name=path.stem,
        label=f"hourly prices of {path.name}",
        energy_usd_per_kwh=max(math.fsum(hours) / len(hours), 0.0),
        hourly_usd_per_kwh=hours,
        source=f"given by the user, {path}",
        date="",
    )


def _industry_of(place: Mapping[str, str]) -> Tariff:
    """What industry pays on average in a country or state: demand and fixed charges are in it already."""
    return Tariff(
        name=place["name"],
        label=f"industrial average of {place['label']}, {place['date']}",
        energy_usd_per_kwh=float(place["usd_per_kwh"]),
        source=place["source"],
        date=place["date"],
    )


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


def flat_tariff(usd_per_kwh: float) -> Tariff:
    """One price for every hour and nothing else; raises `InputError` for a price that is no finite amount."""
    return Tariff(
        name="flat",
        label=f"{usd_per_kwh:g} USD per kWh",
        energy_usd_per_kwh=price("usd_per_kwh", usd_per_kwh),
        source="given by the user",
        date="",
    )


def whole_hour(start: datetime) -> datetime:
    """A moment on the site's clock, without its zone.

    Raises:
        InputError: not a whole hour.
    """
    if (start.minute, start.second, start.microsecond) != (0, 0, 0):
        raise InputError(f"start is {start.isoformat()}; a whole hour is needed, since prices change on the hour.")
    return start.replace(tzinfo=None)  # the site's clock, whatever zone it keeps


def bill(tariff: Tariff, start: datetime, hourly_kwh: Sequence[float] | Array) -> Bill:
    """Bill a load given hour by hour from `start`.

    Energy: each hour at its price. Demand: the highest hour of each calendar month touched. Demand and fixed charges
    are due in full for every month touched, however briefly.

    Raises:
        InputError: a start that is not a whole hour, or an energy that is no finite amount.
    """
    start = whole_hour(start)
    kwh = _amounts(hourly_kwh)
    usd = kwh * tariff.usd_per_kwh(start, len(kwh))
    month_of = (np.datetime64(start, "h") + np.arange(len(kwh))).astype("datetime64[M]")
    peak_kw: dict[str, float] = {}
    energy_usd: dict[str, float] = {}
    for month in np.unique(month_of):
        within = month_of == month
        peak_kw[str(month)], energy_usd[str(month)] = float(kwh[within].max()), math.fsum(usd[within])
    demand_usd = {month: tariff.demand_usd_per_kw_month * kw for month, kw in peak_kw.items()}
    fixed_usd = tariff.fixed_usd_per_month
    return Bill(
        tariff=tariff.name,
        energy_kwh=math.fsum(kwh),
        energy_usd=math.fsum(energy_usd.values()),
        demand_usd=math.fsum(demand_usd.values()),
        fixed_usd=fixed_usd * len(peak_kw),
        usd_by_month={month: energy_usd[month] + demand_usd[month] + fixed_usd for month in peak_kw},
    )


def _amounts(hourly_kwh: Sequence[float] | Array) -> Array:
    """The hours of a load; the first that is no amount is refused by its number."""
    kwh = np.asarray(hourly_kwh, dtype=np.float64)
    for i in np.flatnonzero(~(np.isfinite(kwh) & (kwh >= 0)))[:1].tolist():
        amount(f"hourly_kwh[{i}]", float(kwh[i]))
    return kwh
