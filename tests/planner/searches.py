"""Spaces of layouts to search in tests, and what the step model says of one layout."""

from dataclasses import replace

import numpy as np

from planner.search import LayoutSpace, SearchResult, search_layouts
from planner.search.space import COLUMNS, Columns, shape_of
from profiler.architecture import ModelArchitecture, load_architecture
from sim.estimate import StepEstimate, estimate_step
from sim.hardware import build_cluster
from sim.layout import ParallelLayout
from sim.stacks.stack import load_stack

SMALL = replace(
    load_architecture("llama3.1-8b"), name="small", layers=6, hidden=512, ffn=1024, heads=8, kv_heads=4, vocab=4096
)
STACKS = ("megatron-core", "fairscale-eager", "torchtitan", "megatron-2021", "megatron-fork")


def space(
    model: str | ModelArchitecture = "llama3.1-8b",
    gpus: int = 64,
    stack: str = "megatron-core",
    batch: int = 512,
    seq_len: int = 8192,
    memory_gib: float = 80,
) -> LayoutSpace:
    cluster = build_cluster("h100-sxm", gpus)
    return LayoutSpace(
        architecture=load_architecture(model) if isinstance(model, str) else model,
        cluster=replace(cluster, gpu=replace(cluster.gpu, memory_gib=memory_gib)),
        stack=load_stack(stack),
        seq_len=seq_len,
        global_batch=batch,
    )


def run(where: LayoutSpace, keep: int = 10, chunk: int = 65_536) -> SearchResult:
    return search_layouts(where, keep, chunk)


def step(where: LayoutSpace, layout: ParallelLayout) -> StepEstimate:
    return estimate_step(
        architecture=where.architecture,
        cluster=where.cluster,
        layout=layout,
        stack=where.stack,
        seq_len=where.seq_len,
        global_batch=where.global_batch,
    )


def rows(block: Columns) -> np.ndarray:
    """The layouts of a block, one row of `COLUMNS` each."""
    shape = shape_of(block)
    return np.stack([np.broadcast_to(block[name], shape).ravel() for name in COLUMNS], axis=1)


def layouts(where: LayoutSpace) -> list[ParallelLayout]:
    return [where.layout(row) for block in where.blocks() for row in rows(block)]
