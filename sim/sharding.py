"""What sharing out weights, gradients and optimizer state costs: gathers, reductions and the update itself."""

import numpy as np

from sim.case import SHARDINGS, Array, StepCase
from sim.network import all_reduce_time_s, gather_time_s, overlapped
from sim.passes import BF16
from sim.pipeline import chunk_layers

FSDP = SHARDINGS.index("fsdp")
HSDP = SHARDINGS.index("hsdp")
ZERO1 = SHARDINGS.index("zero1")
ZERO2 = SHARDINGS.index("zero2")


def stage_layers(case: StepCase) -> tuple[Array, Array]:
    """Layers of the fullest stage and of the last one, as `sim.pipeline.chunk_layers` spreads them."""
    first, middle, last = chunk_layers(case.layers, case.pp, case.vp, case.head_layers)
    more = (case.vp - 1) * middle
    alone = case.pp * case.vp == 1
    most = np.maximum(first, middle) + more
    return np.where(alone, case.layers, most), np.where(alone, case.layers, last + more)


def rank_parameters(case: StepCase, most: Array) -> Array:
    """Weights of the fullest rank: its `most` layers, and an embedding or a head where it holds one."""
    tables = np.where((case.pp == 1) & (case.tied == 0), 2.0, 1.0)
    return (most * case.layer_parameters + tables * case.embedding_parameters) / case.tp


def replica_stride(case: StepCase) -> Array:
    """How far apart in the order of ranks those are that hold the same weights."""
    return np.asarray(case.tp * np.where(case.pipeline_inside_data > 0, case.pp, 1.0))


def sharded_weights(case: StepCase) -> Array:
    """True where the weights themselves are shared out (FSDP, HSDP)."""
    return np.asarray((case.sharding == FSDP) | (case.sharding == HSDP))


def fsdp_layer_s(case: StepCase, work_s: Array, gathers: float, scatters: Array | float) -> Array:
    """Exposed seconds of one block's weight gathers and gradient scatters in one pass, behind the `work_s` of
    that pass (arXiv:2304.11277), with the copies about them. Where gradients stay whole until the last micro-batch
    the one scatter is shared out over all of them."""
    weights = BF16 * case.layer_parameters / case.tp
    gradients = case.gradient_bytes * case.layer_parameters / case.tp
    one = gather_time_s(case, weights, case.shard_degree, replica_stride(case))
    scatter = gather_time_s(case, gradients, case.shard_degree, replica_stride(case))
    scatters = scatters / np.where(case.accumulates_whole > 0, np.maximum(case.micro_batches, 1), 1.0)
    copied = gathers * case.gather_copy_bytes + scatters * case.scatter_copy_bytes
    copies_s = copied * case.layer_parameters / case.tp / case.memory_bytes_per_s
    comm = gathers * one + scatters * scatter + copies_s
    active = np.logical_and(sharded_weights(case), case.shard_degree > 1)
    return np.where(active, overlapped(work_s, comm, case.fsdp_exposed), 0.0)


def gradient_sync_s(case: StepCase, parameters: Array, forward_s: Array, backward_s: Array) -> Array:
    """Exposed seconds of reducing gradients and gathering weights once a step (ZeRO, arXiv:1910.02054), of a
    rank's `parameters`.

    Hidden, where the stack can: the reduction behind the last backward work (`backward_s`), the gather behind
    the first forward work (`forward_s`). Weights that are sharded move block by block instead (`fsdp_layer_s`);
    what is left here is the all-reduce between copies (HSDP).
    """
    ranks = case.dp * case.cp
    stride = replica_stride(case)
    reduce = gather_time_s(case, case.gradient_bytes * parameters, ranks, stride)
    gather = gather_time_s(case, BF16 * parameters, ranks, stride)
    sharded = (case.sharding == ZERO1) | (case.sharding == ZERO2)
    reduce = np.where(sharded, reduce, 2 * reduce)
    copies = np.maximum(ranks / case.shard_degree, 1)
    across = all_reduce_time_s(
        case, case.gradient_bytes * parameters / case.shard_degree, copies, stride * case.shard_degree
    )
    reduce = np.where(sharded_weights(case), np.where(copies > 1, across, 0.0), reduce)
    gather = np.where(sharded, gather, 0.0)
    hidden = overlapped(backward_s, reduce, case.dp_exposed) + overlapped(forward_s, gather, case.dp_exposed)
    return np.where(ranks > 1, np.where(case.dp_overlap > 0, hidden, reduce + gather), 0.0)


def optimizer_s(case: StepCase, parameters: Array) -> Array:
    """Seconds of one AdamW update of the rank's share of its `parameters`, by the bytes it moves, and of clipping;
    or as measured per parameter."""
    ranks = case.dp * case.cp
    shared = (case.sharding == ZERO1) | (case.sharding == ZERO2) | sharded_weights(case)
    owned = parameters / np.where(shared, np.minimum(case.shard_degree, ranks), 1.0)
    computed_s = case.optimizer_bytes / case.memory_bytes_per_s
    measured_s = case.measured_update_s_per_parameter
    return owned * np.where(np.isnan(measured_s), computed_s, measured_s)


def accumulate_s(case: StepCase, parameters: Array) -> Array:
    """Seconds per micro-batch to add the gradients of a rank's `parameters` to those of the micro-batches before."""
    apart = sharded_weights(case) & (case.accumulates_whole == 0)
    traffic = (
        case.accumulate_bytes * parameters / np.where(apart, np.minimum(case.shard_degree, case.dp * case.cp), 1.0)
    )
    return np.where(case.micro_batches <= 1, 0.0, traffic / case.memory_bytes_per_s)
