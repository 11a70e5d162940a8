"""How long pipelines take to evaluate. Aims: a million closed forms in a second, the event simulation of Llama 3.1
405B's step in a second.

Run with `pytest benchmarks -p benchmark`; no seconds are asserted.
"""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sim.pipeline.times import Chunk, PipelineCase, pipeline_times
from sim.schedule.events import simulate_step
from sim.schedule.order import SCHEDULES, PipelineSchedule, PipelineShape
from sim.schedule.work import ChunkWork, OperationWork, StepWork


def pipelines(count: int, schedule: PipelineSchedule, vp: int) -> PipelineCase:
    rng = np.random.default_rng(1)
    full, ones = rng.uniform(1, 2, count), np.ones(count)
    return PipelineCase(
        schedule=ones * SCHEDULES.index(schedule),
        pp=2.0 ** rng.integers(1, 6, count),
        vp=ones * vp,
        micro_batches=2.0 ** rng.integers(4, 9, count),
        first=Chunk(0.9 * full, 1.1 * full, 0.9 * full),
        middle=Chunk(full, 1.2 * full, full),
        last=Chunk(1.2 * full, 1.5 * full, 1.2 * full),
        deferred_s=0.1 * ones,
        p2p_s=0.02 * ones,
        p2p_exposed=0 * ones,
    )


@pytest.mark.parametrize(("schedule", "vp"), [("gpipe", 1), ("1f1b", 1), ("1f1b", 4), ("zb-h1", 1), ("zb-v", 2)])
def test_a_hundred_thousand_closed_forms(benchmark: BenchmarkFixture, schedule: PipelineSchedule, vp: int) -> None:
    case = pipelines(100_000, schedule, vp)
    assert benchmark(pipeline_times, case).total_s.shape == (100_000,)


@pytest.mark.parametrize(("stages", "chunks", "micro_batches"), [(16, 8, 16), (8, 8, 64), (35, 3, 240)])
def test_one_step_event_by_event(benchmark: BenchmarkFixture, stages: int, chunks: int, micro_batches: int) -> None:
    shape = PipelineShape(schedule="1f1b", stages=stages, chunks=chunks, micro_batches=micro_batches)
    passes = OperationWork(compute_s=0.01, tensor_s=0.001, tensor_hidden_s=0.004, context_s=0.002)
    chunk = ChunkWork(forward=passes, backward=passes, weight=OperationWork(compute_s=0.01))
    work = StepWork(shape=shape, chunks=(chunk,) * shape.depth, p2p_s=1e-3, reduce_s=0.1)
    timeline = benchmark(simulate_step, work)
    benchmark.extra_info["events"] = len(timeline.events)
