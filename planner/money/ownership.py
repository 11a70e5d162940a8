"""Owning the cluster: what hardware, housing, money and people cost for the days that it is used.

Follows B. Cottier et al., "The rising costs of training frontier AI models", arXiv:2405.21015: servers, and an
interconnect that is 19 % of the cluster, lose 0.14 orders of magnitude of their value a year; plus energy. Storage,
housing, financing and operators, which the study leaves out, are lines of their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from planner.carbon import HARDWARE_LIFETIME_YEARS
from planner.market import amount
from planner.market.prices import Level, Quote, Value, assumptions, given_price, how_spread, recent, spread
from planner.money.costs import (
    CostItem,
    Items,
    PriceRange,
    known_gpu,
    priced_as,
)
from planner.quantities import money, percent
from profiler.files import InputError
from profiler.units import MONTH_DAYS, YEAR_DAYS
from sim.hardware import Gpu, Node, load_node

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

    def lost(self, orders_per_year: Value, days: Value) -> Value:
        """The share of the purchase price that `days` cost: 1 − 10^(−k·t), t / L, or all of it."""
        years = days / YEAR_DAYS
        if self.depreciation == "market":
            return 1 - 10 ** (-orders_per_year * years)
        return 1.0 if self.depreciation == "write-off" else np.minimum(years / HARDWARE_LIFETIME_YEARS, 1.0)

    def held_years(self, orders_per_year: Value, days: Value) -> Value:
        """The value not yet lost, integrated over time, over the value [years]; a write-off is at the end.

        Market: (1 − 10^(−k·t)) / (k·ln 10). Equal parts: t − t² / 2L until L, then L / 2.
        """
        years = days / YEAR_DAYS
        if self.depreciation == "market":
            return self.lost(orders_per_year, days) / (orders_per_year * math.log(10))
        if self.depreciation == "write-off":
            return years
        return _held(years, HARDWARE_LIFETIME_YEARS)


def _held(years: Value, life_years: float) -> Value:
    """The value not yet lost in equal parts, integrated over time, over the value [years]."""
    used = np.minimum(years, life_years)
    return used - used**2 / (2 * life_years)


def load_ownership(gpu: Gpu | str, *, node: Node | None = None) -> Ownership:
    """What owning `gpu` takes, from purchase prices published.

    Its `node` is the one that it is usually sold in, unless another is given. Prices of whole servers are preferred;
    where there are none, prices of GPUs times the server overhead.

    Raises:
        InputError: an unknown GPU, or no published price.
    """
    unit = "USD per GPU, server included"
    key = "money.server_usd_per_gpu"
    part = known_gpu(gpu)
    name, note = priced_as(part)
    found = recent(name, "purchase")
    if not found:
        raise InputError(
            f"no purchase price of '{part.name}' is published in the catalogue; set {key} to your own in {unit}, "
            f"such as --set {key}=1 where only days, energy and emissions are asked for."
        )
    servers = tuple(q for q in found if q.scope == "server")
    if servers:
        how = how_spread(servers, "server prices per GPU") + note
        return _ownership(part, node, spread(servers, unit), how, servers)
    bare, overhead = spread(found, unit), assumptions().server_overhead
    low, expected, high = (usd * factor for usd, factor in zip(bare.levels, overhead.levels, strict=True))
    source = f"{bare.source}; {overhead.source}"
    price = replace(bare, low=low, expected=expected, high=high, source=source)
    how = how_spread(found, f"prices of GPUs alone, times {overhead.expected} for their server") + note
    return _ownership(part, node, price, how, found)


def given_ownership(gpu: Gpu | str, server_usd_per_gpu: float, *, node: Node | None = None) -> Ownership:
    """Owning at a purchase price the user states [USD per GPU, server included]."""
    price = given_price("server_usd_per_gpu", server_usd_per_gpu, "USD per GPU, server included")
    return _ownership(known_gpu(gpu), node, price, "given by the user", ())


def _ownership(gpu: Gpu, node: Node | None, price: PriceRange, how: str, found: tuple[Quote, ...]) -> Ownership:
    known, server = assumptions(), node or load_node(gpu.node)
    return Ownership(
        gpu=gpu.name,
        server_usd_per_gpu=price,
        interconnect_share=known.interconnect_share,
        value_loss=known.value_loss,
        financing=known.financing,
        colocation=known.colocation,
        building=known.building,
        storage_purchase=known.storage_purchase,
        operator=known.operator,
        rated_kw_per_gpu=server.rated_power_w / server.gpus_installed / 1000,
        how=how,
        quotes=found,
    )


def hardware_usd(ownership: Ownership, gpus: float, at: Level) -> tuple[Value, Value]:
    """Servers and interconnect [USD]: as a share s of the whole, the latter is s / (1 − s) of the former."""
    servers = gpus * at(ownership.server_usd_per_gpu)
    share = at(ownership.interconnect_share)
    return servers, servers * share / (1 - share)


def ownership_items(
    ownership: Ownership,
    gpus: float,
    days: Value,
    electricity_usd: Value,
    keeping: Keeping,
    standing_usd: Value = 0.0,
) -> Items:
    """What `days` cost on a cluster bought new for them and used on, sold or written off after them [USD]; for one
    outcome or for many at once.

    Args:
        ownership: prices.
        gpus: how many, spares included.
        days: from the purchase to the end.
        electricity_usd: the bill of the same days.
        keeping: how it is housed, run and written off.
        standing_usd: electricity beside the bill.

    Raises:
        InputError: what is no amount.
    """
    amount("resale_share", keeping.resale_share, most=1.0)
    amount("operators", keeping.operators)
    case = _Case(ownership, gpus, days, keeping)
    return (
        *case.value_lost(),
        *case.sale(),
        case.financing(),
        case.housing(),
        *case.people(),
        electricity_item(electricity_usd, standing_usd),
    )


@dataclass(frozen=True)
class _Case:
    """One cluster for some days; its items."""

    ownership: Ownership
    gpus: float
    days: Value
    keeping: Keeping

    @property
    def years(self) -> Value:
        return self.days / YEAR_DAYS

    @property
    def rated_kw(self) -> float:
        return self.gpus * self.ownership.rated_kw_per_gpu

    def bought(self, at: Level) -> tuple[Value, Value, Value]:
        """Servers, interconnect and storage [USD]."""
        storage = self.keeping.storage_tb * at(self.ownership.storage_purchase)
        return (*hardware_usd(self.ownership, self.gpus, at), storage)

    def building_usd(self, at: Level) -> Value:
        return self.rated_kw * at(self.ownership.building) if self.keeping.housing == "building" else 0.0

    def lost(self, at: Level) -> Value:
        return self.keeping.lost(at(self.ownership.value_loss), self.days)

    def value_lost(self) -> Items:
        own, kept_tb = self.ownership, self.keeping.storage_tb

        def fell() -> str:
            return f"{percent(float(self.lost(Level())))} of the purchase price in {self.days:.1f} days"

        items = (
            self._value_lost(0, "Servers", lambda: f"{fell()}, {own.how}", own.server_usd_per_gpu, own.value_loss),
            self._value_lost(1, "Interconnect", fell, own.interconnect_share),
            self._value_lost(2, "Storage", lambda: f"{kept_tb:,.1f} TB bought; {fell()}", own.storage_purchase),
        )
        return items if kept_tb else items[:2]

    def _value_lost(self, n: int, name: str, how: Callable[[], str], *ranges: PriceRange) -> CostItem:
        return CostItem(
            name=f"{name}: value lost",
            usd=lambda at: self.bought(at)[n] * self.lost(at),
            how=how,
            ranges=ranges,
            bought=lambda at: self.bought(at)[n],
        )

    def sale(self) -> Items:
        """What a sale brings less than the value kept; nothing where the cluster is used on."""
        discount = 1 - self.keeping.resale_share
        if not discount:
            return ()
        item = CostItem(
            name="Sale below value",
            usd=lambda at: discount * sum(self.bought(at)) * (1 - self.lost(at.middle)),
            how=lambda: f"sold at {percent(self.keeping.resale_share, 0)} of the value kept",
            ranges=(self.ownership.value_loss,),
            paid="out of what comes back",
        )
        return (item,)

    def financing(self) -> CostItem:
        rate = self.ownership.financing

        def usd(at: Level) -> Value:
            held = self.keeping.held_years(at.middle(self.ownership.value_loss), self.days)
            building = self.building_usd(at) * _held(self.years, BUILDING_YEARS)
            return at(rate) * (sum(self.bought(at)) * held + building)

        return CostItem(
            name="Financing",
            usd=usd,
            how=lambda: f"{percent(rate.expected)} a year on the value not yet lost",
            ranges=(rate,),
        )

    def housing(self) -> CostItem:
        if self.keeping.housing == "building":
            return self._building()
        price = self.ownership.colocation
        return CostItem(
            name="Colocation",
            usd=lambda at: self.rated_kw * at(price) * self.days / MONTH_DAYS,
            how=lambda: f"{self.rated_kw:,.0f} kW of rated power at {price.expected:.2f} USD a month",
            ranges=(price,),
        )

    def _building(self) -> CostItem:
        price, lost = self.ownership.building, np.minimum(self.years / BUILDING_YEARS, 1.0)
        return CostItem(
            name="Building: value lost",
            usd=lambda at: self.building_usd(at) * lost,
            how=lambda: (
                f"{self.rated_kw:,.0f} kW of rated power at {price.expected:,.0f} USD, {percent(float(lost))} of it "
                f"written off (equal parts over {BUILDING_YEARS:g} years)"
            ),
            ranges=(price,),
            bought=self.building_usd,
        )

    def people(self) -> Items:
        people, pay = self.keeping.operators, self.ownership.operator
        if not people:
            return ()
        item = CostItem(
            name="Operators",
            usd=lambda at: people * self.years * at(pay),
            how=lambda: f"{people:g} people for {self.years:.2f} years at {pay.expected:,.0f} USD",
            ranges=(pay,),
        )
        return (item,)


def electricity_item(usd: Value, standing_usd: Value = 0.0) -> CostItem:
    """The plan's own bill as an item, and what it draws idle before and after [USD]."""
    return CostItem(
        name="Electricity",
        usd=lambda _: usd + standing_usd,
        how=lambda: (
            f"{money(float(usd))} the bill of training, {money(float(standing_usd))} idle before and after"
            if np.any(standing_usd)
            else "the bill of this plan"
        ),
        source="the plan's tariff",
        paid="as billed",
    )
