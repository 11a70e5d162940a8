"""The months: one job that trains, saves itself, fails, restarts and draws power.

Failures of all nodes and causes are one superposed process drawn in blocks; repair crews are a SimPy Resource.
Between two interruptions everything is arithmetic, and ordinary interruptions are too, so the work grows with the
number of interruptions and not with GPUs, steps or checkpoints.
"""

import numpy as np

from profiler.files import InputError
from sim.campaign.job import Job
from sim.campaign.record import ACTIVITIES, PLANNED, REJOIN, Campaign, Interruption, Segment, Table
from sim.campaign.replica_job import ReplicaJob
from sim.campaign.setup import CampaignSetup, Pause, Phase
from sim.campaign.stated import at_effective_ratio
from sim.campaign.theory import expected_ettr, renewal_ettr
from sim.site.campaign import under_conditions

__all__ = [
    "ACTIVITIES",
    "PLANNED",
    "REJOIN",
    "Campaign",
    "CampaignSetup",
    "Interruption",
    "Pause",
    "Phase",
    "Segment",
    "Table",
    "expected_ettr",
    "renewal_ettr",
    "replica_seeds",
    "simulate_campaign",
    "simulate_replicas",
]


def simulate_campaign(setup: CampaignSetup, seed: int) -> Campaign:
    """Simulate one campaign; the same seed gives the same result.

    Raises:
        InputError: a negative seed, more than a million interruptions, or an effective time ratio that cannot be.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; 0 or more is needed.")
    run = Job(setup, seed) if setup.recovery == "job" else ReplicaJob(setup, seed)
    campaign = run.finished()
    if setup.effective_time_ratio is not None:
        campaign = at_effective_ratio(campaign, setup.effective_time_ratio)
    return campaign if setup.conditions is None else under_conditions(campaign, setup, setup.conditions)


def simulate_replicas(setup: CampaignSetup, seed: int, replicas: int) -> tuple[Campaign, ...]:
    """Simulate independent campaigns; each carries the seed that `simulate_campaign` repeats it with.

    Seeds are spawned with numpy's SeedSequence, so the first replicas are the same however many are asked
    for.
    """
    return tuple(simulate_campaign(setup, replica) for replica in replica_seeds(seed, replicas))


def replica_seeds(seed: int, replicas: int) -> tuple[int, ...]:
    """The seeds of `replicas` independent campaigns."""
    if seed < 0:
        raise InputError(f"seed is {seed}; 0 or more is needed.")
    if replicas < 1:
        raise InputError(f"replicas is {replicas}; at least 1 is needed.")
    spawned = np.random.SeedSequence(seed).spawn(replicas)
    return tuple(int(child.generate_state(1, np.uint64)[0]) for child in spawned)
