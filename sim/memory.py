"""Bytes per GPU by kind, for the fullest rank, in closed form over a `StepCase`."""

from dataclasses import dataclass, fields

import numpy as np

from profiler.architecture import kept_elements
from profiler.units import GIB
from sim.case import Array, StepCase
from sim.step import (
    BF16,
    FULL,
    SELECTIVE,
    ZERO1,
    ZERO2,
    rank_parameters,
    sharded_weights,
    stage_layers,
    tokens_per_pass,
)

RESERVED_BYTES = 2.5 * GIB
"""Driver context, communicator buffers and library workspaces: CUDA context about 0.5 GiB, NCCL channels and
cuBLAS workspaces the rest (PyTorch CUDA memory notes; NCCL environment reference)."""
FRAGMENTATION = 0.06
"""Allocator slack over live tensors: SimuMax and torchtitan memory reports show 2-6 % between allocated and
reserved peaks; the upper end is taken."""


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Bytes of the fullest rank, by kind; `total` is their sum."""

    weights: Array
    gradients: Array
    optimizer: Array
    activations: Array
    logits: Array
    buffers: Array
    total: Array


def memory_use(case: StepCase) -> MemoryUse:
    """Peak bytes per GPU of each step."""
    weights, gradients, optimizer = _state(case)
    activations = _activations(case)
    logits = _logits(case)
    live = weights + gradients + optimizer + activations + logits
    buffers = RESERVED_BYTES + FRAGMENTATION * live
    return MemoryUse(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=activations,
        logits=logits,
        buffers=buffers,
        total=live + buffers,
    )


def _state(case: StepCase) -> tuple[Array, Array, Array]:
    """Weights, gradients and optimizer state (ZeRO, arXiv:1910.02054 section 3.1).

    16-bit weights with fp32 master weights and two fp32 moments (12 bytes), or, where the weights themselves
    are sharded, fp32 weights sharded with two moments and two blocks gathered in 16 bits at a time.
    """
    parameters = rank_parameters(case)
    ranks = np.minimum(case.shard_degree, case.dp * case.cp)
    fsdp = sharded_weights(case)
    zero1, zero2 = case.sharding == ZERO1, case.sharding == ZERO2
    gathered = 2 * BF16 * case.layer_parameters / case.tp
    weights = np.where(fsdp, 4 * parameters / ranks + gathered, BF16 * parameters)
    gradients = case.gradient_store_bytes * parameters / np.where(fsdp | zero2, ranks, 1.0)
    gradients = np.where(fsdp, 4 * parameters / ranks + gathered / 2, gradients)
    adam = np.where(fsdp, 8.0, 12.0)
    optimizer = adam * parameters / np.where(fsdp | zero1 | zero2, ranks, 1.0)
    return weights, gradients, optimizer


def block_activation_bytes(case: StepCase) -> Array:
    """Bytes one block keeps for its backward pass over one micro-batch, nothing recomputed.

    What `profiler.architecture.kept_elements` counts; eager stacks keep copies besides, and unfused attention
    keeps the scores (5·a·s² bytes less dropout, arXiv:2205.05198 section 4.1).
    """
    over_sequence = np.where(case.sequence_parallel > 0, case.tp, 1.0)
    kept: Array = kept_elements(
        case.hidden, case.attention_width, case.kv_width, case.ffn, 2 + case.gated, case.tp, over_sequence
    )
    eager = (case.eager > 0) & (case.gated > 0)  # eager RMSNorm and SwiGLU keep fp32 or extra copies
    scores = np.where(case.unfused > 0, 2.5 * case.heads / case.tp * case.seq_len, 0.0)
    return BF16 * tokens_per_pass(case) * (kept * np.where(eager, 1.25, 1.0) + scores)


def _activations(case: StepCase) -> Array:
    """Bytes kept over the blocks in flight on the first stage.

    1F1B keeps pp micro-batches of the first stage's blocks; interleaving adds (pp-1)/(pp·vp) of a model's
    depth (arXiv:2205.05198 section 4.2.3). Full recompute keeps each block's input and one block's all.
    """
    m = tokens_per_pass(case)
    over_sequence = np.where(case.sequence_parallel > 0, case.tp, 1.0)
    whole = block_activation_bytes(case)
    block_input = BF16 * m * case.hidden / over_sequence
    scores_dropped = np.where(case.unfused > 0, 0.45, 1.0)  # the scores are what attention-only recompute drops
    selective = whole * np.where(case.selective_kept < 1, case.selective_kept, scores_dropped)
    kept = np.where(case.recompute == FULL, block_input, np.where(case.recompute == SELECTIVE, selective, whole))
    kept = case.recompute_share * kept + (1 - case.recompute_share) * whole
    most, _ = stage_layers(case)
    chunks_in_flight = np.minimum(
        case.pp * (1 + np.where(case.vp > 1, (case.pp - 1) / (case.pp * case.vp), 0.0)),
        np.maximum(case.micro_batches, 1),
    )
    working = np.where(case.recompute > 0, whole - block_input, 0.0)  # the block being run again
    held: Array = kept * most * chunks_in_flight
    return held + working


def _logits(case: StepCase) -> Array:
    """Bytes of the logits of one micro-batch: 16-bit, an fp32 copy and a 16-bit gradient, where the head sits on
    the fullest rank; a pipeline's last stage has room because fewer micro-batches wait there."""
    m = tokens_per_pass(case)
    every: Array = m * case.vocab / case.tp * (2 + 4 + 2)
    return np.where(case.pp > 1, 0.0, every)


def largest_kind(memory: MemoryUse, index: int = 0) -> str:
    """Name of the kind that takes most of step `index`'s memory."""
    kinds = [f.name for f in fields(memory) if f.name != "total"]
    return max(kinds, key=lambda kind: float(np.broadcast_to(getattr(memory, kind), memory.total.shape)[index]))
