"""What a simulated campaign leaves behind: its interruptions, its segments and the totals they add up to."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from profiler.files import InputError
from profiler.units import HOUR_S
from sim.campaign_setup import CampaignSetup
from sim.energy import PARTS

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

_TRAINING, _LOST = ACTIVITIES.index("training"), ACTIVITIES.index("lost_work")

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
        # a sliver at the end, left by rounding, joins the interval before: its mean would be rounding alone
        sliver_s = min(1e-6 * self.duration_s, step_s / 2)
        edges_s = np.append(np.arange(0.0, self.duration_s - sliver_s, step_s), self.duration_s)
        energy_j = np.interp(edges_s, np.concatenate([[0.0], ends_s]), used_j)
        return edges_s[:-1], np.diff(energy_j) / np.diff(edges_s)

    def to_frame(self) -> pd.DataFrame:
        """The segments, one row each."""
        return pd.DataFrame(self.segments, columns=list(Segment._fields))


class Ledger:
    """What happened when, row by row, and the totals at the end."""

    def __init__(self, setup: CampaignSetup) -> None:
        self.setup = setup
        self.bounds_s = np.cumsum([0.0, *(phase.training_s for phase in setup.phases)]).tolist()
        self.work_s: float = self.bounds_s[-1]
        self.tokens_per_s = [phase.tokens_per_step / phase.step_time_s for phase in setup.phases]
        count = len(setup.phases)
        self.checkpoint, self.wait, self.idle = count, count + 1, count + 2
        self.rows: list[tuple[float, float, int, int, int, float, float]] = []
        """Start, end, activity, phase, power state, seconds of checkpoints, tokens kept."""
        self.phase = 0

    def down(self, start_s: float, end_s: float, activity: str) -> None:
        """The job does not train."""
        if end_s > start_s:
            state = self.wait if activity in ("detection", "restart") else self.idle
            self.rows.append((start_s, end_s, ACTIVITIES.index(activity), self.phase, state, 0.0, 0.0))

    def train(self, start_s: float, end_s: float, from_s: float, to_s: float, *, kept: bool) -> None:
        """The work from `from_s` to `to_s` was done; the rest of the time went into checkpoints.

        Where phases change, checkpoints are shared out in proportion, which is right to one checkpoint.
        """
        if end_s <= start_s:
            return
        first, last = self._phases(from_s, to_s)
        stretch = (end_s - start_s) / (to_s - from_s) if last > first else 0.0
        for phase in range(first, last):
            work_s = self.bounds_s[phase + 1] - from_s
            until_s = start_s + work_s * stretch
            self._row(start_s, until_s, phase, work_s, kept)
            start_s, from_s = until_s, self.bounds_s[phase + 1]
        self._row(start_s, end_s, last, to_s - from_s, kept)
        self.phase = last if kept else first

    def _row(self, start_s: float, end_s: float, phase: int, work_s: float, kept: bool) -> None:
        if end_s > start_s:
            held_s = max(end_s - start_s - work_s, 0.0)
            tokens = work_s * self.tokens_per_s[phase] if kept else 0.0
            activity = _TRAINING if kept else _LOST
            self.rows.append((start_s, end_s, activity, phase, phase, held_s, tokens))

    def _phases(self, from_s: float, to_s: float) -> tuple[int, int]:
        """The first and the last phase of the work from `from_s` to `to_s`."""
        bounds_s, phase = self.bounds_s, self.phase
        if bounds_s[phase] <= from_s < to_s <= bounds_s[phase + 1]:
            return phase, phase
        first = min(bisect_right(bounds_s, from_s) - 1, len(bounds_s) - 2)
        return first, max(bisect_left(bounds_s, to_s) - 1, first)

    def campaign(self, seed: int, interruptions: tuple[Interruption, ...]) -> Campaign:
        """The finished record."""
        setup = self.setup
        starts_s, ends_s, activities, phases, states, held, tokens = zip(*self.rows, strict=True)
        lengths_s = np.array(ends_s) - np.array(starts_s)
        held_s, state = np.array(held), np.array(states)
        parts_w = self._parts_w()
        total_w = parts_w.sum(axis=1)
        in_state_s = np.bincount(state, lengths_s - held_s, minlength=len(parts_w))
        in_state_s[self.checkpoint] += held_s.sum()
        mean_w = ((lengths_s - held_s) * total_w[state] + held_s * total_w[self.checkpoint]) / lengths_s
        names = [phase.name for phase in setup.phases]
        segments = zip(
            starts_s,
            ends_s,
            [ACTIVITIES[i] for i in activities],
            [names[i] for i in phases],
            mean_w.tolist(),
            tokens,
            held,
            strict=True,
        )
        energy_j = in_state_s @ parts_w
        return Campaign(
            seed=seed,
            gpus=setup.cluster.gpus,
            duration_s=ends_s[-1],
            tokens=sum(phase.tokens for phase in setup.phases),
            steps=sum(phase.steps for phase in setup.phases),
            seconds=_seconds(np.array(activities), lengths_s, held_s),
            interruptions=interruptions,
            segments=tuple(map(Segment._make, segments)),
            energy_j=dict(zip(PARTS, energy_j.tolist(), strict=True)),
            peak_site_power_w=float(total_w[in_state_s > 0].max()),
        )

    def _parts_w(self) -> NDArray[np.float64]:
        """Watts by power state (each phase, checkpoint, wait, idle) and part."""
        setup, idle_w = self.setup, self.setup.cluster.gpu.idle_power_w
        wait_w = idle_w if setup.gpu_wait_power_w is None else setup.gpu_wait_power_w
        busy = [(phase.gpu_power_w, True) for phase in setup.phases]
        states = [*busy, (wait_w, True), (wait_w, False), (idle_w, False)]
        parts = [
            setup.site.parts_w(setup.cluster, gpu_w, busy=on, spare_nodes=setup.spare_nodes) for gpu_w, on in states
        ]
        return np.array([list(part.by_part().values()) for part in parts])


def _seconds(
    activity: NDArray[np.int_], lengths_s: NDArray[np.float64], held_s: NDArray[np.float64]
) -> dict[str, float]:
    """Seconds by activity; checkpoints of kept training are their own, those of lost work are lost."""
    totals_s = np.bincount(activity, lengths_s, minlength=len(ACTIVITIES)).tolist()
    seconds = dict(zip(ACTIVITIES, totals_s, strict=True))
    seconds["checkpointing"] = float(held_s[activity == _TRAINING].sum())
    seconds["training"] -= seconds["checkpointing"]
    return seconds
