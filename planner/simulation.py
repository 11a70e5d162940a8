"""`herdplan simulate`: the campaign of a plan, replica by replica."""

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from planner.plan import plan_campaign
from planner.plan_file import PlanRequest
from profiler.units import DAY_S, HOUR_S, JOULES_PER_MWH
from sim.campaign import Campaign, simulate_replicas


def simulate_plan(request: PlanRequest, *, seed: int, replicas: int) -> dict[str, Any]:
    """Simulate and summarise; the same seed gives the same bytes.

    Raises:
        InputError: a plan that cannot be built or would never finish.
    """
    setup = plan_campaign(replace(request, seed=seed))
    campaigns = simulate_replicas(setup, seed, replicas)
    days = sorted(c.duration_s / DAY_S for c in campaigns)
    return {
        "name": request.name or request.model,
        "seed": seed,
        "replicas": replicas,
        "training_days": {"lowest": days[0], "median": statistics.median(days), "highest": days[-1]},
        "ettr": {"mean": statistics.fmean(c.ettr for c in campaigns)},
        "energy_mwh": {"mean": statistics.fmean(c.total_energy_j for c in campaigns) / JOULES_PER_MWH},
        "mtbf_h": setup.mtbf_s / HOUR_S,
        "campaigns": [_campaign(c) for c in campaigns],
    }


def _campaign(campaign: Campaign) -> dict[str, Any]:
    return {
        "seed": campaign.seed,
        "training_days": campaign.duration_s / DAY_S,
        "gpu_hours": campaign.gpu_hours,
        "tokens": campaign.tokens,
        "steps": campaign.steps,
        "ettr": campaign.ettr,
        "energy_mwh": campaign.total_energy_j / JOULES_PER_MWH,
        "energy_by_part_mwh": {part: joules / JOULES_PER_MWH for part, joules in campaign.energy_j.items()},
        "peak_power_mw": campaign.peak_site_power_w / 1e6,
        "unexpected_interruptions": campaign.unexpected_interruptions,
        "time_by_activity_s": dict(campaign.seconds),
        "interruptions": [i._asdict() for i in campaign.interruptions],
    }


def summary_line(result: Mapping[str, Any]) -> str:
    """One sentence for a person."""
    days = result["training_days"]
    first = result["campaigns"][0]
    return (
        f"{result['name']}: {days['median']:.1f} days ({days['lowest']:.1f} to {days['highest']:.1f} over "
        f"{result['replicas']} replicas), effective time {result['ettr']['mean']:.1%}, "
        f"{result['energy_mwh']['mean']:,.0f} MWh, a failure every {result['mtbf_h']:.2f} h "
        f"({first['unexpected_interruptions']} in the first replica)."
    )
