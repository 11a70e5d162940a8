"""How far and how fast a site's power swings: at a failure, a checkpoint, a restart, a power window."""

from dataclasses import dataclass

import numpy as np

from sim.campaign.record import ACTIVITIES, Campaign
from sim.campaign.setup import CampaignSetup


@dataclass(frozen=True, kw_only=True)
class Swing:
    """One kind of jump of the site's power, as often as it happens."""

    name: str
    times: int
    mean_w: float
    """Of the jumps' heights, at the meter."""
    largest_w: float
    """Below 0 where power falls."""
    within_s: float
    """All GPUs wait for each other once a step, so the whole jump is over within one; it may be much faster."""

    @property
    def ramp_w_per_s(self) -> float:
        """The least rate of the largest jump."""
        return self.largest_w / self.within_s


def swings(campaign: Campaign, setup: CampaignSetup) -> tuple[Swing, ...]:
    """The jumps of a campaign's power by kind, largest first; kinds that never happen are left out.

    Waves within a step, between computing and communicating, are faster and not in it.
    """
    line = campaign.timeline
    watts = campaign.watts.sum(axis=1)
    activity = line.column("activity").astype(np.int64)
    step_s = max(phase.step_time_s for phase in setup.phases)
    works = np.isin(activity, [ACTIVITIES.index(name) for name in ("training", "lost_work")])
    curtailed, closed = line.column("curtailed_s") > 0, activity == ACTIVITIES.index("curtailment")
    jumps_w, stops, goes = np.diff(watts), works[:-1] & ~works[1:], ~works[:-1] & works[1:]
    slowed = works[1:] & works[:-1] & (curtailed[1:] != curtailed[:-1])
    window = slowed | (closed[1:] != closed[:-1])
    kinds = {
        "Training stops": jumps_w[stops & ~window],
        "Training goes on": jumps_w[goes & ~window],
        "A power window closes or opens": jumps_w[window],
        "A checkpoint holds training": _checkpoints(campaign, setup),
    }
    found = [
        Swing(
            name=name,
            times=len(jumps),
            mean_w=float(np.abs(jumps).mean()),
            largest_w=float(jumps[np.abs(jumps).argmax()]),
            within_s=step_s,
        )
        for name, jumps in kinds.items()
        if len(jumps)
    ]
    return tuple(sorted(found, key=lambda swing: -abs(swing.largest_w)))


def _checkpoints(campaign: Campaign, setup: CampaignSetup) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The fall at each checkpoint that holds training; none where one holds it for less than a step."""
    cost_s = setup.cadence.cost_s
    state_w = np.array(campaign.state_parts_w).sum(axis=1)
    fall_w = state_w[campaign.state_names.index("checkpoint")] - state_w[: len(setup.phases)]
    line = campaign.timeline
    phase = line.column("phase").astype(np.int64)
    held_s = np.bincount(phase, line.column("checkpointing_s"), minlength=len(setup.phases))
    if cost_s < min(one.step_time_s for one in setup.phases):
        return np.empty(0)
    return np.repeat(fall_w, np.rint(held_s / cost_s).astype(np.int64))
