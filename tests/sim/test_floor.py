"""The physical floor: by hand, below every step, and where each of its two sides rules."""

import numpy as np
import pytest
from hypothesis import given

from sim.floor import compute_floor_s, floor_s, memory_floor_s
from sim.layout import ParallelLayout
from sim.step import step_times
from tests.sim.steps import Situation, situations

FSDP = Situation(layout=ParallelLayout(dp=64, sharding="fsdp"), global_batch=128)


@given(situations())
def test_no_step_is_faster_than_its_floor(s: Situation) -> None:
    case = s.case()
    assert np.all(floor_s(case) <= step_times(case).total)


def test_the_compute_floor_by_hand() -> None:
    """Llama 3.1 8B, 128 sequences of 8,192 on 64 H100: 6 FLOPs a weight, attention's causal half, 794.5 TFLOP/s."""
    per_token = 6 * (32 * 218_103_808 + 128_256 * 4096) + 6 * 32 * 8192 * 4096
    by_hand_s = 128 * 8192 * per_token / 64 / 794.5e12
    assert float(compute_floor_s(FSDP.case())[0]) == pytest.approx(by_hand_s)


def test_short_passes_are_bound_by_memory_and_long_ones_by_arithmetic() -> None:
    short = Situation(layout=ParallelLayout(tp=8), model="llama3.1-405b", seq_len=64, global_batch=1)
    assert memory_floor_s(short.case()) > compute_floor_s(short.case())
    assert memory_floor_s(FSDP.case()) < compute_floor_s(FSDP.case())


def test_a_measured_ceiling_lies_below_the_datasheet() -> None:
    case = FSDP.case()
    assert np.all(case.ceiling_flops < case.peak_flops)
    assert np.all(case.ceiling_flops > case.matmul_flops_per_s)
