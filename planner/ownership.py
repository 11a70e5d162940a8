"""Owning the cluster: what hardware, housing, money and people cost for the days that it is used.

Follows B. Cottier et al., "The rising costs of training frontier AI models", arXiv:2405.21015: servers, and an
interconnect that is 19 % of the cluster, lose 0.14 orders of magnitude of their value a year; plus energy. Storage,
housing, financing and operators, which the study leaves out, are lines of their own.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from planner.carbon import HARDWARE_LIFETIME_YEARS
from planner.costs import HOURS_PER_YEAR, YEAR_DAYS, CostBreakdown, CostLine, PriceRange, cost_line, priced_as
from planner.market import amount
from planner.market.prices import Quote, assumptions, given_price, how_spread, recent, spread
from profiler.files import InputError
from profiler.units import MONTH_DAYS
from sim.hardware import load_gpu, load_node

Depreciation = Literal["market", "straight-line", "write-off"]
Housing = Literal["colocation", "building"]

BUILDING_YEARS = 25.0
"""Useful life of a data centre building: 25 to 30 years (Meta Platforms, annual report for 2024)."""


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
    building: PriceRange
    """USD per kW of rated power."""
    storage_purchase: PriceRange
    """USD per TB."""
    operator: PriceRange
    """USD per person and year."""
    staff_share: PriceRange
    """Research and development staff, of the total; counted only when asked for."""
    rated_kw_per_gpu: float
    how: str
    quotes: tuple[Quote, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """How an owned cluster is housed, run and written off."""

    housing: Housing = "colocation"
    depreciation: Depreciation = "market"
    """At what it would fetch; in equal parts over its accounting life; or whole, on this run."""
    resale_share: float = 1.0
    """What a sale brings over the value kept; 1 where the cluster is used on."""
    storage_tb: float = 0.0
    operators: float = 0.0
    """People who run the site."""
    research_staff: bool = False

    def lost(self, orders_per_year: float, days: float) -> float:
        """The share of the purchase price that `days` cost: 1 − 10^(−k·t), t / L, or all of it."""
        years = days / YEAR_DAYS
        if self.depreciation == "market":
            return 1 - 10 ** (-orders_per_year * years)
        return 1.0 if self.depreciation == "write-off" else min(years / HARDWARE_LIFETIME_YEARS, 1.0)

    def held_years(self, orders_per_year: float, days: float) -> float:
        """The value not yet lost, integrated over time, over the value [years]; a write-off is at the end.

        Market: (1 − 10^(−k·t)) / (k·ln 10). Equal parts: t − t² / 2L until L, then L / 2.
        """
        years = days / YEAR_DAYS
        if self.depreciation == "market":
            return self.lost(orders_per_year, days) / (orders_per_year * math.log(10))
        if self.depreciation == "write-off":
            return years
        used = min(years, HARDWARE_LIFETIME_YEARS)
        return used - used**2 / (2 * HARDWARE_LIFETIME_YEARS)


def load_ownership(gpu: str, *, as_of: str = "") -> Ownership:
    """What owning `gpu` takes, from purchase prices published (by `as_of`, YYYY-MM-DD).

    Prices of whole servers are preferred; where there are none, prices of GPUs times the server overhead.

    Raises:
        InputError: an unknown GPU, or no published price.
    """
    unit = "USD per GPU, server included"
    name, note = priced_as(gpu)
    found = recent(name, "purchase", as_of=as_of)
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
        building=known.building,
        storage_purchase=known.storage_purchase,
        operator=known.operator,
        staff_share=known.staff_share,
        rated_kw_per_gpu=node.rated_power_w / node.gpus_per_node / 1000,
        how=how,
        quotes=found,
    )


def hardware_usd(ownership: Ownership, gpus: float, level: int) -> tuple[float, float]:
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
            cost_line("Servers", servers, lambda level: hardware_usd(ownership, gpus, level)[0], price),
            cost_line("Interconnect", network, lambda level: hardware_usd(ownership, gpus, level)[1], share),
        )
    )


def ownership_cost(
    ownership: Ownership, gpus: float, days: float, electricity_usd: float, keeping: Keeping | None = None
) -> CostBreakdown:
    """What `days` cost on a cluster bought new for them and used on, sold or written off after them [USD].

    Args:
        ownership: prices.
        gpus: how many, spares included.
        days: from the purchase to the end.
        electricity_usd: the bill of the same days.
        keeping: how it is housed, run and written off.

    Raises:
        InputError: what is no amount.
    """
    keeping = keeping or Keeping()
    for key, value in (("gpus", gpus), ("days", days), ("electricity_usd", electricity_usd)):
        amount(key, value)
    amount("resale_share", keeping.resale_share, most=1.0)
    case = _Case(ownership, gpus, days, keeping)
    lines = (
        *case.value_lost(),
        case.financing(),
        case.housing(),
        *case.people(),
        electricity_line(electricity_usd),
    )
    return _with_staff(lines, ownership.staff_share) if keeping.research_staff else CostBreakdown(lines=lines)


@dataclass(frozen=True)
class _Case:
    """One cluster for some days; its lines."""

    ownership: Ownership
    gpus: float
    days: float
    keeping: Keeping

    @property
    def rated_kw(self) -> float:
        return self.gpus * self.ownership.rated_kw_per_gpu

    def bought(self, level: int) -> tuple[float, float, float]:
        """Servers, interconnect and storage [USD]."""
        storage = self.keeping.storage_tb * self.ownership.storage_purchase.levels[level]
        return (*hardware_usd(self.ownership, self.gpus, level), storage)

    def building_usd(self, level: int) -> float:
        if self.keeping.housing == "colocation":
            return 0.0
        return self.rated_kw * self.ownership.building.levels[level]

    def lost(self, level: int) -> float:
        return self.keeping.lost(self.ownership.value_loss.levels[level], self.days)

    def value_lost(self) -> tuple[CostLine, ...]:
        own, bought = self.ownership, self.bought(1)
        fell = f"{self.lost(1):.1%} of the purchase price in {self.days:.1f} days"
        parts = (
            ("Servers", f"{fell}, {own.how}", (own.server_usd_per_gpu, own.value_loss)),
            ("Interconnect", fell, (own.interconnect_share,)),
            ("Storage", f"{self.keeping.storage_tb:,.1f} TB bought; {fell}", (own.storage_purchase,)),
        )
        lines = [
            cost_line(
                f"{name}: value lost",
                how,
                lambda i, n=n: self.bought(i)[n] * self.lost(i),  # type: ignore[misc]
                *ranges,
                bought_usd=bought[n],
            )
            for n, (name, how, ranges) in enumerate(parts)
            if bought[n] or n < 2
        ]
        return (*lines, *self._sale())

    def _sale(self) -> tuple[CostLine, ...]:
        """What a sale brings less than the value kept; nothing where the cluster is used on."""
        discount = 1 - self.keeping.resale_share
        if not discount:
            return ()
        how = f"sold at {self.keeping.resale_share:.0%} of the value kept"
        return (
            cost_line(
                "Sale below value",
                how,
                lambda i: discount * sum(self.bought(i)) * (1 - self.lost(1)),
                self.ownership.value_loss,
                paid="at the end",
            ),
        )

    def financing(self) -> CostLine:
        rate = self.ownership.financing
        held = self.keeping.held_years(self.ownership.value_loss.expected, self.days)
        years = self.days / YEAR_DAYS
        used = min(years, BUILDING_YEARS)
        building_held = used - used**2 / (2 * BUILDING_YEARS)
        how = f"{rate.expected:.1%} a year on the value not yet lost"
        return cost_line(
            "Financing",
            how,
            lambda i: rate.levels[i] * (sum(self.bought(i)) * held + self.building_usd(i) * building_held),
            rate,
        )

    def housing(self) -> CostLine:
        if self.keeping.housing == "building":
            return self._building()
        price = self.ownership.colocation
        how = f"{self.rated_kw:,.0f} kW of rated power at {price.expected:.2f} USD a month"
        months = self.days / MONTH_DAYS
        return cost_line("Colocation", how, lambda i: self.rated_kw * price.levels[i] * months, price)

    def _building(self) -> CostLine:
        price = self.ownership.building
        lost = min(self.days / YEAR_DAYS / BUILDING_YEARS, 1.0)
        how = (
            f"{self.rated_kw:,.0f} kW of rated power at {price.expected:,.0f} USD, {lost:.1%} of it written off "
            f"(equal parts over {BUILDING_YEARS:g} years)"
        )
        return cost_line(
            "Building: value lost",
            how,
            lambda i: self.building_usd(i) * lost,
            price,
            bought_usd=self.building_usd(1),
        )

    def people(self) -> tuple[CostLine, ...]:
        if not self.keeping.operators:
            return ()
        pay, years = self.ownership.operator, self.days / YEAR_DAYS
        how = f"{self.keeping.operators:g} people for {years:.2f} years at {pay.expected:,.0f} USD"
        people = amount("operators", self.keeping.operators)
        return (cost_line("Operators", how, lambda i: people * years * pay.levels[i], pay),)


def electricity_line(usd: float) -> CostLine:
    """The plan's own bill as a line [USD]."""
    return CostLine(
        name="Electricity",
        low=usd,
        expected=usd,
        high=usd,
        how="the bill of this plan",
        source="the plan's tariff",
        paid="as billed",
    )


def _with_staff(lines: tuple[CostLine, ...], share: PriceRange) -> CostBreakdown:
    rest = CostBreakdown(lines=lines)
    totals = (rest.low, rest.expected, rest.high)
    how = f"{share.expected:.0%} of the total"
    staff = cost_line("Research staff", how, lambda i: totals[i] * share.levels[i] / (1 - share.levels[i]), share)
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
    at = [hardware_usd(ownership, gpu_hours * per_hour, level) for level in range(3)]
    how = f"{gpu_hours:,.0f} GPU-hours at {per_hour * 1e6:.1f} millionths of the purchase price"
    return CostBreakdown(
        lines=(
            cost_line(
                "Servers, amortised", how, lambda i: at[i][0], ownership.server_usd_per_gpu, ownership.value_loss
            ),
            cost_line("Interconnect, amortised", how, lambda i: at[i][1], ownership.interconnect_share),
            electricity_line(electricity_usd),
        )
    )
