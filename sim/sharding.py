"""What sharing out weights, gradients and optimizer state costs: gathers, reductions and the update itself."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.case import BF16, SHARDINGS, Array, StepCase
from sim.network import all_reduce_time_s, gather_time_s, group_bandwidth, overlapped, pass_round_s
from sim.pipeline.times import chunk_layers
from sim.schedule.order import SCHEDULES

Mask = NDArray[np.bool_]

FSDP = SHARDINGS.index("fsdp")
HSDP = SHARDINGS.index("hsdp")
ZERO1 = SHARDINGS.index("zero1")
ZERO2 = SHARDINGS.index("zero2")
ONE_F_ONE_B = SCHEDULES.index("1f1b")

MATRICES, VECTORS = 4, 4
"""Tensors of a block whose MLP has no gate: query, key and value as one, output and two of the MLP; two norms and the
biases of attention (InternLM model/modeling_internlm.py fa7337b)."""

SUM_16BIT_BYTES = 6
"""Bytes per parameter to add 16-bit gradients to 16-bit sums: both read, the sum written."""


def stage_layers(case: StepCase) -> tuple[Array, Array]:
    """Layers of the fullest stage and of the last one, as `sim.pipeline.times.chunk_layers` spreads them."""
    first, middle, last = chunk_layers(case.layers, case.pp, case.vp, case.head_layers)
    more = (case.vp - 1) * middle
    alone = case.pp * case.vp == 1
    most = np.maximum(first, middle) + more
    return np.where(alone, case.layers, most), np.where(alone, case.layers, last + more)


def rank_parameters(case: StepCase, most: Array) -> Array:
    """Weights of the fullest rank: its `most` layers, and an embedding or a head where it holds one."""
    return most * case.layer_parameters / case.tp + table_parameters(case)


def table_parameters(case: StepCase) -> Array:
    """Weights of a rank's embedding and head, or under a pipeline of the larger."""
    embedding, head = _tables(case)
    return np.where(case.pp == 1, embedding + head, np.maximum(embedding, head))


def split_tables(case: StepCase) -> tuple[Array, Array]:
    """Weights of a rank's embedding and of its head: some stacks do not split them over the tensor-parallel ranks."""
    embedding = case.embedding_parameters / np.where(case.splits_vocabulary > 0, case.tp, 1.0)
    return embedding, case.embedding_parameters / np.where(case.splits_head > 0, case.tp, 1.0)


def _tables(case: StepCase) -> tuple[Array, Array]:
    """Weights of a rank's embedding, and of a head of its own."""
    embedding, head = split_tables(case)
    return embedding, np.where((case.pp == 1) & (case.tied > 0), 0.0, head)


def replica_stride(case: StepCase) -> Array:
    """How far apart in the order of ranks those are that hold the same weights."""
    return np.asarray(case.tp * np.where(case.pipeline_inside_data > 0, case.pp, 1.0))


def p2p_stride(case: StepCase) -> Array:
    """How far apart in the order of ranks neighbouring stages are."""
    return np.asarray(case.tp * case.cp * np.where(case.pipeline_inside_data > 0, 1.0, case.dp))


def sharded_weights(case: StepCase) -> Mask:
    """True where the weights themselves are shared out (FSDP, HSDP)."""
    return np.asarray((case.sharding == FSDP) | (case.sharding == HSDP))


def by_block(case: StepCase) -> Mask:
    """True where weights are gathered and gradients scattered block by block: FSDP, HSDP, and without a pipeline
    ZeRO-2 where it is FSDP that keeps what it gathered (`zero2_by_block`)."""
    return np.asarray(sharded_weights(case) | gathers_once(case))


def gathers_once(case: StepCase) -> Mask:
    """True where FSDP keeps the weights that it gathered for the forward pass until the backward pass is over."""
    return np.asarray((case.sharding == ZERO2) & (case.zero2_by_block > 0) & (case.pp == 1))


def sharded_optimizer(case: StepCase) -> Mask:
    """True where each rank updates its share of weights that all hold whole (ZeRO 1 and 2)."""
    return np.asarray((case.sharding == ZERO1) | (case.sharding == ZERO2))


def sharing_ranks(case: StepCase) -> Array:
    """Ranks among which one copy of what is sharded is shared out."""
    return np.minimum(case.shard_degree, case.dp * case.cp)


def whole_gradients(case: StepCase) -> Mask:
    """True where a rank adds up its gradients over micro-batches before it reduces them.

    ZeRO-1 and plain data parallelism do. Where gradients are shared out, each micro-batch's are reduced as its
    backward pass makes them and only a rank's own share is kept (DeepSpeed runtime/engine.py, allreduce_gradients:
    "ZeRO stage >= 2 communicates during non gradient accumulation boundaries as well"; FSDP alike), unless the stack
    puts that off until the last one, as a pipeline does too (torch.distributed.pipelining stage.py:
    set_requires_gradient_sync(False)).
    """
    shared_out = (case.sharding == ZERO2) | sharded_weights(case)
    return np.asarray(~shared_out | (case.accumulates_whole > 0) | (case.pp > 1))


def reduces_by_round(case: StepCase) -> Mask:
    """True where gradients are reduced when a round of micro-batches is back (`sim.schedule.order.rounds`): the one
    micro-batch of a round without a pipeline (ZeRO-2, and between the copies of HSDP), and under ZeRO-2 in an
    interleaved pipeline those that pass a chunk one after another."""
    in_turn = (
        (case.sharding == ZERO2) & (case.schedule == ONE_F_ONE_B) & (case.vp > 1) & (case.accumulates_whole == 0)
    )
    return np.asarray(~whole_gradients(case) | in_turn)


def reductions(case: StepCase) -> Array:
    """How often a step reduces all gradients (`reduction_s`). Under FSDP each pass scatters its own
    (`fsdp_layer_s`)."""
    return np.where(reduces_by_round(case), np.maximum(np.floor(case.micro_batches / case.pp), 1), 1.0)


def whole_share(case: StepCase) -> Array:
    """Share of a rank's gradients that is held whole while micro-batches are summed: none, all, or one chunk."""
    share = np.where(reduces_by_round(case), 1 / case.vp, 1.0)
    return np.where(whole_gradients(case) & (case.micro_batches > 1), share, 0.0)


@dataclass(frozen=True, kw_only=True)
class FsdpMoves:
    """Seconds that one block's weights and gradients are under way in the passes of its micro-batches."""

    ahead_s: Array
    """In each forward pass."""
    behind_s: Array
    """In each backward pass but the last."""
    last_s: Array
    """In the last backward pass."""


def fsdp_moves_s(case: StepCase) -> FsdpMoves:
    """What FSDP moves block by block (arXiv:2304.11277): weights gathered in both passes, and gradients scattered in
    every backward pass, or in the last where they stay whole until then. A pipeline scatters at its end
    (`fsdp_late_s`), and where it gathers once that is shared out over its micro-batches."""
    block, moved = case.layer_parameters / case.tp, _moved_times(case)
    gather_s = gather_time_s(case, case.weight_bytes * block, case.shard_degree, replica_stride(case))
    scatter_s = _scatter_s(case, block)
    return FsdpMoves(
        ahead_s=moved.ahead * gather_s,
        behind_s=moved.again * gather_s + moved.each * scatter_s,
        last_s=moved.again * gather_s + moved.last * scatter_s,
    )


def fsdp_copies_s(case: StepCase) -> tuple[Array, Array]:
    """Seconds of a block's forward and backward pass in which weights are copied out of what was gathered and
    gradients laid out to be scattered: kernels that hide behind nothing. Means over the micro-batches of a step."""
    block, moved, passes = case.layer_parameters / case.tp, _moved_times(case), np.maximum(case.micro_batches, 1)
    copy_s = case.gather_copy_bytes * case.weight_bytes / BF16 * block / case.memory_bytes_per_s
    scatters = np.maximum(moved.each, moved.last / passes)
    return moved.ahead * copy_s, moved.again * copy_s + scatters * _laid_out_s(case, block)


@dataclass(frozen=True, kw_only=True)
class _MovedTimes:
    """How often FSDP gathers one block's weights and scatters its gradients."""

    ahead: Array
    """Gathers in each forward pass."""
    again: Array
    """In each backward pass."""
    each: Array
    """Scatters in each backward pass but the last."""
    last: Array
    """In the last one."""


def _moved_times(case: StepCase) -> _MovedTimes:
    active = np.where(by_block(case) & (case.shard_degree > 1), 1.0, 0.0)
    once = (case.pp > 1) & (case.keeps_gathered > 0)
    last = np.where(case.pp > 1, 0.0, active)
    return _MovedTimes(
        ahead=active / np.where(once, np.maximum(case.micro_batches, 1), 1.0),
        again=np.where(once | gathers_once(case), 0.0, active),
        each=np.where(whole_gradients(case), 0.0, last),
        last=last,
    )


def fsdp_shown(case: StepCase) -> Array:
    """Share that shows of what FSDP moves where there is enough to compute: each byte costs the kernels beside it
    `fsdp_passes` of memory traffic, in bandwidth and in multiprocessors (arXiv:2007.00156), so that a second on a
    slow link costs them less than one on a fast one."""
    moved_bytes_per_s = group_bandwidth(case, case.shard_degree, replica_stride(case))
    return np.minimum(case.fsdp_passes * moved_bytes_per_s / case.memory_bytes_per_s, 1.0)


def fsdp_layer_s(case: StepCase, forward_s: Array, backward_s: Array) -> tuple[Array, Array]:
    """Exposed seconds of what FSDP moves of one block, behind so many seconds of work in each pass: means over the
    micro-batches of a step."""
    moves, last = fsdp_moves_s(case), 1 / np.maximum(case.micro_batches, 1)
    share = fsdp_shown(case)

    def exposed(work_s: Array, moved_s: Array) -> Array:
        return overlapped(work_s, moved_s, share)

    behind = (1 - last) * exposed(backward_s, moves.behind_s) + last * exposed(backward_s, moves.last_s)
    return exposed(forward_s, moves.ahead_s), np.asarray(behind)


def _scatter_s(case: StepCase, parameters: Array) -> Array:
    """Seconds to scatter the gradients of so many parameters over the ranks that share them."""
    return gather_time_s(case, case.gradient_bytes * parameters, case.shard_degree, replica_stride(case))


def _laid_out_s(case: StepCase, parameters: Array) -> Array:
    """Seconds to lay them out for that."""
    return np.asarray(case.scatter_copy_bytes * parameters / case.memory_bytes_per_s)


def fsdp_late_s(case: StepCase, parameters: Array) -> Array:
    """Seconds to scatter the gradients of a rank's `parameters` at the end of a pipeline, with nothing to hide it
    (torch.distributed.pipelining stage.py 0138610: the one published way to run FSDP under one)."""
    active = sharded_weights(case) & (case.shard_degree > 1) & (case.pp > 1)
    return np.where(active, _scatter_s(case, parameters) + _laid_out_s(case, parameters), 0.0)


def fsdp_root_s(case: StepCase) -> Array:
    """Seconds of a step in which sharded weights that are in no block move and nothing hides it: FSDP gathers them as
    one group before the first block can begin, and scatters their gradients when the last one is back (torch
    _fsdp_state.py 005da46: the root). Under a pipeline it is left out: only the outer stages have any."""
    embedding, head = _tables(case)
    root = embedding + np.where(case.root_has_head > 0, head, 0.0)
    ranks, stride = case.shard_degree, replica_stride(case)
    gather = gather_time_s(case, BF16 * root, ranks, stride)
    scatter = gather_time_s(case, case.gradient_bytes * root, ranks, stride)
    scatters = np.where(whole_gradients(case), 1.0, case.micro_batches)
    moved = case.root_gathers * case.micro_batches * gather + scatters * scatter
    active = by_block(case) & (ranks > 1) & (case.pp == 1) & (case.root_gathers > 0)
    return np.where(active, moved, 0.0)


def reduction_s(case: StepCase, parameters: Array) -> Array:
    """Seconds to reduce the gradients of a rank's `parameters` once: scattered (ZeRO, arXiv:1910.02054), where only
    some ranks share them out among these and summed between the copies, or for every rank whole. Sharded weights
    have theirs scattered block by block (`fsdp_layer_s`); what is left is the all-reduce between copies (HSDP)."""
    size_bytes = case.gradient_bytes * parameters
    ranks, stride = case.dp * case.cp, replica_stride(case)
    sharing = sharing_ranks(case)
    copies = np.maximum(ranks / sharing, 1)
    across = all_reduce_time_s(case, size_bytes / sharing, copies, stride * sharing)
    between = np.where(copies > 1, across, 0.0)
    scattered = gather_time_s(case, size_bytes, sharing, stride) + between
    whole = 2 * gather_time_s(case, size_bytes, ranks, stride)
    plain = np.where(sharded_optimizer(case) & (case.whole_tensors == 0), scattered, whole)
    return np.where(ranks > 1, np.where(by_block(case), between, plain), 0.0)


def weight_gather_s(case: StepCase, parameters: Array) -> Array:
    """Seconds to gather a rank's `parameters` once a step, where each rank updates its share of them (ZeRO), from
    those among which they are shared out."""
    ranks, tables = sharing_ranks(case), np.minimum(table_parameters(case), parameters)
    size_bytes = case.weight_bytes * (parameters - tables) + BF16 * tables  # embedding and head stay in 16 bits
    gathered = gather_time_s(case, size_bytes, ranks, replica_stride(case))
    in_turn = np.where(case.whole_tensors > 0, _broadcasts_s(case, size_bytes, ranks), 0.0)
    return np.where(sharded_optimizer(case) & ~by_block(case) & (ranks > 1), gathered + in_turn, 0.0)


def _broadcasts_s(case: StepCase, size_bytes: Array, ranks: Array) -> Array:
    """Seconds by which `ranks` owners of whole tensors that broadcast them in turn take longer than one gather.

    The largest tensors are dealt out first, each to the rank that has least: with more ranks than matrices each of
    these has an owner of its own, as do norms and biases while ranks are left (InternLM solver/optimizer/
    hybrid_zero_optim.py c788446).
    """
    layers, stride = stage_layers(case)[0], replica_stride(case)
    matrices = layers * (MATRICES + case.gated) + 2
    large = np.minimum(ranks, matrices)
    small = np.clip(ranks - matrices, 0.0, layers * VECTORS)
    vector_bytes = case.weight_bytes * case.hidden
    pass_s = pass_round_s(case, size_bytes / large, ranks, stride)
    return (large - 1) * pass_s + small * pass_round_s(case, vector_bytes, ranks, stride)


@dataclass(frozen=True, kw_only=True)
class Hiding:
    """Seconds of computation behind which a stage's reductions, or its gathers, can hide."""

    all_s: Array
    """Behind all of them, from the first chunk's on."""
    chunk_s: Array
    """Behind one chunk's: the pass of one micro-batch that needs it, or makes it."""


def shown_s(case: StepCase, moved_s: Array, hiding: Hiding) -> Array:
    """Seconds that show of a reduction or gather of `moved_s`, made chunk by chunk: what outlasts all that hides it,
    or what of the last chunk's (of a gather: the first's) outlasts its pass; and the exposed share of the rest."""
    left_over = np.maximum(moved_s - hiding.all_s, moved_s / case.vp - hiding.chunk_s)
    bare_s = np.maximum(left_over, 0.0)
    return np.asarray(bare_s + case.dp_exposed * (moved_s - bare_s))


def gradient_sync_s(case: StepCase, parameters: Array, forward: Hiding, backward: Hiding, round_s: Array) -> Array:
    """Exposed seconds of a step's reductions of gradients and gather of weights, of a rank's `parameters`.

    Hidden, where the stack can: the gather behind the first forward work, the last reduction behind the backward work
    before it. Of the reductions before the last each hides behind all of the next round (`round_s`), but without a
    pipeline, where the next one waits for it.
    """
    reduce, gather, times = reduction_s(case, parameters), weight_gather_s(case, parameters), reductions(case)
    last = shown_s(case, reduce, backward)
    earlier = np.where(case.pp > 1, overlapped(round_s, reduce, case.dp_exposed), last)
    waited = np.where(case.whole_tensors > 0, gather, shown_s(case, gather, forward))
    synced = np.where(case.dp_overlap > 0, (times - 1) * earlier + last + waited, times * reduce + gather)
    return synced + fsdp_root_s(case) + fsdp_late_s(case, parameters)


def tied_s(case: StepCase) -> Array:
    """Seconds in which the first and the last stage of a pipeline add up their gradients of the embedding that both
    hold, once a step before the update (DeepSpeed runtime/pipe/engine.py 0050fda, ReduceTiedGrads; Megatron-LM's
    embedding-grads-all-reduce)."""
    stride = p2p_stride(case)
    inside = case.pp * stride <= case.gpus_per_node  # two ranks apart in a node are as near as neighbours
    apart = np.where(inside, stride, np.maximum(case.pp - 1, 1) * stride)
    size_bytes = case.gradient_bytes * _tables(case)[0]
    between = all_reduce_time_s(case, size_bytes, np.where(case.pp > 1, 2.0, 1.0), apart)
    return np.where((case.pp > 1) & (case.tied > 0), between, 0.0)


def optimizer_s(case: StepCase, parameters: Array) -> Array:
    """Seconds of one AdamW update of the rank's share of its `parameters`, by the bytes it moves, and of clipping;
    or as measured per parameter."""
    shared = sharded_optimizer(case) | sharded_weights(case)
    owned = parameters / np.where(shared, sharing_ranks(case), 1.0)
    largest = np.where(shared & (case.whole_tensors > 0), np.maximum(*_tables(case)), 0.0)
    owned = np.maximum(owned, largest)
    computed_s = case.optimizer_bytes / case.memory_bytes_per_s
    measured_s = case.measured_update_s_per_parameter
    return owned * np.where(np.isnan(measured_s), computed_s, measured_s)


def accumulate_s(case: StepCase, parameters: Array) -> Array:
    """Seconds per micro-batch to add the gradients of a rank's `parameters`, or of its share of them, to those of the
    micro-batches before.

    A stack that keeps all its state in 16 bits has no FSDP, and no fp32 sums, without data or tensor parallelism:
    autograd keeps the first micro-batch's gradients and adds those of the others (KempnerForge distributed/setup.py
    3b25e11: no mesh dimension to shard over; torch's AccumulateGrad).
    """
    alone, passes = (case.sixteen_bit_state > 0) & (case.tp * case.dp == 1), np.maximum(case.micro_batches, 1)
    each_bytes = np.where(alone, SUM_16BIT_BYTES * (1 - 1 / passes), case.accumulate_bytes)
    traffic = each_bytes * parameters / np.where(whole_gradients(case), 1.0, sharing_ranks(case))
    return np.where(case.micro_batches <= 1, 0.0, traffic / case.memory_bytes_per_s)
