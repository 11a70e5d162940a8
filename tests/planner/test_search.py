"""The search: complete, ordered, and no better than the step model says."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.search import SearchResult, enumerate_layouts, run_search, search_layouts
from profiler.architecture import load_architecture
from profiler.files import InputError
from sim.estimate import estimate_step
from sim.hardware import build_cluster
from sim.layout import ParallelLayout, check_layout
from sim.stacks import load_stack


@cache
def search(
    model: str = "llama3.1-8b", gpus: int = 64, stack: str = "megatron-core", batch: int = 512
) -> SearchResult:
    return run_search(model, "h100-sxm", gpus, 8192, batch, "bf16", stack, 10)


def test_best_first_and_only_then_what_does_not_fit() -> None:
    found = search()
    times = [r.step_time_s for r in found.layouts if r.fits]
    assert times == sorted(times)
    assert [r.fits for r in found.layouts] == sorted((r.fits for r in found.layouts), reverse=True)
    assert (found.best.reason, found.best.fits) == ("", True)
    assert all(r.reason for r in found.layouts if r.step_time_s > found.best.step_time_s or not r.fits)


@pytest.mark.parametrize(("model", "gpus"), [("llama3.1-8b", 64), ("llama3.1-405b", 2048)])
def test_a_ranked_layout_is_what_the_step_model_says_of_it(model: str, gpus: int) -> None:
    for ranked in search(model, gpus).layouts[:3]:
        step = estimate_step(
            architecture=load_architecture(model),
            cluster=build_cluster("h100-sxm", gpus),
            layout=ranked.layout,
            stack=load_stack("megatron-core"),
            seq_len=8192,
            global_batch=512,
        )
        assert ranked.step_time_s == pytest.approx(step.step_time_s)
        assert ranked.memory_gib * 2**30 == pytest.approx(step.peak_memory_bytes)
        assert ranked.mfu == pytest.approx(step.mfu())
        assert ranked.gpu_power_w == pytest.approx(step.gpu_power_w)
        assert ranked.energy_kwh_per_step == pytest.approx(step.gpu_power_w * step.step_time_s * gpus / 3.6e6)


def test_no_layout_tried_by_hand_beats_it() -> None:
    best = search().best
    for layout in (
        ParallelLayout(dp=64, sharding="fsdp"),
        ParallelLayout(tp=2, dp=32),
        ParallelLayout(tp=4, pp=2, dp=8),
        ParallelLayout(tp=8, dp=8, recompute="full"),
    ):
        step = estimate_step(
            architecture=load_architecture("llama3.1-8b"),
            cluster=build_cluster("h100-sxm", 64),
            layout=layout,
            stack=load_stack("megatron-core"),
            seq_len=8192,
            global_batch=512,
        )
        assert not step.fits or step.step_time_s >= best.step_time_s * (1 - 1e-9), layout.label


@settings(max_examples=25, deadline=None)
@given(
    nodes=st.sampled_from([1, 2, 3, 8, 64]),
    batch=st.sampled_from([1, 24, 512, 2048]),
    seq_len=st.sampled_from([1024, 4096, 8192, 131_072]),
    stack=st.sampled_from(["megatron-core", "fairscale-eager"]),
)
def test_every_layout_tried_can_be_built_and_none_twice(nodes: int, batch: int, seq_len: int, stack: str) -> None:
    a, cluster = load_architecture("llama3.1-8b"), build_cluster("h100-sxm", 8 * nodes)
    columns = enumerate_layouts(a, cluster, load_stack(stack), seq_len, batch)
    names = ("tp", "cp", "pp", "vp", "dp", "micro_batch")
    rows = [tuple(int(v) for v in row) for row in zip(*(columns[n] for n in names), strict=True)]
    for row in set(rows):
        layout = ParallelLayout(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]
        check_layout(layout, a, gpus=cluster.gpus, global_batch=batch, seq_len=seq_len)
        assert stack != "fairscale-eager" or layout.pp == layout.cp == 1
    whole = list(zip(rows, columns["sharding"], columns["recompute"], strict=True))
    assert len(whole) == len(set(whole))


def test_the_published_layout_of_the_405b_is_among_those_tried() -> None:
    """arXiv:2407.21783 table 4: TP 8, PP 16, DP 128 on 16,384 GPUs."""
    a, cluster = load_architecture("llama3.1-405b"), build_cluster("h100-sxm", 16_384)
    columns = enumerate_layouts(a, cluster, load_stack("meta-internal"), 8192, 2048)
    names = ("tp", "cp", "pp", "vp", "dp", "micro_batch")
    assert (8, 1, 16, 8, 128, 1) in set(zip(*(columns[n] for n in names), strict=True))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("llama3.1-405b", "h100-sxm", 8, 8192, 8, "bf16", "megatron-core", 5), "does not fit on 8 x H100"),
        (("llama3.1-8b", "a100-80gb", 64, 8192, 512, "fp8", "megatron-core", 5), "no fp8 matrix units"),
        (("llama3.1-8b", "h100-sxm", 64, 8192, 512, "fp32", "megatron-core", 5), "precision is fp32"),
        (("llama3.1-8b", "h100-sxm", 64, 8192, 512, "int8", "megatron-core", 5), "precision 'int8' is not known"),
        (("llama3.1-8b", "h100-sxm", 64, 0, 512, "bf16", "megatron-core", 5), "seq-len is 0"),
        (("llama3.1-8b", "h100-sxm", 64, 8192, 0, "bf16", "megatron-core", 5), "global-batch is 0"),
        (("llama3.1-8b", "h100-sxm", 100, 8192, 512, "bf16", "megatron-core", 5), "nearest whole number is 96"),
        (("llama3.1-8b", "h100-sxm", 64, 8192, 512, "bf16", "fairscale", 5), "stack 'fairscale' is not known"),
    ],
)
def test_a_search_for_nothing_is_one_sentence(
    arguments: tuple[str, str, int, int, int, str, str, int], says: str
) -> None:
    with pytest.raises(InputError) as error:
        run_search(*arguments)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_fairscale_holds_the_70b_only_with_sharded_weights_or_not_at_all() -> None:
    """Without pipeline or sharding of weights over it, TP 8 leaves a rank more than a GPU holds; FSDP may."""
    found = search_layouts(
        architecture=load_architecture("llama3.1-70b"),
        cluster=build_cluster("h100-sxm", 512),
        stack=load_stack("fairscale-eager"),
        seq_len=8192,
        global_batch=512,
    )
    assert found.best.layout.sharding == "fsdp"
    assert found.best.layout.pp == 1
