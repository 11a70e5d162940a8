"""Constrained number types shared by every room, and the few unit constants.

The constraints are read at the door by pydantic (see `profiler.files`); inside, the dataclasses that carry
them are plain and frozen.
"""

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
MONTH_DAYS = 365.25 / 12
"""Mean length of a month, 30.44 days."""
JOULES_PER_MWH = 3.6e9
JOULES_PER_KWH = 3.6e6
