"""How long it takes to lay a campaign onto a site's hours, and to fan replicas out.

Run with `pytest benchmarks -p benchmark`; no seconds are asserted.
"""

from dataclasses import replace
from datetime import datetime

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sim.campaign import CampaignSetup, Phase, replica_seeds, simulate_campaign
from sim.campaign.hours import hour_series
from sim.campaign.reliability import load_reliability
from sim.hardware import build_cluster
from sim.replicas import fan_out
from sim.site.campaign import under_conditions
from sim.site.climate import load_climate
from sim.site.conditions import PowerWindow, SiteConditions

SETUP = CampaignSetup(
    cluster=build_cluster("h100-sxm", 16_384),
    parameters=405_853_388_800,
    phases=(Phase(name="main", tokens=1.05e13, tokens_per_step=16e6, step_time_s=10.0, gpu_power_w=600.0),),
    reliability=load_reliability("llama3-405b"),
    spare_nodes=64,
)
"""76 days of Llama 3.1 405B."""
WINDOWS = (PowerWindow(allowed_w=12e6, from_hour=16, to_hour=20),)


@pytest.mark.parametrize("windows", [(), WINDOWS], ids=["climate", "climate and windows"])
def test_76_days_by_the_hour(benchmark: BenchmarkFixture, windows: tuple[PowerWindow, ...]) -> None:
    conditions = SiteConditions(start=datetime(2026, 6, 1), climate=load_climate("phoenix"), windows=windows)
    plain = simulate_campaign(SETUP, 1)
    run = benchmark(under_conditions, plain, replace(SETUP, conditions=conditions), conditions)
    benchmark.extra_info["segments"] = len(run.timeline)
    assert run.tokens == plain.tokens


def test_hours_of_76_days(benchmark: BenchmarkFixture) -> None:
    run = simulate_campaign(SETUP, 1)
    hours = benchmark(hour_series, run)
    assert len(hours.start_s) > 24 * 76


def days(task: tuple[CampaignSetup, int]) -> float:
    return simulate_campaign(*task).duration_s


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hundred_replicas(benchmark: BenchmarkFixture, workers: int) -> None:
    tasks = [(SETUP, seed) for seed in replica_seeds(1, 100)]
    found = benchmark.pedantic(fan_out, (days, tasks), {"workers": workers}, rounds=3, warmup_rounds=1)
    assert len(found) == 100
