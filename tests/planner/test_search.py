"""The search: ordered, and no better than the step model says."""

import tracemalloc
from dataclasses import asdict, replace
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner.campaign.planned import request_phases
from planner.layout_choice import LayoutChoice
from planner.phases import stated_layout
from planner.plan_file import plan_request
from planner.search import SearchResult
from planner.search.fastest import find_fastest
from planner.search.leaders import Leaders
from planner.search.losses import OVER_NODE, LossReason
from planner.search.ranking import rank
from planner.search.request import search_request
from planner.search.space import shape_of
from profiler.files import InputError
from sim.hardware import build_cluster
from sim.layout import ParallelLayout
from sim.memory import memory_use
from sim.stacks.stack import available_stacks, load_stack
from sim.step import step_times
from tests.planner.searches import SMALL, STACKS, layouts, run, space, step


@cache
def search(
    model: str = "llama3.1-8b", gpus: int = 64, stack: str = "megatron-core", batch: int = 512
) -> SearchResult:
    return run(space(model, gpus, stack, batch))


# It is ordered, and says what the step model says


def test_best_first_and_then_the_nearest_misses() -> None:
    """Misses are faster than the best, the one that fits nearest first."""
    found = search()
    misses = [r for r in found.layouts if not r.fits]
    assert misses
    assert all(r.step_time_s < found.best.step_time_s for r in misses)
    assert [r.memory_gib for r in misses] == sorted(r.memory_gib for r in misses)
    times = [r.step_time_s for r in found.layouts if r.fits]
    assert times == sorted(times)
    assert [r.fits for r in found.layouts] == sorted((r.fits for r in found.layouts), reverse=True)
    assert (found.best.reason, found.best.fits) == ("", True)
    assert all(r.reason for r in found.layouts if r.step_time_s > found.best.step_time_s or not r.fits)


@pytest.mark.parametrize(("model", "gpus"), [("llama3.1-8b", 64), ("llama3.1-405b", 2048)])
def test_a_ranked_layout_is_what_the_step_model_says_of_it(model: str, gpus: int) -> None:
    for ranked in search(model, gpus).layouts[:3]:
        alone = step(space(model, gpus), ranked.layout)
        assert ranked.step_time_s == pytest.approx(alone.step_time_s)
        assert ranked.memory_gib * 2**30 == pytest.approx(alone.peak_memory_bytes)
        assert ranked.mfu == pytest.approx(alone.mfu())
        assert ranked.gpu_power_w == pytest.approx(alone.gpu_power_w)
        assert ranked.energy_kwh_per_step == pytest.approx(alone.gpu_power_w * alone.step_time_s * gpus / 3.6e6)


@settings(max_examples=40)
@given(
    stack=st.sampled_from(STACKS),
    model=st.sampled_from(["llama3.1-8b", "llama3.1-70b", "llama3.1-405b"]),
    gpus=st.sampled_from([8, 24, 160, 512, 4096, 10_240]),
    batch=st.sampled_from([24, 512, 2048, 3072]),
    seq_len=st.sampled_from([2048, 8192, 131_072]),
    keep=st.sampled_from([1, 7, 60]),
)
def test_leaving_out_what_cannot_win_loses_nothing(
    stack: str, model: str, gpus: int, batch: int, seq_len: int, keep: int
) -> None:
    """The same layouts with the same times as when every one is evaluated."""
    where = space(model, gpus, stack, batch, seq_len)
    whole = Leaders(keep)
    for block in where.blocks():
        shape, case = shape_of(block), where.case(block)
        memory_bytes = np.broadcast_to(memory_use(case).total, shape)
        fits = memory_bytes <= where.cluster.gpu.memory_bytes
        whole.offer(np.broadcast_to(step_times(case).total, shape), block, fits, memory_bytes)
    found, count = find_fastest(where, keep)
    assert count == sum(int(np.prod(shape_of(block))) for block in where.blocks())
    np.testing.assert_array_equal(found.rows, whole.rows)
    np.testing.assert_allclose(found.scores, whole.scores, rtol=1e-13)


def test_of_equally_fast_layouts_the_one_with_less_memory_comes_first() -> None:
    """With one micro-batch ZeRO-1 and ZeRO-2 reduce their gradients alike."""
    found = search(gpus=64, batch=64)
    assert (found.best.layout.sharding, found.layouts[1].layout.sharding) == ("zero2", "zero1")
    for before, after in pairwise(r for r in found.layouts if r.fits):
        assert before.step_time_s < after.step_time_s or before.memory_gib <= after.memory_gib


def test_no_layout_tried_by_hand_beats_it() -> None:
    best = search().best
    for layout in (
        ParallelLayout(dp=64, sharding="fsdp"),
        ParallelLayout(tp=2, dp=32),
        ParallelLayout(tp=4, pp=2, dp=8),
        ParallelLayout(tp=8, dp=8, recompute="full"),
        ParallelLayout(dp=64, sharding="hsdp", shard_degree=8),
    ):
        alone = step(space(), layout)
        fits = alone.peak_memory_bytes <= alone.capacity_bytes
        assert not fits or alone.step_time_s >= best.step_time_s * (1 - 1e-9), layout.label


@settings(max_examples=15)
@given(
    stack=st.sampled_from(STACKS),
    model=st.sampled_from(["llama3.1-8b", "llama3.1-70b"]),
    gpus=st.sampled_from([8, 24, 512, 4096]),
    block=st.integers(0, 5),
)
def test_a_grid_of_layouts_costs_what_each_alone_costs(stack: str, model: str, gpus: int, block: int) -> None:
    """Broadcasting shares work between layouts and changes no bit of a result."""
    where = space(model, gpus, stack, 512)
    blocks = list(where.blocks())
    assume(blocks)
    grid = blocks[block % len(blocks)]
    shape = shape_of(grid)
    flat = {name: np.broadcast_to(values, shape).ravel() for name, values in grid.items()}
    for kind in (step_times, memory_use):
        together = np.broadcast_to(kind(where.case(grid)).total, shape).ravel()
        alone = np.broadcast_to(kind(where.case(flat)).total, together.shape)
        np.testing.assert_allclose(together, alone, rtol=1e-13)


@settings(max_examples=10)
@given(chunk=st.integers(1, 5000), keep=st.integers(1, 60), gpus=st.sampled_from([8, 16, 48]))
def test_the_answer_does_not_depend_on_the_chunks(chunk: int, keep: int, gpus: int) -> None:
    where = space(SMALL, gpus, batch=48, seq_len=4096)
    assert max(shape_of(block)[2] for block in where.blocks(chunk)) <= max(chunk // 3, 1)
    whole, parts = run(where, keep, chunk=10**9), run(where, keep, chunk=max(chunk, 200))
    assert replace(whole, seconds=0) == replace(parts, seconds=0)


def test_memory_is_bounded_by_the_chunk_and_not_by_the_layouts() -> None:
    """A quarter of a million layouts, four thousand at a time: sixty-odd arrays of a chunk, not of the space."""
    where = space("llama3.1-405b", 16_384, batch=2048)
    run(where, chunk=4096)  # what is read once and kept, catalogue and modules, is not the search's
    tracemalloc.start()
    evaluated = run(where, chunk=4096).evaluated
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 * 8 * evaluated  # four arrays of the whole space


# Why the others lose


@pytest.mark.parametrize(
    ("model", "gpus", "stack"),
    [
        ("llama3.1-8b", 64, "megatron-core"),
        ("llama3.1-405b", 2048, "torchtitan"),
        ("llama3.1-8b", 8, "fairscale-eager"),
    ],
)
def test_every_loser_is_counted_under_one_reason(model: str, gpus: int, stack: str) -> None:
    found = search(model, gpus, stack)
    losers = found.evaluated - sum(loss.layouts for loss in found.losses)
    assert losers == sum(r.reason == "" for r in found.layouts)
    over = sum(loss.layouts for loss in found.losses if loss.unit == "GiB")
    assert over == found.evaluated - found.fitting
    assert all(loss.nearest > 0 and loss.layouts > 0 for loss in found.losses)
    counts = [loss.layouts for loss in found.losses]
    assert counts == sorted(counts, reverse=True)
    slower = min(loss.nearest for loss in found.losses if loss.unit == "%")
    second = next(r for r in found.layouts if r.reason)
    assert slower == pytest.approx((second.step_time_s / found.best.step_time_s - 1) * 100)


def test_reasons_name_what_is_wrong_with_a_layout() -> None:
    """Each of these differs from a good layout in one thing, and loses for it."""
    where = space("llama3.1-70b", 512, batch=512)
    good = ParallelLayout(tp=8, pp=4, vp=10, dp=16)
    cases = {
        "recompute": replace(good, recompute="full"),
        "pipeline bubble": replace(good, vp=1),
        OVER_NODE: replace(good, tp=16, dp=8),
        "most of it activations": replace(good, micro_batch=8),
    }
    ranked = rank(where, [good, *cases.values()])
    assert ranked[0].reason == ""
    for reason, loser in zip(cases, ranked[1:], strict=True):
        assert reason in loser.reason, loser


def test_a_part_that_grew_by_more_than_the_whole_loss_says_so() -> None:
    """What is named adds up: it is no more than the loss, or others gained."""
    found = search("llama3.1-70b", 512, batch=512)
    best_s, said = found.best.step_time_s, 0
    for layout in (r for r in found.layouts if r.fits and r.reason):
        grew_s = float(layout.reason.partition("+")[2].partition(" s")[0])
        lost_s = layout.step_time_s - best_s
        assert grew_s <= 1.05 * lost_s or layout.reason.endswith(", less gains elsewhere"), layout.reason
        said += layout.reason.endswith("elsewhere")
    assert said


def test_what_is_beyond_the_model_is_not_told_apart() -> None:
    def loss(nearest: float, unit: Literal["GiB", "%"]) -> str:
        return LossReason(reason="any", layouts=1, nearest=nearest, unit=unit).miss

    assert (loss(0.00038, "GiB"), loss(0.03, "%")) == ("just over", "under 0.1 % slower")
    assert (loss(1.27, "GiB"), loss(14.2, "%")) == ("1.3 GiB over", "14 % slower")


def test_a_label_says_what_the_search_varied() -> None:
    layout = ParallelLayout(dp=64, tp=2, sharding="hsdp", shard_degree=8, sequence_parallel=False)
    assert layout.label == "TP2 DP64, micro-batch 1, hsdp over 8, recompute none, not sequence-parallel"
    alone = ParallelLayout(dp=64, sharding="hsdp", shard_degree=1)
    assert alone.label == "DP64, micro-batch 1, plain data-parallel, recompute none"


# As people ask for it


def test_a_plan_file_is_searched_in_its_longest_phase() -> None:
    data = {
        "model": "llama3.1-8b",
        "tokens": "100B",
        "cluster": {"gpus": 64},
        "training": {"layout": {"tp": 8}},
        "phases": [
            {"name": "short", "tokens": "20B", "seq_len": 4096, "global_batch": 512},
            {"name": "long", "tokens": "80B", "seq_len": 8192, "global_batch": 512},
        ],
    }
    found = search_request(plan_request(data, source="here"), 10)
    assert replace(found, seconds=0, stated_note="") == replace(search(), seconds=0)


@pytest.mark.parametrize(
    "layout",
    [
        ParallelLayout(tp=2, dp=32, sharding="hsdp", shard_degree=8, sequence_parallel=False),
        ParallelLayout(tp=8, cp=2, pp=4, vp=8, dp=1, micro_batch=2, recompute="selective", shard_degree=None),
    ],
)
def test_a_found_layout_can_be_stated_in_a_plan(layout: ParallelLayout) -> None:
    assert layout in set(layouts(space()))
    said = {k: v for k, v in asdict(layout).items() if k not in ("dp", "recompute_layers") and v is not None}
    data = {
        "model": "llama3.1-8b",
        "tokens": "1T",
        "cluster": {"gpus": 64},
        "training": {"global_batch": 512, "layout": said},
    }
    choice = plan_request(data, source="here").training.layout
    assert choice is not None
    assert stated_layout(choice, build_cluster("h100-sxm", 64), load_stack("megatron-core")) == layout


def test_a_shard_degree_that_does_not_divide_is_one_sentence() -> None:
    with pytest.raises(InputError, match="shard_degree is 5, which does not divide the 32"):
        stated_layout(
            LayoutChoice(tp=2, sharding="hsdp", shard_degree=5),
            build_cluster("h100-sxm", 64),
            load_stack("torchtitan"),
        )


@pytest.mark.parametrize("stack", available_stacks())
def test_what_is_not_said_of_a_layout_is_the_stacks_habit_and_needs_no_note(stack: str) -> None:
    data = {"model": "llama3.1-8b", "tokens": "1T", "cluster": {"gpus": 64}, "training": {"stack": stack}}
    data["training"]["layout"] = {"tp": 8, "recompute": "full"}
    (phase,) = request_phases(plan_request(data, source="here"))
    assert phase.step.layout.sharding == load_stack(stack).shardings[0]
    assert not any("taken as stated" in note for note in phase.notes)


def test_a_layout_that_the_stack_does_not_run_is_planned_with_a_note() -> None:
    layout = {"tp": 8, "pp": 2, "vp": 2, "schedule": "zb-v", "sharding": "zero1"}
    data = {"model": "llama3.1-8b", "tokens": "1T", "cluster": {"gpus": 64}, "training": {"layout": layout}}
    (phase,) = request_phases(plan_request(data, source="here"))
    (note,) = (note for note in phase.notes if "taken as stated" in note)
    assert note.startswith("phase 'pre-training': the schedule zb-v is taken as stated; Megatron-Core")
    assert note.endswith("has 1f1b")


def test_hybrid_sharding_over_one_rank_is_called_what_it_is() -> None:
    """Tensor parallelism over the whole node leaves it nothing to share out, unless a degree says otherwise."""
    for layout, said in (({"tp": 8}, True), ({"tp": 4}, False), ({"tp": 8, "shard_degree": 4}, False)):
        training = {"stack": "torchtitan", "layout": {**layout, "sharding": "hsdp", "recompute": "full"}}
        data = {"model": "llama3.1-8b", "tokens": "1T", "cluster": {"gpus": 64}, "training": training}
        (phase,) = request_phases(plan_request(data, source="here"))
        assert any("plain data parallelism" in note for note in phase.notes) == said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "llama3.1-405b", "cluster.gpus": 8, "training.global_batch": 8}, "does not fit on 8 x H100"),
        ({"cluster.gpu": "a100-80gb", "training.precision": "fp8"}, "no fp8 matrix units"),
        ({"training.precision": "fp32"}, "training.precision' is 'fp32'"),
        ({"training.precision": "int8"}, "training.precision' is 'int8'; input should be 'bf16', 'fp16' or 'fp8'"),
        ({"training.seq_len": 0}, "training.seq_len' is 0"),
        ({"training.global_batch": 0}, "training.global_batch' is 0"),
        ({"cluster.gpus": 100}, "nearest whole number is 96"),
        ({"training.stack": "fairscale"}, "stack 'fairscale' is not known"),
        ({"cluster.gpus": 1016, "training.global_batch": 3}, "no layout of llama3.1-8b divides 1,016 GPUs"),
    ],
)
def test_a_search_for_nothing_is_one_sentence(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError) as error:
        search_request(
            plan_request(
                {}, [("model", "llama3.1-8b"), ("tokens", 1), ("cluster.gpus", 64), *changes.items()], source="here"
            ),
            5,
        )
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_that_misses_by_less_than_the_models_error_may_be_stated_all_the_same() -> None:
    leanest = min(r.memory_gib for r in run(space(SMALL, 8), keep=10_000).layouts)
    with pytest.raises(InputError, match="within the model's error: state it"):
        run(space(SMALL, 8, memory_gib=leanest / 1.05))
    with pytest.raises(InputError, match="GiB; use more GPUs or a GPU with more memory"):
        run(space(SMALL, 8, memory_gib=leanest / 2))


def test_fairscale_holds_the_70b_only_with_sharded_weights_or_not_at_all() -> None:
    """Without pipeline or sharding of weights over it, TP 8 leaves a rank more than a GPU holds; FSDP may."""
    best = search("llama3.1-70b", 512, "fairscale-eager").best.layout
    assert best.sharding in ("fsdp", "hsdp")
    assert best.pp == 1
