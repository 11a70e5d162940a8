"""In which order a pipeline stage computes: micro-batches and chunks, as the frameworks do it.

A stage holds `chunks` chunks of the model. A chunk's forward (F) of a micro-batch needs the forward of the chunk
before it, its backward (B, the gradient of its input) the backward of the chunk after it; its weight gradient (W)
needs its own B alone, and is part of B where the schedule does not set it apart.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, cast, get_args

from profiler.files import InputError

PipelineSchedule = Literal["gpipe", "1f1b", "zb-h1", "zb-h2", "zb-v"]
"""gpipe: arXiv:1811.06965. 1f1b: arXiv:2104.04473, interleaved where a stage holds several chunks. zb-h1, zb-h2:
arXiv:2401.10241. zb-v: arXiv:2405.15362, two chunks a stage laid out as a V."""

SCHEDULES: tuple[PipelineSchedule, ...] = get_args(PipelineSchedule)
"""The closed form takes an index into this."""

SPLIT: tuple[PipelineSchedule, ...] = ("zb-h1", "zb-h2", "zb-v")
"""Schedules in which the weight gradient is an operation of its own."""


Kind = Literal["F", "B", "W"]


class Operation(NamedTuple):
    """One computation of a stage."""

    kind: Kind
    micro_batch: int
    chunk: int
    """Of the stage, counted in the order of the forward pass."""


def chunks_of(schedule: PipelineSchedule) -> int | None:
    """Chunks a stage that a schedule is laid out for; `None` for 1F1B, which takes any number."""
    return {"1f1b": None, "zb-v": 2}.get(schedule, 1)


@dataclass(frozen=True, kw_only=True)
class PipelineShape:
    """A pipeline of `stages` stages with `chunks` chunks each, through which `micro_batches` pass.

    Raises:
        InputError: a schedule that cannot hold that many chunks, or a count below one.
    """

    schedule: PipelineSchedule
    stages: int
    chunks: int
    micro_batches: int

    def __post_init__(self) -> None:
        if min(self.stages, self.chunks, self.micro_batches) < 1:
            raise InputError(
                f"{self.stages} stages, {self.chunks} chunks and {self.micro_batches} micro-batches; a pipeline has "
                "at least one of each."
            )
        allowed = chunks_of(self.schedule)
        if allowed is not None and self.chunks != allowed:
            raise InputError(
                f"schedule '{self.schedule}' holds {allowed} chunk{'s' * (allowed > 1)} per stage, not {self.chunks}."
            )

    @property
    def split(self) -> bool:
        """Whether weight gradients are operations of their own."""
        return self.schedule in SPLIT

    @property
    def depth(self) -> int:
        """Chunks of the whole model."""
        return self.stages * self.chunks

    def place(self, stage: int, chunk: int) -> int:
        """Which chunk of the model a stage's chunk is, from 0 at the embedding to `depth` - 1 at the head."""
        if self.schedule == "zb-v" and chunk == 1:
            return self.depth - 1 - stage
        return chunk * self.stages + stage

    def holder(self, place: int) -> tuple[int, int]:
        """The stage, and its chunk, that is chunk `place` of the model."""
        chunk, stage = divmod(place, self.stages)
        return (self.stages - 1 - stage, 1) if self.schedule == "zb-v" and chunk == 1 else (stage, chunk)

    def order(self, stage: int) -> tuple[Operation, ...]:
        """All operations of a stage in the order in which it computes them."""
        builders = {"gpipe": _gpipe, "1f1b": _one_f_one_b, "zb-h1": _zb_h1, "zb-h2": _zb_h2, "zb-v": _zb_v}
        return tuple(builders[self.schedule](self, stage))


def rounds(stages: int, micro_batches: int) -> tuple[int, ...]:
    """Micro-batches that pass one chunk before the stage turns to the next, group by group.

    As many groups as hold `stages` each, as in PyTorch's Interleaved1F1B; where they do not divide the micro-batches
    the first ones hold one more (Megatron-Core likewise wants no group smaller than the pipeline).
    """
    groups = max(micro_batches // stages, 1)
    least, more = divmod(micro_batches, groups)
    return (least + 1,) * more + (least,) * (groups - more)


@cache
def _passes(stages: int, chunks: int, micro_batches: int) -> tuple[tuple[int, int], ...]:
    """(micro-batch, chunk) in the order of the forward passes."""
    passes: list[tuple[int, int]] = []
    begin = 0
    for size in rounds(stages, micro_batches):
        passes += [(i, chunk) for chunk in range(chunks) for i in range(begin, begin + size)]
        begin += size
    return tuple(passes)


def _gpipe(shape: PipelineShape, _stage: int) -> Iterator[Operation]:
    for kind in ("F", "B"):
        yield from (Operation(kind, i, 0) for i in range(shape.micro_batches))


def _one_f_one_b(shape: PipelineShape, stage: int) -> Iterator[Operation]:
    """Megatron-LM's order: one forward beyond the warm-up, then one backward, in turns."""
    passes = _passes(shape.stages, shape.chunks, shape.micro_batches)
    group = rounds(shape.stages, shape.micro_batches)[0]
    behind = shape.stages - 1 - stage
    warm_up = behind if shape.chunks == 1 else (shape.chunks - 1) * group + 2 * behind
    warm_up = min(warm_up, len(passes))
    forwards = [Operation("F", i, chunk) for i, chunk in passes]
    backwards = [Operation("B", i, shape.chunks - 1 - chunk) for i, chunk in passes]
    yield from forwards[:warm_up]
    for forward, backward in zip(forwards[warm_up:], backwards, strict=False):
        yield from (forward, backward)
    yield from backwards[len(forwards) - warm_up :]


def _zb_h1(shape: PipelineShape, stage: int) -> Iterator[Operation]:
    return _zero_bubble(shape, warm_up=shape.stages - 1 - stage, delay=stage)


def _zb_h2(shape: PipelineShape, stage: int) -> Iterator[Operation]:
    return _zero_bubble(shape, warm_up=2 * (shape.stages - 1 - stage), delay=2 * stage)


def _zero_bubble(shape: PipelineShape, *, warm_up: int, delay: int) -> Iterator[Operation]:
    """F and B in turns after the warm-up, and from the `delay`-th B on the oldest W after each B."""
    count = shape.micro_batches
    warm_up = min(warm_up, count)
    yield from (Operation("F", i, 0) for i in range(warm_up))
    for i in range(count):
        if warm_up + i < count:
            yield Operation("F", warm_up + i, 0)
        yield Operation("B", i, 0)
        if i >= delay:
            yield Operation("W", i - delay, 0)
    yield from (Operation("W", i, 0) for i in range(max(count - delay, 0), count))


def _zb_v(shape: PipelineShape, stage: int) -> Iterator[Operation]:
    """PyTorch's ScheduleZBVZeroBubble: laid out for at least 2·stages - 1 micro-batches, those beyond left out."""
    count = max(2 * shape.stages - 1, shape.micro_batches)
    behind = shape.stages - stage
    order: list[Operation] = []
    done: Counter[tuple[Kind, int]] = Counter()

    def add(operations: str, times: int = 1) -> None:
        """Such as "F1 F0": the next forward of chunk 1, then that of chunk 0."""
        for name in operations.split() * times:
            kind, chunk = cast(Kind, name[0]), int(name[1])
            order.append(Operation(kind, done[kind, chunk], chunk))
            done[kind, chunk] += 1

    add("F0", 2 * behind - 1)
    add("F1 F0", stage)
    add("F1 B1 W1", behind)
    while done["F", 1] < count:
        add("F0", done["F", 0] < count)
        add("B0 W0 F1 B1 W1")
    add("B0 B1", stage)
    add("B0 W0", behind)
    add("W1", count - done["W", 1])
    add("W0", count - done["W", 0])
    return (operation for operation in order if operation.micro_batch < shape.micro_batches)
