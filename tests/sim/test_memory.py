"""Bytes per GPU: they add up, shards divide, and tensor parallelism scales as Korthikanti et al. say."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.case import StepCase, concatenate
from sim.layout import ParallelLayout
from sim.memory import MemoryUse, block_activation_bytes, largest_kind, memory_use
from tests.sim.steps import Situation, situations

KINDS = [f.name for f in fields(MemoryUse) if f.name != "total"]
few = settings(max_examples=60, deadline=None)


def kind(case: StepCase, name: str) -> float:
    return float(np.max(getattr(memory_use(case), name)))


@few
@given(situations())
def test_kinds_add_up_and_none_is_negative(s: Situation) -> None:
    parts = [kind(s.case(), name) for name in KINDS]
    assert sum(parts) == pytest.approx(kind(s.case(), "total"))
    assert min(parts) >= 0
    assert kind(s.case(), largest_kind(memory_use(s.case()))) == max(parts)


def test_mixed_precision_adam_is_sixteen_bytes_per_parameter() -> None:
    """ZeRO, arXiv:1910.02054 section 3.1: 2 weights, 2 gradients, 12 optimizer, before anything is sharded."""
    case = replace(
        Situation(layout=ParallelLayout(sharding="none"), global_batch=1).case(), gradient_store_bytes=np.full(1, 2.0)
    )
    state = [kind(case, name) / 8_030_261_248 for name in ("weights", "gradients", "optimizer")]
    assert state == pytest.approx([2, 2, 12], rel=1e-5)


@pytest.mark.parametrize(
    ("sharding", "divided"),
    [
        ("none", set()),
        ("ddp", set()),
        ("zero1", {"optimizer"}),
        ("zero2", {"optimizer", "gradients"}),
        ("fsdp", {"optimizer", "gradients", "weights"}),
    ],
)
def test_zero_divides_what_it_shards(sharding: str, divided: set[str]) -> None:
    """ZeRO's stages 1, 2 and 3: optimizer state; gradients too; weights too, but for the blocks gathered."""
    s = Situation(layout=ParallelLayout(dp=8, sharding=sharding), global_batch=64)  # type: ignore[arg-type]
    few_ranks, many_ranks = s.case(), s.case(dp=64)
    for name in ("optimizer", "gradients", "weights"):
        before, after = kind(few_ranks, name), kind(many_ranks, name)
        if name not in divided:
            assert after == before
        elif name == "optimizer":
            assert after == pytest.approx(before / 8)
        else:  # what is gathered to compute a block stays
            assert before / 8 * (1 - 1e-9) <= after < before / 3


def test_a_shard_group_holds_what_its_size_says() -> None:
    s = Situation(layout=ParallelLayout(dp=64, sharding="hsdp", shard_degree=8), global_batch=64)
    assert kind(s.case(), "optimizer") == pytest.approx(8 * kind(s.case(shard_degree=64), "optimizer"))


def test_activations_over_tensor_parallel_ranks() -> None:
    """arXiv:2205.05198: with sequence parallelism all of a block is divided (eq. 4); without, the norms' inputs and
    outputs stay whole (eq. 2), so that each halving saves half of the halving before."""
    s = Situation(layout=ParallelLayout(), global_batch=8)

    def block(tp: int, sequence_parallel: bool) -> float:
        return float(block_activation_bytes(s.case(tp=tp, sequence_parallel=sequence_parallel))[0])

    assert block(8, True) == pytest.approx(block(1, True) / 8)
    first, second = block(1, False) - block(2, False), block(2, False) - block(4, False)
    assert first == pytest.approx(2 * second)
    whole = block(1, False) - 2 * first  # the limit of many ranks
    assert whole == pytest.approx(2 * 8192 * 4 * 4096)  # four tensors of s x h in 16 bits


def test_scores_grow_with_the_square_of_the_sequence_only_where_they_are_kept() -> None:
    """arXiv:2205.05198 eq. 1: 5·a·s²·b bytes beside 34·s·b·h; FlashAttention keeps none (arXiv:2205.14135)."""

    def per_token(stack: str, seq_len: int) -> float:
        case = Situation(layout=ParallelLayout(), stack=stack, seq_len=seq_len, global_batch=1).case()
        return float(block_activation_bytes(case)[0]) / seq_len

    assert per_token("megatron-core", 8192) == per_token("megatron-core", 2048)
    unfused = [per_token("megatron-2021", s) for s in (2048, 4096, 8192)]
    assert unfused[2] - unfused[1] == pytest.approx(2 * (unfused[1] - unfused[0]))
    assert unfused[1] - unfused[0] == pytest.approx(5 * 32 * 2048)


@few
@given(situations())
def test_full_recompute_never_needs_more_than_a_block_input_beyond_none(s: Situation) -> None:
    """It keeps block inputs; where one block is all there is, that input is beside the block itself."""
    full, none = (kind(s.case(recompute=r), "total") for r in ("full", "none"))
    tokens = s.layout.micro_batch * s.seq_len / s.layout.cp
    block_input = 2 * tokens * s.architecture.hidden
    assert full <= none + 1.1 * block_input
    if s.architecture.layers / s.layout.pp >= 4:
        assert full < none


@few
@given(situations())
def test_larger_micro_batches_never_need_less(s: Situation) -> None:
    twice = replace(s, global_batch=2 * s.global_batch)
    assert kind(twice.case(micro_batch=2 * s.layout.micro_batch), "total") >= kind(s.case(), "total")


@few
@given(situations())
def test_context_parallel_ranks_share_the_activations(s: Situation) -> None:
    assert kind(s.case(cp=8), "activations") == pytest.approx(kind(s.case(cp=1), "activations") / 8)


@few
@given(st.lists(situations(), min_size=1, max_size=5))
def test_many_at_once_are_as_one_by_one(several: list[Situation]) -> None:
    together = memory_use(concatenate([s.case() for s in several]))
    alone = [kind(s.case(), "total") for s in several]
    assert together.total.tolist() == pytest.approx(alone)


def test_llama3_405b_did_not_fit_without_pipeline() -> None:
    """405 B parameters at 18 bytes are 7.3 TB: TP 8 alone leaves 913 GB to each of eight ranks."""
    case = Situation(layout=ParallelLayout(tp=8), model="llama3.1-405b", global_batch=1).case()
    assert kind(case, "total") > 10 * 80 * 2**30
