"""Where: the same campaign at every place whose electricity, grid or rent is published."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

from planner.campaign.metering import campaign_water, hourly_kwh
from planner.campaign.simulation import Scenario, scenario
from planner.carbon import Grid, grids, load_grid, location_based
from planner.comparisons import countries
from planner.market import rows
from planner.market.prices import recent
from planner.money.charges import Charges
from planner.money.costs import HOURS_PER_YEAR, given_rental, priced_commitments
from planner.money.tariffs import PLACES, Array, bill, load_tariff
from planner.plan_file import PlanRequest
from planner.water import litres_per_kwh
from profiler.files import InputError, nearest
from profiler.units import DAY_S, JOULES_PER_KWH
from sim.campaign import Campaign

Goal = Literal["cost", "carbon", "water"]
FIGURE = {"cost": "cost_usd", "carbon": "emissions_t", "water": "water_m3"}

LARGEST_GRID_SHARE = 0.1
"""Countries whose yearly generation the site would take more of, if it ran all year, are left out. Assumed."""


@dataclass(frozen=True, kw_only=True)
class PlaceOption:
    """One place and what the campaign costs, emits and evaporates there; `None` where nothing is published."""

    name: str
    label: str
    cost_usd: float | None
    electricity_usd: float | None
    emissions_t: float | None
    water_m3: float | None
    grid_share: float | None
    """The site's mean power, all year, over what the country generates."""
    settings: tuple[str, ...]
    """What to set in the plan (KEY=VALUE)."""
    source: str

    def to_dict(self) -> dict[str, object]:
        """As scripts read it."""
        return {**vars(self), "settings": list(self.settings)}


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Places, best first, and the plan's own."""

    name: str
    goal: Goal
    here: PlaceOption
    options: tuple[PlaceOption, ...]
    note: str

    @property
    def best(self) -> PlaceOption:
        """The first."""
        return self.options[0]

    def to_dict(self) -> dict[str, object]:
        """As scripts read it."""
        return {
            "name": self.name,
            "goal": self.goal,
            "here": self.here.to_dict(),
            "options": [option.to_dict() for option in self.options],
            "note": self.note,
        }


def rank_places(request: PlanRequest, goal: Goal = "cost") -> Ranking:
    """Every place for which what counts is published, best first.

    Electricity, intensity and water are the place's own; PUE, failures and hardware prices stay those of the plan,
    and so do its campaign's hours. Rented GPUs have the electricity in their price: their places are vendors' offers.

    Raises:
        InputError: an unknown goal, a plan that cannot be, or nothing published.
    """
    if goal not in get_args(Goal):
        raise InputError(f"goal '{goal}' is not known; {nearest(goal, get_args(Goal))}.")
    ready = scenario(request)
    campaign = ready.typical
    case = _Case(ready, campaign, hourly_kwh(campaign))
    rented = goal == "cost" and request.money.mode == "rent"
    found = list(case.offers() if rented else case.places(goal))
    key = FIGURE[goal]
    large = [option for option in found if (option.grid_share or 0.0) <= LARGEST_GRID_SHARE]
    kept = [option for option in large if getattr(option, key) is not None]
    if not kept:
        raise InputError(_nothing_published(ready, goal, rented))
    note = (
        "Rented GPUs have their electricity in the price, so vendors and regions are compared."
        if rented
        else "PUE, failures and hardware prices are those of the plan at every place."
    )
    if len(large) < len(found):
        note += (
            f" Left out: {len(found) - len(large)} whose grid generates less than {1 / LARGEST_GRID_SHARE:g} times "
            "what the site would draw all year."
        )
    options = sorted(kept, key=lambda option: (getattr(option, key), option.name))
    return Ranking(name=ready.name, goal=goal, here=case.here(), options=tuple(options), note=note)


def _nothing_published(ready: Scenario, goal: Goal, rented: bool) -> str:
    gpu, money = ready.setup.cluster.gpu, ready.request.money
    if not rented:
        return f"no place's {goal} is published for {gpu.label}."
    others = priced_commitments(gpu)
    advice = f"; take money.commitment {' or '.join(others)}" if others else ""
    return f"no vendor publishes a rent of {gpu.label} with money.commitment {money.commitment}{advice}."


@dataclass(frozen=True)
class _Case:
    """One campaign and its hours, to be put elsewhere."""

    ready: Scenario
    campaign: Campaign
    kwh: Array

    @property
    def days(self) -> float:
        return self.campaign.duration_s / DAY_S

    def here(self) -> PlaceOption:
        """Where the plan puts it."""
        tariff, grid = self.ready.prices.tariff, self.ready.grid
        return self._option(
            name=grid.name,
            label=grid.label,
            electricity_usd=bill(tariff, self.ready.start, self.kwh.tolist()).total_usd,
            grid=grid,
            settings=(f"site.grid={grid.name}", f"site.tariff={tariff.name}"),
            source=tariff.source,
        )

    def places(self, goal: Goal) -> Iterator[PlaceOption]:
        """Priced countries and states where money counts, else every grid."""
        priced = {row["name"]: row for row in rows(PLACES)}
        if goal == "cost":
            for name, row in priced.items():
                grid = load_grid(row["iso3"])
                yield self._priced(name, f"{row['label']}, USA" if "-" in name else row["label"], grid)
            return
        for grid in grids():
            if goal == "carbon" or grid.iso3 in litres_per_kwh():
                yield self._priced(grid.iso3 if grid.iso3 in priced else "", grid.label, grid)

    def _priced(self, tariff_name: str, label: str, grid: Grid) -> PlaceOption:
        tariff = load_tariff(tariff_name) if tariff_name else None
        settings = (f"site.grid={grid.name}", *((f"site.tariff={tariff_name}",) if tariff_name else ()))
        return self._option(
            name=tariff_name if "-" in tariff_name else grid.name,
            label=label,
            electricity_usd=None if tariff is None else float(self.kwh.sum()) * tariff.energy_usd_per_kwh,
            grid=grid,
            settings=settings,
            source=grid.source if tariff is None else f"{tariff.source}; {grid.source}",
            tariff_name=tariff_name,
        )

    def _option(
        self,
        *,
        name: str,
        label: str,
        electricity_usd: float | None,
        grid: Grid,
        settings: tuple[str, ...],
        source: str,
        tariff_name: str = "",
    ) -> PlaceOption:
        prices = self.ready.prices
        if tariff_name:
            prices = replace(prices, tariff=load_tariff(tariff_name))
        charges = Charges(setup=self.ready.setup, money=self.ready.request.money)
        cost = None if electricity_usd is None else charges.asked(prices, self.days, electricity_usd)
        energy_kwh = self.campaign.total_energy_j / JOULES_PER_KWH
        known_water = campaign_water(self.ready.request, self.campaign, grid)
        return PlaceOption(
            name=name,
            label=label,
            cost_usd=cost.expected if cost else None,
            electricity_usd=electricity_usd,
            emissions_t=location_based(energy_kwh, grid.over(self.ready.start, self.kwh)),
            water_m3=None if known_water.generation_m3 is None else known_water.total_m3,
            grid_share=self._grid_share(grid),
            settings=settings,
            source=source,
        )

    def _grid_share(self, grid: Grid) -> float | None:
        generation_mwh = next((c.generation_mwh for c in countries() if c.iso3 == grid.iso3), 0.0)
        yearly_mwh = self.campaign.mean_site_power_w / 1e6 * HOURS_PER_YEAR
        return yearly_mwh / generation_mwh if generation_mwh else None

    def offers(self) -> Iterator[PlaceOption]:
        """Vendors' newest published rents of this GPU, under the plan's commitment."""
        request, setup = self.ready.request, self.ready.setup
        charges = Charges(setup=setup, money=request.money)
        for quote in recent(setup.cluster.gpu.name, request.money.commitment):
            rental = given_rental(quote.gpu, quote.usd)
            cost = charges.rent(replace(self.ready.prices, rental=rental), self.days)
            yield PlaceOption(
                name=quote.vendor,
                label=", ".join(part for part in (quote.vendor, quote.region, quote.date) if part),
                cost_usd=cost.expected if cost else None,
                electricity_usd=None,
                emissions_t=None,
                water_m3=None,
                grid_share=None,
                settings=(f"money.vendor={quote.vendor}",),
                source=quote.source,
            )
