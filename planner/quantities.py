"""Numbers as people write them, in and out: `15.6T`, `30.8 M GPU-hours`, `$74 M`, `27 GWh`."""

import math
import re

SCALES = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
NAMES = {1e12: "T", 1e9: "B", 1e6: "M", 1e3: "k"}


def parse_count(value: object) -> float:
    """Read `15.6T`, `16M tokens`, `2048` or a number.

    Raises:
        ValueError: not a number with one of the suffixes k, M, B (or G) and T.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a number such as 15.6T is needed.")
    if isinstance(value, int | float):
        number = float(value) if abs(value) < 1e300 else math.inf
    else:
        match = re.fullmatch(r"\s*([-+0-9_.,eE]+?)\s*([kMBGT]?)\s*(?:tokens?)?\s*", value)
        try:
            number = float(match[1].replace(",", "").replace("_", "")) * SCALES[match[2]] if match else math.nan
        except ValueError:
            number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise ValueError("a positive number such as 15.6T, 800B or 252M is needed.")
    return number


def human(value: float, unit: str = "", *, digits: int = 3) -> str:
    """`30_840_000, "GPU-hours"` → `30.8 M GPU-hours`; three significant digits unless told."""
    size = abs(value)
    scale = next((s for s in NAMES if size >= s * (1 if s > 1e3 else 10)), 1.0)
    number = significant(value / scale, digits)
    return " ".join(part for part in (number, NAMES.get(scale, ""), unit) if part)


def money(usd: float, *, digits: int = 3) -> str:
    """`74_200_000` → `$74.2 M`."""
    return f"${human(usd, digits=digits)}"


def energy(mwh: float, *, digits: int = 3) -> str:
    """MWh as kWh, MWh or GWh."""
    if abs(mwh) >= 1000:
        return f"{significant(mwh / 1000, digits)} GWh"
    return f"{significant(mwh, digits)} MWh" if abs(mwh) >= 1 else f"{significant(mwh * 1000, digits)} kWh"


def significant(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, without an exponent, thousands separated."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    return f"{rounded:,.{max(places, 0)}f}"
