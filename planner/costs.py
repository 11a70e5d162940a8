"""Money: renting or owning the cluster, from published prices with their spread.

Rent includes electricity; nothing here adds it again. Owning follows B. Cottier et al., "The rising costs
of training frontier AI models", arXiv:2405.21015: servers, and an interconnect that is 19 % of the cluster,
lose 0.14 orders of magnitude of their value a year; plus energy. Financing and colocation, which the study
leaves out, are lines of their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from planner.market import amount
from planner.market.prices import PriceRange as PriceRange
from planner.market.prices import Quote, assumptions, given_price, how_spread, recent, spread, vendors
from profiler.files import InputError, nearest
from profiler.units import MONTH_DAYS
from sim.hardware import load_gpu, load_node

Commitment = Literal["on-demand", "1-year", "3-year", "spot"]

YEAR_DAYS = 365.25
HOURS_PER_YEAR = 24 * YEAR_DAYS
LONGEST_USE_DAYS = 10 * YEAR_DAYS
"""A break-even beyond ten years of use is none."""


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
class Ownership:
    """What it takes to own the cluster. Shares and rates are those of planner/market/costs.toml."""

    gpu: str
    server_usd_per_gpu: PriceRange
    interconnect_share: PriceRange
    value_loss: PriceRange
    """Orders of magnitude a year."""
    financing: PriceRange
    """Interest a year on the value not yet lost."""
    colocation: PriceRange
    """USD per kW of rated power and month."""
    staff_share: PriceRange
    """Research and development staff, of the total; counted only when asked for."""
    rated_kw_per_gpu: float
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


def _priced_as(gpu: str) -> tuple[str, str]:
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
    if commitment not in get_args(Commitment):
        raise InputError(f"commitment '{commitment}' is not known; {nearest(commitment, get_args(Commitment))}.")
    kind: Commitment = commitment  # type: ignore[assignment]
    priced_as, note = _priced_as(gpu)
    scale, how = 1.0, f"{commitment} prices"
    found: tuple[Quote, ...] = ()
    if kind in ("1-year", "3-year") and not vendor:
        found = recent(priced_as, "on-demand", as_of=as_of)
        scale, how = _discounted(kind) if found else (scale, how)
    found = found or recent(priced_as, kind, vendor=vendor, as_of=as_of)
    if not found:
        raise InputError(_no_rent(gpu, commitment, vendor, vendors(priced_as, kind)))
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


def load_ownership(gpu: str, *, as_of: str = "") -> Ownership:
    """What owning `gpu` takes, from purchase prices published (by `as_of`, YYYY-MM-DD).

    Prices of whole servers are preferred; where there are none, prices of GPUs times the server overhead.

    Raises:
        InputError: an unknown GPU, or no published price.
    """
    unit = "USD per GPU, server included"
    priced_as, note = _priced_as(gpu)
    found = recent(priced_as, "purchase", as_of=as_of)
    if not found:
        raise InputError(f"no purchase price of '{gpu}' is published in the catalogue; give your own in {unit}.")
    servers = tuple(q for q in found if q.scope == "server")
    if servers:
        how = how_spread(servers, "server prices per GPU") + note
        return _ownership(gpu, spread(servers, unit), how, servers)
    bare, overhead = spread(found, unit), assumptions().server_overhead
    low, expected, high = (usd * factor for usd, factor in zip(bare.levels, overhead.levels, strict=True))
    source = f"{bare.source}; {overhead.source}"
    price = replace(bare, low=low, expected=expected, high=high, source=source)
    how = how_spread(found, f"prices of GPUs alone, times {overhead.expected} for their server") + note
    return _ownership(gpu, price, how, found)


def given_ownership(gpu: str, server_usd_per_gpu: float) -> Ownership:
    """Owning at a purchase price the user states [USD per GPU, server included]."""
    price = given_price("server_usd_per_gpu", server_usd_per_gpu, "USD per GPU, server included")
    return _ownership(gpu, price, "given by the user", ())


def _ownership(gpu: str, price: PriceRange, how: str, found: tuple[Quote, ...]) -> Ownership:
    known, node = assumptions(), load_node(load_gpu(gpu).node)
    return Ownership(
        gpu=gpu,
        server_usd_per_gpu=price,
        interconnect_share=known.interconnect_share,
        value_loss=known.value_loss,
        financing=known.financing,
        colocation=known.colocation,
        staff_share=known.staff_share,
        rated_kw_per_gpu=node.rated_power_w / node.gpus_per_node / 1000,
        how=how,
        quotes=found,
    )


def rental_cost(rental: Rental, gpu_hours: float) -> CostBreakdown:
    """The rent of `gpu_hours` [h]; electricity is in the price."""
    hours = amount("gpu_hours", gpu_hours)
    price = rental.price_usd_per_gpu_hour
    low, expected, high = (hours * usd for usd in price.levels)
    how = f"{hours:,.0f} GPU-hours at {price.expected:.2f} USD, electricity included ({rental.how})"
    line = CostLine(name="Rent of GPUs", low=low, expected=expected, high=high, how=how, source=price.cited)
    return CostBreakdown(lines=(line,))


def _line(name: str, how: str, usd: Callable[[int], float], *ranges: PriceRange) -> CostLine:
    """A line whose amount at level 0, 1 or 2 (low, expected, high) is `usd(level)`."""
    return CostLine(
        name=name,
        low=usd(0),
        expected=usd(1),
        high=usd(2),
        how=how,
        source="; ".join(r.cited for r in ranges),
    )


def _hardware(ownership: Ownership, gpus: float, level: int) -> tuple[float, float]:
    """Servers and interconnect [USD]: as a share s of the whole, the latter is s / (1 − s) of the former."""
    servers = gpus * ownership.server_usd_per_gpu.levels[level]
    share = ownership.interconnect_share.levels[level]
    return servers, servers * share / (1 - share)


def purchase_usd(ownership: Ownership, gpus: int) -> CostBreakdown:
    """What buying the cluster takes on the first day [USD]: servers and interconnect."""
    amount("gpus", gpus)
    price, share = ownership.server_usd_per_gpu, ownership.interconnect_share
    servers = f"{gpus:,} GPUs at {price.expected:,.0f} USD, server included ({ownership.how})"
    network = f"{share.expected:.0%} of the cluster"
    return CostBreakdown(
        lines=(
            _line("Servers", servers, lambda level: _hardware(ownership, gpus, level)[0], price),
            _line("Interconnect", network, lambda level: _hardware(ownership, gpus, level)[1], share),
        )
    )


def _lost(orders_per_year: float, days: float) -> float:
    """The share of its value that hardware loses in `days`: 1 − 10^(−k·t)."""
    return 1 - 10 ** (-orders_per_year * days / YEAR_DAYS)


def _held_years(orders_per_year: float, days: float) -> float:
    """The value not yet lost, integrated over time, over the value [years]: (1 − 10^(−k·t)) / (k·ln 10)."""
    return _lost(orders_per_year, days) / (orders_per_year * math.log(10))


def ownership_cost(
    ownership: Ownership, gpus: int, days: float, electricity_usd: float, *, staff: bool = False
) -> CostBreakdown:
    """What `days` cost on a cluster bought new for them and sold, or used on, at its value then [USD].

    Value lost, interest on the value not yet lost, colocation of the rated power, electricity, and with
    `staff` the research and development staff as a share of the total. Storage is not included.
    """
    for key, value in (("gpus", gpus), ("days", days), ("electricity_usd", electricity_usd)):
        amount(key, value)
    loss, rate, colocation = ownership.value_loss, ownership.financing, ownership.colocation
    held = _held_years(loss.expected, days)
    rated_kw = gpus * ownership.rated_kw_per_gpu
    fell = f"{_lost(loss.expected, days):.1%} of the purchase price in {days:.1f} days"
    at = [_hardware(ownership, gpus, level) for level in range(3)]
    lines = (
        _line(
            "Servers: value lost",
            f"{fell}, {ownership.how}",
            lambda i: at[i][0] * _lost(loss.levels[i], days),
            ownership.server_usd_per_gpu,
            loss,
        ),
        _line(
            "Interconnect: value lost",
            fell,
            lambda i: at[i][1] * _lost(loss.levels[i], days),
            ownership.interconnect_share,
        ),
        _line(
            "Financing",
            f"{rate.expected:.1%} a year on the value not yet lost",
            lambda i: sum(at[i]) * rate.levels[i] * held,
            rate,
        ),
        _line(
            "Colocation",
            f"{rated_kw:,.0f} kW of rated power at {colocation.expected:.2f} USD a month",
            lambda i: rated_kw * colocation.levels[i] * days / MONTH_DAYS,
            colocation,
        ),
        _electricity(electricity_usd),
    )
    return _with_staff(lines, ownership.staff_share) if staff else CostBreakdown(lines=lines)


def _electricity(usd: float) -> CostLine:
    return CostLine(
        name="Electricity",
        low=usd,
        expected=usd,
        high=usd,
        how="the bill of this plan",
        source="the plan's tariff",
    )


def _with_staff(lines: tuple[CostLine, ...], share: PriceRange) -> CostBreakdown:
    rest = CostBreakdown(lines=lines)
    totals = (rest.low, rest.expected, rest.high)
    how = f"{share.expected:.0%} of the total"
    staff = _line("Research staff", how, lambda i: totals[i] * share.levels[i] / (1 - share.levels[i]), share)
    return CostBreakdown(lines=(*lines, staff))


def study_amortised_cost(
    ownership: Ownership, gpu_hours: float, electricity_usd: float, *, years_since_purchase: float = 0.0
) -> CostBreakdown:
    """Amortised hardware plus energy as arXiv:2405.21015 has it [USD], without financing or colocation.

    An hour costs V·10^(−k·a)·k·ln 10 / 8,766 where V bought the GPU and its share of server a years ago and
    k is 0.14 orders a year at every level; the interconnect adds s / (1 − s) of that.
    """
    for key, value in (("gpu_hours", gpu_hours), ("electricity_usd", electricity_usd)):
        amount(key, value)
    orders = ownership.value_loss.expected
    aged = 10 ** (-orders * amount("years_since_purchase", years_since_purchase))
    per_hour = aged * orders * math.log(10) / HOURS_PER_YEAR
    at = [_hardware(ownership, gpu_hours * per_hour, level) for level in range(3)]
    how = f"{gpu_hours:,.0f} GPU-hours at {per_hour * 1e6:.1f} millionths of the purchase price"
    return CostBreakdown(
        lines=(
            _line(
                "Servers, amortised",
                how,
                lambda i: at[i][0],
                ownership.server_usd_per_gpu,
                ownership.value_loss,
            ),
            _line("Interconnect, amortised", how, lambda i: at[i][1], ownership.interconnect_share),
            _electricity(electricity_usd),
        )
    )


def break_even_days(
    rental: Rental, ownership: Ownership, gpus: int, electricity_usd_per_day: float, *, resale: bool = False
) -> float | None:
    """Days of use after which owning has cost less than renting, as expected; `None` if not in ten years.

    Without `resale` the purchase is written off whole; with it the hardware keeps its value of the day, and
    the answer is 0 where owning is cheaper from the first day.
    """
    amount("gpus", gpus)
    amount("electricity_usd_per_day", electricity_usd_per_day)
    loss = ownership.value_loss.expected
    price = sum(_hardware(ownership, gpus, 1))
    colocation = gpus * ownership.rated_kw_per_gpu * ownership.colocation.expected / MONTH_DAYS
    margin = 24 * gpus * rental.price_usd_per_gpu_hour.expected - colocation - electricity_usd_per_day

    def saved(days: float) -> float:
        written_off = _lost(loss, days) if resale else 1.0
        return margin * days - price * (written_off + ownership.financing.expected * _held_years(loss, days))

    if saved(LONGEST_USE_DAYS) <= 0:
        return None
    if resale and saved(1.0) > 0:
        return 0.0
    below, above = 0.0, LONGEST_USE_DAYS  # saved() is convex, so it crosses zero once
    while above - below > 1e-6:
        middle = (below + above) / 2
        below, above = (middle, above) if saved(middle) <= 0 else (below, middle)
    return above
