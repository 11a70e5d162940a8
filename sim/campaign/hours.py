"""A campaign hour by hour: energy by part, tokens, and what the time was spent on, each adding up to the whole."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiler.files import InputError
from profiler.units import HOUR_S
from sim.campaign.record import ACTIVITIES, Campaign, Table
from sim.site.energy import PARTS

Array = NDArray[np.float64]

HELD = {"checkpointing_s": "checkpointing", "straggler_s": "stragglers", "fewer_replicas_s": "fewer_replicas",
        "pause_s": "pauses", "curtailed_s": "curtailment"}  # fmt: skip
"""What a segment's own columns hold, by the activity that it counts as."""


@dataclass(frozen=True, kw_only=True)
class HourSeries:
    """Intervals of equal length from a campaign's start; the last ends with it. Arrays over intervals."""

    start_s: Array
    length_s: Array
    energy_j: Array
    """By part (`sim.site.energy.PARTS`); (intervals, parts)."""
    tokens: Array
    activity_s: Array
    """By activity (`ACTIVITIES`); (intervals, activities)."""

    @property
    def power_w(self) -> Array:
        """Mean at the meter in each interval."""
        found: Array = self.energy_j.sum(axis=1) / self.length_s
        return found


def hour_series(campaign: Campaign, step_s: float = HOUR_S) -> HourSeries:
    """The campaign in intervals of `step_s` [s]; a segment is shared out in proportion to its time.

    Raises:
        InputError: a step that is not above 0.
    """
    if not step_s > 0:
        raise InputError(f"step_s is {step_s}; a time above 0 is needed.")
    line = campaign.timeline
    ends_s = line.column("end_s")
    lengths_s = ends_s - line.column("start_s")
    energy_j = campaign.watts * lengths_s[:, None]
    amounts = np.column_stack([energy_j, line.column("tokens"), segment_activities(line)])
    # a sliver at the end, left by rounding, joins the interval before
    sliver_s = min(1e-6 * campaign.duration_s, step_s / 2)
    edges_s = np.append(np.arange(0.0, campaign.duration_s - sliver_s, step_s), campaign.duration_s)
    sums = np.vstack([np.zeros(amounts.shape[1]), np.cumsum(amounts, axis=0)])
    times_s = np.append(0.0, ends_s)
    binned = np.column_stack([np.diff(np.interp(edges_s, times_s, column)) for column in sums.T])
    parts = len(PARTS)
    return HourSeries(
        start_s=edges_s[:-1],
        length_s=np.diff(edges_s),
        energy_j=binned[:, :parts],
        tokens=binned[:, parts],
        activity_s=binned[:, parts + 1 :],
    )


def segment_activities(line: Table) -> Array:
    """Seconds of each activity in each segment, adding up to its length; (segments, activities).

    What a training segment holds beside training counts as itself; of lost work only what was curtailed does.
    """
    lengths_s = line.column("end_s") - line.column("start_s")
    activity = line.column("activity").astype(np.int64)
    found = np.zeros((len(activity), len(ACTIVITIES)))
    trains, lost = (activity == ACTIVITIES.index(name) for name in ("training", "lost_work"))
    for column, name in HELD.items():
        within = trains | lost if column == "curtailed_s" else trains
        found[within, ACTIVITIES.index(name)] = line.column(column)[within]
    found[np.arange(len(activity)), activity] += lengths_s - found.sum(axis=1)
    return found
