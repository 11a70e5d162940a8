"""The campaign that a plan shows: the one of median length among its replicas."""

from dataclasses import dataclass, replace

from planner.kept import kept
from sim.campaign import Campaign, CampaignSetup, simulate_replicas
from sim.energy import SitePower


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
    found = simulate_replicas(setup, seed, replicas)
    campaign = sorted(found, key=lambda one: one.duration_s)[len(found) // 2]
    return Typical(campaign=campaign, durations_s=tuple(one.duration_s for one in found))
