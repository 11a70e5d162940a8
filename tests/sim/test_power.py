"""Watts of a step: between idle and TDP, and what MLPerf's meters read."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.runs.estimate import estimate_runs
from planner.runs.rows import later_runs, published_runs
from profiler.files import InputError
from sim.clocks import speed_at_power
from sim.hardware import Gpu, load_gpu, load_node, names
from sim.power import capped_parts_s, capped_power_w, step_power_w
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


def test_h200s_of_kempnerforges_175b() -> None:
    """619 W on average over 360 water-cooled H200s, read every 100 ms (KempnerForge benchmarks/175b_360gpu b62d2e3);
    no constant was fitted to it."""
    [run] = [r for r in later_runs() if r.id == "kempner-175b-360"]
    [prediction] = estimate_runs([run])
    assert prediction.gpu_power_w == pytest.approx(619, rel=0.05)


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


# A cap on every GPU


def seconds(**parts: float) -> dict[str, float]:
    return {name: parts.get(name, 0.0) for name in PARTS}


steps = st.builds(seconds, **{name: st.floats(0.01, 10) for name in PARTS})
gpus = st.sampled_from(names("gpus")).map(load_gpu)


@given(gpus, steps, st.floats(0.3, 1.2), st.floats(0.3, 1.2))
def test_a_lower_cap_is_never_faster_and_never_draws_more(
    gpu: Gpu, parts: dict[str, float], one: float, other: float
) -> None:
    low, high = sorted((one * gpu.tdp_w, other * gpu.tdp_w))
    slow, fast = (capped_parts_s(gpu, parts, cap) for cap in (low, high))
    assert all(slow[name] >= fast[name] >= parts[name] for name in PARTS)
    assert capped_power_w(gpu, slow, low) <= capped_power_w(gpu, fast, high) * (1 + 1e-12)


@given(gpus, steps, st.floats(0.3, 1.2))
def test_the_cap_is_kept_and_one_above_the_limit_changes_nothing(
    gpu: Gpu, parts: dict[str, float], share: float
) -> None:
    cap = share * gpu.tdp_w
    held = capped_parts_s(gpu, parts, cap)
    assert capped_power_w(gpu, held, cap) <= max(cap, gpu.idle_power_w)
    if share >= 1:
        assert held == parts
        free = times(**parts)
        assert capped_power_w(gpu, parts, cap) == pytest.approx(float(step_power_w(gpu, free)[0]))


def test_only_what_draws_more_than_the_cap_is_slowed() -> None:
    gpu = load_gpu("h100-sxm")  # collectives 385 W, waiting 175 W
    parts = seconds(matmul=1.0, data_parallel=1.0, other=1.0, bubble=0.5)
    held = capped_parts_s(gpu, parts, 400.0)
    assert held["data_parallel"] == held["other"] == 1.0
    assert held["matmul"] > 1
    assert held["bubble"] == pytest.approx(0.5 * held["matmul"])  # a bubble waits for other stages' compute
    assert capped_parts_s(gpu, parts, 300.0)["data_parallel"] > 1


def test_the_energy_of_a_capped_matmul_by_hand() -> None:
    gpu = load_gpu("h100-sxm")
    held = capped_parts_s(gpu, seconds(matmul=1.0), 500.0)
    # 500 of 693 W: ((500/693 - 0.11) / 0.89) ^ (1 / 1.67)
    assert 1 / held["matmul"] == pytest.approx(((500 / 693 - 0.11) / 0.89) ** (1 / 1.67))
    assert capped_power_w(gpu, held, 500.0) == pytest.approx(500.0)


def test_600_w_take_ten_to_fifteen_percent_longer() -> None:
    """A vendor's account of transformer pre-training on an H100 held to 600 W (power-capping note, factryze.ai)."""
    held = capped_parts_s(load_gpu("h100-sxm"), seconds(matmul=1.0), 600.0)
    assert 1.10 <= held["matmul"] <= 1.15


def test_a_700_w_part_held_to_500_w_runs_as_the_published_500_w_parts_do() -> None:
    """Published steps of H100s of 500 W, predicted as H100s of 700 W with and without a cap of 500 W.

    Without one the steps come out a tenth too short. With it they take some 5 % longer than at the rate that is
    fitted to those very runs, and 7 % longer than was observed: the law of clocks stands between three sources, and
    the cap errs to the slow side. bf16 and fp8, one GPU's bandwidth and thousands', are among them.
    """
    runs = [run for run in published_runs("all") if run.gpu.name == "h100-96gb" and run.observed_step_time_s]
    full = [replace(run, gpu=replace(run.gpu, kernels="h100", tdp_w=700.0)) for run in runs]
    assert len(runs) == 16
    free, held, seen = [], [], []
    for run, predicted, own in zip(full, estimate_runs(full), estimate_runs(runs), strict=True):
        assert run.observed_step_time_s
        assert predicted.step_time_s
        assert own.step_time_s
        parts = {name: predicted.parts_s[name] for name in PARTS}
        free.append(predicted.step_time_s / run.observed_step_time_s - 1)
        capped_s = sum(capped_parts_s(run.gpu, parts, 500.0).values())
        held.append(capped_s / own.step_time_s - 1)
        seen.append(capped_s / run.observed_step_time_s - 1)
    assert np.median(free) < -0.10
    assert abs(np.median(held)) < 0.05
    assert max(np.abs(held)) < 0.08
    assert abs(np.median(seen)) < 0.08


def test_a_cap_below_what_a_gpu_can_be_held_to_is_refused() -> None:
    with pytest.raises(InputError, match="gpu_power_cap_w is 150; H100 SXM 80 GB can be held to 210 W at the least"):
        capped_parts_s(load_gpu("h100-sxm"), seconds(matmul=1.0), 150.0)


@given(st.floats(0.3, 1), st.floats(0.3, 1))
def test_speed_falls_with_power_but_less(one: float, other: float) -> None:
    low, high = sorted((one, other))
    slow, fast = (float(speed_at_power(np.array(share))) for share in (low, high))
    assert slow <= fast <= 1
    assert slow >= (low - 0.11) / 0.89 - 1e-12  # no worse than in proportion to what is above idle
