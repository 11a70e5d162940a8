"""How long it takes to say how sure a plan is. Aim: 1,000 samples of a plan within 10 s on two cores.

Run with `pytest benchmarks -p benchmark`; no seconds are asserted.
"""

from functools import cache
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from planner.decide.sensitivity import sobol, tornado
from planner.plan import Plan, make_plan
from planner.plan_file import read_plan_request
from planner.priors import normals
from planner.uncertainty import Uncertainty, sample_plan

EXAMPLES = Path(__file__).parents[1] / "examples"


@cache
def plan(mode: str) -> Plan:
    return make_plan(read_plan_request(EXAMPLES / "llama3.1-405b.toml", [("money.mode", mode)]))


@pytest.mark.parametrize("mode", ["rent", "own"])
def test_a_thousand_samples_of_the_405b(benchmark: BenchmarkFixture, mode: str) -> None:
    """Draws and all: nothing kept from the round before."""

    def fresh() -> Uncertainty:
        normals.cache_clear()
        return sample_plan(plan(mode))

    assert benchmark(fresh).samples == 1000


def test_a_thousand_samples_with_the_plan_itself(benchmark: BenchmarkFixture) -> None:
    """Layouts estimated, campaign simulated, priced, billed and sampled."""
    request = read_plan_request(EXAMPLES / "llama3.1-405b.toml")

    def whole() -> Uncertainty:
        normals.cache_clear()
        return sample_plan(make_plan(request))

    assert benchmark(whole).samples == 1000


def test_tornado_and_sobol_indices(benchmark: BenchmarkFixture) -> None:
    """512 x (assumptions + 2) evaluations and SALib's bootstrap."""
    assert benchmark(lambda: (tornado(plan("own")), sobol(plan("own"))))
