"""What an amount is like: electricity, carbon, water and money beside things that a person can picture, computed."""

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from planner.carbon import COUNTRY_SOURCE
from planner.market import amount, rows
from planner.quantities import days, significant
from profiler.units import YEAR_DAYS

HOUSEHOLD_MWH_PER_YEAR = 10.715
"""A US residential customer in 2020: US Energy Information Administration, FAQ 97 (October 2021)."""
HOUSEHOLD_SOURCE = "US Energy Information Administration, FAQ 97: 10,715 kWh per residential customer in 2020"

CAR_T_PER_YEAR = 4.6
CAR_SOURCE = "US Environmental Protection Agency: a typical passenger vehicle emits 4.6 t of CO2 a year"

HOUSEHOLD_M3_PER_YEAR = 300 * 3.785412e-3 * YEAR_DAYS
HOUSEHOLD_WATER_SOURCE = "US Environmental Protection Agency, WaterSense: an American family uses 300 gallons a day"

LIKE = (0.8, 1.25)
"""Ratios between which two amounts are about the same."""

MeasuredIn = Literal["MWh", "tCO2e", "m3"]


@dataclass(frozen=True, kw_only=True)
class CountryUse:
    """A country's electricity generation in one year [MWh], and what it emitted [tCO2e]."""

    iso3: str
    country: str
    generation_mwh: float
    emissions_t: float
    year: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An amount beside one that a person can picture."""

    what: str
    yearly: float
    """What the thing compared with makes, or uses, in a year."""
    unit: MeasuredIn
    year: int | None
    ratio: float
    """The amount over `yearly`."""
    sentence: str
    source: str


@cache
def countries() -> tuple[CountryUse, ...]:
    """What each country generates in a year, least first."""
    made = (
        CountryUse(
            iso3=row["iso3"],
            country=row["country"],
            generation_mwh=float(row["generation_twh"]) * 1e6,
            emissions_t=float(row["generation_twh"]) * 1e6 * float(row["intensity_kg_per_kwh"]),
            year=int(row["year"]),
        )
        for row in rows("grids_country.csv")
    )
    return tuple(sorted((c for c in made if c.generation_mwh > 0), key=lambda c: (c.generation_mwh, c.iso3)))


def as_much_as(energy_mwh: float) -> Comparison:
    """Compare with the country whose yearly generation is nearest in ratio; small amounts with US homes."""
    amount("energy_mwh", energy_mwh)
    if energy_mwh < countries()[0].generation_mwh / 2:
        return _households(energy_mwh, HOUSEHOLD_MWH_PER_YEAR, "MWh", 2020, HOUSEHOLD_SOURCE)
    best = min(countries(), key=lambda c: (abs(math.log(energy_mwh / c.generation_mwh)), c.iso3))
    about = _about(energy_mwh / best.generation_mwh)
    return Comparison(
        what=best.country,
        yearly=best.generation_mwh,
        unit="MWh",
        year=best.year,
        ratio=energy_mwh / best.generation_mwh,
        sentence=f"{about} {in_sentence(best.country)} {generates(best.country)} in a year "
        f"({best.generation_mwh:,.0f} MWh, {best.year})",
        source=COUNTRY_SOURCE,
    )


def emitted_as_much_as(emissions_t: float) -> Comparison:
    """Compare tonnes with the electricity of the country nearest in ratio; small amounts with US cars."""
    amount("emissions_t", emissions_t)
    emitting = [c for c in countries() if c.emissions_t > 0]
    best = min(emitting, key=lambda c: (abs(math.log(max(emissions_t, 1e-9) / c.emissions_t)), c.iso3))
    ratio = emissions_t / best.emissions_t
    if not LIKE[0] <= ratio <= LIKE[1]:
        return _cars(emissions_t)
    return Comparison(
        what=best.country,
        yearly=best.emissions_t,
        unit="tCO2e",
        year=best.year,
        ratio=ratio,
        sentence=f"{_about(ratio)} all electricity of {in_sentence(best.country)} emits in a year "
        f"({significant(best.emissions_t)} t, {best.year})",
        source=COUNTRY_SOURCE,
    )


def water_as_much_as(water_m3: float) -> Comparison:
    """Compare cubic metres with what US homes use."""
    return _households(
        amount("water_m3", water_m3), HOUSEHOLD_M3_PER_YEAR, "m3", None, HOUSEHOLD_WATER_SOURCE, " water"
    )


ISLANDS = " Islands"
ARTICLE = re.compile(rf"United |Bahamas|Comoros|Gambia|Maldives|Netherlands|Philippines|.*(Republic|{ISLANDS}$)")
"""Names of countries that take an article, as their catalogue has them."""


def in_sentence(country: str) -> str:
    """A country within a sentence: `Kiribati`, `the Falkland Islands`."""
    return f"the {country}" if ARTICLE.match(country) else country


def generates(country: str) -> str:
    """The verb to a country; islands are many."""
    return "generate" if country.endswith(ISLANDS) else "generates"


def _about(ratio: float) -> str:
    return "about as much as" if LIKE[0] <= ratio <= LIKE[1] else f"{ratio:.2g} times what"


def _cars(emissions_t: float) -> Comparison:
    cars = emissions_t / CAR_T_PER_YEAR
    return Comparison(
        what="US cars",
        yearly=CAR_T_PER_YEAR,
        unit="tCO2e",
        year=None,
        ratio=cars,
        sentence=f"about as much as {_in_a_year(cars, 'US car', 'emit')} ({CAR_T_PER_YEAR} t a year each)",
        source=CAR_SOURCE,
    )


def _households(
    value: float, each: float, unit: MeasuredIn, year: int | None, source: str, of: str = ""
) -> Comparison:
    homes = value / each
    when = f" in {year}" if year else ""
    return Comparison(
        what="US homes",
        yearly=each,
        unit=unit,
        year=year,
        ratio=homes,
        sentence=f"about as much{of} as {_in_a_year(homes, 'US home', 'use')} ({each:.5g} {unit} a year each{when})",
        source=source,
    )


def _in_a_year(number: float, thing: str, verb: str) -> str:
    """`100 US homes use in a year`; of less than one, the time that one takes: `a US home uses in 27 minutes`."""
    count = f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
    if count == "1":
        return f"1 {thing} {verb}s in a year"
    if 0 < number < 1:
        return f"a {thing} {verb}s in {days(number * YEAR_DAYS)}"
    return f"{count} {thing}s {verb} in a year"
