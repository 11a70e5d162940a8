"""`herdplan simulate`: the campaign of a plan, replica by replica, with what each would cost and emit."""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from planner.campaign.metering import campaign_bill, campaign_water, hourly_kwh
from planner.campaign.planned import first_moment, plan_campaign
from planner.campaign.typical import typical_campaign
from planner.carbon import Grid, load_grid, location_based
from planner.money.charges import Charges
from planner.money.pricing import Prices, load_prices
from planner.plan_file import PlanRequest
from planner.refusal import of_the_plan
from profiler.units import DAY_S, HOUR_S, JOULES_PER_KWH, JOULES_PER_MWH
from sim.campaign import Campaign, CampaignSetup, replica_seeds, simulate_campaign
from sim.replicas import fan_out

LOW, HIGH = 0.05, 0.95
"""Ends of the interval that a distribution is told by."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A plan ready to be simulated and priced; small enough to be sent to other processes."""

    request: PlanRequest
    setup: CampaignSetup
    as_planned: Prices
    """From the plan's own first day."""
    grid: Grid

    @property
    def name(self) -> str:
        """What it is called."""
        return self.request.name or self.request.model

    @property
    def start(self) -> datetime:
        """The first moment."""
        return first_moment(self.request)

    @property
    def prices(self) -> Prices:
        """From the first moment."""
        return replace(self.as_planned, start=self.start)

    @property
    def typical(self) -> Campaign:
        """The campaign of median length among the plan's replicas, as the plan takes it."""
        return typical_campaign(self.setup, self.request.seed, self.request.replicas).campaign

    def replica(self, seed: int) -> "Replica":
        """One campaign in figures."""
        return self.figures(simulate_campaign(self.setup, seed), seed)

    def figures(self, campaign: Campaign, seed: int) -> "Replica":
        """A campaign of this scenario in figures."""
        days = campaign.duration_s / DAY_S
        electricity_usd = campaign_bill(self.request, campaign, self.prices).total_usd
        charges = Charges(setup=self.setup, money=self.request.money)
        cost = charges.asked(self.prices, days, electricity_usd)
        return Replica(
            seed=seed,
            training_days=days,
            finish=(self.start + timedelta(days=days)).isoformat(timespec="minutes"),
            gpu_hours=campaign.gpu_hours,
            tokens=campaign.tokens,
            steps=campaign.steps,
            ettr=campaign.ettr,
            goodput_tokens_per_s=campaign.tokens / campaign.duration_s,
            energy_mwh=campaign.total_energy_j / JOULES_PER_MWH,
            energy_by_part_mwh={part: joules / JOULES_PER_MWH for part, joules in campaign.energy_j.items()},
            peak_power_mw=campaign.peak_site_power_w / 1e6,
            unexpected_interruptions=campaign.unexpected_interruptions,
            interruptions=len(campaign.stops),
            time_by_activity_s=dict(campaign.seconds),
            electricity_usd=electricity_usd,
            cost_usd=math.nan if cost is None else cost.expected,
            emissions_tco2e=location_based(
                campaign.total_energy_j / JOULES_PER_KWH, self.grid.over(self.start, hourly_kwh(campaign))
            ),
            water_m3=campaign_water(self.request, campaign, self.grid).total_m3,
        )


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One simulated campaign in figures; its seed repeats it whole."""

    seed: int
    training_days: float
    finish: str
    """Local date and time."""
    gpu_hours: float
    tokens: float
    steps: int
    ettr: float
    goodput_tokens_per_s: float
    """Tokens kept over all time."""
    energy_mwh: float
    energy_by_part_mwh: Mapping[str, float]
    peak_power_mw: float
    unexpected_interruptions: int
    interruptions: int
    time_by_activity_s: Mapping[str, float]
    electricity_usd: float
    cost_usd: float
    """Rent or ownership as the plan asks; not a number without a price."""
    emissions_tco2e: float
    """Of the electricity, as the grid made it."""
    water_m3: float
    """At the site and, where published, in generating the electricity."""


DISTRIBUTED = (
    "training_days",
    "ettr",
    "goodput_tokens_per_s",
    "energy_mwh",
    "peak_power_mw",
    "unexpected_interruptions",
    "electricity_usd",
    "cost_usd",
    "emissions_tco2e",
    "water_m3",
)
"""The figures whose distribution over replicas is told."""


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Replicas of one scenario, in the order of their seeds."""

    scenario: Scenario
    seed: int
    asked: int
    """More than there are where Ctrl-C ended it."""
    replicas: tuple[Replica, ...]

    @cached_property
    def median(self) -> Campaign:
        """The campaign of median length, whole."""
        ranked = sorted(self.replicas, key=lambda one: (one.training_days, one.seed))
        return simulate_campaign(self.scenario.setup, ranked[(len(ranked) - 1) // 2].seed)

    def distribution(self, figure: str) -> dict[str, float]:
        """Lowest, 5 %, median, mean, 95 % and highest of a figure over the replicas."""
        values = sorted(float(getattr(one, figure)) for one in self.replicas)
        return {
            "lowest": values[0],
            "p5": _quantile(values, LOW),
            "median": statistics.median(values),
            "mean": statistics.fmean(values),
            "p95": _quantile(values, HIGH),
            "highest": values[-1],
        }

    def to_dict(self) -> dict[str, Any]:
        """As scripts read it; units stand in the keys. What has no price is left out."""
        days = self.distribution("training_days")
        start = self.scenario.start
        figures = {name: self.distribution(name) for name in DISTRIBUTED}
        return {
            "name": self.scenario.name,
            "seed": self.seed,
            "replicas": len(self.replicas),
            "replicas_asked": self.asked,
            **{name: found for name, found in figures.items() if not math.isnan(found["mean"])},
            "finish": {
                name: (start + timedelta(days=days[name])).isoformat(timespec="minutes")
                for name in ("lowest", "p5", "median", "p95", "highest")
            },
            "mtbf_h": _finite(self.scenario.setup.mtbf_s / HOUR_S),
            "campaigns": [_row(one) for one in self.replicas],
            "median_campaign": {
                "seed": self.median.seed,
                "interruptions": [stop._asdict() for stop in self.median.interruptions],
            },
        }


def _row(replica: Replica) -> dict[str, Any]:
    row = dict(vars(replica))
    return row if not math.isnan(replica.cost_usd) else {k: v for k, v in row.items() if k != "cost_usd"}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _quantile(ordered: list[float], share: float) -> float:
    """Linear between order statistics, as numpy does by default."""
    at = share * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


@of_the_plan()
def scenario(request: PlanRequest) -> Scenario:
    """Everything about a plan but chance.

    Raises:
        InputError: a plan that cannot be built or would never finish.
    """
    setup = plan_campaign(request)
    return Scenario(
        request=request,
        setup=setup,
        as_planned=load_prices(request, setup.cluster),
        grid=load_grid(request.site.grid),
    )


def simulate_plan(
    request: PlanRequest,
    *,
    seed: int,
    replicas: int,
    workers: int = 1,
    scheduler: str = "",
    done: Callable[[int], object] = lambda _: None,
) -> Simulation:
    """Simulate replicas of a plan; the same seed gives the same bytes with any number of workers.

    Raises:
        InputError: a plan that cannot be built or would never finish, or workers that cannot be reached.
    """
    ready = scenario(replace(request, seed=seed))
    tasks = [(ready, one) for one in replica_seeds(seed, replicas)]
    found = fan_out(_replica, tasks, workers=workers, scheduler=scheduler, done=done)
    return Simulation(scenario=ready, seed=seed, asked=replicas, replicas=tuple(found))


def _replica(task: tuple[Scenario, int]) -> Replica:
    ready, seed = task
    return ready.replica(seed)
