"""How long a campaign takes to simulate. Aims: 5 ms for 80 days on 16,384 GPUs, 1 s for a year on a million, and cost
that follows interruptions.

Run with `pytest benchmarks -p benchmark`; no seconds are asserted.
"""

from dataclasses import replace
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sim.campaign import CampaignSetup, Phase, simulate_campaign
from sim.campaign.checkpoints import CheckpointPolicy
from sim.campaign.reliability import load_reliability
from sim.hardware import build_cluster

DAY = 86400.0


def setup(gpus: int, days: float, failures_per_1000_node_days: float, **changes: Any) -> CampaignSetup:
    """About `days` of Llama 3.1 405B."""
    step_s, tokens_per_step = 10.0, 16e6
    phase = Phase(
        name="main",
        tokens=days * DAY / step_s * tokens_per_step,
        tokens_per_step=tokens_per_step,
        step_time_s=step_s,
        gpu_power_w=600.0,
    )
    base: dict[str, Any] = {
        "cluster": build_cluster("h100-sxm", gpus),
        "parameters": 405_853_388_800,
        "phases": (phase,),
        "reliability": load_reliability("llama3-405b").scaled(failures_per_1000_node_days),
        "spare_nodes": 64,
    }
    return CampaignSetup(**base | changes)


def test_405b_on_16k_gpus(benchmark: BenchmarkFixture) -> None:
    plan = setup(16_384, 76.0, 3.79)
    run = benchmark(simulate_campaign, plan, 1)
    assert run.duration_s > 76 * DAY
    benchmark.extra_info["interruptions"] = len(run.interruptions)


@pytest.mark.parametrize("recovery", ["job", "replica"])
def test_a_year_on_a_million_gpus(benchmark: BenchmarkFixture, recovery: str) -> None:
    """A failure every three minutes: the whole job restarts in 45 s from copies in memory, or the replica that failed
    does while the others stand for 20 s."""
    record = load_reliability("llama3-405b").detected_within(10.0).restarting_in(45.0)
    plan = setup(
        1_000_000,
        255.0,
        3.79,
        reliability=record,
        checkpoints=CheckpointPolicy(kind="multi_level"),
        spare_nodes=1250,
        recovery=recovery,
        replica_stall_s=20.0,
        replicas=488,
    )
    run = benchmark.pedantic(simulate_campaign, args=(plan, 1), rounds=3)
    assert 300 * DAY < run.duration_s < 400 * DAY
    benchmark.extra_info["interruptions"] = len(run.stops)


@pytest.mark.parametrize("gpus", [1_024, 10_240, 102_400, 1_024_000])
def test_the_same_interruptions_at_any_size(benchmark: BenchmarkFixture, gpus: int) -> None:
    """Three orders of magnitude of GPUs with the same failures of the job: about the same time."""
    record = load_reliability("llama3-405b").scaled(3.79 * 10_240 / gpus).restarting_in(300.0)
    record = replace(record, job_gpus=(), job_size_factors=())
    plan = setup(gpus, 60.0, 3.79, reliability=record)
    run = benchmark(simulate_campaign, plan, 1)
    benchmark.extra_info["interruptions"] = len(run.interruptions)
    assert run.unexpected_interruptions > 100


@pytest.mark.parametrize("rate", [0.0379, 0.379, 3.79, 15.0])
def test_more_interruptions_take_longer(benchmark: BenchmarkFixture, rate: float) -> None:
    plan = setup(16_384, 76.0, rate, spare_nodes=200)
    run = benchmark(simulate_campaign, plan, 1)
    benchmark.extra_info["interruptions"] = len(run.interruptions)
    assert run.ettr > 0.75


@pytest.mark.parametrize("rate", [0.00379, 0.0379, 0.379, 3.79])
def test_a_million_gpus_that_recover_by_replica(benchmark: BenchmarkFixture, rate: float) -> None:
    """Three orders of magnitude of failures in a year of a million GPUs: cost follows interruptions."""
    record = load_reliability("llama3-405b").scaled(rate).detected_within(10.0).restarting_in(45.0)
    plan = setup(
        1_000_000,
        255.0,
        rate,
        reliability=record,
        checkpoints=CheckpointPolicy(kind="multi_level"),
        spare_nodes=1250,
        recovery="replica",
        replica_stall_s=20.0,
        replicas=488,
    )
    run = benchmark.pedantic(simulate_campaign, args=(plan, 1), rounds=3)
    benchmark.extra_info["interruptions"] = len(run.stops)
    assert run.duration_s > 255 * DAY
