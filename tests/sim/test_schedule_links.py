"""Communication on links: sharing, conservation, what contention costs, and the closed form without it."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import simpy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.layout import ParallelLayout
from sim.schedule.events import TimelineEvent, simulate_step
from sim.schedule.link import LINKS, Link
from sim.schedule.order import PipelineSchedule
from sim.schedule.trace import stage_summaries
from sim.schedule.work import ChunkWork, Links, OperationWork, StepWork, step_work
from tests.sim.pipelines import Situation as Pipeline
from tests.sim.pipelines import situations as pipelines
from tests.sim.steps import Situation, situations, total_s

few = settings(max_examples=40, deadline=None)
many = settings(max_examples=60, deadline=None)
seconds = st.floats(0.01, 5.0)
transfers = st.lists(st.tuples(st.floats(0.0, 10.0), seconds), min_size=1, max_size=8)


def ends(starts: list[tuple[float, float]]) -> list[float]:
    """When transfers, each a begin and its seconds alone, end on one link."""
    env = simpy.Environment()
    link = Link(env)
    found = [0.0] * len(starts)

    def one(index: int) -> simpy.events.ProcessGenerator:
        yield env.timeout(starts[index][0])
        yield link.transfer(starts[index][1])
        found[index] = env.now

    for index in range(len(starts)):
        env.process(one(index))
    env.run()
    return found


def fluid_ends(starts: list[tuple[float, float]]) -> list[float]:
    """The same by moving all that is under way together from one change to the next."""
    left, now = {}, 0.0
    waiting, found = sorted((begin, i) for i, (begin, _) in enumerate(starts)), [0.0] * len(starts)
    while left or waiting:
        until_end = min(left.values()) * len(left) if left else np.inf
        until_begin = waiting[0][0] - now if waiting else np.inf
        passed = min(until_end, until_begin)
        left = {i: x - passed / len(left) for i, x in left.items()}
        now += passed
        for i in [i for i, x in left.items() if x <= 1e-12]:
            found[i] = now
            del left[i]
        if until_begin <= until_end:
            left[waiting[0][1]] = starts[waiting[0][1]][1]
            waiting.pop(0)
    return found


def busy_s(events: list[TimelineEvent]) -> float:
    """Seconds in which at least one of them goes on."""
    total, until = 0.0, 0.0
    for e in sorted(events, key=lambda e: e.start_s):
        total += max(e.end_s - max(e.start_s, until), 0.0)
        until = max(until, e.end_s)
    return total


def test_two_transfers_halve_the_rate_and_one_has_it_alone() -> None:
    assert ends([(1.0, 2.0)]) == [3.0]
    assert ends([(0.0, 2.0), (0.0, 2.0)]) == [4.0, 4.0]
    assert ends([(0.0, 2.0), (1.0, 1.0)]) == [3.0, 3.0]
    assert ends([(0.0, 2.0), (1.0, 0.25)]) == [2.25, 1.5]


@given(transfers)
def test_sharing_is_fair_and_loses_nothing(starts: list[tuple[float, float]]) -> None:
    assert ends(starts) == pytest.approx(fluid_ends(starts), rel=1e-9)


@st.composite
def works(draw: st.DrawFn) -> StepWork:
    """Pipelines with communication of every kind over any links."""
    s = draw(pipelines())
    share = st.floats(0.0, 0.6)
    tensor, hidden, context, behind, shard, reach = (draw(share) for _ in range(6))

    def busy(op: OperationWork) -> OperationWork:
        of = op.compute_s
        return OperationWork(
            compute_s=of,
            tensor_s=tensor * of,
            tensor_hidden_s=hidden * of,
            context_s=context * of,
            context_behind_s=behind * of,
            shard_s=shard * of,
            shard_behind_s=reach * of,
        )

    work = s.work()
    chunks = tuple(
        ChunkWork(forward=busy(c.forward), backward=busy(c.backward), weight=c.weight) for c in work.chunks
    )
    link = st.sampled_from(LINKS)
    return replace(
        work,
        chunks=chunks,
        links=Links(tensor=draw(link), context=draw(link), shard=draw(link), sync=draw(link), send=draw(link)),
        context_exposed=draw(share),
        shard_exposed=draw(share),
        once_exposed=draw(share),
        reduce_s=draw(st.floats(0.0, 20.0)),
        gather_s=draw(st.floats(0.0, 10.0)),
        by_round=draw(st.booleans()),
        overlaps=draw(st.booleans()),
    )


@many
@given(works())
def test_contention_is_never_faster(work: StepWork) -> None:
    alone, together = simulate_step(work, shared_links=False), simulate_step(work)
    assert max(together.end_s) >= max(alone.end_s) * (1 - 1e-9)
    if not work.shared_links:
        assert together == alone


@many
@given(works())
def test_links_and_streams_conserve_what_they_move(work: StepWork) -> None:
    """A link is busy for exactly what its transfers take alone; a stream does one thing at a time; all of every
    operation's communication is moved, once."""
    timeline = simulate_step(work)
    by_link: dict[tuple[int, str], list[TimelineEvent]] = defaultdict(list)
    by_stream: dict[tuple[int, str], list[TimelineEvent]] = defaultdict(list)
    for e in timeline.events:
        by_stream[e.stage, e.stream].append(e)
        if e.link:
            assert e.end_s - e.start_s >= e.alone_s - 1e-9
            by_link[e.stage, e.link].append(e)
    for events in by_link.values():
        assert busy_s(events) == pytest.approx(sum(e.alone_s for e in events), abs=1e-6)
    for events in by_stream.values():
        assert all(after.start_s >= before.end_s - 1e-9 for before, after in pairwise(events))
    moved = {
        name: sum(e.alone_s for e in timeline.events if e.stream == name) for name in ("tensor", "context", "shard")
    }
    passes = [op for c in work.chunks for op in (c.forward, c.backward)]
    micro_batches = work.shape.micro_batches
    assert moved["tensor"] == pytest.approx(micro_batches * sum(op.tensor_s + op.tensor_hidden_s for op in passes))
    assert moved["context"] == pytest.approx(micro_batches * sum(op.context_s for op in passes))
    once = sum(c.last.shard_s - c.backward.shard_s for c in work.chunks)
    assert moved["shard"] == pytest.approx(micro_batches * sum(op.shard_s for op in passes) + once)
    synced = sum(e.alone_s for e in timeline.events if e.stream == "sync") / work.shape.stages
    assert synced == pytest.approx(len(work.reduced_after) * work.reduce_s + work.gather_s)


def test_a_send_beside_a_reduction_takes_twice_as_long() -> None:
    s = Pipeline(schedule="1f1b", pp=2, micro_batches=4, layers=8, p2p_s=0.1)
    beside = simulate_step(replace(s.work(), reduce_s=80.0))
    last = [e for e in beside.events if e.stage == 1 and e.name == "send gradients"][-1]
    assert last.end_s - last.start_s == pytest.approx(2 * s.p2p_s)
    apart = simulate_step(replace(s.work(), reduce_s=80.0, links=Links(send="nvlink")))
    assert apart.total_s < beside.total_s


def test_tensor_parallel_collectives_stay_off_the_network() -> None:
    """NVLink inside a node, the NIC across: tensor parallelism of a node and of two; sends between neighbours too."""
    inside = step_work(Situation(layout=ParallelLayout(tp=8, cp=2, dp=2)).case()).links
    assert (inside.tensor, inside.context, inside.sync) == ("nvlink", "nic", "nic")
    across = step_work(Situation(layout=ParallelLayout(tp=16, dp=2)).case()).links
    assert across.tensor == "nic"
    stages = step_work(Situation(layout=ParallelLayout(tp=2, pp=4), model="llama3.1-70b").case()).links
    assert stages.send == "nvlink"
    copies = Situation(layout=ParallelLayout(dp=64, sharding="hsdp", shard_degree=8), stack="torchtitan")
    assert (step_work(copies.case()).links.shard, step_work(copies.case()).links.sync) == ("nvlink", "nic")


def both_ways_s(s: Situation) -> tuple[float, float]:
    """A step event by event without contention, but as long as network cards have something to move, and in closed
    form."""
    case = s.case()
    work = step_work(case)
    timeline = simulate_step(work, shared_links=False)
    moving_s = np.mean([stage.nic_s for stage in stage_summaries(timeline)])
    least_s = (moving_s + work.optimizer_s + work.fixed_s) * (1 + work.slowdown)
    return max(timeline.total_s, least_s), total_s(case)


@pytest.mark.parametrize("sharding", ["none", "zero1", "zero2", "fsdp"])
@given(data=st.data())
@few
def test_one_stage_within_one_percent_of_the_closed_form(sharding: str, data: st.DataObject) -> None:
    """Collectives, rings, recompute and the reductions of each stack, without contention."""
    drawn = data.draw(situations())
    layout = replace(drawn.layout, pp=1, vp=1, sharding=sharding)  # type: ignore[arg-type]
    s = replace(drawn, layout=layout, global_batch=8 * drawn.global_batch)
    events_s, closed_s = both_ways_s(s)
    assert events_s == pytest.approx(closed_s, rel=0.01)


@pytest.mark.parametrize("sharding", ["zero1", "fsdp", "hsdp"])
@given(data=st.data())
@few
def test_what_shares_a_network_card_is_never_quicker_than_the_closed_form(sharding: str, data: st.DataObject) -> None:
    drawn = data.draw(situations())
    layout = replace(
        drawn.layout, pp=1, vp=1, dp=4, sharding=sharding, shard_degree=2 if sharding == "hsdp" else None
    )
    s = replace(drawn, layout=layout, global_batch=4 * drawn.layout.micro_batch * 3)
    assert simulate_step(step_work(s.case())).total_s >= total_s(s.case()) * (1 - 0.01)


@few
@given(situations(pipelined=True))
def test_a_pipeline_within_one_percent_of_the_closed_form(s: Situation) -> None:
    """The same through a pipeline that is kept busy, sends within an eighth of a pass (tests/sim/pipelines) and
    gradients reduced within a sixteenth of the step: the closed form takes all that is reduced to slow the passes
    beside it, of which a stage that waits has none."""
    drawn = step_work(s.case()).shape
    busy = replace(s, global_batch=s.global_batch * -(-2 * drawn.stages // drawn.micro_batches))
    s, work = busy, step_work(busy.case())
    assume(work.p2p_s <= min(c.forward.compute_s for c in work.chunks) / 8)
    events_s, closed_s = both_ways_s(s)
    assume(work.reduce_s <= closed_s / 16)
    assert events_s == pytest.approx(closed_s, rel=0.01)


APART = ParallelLayout(tp=4, pp=8, dp=8)


@pytest.mark.parametrize(
    "layout",
    [
        replace(APART, schedule="zb-h1", sharding="none"),
        replace(APART, schedule="zb-h1", sharding="zero1"),
        replace(APART, schedule="zb-h2", sharding="none"),
        replace(APART, schedule="zb-h2", sharding="zero1"),
        replace(APART, schedule="zb-v", vp=2, sharding="none"),
        ParallelLayout(tp=2, cp=4, pp=4, vp=2, dp=8, schedule="zb-v", sharding="hsdp", shard_degree=2),
    ],
    ids=lambda layout: layout.label,
)
def test_gradients_computed_apart_hide_no_more_than_they_take(layout: ParallelLayout) -> None:
    """Zero-bubble schedules: gathers hide behind the input's gradient alone, reductions behind the weights' last.
    Behind the whole backward pass each of these would be one to seven percent too fast."""
    s = Situation(
        layout=layout, model="llama3.1-70b", stack="torchtitan", seq_len=2048, global_batch=8 * 2 * layout.pp
    )
    events_s, closed_s = both_ways_s(s)
    assert events_s == pytest.approx(closed_s, rel=0.01)


@pytest.mark.parametrize("schedule", ["zb-h1", "zb-h2", "zb-v"])
def test_a_head_gradient_that_is_put_off_fills_a_zero_bubble_schedule_in_both(schedule: PipelineSchedule) -> None:
    """Llama 3 8B on 30 A100: a stack that defers the head's weight gradient to the end of a step has a place for it
    earlier where the schedule sets weight gradients apart. Worked off at the end it would take 6 % longer."""
    layout = ParallelLayout(
        tp=2, pp=5, vp=2 if schedule == "zb-v" else 1, dp=3, micro_batch=4, schedule=schedule, sharding="zero1"
    )
    s = Situation(layout=layout, stack="megatron-core", gpu="a100-80gb", seq_len=2048, global_batch=480)
    assert s.case().defers_head_gradient[0]
    events_s, closed_s = both_ways_s(s)
    assert events_s == pytest.approx(closed_s, rel=0.01)
