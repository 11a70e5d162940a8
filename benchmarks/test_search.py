"""How long a plan and its search take. Aims: a search in tenths of a second, the three example plans in one second.

Run with `pytest benchmarks -p benchmark`; no seconds are asserted.
"""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from planner.plan import make_plan
from planner.plan_file import read_plan_request
from planner.search import run_search

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("model", "gpus"), [("llama3.1-8b", 1_024), ("llama3.1-70b", 4_096), ("llama3.1-405b", 16_384)]
)
def test_search(benchmark: BenchmarkFixture, model: str, gpus: int) -> None:
    found = benchmark(run_search, model, "h100-sxm", gpus, 8192, 2048, "bf16", "megatron-core", 20)
    benchmark.extra_info["layouts"] = found.evaluated
    assert found.best.fits


@pytest.mark.parametrize("name", ["8b", "70b", "405b"])
def test_example_plan(benchmark: BenchmarkFixture, name: str) -> None:
    request = read_plan_request(EXAMPLES / f"llama3.1-{name}.toml")
    plan = benchmark(make_plan, request)
    benchmark.extra_info["interruptions"] = len(plan.campaign.interruptions)
    assert plan.days.expected > 0
