"""Numbers as people write them, in and out: `15.6T`, `30.8 M GPU-hours`, `$74 M`, `27 GWh`."""

import math
import re

from profiler.units import DAY_S, MONTH_DAYS
from profiler.units import significant as significant

UNITS: dict[str, dict[str, float]] = {
    "s": {"s": 1.0, "min": 60.0, "h": 3600.0, "hours": 3600.0, "d": 86_400.0, "days": 86_400.0},
    "days": {"days": 1.0, "day": 1.0, "d": 1.0, "h": 1 / 24, "weeks": 7.0, "months": MONTH_DAYS},
    "W": {"W": 1.0, "kW": 1e3, "MW": 1e6, "GW": 1e9},
    "MW": {"MW": 1.0, "W": 1e-6, "kW": 1e-3, "GW": 1e3},
    "USD": {"USD": 1.0, "": 1.0},
    "USD/kWh": {"USD/kWh": 1.0, "USD/MWh": 1e-3, "ct/kWh": 0.01},
    "USD/GPU-hour": {"USD/GPU-hour": 1.0, "USD/h": 1.0, "USD": 1.0},
    "USD/GPU": {"USD/GPU": 1.0, "USD": 1.0},
    "t": {"t": 1.0, "tCO2e": 1.0, "kt": 1e3, "kg": 1e-3},
    "share": {"%": 0.01, "": 1.0},
    "TFLOP/s": {"TFLOP/s": 1.0, "PFLOP/s": 1e3, "GFLOP/s": 1e-3},
}
"""Units that people write, by the unit that is kept; the factor turns one into the other."""

EXAMPLES = {
    "s": "10 min",
    "days": "14 days",
    "W": "30 MW",
    "MW": "30 MW",
    "USD": "100M USD",
    "USD/kWh": "0.08 USD/kWh",
    "USD/GPU-hour": "2.50 USD/GPU-hour",
    "USD/GPU": "35k USD/GPU",
    "t": "5000 t",
    "share": "90 %",
    "TFLOP/s": "400 TFLOP/s",
}

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
        text = _without_commas(match[1]) if match else ""
        try:
            number = float(text) * SCALES[match[2]] if match else math.nan
        except ValueError:
            number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise ValueError("a positive number such as 15.6T, 800B or 252M is needed.")
    return number


THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?([eE][-+]?\d+)?")


def _without_commas(text: str) -> str:
    """`1,024` as `1024`; raises `ValueError` where a comma is meant otherwise, such as for decimals."""
    if "," in text and not THOUSANDS.fullmatch(text):
        raise ValueError(f"commas part thousands only; for decimals write {text.replace(',', '.')}.")
    return text.replace(",", "").replace("_", "")


def parse_quantity(value: object, unit: str) -> float:
    """Read `30 MW`, `0.08 USD/kWh`, `$100M` or `10 min` as a number of `unit` (a key of `UNITS`); a number is one.

    Raises:
        ValueError: not a number, or another unit.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) > 1e300:  # a whole number may be too long for a float
            return math.inf if value > 0 else -math.inf
        return float(value)
    wanted = f"a number with its unit, such as '{EXAMPLES[unit]}', is needed."
    match = re.fullmatch(r"\s*(\$?)\s*([-+]?[0-9][0-9_,.]*(?:[eE][-+]?[0-9]+)?)\s*(.*?)\s*", str(value))
    if not isinstance(value, str) or not match:
        raise ValueError(wanted)
    named = match[3].replace("$", "USD")
    if match[1] and "USD" not in named:
        scale = named[:1] if named[:1] in SCALES else ""
        named = f"{scale} USD{named.removeprefix(scale)}".strip()
    factor = _factor(named, UNITS[unit])
    if factor is None:
        allowed = ", ".join(name for name in UNITS[unit] if name)
        raise ValueError(f"{wanted[:-1]} (units: {allowed}).")
    text = _without_commas(match[2])
    try:
        return float(text) * factor
    except ValueError:
        raise ValueError(wanted) from None


def _factor(named: str, known: dict[str, float]) -> float | None:
    """The factor of a unit, or of one behind a k, M, B or T."""
    if named in known:
        return known[named]
    rest = named[1:].strip()
    return SCALES[named[0]] * known[rest] if named[:1] in SCALES and named and rest in known else None


def quantity_or_none(value: object, unit: str) -> float | None:
    """`parse_quantity`, where nothing said stays nothing."""
    return None if value is None else parse_quantity(value, unit)


def quantity_text(value: float, unit: str) -> str | float:
    """A number as people write it, with its unit, where reading it gives the same number; else the number."""
    text = f"{value * 100:.10g} %" if unit == "share" else f"{value:.10g} {unit}"
    return text if parse_quantity(text, unit) == value else value


def human(value: float, unit: str = "", *, digits: int = 3, like: float | None = None) -> str:
    """`30_840_000, "GPU-hours"` → `30.8 M GPU-hours`; three significant digits unless told.

    `like` is a number beside it, in whose scale it is written.
    """
    size = abs(value if like is None else like)
    scale = next((s for s in NAMES if size >= s * (1 if s > 1e3 else 10)), 1.0)
    number = significant(value / scale, digits)
    return " ".join(part for part in (number, NAMES.get(scale, ""), unit) if part)


def whole(value: float) -> str:
    """A number without decimals from ten on, with two significant digits below."""
    return f"{value:,.0f}" if abs(value) >= 10 else significant(value, 2)


DAY_UNITS = ((1.0, "days"), (1 / 24, "hours"), (1 / 1440, "minutes"), (1 / DAY_S, "seconds"))
"""Units in which a length of time is written, the longest first: what each is in days, and its name."""


def day_unit(value: float) -> tuple[float, str]:
    """The longest unit of which so many days hold one: what it is in days, and its name."""
    return next((unit for unit in DAY_UNITS if value >= unit[0]), DAY_UNITS[-1])


def days(value: float) -> str:
    """`78.6` → `79 days`; below one day in hours, minutes or seconds."""
    length, unit = day_unit(value)
    number = whole(value / length)
    return f"1 {unit.removesuffix('s')}" if number == "1.0" else f"{number} {unit}"


def counted(number: int, thing: str) -> str:
    """`1 pause`, `1,200 pauses`, `16 micro-batches`."""
    return f"{number:,} {thing}{'' if number == 1 else 'es' if thing.endswith('ch') else 's'}"


def money(usd: float, *, digits: int = 3, like: float | None = None) -> str:
    """`74_200_000` → `$74.2 M`, `-9_310` → `−$9,310`; with `like=1e6`, `840_000` → `$0.840 M`."""
    return f"{'−' if usd < 0 else ''}${human(abs(usd), digits=digits, like=like if usd else None)}"


def dollars(usd: float) -> str:
    """`74_212_345` → `74,200,000`, `40.6` → `41`: of a column in USD, so whole ones."""
    return f"{'−' if usd < 0 else ''}{float(f'{abs(usd):.3g}'):,.0f}"


def money_unit(most_usd: float) -> tuple[float, str]:
    """The unit of an axis that reaches `most_usd`: what it is in USD, and its name."""
    names = {1e9: "billion USD", 1e6: "million USD", 1e3: "thousand USD"}
    return next(((usd, name) for usd, name in names.items() if most_usd >= usd), (1.0, "USD"))


def energy_unit(most_mwh: float) -> tuple[float, str]:
    """The unit in which so much energy is written: what it is in MWh, and its name."""
    if abs(most_mwh) >= 1000:
        return 1000.0, "GWh"
    return (1.0, "MWh") if abs(most_mwh) >= 1 else (1e-3, "kWh")


def energy(mwh: float, *, digits: int = 3, like: float | None = None) -> str:
    """MWh as kWh, MWh or GWh; with `like` in the unit in which that is written."""
    scale, unit = energy_unit(mwh if like is None else like)
    return f"{significant(mwh / scale, digits)} {unit}"


def power_unit(most_mw: float) -> tuple[float, str]:
    """The unit in which so much power is written: what it is in MW, and its name."""
    return (1.0, "MW") if abs(most_mw) >= 1 else (1e-3, "kW")


def power(mw: float, *, digits: int = 3) -> str:
    """MW as kW or MW."""
    scale, unit = power_unit(mw)
    return f"{significant(mw / scale, digits)} {unit}"


def percent(share: float, digits: int = 1, *, signed: bool = False) -> str:
    """`0.3987` → `39.9 %`; with `signed`, `0.02` → `+2.0 %`."""
    return f"{signed_number(share * 100, f'.{digits}f') if signed else f'{share * 100:.{digits}f}'} %"


def signed_number(value: float, form: str) -> str:
    """`-2.04, ".1f"` → `−2.0`, with a minus as wide as the plus."""
    return f"{'−' if value < 0 else '+'}{abs(value):{form}}"
