"""What one replica does in a step, and how much of it a `StepCase` says there is.

The seconds come from the same functions as those of `sim/step.py`, so that the event simulation
(`sim/schedule/events.py`) differs in the schedule and in what transfers do to each other alone.
"""

from collections import Counter
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sim.case import Array, StepCase, entry
from sim.context import context_exposed, rings
from sim.network import leaves_node
from sim.passes import Pass, block_passes, head_s, recompute_s, recomputed
from sim.pipeline.times import Chunk, chunk_layers
from sim.schedule.link import LinkName
from sim.schedule.order import SCHEDULES, PipelineShape, rounds
from sim.sharding import (
    accumulate_s,
    fsdp_copies_s,
    fsdp_late_s,
    fsdp_moves_s,
    fsdp_root_s,
    fsdp_shown,
    optimizer_s,
    p2p_stride,
    rank_parameters,
    reduces_by_round,
    reduction_s,
    replica_stride,
    sharded_weights,
    sharing_ranks,
    stage_layers,
    tied_s,
    weight_gather_s,
)
from sim.step import WEIGHT_SHARE, exposed_fsdp_s, head_chunk, p2p_s, pass_s, slowest_gpu

Stream = Literal["tensor", "context", "shard", "sync", "send"]
"""Streams of communication."""


@dataclass(frozen=True, kw_only=True)
class Links:
    """The link over which each stream moves."""

    tensor: LinkName = "nvlink"
    context: LinkName = "nic"
    shard: LinkName = "nic"
    sync: LinkName = "nic"
    send: LinkName = "nic"


@dataclass(frozen=True, kw_only=True)
class OperationWork:
    """Seconds of one operation on one chunk, undisturbed and each with its link to itself."""

    compute_s: float
    tensor_s: float = 0.0
    """Collectives over activations that the computation waits for."""
    tensor_hidden_s: float = 0.0
    """Those that run beside it."""
    context_s: float = 0.0
    """Passing keys and values round the context-parallel ring."""
    context_behind_s: float = 0.0
    """Seconds of the computation, its last, beside which that runs."""
    shard_s: float = 0.0
    """Gathers of the chunk's weights and reductions of its gradients (FSDP)."""
    shard_behind_s: float = 0.0
    """Seconds of the computation, its last, beside which and the collectives after it those run."""
    beside: tuple[tuple[float, Stream, float], ...] = field(init=False, repr=False)
    """What runs beside it: after how many seconds of computation it begins, its stream and its seconds."""

    def __post_init__(self) -> None:
        streams: tuple[tuple[float, Stream, float], ...] = (
            (0.0, "tensor", self.tensor_hidden_s),
            (self.compute_s - self.context_behind_s, "context", self.context_s),
            (self.compute_s - self.shard_behind_s, "shard", self.shard_s),
        )
        object.__setattr__(self, "beside", tuple(sorted(one for one in streams if one[2] > 0)))

    def slowed(self, compute: float, communication: float) -> "OperationWork":
        """See `StepWork.slowed`."""
        computed = ("compute_s", "context_behind_s", "shard_behind_s")
        seconds = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return OperationWork(**{n: s * (compute if n in computed else communication) for n, s in seconds.items()})


@dataclass(frozen=True, kw_only=True)
class ChunkWork:
    """Seconds of one micro-batch in one chunk of the model."""

    forward: OperationWork
    backward: OperationWork
    """Gradient of the input, what recompute runs again included."""
    weight: OperationWork
    """Gradient of the weights; computed with the backward unless the schedule sets it apart."""
    last_shard_s: float | None = None
    """`shard_s` of the last micro-batch's backward; that of the others where it is not said."""
    last: OperationWork = field(init=False)
    """The backward of the last micro-batch."""
    both: OperationWork = field(init=False)
    """Both gradients in one."""
    last_both: OperationWork = field(init=False)
    """The same of the last micro-batch."""

    def __post_init__(self) -> None:
        last = self.backward
        if self.last_shard_s is not None:
            last = replace(last, shard_s=self.last_shard_s)
        made = {
            "last": last,
            "both": _added(self.backward, self.weight),
            "last_both": _added(last, self.weight),
        }
        for name, operation in made.items():
            object.__setattr__(self, name, operation)

    def slowed(self, compute: float, communication: float) -> "ChunkWork":
        """See `StepWork.slowed`."""
        last_s = self.last_shard_s
        return ChunkWork(
            forward=self.forward.slowed(compute, communication),
            backward=self.backward.slowed(compute, communication),
            weight=self.weight.slowed(compute, communication),
            last_shard_s=None if last_s is None else communication * last_s,
        )


def _added(one: OperationWork, other: OperationWork) -> OperationWork:
    names = [f.name for f in fields(OperationWork) if f.init]
    return OperationWork(**{name: getattr(one, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """Everything that one replica does in one step."""

    shape: PipelineShape
    chunks: tuple[ChunkWork, ...]
    """In the order of the forward pass: `shape.depth` of them."""
    links: Links = Links()
    context_exposed: float = 0.0
    """Share of a context-parallel transfer that slows the computation beside it."""
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
    """Whether it reduces them with the last backward of each round of micro-batches (`sim.schedule.order.rounds`).
    Without a pipeline each reduction is then waited for before the next forward (DeepSpeed's epilogue)."""
    gather_s: float = 0.0
    """Gathering a stage's weights once, with the first forward of each chunk."""
    gathers_last: bool = False
    """Whether that waits for the optimizer instead."""
    overlaps: bool = True
    """False where reduction and gather wait for all computation."""
    once_exposed: float = 0.0
    """As `shard_exposed`, for reductions and gathers that are not part of one pass, of what runs beside passes."""
    optimizer_s: float = 0.0
    """With the embedding's gradients that two stages add up before."""
    fixed_s: float = 0.0
    """Once a step, all stages alike, with what FSDP gathers and scatters there with nothing to hide it."""
    slowest_gpu: float = 0.0
    """Share of the passes by which the slowest of many GPUs delays them all."""
    slowdown: float = 0.0
    """Share of the whole step by which nodes that are not in order delay it."""

    def slowed(self, compute: float, communication: float, optimizer: float) -> "StepWork":
        """The same on GPUs that take so many times as long to compute, to communicate and to update weights."""
        chunks = {chunk: chunk.slowed(compute, communication) for chunk in set(self.chunks)}
        moved = {name: communication * getattr(self, name) for name in ("p2p_s", "reduce_s", "gather_s")}
        return replace(
            self,
            chunks=tuple(chunks[chunk] for chunk in self.chunks),
            deferred_s=compute * self.deferred_s,
            optimizer_s=optimizer * self.optimizer_s,
            **moved,
        )

    @property
    def reduced_after(self) -> tuple[int, ...]:
        """After how many micro-batches a chunk's gradients are reduced."""
        count = self.shape.micro_batches
        return tuple(accumulate(rounds(self.shape.stages, count))) if self.by_round else (count,)

    @property
    def shared_links(self) -> frozenset[LinkName]:
        """Links over which more than one stream moves anything."""
        operations = [one for chunk in set(self.chunks) for one in (chunk.forward, chunk.last, chunk.weight)]
        users = Counter(
            link
            for link, moves in (
                (self.links.tensor, any(one.tensor_s or one.tensor_hidden_s for one in operations)),
                (self.links.context, any(one.context_s for one in operations)),
                (self.links.shard, any(one.shard_s for one in operations)),
                (self.links.sync, self.reduce_s or self.gather_s),
                (self.links.send, self.p2p_s),
            )
            if moves
        )
        return frozenset(link for link, streams in users.items() if streams > 1)

    @property
    def post_validated(self) -> bool:
        """Whether a stage steps its optimizer without waiting for the others (arXiv:2401.10241 section 4)."""
        return self.shape.schedule in ("zb-h2", "zb-v")


def step_work(case: StepCase) -> StepWork:
    """All that one replica does in the only step of a case, for `sim.schedule.events.simulate_step`."""
    stages, chunks, micro_batches = (round(_at(n)) for n in (case.pp, case.vp, case.micro_batches))
    shape = PipelineShape(
        schedule=SCHEDULES[int(_at(case.schedule))], stages=stages, chunks=chunks, micro_batches=micro_batches
    )
    head, deferred_s = head_chunk(case, head_s(case))
    parameters = rank_parameters(case, stage_layers(case)[0])
    forward, backward = block_passes(case)
    again = recompute_s(case, forward)
    shown = exposed_fsdp_s(case, forward, backward, again)
    return StepWork(
        shape=shape,
        chunks=_chunks(case, shape, head, parameters),
        links=_links(case),
        context_exposed=_at(context_exposed(case)),
        p2p_s=_at(p2p_s(case)),
        p2p_exposed=_at(case.p2p_exposed),
        deferred_s=_at(deferred_s),
        shard_exposed=_at(fsdp_shown(case)),
        reduce_s=_at(reduction_s(case, parameters)),
        by_round=_at(np.where(reduces_by_round(case), 1.0, 0.0)) > 0,
        gather_s=_at(weight_gather_s(case, parameters)),
        gathers_last=_at(case.whole_tensors) > 0,
        overlaps=_at(case.dp_overlap) > 0,
        once_exposed=_at(case.dp_exposed),
        optimizer_s=_at(optimizer_s(case, parameters) + tied_s(case)),
        fixed_s=_at(case.step_fixed_s + fsdp_root_s(case) + fsdp_late_s(case, parameters)),
        slowest_gpu=_at(slowest_gpu(case, forward, backward, again, shown, fsdp_copies_s(case))),
        slowdown=_at(case.slowdown),
    )


def _at(values: NDArray[Any]) -> float:
    """What stands for the only step."""
    return entry(values, 0)


def _links(case: StepCase) -> Links:
    """Over which link each stream's slowest hop goes."""
    ranks, stride = case.dp * case.cp, replica_stride(case)
    shard = sharing_ranks(case)
    apart = np.where(sharded_weights(case), shard, 1.0)  # gradients in shards are summed between copies
    groups = {
        "tensor": (case.tp, np.ones_like(case.tp)),
        "context": (case.cp, case.tp),
        "shard": (shard, stride),
        "sync": (ranks / apart, stride * apart),
        "send": (case.pp, p2p_stride(case)),
    }
    names: dict[str, LinkName] = {
        name: "nic" if _at(leaves_node(case, *group)) else "nvlink" for name, group in groups.items()
    }
    return Links(**names)


def _chunks(case: StepCase, shape: PipelineShape, head: Chunk, parameters: Array) -> tuple[ChunkWork, ...]:
    """The chunks in the order of the forward pass."""
    forward, back, weight_s = _block(case)
    moves = fsdp_moves_s(case)
    once = _at(pass_s(case)) / 2  # of each chunk and micro-batch, half with either pass
    accumulated = _at(accumulate_s(case, parameters)) / shape.chunks

    def operation(blocks: float, block: dict[str, Array], more_s: float) -> OperationWork:
        seconds = {name: blocks * _at(values) for name, values in block.items()}
        return OperationWork(**{**seconds, "compute_s": seconds["compute_s"] + more_s})

    def chunk(blocks: float, extra: Chunk | None) -> ChunkWork:
        ahead, behind, weights = (0.0,) * 3 if extra is None else (_at(getattr(extra, f.name)) for f in fields(Chunk))
        return ChunkWork(
            forward=operation(blocks, forward, ahead + once),
            backward=operation(blocks, back, behind + once),
            weight=operation(blocks, {"compute_s": weight_s, "shard_behind_s": weight_s}, weights + accumulated),
            last_shard_s=blocks * _at(moves.last_s),
        )

    first, middle, last = (_at(x) for x in chunk_layers(case.layers, case.pp, case.vp, case.head_layers))
    if shape.depth == 1:
        return (chunk(first, head),)
    return (chunk(first, None), *[chunk(middle, None)] * (shape.depth - 2), chunk(last, head))


def _block(case: StepCase) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """Fields of `OperationWork` for one block forward and backward (what is run again included), and the seconds of
    its weights' gradients."""
    forward, backward = block_passes(case)
    again = recomputed(case)
    weight_s = WEIGHT_SHARE * backward.matmul
    ring, moves, copied = rings(case), fsdp_moves_s(case), fsdp_copies_s(case)
    ahead = {
        "compute_s": forward.compute + forward.host + copied[0],
        "tensor_s": forward.tensor_parallel,
        "tensor_hidden_s": forward.gathers - forward.tensor_parallel,
        **_ring(case, [(forward, ring.forward_s, np.ones(1))]),
        "shard_s": moves.ahead_s,
        "shard_behind_s": forward.compute + forward.host,
    }
    again_hidden_s = again.tensor_parallel * ahead["tensor_hidden_s"]
    computed_s = backward.compute + backward.host + again.computed_s(forward) - weight_s
    behind = {
        "compute_s": computed_s + copied[1],
        "tensor_s": backward.tensor_parallel + again.tensor_parallel * forward.tensor_parallel,
        "tensor_hidden_s": backward.gathers - backward.tensor_parallel + again_hidden_s,
        **_ring(case, [(backward, ring.backward_s, np.ones(1)), (forward, ring.forward_s, again.rest)], ring.home_s),
        "shard_s": moves.behind_s,
        "shard_behind_s": computed_s,
    }
    return ahead, behind, weight_s


def _ring(case: StepCase, passes: list[tuple[Pass, Array, Array]], home_s: Array | float = 0.0) -> dict[str, Array]:
    """Seconds of the rings of some passes, each a share of itself, and of what is sent home; and of the attention
    beside which they run; where a ring outlasts its own, none is left over to hide another's."""
    attention = sum(share * one.attention for one, _, share in passes)
    moving = home_s + sum(share * ring for _, ring, share in passes)
    hidden = sum(share * np.minimum(ring, one.attention) for one, ring, share in passes)
    behind = np.where(moving > hidden, hidden, attention)
    return {"context_s": np.asarray(moving), "context_behind_s": np.where(case.cp > 1, behind, 0.0)}
