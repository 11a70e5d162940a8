"""Spot capacity: what the cloud takes back interrupts the run like a failure."""

import math
from dataclasses import replace

from planner.plan_file import MoneyRequest, PlanRequest
from profiler.units import HOUR_S, MONTH_DAYS
from sim.campaign.failure_record import FailureCause, Reliability
from sim.hardware import Cluster

RECLAIMED = "Spot capacity taken back"

RETURN_S = 4 * HOUR_S
"""Until another node is to be had where no spare is left. Assumed: hours, as outages of availability zones last in
published traces (Wu et al., "Can't Be Late", NSDI 2024)."""

NOT_ALIKE = {
    "rent": "owned costs are of the same days, which spot interruptions make longer, though nobody takes owned nodes "
    "back: money.mode=own plans those",
    "own": "rented costs are at the price of spot capacity, but of days that it does not interrupt: money.mode=rent "
    "plans those",
    "mixed": "what all GPUs rented, or all owned, would cost is of this mix's days, which its own spot nodes "
    "interrupt: money.mode=rent and money.mode=own plan those",
}
"""One campaign is priced in every way to have the GPUs, and spot capacity makes it longer in one of them."""


def spot_notes(request: PlanRequest) -> tuple[str, ...]:
    """What to say of the ways to have the GPUs that were not asked for, where spot capacity is interrupted."""
    money = request.money
    as_stated = request.stated.effective_time_ratio is not None
    if money.commitment != "spot" or not money.spot_reclaimed_per_month or as_stated:
        return ()
    return (NOT_ALIKE[money.mode],)


def with_spot(reliability: Reliability, money: MoneyRequest, cluster: Cluster, rented_share: float) -> Reliability:
    """The failure record of a run whose rented nodes are spot capacity; the same one where they are not.

    A share s of nodes taken back in a month is -ln(1 - s) / 30.44 a node-day, of the cluster's nodes and whatever the
    size of the job: the record counts nodes of its own size, and multiplies its rates by what jobs of a size add. The
    cloud gives notice (two minutes at AWS), so nothing has to be detected, but a job of thousands of GPUs restarts
    all the same.
    """
    if money.mode == "own" or money.commitment != "spot" or not money.spot_reclaimed_per_month:
        return reliability
    of_record = cluster.nodes * reliability.gpus_per_node / cluster.gpus / reliability.job_size_factor(cluster.gpus)
    cause = FailureCause(
        name=RECLAIMED,
        category="Capacity",
        rate_per_node_day=rented_share * -math.log1p(-money.spot_reclaimed_per_month) / MONTH_DAYS * of_record,
        detection_s=0.0,
        nodes_lost=1,
        repair_s=RETURN_S,
        source="AWS Spot Instance Advisor, H100 (p5): 10 to 20 % of instances in a month, May 2025",
    )
    return replace(reliability, causes=(*reliability.causes, cause))
