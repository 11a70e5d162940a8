"""Numbers of a plan file: amounts with the units that people write, and what is beyond any plan."""

from datetime import datetime
from functools import partial
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator

from planner.quantities import parse_count, quantity_or_none

LONGEST_STANDING_DAYS = 1826.0
"""Five years: a cluster that stands idle for longer has outlived its use (planner.carbon.HARDWARE_LIFETIME_YEARS)."""
FIRST_YEAR, LAST_YEAR = 1970, 2999
"""A first day in another year is a mistake, and leaves the calendar no room for what comes before or after it."""


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
Percent = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="share"))]
Megawatts = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="MW"))]
Watts = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="W"))]
UsdPerKwh = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="USD/kWh"))]
UsdPerGpuHour = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="USD/GPU-hour"))]
UsdPerGpu = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="USD/GPU"))]
Teraflops = Annotated[float, BeforeValidator(partial(quantity_or_none, unit="TFLOP/s"))]
"""Numbers, or numbers with a unit that people write: "10 min", "0.08 USD/kWh", "90 %"."""

StandingDays = Annotated[Days, Ge(0), Le(LONGEST_STANDING_DAYS)]
"""Days without a step."""
