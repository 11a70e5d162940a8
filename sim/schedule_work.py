"""What one replica of a `StepCase` does in a step, for the event simulation.

It takes its seconds from the same functions as `sim/step.py`, so that the two differ in the schedule alone.
"""

from dataclasses import fields

import numpy as np

from sim.case import Array, StepCase
from sim.passes import backward_pass, forward_pass, head_s, recompute_s
from sim.pipeline import Chunk, chunk_layers
from sim.schedule import ChunkWork, OperationWork, StepWork
from sim.schedule_order import SCHEDULES, PipelineShape
from sim.sharding import (
    accumulate_s,
    fsdp_layer_s,
    optimizer_s,
    rank_parameters,
    reduces_by_round,
    reduction_s,
    stage_layers,
    weight_gather_s,
)
from sim.step import WEIGHT_SHARE, head_chunk, p2p_s


def step_work(case: StepCase, index: int = 0) -> StepWork:
    """All that one replica of step `index` does, for `sim.schedule.simulate_step`."""

    def at(values: Array) -> float:
        return float(np.broadcast_to(values, (case.size,))[index])

    chunks = [round(at(n)) for n in (case.pp, case.vp, case.micro_batches)]
    shape = PipelineShape(
        schedule=SCHEDULES[int(at(case.schedule))],
        stages=chunks[0],
        chunks=chunks[1],
        micro_batches=chunks[2],
    )
    head, deferred_s = head_chunk(case, head_s(case))
    parameters = rank_parameters(case, stage_layers(case)[0])
    doublings = np.maximum(np.log2(case.gpus / case.gpus_per_node), 0)
    return StepWork(
        shape=shape,
        chunks=_chunks(case, shape, index, head, parameters),
        p2p_s=at(p2p_s(case)),
        p2p_exposed=at(case.p2p_exposed),
        deferred_s=at(deferred_s),
        shard_exposed=at(case.fsdp_exposed),
        reduce_s=at(reduction_s(case, parameters)),
        by_round=bool(np.broadcast_to(reduces_by_round(case), (case.size,))[index]),
        gather_s=at(weight_gather_s(case, parameters)),
        overlaps=at(case.dp_overlap) > 0,
        once_exposed=at(case.dp_exposed),
        optimizer_s=at(optimizer_s(case, parameters)),
        fixed_s=at(case.step_fixed_s),
        slowest_gpu=at(case.straggler_per_doubling * doublings),
    )


def _chunks(
    case: StepCase, shape: PipelineShape, index: int, head: Chunk, parameters: Array
) -> tuple[ChunkWork, ...]:
    """The chunks of step `index` in the order of the forward pass."""

    def at(values: Array) -> float:
        return float(np.broadcast_to(values, (case.size,))[index])

    forward = forward_pass(case)
    backward = backward_pass(case, forward)
    nothing = np.zeros(1)
    gather = at(fsdp_layer_s(case, nothing, 1.0, 0.0))
    both = at(fsdp_layer_s(case, nothing, 1.0, 1.0))
    weight = WEIGHT_SHARE * at(backward.matmul)
    communicated = [at(x.tensor_parallel + x.context_parallel) for x in (forward, backward)]
    once = at(case.pass_fixed_s) / 2  # of each chunk and micro-batch, half with either pass
    accumulated = at(accumulate_s(case, parameters)) / shape.chunks

    def chunk(blocks: float, extra: Chunk | None) -> ChunkWork:
        ahead, back, weights = (0.0,) * 3 if extra is None else (at(getattr(extra, f.name)) for f in fields(Chunk))
        computed = at(forward.compute + forward.host)
        computed_back = at(backward.compute + backward.host + recompute_s(case, forward)) - weight
        return ChunkWork(
            forward=OperationWork(
                compute_s=blocks * computed + ahead + once,
                collective_s=blocks * communicated[0],
                shard_s=blocks * gather,
            ),
            backward=OperationWork(
                compute_s=blocks * computed_back + back + once,
                collective_s=blocks * communicated[1],
                shard_s=blocks * both,
            ),
            weight=OperationWork(compute_s=blocks * weight + weights + accumulated),
        )

    first, middle, last = (at(x) for x in chunk_layers(case.layers, case.pp, case.vp, case.head_layers))
    if shape.depth == 1:
        return (chunk(first, head),)
    return (chunk(first, None), *[chunk(middle, None)] * (shape.depth - 2), chunk(last, head))
