"""Money: the lines that a cost is made of, and renting from published prices with their spread.

Rent includes electricity; nothing here adds it again.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from planner.market.prices import Level, Quote, Value, assumptions, given_price, how_spread, recent, spread, vendors
from planner.market.prices import PriceRange as PriceRange
from planner.quantities import human, percent
from profiler.files import InputError, nearest
from profiler.units import MONTH_DAYS, YEAR_DAYS
from sim.hardware import Gpu, load_gpu

Commitment = Literal["on-demand", "1-year", "3-year", "spot"]
Paid = Literal["evenly", "as billed", "at the end", "after the run", "out of what comes back"]

HOURS_PER_YEAR = 24 * YEAR_DAYS
TERM_YEARS = {"1-year": 1, "3-year": 3}


@dataclass(frozen=True, kw_only=True)
class Rental:
    """The rent of one GPU for one hour, server, cooling and electricity included."""

    gpu: str
    commitment: Commitment
    price_usd_per_gpu_hour: PriceRange
    how: str
    quotes: tuple[Quote, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One item of a cost [USD], how it was computed and from what."""

    name: str
    low: float
    expected: float
    high: float
    how: str
    source: str
    bought_usd: float = 0.0
    """Paid on the first day; what of it is not in the cost comes back on the last, as value kept."""
    paid: Paid = "evenly"
    """When what is not bought is paid: day by day, with the electricity bills, on the last day, day by day through
    what is left of a term, or by less coming back on the last day."""

    def to_dict(self) -> dict[str, object]:
        """The line as scripts read it."""
        return {
            "name": self.name,
            "low_usd": self.low,
            "expected_usd": self.expected,
            "high_usd": self.high,
            "bought_usd": self.bought_usd,
            "how": self.how,
            "source": self.source,
        }


@dataclass(frozen=True, kw_only=True)
class CostBreakdown:
    """Items of a cost [USD]; the totals are their sums."""

    lines: tuple[CostLine, ...]

    @property
    def low(self) -> float:
        """Every item at its low [USD]."""
        return math.fsum(line.low for line in self.lines)

    @property
    def expected(self) -> float:
        """Every item as expected [USD]."""
        return math.fsum(line.expected for line in self.lines)

    @property
    def high(self) -> float:
        """Every item at its high [USD]."""
        return math.fsum(line.high for line in self.lines)


LEVELS = (Level(0), Level(1), Level(2))
"""Low, expected and high."""


@dataclass(frozen=True, kw_only=True)
class CostItem:
    """One item of a cost before its prices are read: arithmetic, with the words put off.

    The days, the bill and the prices may be many values at once, one for each sample; a line needs one of each.
    """

    name: str
    usd: Callable[[Level], Value]
    how: Callable[[], str]
    ranges: tuple[PriceRange, ...] = ()
    source: str = ""
    """Where no range of prices says it."""
    bought: Callable[[Level], Value] | None = None
    paid: Paid = "evenly"

    def line(self) -> CostLine:
        """The item at its three levels, in words."""
        low, expected, high = (float(self.usd(level)) for level in LEVELS)
        return CostLine(
            name=self.name,
            low=low,
            expected=expected,
            high=high,
            how=self.how(),
            source=self.source or "; ".join(r.cited for r in self.ranges),
            bought_usd=0.0 if self.bought is None else float(self.bought(Level())),
            paid=self.paid,
        )


Items = tuple[CostItem, ...]


def broken_down(items: Iterable[CostItem]) -> CostBreakdown:
    """The items as lines."""
    return CostBreakdown(lines=tuple(item.line() for item in items))


def total_usd(items: Iterable[CostItem], level: Level) -> Value:
    """All items together, prices read so [USD]."""
    return sum((item.usd(level) for item in items), 0.0)


def known_commitment(name: str) -> Commitment:
    """A commitment by its name; raises `InputError` for another, with the nearest."""
    if name not in get_args(Commitment):
        raise InputError(f"commitment '{name}' is not known; {nearest(name, get_args(Commitment))}.")
    return name  # type: ignore[return-value]


def known_gpu(gpu: Gpu | str) -> Gpu:
    """The part itself, which need not be in the catalogue; raises `InputError` for a name that is not."""
    return load_gpu(gpu) if isinstance(gpu, str) else gpu


def priced_as(gpu: Gpu) -> tuple[str, str]:
    """The name whose prices are used, and why if it is another GPU's."""
    stand_in = assumptions().stand_ins.get(gpu.name)
    return (stand_in.gpu, f"; {stand_in.why}") if stand_in else (gpu.name, "")


def load_rental(gpu: Gpu | str, commitment: str = "on-demand", *, vendor: str = "") -> Rental:
    """The rent of `gpu` from published prices.

    On demand and spot: 10th percentile, median and 90th percentile over vendors, each with its newest price.
    One and three years: the same on-demand prices less the mean published discount, or the published
    commitment prices where no on-demand price is known. A `vendor` asks for its own price only.

    Raises:
        InputError: an unknown GPU or commitment, or no published price.
    """
    kind = known_commitment(commitment)
    part = known_gpu(gpu)
    name, note = priced_as(part)
    scale, how = 1.0, f"{commitment} prices"
    found: tuple[Quote, ...] = ()
    if kind in TERM_YEARS and not vendor:
        found = recent(name, "on-demand")
        scale, how = _discounted(kind) if found else (scale, how)
    found = found or recent(name, kind, vendor=vendor)
    if not found:
        raise InputError(_no_rent(part, commitment, vendor, vendors(name, kind)))
    price = spread(found, "USD per GPU-hour", scale=scale, exact=bool(vendor))
    how = f"{vendor}'s own price" if vendor else how_spread(found, how)
    return Rental(gpu=part.name, commitment=kind, price_usd_per_gpu_hour=price, how=how + note, quotes=found)


def _no_rent(gpu: Gpu, commitment: str, vendor: str, known: tuple[str, ...]) -> str:
    key, name = "money.price_usd_per_gpu_hour", gpu.name
    advice = f"set {key} to your own, such as --set {key}=1 where only days, energy and emissions are asked for"
    if vendor and known:
        return (
            f"no {commitment} price of '{name}' from '{vendor}' is published; {nearest(vendor, known)}; or {advice}."
        )
    others = priced_commitments(gpu, vendor)
    priced = f"take money.commitment {' or '.join(others)}, or " if others else ""
    whose = f", from '{vendor}' or any other vendor," if vendor else ""
    return f"no {commitment} price of '{name}'{whose} is published in the catalogue; {priced}{advice}."


def priced_commitments(gpu: Gpu, vendor: str = "") -> list[str]:
    """The commitments under which a rent of this GPU is published, by a `vendor` or at all."""
    return [kind for kind in get_args(Commitment) if recent(priced_as(gpu)[0], kind, vendor=vendor)]


def _discounted(commitment: Commitment) -> tuple[float, str]:
    """The factor on an on-demand price for a commitment, and where it comes from."""
    discounts = assumptions().commitment_discounts
    rates = discounts.one_year if commitment == "1-year" else discounts.three_years
    mean = sum(rates) / len(rates)
    return 1 - mean, f"on-demand prices less {percent(mean, 0)} for {commitment} (mean of {discounts.source})"


def given_rental(gpu: str, price_usd_per_gpu_hour: float, *, commitment: Commitment = "on-demand") -> Rental:
    """A rent the user states; it has no spread. Raises `InputError` for a negative or non-finite price."""
    price = given_price("price_usd_per_gpu_hour", price_usd_per_gpu_hour, "USD per GPU-hour")
    return Rental(gpu=gpu, commitment=commitment, price_usd_per_gpu_hour=price, how="given by the user")


def rent_item(rental: Rental, gpu_hours: Value) -> CostItem:
    """The rent of `gpu_hours` [h]; electricity is in the price."""
    price = rental.price_usd_per_gpu_hour
    return CostItem(
        name="Rent of GPUs",
        usd=lambda at: gpu_hours * at(price),
        how=lambda: (
            f"{human(float(gpu_hours), 'GPU-hours')}, spares included, at {price.expected:.2f} USD, electricity "
            f"included ({rental.how})"
        ),
        ranges=(price,),
    )


def unused_days(rental: Rental, days: Value) -> Value:
    """Days of the commitment's term that are left after `days`."""
    return np.maximum(TERM_YEARS.get(rental.commitment, 0) * YEAR_DAYS - days, 0.0)


def unused_term_item(rental: Rental, gpus: float, days: Value) -> CostItem | None:
    """What a commitment costs beyond the `days` it is used [USD]; `None` where there is none, or it is used up."""
    left_days = unused_days(rental, days)
    if not np.any(left_days):
        return None
    price = rental.price_usd_per_gpu_hour
    return CostItem(
        name="Rest of the term",
        usd=lambda at: 24 * gpus * left_days * at(price),
        how=lambda: f"{left_days:,.0f} days of the {rental.commitment} term after the run, nothing else running",
        ranges=(price,),
        paid="after the run",
    )


def storage_item(storage_tb: float, days: Value) -> CostItem:
    """The rent of object storage for data and checkpoints [USD]."""
    price, months = assumptions().object_storage, days / MONTH_DAYS
    return CostItem(
        name="Storage",
        usd=lambda at: storage_tb * months * at(price),
        how=lambda: f"{storage_tb:,.1f} TB for {months:.1f} months at {price.expected:g} USD per TB and month",
        ranges=(price,),
    )


def egress_item(egress_tb: float) -> CostItem:
    """What it costs to carry data out of a cloud [USD]; paid when the run is over."""
    price = assumptions().egress
    return CostItem(
        name="Egress",
        usd=lambda at: egress_tb * at(price),
        how=lambda: f"{egress_tb:,.2f} TB out at {price.expected:g} USD per TB",
        ranges=(price,),
        paid="at the end",
    )


def staff_item(others: Items, share: PriceRange, aside: Items = ()) -> CostItem:
    """People who develop the model, as a share of a total that they are part of (arXiv:2405.21015: of hardware, its
    use and people) [USD]; what is `aside` is no part of it."""
    without = "".join(f" without “{item.name}”" if not n else f" and “{item.name}”" for n, item in enumerate(aside))
    return CostItem(
        name="Research staff",
        usd=lambda at: total_usd(others, at) * at(share) / (1 - at(share)),
        how=lambda: f"{percent(share.expected, 0)} of the total{without}",
        ranges=(share,),
    )
