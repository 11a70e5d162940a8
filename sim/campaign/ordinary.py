"""Ordinary interruptions: those that ask for no decision, so that hundreds of them are computed at once.

An interruption is ordinary where spares are there for all nodes lost, nothing is due but failures, the last token is
far, and nothing that was saved is lost. What happens then follows from when failures strike, by arithmetic over
arrays; whatever is not ordinary happens one by one in `sim.campaign.job` and `sim.campaign.replica_job`, and so does
everything where failures are rare. Both ways give the same campaign.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from heapq import heapify
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.campaign.failures import Failures
from sim.campaign.record import ACTIVITIES, LOST, STOPS, Floats
from sim.campaign.run import Run

Ints = NDArray[np.int64]

LEAST = 100
"""Fewer interruptions than that are quicker one by one."""
_MOST = 4096
"""Failures looked at together."""

DETECTION, DRAIN, RESTART = (float(ACTIVITIES.index(name)) for name in ("detection", "drain", "restart"))


class Struck(NamedTuple):
    """Failures with what their causes say; arrays of the same length."""

    time_s: Floats
    cause: Ints
    mark: Floats
    detection_s: Floats
    drain_s: Floats
    repair_s: Floats
    nodes: Ints
    silent: NDArray[np.bool_]

    def first(self, count: int) -> "Struck":
        """The first so many of them."""
        return Struck._make(column[:count] for column in self)

    def of(self, which: Ints) -> "Struck":
        """Some of them."""
        return Struck._make(column[which] for column in self)

    @property
    def decided_s(self) -> Floats:
        """When the job decides to stop."""
        return self.time_s + self.detection_s

    @property
    def drained_s(self) -> Floats:
        """When the lost nodes are out of the job."""
        return self.decided_s + self.drain_s


class Spares(NamedTuple):
    """How many spares are good once each group of lost nodes is replaced, and when nodes are good again."""

    left: Ints
    back_s: Floats
    sent_s: Floats


class Ordinary(ABC):
    """Takes ordinary interruptions of a run, many at a time."""

    def __init__(self, run: Run, speed: float) -> None:
        self._run = run
        self._speed = speed
        """Work in a second while the whole job trains and no node is slow."""
        self._resume = 0
        """How many interruptions there are before it is worth to look again."""
        causes, nodes = run.causes, run.setup.cluster.nodes
        self._detection_s = np.array([cause.detection_s for cause in causes])
        self._drain_s = np.array([cause.drain_s for cause in causes])
        self._repair_s = np.array([cause.repair_s for cause in causes])
        self._nodes = np.array([min(cause.nodes_lost, nodes) for cause in causes], dtype=np.int64)
        self._silent = np.array([cause.silent for cause in causes], dtype=np.bool_)
        self._never = run.shop.queues or not run.failures.foreseeable
        self._least_s = LEAST * run.setup.mtbf_s
        self._never |= min(run.work_s / speed, run.planned_every_s) < self._least_s

    def take(self) -> None:
        """Let the ordinary interruptions that come next happen, if they are worth it."""
        run = self._run
        if self._never or run.count < self._resume or not self._possible():
            return
        far_s = run.now_s + (run.work_s - run.done_s) / self._now_speed - 2 * run.cadence.interval_s
        until_s = min(far_s, run.planned_at_s, run.found_s, run.stragglers.next_s)
        if until_s - run.now_s < self._least_s:
            return
        ahead = run.failures.ahead(until_s, min(_MOST, run.room))
        before = run.count
        if len(ahead.time_s) > 1:
            self._take(self._struck(ahead))
        if run.count - before < LEAST:
            self._resume = run.count + LEAST

    @property
    def _now_speed(self) -> float:
        """Work in a second of training on the whole job, with the nodes that are slow now."""
        return self._run.pace * self._speed

    @abstractmethod
    def _possible(self) -> bool:
        """Whether the run is in a state from which interruptions can be ordinary."""

    @abstractmethod
    def _take(self, struck: Struck) -> None:
        """Let those that are ordinary happen; what is known ends with the last of `struck`."""

    def _struck(self, ahead: Failures) -> Struck:
        cause = ahead.cause
        return Struck(
            time_s=ahead.time_s,
            cause=cause,
            mark=ahead.mark,
            detection_s=self._detection_s[cause],
            drain_s=self._drain_s[cause],
            repair_s=ahead.repair * self._repair_s[cause],
            nodes=self._nodes[cause],
            silent=self._silent[cause],
        )

    def _spares(self, sent_s: Floats, group: Ints, struck: Struck) -> Spares:
        """The spares after each group of failures, whose nodes are replaced and sent to repair at `sent_s`.

        Negative where spares do not suffice: there, and from there on, it is not what happens.
        """
        needed = np.bincount(group, struck.nodes, minlength=len(sent_s)).astype(np.int64)
        left_s = sent_s[group]
        # whoever leaves is not back at that moment, however short the repair
        good_s = np.maximum(left_s + struck.repair_s, np.nextafter(left_s, np.inf))
        back_s = np.sort(np.concatenate([self._run.shop.back_s, np.repeat(good_s, struck.nodes)]))
        left = self._run.spares + np.searchsorted(back_s, sent_s, side="right") - np.cumsum(needed)
        return Spares(left, back_s, sent_s)

    def _settle(self, spares: Spares) -> None:
        """Spares and repair shop as they are after the last group."""
        run = self._run
        if len(spares.left):
            run.spares = int(spares.left[-1])
            run.shop.back_s = spares.back_s[spares.back_s > spares.sent_s[-1]].tolist()
            heapify(run.shop.back_s)


def down_rows(head: Struck, end_s: Floats, work_s: Floats) -> Floats:
    """Rows of the books for detection, drain and restart after each of some failures; (failures, 3, 7)."""
    decided_s, drained_s = head.decided_s, head.drained_s
    rows = np.zeros((len(end_s), 3, 7))
    rows[:, 0, 0], rows[:, 0, 1] = head.time_s, decided_s
    rows[:, 1, 0], rows[:, 1, 1] = decided_s, drained_s
    rows[:, 2, 0], rows[:, 2, 1] = drained_s, end_s
    rows[:, 0, 2] = np.where(head.silent, LOST, DETECTION)
    rows[:, 1, 2], rows[:, 2, 2] = DRAIN, RESTART
    rows[:, :, 4] = 1.0
    rows[:, :, 5:] = work_s[:, None, None]
    return rows


def fill(records: Floats, which: Ints | slice, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write columns of some interruptions, by their names in `STOPS`."""
    for name, column in columns.items():
        records[which, STOPS.index(name)] = column


def first_true(flags: NDArray[np.bool_]) -> int:
    """Index of the first that is true; their number where none is."""
    found = int(flags.argmax()) if len(flags) else 0
    return found if len(flags) and flags[found] else len(flags)
