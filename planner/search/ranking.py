"""The search: the fastest layouts that fit, and why every other loses."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from planner.kept import kept
from planner.layout_choice import Only
from planner.search.fastest import find_fastest
from planner.search.leaders import Leaders
from planner.search.losses import LossReason, explain_losses, loss_sentence
from planner.search.space import CHUNK, LayoutSpace, nearest_of, shape_of
from profiler.files import InputError
from profiler.units import GIB, JOULES_PER_KWH
from sim.case import Array
from sim.estimate import check_precision
from sim.layout import ParallelLayout
from sim.memory import Fit, fit, memory_use
from sim.power import step_power_w
from sim.step import StepTimes, network_s, step_times

HELD = 64
"""Of so many fastest layouts the one is taken that is fastest within what GPUs may draw: a cap slows each by what it
computes, so that those that communicate more lose less."""
NEAREST = 3
"""Numbers named beside one that no layout has."""


@dataclass(frozen=True, kw_only=True)
class RankedLayout:
    """One layout with what it would do; `reason` says why it loses, empty for the winner."""

    layout: ParallelLayout
    step_time_s: float
    tokens_per_s_per_gpu: float
    mfu: float
    memory_gib: float
    fits: bool
    memory_fit: Fit
    """The same within the memory model's error: one over by less may fit, one that nearly fills it may not."""
    gpu_power_w: float
    energy_kwh_per_step: float
    """At the GPUs alone."""
    network_share: float
    """Of the step, in which a GPU's network card moves something."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The best layouts first, then the nearest misses: faster than the best, but they do not fit."""

    space: LayoutSpace
    evaluated: int
    fitting: int
    seconds: float
    layouts: tuple[RankedLayout, ...]
    losses: tuple[LossReason, ...]
    """Why all the others lose, the most frequent reason first."""
    stated_note: str = ""
    """How a layout that the plan states does against the best."""

    @property
    def best(self) -> RankedLayout:
        """The fastest layout that fits."""
        return self.layouts[0]


def fastest_layout(space: LayoutSpace) -> tuple[ParallelLayout, int]:
    """The fastest layout of a space that fits in memory, and among how many.

    Raises:
        InputError: no layout divides the batch and the GPUs, none fits in memory (says by how much), or a precision
        that the GPU lacks.
    """
    fastest, evaluated = _find(space, 1)
    layouts = [space.layout(row) for row in fastest.rows]
    if len(layouts) == 1:
        return layouts[0], evaluated
    times, _ = held_times(space, step_times(space.case(layouts)), len(layouts))
    return layouts[int(np.argmin(times.total))], evaluated


kept_fastest = kept(128)(fastest_layout)
"""`fastest_layout`, with its last answers kept: a layout does not follow from prices, places or tokens."""


def search_layouts(space: LayoutSpace, keep: int = 20, chunk: int = CHUNK) -> SearchResult:
    """Rank the fastest layouts of a space that fit, list the nearest misses, and count why each of the others loses.

    The answer does not depend on `chunk`, the number of layouts evaluated at once; memory does.

    Raises:
        InputError: as `fastest_layout`.
    """
    started = time.perf_counter()
    fastest, evaluated = _find(space, keep)
    layouts = [space.layout(row) for row in fastest.rows]
    losses, misses = explain_losses(space, layouts[0], chunk, keep)
    if not space.allowed.free:
        held_s = held_times(space, step_times(space.case(layouts)), len(layouts))[0].total
        if np.isinf(held_s).all():
            raise InputError(
                f"no cap holds {space.cluster.gpus:,} x {space.cluster.gpu.label} to the site's power_limit_mw while "
                "they train; fewer GPUs or more power are needed."
            )
        layouts = [layouts[i] for i in np.argsort(held_s, kind="stable")[:keep] if np.isfinite(held_s[i])]
    return SearchResult(
        space=space,
        evaluated=evaluated,
        fitting=evaluated - sum(loss.layouts for loss in losses if loss.unit == "GiB"),
        seconds=time.perf_counter() - started,
        layouts=rank(space, [*layouts, *misses]),
        losses=losses,
    )


kept_search = kept(32)(search_layouts)
"""`search_layouts`, with its last answers kept."""


def _find(space: LayoutSpace, keep: int) -> tuple[Leaders, int]:
    """The `keep` fastest layouts, or where GPUs are held `HELD` of them at least, and how many there are."""
    check_precision(space.precision, space.cluster.gpu)
    fastest, evaluated = find_fastest(space, keep if space.allowed.free else max(keep, HELD))
    if not fastest.rows.size:
        raise InputError(_none_found(space, evaluated))
    return fastest, evaluated


def _none_found(space: LayoutSpace, evaluated: int) -> str:
    """Why no layout was found, and what to do."""
    a, cluster, leanest = space.architecture, space.cluster, Leaders(1)
    free = replace(space, only=Only())
    if evaluated == 0 and space.only.stated and free.spreads()["tp"].size:
        return _none_with_only(space, free)
    if evaluated == 0:
        return (
            f"no layout of {a.name} divides {cluster.gpus:,} GPUs and a global_batch of {space.global_batch:,} "
            f"sequences; one does with {nearest_of(free.divided_gpus(), cluster.gpus):,} GPUs, or with a "
            f"global_batch of {free.nearest_batch():,}."
        )
    for columns in space.blocks():
        leanest.offer(np.broadcast_to(memory_use(space.case(columns)).total, shape_of(columns)), columns)
    layout, needed_bytes = space.layout(leanest.rows[0]), float(leanest.scores[0])
    advice = f"{'leave more open, ' if space.only.stated else ''}use more GPUs or a GPU with more memory."
    if fit(needed_bytes, cluster.gpu.memory_bytes) == "tight":
        advice = "that is within the model's error: state it as the layout to plan it all the same, or " + advice
    among = f" with {space.only.text}" if space.only.stated else ""
    return (
        f"{a.name} does not fit on {cluster.gpus:,} x {cluster.gpu.label}: the leanest of {evaluated:,} "
        f"layouts{among} ({layout.label}) needs {needed_bytes / GIB:,.0f} GiB of {cluster.gpu.memory_gib:.0f} GiB; "
        + advice
    )


def _none_with_only(space: LayoutSpace, free: LayoutSpace) -> str:
    """Which part of what is asked for no layout has, of a `free` space or beside the other parts, and what there is
    instead."""
    where = f"{space.architecture.name} on {space.cluster.gpus:,} GPUs in steps of {space.global_batch:,} sequences"
    stated, choices = space.only.stated, free.choices()
    strange = [name for name, wanted in stated.items() if wanted not in choices[name]]
    for name in strange or list(stated)[::-1]:
        others = replace(space.only, **{name: None})
        there = replace(space, only=others).choices()[name]
        offered = there or (choices[name] if strange else [])
        if offered and stated[name] not in offered:
            beside = f" beside {others.text}" if there and others.text else ""
            return (
                f"training.only.{name} is {stated[name]}, and no layout of {where} with {space.stack.name} has that"
                f"{beside}; {_nearest(stated[name], offered)}."
            )
    return f"no layout of {where} with {space.stack.name} has {space.only.text} at once; leave some of it open."


def _nearest(wanted: int | str, choices: Sequence[int] | Sequence[str]) -> str:
    """The three numbers that come nearest, or all there are, in words."""
    numbers = [choice for choice in choices if isinstance(choice, int)]
    if isinstance(wanted, str) or len(numbers) <= NEAREST:
        return f"allowed is {', '.join(map(str, choices))}"
    near = sorted(sorted(numbers, key=lambda number: abs(number - wanted))[:NEAREST])
    return f"the nearest there are: {', '.join(map(str, near))}"


def held_times(space: LayoutSpace, times: StepTimes, count: int) -> tuple[StepTimes, Array]:
    """The steps of `count` layouts on GPUs that draw no more than is allowed, and a GPU's mean watts; infinite where
    no cap makes it so.

    Raises:
        InputError: a cap that no such GPU can be given.
    """
    gpu, names = space.cluster.gpu, [f.name for f in fields(StepTimes) if f.name != "total"]
    if space.allowed.free:
        return times, np.broadcast_to(step_power_w(gpu, times), count)
    free = {name: np.broadcast_to(getattr(times, name), count) for name in names}
    steps = [space.allowed.held(gpu, {name: float(free[name][i]) for name in names}) for i in range(count)]
    held = {name: np.array([math.inf if step is None else step.parts_s[name] for step in steps]) for name in names}
    power_w = np.array([math.nan if step is None else step.gpu_power_w for step in steps])
    return StepTimes(**held, total=sum(held.values(), np.zeros(count))), power_w


def rank(space: LayoutSpace, layouts: Sequence[ParallelLayout]) -> tuple[RankedLayout, ...]:
    """What each layout would do, and why it loses against the first."""
    case = space.case(list(layouts))
    memory = memory_use(case)
    times, power_w = held_times(space, step_times(case), len(layouts))
    gpu, gpus = space.cluster.gpu, space.cluster.gpus
    count = len(layouts)
    total, memory_bytes = np.broadcast_to(times.total, count), np.broadcast_to(memory.total, count)
    moving_s = np.broadcast_to(network_s(case), count)
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
            memory_fit=fit(float(memory_bytes[i]), gpu.memory_bytes),
            gpu_power_w=float(power_w[i]),
            energy_kwh_per_step=float(energy_kwh[i]),
            network_share=float(moving_s[i] / total[i]),
            reason=loss_sentence(space, layout, times, memory, i),
        )
        for i, layout in enumerate(layouts)
    )
