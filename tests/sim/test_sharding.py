"""How often gradients are reduced, what that takes and what stays in memory meanwhile."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.layout import ParallelLayout, Sharding
from sim.memory import memory_use
from sim.network import group_bandwidth
from sim.passes import block_passes
from sim.schedule.order import rounds
from sim.sharding import (
    Hiding,
    fsdp_copies_s,
    fsdp_late_s,
    fsdp_layer_s,
    fsdp_moves_s,
    fsdp_root_s,
    fsdp_shown,
    gradient_sync_s,
    rank_parameters,
    reduction_s,
    reductions,
    stage_layers,
    tied_s,
    weight_gather_s,
)
from sim.step import step_times
from tests.sim.steps import Situation, changed, situations, total_s

few = settings(max_examples=30, deadline=None)
SMALL = Situation(layout=ParallelLayout(dp=8, sharding="zero2"), stack="deepspeed", global_batch=64)
LLAMA = Situation(
    layout=ParallelLayout(tp=8, pp=16, vp=8, dp=64, sharding="zero2"),
    model="llama3.1-405b",
    stack="meta-internal",
    global_batch=2048,
)


def gradients_bytes(situation: Situation, **layout: object) -> float:
    return float(np.max(memory_use(situation.case(**layout)).gradients))


def test_zero2_reduces_with_every_micro_batch() -> None:
    """DeepSpeed, issue 2252: "gradient reduction is required after every backward"."""
    parameters, nothing = np.full(1, 8e9), Hiding(all_s=np.zeros(1), chunk_s=np.zeros(1))
    for stage, times in (("zero1", 1), ("zero2", 8)):
        case = SMALL.case(sharding=stage)
        reduced_s, gathered_s = (float(f(case, parameters)[0]) for f in (reduction_s, weight_gather_s))
        exposed_s = float(gradient_sync_s(case, parameters, nothing, nothing, np.zeros(1))[0])
        assert exposed_s == pytest.approx(times * reduced_s + gathered_s)


def test_state_shared_out_within_a_node_is_gathered_there() -> None:
    """InternLM's zero1 = 8 over 8 nodes (hybrid_zero_optim.py, fa7337b): all gradients reduced for every rank, the
    weights then broadcast over NVLink and waited for; a stack that scatters sums an eighth between nodes."""
    nodes = Situation(layout=ParallelLayout(dp=64, shard_degree=8), stack="internevo", gpu="a100-80gb")
    parameters, zero = np.full(1, 7e9), np.zeros(1)
    nothing, much = (Hiding(all_s=np.full(1, s), chunk_s=np.full(1, s)) for s in (0.0, 1e3))
    case, node, everywhere = nodes.case(), nodes.case(dp=8), nodes.case(shard_degree=None)
    gathered_s, inside_s, across_s = (float(weight_gather_s(c, parameters)[0]) for c in (case, node, everywhere))
    assert gathered_s == inside_s < across_s
    reduced_s = float(reduction_s(case, parameters)[0])
    exposed_s = float(gradient_sync_s(case, parameters, much, much, zero)[0])
    assert exposed_s == pytest.approx(float(case.dp_exposed[0]) * reduced_s + gathered_s)
    whole_s = float(gradient_sync_s(case, parameters, nothing, nothing, zero)[0])
    assert whole_s == pytest.approx(reduced_s + gathered_s)
    assert reduced_s == float(reduction_s(nodes.case(sharding="ddp"), parameters)[0])
    split = replace(case, whole_tensors=zero)
    scattered_s, at_once_s = (float(f(split, parameters)[0]) for f in (reduction_s, weight_gather_s))
    copies_s = float(reduction_s(nodes.case(sharding="hsdp"), parameters)[0])
    assert scattered_s == pytest.approx(at_once_s + copies_s)


@few
@given(
    ranks=st.sampled_from([8, 16, 64, 256, 1024]),
    more=st.sampled_from([2, 4]),
    gpu=st.sampled_from(["a100-80gb", "h100-sxm"]),
)
def test_owners_of_whole_tensors_that_broadcast_in_turn_take_longer_the_more_they_are(
    ranks: int, more: int, gpu: str
) -> None:
    """A gather moves as many bytes to each rank however many there are; passes of a ring add up. Inside a node they
    are nothing beside the bytes, over hundreds of ranks they are most of it."""
    parameters, zero1 = np.full(1, 7e9), ParallelLayout(dp=ranks, sharding="zero1")

    def seconds(dp: int, *, whole: bool) -> float:
        case = replace(
            Situation(layout=zero1, gpu=gpu).case(dp=dp, shard_degree=None), whole_tensors=np.full(1, float(whole))
        )
        return float(weight_gather_s(case, parameters)[0])

    extra, grown = (seconds(dp, whole=True) - seconds(dp, whole=False) for dp in (ranks, more * ranks))
    assert 0 < more * extra < grown * 1.01
    assert extra < 0.02 * seconds(ranks, whole=False) or ranks > 8
    assert extra > seconds(ranks, whole=False) or ranks < 1024


def test_no_more_tensors_are_broadcast_than_there_are() -> None:
    """From one owner for every tensor on, further ranks add hops alone: one in two more ranks as long again."""
    parameters = np.full(1, 7e9)

    def extra_s(dp: int) -> float:
        cases = [
            replace(
                Situation(layout=ParallelLayout(sharding="zero1"), gpu="a100-80gb").case(dp=dp),
                whole_tensors=np.full(1, on),
            )
            for on in (0.0, 1.0)
        ]
        without, with_turns = (float(weight_gather_s(case, parameters)[0]) for case in cases)
        return with_turns - without

    assert extra_s(2048) / extra_s(1024) == pytest.approx(2, rel=0.1)
    assert extra_s(64) / extra_s(32) == pytest.approx(4, rel=0.15)


def test_an_embedding_held_twice_is_summed_once_a_step() -> None:
    """128,256 x 4,096 numbers in two bytes over TP 4 between two ranks: each sends its half and gets the other's."""
    untied = Situation(layout=ParallelLayout(tp=4, pp=4, dp=4), stack="megatron-deepspeed").case()
    tied = replace(untied, tied=np.ones(1))
    crossing_s = 2 * 128_256 * 4096 / 4 / float(tied.nic_bytes_per_s[0])
    assert float(tied_s(tied)[0]) == pytest.approx(crossing_s, rel=0.1)
    assert total_s(tied) - total_s(untied) == pytest.approx(float(tied_s(tied)[0]), rel=0.1)
    assert float(tied_s(untied)[0]) == float(tied_s(replace(SMALL.case(), tied=np.ones(1)))[0]) == 0


@pytest.mark.parametrize("stack", ["deepspeed", "megatron-core", "megatron-deepspeed"])
def test_zero2_takes_as_long_as_zero1_for_one_micro_batch(stack: str) -> None:
    """Where it is not FSDP that keeps what it gathered (tests/sim/test_step.py)."""
    s = replace(SMALL, stack=stack, global_batch=8)
    assert total_s(s.case()) == pytest.approx(total_s(s.case(sharding="zero1")), rel=1e-12)


@few
@given(situations(), st.sampled_from(["zero2", "hsdp"]))
def test_more_reductions_never_take_less_time(s: Situation, sharding: Sharding) -> None:
    """Against a stack that adds up whole gradients, but for the time of adding them up."""
    case = s.case(sharding=sharding, shard_degree=8 if sharding == "hsdp" and s.layout.dp >= 8 else None)
    whole = replace(case, accumulates_whole=np.ones(1))
    free = {"accumulate_bytes": np.zeros(1)}
    assert total_s(replace(case, **free)) >= total_s(replace(whole, **free)) * (1 - 1e-12)


@few
@given(situations())
def test_zero2_reduces_once_a_round(s: Situation) -> None:
    """One micro-batch without a pipeline; in an interleaved one those that pass a chunk one after another; all of
    them where the stack adds up whole gradients."""
    case = s.case(sharding="zero2")
    if case.accumulates_whole[0] or (s.layout.pp > 1 and s.layout.vp == 1):
        assert float(reductions(case)[0]) == 1
    else:
        count = round(float(case.micro_batches[0]))
        assert float(np.max(reductions(case))) == (1 if count == 1 else len(rounds(s.layout.pp, count)))
    for sharding in ("none", "ddp", "zero1"):
        assert float(np.max(reductions(s.case(sharding=sharding)))) == 1


def test_what_is_summed_whole_is_not_shared_out() -> None:
    """8.03 G parameters: a rank's eighth and DeepSpeed's buckets, whatever the micro-batches; all of them where the
    stack adds up before it reduces."""
    eighth, bucket = 8_030_261_248 * 4 / 8, 2e9
    assert gradients_bytes(SMALL) == pytest.approx(eighth + bucket, rel=1e-6)
    assert gradients_bytes(replace(SMALL, global_batch=8)) == gradients_bytes(SMALL)
    whole = replace(SMALL.case(), accumulates_whole=np.ones(1))
    assert float(memory_use(whole).gradients[0]) == gradients_bytes(SMALL, sharding="zero1")


def test_llama3_holds_one_chunk_of_its_gradients_whole() -> None:
    """405 G parameters over 8 x 16: whole in fp32 they would take 12 GiB of GPUs that are full without them."""
    whole, held = gradients_bytes(LLAMA, sharding="zero1"), gradients_bytes(LLAMA)
    assert held == pytest.approx(whole * (1 / 8 + 1 / 64), rel=1e-6)
    plain = gradients_bytes(LLAMA, vp=1)
    assert plain == whole  # 1F1B: the micro-batches of a chunk are those of the step


def test_llama3_did_not_reduce_every_micro_batch() -> None:
    """Each would take 0.30 s of the NIC behind 0.21 s of backward: 15.5 s a step where 12.5 are published."""
    case = LLAMA.case()
    assert float(reductions(case)[0]) == 2
    most, _ = stage_layers(case)
    one_s = float(reduction_s(case, rank_parameters(case, most))[0])
    backward_s = float((most * block_passes(case)[1].total)[0])
    assert one_s > 1.4 * backward_s
    assert total_s(case) == pytest.approx(12.504, rel=0.03)
    assert total_s(case) + 32 * (one_s - backward_s) > 1.2 * 12.504


def test_weights_gathered_in_fp8_take_half_as_long() -> None:
    s = Situation(layout=ParallelLayout(tp=8, dp=16), stack="megatron-core", global_batch=64)
    parameters = np.full(1, 4e9)
    sixteen_bit, fp8 = (weight_gather_s(replace(s, precision=p).case(), parameters)[0] for p in ("bf16", "fp8"))
    assert float(fp8) == pytest.approx(0.5 * float(sixteen_bit), rel=0.05)


@few
@given(slower=st.floats(1.0, 50.0), tp=st.sampled_from([1, 2, 8]))
def test_bytes_that_hide_cost_the_work_beside_them_the_same_over_any_link(slower: float, tp: int) -> None:
    """What a gather takes from the kernels beside it goes with what it copies, not with how long the link takes: 3.2
    passes over memory for every byte that goes to or comes from another rank."""
    layout = ParallelLayout(tp=tp, dp=16, sharding="fsdp")
    case = Situation(layout=layout, stack="torchtitan", global_batch=16).case()
    work = np.full(1, 1e3), np.full(1, 1e3)  # more than anything takes to move
    moved_bytes = case.weight_bytes * case.layer_parameters / tp * 15 / 16
    for link in (case, changed(case, nic_bytes_per_s=1 / slower)):
        moves = fsdp_moves_s(link)
        hops_s = moves.ahead_s - moved_bytes / group_bandwidth(link, np.full(1, 16.0), np.full(1, float(tp)))
        shown_s = fsdp_layer_s(link, *work)[0]
        passes_s = link.fsdp_passes * moved_bytes / link.memory_bytes_per_s
        assert shown_s.item() == pytest.approx((passes_s + fsdp_shown(link) * hops_s).item())


def test_copies_about_what_fsdp_moves_hide_behind_nothing() -> None:
    """They are kernels of a block's passes: in 16 bits a gathered weight is read and written once more (4 bytes), a
    gradient before it is scattered (6)."""
    layout = ParallelLayout(dp=8, sharding="fsdp")
    case = replace(Situation(layout=layout, stack="torchtitan", global_batch=8).case(), gpu_spread=np.zeros(1))
    none = replace(case, gather_copy_bytes=np.zeros(1), scatter_copy_bytes=np.zeros(1))
    pass_s = case.layer_parameters.item() / case.memory_bytes_per_s.item()
    assert [seconds.item() for seconds in fsdp_copies_s(case)] == pytest.approx([4 * pass_s, 10 * pass_s])
    with_copies, without = step_times(case), step_times(none)
    assert (with_copies.elementwise - without.elementwise).item() == pytest.approx(32 * 14 * pass_s)
    assert with_copies.data_parallel.item() == pytest.approx(without.data_parallel.item())
    assert (with_copies.total - without.total).item() == pytest.approx(32 * 14 * pass_s)


def test_nothing_costs_more_hidden_than_shown() -> None:
    """An A100's memory is slow beside its NVLink: no more shows of a gather than the whole of it."""
    layout = ParallelLayout(dp=8, sharding="fsdp")
    case = Situation(layout=layout, stack="llm-foundry", global_batch=8, gpu="a100-40gb").case()
    assert 0 < fsdp_shown(case).item() <= 1
    assert fsdp_shown(replace(case, fsdp_passes=np.full(1, 100.0))).item() == 1


def test_what_is_in_no_block_is_gathered_with_nothing_to_hide_it() -> None:
    """Llama 3.1 8B has 1.05 billion weights in embedding and head: 2.1 GB to gather, 4.2 GB to scatter."""
    layout = ParallelLayout(dp=16, sharding="fsdp")
    case = Situation(layout=layout, stack="torchtitan-2024", global_batch=32).case()
    once, alone = (fsdp_root_s(replace(case, root_gathers=np.full(1, n))).item() for n in (1.0, 0.0))
    twice = fsdp_root_s(replace(case, root_gathers=np.full(1, 2.0))).item()
    assert alone == 0
    assert once == pytest.approx(3 * (twice - once), rel=0.05)
    assert 2 * 7 / 8 * 6.3e9 / 900e9 < once < 2 * 6.3e9 / 100e9
    apart = fsdp_root_s(replace(case, root_has_head=np.zeros(1))).item()
    assert apart == pytest.approx(once / 2, rel=0.05)
    assert (
        fsdp_root_s(Situation(layout=replace(layout, sharding="zero1"), stack="torchtitan-2024").case()).item() == 0
    )


def test_an_embedding_that_is_not_split_is_a_whole_one_on_every_rank() -> None:
    case = Situation(layout=ParallelLayout(tp=4), stack="kempnerforge").case()
    table, split = float(case.embedding_parameters[0]), replace(case, splits_vocabulary=np.ones(1))
    more = rank_parameters(case, case.layers) - rank_parameters(split, case.layers)
    assert float(more[0]) == pytest.approx(0.75 * table)


@pytest.mark.parametrize("stack", ["torchtitan", "plain"])
def test_a_pipeline_scatters_at_its_end_and_hides_nothing_of_it(stack: str) -> None:
    """torch.distributed.pipelining; torchtitan's stages also keep what they gathered."""
    layout = ParallelLayout(pp=4, dp=8, sharding="fsdp")
    case = Situation(layout=layout, stack=stack, global_batch=64).case()
    alone = replace(case, pp=np.ones(1), keeps_gathered=np.zeros(1))
    nothing, parameters = np.zeros(1), rank_parameters(case, stage_layers(case)[0])
    (ahead, behind), (each, back) = (fsdp_layer_s(c, nothing, nothing) for c in (case, alone))
    if case.keeps_gathered[0]:
        assert (ahead.item(), behind.item()) == (pytest.approx(each.item() / 8, rel=1e-3), 0)
    blocks = parameters.item() / case.layer_parameters.item()
    scatter_s = fsdp_late_s(case, parameters).item()
    laid_out_s = case.scatter_copy_bytes.item() * parameters.item() / case.memory_bytes_per_s.item()
    assert scatter_s == pytest.approx(blocks * (back - each).item() + laid_out_s, rel=0.05)
    assert fsdp_late_s(alone, parameters).item() == 0
    assert total_s(case) > scatter_s


def test_what_is_scattered_once_hides_behind_one_backward_pass() -> None:
    """KempnerForge keeps gradients whole until the last micro-batch: what its scatter outlasts that pass shows, as
    many micro-batches as went before. Over a slow network a block's gradients take far longer than its pass."""
    slow = {"nic_bytes_per_s": np.full(1, 1e8)}
    shown = []
    for micro_batches in (2, 16):
        s = Situation(
            layout=ParallelLayout(dp=16, sharding="fsdp"), stack="kempnerforge", global_batch=16 * micro_batches
        )
        case = replace(s.case(), **slow)
        work_s = np.full(1, 1.0)
        shown.append(
            micro_batches * (fsdp_layer_s(case, work_s, work_s)[1] - fsdp_layer_s(case, work_s, work_s)[0]).item()
        )
    assert shown[0] == pytest.approx(shown[1])
