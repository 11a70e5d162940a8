"""The closed form of pipelines: the literature's bubbles, conservation, and the event simulation."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.pipeline.times import Chunk, PipelineCase, certain_s, chunk_layers, pipeline_times
from sim.schedule.order import PipelineSchedule
from tests.sim.pipelines import Situation, situations

some = settings(max_examples=40, deadline=None)
SHAPES = [(2, 1), (2, 5), (4, 8), (8, 64), (16, 16), (5, 17)]


def mean_work_s(s: Situation) -> float:
    """What the mean stage computes."""
    return s.micro_batches * (sum(s.block) * s.layers + sum(s.embedding) + sum(s.head) + s.deferred_s) / s.pp


def bubble_s(equal_stages: Situation) -> float:
    """What stages that are equal and send in no time wait."""
    return equal_stages.closed_form_s() - mean_work_s(equal_stages)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b", "zb-h1", "zb-h2", "zb-v"])
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_within_one_percent_of_the_event_simulation(schedule: PipelineSchedule, data: st.DataObject) -> None:
    """Uneven stages, several chunks, a deferred head gradient, sends held up for or hidden."""
    situation = data.draw(situations(schedule))
    assert situation.closed_form_s() == pytest.approx(situation.event_s(), rel=0.01)


@pytest.mark.parametrize(
    "situation",
    [
        Situation(
            schedule="1f1b", pp=16, vp=8, micro_batches=16, layers=126, block=(1, 1.3, 1), head=(0.66, 0.66, 0.66)
        ),
        Situation(
            schedule="1f1b", pp=9, vp=7, micro_batches=63, layers=126, block=(1, 1.3, 1), head=(0.66, 0.66, 0.66)
        ),
        Situation(schedule="1f1b", pp=12, micro_batches=128, layers=106, block=(1, 1.3, 1), head=(0.4, 0.4, 0.4)),
        Situation(schedule="1f1b", pp=8, vp=3, micro_batches=24, layers=22, block=(1, 1.1, 1), head=(1.1, 1.1, 1.1)),
        Situation(schedule="1f1b", pp=35, vp=3, micro_batches=240, layers=105, block=(1, 2, 1), head=(0.2, 0.2, 0.2)),
        Situation(schedule="zb-h2", pp=16, micro_batches=48, layers=46, block=(1, 1.1, 1), head=(0.9, 0.9, 0.9)),
    ],
    ids=["Llama 3.1 405B", "its recipe", "106 on 12", "one place a chunk", "530B", "zero bubble"],
)
def test_published_layouts_as_in_the_event_simulation(situation: Situation) -> None:
    assert situation.closed_form_s() == pytest.approx(situation.event_s(), rel=0.005)


@st.composite
def two_stages(
    draw: st.DrawFn, micro_batches: st.SearchStrategy[int], backward: st.SearchStrategy[float]
) -> Situation:
    """Interleaved, with a layer's place for the embedding and for the head."""
    vp, per = draw(st.integers(2, 4)), draw(st.integers(2, 12))
    head = draw(st.floats(0.1, 3.0))
    return Situation(
        schedule="1f1b",
        pp=2,
        vp=vp,
        micro_batches=draw(micro_batches),
        layers=2 * vp * per - 2,
        block=(1, draw(backward), 1),
        head=(head, head, head),
    )


@some
@given(two_stages(st.integers(1, 3) | st.integers(4, 40), st.floats(0.8, 2.2)))
def test_two_stages_with_short_ends_take_what_their_events_take(s: Situation) -> None:
    """Odd rounds too. Nothing is sent: what is worked through is the very graph of the events."""
    assert s.closed_form_s() == pytest.approx(s.event_s(), rel=1e-9)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("pp", "micro_batches"), SHAPES)
def test_bubble_of_equal_stages(schedule: PipelineSchedule, pp: int, micro_batches: int) -> None:
    """arXiv:1811.06965 section 2.3, arXiv:2104.04473 section 2.2: a share (p-1)/(m+p-1) of the time."""
    s = Situation(schedule=schedule, pp=pp, micro_batches=micro_batches, layers=pp, block=(1, 1.4, 0.9))
    assert bubble_s(s) / s.closed_form_s() == pytest.approx((pp - 1) / (micro_batches + pp - 1), rel=1e-12)


@pytest.mark.parametrize("vp", [2, 3, 8])
@pytest.mark.parametrize(("pp", "rounds"), [(2, 1), (4, 3), (8, 8), (16, 1)])
def test_interleaving_divides_the_bubble(pp: int, vp: int, rounds: int) -> None:
    """arXiv:2104.04473 section 2.2.2: (p-1)/v of a micro-batch's forward and backward."""
    s = Situation(schedule="1f1b", pp=pp, micro_batches=rounds * pp, layers=pp * vp, block=(1, 1.4, 0.9))
    whole = bubble_s(s)
    assert whole == pytest.approx((pp - 1) * vp * 3.3, rel=1e-12)
    assert bubble_s(replace(s, vp=vp)) == pytest.approx(whole / vp, rel=1e-12)


@pytest.mark.parametrize("pp", [2, 4, 8, 16])
@pytest.mark.parametrize("times", [(1, 1, 1), (1, 1.4, 0.9), (1, 1.2, 0.6)])
def test_bubbles_of_zero_bubble_schedules(pp: int, times: tuple[float, float, float]) -> None:
    """arXiv:2401.10241 table 1: (p-1)(F+B-W) for H1, (p-1)(F+B-2W) for H2; a third of 1F1B's and none where F=B=W."""
    forward, backward, weight = times
    s = Situation(schedule="zb-h1", pp=pp, micro_batches=4 * pp, layers=pp, block=times)
    assert bubble_s(s) == pytest.approx((pp - 1) * (forward + backward - weight), rel=1e-12)
    h2 = (pp - 1) * (forward + backward - 2 * weight)
    assert bubble_s(replace(s, schedule="zb-h2")) == pytest.approx(h2, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("pp", [2, 4, 8, 16])
def test_zb_v_has_no_bubble_where_the_passes_are_equal(pp: int) -> None:
    """arXiv:2405.15362: none for F=B=W, with the memory of 1F1B."""
    s = Situation(schedule="zb-v", pp=pp, vp=2, micro_batches=4 * pp, layers=2 * pp)
    assert bubble_s(s) == pytest.approx(0.0, abs=1e-9)


@some
@given(situations())
def test_no_pipeline_is_quicker_than_its_slowest_stage_nor_that_than_the_mean(s: Situation) -> None:
    times, least_s = s.closed_form(), float(certain_s(replace(s, p2p_s=0.0).case())[0])
    total_s, sends_s = float(times.total_s[0]), float(times.p2p_s[0])
    rounding_s = 1e-9 * total_s
    assert sends_s >= 0
    assert mean_work_s(s) <= least_s + rounding_s
    assert least_s <= total_s - sends_s + rounding_s


@some
@given(situations(), st.sampled_from(["block", "head", "p2p_s", "micro_batches"]))
def test_more_to_do_never_takes_less_time(s: Situation, what: str) -> None:
    value = getattr(s, what)
    more = tuple(1.3 * x for x in value) if isinstance(value, tuple) else value * 2
    # a later begin shortens what zb-h2 and zb-v count; nothing else gains by slower sends
    slack = 1 - 1e-9 if what != "p2p_s" or s.schedule not in ("zb-h2", "zb-v") else 0.99
    assert replace(s, **{what: more}).closed_form_s() >= slack * s.closed_form_s()


def test_sends_are_paid_for_by_1f1b_even_if_they_hold_nothing_up() -> None:
    """Little's law: n micro-batches in flight, each a round trip of n(F+B) + 2(n-1)p, so that many pass at
    (F+B) + 2p(n-1)/n each; interleaving leaves room for the sends (Megatron-Core overlaps them only there)."""
    s = Situation(schedule="1f1b", pp=8, micro_batches=800, layers=32, block=(1, 1.4, 0.6), p2p_s=0.2)
    per_micro_batch = s.closed_form_s() / s.micro_batches
    assert per_micro_batch == pytest.approx(4 * 3.0 + 2 * 0.2 * 7 / 8, rel=0.01)
    interleaved = replace(s, vp=2).closed_form()
    assert float(interleaved.p2p_s[0]) < 0.01 * float(interleaved.total_s[0])


def test_llama3_405b_chunks() -> None:
    """arXiv:2407.21783 section 3.3.2: 126 layers on 16 stages of 8, one less on the first and the last."""
    first, middle, last = chunk_layers(np.array([126.0]), np.array([16.0]), np.array([1.0]))
    assert (first[0], middle[0], last[0]) == (7, 8, 7)


@pytest.mark.parametrize(
    ("layers", "pp", "vp", "expected"),
    [
        (32, 1, 1, (32, 0, 0)),
        (32, 4, 1, (8, 8, 8)),
        (80, 8, 5, (2, 2, 2)),
        (106, 12, 1, (8, 9, 8)),
        (78, 12, 1, (7, 7, 1)),
        (22, 8, 3, (0, 1, 0)),
    ],
)
def test_layers_of_chunks(layers: int, pp: int, vp: int, expected: tuple[int, int, int]) -> None:
    found = chunk_layers(*(np.array([float(x)]) for x in (layers, pp, vp)))
    assert tuple(float(x[0]) for x in found) == expected


@given(st.integers(1, 200), st.integers(1, 32), st.integers(1, 8))
def test_every_layer_is_in_some_chunk(layers: int, pp: int, vp: int) -> None:
    vp = vp if pp > 1 else 1
    first, middle, last = (float(x[0]) for x in chunk_layers(*(np.array([float(x)]) for x in (layers, pp, vp))))
    assert first + last + max(pp * vp - 2, 0) * middle == pytest.approx(layers)
    assert min(first, middle, last) >= 0


@some
@given(st.lists(situations(), min_size=2, max_size=4))
def test_many_at_once_are_as_one_by_one(several: list[Situation]) -> None:
    def joined(values: list[object]) -> object:
        if isinstance(values[0], Chunk):
            return Chunk(*(joined([getattr(v, f.name) for v in values]) for f in fields(Chunk)))  # type: ignore[arg-type]
        return np.concatenate(values)  # type: ignore[arg-type]

    cases = [s.case() for s in several]
    case = PipelineCase(**{f.name: joined([getattr(c, f.name) for c in cases]) for f in fields(PipelineCase)})  # type: ignore[arg-type]
    together = pipeline_times(case).total_s
    assert together == pytest.approx([s.closed_form_s() for s in several], rel=1e-12)


def test_arrays_of_any_shape_broadcast() -> None:
    """As a search makes them: layouts along one axis, micro-batches along another."""
    s = Situation(schedule="1f1b", pp=4, vp=2, micro_batches=8, layers=16, head=(0.5, 0.5, 0.5))
    counts = [4, 8, 16]
    grid = replace(s.case(), micro_batches=np.array(counts, dtype=float)[:, None], vp=np.array([[1.0, 2.0]]))
    found = pipeline_times(grid).total_s
    assert found.shape == (3, 2)
    assert found[:, 1] == pytest.approx([replace(s, micro_batches=m).closed_form_s() for m in counts], rel=1e-12)
