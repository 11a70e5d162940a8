"""Money: renting or owning the cluster, from published prices with their spread.

Rent includes electricity; nothing here adds it again. Owning follows B. Cottier et al., "The rising costs of
training frontier AI models", arXiv:2405.21015: servers, plus an interconnect that is 19 % of the cluster, that
lose 0.14 orders of magnitude of their value a year, plus energy. Financing and colocation, which the study
leaves out, are added here as lines of their own.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

from planner.market import MARKET, amount, rows
from profiler.files import InputError, nearest, read_toml
from profiler.units import MONTH_DAYS
from sim.hardware import load_gpu, load_node

Commitment = Literal["on-demand", "1-year", "3-year", "spot"]

YEAR_DAYS = 365.25
HOURS_PER_YEAR = 24 * YEAR_DAYS
WINDOW_MONTHS = 24
"""Published prices older than this, counted from the newest of their kind, are not used."""
LONGEST_USE_DAYS = 10 * YEAR_DAYS
"""A break-even beyond ten years of use is none."""


@dataclass(frozen=True, kw_only=True)
class PriceRange:
    """A number with its spread: 10th percentile or stated low, expected, 90th percentile or stated high."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

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
                f"low, expected and high are {self.low}, {self.expected}, {self.high}; they must rise."
            )

    @property
    def levels(self) -> tuple[float, float, float]:
        """Low, expected and high."""
        return self.low, self.expected, self.high


@dataclass(frozen=True, kw_only=True)
class Quote:
    """One published price of one GPU, as found [USD per GPU-hour, or USD per GPU to buy]."""

    date: str
    gpu: str
    vendor: str
    region: str
    kind: str
    usd: float
    scope: str
    source: str


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


@dataclass(frozen=True, kw_only=True)
class _Discounts:
    source: str
    date: str
    one_year: tuple[float, ...]
    three_years: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class _StandIn:
    gpu: str
    why: str


@dataclass(frozen=True, kw_only=True)
class _Assumptions:
    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    server_overhead: PriceRange
    interconnect_share: PriceRange
    value_loss: PriceRange
    financing: PriceRange
    colocation: PriceRange
    staff_share: PriceRange
    commitment_discounts: _Discounts
    stand_ins: Mapping[str, _StandIn]


@cache
def _assumptions() -> _Assumptions:
    return read_toml(MARKET / "costs.toml", _Assumptions)


@cache
def quotes() -> tuple[Quote, ...]:
    """Every published price in the catalogue, oldest first."""
    made = [Quote(**{**row, "usd": float(row["usd"])}) for row in rows("gpu_prices.csv")]  # type: ignore[arg-type]
    return tuple(sorted(made, key=lambda quote: (quote.date, quote.gpu, quote.vendor)))


def _months(date: str) -> int:
    year, month = date.split("-")[:2]
    return 12 * int(year) + int(month)


def _recent(gpu: str, kind: str, *, vendor: str = "", as_of: str = "") -> tuple[Quote, ...]:
    """Quotes of a kind no older than `WINDOW_MONTHS` before the newest: the newest of each vendor, all purchases."""
    found = [q for q in quotes() if q.gpu == gpu and q.kind == kind and vendor in ("", q.vendor)]
    found = [q for q in found if not as_of or q.date <= as_of]
    if not found:
        return ()
    newest = _months(found[-1].date)
    found = [q for q in found if newest - _months(q.date) <= WINDOW_MONTHS]
    if kind == "purchase":
        return tuple(found)
    return tuple({q.vendor: q for q in found}.values())


def _quantile(values: list[float], share: float) -> float:
    """Linear between order statistics (Hyndman and Fan's type 7)."""
    position = share * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(values) - 1)
    return values[below] + (position - below) * (values[above] - values[below])


def _spread(found: tuple[Quote, ...], unit: str, *, scale: float = 1.0) -> PriceRange:
    """10th percentile, median and 90th percentile of some quotes."""
    usd = sorted(q.usd * scale for q in found)
    low, expected, high = (_quantile(usd, share) for share in (0.1, 0.5, 0.9))
    who = sorted({q.vendor for q in found} - {""})
    source = "; ".join(sorted({q.source.split(";")[0].split(",")[0] for q in found}))
    source += f" ({', '.join(who)})" if who else f" ({len(found)} prices)"
    return PriceRange(low=low, expected=expected, high=high, unit=unit, source=source, date=found[-1].date)


def _priced_as(gpu: str) -> tuple[str, str]:
    """The GPU whose prices are used, and why if it is another one."""
    load_gpu(gpu)
    stand_in = _assumptions().stand_ins.get(gpu)
    return (stand_in.gpu, f"; {stand_in.why}") if stand_in else (gpu, "")


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
        raise InputError(
            f"commitment '{commitment}' is not known; {nearest(commitment, get_args(Commitment))}."
        )
    priced_as, note = _priced_as(gpu)
    kind: Commitment = commitment  # type: ignore[assignment]
    scale, how = 1.0, "10th percentile, median and 90th percentile of each vendor's newest price"
    found: tuple[Quote, ...] = ()
    if commitment in ("1-year", "3-year") and not vendor:
        found = _recent(priced_as, "on-demand", as_of=as_of)
        discounts = _assumptions().commitment_discounts
        rates = discounts.one_year if commitment == "1-year" else discounts.three_years
        if found:
            discount = sum(rates) / len(rates)
            scale = 1 - discount
            how = f"on-demand prices less {discount:.0%}, the mean discount for {commitment} ({discounts.source})"
    found = found or _recent(priced_as, commitment, vendor=vendor, as_of=as_of)
    if not found:
        whose = f" from {vendor}" if vendor else ""
        raise InputError(
            f"no {commitment} price of '{gpu}'{whose} is published in the catalogue; "
            "give your own price in USD per GPU-hour."
        )
    price = _spread(found, "USD per GPU-hour", scale=scale)
    return Rental(gpu=gpu, commitment=kind, price_usd_per_gpu_hour=price, how=how + note, quotes=found)


def given_rental(gpu: str, price_usd_per_gpu_hour: float, *, commitment: Commitment = "on-demand") -> Rental:
    """A rent the user states; it has no spread. Raises `InputError` for a negative or non-finite price."""
    usd = amount("price_usd_per_gpu_hour", price_usd_per_gpu_hour)
    price = PriceRange(
        low=usd, expected=usd, high=usd, unit="USD per GPU-hour", source="given by the user", date=""
    )
    return Rental(gpu=gpu, commitment=commitment, price_usd_per_gpu_hour=price, how="given by the user")


def load_ownership(gpu: str, *, as_of: str = "") -> Ownership:
    """What owning `gpu` takes, from published purchase prices (up to `as_of`, YYYY-MM-DD).

    Prices of whole servers are preferred; where there are none, prices of GPUs alone times the server overhead.

    Raises:
        InputError: an unknown GPU, or no published price.
    """
    priced_as, note = _priced_as(gpu)
    found = _recent(priced_as, "purchase", as_of=as_of)
    if not found:
        raise InputError(
            f"no purchase price of '{gpu}' is published in the catalogue; give your own in USD per GPU, server included."
        )
    known = _assumptions()
    servers = tuple(q for q in found if q.scope == "server")
    if servers:
        price = _spread(servers, "USD per GPU, server included")
        how = "10th percentile, median and 90th percentile of published server prices per GPU"
    else:
        bare, overhead = _spread(found, "USD per GPU, server included"), known.server_overhead
        low, expected, high = (usd * factor for usd, factor in zip(bare.levels, overhead.levels, strict=True))
        price = replace(
            bare, low=low, expected=expected, high=high, source=f"{bare.source}; {overhead.source}"
        )
        how = "published prices of GPUs without their server, times the server overhead"
    return _ownership(gpu, price, how + note, servers or found)


def given_ownership(gpu: str, server_usd_per_gpu: float) -> Ownership:
    """Owning at a purchase price the user states [USD per GPU, server included]."""
    usd = amount("server_usd_per_gpu", server_usd_per_gpu)
    price = PriceRange(
        low=usd, expected=usd, high=usd, unit="USD per GPU", source="given by the user", date=""
    )
    return _ownership(gpu, price, "given by the user", ())


def _ownership(gpu: str, price: PriceRange, how: str, found: tuple[Quote, ...]) -> Ownership:
    known, node = _assumptions(), load_node(load_gpu(gpu).node)
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
    line = CostLine(name="Rent of GPUs", low=low, expected=expected, high=high, how=how, source=_cited(price))
    return CostBreakdown(lines=(line,))


def _cited(*ranges: PriceRange) -> str:
    return "; ".join(f"{r.source}, {r.date}" if r.date else r.source for r in ranges)


def _line(name: str, how: str, usd: Callable[[int], float], *ranges: PriceRange) -> CostLine:
    """A line whose amount at level 0, 1 or 2 (low, expected, high) is `usd(level)`."""
    return CostLine(name=name, low=usd(0), expected=usd(1), high=usd(2), how=how, source=_cited(*ranges))


def _hardware(ownership: Ownership, gpus: float, level: int) -> tuple[float, float]:
    """Servers and interconnect [USD]: the interconnect is a share s of the whole, so s / (1 − s) of the servers."""
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
    """The value not yet lost, integrated over time, per unit of value [years]: (1 − 10^(−k·t)) / (k·ln 10)."""
    return _lost(orders_per_year, days) / (orders_per_year * math.log(10))


def ownership_cost(
    ownership: Ownership, gpus: int, days: float, electricity_usd: float, *, staff: bool = False
) -> CostBreakdown:
    """What a campaign of `days` costs on a cluster bought new for it and sold, or used on, at its value then [USD].

    Value lost, interest on the value not yet lost, colocation of the rated power, electricity, and with `staff`
    the research and development staff as a share of the total. Storage beside the servers is not included.
    """
    for key, value in (("gpus", gpus), ("days", days), ("electricity_usd", electricity_usd)):
        amount(key, value)
    loss, rate, colocation = ownership.value_loss, ownership.financing, ownership.colocation
    held = _held_years(loss.expected, days)
    rated_kw = gpus * ownership.rated_kw_per_gpu
    fell = f"{_lost(loss.expected, days):.1%} of the purchase price in {days:.1f} days ({loss.expected} orders a year)"
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
    """Amortised hardware plus energy as arXiv:2405.21015 computes it [USD], without financing or colocation.

    An hour costs V·10^(−k·a)·k·ln 10 / 8,766 of a GPU with its share of server, bought for V, a years ago, with
    k fixed at 0.14 orders a year; the interconnect adds 0.19 / 0.81 of that.
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
    """Days of use after which owning has cost less than renting, at expected prices; `None` if not in ten years.

    Without `resale` the purchase is written off whole; with it the hardware keeps its value of the day, and the
    answer is 0 where owning is cheaper from the first day.
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
