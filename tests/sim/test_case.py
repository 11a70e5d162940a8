"""A case: the numbers that the closed form reads, one entry per step."""

import math
from dataclasses import fields

import numpy as np
import pytest

from profiler.files import InputError, validated
from profiler.profile import Precision
from sim.calibration import Calibration, load_calibration
from sim.case import StepCase, concatenate
from sim.case_columns import layout_columns
from sim.hardware import load_gpu, names
from sim.layout import ParallelLayout
from sim.stacks.stack import available_stacks, load_stack
from tests.sim.steps import Situation


@pytest.mark.parametrize("gpu", names("gpus"))
@pytest.mark.parametrize("stack", available_stacks())
@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_what_a_gpu_sustains_is_below_its_datasheet(gpu: str, stack: str, precision: Precision) -> None:
    part = load_gpu(gpu)
    peak = part.peak_bf16_flops if precision == "bf16" else part.peak_fp8_flops
    if peak is None:
        return
    case = Situation(layout=ParallelLayout(), gpu=gpu, stack=stack, precision=precision).case()
    assert case.peak_flops[0] == peak
    assert 0.3 * peak < case.matmul_flops_per_s[0] < peak or (stack, precision) == ("torchtitan", "fp8")
    assert case.matmul_16bit_flops_per_s[0] < part.peak_bf16_flops
    # causal FLOPs beyond the dense peak of 16 bits do not exist
    assert case.attention_flops_per_s[0] < part.peak_bf16_flops
    assert case.memory_bytes_per_s[0] < part.memory_bandwidth_bytes_per_s
    assert case.nvlink_bytes_per_s[0] < part.link_bandwidth_bytes_per_s


def test_a_power_limited_h100_is_slower_than_a_full_one() -> None:
    """Grand Teton's 500 W part has the 700 W part's peak on paper and lower clocks."""
    slow, fast = (Situation(layout=ParallelLayout(), gpu=g).case() for g in ("h100-96gb", "h100-sxm"))
    assert slow.matmul_flops_per_s[0] < fast.matmul_flops_per_s[0]
    assert slow.attention_flops_per_s[0] < fast.attention_flops_per_s[0]


def test_an_a100_runs_flash_attention_2_where_a_stack_asks_for_3() -> None:
    """FlashAttention-3 needs Hopper (arXiv:2407.08608 section 1)."""
    asked, ran = (
        Situation(layout=ParallelLayout(), gpu="a100-80gb", stack=s).case() for s in ("megatron-core", "torchtitan")
    )
    assert load_stack("megatron-core").attention == "flash3"
    assert asked.attention_flops_per_s[0] == ran.attention_flops_per_s[0]


def test_every_constant_is_near_what_was_expected_of_it() -> None:
    """A fit may move a constant three standard deviations of its prior, and no share above one."""
    for name, constant in load_calibration().constants.items():
        moved = abs(math.log(constant.value / constant.prior)) / constant.spread
        assert moved <= 3.01, name
        if "share" in name or "exposed" in name:
            assert 0 <= constant.value <= 1, name


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0])
def test_a_constant_that_is_no_amount_is_refused(wrong: float) -> None:
    constant = {"value": wrong, "prior": 1.0, "spread": 0.1, "meaning": "m", "source": "s"}
    data = {
        "fitted_on": "x",
        "left_out_p90": 0.1,
        "left_out_median": 0.1,
        "later_p90": 0.1,
        "other_part_p90": 0.3,
        "constants": {"c": constant},
    }
    with pytest.raises(InputError, match=r"key 'constants\.c\.value' is"):
        validated(data, Calibration, source="test")


def test_constants_given_replace_those_that_ship() -> None:
    s = Situation(layout=ParallelLayout())
    shipped = load_calibration().values()
    case = s.case()
    halved = {**shipped, "memory_share": shipped["memory_share"] / 2}
    assert s.case_with(halved).memory_bytes_per_s[0] == pytest.approx(case.memory_bytes_per_s[0] / 2)


def test_tokens_and_micro_batches() -> None:
    case = Situation(layout=ParallelLayout(dp=8, micro_batch=2), global_batch=64, seq_len=4096).case()
    assert (case.tokens[0], case.micro_batches[0], case.gpus[0]) == (64 * 4096, 4, 8)


def test_joining_keeps_order_and_fields() -> None:
    several = [Situation(layout=ParallelLayout(dp=d), global_batch=64).case() for d in (1, 2, 4)]
    joined = concatenate(several)
    assert joined.dp.tolist() == [1, 2, 4]
    for f in fields(StepCase):
        assert np.shape(getattr(joined, f.name)) == (3,), f.name


def test_columns_of_layouts_fill_in_habits() -> None:
    a = Situation(layout=ParallelLayout()).architecture
    layouts = [ParallelLayout(dp=4, cp=2), ParallelLayout(dp=4, shard_degree=2, recompute_layers=8)]
    columns = layout_columns(layouts, a, load_stack("fairscale-eager"))
    assert columns["shard_degree"] == [8, 2]
    assert columns["sequence_parallel"] == [False, False]
    assert columns["recompute_share"] == [1.0, 8 / 32]
