"""How long a search and a plan take. Aims, on two cores: a million layouts a second and more, the three example plans
in a second.

Calculon's space is the measure: 57,000 layouts of the 405B on 16,384 H100 take it 150 s, and its whole space of 7
million, overlaps of communication on and off included, about three hours. Run with `pytest benchmarks -p benchmark`;
no seconds are asserted.
"""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from planner.decide.pareto import compare_clusters
from planner.plan import make_plan
from planner.plan_file import plan_request, read_plan_request
from planner.search import LayoutSpace, fastest_layout, search_layouts
from planner.search.request import search_request
from profiler.architecture import load_architecture
from sim.hardware import build_cluster
from sim.stacks.stack import SoftwareStack, load_stack

EXAMPLES = Path(__file__).parents[1] / "examples"
MEGATRON = load_stack("megatron-core")


def space(model: str, gpus: int, stack: SoftwareStack = MEGATRON) -> LayoutSpace:
    return LayoutSpace(
        architecture=load_architecture(model),
        cluster=build_cluster("h100-sxm", gpus),
        stack=stack,
        seq_len=8192,
        global_batch=2048,
    )


def note(benchmark: BenchmarkFixture, layouts: int) -> None:
    """Put layouts, and layouts a second, beside the seconds."""
    benchmark.extra_info["layouts"] = layouts
    if benchmark.stats:
        benchmark.extra_info["layouts_per_s"] = round(layouts / benchmark.stats["median"])


@pytest.mark.parametrize(
    ("model", "gpus"), [("llama3.1-8b", 1_024), ("llama3.1-70b", 4_096), ("llama3.1-405b", 16_384)]
)
def test_search(benchmark: BenchmarkFixture, model: str, gpus: int) -> None:
    layout, count = benchmark(fastest_layout, space(model, gpus))
    note(benchmark, count)
    assert layout.gpus == gpus


def test_search_with_reasons(benchmark: BenchmarkFixture) -> None:
    """As the command does it: why each loser loses is counted too."""
    found = benchmark(search_layouts, space("llama3.1-405b", 16_384))
    note(benchmark, found.evaluated)
    assert found.losses


def test_search_of_a_million(benchmark: BenchmarkFixture) -> None:
    """One model on four sizes of cluster."""

    def million() -> int:
        return sum(fastest_layout(space("llama3.1-405b", gpus))[1] for gpus in (2_048, 4_096, 8_192, 16_384))

    note(benchmark, benchmark(million))


@pytest.mark.slow
def test_search_of_ten_million(benchmark: BenchmarkFixture) -> None:
    """Every layout under every way to overlap communication and to sum gradients, the stack's habits one by one."""
    stacks = [
        replace(
            MEGATRON,
            tp_overlap=tp,
            dp_overlap=dp,
            p2p_overlap=p2p,
            defers_head_gradient=deferred,
            gradient_bytes=size,
        )
        for tp, dp, p2p, deferred, size in itertools.product(
            ("none", "async", "userbuffers"), (True, False), (True, False), (True, False), (2, 4)
        )
    ]

    def whole_space() -> int:
        return sum(fastest_layout(space("llama3.1-405b", 16_384, stack))[1] for stack in stacks)

    note(benchmark, benchmark.pedantic(whole_space, rounds=3))


def test_clusters_compared(benchmark: BenchmarkFixture) -> None:
    """Three sizes of two GPU types, each searched, planned and simulated."""
    request = plan_request({}, [("model", "llama3.1-405b"), ("tokens", "15.6T")], source="benchmark")
    found = benchmark(compare_clusters, request, ["h100-sxm", "h200-sxm"], [4_096, 8_192, 16_384])
    assert len(found.front) + len(found.beaten) == 6


@pytest.mark.parametrize("name", ["8b", "70b", "405b"])
def test_example_plan(benchmark: BenchmarkFixture, name: str) -> None:
    request = read_plan_request(EXAMPLES / f"llama3.1-{name}.toml")
    assert search_request(request, 1).best.fits
    plan = benchmark(make_plan, request)
    benchmark.extra_info["interruptions"] = len(plan.campaign.interruptions)
    assert plan.days.expected > 0
