"""The months: one job that trains, saves itself, fails, restarts and draws power, as a SimPy simulation.

One process is the job. Failures of all nodes and causes are one superposed Poisson process, spares are a
Container and repair crews a Resource. Between two interruptions everything is arithmetic, so the work grows
with the number of interruptions and not with GPUs, steps or checkpoints.

Failures strike while nodes work: in training, checkpoints, detection, maintenance and restart, not while the
job waits for a repair. One found while the job is down costs no detection of its own; one during a restart
costs its own detection and the restart begins again.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from profiler.files import InputError
from profiler.units import DAY_S
from sim.campaign_record import ACTIVITIES, PLANNED, Campaign, Interruption, Segment
from sim.campaign_setup import CampaignSetup, Phase, expected_ettr, renewal_ettr
from sim.energy import PARTS
from sim.reliability import FailureCause, FailureProcess

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
Stops = Generator[simpy.Event, Any, "_Stop | None"]


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


@dataclass
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
    """The one process: trains until something stops it, recovers, trains on."""

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
        self.ledger = _Ledger(setup)
        self.work_s = self.ledger.work_s
        self.done_s = 0.0
        self.stops: list[_Stop] = []
        self.lost_nodes: list[float] = []
        """Repair times of nodes that await a spare."""

    def finished(self) -> Campaign:
        """The campaign, run to its last token."""
        self.env.run(self.env.process(self._work()))
        interruptions = tuple(Interruption(**vars(stop)) for stop in self.stops)
        return self.ledger.campaign(self.seed, interruptions)

    def _work(self) -> Events:
        stop = yield from self._train()
        while stop is not None:
            stop = yield from self._recover(stop)
            if stop is None:
                stop = yield from self._train()

    def _train(self) -> Stops:
        """Train until the last token is safe (None), a planned stop or a failure."""
        start_s, base_s, cadence = self.env.now, self.done_s, self.cadence
        target_s = remaining_s = self.work_s - base_s
        due_s = max(self.planned_at_s - start_s, 0.0)
        if due_s < cadence.saved_s(remaining_s):
            target_s = min(cadence.trained_s(due_s), remaining_s)
        end_s = start_s + cadence.saved_s(target_s)
        if self.failures.next_s < end_s:
            return (yield from self._train_to_failure(target_s))
        yield self.env.timeout(end_s - start_s)
        self.done_s = base_s + target_s if target_s < remaining_s else self.work_s
        self.ledger.train(start_s, self.env.now, base_s, self.done_s, kept=True)
        return self._interrupted(PLANNED) if target_s < remaining_s else None

    def _train_to_failure(self, target_s: float) -> Stops:
        start_s, base_s, cadence = self.env.now, self.done_s, self.cadence
        yield self.env.timeout(max(self.failures.next_s - start_s, 0.0))
        now_s = self.env.now
        safe = max(min(cadence.safe_after(now_s - start_s), cadence.checkpoints(target_s) - 1), 0)
        safe_s = min(start_s + safe * cadence.cycle_s, now_s)
        self.done_s = base_s + safe * cadence.interval_s
        reached_s = max(base_s + min(cadence.trained_s(now_s - start_s), target_s), self.done_s)
        self.ledger.train(start_s, safe_s, base_s, self.done_s, kept=True)
        self.ledger.train(safe_s, now_s, self.done_s, reached_s, kept=False)
        return self._failed(self.failures.take(), lost_s=now_s - safe_s)

    def _recover(self, stop: _Stop) -> Stops:
        """Detect, maintain, replace nodes and restart; returns the failure of the restart, if it fails."""
        yield from self._stay(stop.detection_s, "detection")
        if stop.cause == PLANNED or self.env.now >= self.planned_at_s:
            stop.maintenance_s = self.setup.maintenance_s
            yield from self._stay(stop.maintenance_s, "maintenance")
            missed = math.floor((self.env.now - self.planned_at_s) / self.planned_every_s)
            self.planned_at_s += (max(missed, 0) + 1) * self.planned_every_s
        yield from self._replace_nodes(stop)
        start_s = self.env.now
        fails = self.failures.next_s < start_s + self.restart_s
        yield self.env.timeout(max(self.failures.next_s - start_s, 0.0) if fails else self.restart_s)
        stop.restart_s = self.env.now - start_s
        self.ledger.down(start_s, self.env.now, "restart")
        return self._failed(self.failures.take()) if fails else None

    def _stay(self, seconds: float, activity: str) -> Events:
        """Stay down; what fails meanwhile is found at the end."""
        if seconds <= 0:
            return
        start_s = self.env.now
        yield self.env.timeout(seconds)
        self.ledger.down(start_s, self.env.now, activity)
        while self.failures.next_s < self.env.now:
            time_s = self.failures.next_s
            self._failed(self.failures.take(), time_s=time_s, detected=True)

    def _replace_nodes(self, stop: _Stop) -> Events:
        start_s = self.env.now
        for repair_s in self.lost_nodes:
            self.env.process(self._repair(repair_s))
        for _ in self.lost_nodes:
            spare = self.spares.get(1)
            if not spare.triggered:
                yield spare
        self.lost_nodes.clear()
        stop.wait_s = self.env.now - start_s
        self.failures.stop_clock(stop.wait_s)
        self.ledger.down(start_s, self.env.now, "waiting_for_repair")

    def _repair(self, repair_s: float) -> Events:
        if self.crews is None:
            yield self.env.timeout(repair_s)
        else:
            with self.crews.request() as crew:
                yield crew
                yield self.env.timeout(repair_s)
        yield self.spares.put(1)

    def _failed(
        self, cause: FailureCause, *, lost_s: float = 0.0, time_s: float | None = None, detected: bool = False
    ) -> _Stop:
        if cause.node_lost:
            self.lost_nodes.append(cause.repair_s)
        stop = self._interrupted(cause.name, time_s)
        stop.lost_s = lost_s
        stop.detection_s = 0.0 if detected else cause.detection_s
        return stop

    def _interrupted(self, cause: str, time_s: float | None = None) -> _Stop:
        stop = _Stop(self.env.now if time_s is None else time_s, cause)
        self.stops.append(stop)
        if len(self.stops) > MAX_INTERRUPTIONS:
            share = self.done_s / self.work_s
            raise InputError(
                f"this run was given up after {MAX_INTERRUPTIONS:,} interruptions with {share:.1%} of its "
                "tokens trained; it needs fewer GPUs, more reliable ones, or more spares."
            )
        return stop


class _Ledger:
    """What happened when, row by row, and the totals at the end."""

    def __init__(self, setup: CampaignSetup) -> None:
        self.setup = setup
        self.bounds_s = np.cumsum([0.0, *(phase.training_s for phase in setup.phases)]).tolist()
        self.work_s: float = self.bounds_s[-1]
        count = len(setup.phases)
        self.checkpoint, self.wait, self.idle = count, count + 1, count + 2
        self.rows: list[tuple[float, float, str, int, int, float, float]] = []
        """Start, end, activity, phase, power state, seconds of checkpoints, tokens kept."""
        self.phase = 0

    def down(self, start_s: float, end_s: float, activity: str) -> None:
        """The job does not train."""
        if end_s > start_s:
            state = self.wait if activity in ("detection", "restart") else self.idle
            self.rows.append((start_s, end_s, activity, self.phase, state, 0.0, 0.0))

    def train(self, start_s: float, end_s: float, from_s: float, to_s: float, *, kept: bool) -> None:
        """The work from `from_s` to `to_s` was done; the rest of the time went into checkpoints.

        Where phases change, checkpoints are shared out in proportion, which is right to one checkpoint.
        """
        if end_s <= start_s:
            return
        activity = "training" if kept else "lost_work"
        stretch = (end_s - start_s) / (to_s - from_s) if to_s > from_s else 0.0
        final = len(self.setup.phases) - 1
        first = min(bisect_right(self.bounds_s, from_s) - 1, final)
        last = max(bisect_left(self.bounds_s, to_s) - 1, first)
        begin_s = start_s
        for phase in range(first, last + 1):
            work_s = min(to_s, self.bounds_s[phase + 1]) - max(from_s, self.bounds_s[phase])
            until_s = end_s if phase == last else begin_s + work_s * stretch
            spec = self.setup.phases[phase]
            tokens = work_s / spec.step_time_s * spec.tokens_per_step if kept else 0.0
            held_s = max(until_s - begin_s - work_s, 0.0)
            self.rows.append((begin_s, until_s, activity, phase, phase, held_s, tokens))
            begin_s = until_s
        self.phase = last if kept else first

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
            activities,
            (names[i] for i in phases),
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
            setup.site.parts_w(setup.cluster, gpu_w, busy=on, spare_nodes=setup.spare_nodes)
            for gpu_w, on in states
        ]
        return np.array([list(part.by_part().values()) for part in parts])


def _seconds(
    activities: NDArray[np.str_], lengths_s: NDArray[np.float64], held_s: NDArray[np.float64]
) -> dict[str, float]:
    """Seconds by activity; checkpoints of kept training are their own, those of lost work are lost."""
    seconds = {name: float(lengths_s[activities == name].sum()) for name in ACTIVITIES}
    seconds["checkpointing"] = float(held_s[activities == "training"].sum())
    seconds["training"] -= seconds["checkpointing"]
    return seconds
