"""How long the closed form takes. Aims: a hundred thousand layouts a second, one estimate in a few milliseconds.

Run with `pytest benchmarks -p benchmark`; no seconds are asserted.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from planner.runs.estimate import estimate_runs
from planner.runs.rows import published_runs
from profiler.architecture import load_architecture
from sim.case_columns import build_case
from sim.estimate import estimate_step
from sim.hardware import build_cluster
from sim.layout import ParallelLayout
from sim.memory import memory_use
from sim.stacks.stack import load_stack
from sim.step import step_times

LLAMA_405B = load_architecture("llama3.1-405b")
CLUSTER = build_cluster("h100-sxm", 16_384)
PUBLISHED = ParallelLayout(tp=8, pp=16, vp=8, dp=128, sharding="zero2")


def test_one_estimate(benchmark: BenchmarkFixture) -> None:
    found = benchmark(
        estimate_step,
        architecture=LLAMA_405B,
        cluster=CLUSTER,
        layout=PUBLISHED,
        stack=load_stack("meta-internal"),
        seq_len=8192,
        global_batch=2048,
    )
    assert found.fits


@pytest.mark.parametrize("layouts", [1, 100, 10_000])
def test_many_layouts_at_once(benchmark: BenchmarkFixture, layouts: int) -> None:
    case = build_case(
        architecture=LLAMA_405B,
        gpu=CLUSTER.gpu,
        node=CLUSTER.node,
        gpus_per_node=8,
        fabric=CLUSTER.fabric,
        stack=load_stack("meta-internal"),
        layouts=[PUBLISHED] * layouts,
        seq_len=8192,
        global_batch=2048,
    )
    times = benchmark(lambda: (step_times(case), memory_use(case))[0])
    benchmark.extra_info["layouts"] = layouts
    assert times.total.shape == (layouts,)


def test_every_published_run(benchmark: BenchmarkFixture) -> None:
    runs = published_runs("all")
    predictions = benchmark(estimate_runs, runs)
    assert len(predictions) == len(runs)
