"""What theory expects of a campaign, where theory exists; the simulation is held against it."""

import math
from typing import TYPE_CHECKING

from profiler.units import DAY_S

if TYPE_CHECKING:
    from sim.campaign.setup import CampaignSetup


def expected_ettr(setup: "CampaignSetup") -> float:
    """Expected effective training time ratio, first order in the failure rate.

    arXiv:2410.21680: E[ETTR] = (1 − N r_f (u0 + Δt / 2)) / (1 + w / Δt), with N r_f the failure rate of the job, u0
    the time to detect and restart, Δt the checkpoint interval and w what a checkpoint holds up; checkpoints that are
    safe only later, and those in memory that not every failure leaves, add to the work lost. Where interruptions are
    planned or training pauses, the result is multiplied by the share of time that they leave. Waiting for spares,
    stragglers, lemon nodes and infant mortality are not in it. Never below 0.
    """
    if setup.recovery == "replica":
        return expected_replica_ettr(setup)
    cadence = setup.cadence
    failing = 1 - (setup.mean_down_s + mean_lost_s(setup)) / setup.mtbf_s
    left = _planned_share(setup) / (1 + setup.pause_share)
    return max(failing, 0.0) / (1 + cadence.cost_s / cadence.interval_s) * left


def mean_lost_s(setup: "CampaignSetup") -> float:
    """Mean work lost at a failure [s]: half an interval and what was not yet safe, by what the failure leaves."""
    cadence = setup.cadence
    kept_s = cadence.interval_s / 2 + cadence.lag_s
    stored = setup.storage_failures_share if setup.checkpoints.in_memory else 0.0
    stored_s = cadence.every * cadence.interval_s / 2 + cadence.stored_lag_s
    if not cadence.every:
        stored_s = DAY_S / max(setup.planned_maintenance_per_day, 1e-9) / 2
    return kept_s + stored * (stored_s - kept_s)


def stored_share(setup: "CampaignSetup") -> float:
    """Share of the work that lasts where only failures that copies in memory do not survive undo it.

    Daly's cost function without overheads, (L/M) / (e^(L/M) − 1), L being the time between checkpoints on storage and
    M that between such failures. Without regular ones, L is the time between planned interruptions, which save.
    """
    if not setup.checkpoints.in_memory or not setup.storage_failures_share:
        return 1.0
    cadence, per_day = setup.cadence, setup.planned_maintenance_per_day
    work_s = math.fsum(phase.training_s for phase in setup.phases)
    spacing_s = cadence.every * cadence.interval_s or (DAY_S / per_day if per_day else math.inf)
    ratio = min(min(spacing_s, work_s) * setup.storage_failures_share / setup.mtbf_s, 500.0)
    return ratio / math.expm1(ratio) if ratio else 1.0


def renewal_ettr(setup: "CampaignSetup") -> float:
    """Exact ETTR of a long run with exponential failures that are detected at once, unplanned ones only.

    Daly (2006), doi:10.1016/j.future.2004.11.016, complete cost function: τ / (M e^(R/M) (e^((τ+δ)/M) − 1)).
    Detection is counted with the restart R, waiting for spares is not.
    """
    cadence, mtbf_s = setup.cadence, setup.mtbf_s
    if math.isinf(mtbf_s):
        return cadence.interval_s / cadence.cycle_s
    cycle = min(cadence.cycle_s / mtbf_s, 500.0)
    return cadence.interval_s / mtbf_s * math.exp(-setup.mean_down_s / mtbf_s) / math.expm1(cycle)


def expected_replica_ettr(setup: "CampaignSetup") -> float:
    """Expected ETTR where each failure stops all replicas for a stall and one of them for its restart.

    Stalls overlap as customers of an M/G/∞ queue do: none is on with probability exp(−λ s). Of the replicas,
    λ R / `replicas` are away on average (Little's law), R being the restart of one.
    """
    mtbf_s, stall_s = setup.mtbf_s, setup.mean_down_s
    away = setup.replica_restart_s / mtbf_s / setup.replicas
    up = math.exp(-stall_s / mtbf_s) * max(1 - away, 0.0)
    return up * (1 - setup.cadence.held_share) * _planned_share(setup) / (1 + setup.pause_share)


def _planned_share(setup: "CampaignSetup") -> float:
    return 1 - setup.planned_maintenance_per_day * (setup.maintenance_s + setup.restart_s) / DAY_S


def above_poisson(most: int, mean: float) -> float:
    """Share of the time in which more than `most` nodes are under repair, `mean` being their average.

    With any number of crews their number is Poisson's whatever the repair times are (Palm's theorem, M/G/∞). It is
    above its mean m by t with a chance of at most exp(−t² / (2 (m + t/3))) (Bernstein's inequality; Boucheron, Lugosi
    and Massart, Concentration Inequalities, 2013, section 2.8), and below it by t with one of at most exp(−t² / 2m):
    less than rounding from t = 9 √m + 25 on, either way.
    """
    far = poisson_reach(mean)
    if not mean or most > mean + far:
        return 0.0
    counts = range(max(math.floor(mean - far), 0), most + 1)
    return max(1 - math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in counts), 0.0)


def poisson_reach(mean: float) -> float:
    """How far from its mean a Poisson number never comes, but for rounding."""
    return 9 * math.sqrt(mean) + 25
