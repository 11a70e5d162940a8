"""The search: every layout evaluated in closed form, the best of those that fit first."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.kept import kept
from planner.search.leaders import Leaders
from planner.search.losses import LossReason, explain_losses, loss_sentence
from planner.search.space import CHUNK, LayoutSpace, fitting_columns, shape_of
from profiler.architecture import ModelArchitecture
from profiler.files import InputError
from profiler.profile import Precision
from profiler.units import GIB, JOULES_PER_KWH
from sim.estimate import check_precision
from sim.hardware import Cluster
from sim.layout import ParallelLayout
from sim.memory import fit, memory_use
from sim.power import step_power_w
from sim.stacks import SoftwareStack
from sim.step import step_times


@dataclass(frozen=True, kw_only=True)
class RankedLayout:
    """One layout with what it would do; `reason` says why it loses, empty for the winner."""

    layout: ParallelLayout
    step_time_s: float
    tokens_per_s_per_gpu: float
    mfu: float
    memory_gib: float
    fits: bool
    gpu_power_w: float
    energy_kwh_per_step: float
    """At the GPUs alone."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The best layouts first, then the nearest misses: faster than the best, but they do not fit."""

    space: LayoutSpace
    evaluated: int
    fitting: int
    seconds: float
    layouts: tuple[RankedLayout, ...]
    losses: tuple[LossReason, ...] = ()
    """Why all the others lose, the most frequent reason first; looked for, as misses are, only where asked."""

    @property
    def best(self) -> RankedLayout:
        """The fastest layout that fits."""
        return self.layouts[0]


def search_layouts(
    *,
    architecture: ModelArchitecture,
    cluster: Cluster,
    stack: SoftwareStack,
    seq_len: int,
    global_batch: int,
    precision: Precision = "bf16",
    keep: int = 20,
    explain: bool = False,
    chunk: int = CHUNK,
) -> SearchResult:
    """Evaluate the memory of every layout of a `LayoutSpace`, and rank those that fit by step time.

    `explain` counts why each of the others loses and lists the nearest misses, which evaluates all of them twice.
    The answer does not depend on `chunk`, the number of layouts evaluated at once; memory does.

    Raises:
        InputError: no layout divides the batch and the GPUs, none fits in memory (says by how much), or a precision
        that the GPU lacks.
    """
    check_precision(precision, cluster.gpu)
    started = time.perf_counter()
    space = LayoutSpace(
        architecture=architecture,
        cluster=cluster,
        stack=stack,
        seq_len=seq_len,
        global_batch=global_batch,
        precision=precision,
    )
    fastest, leanest = Leaders(keep), Leaders(1)
    evaluated = fitting = 0
    for columns in space.blocks(chunk):
        memory_bytes = np.broadcast_to(memory_use(space.case(columns)).total, shape_of(columns))
        leanest.offer(memory_bytes, columns)
        fits = memory_bytes <= cluster.gpu.memory_bytes
        evaluated += fits.size
        fitting += int(fits.sum())
        some, fits = fitting_columns(columns, fits)
        if fits.size:
            # what cannot be among the fastest is not timed to the end
            times = step_times(space.case(some), fastest.worst)
            fastest.offer(np.broadcast_to(times.total, fits.shape), some, fits)
    _check_found(space, evaluated, fitting, leanest)
    layouts = [space.layout(row) for row in fastest.rows]
    losses, misses = explain_losses(space, layouts[0], chunk, keep) if explain else ((), [])
    ranked = rank(space, [*layouts, *misses])
    seconds = time.perf_counter() - started
    return SearchResult(
        space=space, evaluated=evaluated, fitting=fitting, seconds=seconds, layouts=ranked, losses=losses
    )


kept_search = kept(128)(search_layouts)
"""`search_layouts`, with its last answers kept: a layout does not follow from prices, places or tokens."""


def _check_found(space: LayoutSpace, evaluated: int, fitting: int, leanest: Leaders) -> None:
    a, cluster = space.architecture, space.cluster
    if evaluated == 0:
        raise InputError(
            f"no layout of {a.name} divides {cluster.gpus} GPUs and a batch of {space.global_batch} sequences; "
            f"{2 ** round(np.log2(cluster.gpus))} GPUs are the nearest power of two; take a batch that is one too."
        )
    if fitting == 0:
        layout, needed_bytes = space.layout(leanest.rows[0]), float(leanest.scores[0])
        advice = "use more GPUs or a GPU with more memory."
        if fit(needed_bytes, cluster.gpu.memory_bytes) == "tight":
            advice = "that is within the model's error: state it as the layout to plan it all the same, or " + advice
        raise InputError(
            f"{a.name} does not fit on {cluster.gpus} x {cluster.gpu.label}: the leanest of {evaluated} "
            f"layouts ({layout.label}) needs {needed_bytes / GIB:.0f} GiB of {cluster.gpu.memory_gib:.0f} GiB; "
            + advice
        )


def rank(space: LayoutSpace, layouts: Sequence[ParallelLayout]) -> tuple[RankedLayout, ...]:
    """What each layout would do, and why it loses against the first."""
    case = space.case(list(layouts))
    times, memory = step_times(case), memory_use(case)
    gpu, gpus = space.cluster.gpu, space.cluster.gpus
    count = len(layouts)
    total, memory_bytes = np.broadcast_to(times.total, count), np.broadcast_to(memory.total, count)
    power_w = np.broadcast_to(step_power_w(gpu, times), count)
    flops = space.architecture.flops_per_token(space.seq_len, "noncausal")
    rate = space.seq_len * space.global_batch / total / gpus
    mfu = flops * rate / case.peak_flops
    energy_kwh = power_w * total * gpus / JOULES_PER_KWH
    return tuple(
        RankedLayout(
            layout=layout,
            step_time_s=float(total[i]),
            tokens_per_s_per_gpu=float(rate[i]),
            mfu=float(mfu[i]),
            memory_gib=float(memory_bytes[i]) / GIB,
            fits=bool(memory_bytes[i] <= gpu.memory_bytes),
            gpu_power_w=float(power_w[i]),
            energy_kwh_per_step=float(energy_kwh[i]),
            reason=loss_sentence(space, layout, times, memory, i),
        )
        for i, layout in enumerate(layouts)
    )
