"""How long a campaign takes to simulate. Aims: 5 ms for 80 days on 16,384 GPUs, and cost that follows
interruptions.

Run with `pytest benchmarks -p benchmark`; no seconds are asserted.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sim.campaign import CampaignSetup, Phase, simulate_campaign
from sim.hardware import build_cluster
from sim.reliability import load_reliability

DAY = 86400.0


def setup(gpus: int, days: float, failures_per_1000_node_days: float) -> CampaignSetup:
    """About `days` of Llama 3.1 405B."""
    step_s, tokens_per_step = 10.0, 16e6
    phase = Phase(
        name="main",
        tokens=days * DAY / step_s * tokens_per_step,
        tokens_per_step=tokens_per_step,
        step_time_s=step_s,
        gpu_power_w=600.0,
    )
    return CampaignSetup(
        cluster=build_cluster("h100-sxm", gpus),
        parameters=405_853_388_800,
        phases=(phase,),
        reliability=load_reliability("llama3-405b").scaled(failures_per_1000_node_days),
        spare_nodes=64,
    )


def test_405b_on_16k_gpus(benchmark: BenchmarkFixture) -> None:
    plan = setup(16_384, 76.0, 3.79)
    run = benchmark(simulate_campaign, plan, 1)
    assert run.duration_s > 76 * DAY
    benchmark.extra_info["interruptions"] = len(run.interruptions)


@pytest.mark.parametrize("gpus", [128, 1_280, 12_800, 128_000])
def test_the_same_interruptions_at_any_size(benchmark: BenchmarkFixture, gpus: int) -> None:
    """Three orders of magnitude of GPUs with the same failures of the job: about the same time."""
    plan = setup(gpus, 60.0, 3.79 * 12_800 / gpus)
    run = benchmark(simulate_campaign, plan, 1)
    benchmark.extra_info["interruptions"] = len(run.interruptions)
    assert run.unexpected_interruptions > 100


@pytest.mark.parametrize("rate", [0.0379, 0.379, 3.79])
def test_more_interruptions_take_longer(benchmark: BenchmarkFixture, rate: float) -> None:
    plan = setup(16_384, 76.0, rate)
    run = benchmark(simulate_campaign, plan, 1)
    benchmark.extra_info["interruptions"] = len(run.interruptions)
    assert run.ettr > 0.9
