"""The campaign that a plan shows: the one of median length among its replicas."""

from dataclasses import dataclass, replace

from planner.kept import kept
from sim.campaign import Campaign, CampaignSetup, replica_seeds, simulate_campaign
from sim.site.energy import SitePower

HELD = 16
"""Campaigns kept until the median is known; beyond that it is simulated again, and memory does not grow."""


@dataclass(frozen=True, kw_only=True)
class Typical:
    """The campaign of median length, and how long each of the replicas took."""

    campaign: Campaign
    durations_s: tuple[float, ...]
    """In the order of their seeds."""


def typical_campaign(setup: CampaignSetup, seed: int, replicas: int) -> Typical:
    """The campaign of median length among `replicas` independent ones.

    Where every hour of the site is alike, its power decides nothing of what happens when: the months are simulated
    once, whatever the PUE, and its watts are laid over them. Where hours differ, what is allowed stretches them.

    Raises:
        InputError: see `sim.campaign.simulate_campaign`.
    """
    if setup.conditions is not None:
        return _simulated(setup, seed, replicas)
    found = _simulated(replace(setup, site=SitePower()), seed, replicas)
    return replace(found, campaign=found.campaign.powered(setup.state_parts_w))


@kept(64)
def _simulated(setup: CampaignSetup, seed: int, replicas: int) -> Typical:
    seeds = replica_seeds(seed, replicas)
    held: list[Campaign] = []
    durations_s: list[float] = []
    for one in seeds:
        campaign = simulate_campaign(setup, one)
        durations_s.append(campaign.duration_s)
        if len(held) < HELD:
            held.append(campaign)
    middle = sorted(range(replicas), key=durations_s.__getitem__)[replicas // 2]
    median = held[middle] if middle < HELD else simulate_campaign(setup, seeds[middle])
    return Typical(campaign=median, durations_s=tuple(durations_s))
