"""One optimizer step, event by event: the reference for the closed form (`sim/pipeline.py`, `sim/step.py`).

One SimPy process per stage of one replica computes in the order of the schedule (`sim/schedule_order.py`). A
micro-batch's activations and gradients travel over the sender's link, which they share with the gathers and
reductions of weights and gradients, sends first. What overlaps is whatever happens to run at the same time; nothing
is added up afterwards. Replicas are taken to be alike, and the tensor- and context-parallel ranks of a stage to be in
step.
"""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import simpy

from profiler.files import InputError
from sim.schedule_noise import Noise
from sim.schedule_order import Kind, Operation, PipelineShape, rounds

Events = Generator[simpy.Event, Any, None]

NAMES: Mapping[Kind, str] = {"F": "forward", "B": "backward", "W": "weight gradient"}
MOST_PIECES = 256
"""Pieces into which a chunk's reduction or gather is cut at most. Each takes as long as a send, so that a send which
finds the link in use takes up to twice as long, as it would at half the rate."""

SEND, SHARD = 0, 1
"""Priorities on a link; the weights of a later chunk come after those of an earlier one."""


@dataclass(frozen=True, kw_only=True)
class OperationWork:
    """Seconds of one operation on one chunk, undisturbed."""

    compute_s: float
    collective_s: float = 0.0
    """Tensor- and context-parallel communication that the computation waits for."""
    shard_s: float = 0.0
    """Gathers of the chunk's weights and reductions of its gradients over the link, beside the computation (FSDP)."""

    @property
    def stage_s(self) -> float:
        """Seconds that it takes of the stage where all sharding hides."""
        return self.compute_s + self.collective_s


@dataclass(frozen=True, kw_only=True)
class ChunkWork:
    """Seconds of one micro-batch in one chunk of the model."""

    forward: OperationWork
    backward: OperationWork
    """Gradient of the input, what recompute runs again included."""
    weight: OperationWork
    """Gradient of the weights; computed with the backward unless the schedule sets it apart."""


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """Everything that one replica does in one step."""

    shape: PipelineShape
    chunks: tuple[ChunkWork, ...]
    """In the order of the forward pass: `shape.depth` of them."""
    p2p_s: float = 0.0
    p2p_exposed: float = 0.0
    """Share of a send that holds up the sender's computation."""
    deferred_s: float = 0.0
    """The head's weight gradient per micro-batch, worked off after the last backward."""
    shard_exposed: float = 0.0
    """Share of a gather or reduction within a pass that slows the computation beside it."""
    reduce_s: float = 0.0
    """Reducing a stage's gradients once, with the last backward of each chunk."""
    by_round: bool = False
    """Whether it reduces them with the last backward of each round of micro-batches (`sim.schedule_order.rounds`).
    Without a pipeline each reduction is then waited for before the next forward (DeepSpeed's epilogue)."""
    gather_s: float = 0.0
    """Gathering a stage's weights once, with the first forward of each chunk."""
    overlaps: bool = True
    """False where reduction and gather wait for all computation."""
    once_exposed: float = 0.0
    """As `shard_exposed`, for what is done once a step, of the time in which it runs beside computation."""
    optimizer_s: float = 0.0
    fixed_s: float = 0.0
    """Once a step, all stages alike."""
    slowest_gpu: float = 0.0
    """Share of the step by which the slowest of many GPUs delays them all."""

    @property
    def reduced_after(self) -> tuple[int, ...]:
        """After how many micro-batches a chunk's gradients are reduced."""
        count = self.shape.micro_batches
        return tuple(accumulate(rounds(self.shape.stages, count))) if self.by_round else (count,)

    @property
    def post_validated(self) -> bool:
        """Whether a stage steps its optimizer without waiting for the others (arXiv:2401.10241 section 4)."""
        return self.shape.schedule in ("zb-h2", "zb-v")


class TimelineEvent(NamedTuple):
    """Something that a stage does."""

    stage: int
    stream: str
    """compute, collective (communication that computation waits for), send, shard (gathers and reductions on the
    link) or host."""
    name: str
    micro_batch: int
    """-1 where it is about none in particular, as is `chunk`."""
    chunk: int
    start_s: float
    end_s: float


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


def simulate_step(work: StepWork, noise: Noise | None = None) -> Timeline:
    """Run one step; the same work and noise give the same timeline.

    Raises:
        InputError: a stage in `noise` that the pipeline does not have.
    """
    noise = noise or Noise()
    for stage in noise.stragglers:
        if not 0 <= stage < work.shape.stages:
            raise InputError(f"straggler is stage {stage}; the pipeline has stages 0 to {work.shape.stages - 1}.")
    return _Step(work, noise).finished()


@dataclass
class _StageState:
    """What one stage holds while the step runs."""

    link: simpy.PriorityResource
    slowdown: Any
    """The next operation's time over its undisturbed one."""
    begin_s: float = -1.0
    end_s: float = 0.0
    computed_s: float = 0.0
    """Seconds of computation that have ended."""
    computing_since_s: float | None = None
    hidden_s: float = 0.0
    """Seconds in which this step's reductions and gathers ran beside computation."""
    shards: list[simpy.Process] = field(default_factory=list)
    left: dict[tuple[Kind, int], int] = field(default_factory=dict)
    """Operations still to come by kind and chunk."""

    def computed_until(self, now_s: float) -> float:
        """Seconds of computation so far."""
        return self.computed_s + (0.0 if self.computing_since_s is None else now_s - self.computing_since_s)


class _Step:
    def __init__(self, work: StepWork, noise: Noise) -> None:
        self.work, self.shape = work, work.shape
        self.env = simpy.Environment()
        self.events: list[TimelineEvent] = []
        self.arrived: dict[tuple[Kind, int, int], simpy.Event] = {}
        self.stages = [
            _StageState(link=simpy.PriorityResource(self.env), slowdown=noise.slowdowns(stage))
            for stage in range(self.shape.stages)
        ]
        self.computed = [self.env.event() for _ in self.stages]
        self.last_kind: Kind = "W" if self.shape.split else "B"

    def finished(self) -> Timeline:
        """The timeline, once all stages are through."""
        for stage in range(self.shape.stages):
            self.env.process(self._stage(stage))
        self.env.run()
        return Timeline(
            work=self.work,
            events=tuple(sorted(self.events, key=lambda e: (e.start_s, e.stage, e.end_s, e.stream, e.name))),
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
        shard = self.env.process(self._shard(stage, operation, cost.shard_s)) if cost.shard_s else None
        back = kind == self.last_kind and self.shape.micro_batches - state.left[key] in work.reduced_after
        if back and work.overlaps and work.reduce_s:
            reduction = self._once(stage, "reduce gradients", chunk, work.reduce_s, SHARD)
            state.shards.append(self.env.process(reduction))
        start_s = self.env.now
        yield from self._compute(stage, operation, cost.compute_s * next(state.slowdown))
        if cost.collective_s:
            yield from self._busy(stage, "collective", f"in {NAMES[kind]}", operation, cost.collective_s)
        passed_s = self.env.now - start_s
        if shard is not None:
            yield shard
            hidden_s = min(cost.shard_s, passed_s)
            yield from self._busy(stage, "collective", "shards, not hidden", operation, work.shard_exposed * hidden_s)
        if first and gathers and gathers[chunk].is_alive:
            yield gathers[chunk]
        if back and work.by_round and self.shape.stages == 1:
            yield self.env.all_of(state.shards)
        if kind != "W":
            yield from self._send(stage, operation)

    def _compute(self, stage: int, operation: Operation, seconds: float) -> Events:
        state = self.stages[stage]
        state.computing_since_s = self.env.now
        yield from self._busy(stage, "compute", NAMES[operation.kind], operation, seconds)
        state.computed_s, state.computing_since_s = state.computed_until(self.env.now), None

    def _cost(self, stage: int, operation: Operation) -> OperationWork:
        chunk = self.work.chunks[self.shape.place(stage, operation.chunk)]
        if operation.kind == "F":
            return chunk.forward
        if operation.kind == "W":
            return chunk.weight
        if self.shape.split:
            return chunk.backward
        return OperationWork(
            compute_s=chunk.backward.compute_s + chunk.weight.compute_s,
            collective_s=chunk.backward.collective_s + chunk.weight.collective_s,
            shard_s=chunk.backward.shard_s + chunk.weight.shard_s,
        )

    def _busy(self, stage: int, stream: str, name: str, operation: Operation | None, seconds: float) -> Events:
        """Let time pass on a stream and note it."""
        if seconds <= 0:
            return
        start_s = self.env.now
        yield self.env.timeout(seconds)
        micro_batch, chunk = (-1, -1) if operation is None else operation[1:]
        self.events.append(TimelineEvent(stage, stream, name, micro_batch, chunk, start_s, self.env.now))

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
        travel = self.env.process(self._travel(stage, operation, arrival))
        held_s = self.work.p2p_exposed * self.work.p2p_s
        if held_s > 0:
            yield travel if self.work.p2p_exposed >= 1 else self.env.timeout(held_s)

    def _travel(self, stage: int, operation: Operation, arrival: simpy.Event) -> Events:
        with self.stages[stage].link.request(priority=SEND) as free:
            yield free
            what = "activations" if operation.kind == "F" else "gradients"
            yield from self._busy(stage, "send", f"send {what}", operation, self.work.p2p_s)
        arrival.succeed()

    def _shard(self, stage: int, operation: Operation, seconds: float) -> Events:
        with self.stages[stage].link.request(priority=SHARD) as free:
            yield free
            yield from self._busy(stage, "shard", f"shards of {NAMES[operation.kind]}", operation, seconds)

    def _gather(self, stage: int) -> list[simpy.Process]:
        """Start gathering the weights of each chunk, in the order in which they are needed."""
        seconds = self.work.gather_s
        if not seconds or not self.work.overlaps:
            return []
        return [
            self.env.process(self._once(stage, "gather weights", chunk, seconds, SHARD + chunk))
            for chunk in range(self.shape.chunks)
        ]

    def _once(self, stage: int, name: str, chunk: int, stage_seconds: float, priority: int) -> Events:
        """One chunk's share of what a stage reduces or gathers once a step, piece by piece."""
        seconds = stage_seconds / self.shape.chunks
        pieces = min(max(math.ceil(seconds / self.work.p2p_s), 1), MOST_PIECES) if self.work.p2p_s else 1
        state = self.stages[stage]
        for _ in range(pieces):
            with state.link.request(priority=priority) as free:
                yield free
                before_s = state.computed_until(self.env.now)
                yield from self._busy(stage, "shard", name, Operation("W", -1, chunk), seconds / pieces)
                state.hidden_s += state.computed_until(self.env.now) - before_s

    def _close(self, stage: int) -> Events:
        """What follows the last operation: deferred gradients, what is left of the reduction, the optimizer."""
        work, state = self.work, self.stages[stage]
        if stage == self.shape.holder(self.shape.depth - 1)[0]:
            deferred_s = work.deferred_s * self.shape.micro_batches
            yield from self._busy(stage, "compute", "head weight gradient", None, deferred_s)
        if not work.overlaps:
            reduced_s = work.reduce_s * len(work.reduced_after)
            yield from self._busy(stage, "shard", "reduce gradients", None, reduced_s)
            yield from self._busy(stage, "shard", "gather weights", None, work.gather_s)
        yield self.env.all_of(state.shards)
        yield from self._busy(stage, "collective", "gradients, not hidden", None, work.once_exposed * state.hidden_s)
        self.computed[stage].succeed()
        if not work.post_validated:  # the norm of all gradients, to clip them
            yield self.env.all_of(self.computed)
        yield from self._busy(stage, "compute", "optimizer", None, work.optimizer_s)
        yield from self._busy(stage, "host", "once a step", None, work.fixed_s)
        yield from self._busy(stage, "host", "slowest GPU", None, work.slowest_gpu * self.env.now)
        state.end_s = self.env.now
