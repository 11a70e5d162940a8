"""The closed-form step: conservation, monotonicity, limits, and what was published."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.runs.estimate import estimate_runs
from planner.runs.rows import published_runs
from profiler.profile import Precision
from sim.case import Array, StepCase, concatenate
from sim.layout import ParallelLayout, Sharding
from sim.passes import block_passes, tensor_parallel_s
from sim.schedule.order import SCHEDULES
from sim.sharding import fsdp_layer_s
from sim.step import WEIGHT_SHARE, StepTimes, expected_slowest, pass_s, step_times
from tests.sim.steps import Situation, changed, part_s, situations, total_s

PARTS = [f.name for f in fields(StepTimes) if f.name != "total"]
SLACK = 1 + 1e-9
few = settings(max_examples=60, deadline=None)


def alike(case: StepCase) -> StepCase:
    """The step on GPUs of which none is slower."""
    return replace(case, gpu_spread=np.zeros(1))


@few
@given(situations())
def test_parts_add_up_and_none_is_negative(s: Situation) -> None:
    times = s.times()
    total = part_s(times, "total")
    parts = [part_s(times, name) for name in PARTS]
    assert sum(parts) == pytest.approx(total, rel=1e-9)
    assert min(parts) >= -1e-9 * total


@few
@given(situations())
def test_never_below_the_arithmetic_at_the_dense_peak(s: Situation) -> None:
    case = s.case()
    flops = s.architecture.flops_per_token(s.seq_len, "causal") * s.global_batch * s.seq_len
    assert total_s(case) >= flops / s.layout.gpus / float(case.peak_flops[0])


@few
@given(situations(), st.sampled_from([2, 3, 8]))
def test_more_sequences_never_take_less_time(s: Situation, more: int) -> None:
    assert total_s(replace(s, global_batch=more * s.global_batch).case()) * SLACK >= total_s(s.case())


@few
@given(situations())
def test_longer_sequences_never_take_less_time(s: Situation) -> None:
    assert total_s(replace(s, seq_len=2 * s.seq_len).case()) * SLACK >= total_s(s.case())


@few
@given(situations(), st.floats(0.3, 1.5))
def test_only_what_is_certain_to_take_longer_is_left_at_a_bound(s: Situation, share: float) -> None:
    case = s.case()
    whole_s = total_s(case)
    most_s = share * whole_s
    bound_s = part_s(step_times(case, most_s), "total")
    if whole_s <= most_s:
        assert bound_s == whole_s
    assert bound_s <= whole_s * SLACK
    assert bound_s == whole_s or bound_s * SLACK > most_s


FASTER = {
    "network between nodes": {"nic_bytes_per_s": 2.0},
    "network latency": {"fabric_latency_s": 0.5},
    "network in the node": {"nvlink_bytes_per_s": 2.0},
    "memory": {"memory_bytes_per_s": 2.0},
    "matrix units": {"matmul_flops_per_s": 2.0, "matmul_16bit_flops_per_s": 2.0},
    "attention": {"attention_flops_per_s": 2.0},
}


@few
@given(situations(), st.sampled_from(list(FASTER)))
def test_faster_hardware_is_never_slower(s: Situation, what: str) -> None:
    case = s.case()
    assert total_s(changed(case, **FASTER[what])) <= total_s(case) * SLACK


@few
@given(situations())
def test_the_slowest_gpu_delays_by_no_more_than_its_own_deviation(s: Situation) -> None:
    """A step of GPUs that differ is never faster than of equal ones, nor slower than were all as the slowest."""
    case = s.case()
    deviates = float(case.gpu_spread[0]) * expected_slowest(case.gpus).item()
    equal_s = total_s(alike(case))
    assert equal_s <= total_s(case) * SLACK
    assert total_s(case) <= equal_s * (1 + deviates) * SLACK


@few
@given(situations())
def test_recompute_only_adds_time(s: Situation) -> None:
    none, some, whole = (total_s(s.case(recompute=kind)) for kind in ("none", "selective", "full"))
    assert none <= some * SLACK
    assert none < whole


@few
@given(st.sampled_from([2, 4, 8]), st.sampled_from([1, 2]), st.sampled_from([2, 5]), st.integers(1, 8))
def test_more_virtual_stages_never_lengthen_the_bubble(pp: int, vp: int, more: int, rounds: int) -> None:
    """Of 80 layers in equal chunks, and micro-batches in whole rounds of the pipeline."""
    layout = ParallelLayout(tp=8, pp=pp, vp=vp)
    s = Situation(layout=layout, model="llama3.1-70b", global_batch=pp * rounds, stack="megatron-fork")
    assert part_s(s.times(vp=vp * more), "bubble") <= part_s(s.times(), "bubble") * SLACK


@few
@given(situations(single_replica=True))
def test_twice_the_replicas_at_twice_the_batch_are_never_faster(s: Situation) -> None:
    """Weak scaling: each replica does the same and now has to agree with another."""
    s = replace(s, layout=replace(s.layout, sharding="ddp"))
    twice = replace(s, global_batch=2 * s.global_batch)
    assert part_s(twice.times(dp=2), "total") * SLACK >= part_s(s.times(), "total")


def test_one_gpu_neither_communicates_nor_waits() -> None:
    times = Situation(layout=ParallelLayout(), global_batch=4).times()
    idle = ("tensor_parallel", "context_parallel", "pipeline", "data_parallel", "bubble")
    assert {name: part_s(times, name) for name in idle} == dict.fromkeys(idle, 0.0)


EQUAL = {name: np.zeros(1) for name in ("vocab", "pass_fixed_s", "accumulate_bytes")}
"""Without a head stages are equal; without fixed times and adding up gradients they do nothing but run blocks."""


@pytest.mark.parametrize(
    ("pp", "vp", "passes"), [(2, 1, 1), (4, 1, 8), (8, 1, 32), (16, 1, 128), (4, 4, 8), (8, 2, 8)]
)
def test_bubble_of_equal_stages(pp: int, vp: int, passes: int) -> None:
    """arXiv:2104.04473 section 2.2: bubble over ideal time is (p-1)/m, and (p-1)/(v·m) interleaved."""
    s = Situation(layout=ParallelLayout(pp=pp, vp=vp), global_batch=passes, stack="megatron-2021")
    times = step_times(replace(s.case(), **EQUAL))
    work = ("matmul", "attention", "elementwise", "head", "recompute", "tensor_parallel", "host")
    ideal_s = sum(part_s(times, name) for name in work)
    assert part_s(times, "bubble") / ideal_s == pytest.approx((pp - 1) / (vp * passes), rel=1e-9)


def test_collectives_hide_behind_no_more_than_there_is_to_compute() -> None:
    """With next to nothing to compute all of their time shows, however good the stack is at hiding it."""
    case = Situation(layout=ParallelLayout(tp=8), stack="megatron-core").case()
    whole_s = tensor_parallel_s(case)[0].item()
    assert block_passes(case)[0].tensor_parallel.item() == pytest.approx(whole_s * float(case.tp_exposed[0]))
    instant = changed(case, matmul_flops_per_s=1e6, attention_flops_per_s=1e6, memory_bytes_per_s=1e6)
    instant = replace(instant, matmul_overhead_s=np.zeros(1))
    assert block_passes(instant)[0].tensor_parallel.item() == pytest.approx(whole_s, rel=1e-3)


@pytest.mark.parametrize(
    ("stack", "gpu", "biased", "slower"),
    [
        ("llm-foundry", "h100-sxm", True, True),
        ("llm-foundry", "h100-sxm", False, False),
        ("llm-foundry", "a100-80gb", True, False),
        ("torchtitan", "h100-sxm", True, False),
    ],
)
def test_old_torch_adds_biases_slowly_on_hopper(stack: str, gpu: str, biased: bool, slower: bool) -> None:
    """pytorch pull requests 101145 and 120925: through cuBLASLt with too little workspace, forward alone."""
    case = Situation(layout=ParallelLayout(), stack=stack, gpu=gpu).case()
    without, case = (replace(case, biased=np.full(1, float(b))) for b in (False, biased))
    forward, backward = (
        np.divide(x.matmul, y.matmul) for x, y in zip(*map(block_passes, (case, without)), strict=True)
    )
    assert backward.item() == 1.0
    assert (forward.item() > 1.1) == slower
    assert slower or forward.item() == 1.0


@pytest.mark.parametrize(("gpus", "deviates"), [(1, 0.0), (2, 0.5642), (10, 1.5388), (100, 2.5076), (1000, 3.2414)])
def test_the_slowest_of_many_is_as_far_from_the_mean_as_tippett_has_it(gpus: int, deviates: float) -> None:
    """L. H. C. Tippett, Biometrika 17 (1925): the mean of the largest of n normal deviates."""
    assert expected_slowest(np.array([float(gpus)])).item() == pytest.approx(deviates, abs=0.03)


def test_the_slowest_gpu_delays_products_and_not_attention() -> None:
    """At ever longer sequences, which are ever more attention, less of the passes; all where there is none."""

    def slowed(seq_len: int, **changes: Array) -> float:
        s = Situation(layout=ParallelLayout(tp=8), seq_len=seq_len, global_batch=1)
        still = {name: np.zeros(1) for name in ("optimizer_bytes", "step_fixed_s")}
        case = replace(s.case(), **still, **changes)
        return total_s(case) / total_s(alike(case)) - 1

    shares = [slowed(seq_len) for seq_len in (2048, 8192, 32_768, 131_072)]
    assert shares == sorted(shares, reverse=True)
    spread = float(Situation(layout=ParallelLayout()).case().gpu_spread[0])
    fast = {name: np.full(1, 1e30) for name in ("attention_flops_per_s", "attention_backward_flops_per_s")}
    assert slowed(8192, **fast) == pytest.approx(spread * expected_slowest(np.array([8.0])).item(), rel=1e-6)


@pytest.mark.parametrize("sharding", ["fsdp", "zero1", "ddp"])
def test_a_slow_network_does_not_make_the_slowest_gpu_slower(sharding: Sharding) -> None:
    """What the slowest GPU adds is a share of what GPUs compute: as many seconds on any network between nodes. Under
    FSDP within a twentieth: the share is that of blocks, and the head's passes are taken to be like them."""
    situation = Situation(layout=ParallelLayout(dp=256, sharding=sharding), stack="torchtitan", global_batch=256)
    added_s = []
    for nic_bytes_per_s in (50e9, 5e9, 1e9):
        case = replace(situation.case(), nic_bytes_per_s=np.full(1, nic_bytes_per_s))
        added_s.append(total_s(case) - total_s(alike(case)))
    assert added_s == pytest.approx([added_s[0]] * 3, rel=0.05)


def test_a_node_that_is_not_in_order_delays_all_of_a_step() -> None:
    case = Situation(layout=ParallelLayout(tp=8, dp=4)).case()
    slow = replace(case, slowdown=np.full(1, 0.03))
    without = alike(case), alike(slow)
    assert total_s(without[1]) == pytest.approx(1.03 * total_s(without[0]))


@pytest.mark.parametrize(("precision", "stack"), [("bf16", "megatron-core"), ("fp8", "torchtitan")])
def test_only_delayed_scaling_waits_for_maxima(precision: Precision, stack: str) -> None:
    """torchao scales by each tensor's own maximum, on its rank."""
    case = Situation(layout=ParallelLayout(tp=8, dp=64), stack=stack, precision=precision).case()
    assert pass_s(case).item() == case.pass_fixed_s.item()


def test_maxima_of_fp8_tensors_are_waited_for_with_either_pass() -> None:
    """All of 32 nodes' ranks of one stage: NCCL's own 6.8 + 2 · (7 · 0.6 + 5 · 5) µs of a small tree; once more by
    each stage before, while the pipeline fills, and while it drains."""
    s = Situation(layout=ParallelLayout(tp=4, pp=8, vp=4, dp=64), global_batch=1024, precision="fp8")
    still = {name: np.zeros(1) for name in ("gpu_spread", "gradient_bytes", "weight_bytes")}
    case = replace(s.case(), **EQUAL, **still)
    waited_s = total_s(case) - total_s(replace(case, reduces_maxima=np.zeros(1)))
    passes, before = 16 * 4, 7
    assert waited_s == pytest.approx(2 * (passes + before) * 65.2e-6, rel=1e-6)


def test_fsdp_that_keeps_its_weights_gathers_them_once_a_micro_batch() -> None:
    """torch's SHARD_GRAD_OP: as FULL_SHARD, without the gather of the backward pass; DeepSpeed's ZeRO-2 has the
    weights whole and gathers them once a step."""
    s = Situation(layout=ParallelLayout(dp=512, sharding="zero2"), stack="llm-foundry-2024", global_batch=1024)
    again, kept = s.case(sharding="fsdp"), s.case()
    forward, backward = fsdp_layer_s(again, np.zeros(1), np.zeros(1))
    forward_kept, backward_kept = fsdp_layer_s(kept, np.zeros(1), np.zeros(1))
    assert forward_kept.item() == forward.item()
    assert backward_kept.item() == pytest.approx(backward.item() - forward.item())
    assert total_s(kept) < total_s(again)
    whole = replace(s, stack="deepspeed").case()
    assert fsdp_layer_s(whole, np.zeros(1), np.zeros(1))[0].item() == 0.0


def test_megatron_of_2022_reduces_input_gradients_beside_its_products() -> None:
    """megatron/mpu/layers.py 02bb1f5: asynchronous, before the product of the weight gradient; not so in 2021."""
    layout = ParallelLayout(tp=8, sequence_parallel=False)
    cases = [Situation(layout=layout, stack=f"megatron-{year}").case() for year in (2021, 2022)]
    (before, waited), (after, hidden) = map(block_passes, cases)
    assert after.tensor_parallel.item() == before.tensor_parallel.item() == before.gathers.item()
    assert hidden.tensor_parallel.item() == pytest.approx(float(cases[1].dp_exposed[0]) * waited.gathers.item())


def test_a_zero_bubble_schedule_keeps_less_of_it() -> None:
    """arXiv:2401.10241 table 1: the bubble is (p-1)(F+B+W) of 1F1B and (p-1)(F+B-W) of ZB-H1."""
    s = Situation(layout=ParallelLayout(pp=8), global_batch=32, stack="megatron-fork")
    case = replace(s.case(), **EQUAL)
    forward, backward = block_passes(case)
    weight_s = WEIGHT_SHARE * backward.matmul
    left = float(((forward.total + backward.total - 2 * weight_s) / (forward.total + backward.total))[0])
    without = part_s(step_times(replace(case, schedule=np.full(1, float(SCHEDULES.index("zb-h1"))))), "bubble")
    assert without == pytest.approx(left * part_s(step_times(case), "bubble"))
    assert 1 / 3 < left < 0.6


def test_fairscales_five_backward_all_reduces_cost_what_three_more_cost() -> None:
    """FairScale's reference layout reduces the input gradients of q, k, v, w1 and w3 apart: 7 all-reduces per block
    where a shared copy needs 4."""
    case = Situation(layout=ParallelLayout(tp=8), stack="fairscale-eager").case()
    shared = replace(case, backward_all_reduces=np.full(1, 2.0))
    five, two = step_times(case), step_times(shared)
    assert part_s(five, "tensor_parallel") == pytest.approx(7 / 4 * part_s(two, "tensor_parallel"))
    assert part_s(five, "total") > part_s(two, "total")


def test_llama3_405b_stages() -> None:
    """arXiv:2407.21783 section 3.3.2: 126 layers on 16 stages, one layer less on the first and the last. In a stage
    of eight blocks the slowest works 126/8 of its share: 1/64 longer than the mean without a head."""
    s = Situation(layout=ParallelLayout(tp=8, pp=16, dp=8), model="llama3.1-405b", global_batch=8 * 1000)
    times = step_times(replace(s.case(), vocab=np.zeros(1), fabric_latency_s=np.zeros(1)))
    # of many micro-batches only the difference between eight blocks and 126/16 remains, and once filling and
    # draining the fifteen other stages, of seven or eight blocks each
    blocks_s = sum(part_s(times, name) for name in ("matmul", "attention", "elementwise", "tensor_parallel"))
    others = part_s(times, "bubble") / blocks_s - (128 / 126 - 1)
    assert 15 * 7 < others * 1000 * 126 / 16 < 15 * 8


@few
@given(st.lists(situations(), min_size=1, max_size=5))
def test_many_at_once_are_as_one_by_one(several: list[Situation]) -> None:
    together = step_times(concatenate([s.case() for s in several]))
    for i, s in enumerate(several):
        alone = s.times()
        for name in (*PARTS, "total"):
            assert np.broadcast_to(getattr(together, name), (len(several),))[i] == pytest.approx(
                part_s(alone, name), rel=1e-12, abs=1e-15
            )


def test_a_case_knows_its_size() -> None:
    case = Situation(layout=ParallelLayout()).case()
    assert (case.tp.size, concatenate([case, case, case]).tp.size) == (1, 3)
    assert isinstance(case, StepCase)


@pytest.mark.parametrize(("run", "tflops"), [("llama3-herd-405b-16384", 400), ("llama3-herd-405b-8192", 430)])
def test_llama3_405b_throughput_as_published(run: str, tflops: float) -> None:
    """arXiv:2407.21783 table 4, BF16 on H100; one regression guard within 10 %."""
    [found] = [r for r in published_runs("all") if r.id == run]
    [prediction] = estimate_runs([found])
    assert prediction.mfu_pct is not None
    assert prediction.mfu_pct / 100 * found.gpu.peak_bf16_flops / 1e12 == pytest.approx(tflops, rel=0.10)
