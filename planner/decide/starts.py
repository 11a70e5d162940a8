"""When: the same campaign from other first days."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal, get_args

from planner.campaign.metering import hourly_kwh
from planner.campaign.simulation import Scenario, scenario
from planner.carbon import location_based
from planner.money.charges import Charges
from planner.money.tariffs import bill
from planner.plan_file import PlanRequest
from profiler.files import InputError, nearest
from profiler.units import DAY_S, JOULES_PER_KWH

Goal = Literal["cost", "carbon"]
FIGURE = {"cost": "cost_usd", "carbon": "emissions_t"}
ALIKE = 1e-9
"""Relative difference below which all days are alike."""


@dataclass(frozen=True, kw_only=True)
class StartOption:
    """One first day, and what the campaign costs and emits from it."""

    start: str
    finish: str
    cost_usd: float | None
    electricity_usd: float
    energy_mwh: float
    emissions_t: float


@dataclass(frozen=True, kw_only=True)
class StartRanking:
    """First days in the order of the calendar."""

    name: str
    goal: Goal
    options: tuple[StartOption, ...]
    why_alike: str
    """Why no day is better than another; empty where one is."""

    @property
    def planned(self) -> StartOption:
        """The plan's own first day."""
        return self.options[0]

    @property
    def best(self) -> StartOption:
        """The best, of equals the first."""
        return min(self.options, key=lambda option: getattr(option, FIGURE[self.goal]))

    def to_dict(self) -> dict[str, object]:
        """As scripts read it."""
        return {
            "name": self.name,
            "goal": self.goal,
            "best_start": self.best.start,
            "why_alike": self.why_alike,
            "options": [vars(option) for option in self.options],
        }


def rank_starts(
    request: PlanRequest,
    goal: Goal = "cost",
    *,
    within_days: int = 365,
    every_days: int = 7,
    done: Callable[[int], object] = lambda _: None,
) -> StartRanking:
    """Cost and emissions of a plan from its own first day and from later ones.

    Where the site's hours are alike the campaign's own hours are moved; where a climate or power windows make them
    differ it is simulated anew from each day, with the same luck.

    Args:
        request: what to train.
        goal: what the best day is best for.
        within_days: how far from the plan's first day to look.
        every_days: between two days that are tried.
        done: told how many days are done.

    Raises:
        InputError: an unknown goal, days out of range, or no price where cost counts.
    """
    if goal not in get_args(Goal):
        raise InputError(f"goal '{goal}' is not known; {nearest(goal, get_args(Goal))}.")
    if not 0 <= within_days <= 3660:
        raise InputError(f"within_days is {within_days}; 0 to 3660 is possible.")
    if every_days < 1:
        raise InputError(f"every_days is {every_days}; at least 1 is needed.")
    ready = scenario(request)
    campaign = ready.typical
    options = []
    for count, shift in enumerate(range(0, within_days + 1, every_days), start=1):
        moved = _moved(ready, shift)
        if shift and moved.setup.conditions is not None:
            campaign = moved.typical
        kwh = hourly_kwh(campaign)
        days = campaign.duration_s / DAY_S
        usd = bill(moved.prices.tariff, moved.start, kwh.tolist()).total_usd
        cost = Charges(setup=moved.setup, money=request.money).asked(moved.prices, days, usd)
        energy_kwh = campaign.total_energy_j / JOULES_PER_KWH
        options.append(
            StartOption(
                start=moved.start.date().isoformat(),
                finish=(moved.start + timedelta(days=days)).date().isoformat(),
                cost_usd=cost.expected if cost else None,
                electricity_usd=usd,
                energy_mwh=energy_kwh / 1000,
                emissions_t=location_based(energy_kwh, moved.grid.over(moved.start, kwh)),
            )
        )
        done(count)
    if goal == "cost" and options[0].cost_usd is None:
        raise InputError(f"no price of {ready.setup.cluster.gpu.label} is known for money.mode {request.money.mode}.")
    return StartRanking(name=ready.name, goal=goal, options=tuple(options), why_alike=_alike(ready, goal, options))


def _moved(ready: Scenario, days: int) -> Scenario:
    """The same scenario from so many days later; the time of day stays."""
    if not days:
        return ready
    start = ready.start + timedelta(days=days)
    conditions = ready.setup.conditions
    setup = ready.setup if conditions is None else replace(ready.setup, conditions=replace(conditions, start=start))
    return replace(ready, request=replace(ready.request, start=start.isoformat()), setup=setup)


def _alike(ready: Scenario, goal: Goal, options: list[StartOption]) -> str:
    values = [getattr(option, FIGURE[goal]) for option in options]
    if max(values) - min(values) > ALIKE * max(values):
        return ""
    if goal == "carbon":
        if ready.grid.hourly_kg_per_kwh:
            return f"over the run's days the hours of {ready.grid.label} come out alike."
        return "the grid's intensity is the same at every hour; give site.grid a CSV file with a year's hours."
    if ready.request.money.mode == "rent":
        return "rent has the electricity in its price, which is the same on every day."
    tariff = ready.prices.tariff
    if tariff.windows or tariff.hourly_usd_per_kwh:
        return f"over the run's days the hours of {tariff.label} come out alike."
    return (
        "the tariff is the same at every hour; give site.tariff one with windows, or a CSV file with a year's hours."
    )
