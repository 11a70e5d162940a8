"""The space of layouts: complete, none twice, and all that can be built."""

import itertools
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.search import LayoutSpace
from planner.search.space import COLUMNS
from profiler.files import InputError
from sim.case import RECOMPUTES, SHARDINGS
from sim.hardware import build_cluster
from sim.layout import ParallelLayout, check_layout
from tests.planner.searches import SMALL, STACKS, layouts, rows, run, space, step


def by_hand(where: LayoutSpace) -> set[ParallelLayout]:
    """Every layout, degree by degree in plain Python, that the checks let pass and the space's docstring names."""
    a, stack, gpus, batch = where.architecture, where.stack, where.cluster.gpus, where.global_batch
    found = set()
    upto = range(1, gpus + 1)
    for tp, cp, pp in itertools.product(
        upto, upto if stack.has_context_parallel else [1], upto if stack.has_pipeline else [1]
    ):
        per_node = where.cluster.gpus_per_node
        whole_nodes = per_node % tp == 0 or tp % per_node == 0
        if gpus % (tp * cp * pp) or not whole_nodes or pp > a.layers or where.seq_len / cp < 1024 * (cp > 1):
            continue
        dp = gpus // (tp * cp * pp)
        shared_by = [degree for degree in range(2, dp * cp) if dp * cp % degree == 0]
        has = [s for s in SHARDINGS if s in where.stack.shardings]
        shardings = [(s, None) for s in has if s != "hsdp"] if dp * cp > 1 else [("none", None)]
        for micro_batch, vp, schedule in itertools.product(
            range(1, batch + 1), range(1, a.layers + 3), where.stack.schedules
        ):
            if schedule != "1f1b" and batch < 2 * pp * dp * micro_batch:
                continue
            for (sharding, degree), recompute, sequence in itertools.product(
                [*shardings, *(("hsdp", degree) for degree in shared_by if "hsdp" in has)],
                RECOMPUTES,
                (None, False) if tp > 1 and stack.sequence_parallel else (None,),
            ):
                layout = ParallelLayout(
                    tp=tp,
                    cp=cp,
                    pp=pp,
                    vp=vp,
                    dp=dp,
                    schedule=schedule,
                    micro_batch=micro_batch,
                    sharding=sharding,
                    shard_degree=degree,
                    recompute=recompute,
                    sequence_parallel=sequence,
                )
                if buildable(where, layout):
                    found.add(layout)
    return found


def buildable(where: LayoutSpace, layout: ParallelLayout) -> bool:
    a, pp, vp = where.architecture, layout.pp, layout.vp
    even = [n for n in (a.layers, a.layers + 2) if n % pp == 0]
    last = a.layers - (pp - 1) * -(-a.layers // pp)
    if (even and even[0] % (pp * vp)) or (not even and (vp > 1 or last < 1)):
        return False
    try:
        check_layout(layout, a, gpus=where.cluster.gpus, global_batch=where.global_batch, seq_len=where.seq_len)
    except InputError:
        return False
    return True


@pytest.mark.parametrize(
    ("gpus", "batch", "seq_len", "stack"),
    [
        (1, 4, 1024, "megatron-core"),
        (4, 4, 4096, "megatron-core"),
        (8, 6, 2048, "fairscale-eager"),
        (16, 16, 2048, "torchtitan"),
        (8, 16, 1024, "megatron-fork"),
        (24, 12, 1024, "megatron-core"),
    ],
)
def test_the_search_is_a_loop_over_every_layout_by_hand(gpus: int, batch: int, seq_len: int, stack: str) -> None:
    """The same layouts, none twice; the same ranking as evaluating each alone."""
    where = space(SMALL, gpus, stack, batch, seq_len)
    tried = layouts(where)
    assert len(tried) == len(set(tried))
    assert set(tried) == by_hand(where)
    found = run(where, keep=len(tried))
    ranked = {r.layout: r for r in found.layouts}
    assert ranked.keys() == set(tried)
    for layout in tried[:: max(len(tried) // 300, 1)]:
        alone = step(where, layout)
        assert ranked[layout].step_time_s == pytest.approx(alone.step_time_s, rel=1e-12), layout.label
        assert ranked[layout].memory_gib == pytest.approx(alone.peak_memory_bytes / 2**30, rel=1e-12), layout.label
    # on a GPU that holds half of them, the best is the fastest of that half
    half = statistics.median_low(r.memory_gib for r in found.layouts)
    lesser = run(space(SMALL, gpus, stack, batch, seq_len, memory_gib=half), keep=1)
    held = [r for r in found.layouts if r.memory_gib <= half]
    assert (lesser.evaluated, lesser.fitting) == (len(tried), len(held))
    assert lesser.best.step_time_s == min(r.step_time_s for r in held)


@settings(max_examples=40)
@given(nodes=st.integers(1, 40), batch=st.integers(1, 600), stack=st.sampled_from(STACKS))
def test_the_nearest_batch_is_the_nearest_that_has_a_layout(nodes: int, batch: int, stack: str) -> None:
    where = space("llama3.1-8b", 8 * nodes, stack, batch)
    near = where.nearest_batch()

    def layouts_of(other: int) -> int:
        return len(replace(where, global_batch=other).spreads()["tp"])

    assert layouts_of(near) > 0
    nearer = range(max(batch - abs(near - batch) + 1, 1), batch + abs(near - batch))
    assert not any(layouts_of(other) for other in nearer)


@settings(max_examples=25)
@given(
    nodes=st.sampled_from([1, 2, 3, 8, 64]),
    batch=st.sampled_from([1, 24, 512, 2048]),
    seq_len=st.sampled_from([1024, 4096, 8192, 131_072]),
    stack=st.sampled_from(STACKS),
)
def test_every_layout_tried_can_be_built_and_none_twice(nodes: int, batch: int, seq_len: int, stack: str) -> None:
    where = space("llama3.1-8b", 8 * nodes, stack, batch, seq_len)
    every = np.concatenate([np.empty((0, len(COLUMNS))), *(rows(block) for block in where.blocks())])
    assert len(np.unique(every, axis=0)) == len(every)
    for row in every[:: max(len(every) // 500, 1)]:
        layout = where.layout(row)
        check_layout(layout, where.architecture, gpus=8 * nodes, global_batch=batch, seq_len=seq_len)
        assert stack != "fairscale-eager" or layout.pp == layout.cp == 1
        assert layout.sharding != "hsdp" or layout.dp * layout.cp % (layout.shard_degree or 0) == 0


@pytest.mark.parametrize("sharding", ["zero2", "fsdp"])
def test_the_published_layout_of_the_405b_is_among_those_tried(sharding: str) -> None:
    """arXiv:2407.21783 table 4: TP 8, PP 16, DP 128 on 16,384 GPUs."""
    where = space("llama3.1-405b", 16_384, "meta-internal", 2048)
    wanted = ParallelLayout(tp=8, pp=16, vp=8, dp=128, sharding=sharding)  # type: ignore[arg-type]
    assert any(
        wanted in [where.layout(row) for row in rows(block)[rows(block)[:, COLUMNS.index("tp")] == 8]]
        for block in where.blocks()
        if block["pp"][0] == 16
    )


@settings(max_examples=15)
@given(gpu=st.sampled_from(["h100-sxm", "gb200"]), batch=st.integers(1, 600), stack=st.sampled_from(STACKS))
def test_the_gpus_that_some_layout_divides_are_those_that_have_a_layout(gpu: str, batch: int, stack: str) -> None:
    cluster = build_cluster(gpu, 1)
    where = replace(space("llama3.1-8b", 8, stack, batch), cluster=cluster)
    per_node = cluster.node.gpus_per_node
    tried = [*range(1, per_node), *range(per_node, 12 * per_node + 1, per_node)]
    have = [n for n in tried if replace(where, cluster=replace(cluster, gpus=n)).spreads()["tp"].size]
    assert [n for n in where.divided_gpus().tolist() if n <= 12 * per_node] == have
