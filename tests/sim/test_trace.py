"""From a step's case to its timeline and its trace."""

import json
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.layout import ParallelLayout, Sharding
from sim.schedule.events import Timeline, simulate_step
from sim.schedule.noise import Noise
from sim.schedule.trace import HOLDING, STREAMS, chrome_trace, stage_summaries
from sim.schedule.work import OperationWork, StepWork, step_work
from sim.step import step_times
from tests.sim.steps import Situation, situations, total_s

few = settings(max_examples=25, deadline=None)
PIPELINED = Situation(
    layout=ParallelLayout(tp=4, pp=4, vp=5, dp=4), model="llama3.1-70b", global_batch=64, stack="megatron-core"
)
FSDP = Situation(layout=ParallelLayout(dp=64, sharding="fsdp"), global_batch=128, stack="torchtitan")


def timeline_of(situation: Situation, noise: Noise | None = None) -> Timeline:
    return simulate_step(step_work(situation.case()), noise)


def stage_s(work: StepWork, operation: OperationWork) -> float:
    """What an operation takes of its stage where all sharding hides."""
    ring, behind = operation.context_s, operation.context_behind_s
    ring_s = max(ring - behind, 0.0) + work.context_exposed * min(ring, behind)
    return operation.compute_s + operation.tensor_s + ring_s


@few
@given(situations())
def test_the_work_is_the_closed_forms(s: Situation) -> None:
    """All computation of all stages is what the closed form counts: blocks, head, recompute, accumulation."""
    work, times = step_work(s.case()), step_times(s.case())
    shape = work.shape
    passes = sum(stage_s(work, op) for c in work.chunks for op in (c.forward, c.backward, c.weight)) + work.deferred_s
    names = ("matmul", "attention", "elementwise", "head", "recompute", "tensor_parallel", "context_parallel", "host")
    parts_s = sum(float(getattr(times, name).max()) for name in names)
    added_s = float(times.optimizer.max()) - work.optimizer_s  # gradients added up, on every stage alike
    fixed_s = float(s.case().pass_fixed_s[0]) * shape.chunks * shape.micro_batches
    per_stage_s = shape.micro_batches * passes / shape.stages
    assert per_stage_s == pytest.approx(parts_s + added_s + fixed_s, rel=1e-6)


@pytest.mark.parametrize("sharding", ["none", "zero1", "zero2"])
@given(data=st.data())
@few
def test_one_stage_takes_what_the_closed_form_says(sharding: Sharding, data: st.DataObject) -> None:
    """Without a pipeline only the exchange of gradients is left to overlap, which many micro-batches outweigh; ZeRO-2
    exchanges them with each, and behind adding them up too. On a link that is shared it may take longer."""
    drawn = data.draw(situations())
    layout = replace(drawn.layout, pp=1, vp=1, sharding=sharding)
    s = replace(drawn, layout=layout, global_batch=8 * drawn.global_batch)
    work, whole_s, found_s = step_work(s.case()), total_s(s.case()), timeline_of(s).total_s
    added_s = float(step_times(s.case()).optimizer.max()) - work.optimizer_s if sharding == "zero2" else 0.0
    assert found_s >= 0.98 * whole_s - added_s
    assert work.shared_links or found_s <= 1.02 * whole_s


@pytest.mark.parametrize("situation", [PIPELINED, FSDP], ids=["pipeline", "fsdp"])
def test_a_whole_step_as_in_closed_form(situation: Situation) -> None:
    """What the event simulation adds, sends and gradients on one link, is small on a usual layout."""
    assert timeline_of(situation).total_s == pytest.approx(total_s(situation.case()), rel=0.02)


@few
@given(situations(pipelined=True), st.floats(0.0, 0.1))
def test_each_stage_accounts_for_the_whole_step(s: Situation, jitter: float) -> None:
    timeline = timeline_of(s, Noise(jitter=jitter))
    for stage in stage_summaries(timeline):
        parts = stage.compute_s + stage.collective_s + stage.host_s + stage.waiting_s
        assert parts == pytest.approx(timeline.total_s, rel=1e-6)
        assert min(asdict(stage).values()) >= 0


def test_the_events_are_the_whole_step() -> None:
    timeline = timeline_of(PIPELINED)
    assert all(event.end_s >= event.start_s for event in timeline.events)
    assert max(event.end_s for event in timeline.events) == timeline.total_s
    assert sum(event.name == "forward" for event in timeline.events) == 16 * 4 * 5  # micro-batches, stages, chunks


def test_the_trace_is_what_perfetto_reads() -> None:
    """Trace Event Format: complete events with microseconds, named processes and threads."""
    timeline = timeline_of(PIPELINED)
    trace = json.loads(chrome_trace(timeline, name="a step"))
    events = trace["traceEvents"]
    names = {e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert names == {f"stage {stage}" for stage in range(4)}
    threads = [e for e in events if e["name"] == "thread_name"]
    assert [e["args"]["name"] for e in threads] == [
        "fixed time, slowest GPU" if s == "host" else s for s in STREAMS
    ] * 4
    complete = [e for e in events if e["ph"] == "X"]
    assert len(complete) == len(timeline.events)
    assert all(e["dur"] >= 0 and e["ts"] >= 0 for e in complete)
    end_us = max(e["ts"] + e["dur"] for e in complete)
    assert end_us == pytest.approx(timeline.total_s * 1e6, abs=0.002)
    assert {e["ph"] for e in events} == {"M", "X"}
    assert trace["otherData"]["schedule"] == "1f1b"


def test_a_threads_events_do_not_overlap() -> None:
    """Perfetto draws overlapping events of a thread on top of each other."""
    for situation in (PIPELINED, FSDP):
        events = sorted(timeline_of(situation).events, key=lambda event: (event.stage, event.stream, event.start_s))
        for one, following in pairwise(events):
            same = (one.stage, one.stream) == (following.stage, following.stream)
            assert not same or following.start_s >= one.end_s - 1e-9
    assert set(HOLDING) < set(STREAMS)


def test_same_step_same_bytes() -> None:
    noise = Noise(jitter=0.05, seed=3)
    assert chrome_trace(timeline_of(PIPELINED, noise)) == chrome_trace(timeline_of(PIPELINED, noise))
    assert chrome_trace(timeline_of(PIPELINED, noise)) != chrome_trace(timeline_of(PIPELINED))
