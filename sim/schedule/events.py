"""One optimizer step, event by event: the reference for the closed form (`sim/pipeline/times.py`, `sim/step.py`).

One SimPy process per stage of one replica computes in the order of the schedule (`sim/schedule/order.py`). Beside it
stand streams of communication, each of which does one thing at a time: collectives over activations (tensor), keys
and values (context), gathers and reductions within a pass (shard) and once a step or round (sync), and sends to other
stages (send). All of them move over the GPU's links, which several streams share (`sim/schedule/link.py`). What
overlaps is whatever happens to run at the same time; nothing is added up afterwards.

Replicas are taken to be alike, the tensor- and context-parallel ranks of a stage to be in step, and what comes in
over a link not to be in the way of what goes out.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

import simpy

from profiler.files import InputError
from sim.schedule.link import LINKS, Link
from sim.schedule.noise import Noise
from sim.schedule.order import Kind, Operation
from sim.schedule.work import OperationWork, StepWork, Stream

Events = Generator[simpy.Event, Any, None]

NAMES: Mapping[Kind, str] = {"F": "forward", "B": "backward", "W": "weight gradient"}

MOVED: Mapping[Stream, str] = {"tensor": "collectives", "context": "keys and values", "shard": "shards"}
"""What the streams beside a pass move."""

Begun = dict[Stream, tuple[float, simpy.Event | None]]
"""When transfers of each stream began, and that they have ended."""


class TimelineEvent(NamedTuple):
    """Something that a stage does."""

    stage: int
    stream: str
    """compute, exposed (the computation stands for communication), host, or a stream that runs beside them: tensor,
    context, shard, sync, send."""
    name: str
    micro_batch: int
    """-1 where it is about none in particular, as is `chunk`."""
    chunk: int
    start_s: float
    end_s: float
    link: str
    """nvlink or nic; empty where it needs none."""
    alone_s: float
    """Seconds that it would take with its link to itself."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """One step of one replica."""

    work: StepWork
    events: tuple[TimelineEvent, ...]
    """By begin, then stage."""
    begin_s: tuple[float, ...]
    """Of each stage."""
    end_s: tuple[float, ...]

    @property
    def total_s(self) -> float:
        """Seconds of the step; where stages step apart, those of the longest from its own begin."""
        if self.work.post_validated:
            return max(end - begin for begin, end in zip(self.begin_s, self.end_s, strict=True))
        return max(self.end_s)


def simulate_step(work: StepWork, noise: Noise | None = None, *, shared_links: bool = True) -> Timeline:
    """Run one step; the same work and noise give the same timeline. Without `shared_links` every transfer has a link
    to itself, as in the closed form.

    Raises:
        InputError: a stage in `noise` that the pipeline does not have.
    """
    noise = noise or Noise()
    for stage in noise.stragglers:
        if not 0 <= stage < work.shape.stages:
            raise InputError(f"straggler is stage {stage}; the pipeline has stages 0 to {work.shape.stages - 1}.")
    return _Step(work, noise, shared_links=shared_links).finished()


@dataclass
class _StageState:
    """What one stage holds while the step runs."""

    links: Mapping[str, Link]
    syncing: simpy.Resource
    """What the stage reduces and gathers beside its passes, one after another."""
    slowdown: Any
    """The next operation's time over its undisturbed one."""
    begin_s: float = -1.0
    end_s: float = 0.0
    computed_s: float = 0.0
    """When its last pass has ended."""
    waited_s: float = 0.0
    """What of that it waited for reductions and gathers between its passes."""
    passed_s: float = 0.0
    """Seconds of passes that have ended, their communication included."""
    in_pass_since_s: float | None = None
    sent: simpy.Event | None = None
    """When the last of its sends has arrived."""
    hidden_s: float = 0.0
    """Seconds of reductions and gathers that ran beside passes."""
    syncs: list[simpy.Process] = field(default_factory=list)
    left: dict[tuple[Kind, int], int] = field(default_factory=dict)
    """Operations still to come by kind and chunk."""

    def passed_until(self, now_s: float) -> float:
        """Seconds of passes so far."""
        return self.passed_s + (0.0 if self.in_pass_since_s is None else now_s - self.in_pass_since_s)


class _Step:
    def __init__(self, work: StepWork, noise: Noise, *, shared_links: bool) -> None:
        self.work, self.shape = work, work.shape
        self.shared = work.shared_links if shared_links else frozenset()
        self.env = simpy.Environment()
        self.events: list[TimelineEvent] = []
        self.arrived: dict[tuple[Kind, int, int], simpy.Event] = {}
        self.stages = [
            _StageState(
                links={name: Link(self.env) for name in LINKS},
                syncing=simpy.Resource(self.env),
                slowdown=noise.slowdowns(stage),
            )
            for stage in range(self.shape.stages)
        ]
        self.computed = [self.env.event() for _ in self.stages]
        self.last_kind: Kind = "W" if self.shape.split else "B"
        self.reduced_after = frozenset(work.reduced_after)

    def finished(self) -> Timeline:
        """The timeline, once all stages are through."""
        for stage in range(self.shape.stages):
            self.env.process(self._stage(stage))
        self.env.run()
        return Timeline(
            work=self.work,
            events=tuple(sorted(self.events, key=attrgetter("start_s", "stage", "end_s", "stream", "name"))),
            begin_s=tuple(state.begin_s for state in self.stages),
            end_s=tuple(state.end_s for state in self.stages),
        )

    def _stage(self, stage: int) -> Events:
        state = self.stages[stage]
        order = self.shape.order(stage)
        for operation in order:
            key = (operation.kind, operation.chunk)
            state.left[key] = state.left.get(key, 0) + 1
        gathers = self._gather(stage)
        for operation in order:
            arrival = self._arrival(stage, operation)
            if arrival is not None and not arrival.processed:
                yield arrival
            if state.begin_s < 0:
                state.begin_s = self.env.now
            yield from self._operation(stage, operation, gathers)
        yield from self._close(stage)

    def _operation(self, stage: int, operation: Operation, gathers: list[simpy.Process]) -> Events:
        """Compute, communicate inside the pass, and send on what it made."""
        work, state = self.work, self.stages[stage]
        kind, _, chunk = operation
        key = (kind, chunk)
        first = kind == "F" and state.left[key] == self.shape.micro_batches
        state.left[key] -= 1
        cost = self._cost(stage, operation)
        back = kind == self.last_kind and self.shape.micro_batches - state.left[key] in self.reduced_after
        if back and work.overlaps and work.reduce_s:
            state.syncs.append(self.env.process(self._sync(stage, "reduce gradients", chunk, work.reduce_s)))
        state.in_pass_since_s = self.env.now
        begun = yield from self._compute(stage, operation, cost)
        computed_s = self.env.now
        yield from self._communicate(stage, operation, cost, begun)
        state.passed_s, state.in_pass_since_s = state.passed_until(self.env.now), None
        passed_s = self.env.now
        if first and gathers:
            yield from self._until(gathers[chunk])
        if back and work.by_round and self.shape.stages == 1:
            yield self.env.all_of(state.syncs)
        state.waited_s += self.env.now - passed_s
        if kind != "W":
            yield from self._send(stage, operation)
        self._note(stage, "exposed", f"communication of {NAMES[kind]}", operation, computed_s)

    def _compute(self, stage: int, operation: Operation, cost: OperationWork) -> Generator[simpy.Event, Any, Begun]:
        """The computation of a pass, and when what runs beside it began."""
        slowdown = next(self.stages[stage].slowdown)
        start_s, done_s = self.env.now, 0.0
        begun: Begun = {}
        for begin_s, stream, seconds in cost.beside:
            yield from self._pause((begin_s - done_s) * slowdown)
            done_s = begin_s
            name = f"{MOVED[stream]} of {NAMES[operation.kind]}"
            begun[stream] = self.env.now, self._move(stage, stream, name, operation, seconds)
        yield from self._pause((cost.compute_s - done_s) * slowdown)
        self._note(stage, "compute", NAMES[operation.kind], operation, start_s)
        return begun

    def _communicate(self, stage: int, operation: Operation, cost: OperationWork, begun: Begun) -> Events:
        """What holds a pass up after its computation: transfers beside it that outlast it, the slowdown by those that
        did not, and collectives that hide behind nothing."""
        for stream in ("tensor", "context"):
            if stream in begun:
                yield from self._until(begun[stream][1])
        yield from self._pause(self.work.context_exposed * min(cost.context_s, cost.context_behind_s))
        name = f"{MOVED['tensor']} of {NAMES[operation.kind]}"
        yield from self._until(self._move(stage, "tensor", name, operation, cost.tensor_s))
        if "shard" in begun:
            begun_s, moved = begun["shard"]
            passed_s = self.env.now - begun_s
            yield from self._until(moved)
            yield from self._pause(self.work.shard_exposed * min(cost.shard_s, passed_s))

    def _cost(self, stage: int, operation: Operation) -> OperationWork:
        chunk = self.work.chunks[self.shape.place(stage, operation.chunk)]
        if operation.kind == "W":
            return chunk.weight
        if operation.kind == "F":
            return chunk.forward
        if operation.micro_batch == self.shape.micro_batches - 1:
            return chunk.last if self.shape.split else chunk.last_both
        return chunk.backward if self.shape.split else chunk.both

    def _pause(self, seconds: float) -> Events:
        if seconds > 0:
            yield self.env.timeout(seconds)

    def _until(self, event: simpy.Event | None) -> Events:
        """Wait for something that may have happened, or that there is none of."""
        if event is not None and not event.processed:
            yield event

    def _note(self, stage: int, stream: str, name: str, about: Operation | None, start_s: float) -> None:
        """Put what the stage itself began at `start_s` and ends now on the timeline."""
        if self.env.now > start_s:
            self._write(stage, stream, name, about, start_s, "", self.env.now - start_s)

    def _write(self, stage: int, stream: str, name: str, about: Operation | None, *rest: Any) -> None:
        start_s, link, alone_s = rest
        micro_batch, chunk = (-1, -1) if about is None else about[1:]
        self.events.append(
            TimelineEvent(stage, stream, name, micro_batch, chunk, start_s, self.env.now, link, alone_s)
        )

    def _move(
        self, stage: int, stream: Stream, name: str, about: Operation | None, seconds: float
    ) -> simpy.Event | None:
        """Begin a transfer on a stream's link; `None` where there is nothing to move."""
        if seconds <= 0:
            return None
        start_s, link = self.env.now, getattr(self.work.links, stream)
        moved = self.stages[stage].links[link].transfer(seconds) if link in self.shared else self.env.timeout(seconds)
        moved.callbacks.append(lambda _: self._write(stage, stream, name, about, start_s, link, seconds))
        return moved

    def _arrival(self, stage: int, operation: Operation) -> simpy.Event | None:
        """When what the operation needs from another stage is there; `None` where it needs nothing."""
        place = self.shape.place(stage, operation.chunk)
        if operation.kind == "W" or place == (0 if operation.kind == "F" else self.shape.depth - 1):
            return None
        return self._at(operation.kind, operation.micro_batch, place)

    def _at(self, kind: Kind, micro_batch: int, place: int) -> simpy.Event:
        key = (kind, micro_batch, place)
        if key not in self.arrived:
            self.arrived[key] = self.env.event()
        return self.arrived[key]

    def _send(self, stage: int, operation: Operation) -> Events:
        """Hand the result to the chunk that needs it; the exposed share holds up this stage."""
        step = 1 if operation.kind == "F" else -1
        place = self.shape.place(stage, operation.chunk) + step
        if not 0 <= place < self.shape.depth:
            return
        arrival = self._at(operation.kind, operation.micro_batch, place)
        if self.shape.holder(place)[0] == stage:
            arrival.succeed()
            return
        before = self.stages[stage].sent
        self.stages[stage].sent = arrival
        if before is None or before.triggered:
            self._travel(stage, operation, arrival)
        else:
            before.callbacks.append(lambda _: self._travel(stage, operation, arrival))
        if self.work.p2p_exposed >= 1:
            yield arrival
        else:
            yield from self._pause(self.work.p2p_exposed * self.work.p2p_s)

    def _travel(self, stage: int, operation: Operation, arrival: simpy.Event) -> None:
        what = "activations" if operation.kind == "F" else "gradients"
        moved = self._move(stage, "send", f"send {what}", operation, self.work.p2p_s)
        if moved is None:
            arrival.succeed()
        else:
            moved.callbacks.append(arrival.trigger)

    def _gather(self, stage: int) -> list[simpy.Process]:
        """Start gathering the weights of each chunk, in the order in which they are needed."""
        seconds = self.work.gather_s
        if not seconds or not self.work.overlaps or self.work.gathers_last:
            return []
        chunks = range(self.shape.chunks)
        return [self.env.process(self._sync(stage, "gather weights", chunk, seconds)) for chunk in chunks]

    def _sync(self, stage: int, name: str, chunk: int, stage_seconds: float) -> Events:
        """One chunk's share of what a stage reduces or gathers beside its passes."""
        seconds, state = stage_seconds / self.shape.chunks, self.stages[stage]
        with state.syncing.request() as turn:
            yield turn
            before_s = state.passed_until(self.env.now)
            yield from self._until(self._move(stage, "sync", name, Operation("W", -1, chunk), seconds))
            state.hidden_s += min(state.passed_until(self.env.now) - before_s, seconds)

    def _close(self, stage: int) -> Events:
        """What follows the last operation: deferred gradients, what is left of the reduction, the optimizer."""
        work, state = self.work, self.stages[stage]
        if stage == self.shape.holder(self.shape.depth - 1)[0]:
            deferred_s = work.deferred_s * self.shape.micro_batches
            yield from self._hold(stage, "compute", "head weight gradient", deferred_s)
        computed_s = state.computed_s = self.env.now
        if not work.overlaps:
            reduced_s = work.reduce_s * len(work.reduced_after)
            yield from self._until(self._move(stage, "sync", "reduce gradients", None, reduced_s))
            yield from self._until(self._move(stage, "sync", "gather weights", None, work.gather_s))
        yield self.env.all_of(state.syncs)
        yield from self._pause(work.once_exposed * state.hidden_s)
        self._note(stage, "exposed", "communication of gradients", None, computed_s)
        self.computed[stage].succeed()
        if not work.post_validated:  # the norm of all gradients, to clip them
            yield self.env.all_of(self.computed)
        yield from self._hold(stage, "compute", "optimizer", work.optimizer_s)
        if work.overlaps and work.gathers_last:
            yield from self._until(self._move(stage, "sync", "gather weights", None, work.gather_s))
        yield from self._hold(stage, "host", "once a step", work.fixed_s)
        passed = [state] if work.post_validated else self.stages
        through_s = max(one.computed_s - one.waited_s for one in passed)
        yield from self._hold(stage, "host", "slowest GPU", work.slowest_gpu * through_s)
        yield from self._hold(stage, "host", "slow node", work.slowdown * self.env.now)
        state.end_s = self.env.now

    def _hold(self, stage: int, stream: str, name: str, seconds: float) -> Events:
        """What the stage does for some seconds, about no micro-batch."""
        start_s = self.env.now
        yield from self._pause(seconds)
        self._note(stage, stream, name, None, start_s)
