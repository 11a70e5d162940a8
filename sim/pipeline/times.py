"""How long a pipeline takes, in closed form, for one layout or a million at once.

A schedule fixes the order in which each stage computes (`sim/schedule/order.py`). What a step then takes is the
longest path through the graph of its operations: each waits for the one before it on its stage and for the
micro-batch to arrive. The stages are alike but for the first chunk of the model (embedding) and the last (head), so
only a few paths can be the longest: up to the last stage, through all the work of one stage, and back, with or
without detours. Each function below takes the longest of them; `sim/schedule/events.py` runs the same graph event
by event.

A send takes `p2p_s`. The exposed share of it holds up the sender's computation; the rest is the time until the
receiver can begin, which a schedule without slack (1F1B) pays all the same: with one forward to one backward, a
micro-batch that comes late delays the next.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import reduce

import numpy as np

from sim.pipeline.paths import Array, Ops, Pipeline, gpipe, interleaved, one_f_one_b
from sim.pipeline.two_stages import lacking, two_stages
from sim.pipeline.zero_bubble import zb_v, zero_bubble
from sim.schedule.order import SCHEDULES, SPLIT, PipelineSchedule


@dataclass(frozen=True)
class Chunk:
    """Seconds of one micro-batch in one chunk of the model."""

    forward_s: Array
    backward_s: Array
    """Gradient of the input, what recompute runs again included."""
    weight_s: Array
    """Gradient of the weights."""

    @property
    def total_s(self) -> Array:
        """All three."""
        return self.forward_s + self.backward_s + self.weight_s

    @classmethod
    def of(cls, blocks: Array, block: "Chunk", extra: "Chunk | None" = None) -> "Chunk":
        """A chunk of some blocks, and what stands beside them (the embedding, or the head)."""
        return cls(
            **{
                f.name: blocks * getattr(block, f.name) + (0.0 if extra is None else getattr(extra, f.name))
                for f in fields(cls)
            }
        )


@dataclass(frozen=True, kw_only=True)
class PipelineCase:
    """One entry per layout; arrays that broadcast."""

    schedule: Array
    """Index into `sim.schedule.order.SCHEDULES`."""
    pp: Array
    """Stages."""
    vp: Array
    """Chunks per stage: 2 for zb-v, 1 for gpipe, zb-h1 and zb-h2."""
    micro_batches: Array
    first: Chunk
    """The chunk with the embedding. Without a pipeline (pp 1) the model is `first` and `last` together."""
    middle: Chunk
    """Each of the pp·vp - 2 chunks between."""
    last: Chunk
    """The chunk with the head."""
    deferred_s: Array
    """Seconds per micro-batch of the head's weight gradient that the last stage works off after its last backward."""
    p2p_s: Array
    """Seconds of one send between stages."""
    p2p_exposed: Array
    """Share of a send that holds up the sender's computation."""


@dataclass(frozen=True, kw_only=True)
class PipelineTimes:
    """Seconds from the first forward to the last gradient, and what of them the sends are.

    Under zb-h2 and zb-v the optimizer is checked after it ran (arXiv:2401.10241 section 4), so that stages begin the
    next step one after another as they began this one: `total_s` is then the longest stage from its own begin.
    """

    total_s: Array
    p2p_s: Array
    """What sends add."""


def chunk_layers(layers: Array, pp: Array, vp: Array, head_layers: Array | float = 0.0) -> tuple[Array, Array, Array]:
    """Blocks of the first chunk, of each chunk between and of the last; without a pipeline all are in the first.

    Where the chunks do not divide the layers but do divide them plus two, the embedding and the head each take a
    layer's place, as in Llama 3 (arXiv:2407.21783 section 3.3.2). Otherwise each stage holds as many, rounded up, and
    the last one what is left; fewer than none are spread evenly over the stages before it. Where `head_layers` says
    how many layers' work the head is, stages of one chunk share out layers and head by that work, each cut at a whole
    layer from the first stage on (nanotron's cost model); each between is taken to be as full as the fullest.
    """
    chunks = pp * vp
    even = layers / chunks
    padded = (layers + 2) / chunks
    most = np.ceil(layers / pp)
    left = layers - (pp - 1) * most
    whole = (even == np.floor(even)) | (vp > 1)
    asymmetric = (padded == np.floor(padded)) & (even != np.floor(even))
    full = np.where(left >= 0, most, layers / np.maximum(pp - 1, 1))
    middle = np.where(asymmetric, padded, np.where(whole, even, full))
    first = np.where(asymmetric, padded - 1, middle)
    last = np.where(asymmetric, padded - 1, np.where(whole, even, np.maximum(left, 0.0)))
    share = (layers + head_layers) / pp
    by_work = (np.asarray(head_layers) > 0) & (vp == 1) & (pp > 1) & (share * (pp - 1) <= layers)
    first = np.where(by_work, np.floor(share), first)
    last = np.where(by_work, layers - np.floor(share * (pp - 1)), last)
    middle = np.where(by_work, np.ceil(share), middle)
    alone = chunks == 1
    return np.where(alone, layers, first), np.where(alone, 0.0, middle), np.where(alone, 0.0, last)


LONGEST: dict[tuple[PipelineSchedule, bool], Callable[[Pipeline], Array]] = {
    ("gpipe", False): gpipe,
    ("1f1b", False): one_f_one_b,
    ("1f1b", True): interleaved,
    ("zb-h1", False): lambda c: zero_bubble(c, 1),
    ("zb-h2", False): lambda c: zero_bubble(c, 2),
    ("zb-v", True): zb_v,
}
"""The longest path by schedule, and whether a stage holds several chunks."""

ROUNDING = 1e-9
"""By how much a lower bound may stand above what it bounds."""

BLOCK = 4096
"""Pipelines at once: what is computed with them stays in the processor's cache."""


def pipeline_times(case: PipelineCase, most_s: Array | float = math.inf) -> PipelineTimes:
    """Seconds of each pipeline; one that takes longer than `most_s` by what is certain is left at that (`certain_s`).

    Sources: GPipe arXiv:1811.06965; 1F1B and its interleaved form arXiv:2104.04473 section 2.2; ZB-H1 and ZB-H2
    arXiv:2401.10241 section 3; ZB-V arXiv:2405.15362.
    """
    shape, schedule, p2p_s, exposed, c = _flat(case)
    least_s = np.broadcast_to(certain_s(case), shape).ravel()
    worth = least_s * (1 - ROUNDING) <= np.broadcast_to(most_s, shape).ravel()
    free_s, total_s = least_s.copy(), least_s.copy()
    for (name, several), longest in LONGEST.items():
        of_kind = np.flatnonzero((schedule == SCHEDULES.index(name)) & ((c.v > 1) == several) & (c.n > 1) & worth)
        for start in range(0, of_kind.size, BLOCK):
            here = of_kind[start : start + BLOCK]
            some = c.at(here)
            free_s[here] = longest(some)
            total_s[here] = longest(_with_sends(some, p2p_s[here], exposed[here]))
    pairs = np.flatnonzero((schedule == SCHEDULES.index("1f1b")) & lacking(c) & worth)
    if pairs.size:
        some = c.at(pairs)
        free_s[pairs] = two_stages(some)
        total_s[pairs] = two_stages(_with_sends(some, p2p_s[pairs], exposed[pairs]))
    # a later begin can shorten what zb-h2 and zb-v count: no more than nothing is gained by it
    return PipelineTimes(total_s=total_s.reshape(shape), p2p_s=np.maximum(total_s - free_s, 0.0).reshape(shape))


def _flat(case: PipelineCase) -> tuple[tuple[int, ...], Array, Array, Array, Pipeline]:
    """Their common shape and all fields in a row, sends apart; where the weight gradient is set apart, the head's is
    too."""
    chunks = [getattr(chunk, f.name) for chunk in (case.first, case.middle, case.last) for f in fields(Chunk)]
    plain = [case.schedule, case.pp, case.vp, case.micro_batches, case.deferred_s, case.p2p_s, case.p2p_exposed]
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (*plain, *chunks)))
    shape = columns[0].shape
    columns = tuple(column.ravel() for column in columns)
    schedule, n, v, m, deferred, p2p_s, exposed = columns[:7]
    first, middle, last = (Ops(*columns[i : i + 3]) for i in (7, 10, 13))
    split = np.isin(schedule, [SCHEDULES.index(name) for name in SPLIT])
    last = replace(last, w=last.w + np.where(split, deferred, 0.0))
    deferred = np.where(split, 0.0, deferred)
    zero = np.zeros_like(p2p_s)
    pipeline = Pipeline(n, v, m, first, middle, last, deferred, p=zero, held=zero)
    return shape, schedule, p2p_s, exposed, pipeline


def _slowest_s(case: PipelineCase) -> Array:
    """Seconds that the slowest stage computes."""
    first, middle, last = (case.micro_batches * chunk.total_s for chunk in (case.first, case.middle, case.last))
    last = last + case.micro_batches * case.deferred_s
    more = (case.vp - 1) * middle
    by_chunk = np.maximum(np.maximum(first, last) + more, np.where(case.pp > 2, middle + more, 0.0))
    folded = np.maximum(first + last, 2 * middle)
    slowest = np.where(case.schedule == SCHEDULES.index("zb-v"), folded, by_chunk)
    return np.where(case.pp > 1, slowest, first + last)


def certain_s(case: PipelineCase) -> Array:
    """Seconds that each pipeline takes at least: what its slowest stage computes, or the way to the last and back."""
    return np.maximum(_slowest_s(case), _there_and_back_s(case))


def _there_and_back_s(case: PipelineCase) -> Array:
    """Seconds of the way up to the last stage, through all it computes but what it defers, and back; zero where it is
    not certain: stages begin the next step one after another, or compute weight gradients on the way back."""
    between, more = np.maximum(case.pp - 2, 0), case.vp - 1
    first, middle, last = (chunk.total_s for chunk in (case.first, case.middle, case.last))
    way = first + between * middle + 2 * (case.pp - 1) * case.p2p_s
    way = way + case.micro_batches * (last + more * (middle + 2 * case.p2p_exposed * case.p2p_s))
    split = reduce(np.logical_or, (case.schedule == SCHEDULES.index(name) for name in SPLIT))
    return np.where(split | (case.pp == 1), 0.0, way)


def _with_sends(c: Pipeline, p2p_s: Array, exposed: Array) -> Pipeline:
    """The exposed share of each send as part of the operation before it, the rest as time on the way.

    The head's chunk sends no activations on and the embedding's no gradients back.
    """
    held = exposed * p2p_s
    return replace(
        c,
        first=replace(c.first, f=c.first.f + held),
        middle=replace(c.middle, f=c.middle.f + held, b=c.middle.b + held),
        last=replace(c.last, b=c.last.b + held),
        p=p2p_s - held,
        held=held,
    )
