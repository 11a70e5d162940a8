"""Context parallelism: rings against the same attention in one piece, and against what each stack's code does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.case import StepCase
from sim.context import attention_slowdown, context_parallel_s, merge_s
from sim.layout import ParallelLayout
from sim.network import gather_time_s
from sim.passes import block_attention_s, repeated_heads
from sim.step import step_times
from tests.sim.steps import Situation

ranks = st.sampled_from([2, 4, 8, 16])
stacks = st.sampled_from(["megatron-core", "torchtitan", "meta-internal"])
both = pytest.mark.parametrize("backward", [False, True])


def ring(cp: int, stack: str = "megatron-core", seq_len: int = 131_072, **layout: int) -> StepCase:
    return Situation(
        layout=ParallelLayout(cp=cp, **layout),
        stack=stack,
        seq_len=seq_len,
        global_batch=8,  # type: ignore[arg-type]
    ).case()


@both
def test_alone_there_is_nothing_to_pass_or_to_merge(*, backward: bool) -> None:
    case = ring(1)
    assert merge_s(case, backward=backward) == 0
    assert context_parallel_s(case, np.ones(1), np.ones(1)) == (0, 0)


@given(cp=ranks, stack=stacks)
def test_a_ring_does_the_same_triangle(cp: int, stack: str) -> None:
    """Half of s² in all, balanced: cp times the time of a rank is that of one piece, within what masks and short
    blocks cost (arXiv:2407.08608, figures 5 and 6: without a mask attention runs at most a tenth faster)."""
    alone, shared = ring(1, stack), ring(cp, stack)
    for backward in (False, True):
        whole = float(block_attention_s(alone, backward=backward)[0])
        parts = cp * float(block_attention_s(shared, backward=backward)[0])
        assert 0.9 * whole < parts < 1.15 * whole


@both
def test_short_blocks_are_slower(*, backward: bool) -> None:
    """The same ring over a shorter sequence: each block pays its half length again."""
    slow = [float(attention_slowdown(ring(8, seq_len=s), backward=backward)[0]) for s in (8192, 32_768, 262_144)]
    assert slow[0] > slow[1] > slow[2]


def test_gathering_first_shows_whole_and_merges_nothing() -> None:
    """arXiv:2407.21783 section 3.3.2: the latency of the all-gather is exposed in the critical path."""
    case = ring(16, "meta-internal", tp=8)
    size_bytes = np.array([2 * 2 * 131_072 * 1024 / 8.0])
    gather = float(gather_time_s(case, size_bytes, case.cp, case.tp)[0])
    assert context_parallel_s(case, np.array([10.0]), np.zeros(1))[0].item() == pytest.approx(gather)
    assert merge_s(case, backward=False) == merge_s(case, backward=True) == 0
    passed_on = replace(case, gathers_first=np.zeros(1))
    assert context_parallel_s(passed_on, np.array([10.0]), np.zeros(1))[0].item() < 0.5 * gather


def test_torch_passes_every_query_heads_keys_and_gradients_in_fp32() -> None:
    """Llama 3.1 8B has four query heads a key: torchtitan repeats keys and values for each before the ring, and its
    gradients are fp32: four times the bytes forward, backward six (4 in 16 bits and 8) instead of two, and home."""
    torch, te = (ring(4, stack) for stack in ("torchtitan", "megatron-core"))
    nothing = np.zeros(1)  # no attention to hide behind
    forward, backward = zip(*(context_parallel_s(case, nothing, nothing) for case in (torch, te)), strict=True)
    assert forward[0] == pytest.approx(4 * forward[1], rel=0.05)
    assert 6 * backward[1] * 0.95 < backward[0] < 9 * backward[1]


def test_the_last_gradients_have_nothing_to_hide_behind() -> None:
    case = ring(2, "torchtitan", tp=8)
    long = np.array([1e3])
    stays = replace(case, sends_home=np.zeros(1))
    sent, kept = (context_parallel_s(some, long, long)[1].item() for some in (case, stays))
    home = sent - kept
    block_bytes = 4 * 2 * (131_072 / 2) * 4096 / 8
    assert home == pytest.approx(block_bytes / float(case.nic_bytes_per_s[0]), rel=0.05)


@both
def test_merging_grows_with_the_steps_of_the_ring(*, backward: bool) -> None:
    """Each step merges what a rank holds: one rank in cp, cp times."""
    two, eight = (float(merge_s(ring(cp), backward=backward)[0]) for cp in (2, 8))
    assert two == pytest.approx(eight)
    torch, te = (float(merge_s(ring(4, stack), backward=backward)[0]) for stack in ("torchtitan", "megatron-core"))
    assert torch > 2 * te > 0  # sums in fp32, and whole tensors put together again


def test_only_grouped_queries_repeat_their_keys() -> None:
    case = ring(1, "torchtitan")
    assert repeated_heads(case, backward=False) == 2 * case.attention_width
    assert repeated_heads(replace(case, kv_width=case.attention_width), backward=True) == 0
    assert repeated_heads(ring(1, "megatron-core"), backward=True) == 0


@given(cp=ranks, stack=stacks)
def test_a_ring_is_never_faster_than_its_share(cp: int, stack: str) -> None:
    """One sequence over cp ranks takes no less than a tenth below its share of what one rank takes."""
    alone, shared = (float(step_times(ring(n, stack)).total[0]) for n in (1, cp))
    assert shared > 0.9 * alone / cp
