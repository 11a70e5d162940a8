"""What a simulated campaign leaves behind: its interruptions, its segments and the totals they add up to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from profiler.files import InputError
from profiler.units import HOUR_S

ACTIVITIES = (
    "training",
    "checkpointing",
    "lost_work",
    "detection",
    "restart",
    "waiting_for_repair",
    "maintenance",
)
"""Where the seconds of a campaign go; they add up to its duration."""

PLANNED = "Planned maintenance"
"""The cause of an interruption that was planned."""


class Interruption(NamedTuple):
    """One stop of the job and what it cost, in seconds."""

    time_s: float
    cause: str
    lost_s: float
    """Time since the last safe checkpoint, to be trained again."""
    detection_s: float
    restart_s: float
    wait_s: float
    """For a repaired node, the spares being used up."""
    maintenance_s: float

    @property
    def planned(self) -> bool:
        """Whether it was planned maintenance."""
        return self.cause == PLANNED


class Segment(NamedTuple):
    """A stretch of time with one activity; each begins where the one before ends.

    `training` segments hold their checkpoints; `site_power_w` is the mean over the segment.
    """

    start_s: float
    end_s: float
    activity: str
    phase: str
    site_power_w: float
    tokens: float
    """Trained and kept."""
    checkpointing_s: float
    """Held up by checkpoints within the segment."""


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """The months of one simulated run. Times are from its start; tokens, time and energy add up exactly."""

    seed: int
    gpus: int
    duration_s: float
    tokens: float
    steps: int
    seconds: Mapping[str, float]
    """By activity (`ACTIVITIES`)."""
    interruptions: tuple[Interruption, ...]
    segments: tuple[Segment, ...]
    energy_j: Mapping[str, float]
    """By part (`sim.energy.PARTS`)."""
    peak_site_power_w: float

    @property
    def ettr(self) -> float:
        """Effective training time ratio: training that was kept over all time."""
        return self.seconds["training"] / self.duration_s

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of the job's own GPUs, spares not counted."""
        return self.gpus * self.duration_s / HOUR_S

    @property
    def total_energy_j(self) -> float:
        """At the site's meter."""
        return sum(self.energy_j.values())

    @property
    def mean_site_power_w(self) -> float:
        """At the site's meter, over the whole campaign."""
        return self.total_energy_j / self.duration_s

    @property
    def unexpected_interruptions(self) -> int:
        """Interruptions that were not planned."""
        return sum(not stop.planned for stop in self.interruptions)

    def progress(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times [s] and the tokens trained and kept until then, straight lines between them."""
        times_s = np.array([0.0, *(segment.end_s for segment in self.segments)])
        tokens = np.cumsum([0.0, *(segment.tokens for segment in self.segments)])
        return times_s, tokens

    def power_series(self, step_s: float = HOUR_S) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Starts [s] of intervals of `step_s` and the mean site power [W] in each.

        The last interval ends with the campaign. Power times length adds up to the energy.
        """
        if not step_s > 0:
            raise InputError(f"step_s is {step_s}; a time above 0 is needed.")
        ends_s = np.array([segment.end_s for segment in self.segments])
        lengths_s = np.diff(ends_s, prepend=0.0)
        powers_w = np.array([segment.site_power_w for segment in self.segments])
        used_j = np.concatenate([[0.0], np.cumsum(powers_w * lengths_s)])
        edges_s = np.append(np.arange(0.0, self.duration_s, step_s), self.duration_s)
        energy_j = np.interp(edges_s, np.concatenate([[0.0], ends_s]), used_j)
        return edges_s[:-1], np.diff(energy_j) / np.diff(edges_s)

    def to_frame(self) -> pd.DataFrame:
        """The segments, one row each."""
        return pd.DataFrame(self.segments, columns=list(Segment._fields))
