"""Watts of a step: between idle and TDP, and what MLPerf's meters read."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.estimate import estimate_runs
from planner.runs import published_runs
from sim.hardware import load_gpu, load_node, names
from sim.power import step_power_w
from sim.step import StepTimes
from tests.sim.steps import Situation, situations

PARTS = [f.name for f in fields(StepTimes) if f.name != "total"]


@settings(max_examples=60, deadline=None)
@given(situations())
def test_between_idle_and_power_limit(s: Situation) -> None:
    gpu = load_gpu(s.gpu)
    watts = float(np.max(step_power_w(gpu, s.times())))
    assert gpu.idle_power_w <= watts <= gpu.tdp_w


def times(**seconds: float) -> StepTimes:
    parts = {name: np.array([seconds.get(name, 0.0)]) for name in PARTS}
    return StepTimes(**parts, total=np.array([sum(seconds.values())]))


@given(st.sampled_from(names("gpus")), st.floats(0.1, 0.9))
def test_waiting_draws_less_than_communicating_than_computing(name: str, share: float) -> None:
    gpu = load_gpu(name)
    matmul, mixed, sending, waiting = (
        float(step_power_w(gpu, t)[0])
        for t in (
            times(matmul=1.0),
            times(matmul=1 - share, data_parallel=share),
            times(data_parallel=1.0),
            times(bubble=1.0),
        )
    )
    assert matmul > mixed > sending > waiting
    assert mixed == pytest.approx((1 - share) * matmul + share * sending)  # joules add


def test_idle_power_is_the_least_whatever_the_share() -> None:
    hungry = replace(load_gpu("h100-sxm"), idle_power_w=400.0)
    assert float(step_power_w(hungry, times(bubble=1.0))[0]) == 400.0


def test_h200_matmul_watts_as_read() -> None:
    """NVML, aiconfigurator H200 tables (Apache-2.0): 693 of 700 W in the 90th percentile of matrix products."""
    assert float(step_power_w(load_gpu("h200-sxm"), times(matmul=1.0))[0]) == pytest.approx(693)


def test_a_node_of_mlperf_gpt3() -> None:
    """MLPerf Training v4.0, GPT-3 175B on 64 immersion-cooled nodes of eight H100: 6,850 W per node at the wall."""
    [run] = [r for r in published_runs("all") if r.id == "mlperf-v4.0-gpt3-smc-ac-power-512"]
    assert run.observed_node_power_w_per_gpu is not None
    assert run.observed_node_power_w_per_gpu * 8 == pytest.approx(6850, rel=0.001)
    [prediction] = estimate_runs([run])
    assert prediction.gpu_power_w is not None
    node = load_node("hgx-h100-immersion")
    assert 8 * prediction.gpu_power_w + node.host_load_power_w == pytest.approx(6850, rel=0.10)
    assert prediction.node_power_w == pytest.approx(6850, rel=0.10)  # the row says how it was cooled


def test_no_node_draws_more_than_its_rating() -> None:
    for name in names("gpus"):
        gpu = load_gpu(name)
        node = load_node(gpu.node)
        assert node.gpus_per_node * gpu.tdp_w + node.host_load_power_w <= node.rated_power_w * 1.001, name


def test_a_slower_step_of_the_same_work_draws_less() -> None:
    busy = times(matmul=1.0)
    delayed = replace(busy, bubble=np.array([1.0]), total=np.array([2.0]))
    gpu = load_gpu("h100-sxm")
    assert step_power_w(gpu, delayed)[0] < step_power_w(gpu, busy)[0]
