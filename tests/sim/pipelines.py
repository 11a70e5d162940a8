"""Shared by the tests of pipelines: what one is asked to do, in closed form and event by event."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from sim.pipeline.times import Chunk, PipelineCase, PipelineTimes, chunk_layers, pipeline_times
from sim.schedule.events import Timeline, simulate_step
from sim.schedule.noise import Noise
from sim.schedule.order import SCHEDULES, PipelineSchedule, PipelineShape
from sim.schedule.work import ChunkWork, OperationWork, StepWork


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A model of blocks, an embedding and a head in a pipeline; seconds forward, backward and for weights."""

    schedule: PipelineSchedule
    pp: int
    vp: int = 1
    micro_batches: int
    layers: int
    block: tuple[float, float, float] = (1.0, 1.0, 1.0)
    embedding: tuple[float, float, float] = (0.0, 0.0, 0.0)
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deferred_s: float = 0.0
    p2p_s: float = 0.0
    p2p_exposed: float = 0.0

    @property
    def shape(self) -> PipelineShape:
        return PipelineShape(schedule=self.schedule, stages=self.pp, chunks=self.vp, micro_batches=self.micro_batches)

    def chunks(self) -> tuple[Chunk, Chunk, Chunk]:
        """First, middle and last."""
        blocks = chunk_layers(*(np.array([float(x)]) for x in (self.layers, self.pp, self.vp)))
        block, embedding, head = (
            Chunk(*(np.array([x]) for x in seconds)) for seconds in (self.block, self.embedding, self.head)
        )
        first, middle, last = blocks
        return Chunk.of(first, block, embedding), Chunk.of(middle, block), Chunk.of(last, block, head)

    def case(self) -> PipelineCase:
        first, middle, last = self.chunks()
        index = SCHEDULES.index(self.schedule)
        numbers = (index, self.pp, self.vp, self.micro_batches, self.deferred_s, self.p2p_s, self.p2p_exposed)
        schedule, pp, vp, micro_batches, deferred_s, p2p_s, p2p_exposed = (np.array([float(x)]) for x in numbers)
        return PipelineCase(
            schedule=schedule,
            pp=pp,
            vp=vp,
            micro_batches=micro_batches,
            first=first,
            middle=middle,
            last=last,
            deferred_s=deferred_s,
            p2p_s=p2p_s,
            p2p_exposed=p2p_exposed,
        )

    def closed_form(self) -> PipelineTimes:
        return pipeline_times(self.case())

    def closed_form_s(self) -> float:
        return float(self.closed_form().total_s[0])

    def work(self) -> StepWork:
        first, middle, last = self.chunks()
        depth = self.shape.depth
        if depth == 1:
            chunks = [Chunk(*(getattr(first, n) + getattr(last, n) for n in ("forward_s", "backward_s", "weight_s")))]
        else:
            chunks = [first, *[middle] * (depth - 2), last]
        split = self.shape.split
        if split:
            chunks[-1] = replace(chunks[-1], weight_s=chunks[-1].weight_s + self.deferred_s)
        return StepWork(
            shape=self.shape,
            chunks=tuple(
                ChunkWork(
                    forward=OperationWork(compute_s=float(c.forward_s[0])),
                    backward=OperationWork(compute_s=float(c.backward_s[0])),
                    weight=OperationWork(compute_s=float(c.weight_s[0])),
                )
                for c in chunks
            ),
            deferred_s=0.0 if split else self.deferred_s,
            p2p_s=self.p2p_s if self.pp > 1 else 0.0,
            p2p_exposed=self.p2p_exposed,
        )

    def timeline(self, noise: Noise | None = None) -> Timeline:
        return simulate_step(self.work(), noise)

    def event_s(self) -> float:
        return self.timeline().total_s


@st.composite
def situations(draw: st.DrawFn, schedule: PipelineSchedule | None = None) -> Situation:
    """Pipelines that a framework would run: whole layers or a layer's place for embedding and head, a head worth
    0.1 to 3 blocks, sends within an eighth of a forward (beside the computation under zb-v, as PyTorch does), as many
    micro-batches as the schedule is laid out for."""
    kind = schedule or draw(st.sampled_from(SCHEDULES))
    pp = draw(st.integers(1, 12))
    vp = 2 if kind == "zb-v" else draw(st.integers(1, 6)) if kind == "1f1b" and pp > 1 else 1
    chunks = pp * vp
    per_chunk = draw(st.integers(4 if kind == "zb-v" else 1, 12))
    layers = per_chunk * chunks
    if chunks > 1 and per_chunk > 1 and draw(st.booleans()):
        layers -= 2
    elif kind != "zb-v" and vp == 1 and pp > 1 and draw(st.booleans()):
        layers -= draw(st.integers(0, min(pp, per_chunk) - 1))  # the last stage is short
    least = 2 * pp if kind.startswith("zb") else 1
    forward = 1.0
    backward = draw(st.floats(0.8, 2.2))
    weight = draw(st.floats(0.4, 1.1))
    head = draw(st.floats(0.1, 3.0))
    deferred = draw(st.booleans())
    embedding = draw(st.floats(0.0, 0.1))
    micro_batches = draw(st.integers(least, least + 24))
    if pp == 2 and vp > 1 and micro_batches > 3:  # see test_two_stages_of_short_ends_or_odd_micro_batches
        micro_batches, head = micro_batches - micro_batches % 2, max(head, 0.5)
    return Situation(
        schedule=kind,
        pp=pp,
        vp=vp,
        micro_batches=micro_batches,
        layers=layers,
        block=(forward, backward, weight),
        embedding=(embedding, embedding, embedding),
        head=(head, head, 0.0 if deferred else head),
        deferred_s=head if deferred else 0.0,
        p2p_s=draw(st.floats(0.0, 0.125)) * per_chunk,
        p2p_exposed=0.0 if kind == "zb-v" else draw(st.sampled_from([0.0, 0.5, 1.0])),
    )
