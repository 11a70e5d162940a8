"""The market catalogue: prices, tariffs and grids as published, each row with its source and date."""

import csv
import math
from functools import cache
from numbers import Real
from pathlib import Path

from profiler.files import InputError, read_text

MARKET = Path(__file__).parent


@cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """The rows of one catalogue table; lines that begin with # hold its source and licence."""
    lines = [line for line in read_text(MARKET / name).splitlines() if line and not line.startswith("#")]
    return tuple(csv.DictReader(lines))


def amount(key: str, value: float, *, most: float = math.inf) -> float:
    """Return `value` if it is a finite number from 0 to `most`; raise `InputError` naming `key` if not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{key} is {value!r}; a number is needed.")
    if not math.isfinite(value) or not 0 <= value <= most:
        allowed = "a finite number of 0 or more" if most == math.inf else f"a number from 0 to {most:g}"
        raise InputError(f"{key} is {value}; {allowed} is needed.")
    return float(value)
