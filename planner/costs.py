"""Money: the lines that a cost is made of, and renting from published prices with their spread.

Rent includes electricity; nothing here adds it again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from planner.market import amount
from planner.market.prices import PriceRange as PriceRange
from planner.market.prices import Quote, assumptions, given_price, how_spread, recent, spread, vendors
from profiler.files import InputError, nearest
from profiler.units import MONTH_DAYS
from sim.hardware import load_gpu

Commitment = Literal["on-demand", "1-year", "3-year", "spot"]
Paid = Literal["evenly", "as billed", "at the end"]

YEAR_DAYS = 365.25
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
    includes_electricity: bool = True


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
    """When what is not bought is paid: day by day, with the electricity bills, or on the last day."""

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


def cost_line(
    name: str,
    how: str,
    usd: Callable[[int], float],
    *ranges: PriceRange,
    bought_usd: float = 0.0,
    paid: Paid = "evenly",
) -> CostLine:
    """A line whose amount at level 0, 1 or 2 (low, expected, high) is `usd(level)`."""
    return CostLine(
        name=name,
        low=usd(0),
        expected=usd(1),
        high=usd(2),
        how=how,
        source="; ".join(r.cited for r in ranges),
        bought_usd=bought_usd,
        paid=paid,
    )


def known_commitment(name: str) -> Commitment:
    """A commitment by its name; raises `InputError` for another, with the nearest."""
    if name not in get_args(Commitment):
        raise InputError(f"commitment '{name}' is not known; {nearest(name, get_args(Commitment))}.")
    return name  # type: ignore[return-value]


def priced_as(gpu: str) -> tuple[str, str]:
    """The GPU whose prices are used, and why if it is another one."""
    name = load_gpu(gpu).name
    stand_in = assumptions().stand_ins.get(name)
    return (stand_in.gpu, f"; {stand_in.why}") if stand_in else (name, "")


def load_rental(gpu: str, commitment: str = "on-demand", *, vendor: str = "", as_of: str = "") -> Rental:
    """The rent of `gpu` from published prices.

    On demand and spot: 10th percentile, median and 90th percentile over vendors, each with its newest price.
    One and three years: the same on-demand prices less the mean published discount, or the published
    commitment prices where no on-demand price is known. A `vendor` asks for its own price only, and `as_of`
    (YYYY-MM-DD) for what was published by then.

    Raises:
        InputError: an unknown GPU or commitment, or no published price.
    """
    kind = known_commitment(commitment)
    name, note = priced_as(gpu)
    scale, how = 1.0, f"{commitment} prices"
    found: tuple[Quote, ...] = ()
    if kind in TERM_YEARS and not vendor:
        found = recent(name, "on-demand", as_of=as_of)
        scale, how = _discounted(kind) if found else (scale, how)
    found = found or recent(name, kind, vendor=vendor, as_of=as_of)
    if not found:
        raise InputError(_no_rent(gpu, commitment, vendor, vendors(name, kind)))
    price = spread(found, "USD per GPU-hour", scale=scale, exact=bool(vendor))
    how = f"{vendor}'s own price" if vendor else how_spread(found, how)
    return Rental(gpu=gpu, commitment=kind, price_usd_per_gpu_hour=price, how=how + note, quotes=found)


def _no_rent(gpu: str, commitment: str, vendor: str, known: tuple[str, ...]) -> str:
    advice = "give your own price in USD per GPU-hour"
    if vendor and known:
        return (
            f"no {commitment} price of '{gpu}' from '{vendor}' is published; {nearest(vendor, known)}; or {advice}."
        )
    return f"no {commitment} price of '{gpu}' is published in the catalogue; {advice}."


def _discounted(commitment: Commitment) -> tuple[float, str]:
    """The factor on an on-demand price for a commitment, and where it comes from."""
    discounts = assumptions().commitment_discounts
    rates = discounts.one_year if commitment == "1-year" else discounts.three_years
    mean = sum(rates) / len(rates)
    return 1 - mean, f"on-demand prices less {mean:.0%} for {commitment} (mean of {discounts.source})"


def given_rental(gpu: str, price_usd_per_gpu_hour: float, *, commitment: Commitment = "on-demand") -> Rental:
    """A rent the user states; it has no spread. Raises `InputError` for a negative or non-finite price."""
    price = given_price("price_usd_per_gpu_hour", price_usd_per_gpu_hour, "USD per GPU-hour")
    return Rental(gpu=gpu, commitment=commitment, price_usd_per_gpu_hour=price, how="given by the user")


def rental_cost(rental: Rental, gpu_hours: float) -> CostBreakdown:
    """The rent of `gpu_hours` [h]; electricity is in the price."""
    hours = amount("gpu_hours", gpu_hours)
    price = rental.price_usd_per_gpu_hour
    how = f"{hours:,.0f} GPU-hours at {price.expected:.2f} USD, electricity included ({rental.how})"
    return CostBreakdown(lines=(cost_line("Rent of GPUs", how, lambda i: hours * price.levels[i], price),))


def unused_term_line(rental: Rental, gpus: float, days: float) -> CostLine | None:
    """What a commitment costs beyond the `days` it is used [USD]; `None` where there is none, or it is used up."""
    left_days = TERM_YEARS.get(rental.commitment, 0) * YEAR_DAYS - days
    if left_days <= 0:
        return None
    price = rental.price_usd_per_gpu_hour
    how = f"{left_days:,.0f} days of the {rental.commitment} term after the run, nothing else running"
    return cost_line(
        "Rest of the term", how, lambda i: 24 * gpus * left_days * price.levels[i], price, paid="at the end"
    )


def storage_line(storage_tb: float, days: float) -> CostLine:
    """The rent of object storage for data and checkpoints [USD]."""
    price = assumptions().object_storage
    months = amount("days", days) / MONTH_DAYS
    how = f"{storage_tb:,.1f} TB for {months:.1f} months at {price.expected:g} USD per TB and month"
    return cost_line("Storage", how, lambda i: storage_tb * months * price.levels[i], price)


def egress_line(egress_tb: float) -> CostLine:
    """What it costs to carry data out of a cloud [USD]; paid when the run is over."""
    price = assumptions().egress
    how = f"{egress_tb:,.2f} TB out at {price.expected:g} USD per TB"
    return cost_line(
        "Egress", how, lambda i: amount("egress_tb", egress_tb) * price.levels[i], price, paid="at the end"
    )
