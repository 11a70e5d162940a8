"""Constrained number types shared by every room, the few unit constants, and numbers as people read them.

The constraints are read at the door by pydantic (see `profiler.files`); inside, the dataclasses that carry
them are plain and frozen.
"""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Le

Count = Annotated[int, Gt(0)]
"""A whole number of things, at least one."""

Amount = Annotated[float, Ge(0)]
"""A finite quantity that cannot be negative."""

Positive = Annotated[float, Gt(0)]
"""A finite quantity above zero."""

Share = Annotated[float, Ge(0), Le(1)]
"""A fraction of a whole, 0 to 1."""

GIB = 2**30
TERA = 1e12
GIGA = 1e9
HOUR_S = 3600.0
DAY_S = 86_400.0
YEAR_DAYS = 365.25
MONTH_DAYS = YEAR_DAYS / 12
"""Mean length of a month, 30.44 days."""
JOULES_PER_MWH = 3.6e9
JOULES_PER_KWH = 3.6e6


def significant(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, without an exponent, thousands separated."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    return f"{rounded:,.{max(places, 0)}f}"


def duration(seconds: float) -> str:
    """`5400` → `1.50 h`; days from two on."""
    for length_s, unit in ((DAY_S, "days"), (HOUR_S, "h"), (60.0, "min")):
        if seconds >= (2 * length_s if unit == "days" else length_s):
            return f"{significant(seconds / length_s)} {unit}"
    return f"{significant(seconds)} s"
