"""The prices of one plan: what the catalogue holds, with what the person stated put over it."""

from dataclasses import dataclass
from datetime import datetime

from planner.carbon import Grid
from planner.market.prices import PriceRange, assumptions
from planner.money.costs import Rental, given_rental, known_commitment, load_rental
from planner.money.ownership import Ownership, given_ownership, load_ownership
from planner.money.tariffs import Tariff, flat_tariff, load_tariff, names
from planner.plan_file import PlanRequest, SiteRequest
from profiler.files import InputError
from sim.hardware import Cluster, Gpu


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Rental and ownership where a price is to be had, the tariff, and people where they are counted."""

    rental: Rental | None
    ownership: Ownership | None
    tariff: Tariff
    start: datetime
    """Of training, from which the tariff's hours count; local time."""
    staff_share: PriceRange | None
    """Of the total, the people who develop the model; `None` where they are not counted."""


def load_prices(request: PlanRequest, cluster: Cluster) -> Prices:
    """Prices for a plan and its cluster, whose parts need not be in the catalogue where prices are stated.

    Raises:
        InputError: the mode asked for has no price in the catalogue and none was stated.
    """
    site = request.site
    tariff = load_tariff(site.tariff)
    if site.electricity_usd_per_kwh is not None:
        tariff = flat_tariff(site.electricity_usd_per_kwh)
    return Prices(
        rental=_rental(request, cluster.gpu),
        ownership=_ownership(request, cluster),
        tariff=tariff,
        start=datetime.fromisoformat(request.start),
        staff_share=assumptions().staff_share if request.money.research_staff else None,
    )


def _rental(request: PlanRequest, gpu: Gpu) -> Rental | None:
    money = request.money
    if money.price_usd_per_gpu_hour is not None:
        return given_rental(gpu.name, money.price_usd_per_gpu_hour, commitment=known_commitment(money.commitment))
    try:
        return load_rental(gpu, money.commitment, vendor=money.vendor)
    except InputError:
        if money.mode != "own":
            raise
        return None


def _ownership(request: PlanRequest, cluster: Cluster) -> Ownership | None:
    money = request.money
    if money.server_usd_per_gpu is not None:
        return given_ownership(cluster.gpu, money.server_usd_per_gpu, node=cluster.node)
    try:
        return load_ownership(cluster.gpu, node=cluster.node)
    except InputError:
        if money.mode != "rent":
            raise
        return None


def stated_electricity(site: SiteRequest) -> bool:
    """Whether the plan states what electricity costs: a price, or a tariff or hours in a file of its own."""
    return site.electricity_usd_per_kwh is not None or site.tariff.endswith((".toml", ".csv"))


def tariff_notes(request: PlanRequest, grid: Grid) -> tuple[str, ...]:
    """What to say of a site abroad whose electricity is priced as in the United States because nothing was said."""
    site = request.site
    told = site.tariff != SiteRequest().tariff or site.electricity_usd_per_kwh is not None
    if told or grid.iso3 in ("", "USA"):
        return ()
    own = (
        f"site.tariff={grid.iso3} takes what industry pays there"
        if grid.iso3 in names()
        else "no tariff of it is in the catalogue: site.electricity_usd_per_kwh takes a price"
    )
    return (f"the grid is that of {grid.label}, but its electricity is priced as in the United States; {own}",)
