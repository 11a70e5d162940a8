"""One step event by event: every operation once, in order, one at a time; stragglers, jitter, sharding."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.files import InputError
from sim.schedule.events import Timeline, TimelineEvent, simulate_step
from sim.schedule.noise import Noise
from sim.schedule.order import SCHEDULES, Operation, PipelineSchedule, PipelineShape, rounds
from sim.schedule.work import ChunkWork, OperationWork, StepWork
from tests.sim.pipelines import Situation, situations

some = settings(max_examples=25, deadline=None)
KINDS = {"forward": "F", "backward": "B", "weight gradient": "W"}


def passes(timeline: Timeline) -> dict[tuple[str, int, int], TimelineEvent]:
    """The computation of each kind, micro-batch and place in the model."""
    place = timeline.work.shape.place
    found = {}
    for e in timeline.events:
        if e.stream == "compute" and e.micro_batch >= 0:
            key = (KINDS[e.name], e.micro_batch, place(e.stage, e.chunk))
            assert key not in found, "computed twice"
            found[key] = e
    return found


def computed_s(timeline: Timeline, stage: int) -> float:
    return sum(e.end_s - e.start_s for e in timeline.events if e.stage == stage and e.stream == "compute")


@some
@given(situations())
def test_every_micro_batch_passes_every_chunk_once(s: Situation) -> None:
    kinds = "FBW" if s.shape.split else "FB"
    expected = {(k, i, place) for k in kinds for i in range(s.micro_batches) for place in range(s.shape.depth)}
    assert set(passes(s.timeline())) == expected


@some
@given(situations())
def test_nothing_begins_before_what_it_needs(s: Situation) -> None:
    done = passes(s.timeline())
    for (kind, i, place), event in done.items():
        needs = {
            "F": ("F", i, place - 1),
            "B": ("B", i, place + 1) if place + 1 < s.shape.depth else ("F", i, place),
            "W": ("B", i, place),
        }[kind]
        if needs in done:
            other = done[needs]
            sent_s = s.p2p_s if other.stage != event.stage else 0.0
            assert event.start_s >= other.end_s + sent_s - 1e-9


@some
@given(situations(), st.floats(0.0, 0.1))
def test_one_thing_at_a_time_on_each_stream(s: Situation, jitter: float) -> None:
    timeline = s.timeline(Noise(jitter=jitter))
    streams: dict[tuple[int, str], list[TimelineEvent]] = defaultdict(list)
    for e in timeline.events:
        streams[e.stage, e.stream].append(e)
    for events in streams.values():
        for before, after in pairwise(events):
            assert after.start_s >= before.end_s - 1e-9


@some
@given(situations())
def test_busy_and_idle_make_up_the_step(s: Situation) -> None:
    timeline = s.timeline()
    for stage in range(s.pp):
        share = [c for place, c in enumerate(s.work().chunks) if s.shape.holder(place)[0] == stage]
        work_s = s.micro_batches * sum(
            op.compute_s for c in share for op in (c.forward, c.backward, c.weight)
        ) + s.micro_batches * s.work().deferred_s * (stage == s.shape.holder(s.shape.depth - 1)[0])
        assert computed_s(timeline, stage) == pytest.approx(work_s)
        assert timeline.end_s[stage] - timeline.begin_s[stage] >= work_s - 1e-9


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("pp", "micro_batches"), [(2, 3), (4, 8), (8, 24)])
def test_bubble_of_equal_stages(schedule: PipelineSchedule, pp: int, micro_batches: int) -> None:
    """arXiv:1811.06965 section 2.3, arXiv:2104.04473 section 2.2: a share (p-1)/(m+p-1) of each stage's time."""
    timeline = Situation(schedule=schedule, pp=pp, micro_batches=micro_batches, layers=pp).timeline()
    idle = 1 - computed_s(timeline, 0) / timeline.total_s
    assert idle == pytest.approx((pp - 1) / (micro_batches + pp - 1))


@pytest.mark.parametrize(("vp", "idle_s"), [(1, 21.0), (2, 10.5), (4, 5.25)])
def test_interleaving_divides_the_bubble(vp: int, idle_s: float) -> None:
    """arXiv:2104.04473 section 2.2.2: (p-1)/v of 3 s on 8 stages."""
    s = Situation(schedule="1f1b", pp=8, vp=vp, micro_batches=16, layers=32, block=(0.25, 0.25, 0.25))
    timeline = s.timeline()
    assert timeline.total_s - computed_s(timeline, 0) == pytest.approx(idle_s)


@pytest.mark.parametrize(
    ("schedule", "vp", "idle_s"), [("1f1b", 1, 21), ("zb-h1", 1, 7), ("zb-h2", 1, 0), ("zb-v", 2, 0)]
)
def test_zero_bubbles(schedule: PipelineSchedule, vp: int, idle_s: float) -> None:
    """arXiv:2401.10241 table 1 and arXiv:2405.15362, F=B=W: a third of 1F1B's bubble, none, none."""
    timeline = Situation(schedule=schedule, pp=8, vp=vp, micro_batches=16, layers=8 * vp).timeline()
    assert timeline.total_s - computed_s(timeline, 0) == pytest.approx(idle_s, abs=1e-9)


@pytest.mark.parametrize("schedule", ["zb-v", "zb-h1", "1f1b"])
@pytest.mark.parametrize(("pp", "micro_batches"), [(2, 4), (4, 12), (5, 15), (8, 24)])
def test_order_as_in_pytorch(schedule: PipelineSchedule, pp: int, micro_batches: int) -> None:
    """torch.distributed.pipelining, which this order of operations is meant to be."""
    schedules = pytest.importorskip("torch.distributed.pipelining.schedules")
    vp = {"zb-v": 2, "zb-h1": 1, "1f1b": 3}[schedule]
    name = {"zb-v": "ZBVZeroBubble", "zb-h1": "InterleavedZeroBubble", "1f1b": "Interleaved1F1B"}[schedule]
    theirs = getattr(schedules, f"Schedule{name}")
    stub = object.__new__(theirs)
    stub.pp_group_size, stub._n_microbatches, stub._num_stages = pp, micro_batches, pp * vp
    stub.n_local_stages, stub.number_of_rounds = vp, max(micro_batches // pp, 1)
    stub.microbatches_per_round = micro_batches // stub.number_of_rounds
    stub.num_stages = pp * vp
    shape = PipelineShape(schedule=schedule, stages=pp, chunks=vp, micro_batches=micro_batches)
    kinds = {"FORWARD": "F", "BACKWARD_WEIGHT": "W", "BACKWARD_INPUT": "B", "FULL_BACKWARD": "B"}
    for stage in range(pp):
        actions = [a for a in stub._calculate_single_rank_operations(stage) if a is not None]
        expected = [(kinds[a.computation_type.name], a.microbatch_index, a.stage_index) for a in actions]
        assert [(o.kind, o.micro_batch, shape.place(stage, o.chunk)) for o in shape.order(stage)] == expected


def test_megatrons_interleaved_order() -> None:
    """arXiv:2104.04473 figure 4, first device of four with two chunks: four micro-batches of one chunk, then four of
    the other, and the first backward after ten forwards and one."""
    order = PipelineShape(schedule="1f1b", stages=4, chunks=2, micro_batches=8).order(0)
    ahead = [Operation("F", i, c) for i, c in ([*((i, 0) for i in range(4)), *((i, 1) for i in range(4))])]
    assert list(order[:8]) == ahead
    assert [o.kind for o in order].index("B") == 11


@given(st.integers(1, 40), st.integers(1, 300))
def test_rounds_hold_every_micro_batch_and_fill_the_pipeline(stages: int, micro_batches: int) -> None:
    groups = rounds(stages, micro_batches)
    assert sum(groups) == micro_batches
    assert min(groups) >= min(stages, micro_batches)
    assert max(groups) - min(groups) <= 1


@some
@given(situations(), st.integers(0, 11), st.floats(1.05, 2.0))
def test_a_straggler_costs_at_least_what_it_loses(s: Situation, stage: int, factor: float) -> None:
    stage %= s.pp
    plain, slow = s.timeline(), s.timeline(Noise(stragglers={stage: factor}))
    assert slow.total_s >= plain.total_s * (1 - 1e-9) or plain.work.post_validated
    assert slow.total_s >= computed_s(slow, stage) - 1e-9
    assert (
        computed_s(slow, stage) - s.micro_batches * s.work().deferred_s
        >= factor * (computed_s(plain, stage) - s.micro_batches * s.work().deferred_s) - 1e-6 * plain.total_s
    )


@some
@given(situations(), st.floats(0.001, 0.2), st.integers(0, 2**31))
def test_jitter_only_delays(s: Situation, jitter: float, seed: int) -> None:
    plain, jittered = s.timeline(), s.timeline(Noise(jitter=jitter, seed=seed))
    slowest_s = max(computed_s(plain, stage) for stage in range(s.pp))
    assert jittered.total_s >= slowest_s
    assert max(jittered.end_s) >= max(plain.end_s) * (1 - 1e-12)
    again = s.timeline(Noise(jitter=jitter, seed=seed))
    assert again == jittered


def test_jitter_is_what_it_says() -> None:
    """The mean of exp(σ|z|) is 2·exp(σ²/2)·Φ(σ); the first factors are pinned, so that they are the same anywhere."""
    factors = Noise(jitter=0.1, seed=7).slowdowns(3)
    drawn = np.array([next(factors) for _ in range(20_000)])
    assert drawn.mean() == pytest.approx(2 * np.exp(0.005) * 0.539828, rel=0.003)
    assert drawn.min() >= 1.0
    factors = Noise(jitter=0.1, seed=7).slowdowns(3)
    assert [next(factors) for _ in range(3)] == PINNED


PINNED = [1.106914299468, 1.09547358763, 1.012454967337]


def one_stage(**changes: object) -> StepWork:
    """Two chunk passes of three seconds on one stage, with what `changes` adds."""
    shape = PipelineShape(schedule="1f1b", stages=1, chunks=1, micro_batches=2)
    pass_ = OperationWork(compute_s=1.0)
    work = StepWork(shape=shape, chunks=(ChunkWork(forward=pass_, backward=pass_, weight=pass_),))
    return replace(work, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("reduce_s", "total_s"), [(0.5, 6.0), (2.0, 6.0), (3.0, 7.0), (10.0, 14.0)])
def test_reduction_hides_behind_the_last_backward(reduce_s: float, total_s: float) -> None:
    assert simulate_step(one_stage(reduce_s=reduce_s)).total_s == pytest.approx(total_s)


@pytest.mark.parametrize(("gather_s", "total_s"), [(0.5, 6.0), (3.0, 8.0)])
def test_weights_are_gathered_during_the_first_forward(gather_s: float, total_s: float) -> None:
    assert simulate_step(one_stage(gather_s=gather_s)).total_s == pytest.approx(total_s)


def test_what_does_not_overlap_adds_up() -> None:
    work = one_stage(reduce_s=0.5, gather_s=0.25, overlaps=False, optimizer_s=0.125, fixed_s=1.0)
    assert simulate_step(work).total_s == pytest.approx(6 + 0.5 + 0.25 + 0.125 + 1)


@pytest.mark.parametrize(("shard_s", "exposed", "total_s"), [(0.5, 0.0, 6.0), (0.5, 0.2, 6.2), (3.0, 0.0, 10.0)])
def test_fsdp_gathers_run_beside_each_pass(shard_s: float, exposed: float, total_s: float) -> None:
    """max(work, communication) and the exposed share of what overlaps, pass by pass; here only forward gathers."""
    work = one_stage(shard_exposed=exposed)
    forward = replace(work.chunks[0].forward, shard_s=shard_s, shard_behind_s=1.0)
    work = replace(work, chunks=(replace(work.chunks[0], forward=forward),))
    assert simulate_step(work).total_s == pytest.approx(total_s)


def test_collectives_hold_up_the_pass() -> None:
    work = one_stage()
    pass_ = OperationWork(compute_s=1.0, tensor_s=0.25, tensor_hidden_s=0.75)
    work = replace(work, chunks=(replace(work.chunks[0], forward=pass_, backward=pass_),))
    assert simulate_step(work).total_s == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("context_s", "behind_s", "exposed", "total_s"),
    [(0.5, 0.75, 0.0, 6.0), (0.5, 0.75, 0.2, 6.2), (1.0, 0.75, 0.0, 6.5), (1.0, 0.75, 0.2, 6.8)],
)
def test_keys_and_values_travel_beside_attention(
    context_s: float, behind_s: float, exposed: float, total_s: float
) -> None:
    """max(attention, ring) and the exposed share of what overlaps; here only in the two forwards."""
    work = one_stage(context_exposed=exposed)
    forward = OperationWork(compute_s=1.0, context_s=context_s, context_behind_s=behind_s)
    work = replace(work, chunks=(replace(work.chunks[0], forward=forward),))
    assert simulate_step(work).total_s == pytest.approx(total_s)


@pytest.mark.parametrize(("reduce_s", "total_s"), [(0.5, 6.0), (2.5, 7.0)])
def test_a_reduction_with_every_micro_batch_is_waited_for(reduce_s: float, total_s: float) -> None:
    """DeepSpeed's epilogue: the next forward begins when the gradients are reduced."""
    assert simulate_step(one_stage(reduce_s=reduce_s, by_round=True)).total_s == pytest.approx(total_s)


def test_stages_wait_for_each_other_before_the_optimizer_unless_post_validated() -> None:
    for schedule in SCHEDULES:
        vp = 2 if schedule == "zb-v" else 1
        s = Situation(schedule=schedule, pp=4, vp=vp, micro_batches=8, layers=16)
        timeline = simulate_step(replace(s.work(), optimizer_s=1.0))
        starts = {e.start_s for e in timeline.events if e.name == "optimizer"}
        assert (len(starts) == 1) == (schedule not in ("zb-h2", "zb-v"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: PipelineShape(schedule="zb-h1", stages=4, chunks=2, micro_batches=8),
            "zb-h1' holds 1 chunk per stage, not 2",
        ),
        (
            lambda: PipelineShape(schedule="zb-v", stages=4, chunks=1, micro_batches=8),
            "zb-v' holds 2 chunks per stage, not 1",
        ),
        (lambda: PipelineShape(schedule="1f1b", stages=0, chunks=1, micro_batches=8), "at least one of each"),
        (lambda: Noise(jitter=-0.1), "jitter is -0.1"),
        (lambda: Noise(seed=-1), "seed is -1"),
        (lambda: Noise(stragglers={0: 0.9}), "no slowdown"),
        (lambda: simulate_step(one_stage(), Noise(stragglers={1: 1.1})), "stages 0 to 0"),
    ],
)
def test_bad_input_is_one_sentence(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
