"""How sure: the outcomes of a plan under every assumption's prior and under the chance of failures.

The step, the layout and the campaign are computed once, by `make_plan`. What changes from sample to sample follows
from the simulated campaign's own seconds and watts: `Response` scales them by factors on the assumptions, with all
factors 1 giving the plan back exactly, so a thousand samples take milliseconds and docs/uncertainty.md can say what
each factor does.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from planner.campaign.typical import typical_campaign
from planner.market.prices import Level, PriceRange
from planner.money.costs import total_usd
from planner.priors import SAMPLES, Array, Prior, normal_quantiles, normals, plan_priors, price_ranges
from planner.quantities import percent
from profiler.files import InputError
from profiler.units import DAY_S, JOULES_PER_MWH
from sim.campaign.record import LOST, TRAINING
from sim.clocks import speed_at_power

if TYPE_CHECKING:
    from planner.plan import Plan

OUTCOMES = {
    "days": "Days",
    "gpu_hours": "GPU-hours",
    "cost_usd": "Cost [USD]",
    "energy_mwh": "Energy [MWh]",
    "tco2e": "Emissions [tCO2e]",
    "peak_mw": "Peak power [MW]",
}
"""What a sample of a plan gives, by name, as a person reads it."""

WORK_ACTIVITIES = ("training", "checkpointing")
FAILURE_ACTIVITIES = ("lost_work", "fewer_replicas", "detection", "drain", "restart", "waiting_for_repair")
"""What grows with the work, and what failures take; everything else is due by the calendar."""

MANY_STOPS = 100
"""From so many failures on, their sum is near enough to a normal."""
REPLICAS = 100
"""Campaigns simulated for the luck of a run with fewer; each takes a millisecond or less."""

LEAST_SHARE = 0.01
"""A sample that would work less than this share of its time is taken to work this share: it never ends anyway."""
LEAST_SAID = 0.01
"""Share of such samples from which on they are worth a word: the interval's upper end is near."""


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """One outcome over all samples, and its value in the plan."""

    p5: float
    p50: float
    p95: float
    plan: float

    def to_dict(self) -> dict[str, float]:
        """The row as scripts read it."""
        return {"p5": self.p5, "p50": self.p50, "p95": self.p95, "plan": self.plan}


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Outcomes of a plan as distributions, and the priors that made them."""

    name: str
    samples: int
    seed: int
    priors: Mapping[str, Prior]
    outcomes: Mapping[str, Quantiles]
    drawn: Mapping[str, Array]
    """Every sample of every outcome, in the same order."""
    endless: float
    """Share of the samples in which failures take all the time, so that the run never ends."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the intervals do not show."""
        if self.endless < LEAST_SAID:
            return ()
        return (
            f"in {percent(self.endless, 0)} of {self.samples:,} samples failures take all the time and the run never "
            f"ends; upper ends of intervals stand for that, as if it worked {percent(LEAST_SHARE, 0)} of the time",
        )

    def to_dict(self) -> dict[str, object]:
        """The stable form that scripts read."""
        return {
            "name": self.name,
            "samples": self.samples,
            "seed": self.seed,
            "outcomes": {name: quantiles.to_dict() for name, quantiles in self.outcomes.items()},
            "priors": {
                name: {"low": p.low, "high": p.high, "coverage": p.coverage, "kind": p.kind, "source": p.source}
                for name, p in self.priors.items()
            },
        }


def sample_plan(
    plan: "Plan",
    *,
    samples: int = SAMPLES,
    seed: int | None = None,
    changes: Mapping[str, tuple[float, float]] | None = None,
) -> Uncertainty:
    """Draw every assumption from its prior `samples` times and see what becomes of the plan.

    The plan's own seed is used where none is given. `changes` puts other 5th and 95th percentiles over priors.

    Raises:
        InputError: fewer than 20 samples, a negative seed, or a change that cannot be.
    """
    seed = plan.request.seed if seed is None else seed
    if samples < 20:
        raise InputError(f"samples is {samples}; at least 20 are needed.")
    if seed < 0:
        raise InputError(f"seed is {seed}; 0 or more is needed.")
    priors = plan_priors(plan, changes)
    luck = {name: normals(name, samples, seed) for name, prior in priors.items() if prior.unsure}
    response = plan.response
    factors = draw(priors, luck)
    drawn = response.outcomes(factors)
    at_plan = response.at_plan()
    outcomes = {}
    for name, values in drawn.items():
        p5, p50, p95 = (float(x) for x in np.quantile(values, (0.05, 0.5, 0.95)))
        outcomes[name] = Quantiles(p5=p5, p50=p50, p95=p95, plan=at_plan[name])
    return Uncertainty(
        name=plan.name,
        samples=samples,
        seed=seed,
        priors=priors,
        outcomes=outcomes,
        drawn=drawn,
        endless=response.endless(factors),
    )


def draw(priors: Mapping[str, Prior], luck: Mapping[str, Array]) -> dict[str, Array]:
    """Factors by name from standard normals by name; `chance` stays a standard normal."""
    return {name: z if name == "chance" else priors[name].factors(z) for name, z in luck.items()}


class Response:
    """The outcomes of one plan as a function of factors on its assumptions.

    With s the factor on the work (step time times tokens), the campaign's seconds T split into work W, what
    failures take (detection d, restart r, all else l: lost work, drains, waiting, running on fewer replicas, as
    shares of T) and what is due by the calendar (maintenance and its restarts, pauses, share m), the expected
    duration is

        T' = s W / (1 - f (l + d' d + r' r) - m),

    f, d' and r' being the factors on the rate of failures, detection and restart: first order in the share lost,
    and exact at the plan. Chance adds what a hundred more simulated campaigns differ from the plan's; where there
    are many interruptions, the standard deviation of a compound Poisson sum, sqrt(n E[L^2]), of n interruptions
    that take L seconds each, as they did in the campaign, is the same and quicker. Either grows with sqrt(f).
    """

    def __init__(self, plan: "Plan") -> None:
        self.plan = plan
        campaign = plan.campaign
        self.duration_s = campaign.duration_s
        seconds: dict[str, float] = defaultdict(float, campaign.seconds)
        self.work_s = sum(seconds[name] for name in WORK_ACTIVITIES)
        planned_restart_s = float(campaign.stops.column("restart_s")[campaign.planned].sum())
        lost_s = {name: seconds[name] for name in FAILURE_ACTIVITIES}
        lost_s["restart"] = max(lost_s["restart"] - planned_restart_s, 0.0)
        self.lost = {name: s / self.duration_s for name, s in lost_s.items()}
        self.planned_restart = planned_restart_s / self.duration_s
        known = (*FAILURE_ACTIVITIES, *WORK_ACTIVITIES)
        self.calendar = sum(s for name, s in seconds.items() if name not in known) / self.duration_s
        self._stops()
        self._watts()

    def _stops(self) -> None:
        """How many failures there were and the mean square of what each took."""
        stops, unplanned = self.plan.campaign.stops, ~self.plan.campaign.planned
        took_s = sum(stops.column(f"{part}_s") for part in ("lost", "detection", "drain", "restart", "wait"))
        self.failures = int(unplanned.sum())
        self.mean_square_s2 = float(np.mean(np.square(took_s)[unplanned])) if self.failures else 0.0

    def _watts(self) -> None:
        """Mean watts of the site while nodes work and while they do not."""
        line, watts = self.plan.campaign.timeline, self.plan.campaign.watts.sum(axis=1)
        lengths_s = line.column("end_s") - line.column("start_s")
        works = np.isin(line.column("activity"), (TRAINING, LOST))
        worked_s = np.where(works, lengths_s - line.column("curtailed_s"), 0.0)
        stood_s = lengths_s - worked_s
        self.working_w, self.standing_w = (
            float(spent_s @ watts / spent_s.sum()) if spent_s.any() else 0.0 for spent_s in (worked_s, stood_s)
        )
        # stragglers and pauses stretch the time in which nodes work beyond the work itself
        self.stretch = float(worked_s.sum()) / (self.work_s + self.lost["lost_work"] * self.duration_s)

    def outcomes(self, factors: Mapping[str, Array]) -> dict[str, Array]:
        """Every outcome for arrays of factors by the names of priors; a name left out is 1 (chance: 0)."""
        watts = self._power_factor(factors)
        allowed = self._allowed(watts)
        slower = 1 / np.maximum(speed_at_power(allowed), LEAST_SHARE)
        duration_s, working_s = self._durations_s({**factors, "step_time": factors.get("step_time", 1.0) * slower})
        peak_mw = self.plan.peak_power_mw * allowed * watts
        working_w, standing_w = allowed * watts * self.working_w, np.minimum(watts * self.standing_w, peak_mw * 1e6)
        energy_mwh = (working_w * working_s + standing_w * (duration_s - working_s)) / JOULES_PER_MWH
        days = duration_s / DAY_S
        intensity = self.plan.carbon.location_based_tco2e * JOULES_PER_MWH / self.plan.campaign.total_energy_j
        found = {
            "days": days,
            "gpu_hours": days * 24 * self.plan.cluster.gpus,
            "cost_usd": self._cost_usd(factors, days, energy_mwh, watts),
            "energy_mwh": energy_mwh,
            "tco2e": energy_mwh * intensity * factors.get("grid_intensity", 1.0),
            "peak_mw": peak_mw,
        }
        size = max((np.size(values) for values in factors.values()), default=1)
        return {name: np.broadcast_to(values, (size,)) for name, values in found.items()}

    def at_plan(self) -> dict[str, float]:
        """The plan's own outcomes."""
        return {name: float(values[0]) for name, values in self.outcomes({}).items()}

    def endless(self, factors: Mapping[str, Array]) -> float:
        """Share of the samples in which nothing, or next to nothing, of the time is left to work."""
        return float(np.mean(self._working(factors)[0] <= LEAST_SHARE))

    def _working(self, factors: Mapping[str, Array]) -> tuple[Array, Array]:
        """Share of the time in which a campaign works, at least `LEAST_SHARE`, and that which failures take."""
        one = np.ones(1)
        rate, detection, restart = (factors.get(name, one) for name in ("failures", "detection_time", "restart_time"))
        lost = self.lost
        base = math.fsum(lost.values())
        per_failure = base + lost["detection"] * (detection - 1) + lost["restart"] * (restart - 1)
        working = 1 - rate * per_failure - self.calendar - self.planned_restart * restart
        return np.maximum(working, LEAST_SHARE), per_failure

    def _durations_s(self, factors: Mapping[str, Array]) -> tuple[Array, Array]:
        """Seconds of the campaign, and those in which the nodes work."""
        one = np.ones(1)
        rate, lost, base = factors.get("failures", one), self.lost, math.fsum(self.lost.values())
        work_s = self.work_s * factors.get("step_time", one) * factors.get("tokens", one)
        working, per_failure = self._working(factors)
        duration_s = work_s / working
        if base > 0 and "chance" in factors:
            longer = np.sqrt(rate) * per_failure / base
            duration_s = np.maximum(duration_s + self._luck_s(factors["chance"], duration_s) * longer, work_s)
        working_s = (work_s + rate * lost["lost_work"] * duration_s) * self.stretch
        return duration_s, np.minimum(working_s, duration_s)

    def _luck_s(self, z: Array, duration_s: Array) -> Array:
        """How much longer than expected a campaign takes by chance, at quantiles `z` of a standard normal."""
        longer: Array
        if self.failures >= MANY_STOPS:
            spread_s = math.sqrt(self.failures * self.mean_square_s2) / (1 - math.fsum(self.lost.values()))
            longer = z * spread_s * np.sqrt(duration_s / self.duration_s)
        else:
            longer = (np.interp(z, *self._replicas) / self.duration_s - 1) * duration_s
        return longer

    @cached_property
    def _replicas(self) -> tuple[Array, Array]:
        """Standard normals at the ranks of simulated campaigns, and the campaigns' seconds in that order."""
        setup, seed = self.plan.setup, self.plan.request.seed
        seconds = np.sort(typical_campaign(setup, seed, REPLICAS).durations_s)
        return normal_quantiles((np.arange(REPLICAS) + 0.5) / REPLICAS), seconds

    def _power_factor(self, factors: Mapping[str, Array]) -> Array:
        """The factor on the site's watts: nodes, what is above them, and what PUE counts beside both."""
        joules = self.plan.campaign.energy_j
        nodes_j = joules["gpu"] + joules["host"]
        above_j = joules["network"] + joules["storage"]
        above = above_j / nodes_j
        overhead = joules["cooling"] / (nodes_j + above_j)
        one = np.ones(1)
        nodes, share, cooling = (factors.get(name, one) for name in ("node_power", "above_node_share", "cooling"))
        grown: Array = nodes * (1 + above * share) * (1 + overhead * cooling) / (1 + above) / (1 + overhead)
        return grown

    def _allowed(self, watts: Array) -> Array:
        """The share of its power that a site with a limit may draw while it works; GPUs are capped to it and slower.

        Where it would draw less than planned its GPUs keep the plan's caps: they are not set higher.
        """
        limit_mw = self.plan.request.site.power_limit_mw
        if limit_mw is None:
            return np.ones(1)
        share: Array = np.minimum(max(limit_mw / self.plan.peak_power_mw, 1.0) / watts, 1.0)
        return share

    def _cost_usd(self, factors: Mapping[str, Array], days: Array, energy_mwh: Array, watts: Array) -> Array:
        """The cost as asked, by the very items that priced the plan, all samples at once; `watts` over the plan's."""
        energy0_mwh = self.plan.campaign.total_energy_j / JOULES_PER_MWH
        price = factors.get("electricity_price", 1.0)
        electricity_usd = self.plan.bill.total_usd * energy_mwh / energy0_mwh * price
        standing_usd = self.plan.standing_bill.total_usd * watts * price
        items = self.plan.charges.asked_items(self.plan.prices, days, electricity_usd, standing_usd)
        if items is None:
            return np.array([self.plan.cost.expected])
        drawn = {price: price.expected * factors[name] for name, price in self._ranges.items() if name in factors}
        return np.asarray(total_usd(items, Level(drawn=drawn)))

    @cached_property
    def _ranges(self) -> dict[str, PriceRange]:
        found = price_ranges(self.plan.prices, self.plan.request.money.mode)
        return {name: price for name, (price, _) in found.items()}
