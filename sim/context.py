"""Context parallelism: what attention over blocks of a sequence costs beyond the same attention in one piece."""

from dataclasses import dataclass

import numpy as np

from sim.case import BF16, Array, StepCase
from sim.kernels import attention
from sim.network import gather_time_s, overlapped, send_time_s

HALF_BLOCKS = 1.5
"""Mean of what a half costs over blocks: of two steps of a balanced ring one works on half the keys, one on half of
the queries (torch, distributed/tensor/experimental/_attention.py; Transformer Engine likewise)."""


def attention_slowdown(case: StepCase, *, backward: bool) -> Array:
    """Time of the attention core over that of long sequences on a full GPU (`sim.kernels.attention`).

    On a ring a rank has one block with a causal mask and cp - 1 without one, of half its tokens on one side. Kernels
    of neighbouring steps fill each other's last waves (Transformer Engine alternates between two streams), so that
    the part is as full as with the sequence in one piece.
    """
    curve = case.attention_shape
    heads = case.micro_batch * case.heads / case.tp
    whole = attention.slowdown(case.seq_len, heads, curve, backward=backward)
    block = case.seq_len / case.cp
    first = attention.slowdown(block, heads * case.cp, curve, backward=backward)
    spread = case.cp * HALF_BLOCKS
    others = attention.slowdown(block / HALF_BLOCKS, heads * spread, curve, causal=False, backward=backward)
    ring = (first + (case.cp - 1) * others / curve.full_gain) / case.cp
    return np.asarray(np.where((case.cp > 1) & (case.gathers_first == 0), ring, whole))


def merge_s(case: StepCase, *, backward: bool) -> Array:
    """Seconds to merge the partial results of all steps of the ring."""
    passes = case.merge_backward if backward else case.merge_forward
    bytes_moved = BF16 * passes * case.tokens_per_pass * case.attention_width / case.tp * case.cp
    return np.where((case.cp > 1) & (case.gathers_first == 0), bytes_moved / case.memory_bytes_per_s, 0.0)


@dataclass(frozen=True, kw_only=True)
class Rings:
    """Seconds of a block's communication between context-parallel ranks, hidden or not."""

    forward_s: Array
    """Keys and values on their way round, or gathered."""
    backward_s: Array
    """Keys, values and their gradients."""
    home_s: Array
    """Sending the gradients home after the backward pass."""


def rings(case: StepCase) -> Rings:
    """What passes round the ranks (arXiv:2310.01889)."""
    width = np.where(case.repeats_heads > 0, case.attention_width, case.kv_width)
    size_bytes = BF16 * 2 * case.micro_batch * case.seq_len * width / case.tp
    gradient_bytes = size_bytes * case.passed_gradient_bytes / BF16
    passing = gather_time_s(case, size_bytes, case.cp, case.tp)
    returning = gather_time_s(case, gradient_bytes, case.cp, case.tp)
    home = case.sends_home * send_time_s(case, gradient_bytes / case.cp, case.cp, case.tp)
    several = case.cp > 1
    return Rings(
        forward_s=np.where(several, passing, 0.0),
        backward_s=np.where(several, passing + returning, 0.0),
        home_s=np.where(several, home, 0.0),
    )


def context_exposed(case: StepCase) -> Array:
    """Share of what is passed that shows beside attention: all where it is gathered first (arXiv:2407.21783 section
    3.3.2)."""
    return np.where(case.gathers_first > 0, 1.0, case.cp_exposed)


def context_parallel_s(case: StepCase, forward_s: Array, backward_s: Array) -> tuple[Array, Array]:
    """Exposed seconds of `rings` beside so many seconds of attention, forward and backward; nothing hides what is
    sent home."""
    passed, exposed = rings(case), context_exposed(case)
    ahead = overlapped(forward_s, passed.forward_s, exposed)
    return ahead, np.asarray(overlapped(backward_s, passed.backward_s, exposed) + passed.home_s)
