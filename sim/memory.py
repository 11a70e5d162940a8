"""Bytes per GPU by kind, for the fullest rank, in closed form over a `StepCase`."""

from dataclasses import dataclass, fields
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiler.architecture import kept_elements
from profiler.units import GIB
from sim.case import BF16, SELECTIVES, Array, StepCase, entry
from sim.passes import FULL, SELECTIVE
from sim.schedule.order import SCHEDULES
from sim.sharding import (
    ZERO2,
    by_block,
    gathers_once,
    sharded_optimizer,
    sharing_ranks,
    split_tables,
    stage_layers,
    whole_share,
)
from sim.stacks.memory_habits import MemoryLog

CONTEXT_BYTES = 2.5 * GIB
"""What the driver hands out outside torch's allocator: the CUDA context and its kernels, 1.3-2 GiB (nvidia-smi on
V100 and A100, BigScience's BLOOM chronicles), and NCCL's channels, about 0.5 GiB (assumed)."""
Fit = Literal["fits", "tight", "does not fit"]
"""tight: the capacity lies within the model's error of the predicted peak."""

ERROR_P95 = 0.15
"""95th percentile of the relative error of the predicted peak over the published runs that state one."""


GPIPE = SCHEDULES.index("gpipe")
ZB_H2 = SCHEDULES.index("zb-h2")
ZB_V = SCHEDULES.index("zb-v")


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Bytes of the fullest rank, by kind; `total` is their sum."""

    weights: Array
    gradients: Array
    optimizer: Array
    activations: Array
    logits: Array
    buffers: Array
    """What the allocator holds over the rest, the CUDA context and NCCL."""
    total: Array

    def logged(self, log: MemoryLog) -> Array:
        """The peak as a framework's log counts it."""
        if log == "allocated":
            return self.total - self.buffers
        return self.total - CONTEXT_BYTES if log == "reserved" else self.total


def fit(total_bytes: float, capacity_bytes: float) -> Fit:
    """Whether a predicted peak fits, given how far the prediction is to be trusted.

    Runs that were made show peaks up to the last GiB; only a peak that is too large even at the optimistic end
    of the error is refused.
    """
    if total_bytes / (1 + ERROR_P95) > capacity_bytes:
        return "does not fit"
    return "fits" if total_bytes / (1 - ERROR_P95) <= capacity_bytes else "tight"


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """One pipeline stage: what lies on it."""

    layers: Array
    in_flight: Array
    """Micro-batches whose activations it holds at once, over all its layers."""
    embedding: Array
    """1 where it holds the embedding table."""
    head: Array
    """1 where it computes the logits."""
    head_table: Array
    """1 where the head's weights are not the embedding it already holds."""


@dataclass(frozen=True)
class _State:
    """Bytes of state per parameter, the same on every stage, and the parameters of the tables that some hold."""

    fsdp: NDArray[np.bool_]
    """True where weights are gathered from shards, block by block."""
    weight_shard: Array
    """Of a rank's shard of the weights, under FSDP."""
    gradient: Array
    """Of a gradient that is kept."""
    optimizer: Array
    """Of optimizer state, on each of the ranks that share it."""
    ranks: Array
    """Among which what is sharded is shared out."""
    whole_share: Array
    """Share of the gradients that is held whole while micro-batches are summed."""
    embedding: Array
    """Parameters of a rank's part of the embedding, and below of the head."""
    head: Array


@dataclass(frozen=True, kw_only=True)
class _BlockUse:
    """Activation bytes of one block and one micro-batch."""

    kept: Array
    """From the forward to the backward pass."""
    working: Array
    """During its backward pass: what is run again, and the gradients of its input, its output and its widest
    MLP tensors."""
    stage_output: Array
    """Of the stage it sits on."""


def memory_use(case: StepCase) -> MemoryUse:
    """Peak bytes per GPU of each step: of the first, the second or the last stage, whichever is fullest.

    The first holds the embedding and most micro-batches, the last the logits; where the embedding takes a layer's
    place, the second is fuller than the first.
    """
    state, block, logits_bytes = _state(case), _block_use(case), _logits(case)
    weights, gradients, optimizer, activations, logits = reduce(
        _fuller, (_stage_use(case, stage, state, block, logits_bytes) for stage in _stages(case))
    )
    peak = weights + gradients + optimizer + activations + logits
    buffers = CONTEXT_BYTES + case.fragmentation * peak
    return MemoryUse(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=activations,
        logits=logits,
        buffers=buffers,
        total=peak + buffers,
    )


def _fuller(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    """The kinds of whichever stage holds more, layout by layout."""
    more = sum(b) > sum(a)
    return tuple(np.where(more, of_b, of_a) for of_a, of_b in zip(a, b, strict=True))


def _stages(case: StepCase) -> tuple[_Stage, _Stage, _Stage]:
    most, last = stage_layers(case)
    takes_a_place = (case.pp > 1) & (most * case.pp == case.layers + 2)
    alone = case.pp == 1
    ones, zeros = np.ones_like(most), np.zeros_like(most)
    first = _Stage(
        layers=np.where(takes_a_place, most - 1, most),
        in_flight=_in_flight(case, case.pp - 1),
        embedding=ones,
        head=np.where(alone, 1.0, 0.0),
        head_table=np.where(alone & (case.tied == 0), 1.0, 0.0),
    )
    second = _Stage(
        layers=np.where(case.pp > 2, most, 0.0),
        in_flight=_in_flight(case, np.maximum(case.pp - 2, 0)),
        embedding=zeros,
        head=zeros,
        head_table=zeros,
    )
    final = _Stage(
        layers=np.where(alone, 0.0, last),
        in_flight=_in_flight(case, zeros),
        embedding=zeros,
        head=np.where(alone, 0.0, 1.0),
        head_table=np.where(alone, 0.0, 1.0),
    )
    return first, second, final


def _in_flight(case: StepCase, behind: Array) -> Array:
    """Micro-batches that a stage with `behind` stages after it holds when its first backward pass begins.

    1F1B: itself and one for each stage behind. Interleaved: 2·behind + (vp-1)·pp + 1 chunks, each 1/vp of the stage
    (Megatron-LM's warm-up count; arXiv:2104.04473 section 2.2). GPipe: all. ZB-H1 as 1F1B, ZB-H2 two for each stage
    behind (arXiv:2401.10241 section 3), ZB-V as the first stage of 1F1B everywhere (arXiv:2405.15362 section 3).
    """
    chunks = np.where(case.vp > 1, 2 * behind + (case.vp - 1) * case.pp + 1, behind + 1)
    held = chunks / case.vp
    held = np.where(case.schedule == ZB_H2, 2 * behind + 1, held)
    held = np.where(case.schedule == ZB_V, case.pp, held)
    held = np.where(case.schedule == GPIPE, np.inf, held)
    return np.asarray(np.minimum(held, np.maximum(case.micro_batches, 1)))


def _stage_use(
    case: StepCase, stage: _Stage, state: _State, block: _BlockUse, logits_bytes: Array
) -> tuple[Array, ...]:
    """Weights, gradients, optimizer state, activations and logits of one stage."""
    logits = stage.head * logits_bytes
    held = (block.kept * stage.layers + block.stage_output) * stage.in_flight
    # the logits are gone when the last block's backward pass begins
    working = np.where(stage.layers > 0, np.maximum(block.working - logits, 0.0), 0.0)
    return *_stage_state(case, stage, state), held + working, logits


def _state(case: StepCase) -> _State:
    """What one parameter takes (ZeRO, arXiv:1910.02054 section 3.1).

    16-bit weights with fp32 master weights and two fp32 moments (12 bytes). Where the weights themselves are sharded
    (FSDP): fp32 weights, gradients and moments in shards.
    """
    ranks, (embedding, head) = sharing_ranks(case), split_tables(case)
    fsdp, plain = np.logical_and(by_block(case), ranks > 1), case.sixteen_bit_state > 0
    in_state = np.where(case.gradients_in_state > 0, 16.0, 12.0)
    adam = np.where(plain, 4.0, np.where(fsdp, 8.0, in_state))
    return _State(
        fsdp=fsdp,
        weight_shard=np.where(plain, 2.0, 4.0) / ranks,
        gradient=np.where(plain, 2.0, np.where(fsdp, 4.0, case.kept_gradient_bytes)),
        optimizer=adam / np.where(fsdp | sharded_optimizer(case), ranks, 1.0),
        ranks=ranks,
        whole_share=whole_share(case),
        embedding=embedding,
        head=head,
    )


def _stage_state(case: StepCase, stage: _Stage, state: _State) -> tuple[Array, Array, Array]:
    """Weights, gradients and optimizer state of one stage.

    Beside the shards of FSDP stand the embedding and head and two blocks (this one and the next, prefetched), or
    under a pipeline and where gathered weights are kept all of them; and one block's gradients on their way. What was
    gathered counts as 16 bits, in fp8 too: the one published peak that tells (torchtitan's 405B in four dimensions)
    is predicted 12 % low so, and 20 % low with 8. Gradients that are summed whole, or one chunk's of them, are shared
    out only then (`sim.sharding.whole_share`).
    """
    tables = stage.embedding * state.embedding + stage.head_table * state.head
    block = case.layer_parameters / case.tp
    parameters = stage.layers * block + tables

    everything = (case.pp > 1) | gathers_once(case)
    gathered = BF16 * np.where(everything, parameters, np.minimum(2.0, stage.layers) * block + tables)
    weights = np.where(state.fsdp, state.weight_shard * parameters + gathered, BF16 * parameters)
    summed, kept, arriving = state.whole_share > 0, state.gradient * parameters, case.gradient_bytes * block
    in_shards = np.where(summed, 4 * parameters, kept / state.ranks + arriving)
    whole = kept + case.bucket_bytes
    on_the_way = np.where(summed, kept * state.whole_share, arriving)
    divided = np.minimum(kept / state.ranks + np.maximum(on_the_way, case.bucket_bytes), whole)
    gradients = np.where(state.fsdp, in_shards, np.where(case.sharding == ZERO2, divided, whole))
    return weights, gradients, state.optimizer * parameters


def block_activation_bytes(case: StepCase) -> Array:
    """Bytes one block keeps for its backward pass over one micro-batch, nothing recomputed.

    What `profiler.architecture.kept_elements` counts for fused kernels, and by the stack's habits: more tensors per
    norm and gated MLP, inputs of fp8 products in fp8 (beside the attention's 16-bit output), and, where attention
    keeps its scores, these and the dropout masks (5·a·s + 2·h bytes per token, arXiv:2205.05198 section 4.1).
    """
    hidden, width, ffn = case.hidden / _over_sequence(case), case.attention_width / case.tp, case.ffn / case.tp
    kept: Array = kept_elements(
        case.hidden, case.attention_width, case.kv_width, case.ffn, 2 + case.gated, case.tp, _over_sequence(case)
    )
    kept = kept + 2 * (case.norm_tensors - 2) * hidden + case.gated * (case.gated_tensors - 3) * ffn
    kept = kept + np.where(case.keeps_fp8_inputs > 0, 0.5 * (width - ffn) - hidden, 0.0)
    kept = kept + np.where(case.keeps_gathered_inputs > 0, 2 * (case.hidden - hidden), 0.0)
    scores = np.where(case.keeps_scores > 0, _scores(case) + hidden, 0.0)
    return BF16 * case.tokens_per_pass * (kept + scores)


def _over_sequence(case: StepCase) -> Array:
    return np.where(case.sequence_parallel > 0, case.tp, 1.0)


def _scores(case: StepCase) -> Array:
    """16-bit elements of the attention scores per token: softmax in, softmax out and its dropout mask."""
    return 2.5 * case.heads / case.tp * case.seq_len


def _selective_bytes(case: StepCase, whole: Array, block_input: Array) -> Array:
    """Bytes one block keeps under the stack's selective recompute; the block's input is one of them."""
    m = BF16 * case.tokens_per_pass
    hidden, width = case.hidden / _over_sequence(case), case.attention_width / case.tp
    kv, ffn = case.kv_width / case.tp, case.ffn / case.tp
    scores = np.where(case.keeps_scores > 0, m * _scores(case), 0.0)
    # torchtitan: every second product (q, v, gate and the MLP's output), the attention's output
    operations = m * (2 * width + kv + ffn + np.where(case.eager > 0, 2.0, 1.0) * hidden)
    # every product's output but the last one's, which backward does not read
    products = m * (2 * hidden + width + 2 * kv + np.where(case.gated > 0, 2.0, 1.0) * ffn)
    kept = {
        "attention": whole - scores,
        "operations": operations,  # compiled, what backward does not need (the MLP's output) is dropped
        "blocks": 0.5 * (whole + block_input),
        "mlp": m * (3 * hidden + width + 2 * kv),
        "qkv": m * (hidden + width + 2 * kv),
        "products": products,
        "elementwise": products + m * width,
    }
    return np.select(
        [case.selective_policy == i for i in range(len(SELECTIVES))], [kept[name] for name in SELECTIVES]
    )


def _block_use(case: StepCase) -> _BlockUse:
    whole = block_activation_bytes(case)
    block_input = BF16 * case.tokens_per_pass * case.hidden / _over_sequence(case)
    selective = _selective_bytes(case, whole, block_input)
    kept = np.where(case.recompute == FULL, block_input, np.where(case.recompute == SELECTIVE, selective, whole))
    widest = BF16 * case.tokens_per_pass * (1 + case.gated) * case.ffn / case.tp
    return _BlockUse(
        kept=case.recompute_share * kept + (1 - case.recompute_share) * whole,
        working=whole - kept + 2 * block_input + widest + _others_context_bytes(case),
        stage_output=np.where((case.keeps_stage_outputs > 0) & (case.pp > 1), block_input, 0.0),
    )


def _others_context_bytes(case: StepCase) -> Array:
    """Bytes of the other context-parallel ranks' keys and values, all of which the block at work holds: gathered
    first, put together as they come round (torch _attention.py: _AllGatherRotater), or in one buffer for each step of
    the ring (Transformer Engine context_parallel.py: p2p_comm_buffers)."""
    width = np.where(case.repeats_heads > 0, case.attention_width, case.kv_width)
    others = np.maximum(case.cp - 1, 0.0) * case.tokens_per_pass
    return np.asarray(2 * BF16 * others * width / case.tp)


def _logits(case: StepCase) -> Array:
    """Bytes of one micro-batch at its loss: the logits, as many copies and gradients as the stack makes, and the
    head's input, gathered over the tensor-parallel ranks, with its gradient."""
    ranks = np.where(case.splits_vocabulary > 0, case.tp, 1.0)
    every: Array = case.tokens_per_pass * (case.logit_bytes * case.vocab / ranks + 2 * BF16 * case.hidden)
    return every


def largest_kind(memory: MemoryUse, index: int = 0) -> str:
    """Name of the kind that takes most of step `index`'s memory."""
    kinds = [f.name for f in fields(memory) if f.name != "total"]
    return max(kinds, key=lambda kind: entry(getattr(memory, kind), index))
