"""Published prices and their spread: what the catalogue's rows say about one GPU."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from planner.market import MARKET, amount, rows
from profiler.files import InputError, read_toml
from profiler.units import Share

Array = NDArray[np.float64]
Value = float | Array
"""One number, or one for each sample."""

WINDOW_MONTHS = 24
"""Published prices older than this, counted from the newest of their kind, are not used."""

FEW = 3
"""Fewer prices than this say too little about the spread."""

PRIOR_FACTORS = (0.5, 1.0, 2.0)
"""The spread of a price known from few quotes: the 90 % interval of arXiv:2405.21015 is half to twice."""


@dataclass(frozen=True, kw_only=True)
class PriceRange:
    """A number with its spread: 10th percentile or stated low, expected, 90th percentile or stated high."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    low: float
    expected: float
    high: float
    unit: str
    source: str
    date: str

    def __post_init__(self) -> None:
        for key in ("low", "expected", "high"):
            amount(key, getattr(self, key))
        if not self.low <= self.expected <= self.high:
            raise InputError(
                f"low, expected and high are {self.low}, {self.expected}, {self.high}; they must not fall."
            )

    @property
    def levels(self) -> tuple[float, float, float]:
        """Low, expected and high."""
        return self.low, self.expected, self.high

    @property
    def cited(self) -> str:
        """The source with its date."""
        return f"{self.source}, {self.date}" if self.date else self.source


@dataclass(frozen=True)
class Level:
    """How prices are read: each at its low (0), as expected (1) or at its high (2); some as drawn instead."""

    at: int = 1
    drawn: Mapping[PriceRange, Array] = field(default_factory=dict)
    """Many values at once for some of the prices."""

    def __call__(self, price: PriceRange) -> Value:
        """The price, or every drawn value of it."""
        return self.drawn[price] if price in self.drawn else price.levels[self.at]

    @property
    def middle(self) -> "Level":
        """The same with what is not drawn as expected."""
        return Level(1, self.drawn)


def given_price(key: str, value: float, unit: str) -> PriceRange:
    """A price the user states, without spread; `InputError` naming `key` if it is no finite amount."""
    usd = amount(key, value)
    return PriceRange(low=usd, expected=usd, high=usd, unit=unit, source="given by the user", date="")


@dataclass(frozen=True, kw_only=True)
class CommitmentDiscounts:
    """What clouds take off the on-demand price for a commitment, as shares."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    source: str
    date: str
    one_year: tuple[Share, ...]
    three_years: tuple[Share, ...]


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """The GPU whose prices another one without any is given, and why."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    gpu: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """planner/market/costs.toml: what a cluster costs beside its servers."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    server_overhead: PriceRange
    interconnect_share: PriceRange
    value_loss: PriceRange
    financing: PriceRange
    colocation: PriceRange
    building: PriceRange
    storage_purchase: PriceRange
    object_storage: PriceRange
    egress: PriceRange
    operator: PriceRange
    water_use: PriceRange
    staff_share: PriceRange
    commitment_discounts: CommitmentDiscounts
    stand_ins: Mapping[str, StandIn]


@cache
def assumptions() -> Assumptions:
    """The catalogue's cost assumptions."""
    return read_toml(MARKET / "costs.toml", Assumptions)


@dataclass(frozen=True, kw_only=True)
class Quote:
    """One published price of one GPU, as found [USD per GPU-hour, or USD per GPU to buy]."""

    date: str
    gpu: str
    vendor: str
    region: str
    kind: str
    """on-demand, 1-year, 3-year, spot or purchase"""
    usd: float
    scope: str
    """Of a purchase: server, board or gpu."""
    source: str


def _quote(row: dict[str, str]) -> Quote:
    texts = {key: text for key, text in row.items() if key != "usd"}
    return Quote(usd=amount(f"usd of {row['gpu']} at {row['date']}", float(row["usd"])), **texts)


@cache
def quotes() -> tuple[Quote, ...]:
    """Every published price in the catalogue, oldest first."""
    made = [_quote(row) for row in rows("gpu_prices.csv")]
    return tuple(sorted(made, key=lambda quote: (quote.date, quote.gpu, quote.vendor)))


def _months(day: str) -> int:
    year, month = day.split("-")[:2]
    return 12 * int(year) + int(month)


def recent(gpu: str, kind: str, *, vendor: str = "") -> tuple[Quote, ...]:
    """Quotes of a kind no older than `WINDOW_MONTHS` before the newest, oldest first.

    Rents: the newest of each vendor. Purchases: all.
    """
    found = [q for q in quotes() if q.gpu == gpu and q.kind == kind and vendor in ("", q.vendor)]
    if not found:
        return ()
    newest = _months(found[-1].date)
    found = [q for q in found if newest - _months(q.date) <= WINDOW_MONTHS]
    return tuple(found) if kind == "purchase" else tuple({q.vendor: q for q in found}.values())


def vendors(gpu: str, kind: str) -> tuple[str, ...]:
    """Whose prices of a kind are in the catalogue."""
    return tuple(sorted({q.vendor for q in quotes() if q.gpu == gpu and q.kind == kind}))


def _quantile(values: list[float], share: float) -> float:
    """Linear between order statistics (Hyndman and Fan 1996, type 7)."""
    position = share * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(values) - 1)
    return values[below] + (position - below) * (values[above] - values[below])


def spread(found: tuple[Quote, ...], unit: str, *, scale: float = 1.0, exact: bool = False) -> PriceRange:
    """10th percentile, median and 90th percentile of some quotes, times `scale`.

    Fewer than `FEW` quotes take `PRIOR_FACTORS` around their median; an `exact` offer has no spread.
    """
    usd = sorted(q.usd * scale for q in found)
    low, expected, high = (_quantile(usd, share) for share in (0.1, 0.5, 0.9))
    if len(usd) < FEW:
        low, high = expected * PRIOR_FACTORS[0], expected * PRIOR_FACTORS[2]
    if exact:
        low = high = expected
    who = ", ".join(sorted({q.vendor for q in found} - {""})) or f"{len(found)} published"
    origin = "; ".join(sorted({q.source.split(";")[0].split(",")[0].split(":")[0] for q in found}))
    dates = sorted({min(q.date for q in found), max(q.date for q in found)})
    return PriceRange(
        low=low,
        expected=expected,
        high=high,
        unit=unit,
        source=f"{origin} ({who})",
        date=" to ".join(dates),
    )


def how_spread(found: tuple[Quote, ...], of: str) -> str:
    """Say how `spread` made its three numbers."""
    if len(found) < FEW:
        return f"{of}, {len(found)} known: half to twice the median (arXiv:2405.21015)"
    return f"{of}, {len(found)} known: 10th percentile, median and 90th percentile"
