"""Numbers of a plan file: amounts with the units that people write, and what is beyond any plan."""

from datetime import datetime
from functools import partial
from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BeforeValidator

from planner.money.tariffs import HIGHEST_USD_PER_KWH, beyond_price
from planner.quantities import parse_count, quantity_or_none

LONGEST_STANDING_DAYS = 1826.0
"""Five years: a cluster that stands idle for longer has outlived its use (planner.carbon.HARDWARE_LIFETIME_YEARS)."""
FIRST_YEAR, LAST_YEAR = 1970, 2999
"""A first day in another year is a mistake, and leaves the calendar no room for what comes before or after it."""


MOST_SPARE_NODES = 100_000
"""Beyond any: more nodes than there are in the largest cluster."""
MOST_USD_PER_GPU_HOUR, MOST_USD_PER_GPU = 1e4, 1e8
MOST_TB, MOST_PEOPLE = 1e9, 1e5
"""Assumed: a thousand times and more what anybody pays, stores or employs for a cluster; more is a mistake."""


def kwh_price(usd_per_kwh: float) -> float:
    """A price of electricity as it is, if there may be one [USD per kWh].

    Raises:
        ValueError: beyond what any market has seen.
    """
    if usd_per_kwh > HIGHEST_USD_PER_KWH:
        raise ValueError(beyond_price(usd_per_kwh))
    return usd_per_kwh


def share(value: float) -> float:
    """A share as it is, if it is no more than the whole: 40 is probably one in percent.

    Raises:
        ValueError: above 1.
    """
    if value > 1:
        percent = value if 2 <= value <= 100 else 40.0
        raise ValueError(f"at most 1 is possible; write {percent:g} % as '{percent:g} %' or {percent / 100:g}.")
    return value


def start_text(start: str) -> str:
    """A first day as it is written, if it is one.

    Raises:
        ValueError: no date, or one in a year that cannot be meant.
    """
    try:
        year = datetime.fromisoformat(start).year
    except ValueError:
        raise ValueError("a date such as 2026-01-05 is needed.") from None
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"a year from {FIRST_YEAR} to {LAST_YEAR} is needed.")
    return start


Start = Annotated[str, AfterValidator(start_text)]
"""A first day: "2026-01-05", perhaps with a time of day."""

Tokens = Annotated[float, BeforeValidator(parse_count)]
"""A number of tokens: 15.6e12 or "15.6T"."""

Seconds = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="s"))]
Days = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="days"))]
Percent = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="share")), AfterValidator(share)]
Megawatts = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="MW"))]
Watts = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="W"))]
UsdPerKwh = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="USD/kWh")), AfterValidator(kwh_price)]
UsdPerGpuHour = Annotated[
    float, BeforeValidator(partial(quantity_or_none, unit="USD/GPU-hour")), Gt(0), Le(MOST_USD_PER_GPU_HOUR)
]
UsdPerGpu = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="USD/GPU")), Gt(0), Le(MOST_USD_PER_GPU)]
Teraflops = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="TFLOP/s"))]
"""Numbers, or numbers with a unit that people write: "10 min", "0.08 USD/kWh", "90 %"."""

SpareNodes = Annotated[int, Ge(0), Le(MOST_SPARE_NODES)]
Terabytes = Annotated[float, Ge(0), Le(MOST_TB)]
People = Annotated[float, Ge(0), Le(MOST_PEOPLE)]

StandingDays = Annotated[Days, Ge(0), Le(LONGEST_STANDING_DAYS)]
"""Days without a step."""
