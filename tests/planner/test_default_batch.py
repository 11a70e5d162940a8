"""The batch of a plan that states none: shared evenly among any number of GPUs, near to the usual tokens."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.phases import default_batch
from planner.plan import make_plan
from planner.plan_file import plan_request


@given(st.integers(1, 40_000), st.sampled_from([512, 2048, 4096, 6000, 8192, 10_000, 131_072]))
def test_a_batch_that_nobody_states_is_shared_evenly_and_near_to_the_usual_tokens(gpus: int, seq_len: int) -> None:
    batch = default_batch(gpus, seq_len)
    odd = gpus
    while odd % 2 == 0:
        odd //= 2
    usual = (16 if gpus >= 4096 else 4) * 2**20 / seq_len
    if odd <= usual:
        assert batch % odd == 0
        assert usual / 2**0.51 <= batch <= usual * 2**0.51
    else:
        assert 1 <= batch <= 2 * usual + 1
    if odd == 1 and usual == int(usual):
        assert batch == usual


@pytest.mark.parametrize(("gpus", "seq_len"), [(104, 8192), (200, 4096), (1016, 8192), (256, 6144), (256, 10_000)])
def test_numbers_that_are_no_powers_of_two_are_planned_as_efficiently(gpus: int, seq_len: int) -> None:
    data = {"model": "llama3.1-8b", "tokens": "2T", "cluster": {"gpus": gpus}, "training": {"seq_len": seq_len}}
    near = {**data, "cluster": {"gpus": 2 ** round(math.log2(gpus))}, "training": {"seq_len": 8192}}
    plan, usual = (make_plan(plan_request(one, source="test")) for one in (data, near))
    assert plan.mfu > 0.9 * usual.mfu
