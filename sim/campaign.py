"""The months: one job that trains, saves itself, fails, restarts and draws power, as a SimPy simulation.

One process is the job. Failures of all nodes and causes are one superposed Poisson process, spares are a
Container and repair crews a Resource. Between two interruptions everything is arithmetic, so the work grows
with the number of interruptions and not with GPUs, steps or checkpoints.

Failures strike while nodes work: in training, checkpoints, detection, maintenance and restart, not while the
job waits for a repair. One found while the job is down costs no detection of its own; one during a restart
costs its own detection and the restart begins again.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import simpy

from profiler.files import InputError
from profiler.units import DAY_S
from sim.campaign_record import ACTIVITIES, PLANNED, Campaign, Interruption, Ledger, Segment
from sim.campaign_setup import CampaignSetup, Phase, expected_ettr, renewal_ettr
from sim.reliability import FailureProcess

__all__ = [
    "ACTIVITIES",
    "MAX_INTERRUPTIONS",
    "PLANNED",
    "Campaign",
    "CampaignSetup",
    "Interruption",
    "Phase",
    "Segment",
    "expected_ettr",
    "renewal_ettr",
    "replica_seeds",
    "simulate_campaign",
    "simulate_replicas",
]

MAX_INTERRUPTIONS = 1_000_000
"""A simulation that passes it is given up."""

Events = Generator[simpy.Event, Any, None]


def simulate_campaign(setup: CampaignSetup, seed: int) -> Campaign:
    """Simulate one campaign; the same seed gives the same result.

    Raises:
        InputError: a negative seed, or more than a million interruptions.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; 0 or more is needed.")
    return _Job(setup, seed).finished()


def simulate_replicas(setup: CampaignSetup, seed: int, replicas: int) -> tuple[Campaign, ...]:
    """Simulate independent campaigns; each carries the seed that `simulate_campaign` repeats it with.

    Seeds are spawned with numpy's SeedSequence, so the first replicas are the same however many are asked
    for.
    """
    return tuple(simulate_campaign(setup, replica) for replica in replica_seeds(seed, replicas))


def replica_seeds(seed: int, replicas: int) -> tuple[int, ...]:
    """The seeds of `replicas` independent campaigns."""
    if seed < 0 or replicas < 1:
        raise InputError(f"seed is {seed} and replicas {replicas}; 0 or more and at least 1 are needed.")
    spawned = np.random.SeedSequence(seed).spawn(replicas)
    return tuple(int(child.generate_state(1, np.uint64)[0]) for child in spawned)


@dataclass(slots=True)
class _Stop:
    """An interruption while it happens; fields as in `Interruption`."""

    time_s: float
    cause: str
    lost_s: float = 0.0
    detection_s: float = 0.0
    restart_s: float = 0.0
    wait_s: float = 0.0
    maintenance_s: float = 0.0


class _Job:
    """The one process: trains until something stops it, recovers, trains on.

    It keeps its own clock, `now_s`, that runs ahead of the simulation's and meets it where a spare may be missing.
    """

    def __init__(self, setup: CampaignSetup, seed: int) -> None:
        self.setup, self.seed = setup, seed
        self.env = simpy.Environment()
        self.spares = simpy.Container(self.env, init=setup.spare_nodes)
        crews = setup.repair_crews
        self.crews = None if crews is None else simpy.Resource(self.env, capacity=crews)
        self.failures = FailureProcess(setup.reliability, setup.mtbf_s, seed)
        per_day = setup.planned_maintenance_per_day
        self.planned_every_s = DAY_S / per_day if per_day else math.inf
        self.planned_at_s = self.planned_every_s
        self.cadence, self.restart_s = setup.cadence, setup.restart_s
        self.ledger = Ledger(setup)
        self.work_s = self.ledger.work_s
        self.now_s = self.done_s = 0.0
        self.stops: list[_Stop] = []
        self.lost_nodes: list[float] = []
        """Repair times of nodes that await a spare."""

    def finished(self) -> Campaign:
        """The campaign, run to its last token."""
        self.env.run(self.env.process(self._work()))
        fields = attrgetter(*Interruption._fields)
        interruptions = tuple(Interruption._make(fields(stop)) for stop in self.stops)
        return self.ledger.campaign(self.seed, interruptions)

    def _work(self) -> Events:
        stop = self._train()
        while stop is not None:
            self._diagnose(stop)
            if self.lost_nodes:
                yield from self._replace_nodes(stop)
            stop = self._restart(stop) or self._train()

    def _train(self) -> _Stop | None:
        """Train until the last token is safe (None), a planned stop or a failure."""
        start_s, base_s, cadence = self.now_s, self.done_s, self.cadence
        target_s = remaining_s = self.work_s - base_s
        if self.failures.next_s < min(start_s + remaining_s, self.planned_at_s):
            return self._train_to_failure(target_s)
        saved_s = cadence.saved_s(remaining_s)
        due_s = max(self.planned_at_s - start_s, 0.0)
        if due_s < saved_s:
            target_s = min(cadence.trained_s(due_s), remaining_s)
            saved_s = cadence.saved_s(target_s)
        if self.failures.next_s < start_s + saved_s:
            return self._train_to_failure(target_s)
        self.now_s = start_s + saved_s
        self.done_s = base_s + target_s if target_s < remaining_s else self.work_s
        self.ledger.train(start_s, self.now_s, base_s, self.done_s, kept=True)
        return self._interrupted(PLANNED) if target_s < remaining_s else None

    def _train_to_failure(self, target_s: float) -> _Stop:
        start_s, base_s, cadence = self.now_s, self.done_s, self.cadence
        self.now_s = now_s = self.failures.next_s
        elapsed_s = now_s - start_s
        safe = cadence.safe_after(elapsed_s, target_s)
        safe_s = min(start_s + safe * cadence.cycle_s, now_s)
        self.done_s = base_s + safe * cadence.interval_s
        reached_s = max(base_s + min(cadence.trained_s(elapsed_s), target_s), self.done_s)
        self.ledger.train(start_s, safe_s, base_s, self.done_s, kept=True)
        self.ledger.train(safe_s, now_s, self.done_s, reached_s, kept=False)
        return self._failed(lost_s=now_s - safe_s)

    def _diagnose(self, stop: _Stop) -> None:
        """Find out what failed, and do the maintenance that is due."""
        self._stay(stop.detection_s, "detection")
        if stop.cause == PLANNED or self.now_s >= self.planned_at_s:
            stop.maintenance_s = self.setup.maintenance_s
            self._stay(stop.maintenance_s, "maintenance")
            missed = math.floor((self.now_s - self.planned_at_s) / self.planned_every_s)
            self.planned_at_s += (max(missed, 0) + 1) * self.planned_every_s

    def _stay(self, seconds: float, activity: str) -> None:
        """Stay down; what fails meanwhile is found at the end."""
        start_s, end_s = self.now_s, self.now_s + seconds
        self.ledger.down(start_s, end_s, activity)
        while self.failures.next_s < end_s:
            self.now_s = self.failures.next_s
            self._failed(detected=True)
        self.now_s = end_s

    def _replace_nodes(self, stop: _Stop) -> Events:
        """Send lost nodes to repair and take spares, waiting where there are none.

        Spares seen at the simulation's earlier clock are still there now: only this job takes them.
        """
        start_s = self.now_s
        if self.crews is not None or self.spares.level < len(self.lost_nodes):
            yield self.env.timeout(start_s - self.env.now)
        for repair_s in self.lost_nodes:
            self._send_to_repair(repair_s)
        for _ in self.lost_nodes:
            spare = self.spares.get(1)
            if not spare.triggered:
                yield spare
                self.now_s = self.env.now
        self.lost_nodes.clear()
        stop.wait_s = self.now_s - start_s
        self.failures.stop_clock(stop.wait_s)
        self.ledger.down(start_s, self.now_s, "waiting_for_repair")

    def _send_to_repair(self, repair_s: float) -> None:
        if self.crews is None:
            self.env.timeout(self.now_s - self.env.now + repair_s).callbacks.append(self._repaired)
        else:
            self.env.process(self._repair(self.crews, repair_s))

    def _repair(self, crews: simpy.Resource, repair_s: float) -> Events:
        with crews.request() as crew:
            yield crew
            yield self.env.timeout(repair_s)
        self._repaired()

    def _repaired(self, _: simpy.Event | None = None) -> None:
        self.spares.put(1)

    def _restart(self, stop: _Stop) -> _Stop | None:
        """Restart; returns the failure that strikes meanwhile, if one does."""
        start_s, end_s = self.now_s, self.now_s + self.restart_s
        fails = self.failures.next_s < end_s
        self.now_s = self.failures.next_s if fails else end_s
        stop.restart_s = self.now_s - start_s
        self.ledger.down(start_s, self.now_s, "restart")
        return self._failed() if fails else None

    def _failed(self, *, lost_s: float = 0.0, detected: bool = False) -> _Stop:
        """Take the failure that strikes now."""
        cause = self.failures.take()
        if cause.node_lost:
            self.lost_nodes.append(cause.repair_s)
        stop = self._interrupted(cause.name)
        stop.lost_s = lost_s
        stop.detection_s = 0.0 if detected else cause.detection_s
        return stop

    def _interrupted(self, cause: str) -> _Stop:
        stop = _Stop(self.now_s, cause)
        self.stops.append(stop)
        if len(self.stops) > MAX_INTERRUPTIONS:
            share = self.done_s / self.work_s
            raise InputError(
                f"this run was given up after {MAX_INTERRUPTIONS:,} interruptions with {share:.1%} of its "
                "tokens trained; it needs fewer GPUs, more reliable ones, or more spares."
            )
        return stop
