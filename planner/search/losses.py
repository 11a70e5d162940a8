"""Why a layout loses: what does not fit, or what takes longer than in the best one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from planner.quantities import significant
from planner.search.leaders import Leaders
from planner.search.space import LayoutSpace, shape_of
from profiler.units import GIB
from sim.case import Array, entry
from sim.layout import ParallelLayout
from sim.memory import MemoryUse, fit, largest_kind, memory_use
from sim.step import StepTimes, step_times

Indices = NDArray[np.int8]
TENSOR = "tensor-parallel communication"
PARTS: dict[str, tuple[str, ...]] = {
    "slower kernels": ("matmul", "attention", "elementwise", "head", "host"),
    "recompute": ("recompute",),
    TENSOR: ("tensor_parallel",),
    "context-parallel communication": ("context_parallel",),
    "pipeline transfers": ("pipeline",),
    "pipeline bubble": ("bubble",),
    "data-parallel communication": ("data_parallel",),
    "optimizer": ("optimizer",),
    "fixed time, slowest GPU": ("other",),
}
"""The parts of a step by which layouts differ; all communication is what is exposed."""
OVER_NODE = "tensor parallelism over the node"
EQUAL_PCT = 1e-9
"""Step times that differ by less are the same but for rounding."""
LEAST_SAID = 0.1
"""GiB or percent; less is beyond what the model can tell apart."""
KINDS = tuple(f.name for f in fields(MemoryUse) if f.name != "total")


@dataclass(frozen=True, kw_only=True)
class LossReason:
    """How many layouts lose for one reason, and by how little the nearest of them."""

    reason: str
    layouts: int
    nearest: float
    """GiB above the GPU's memory, or percent of time above the best."""
    unit: Literal["GiB", "%"]

    @property
    def miss(self) -> str:
        """How much the nearest misses by, in words."""
        return _over(self.nearest) if self.unit == "GiB" else f"{_said(self.nearest, self.unit)} slower"


def explain_losses(
    space: LayoutSpace, best: ParallelLayout, chunk: int, keep: int
) -> tuple[tuple[LossReason, ...], list[ParallelLayout]]:
    """Why every layout but `best` loses, the most frequent reason first, and the `keep` nearest misses.

    One that does not fit counts under the kind that takes most of its memory; one that is slower under the part of
    the step that grew most against the best. A miss is faster than the best but does not fit, by how little it
    does not.
    """
    found: dict[str, LossReason] = {}
    misses = Leaders(keep)
    reference = step_times(space.case([best]))
    for columns in space.blocks(chunk):
        case, shape = space.case(columns), shape_of(columns)
        times, memory = step_times(case), memory_use(case)
        over_gib = np.broadcast_to((memory.total - space.cluster.gpu.memory_bytes) / GIB, shape)
        slower_pct = np.broadcast_to((times.total / reference.total - 1) * 100, shape)
        misses.offer(over_gib, columns, (over_gib > 0) & (slower_pct < -EQUAL_PCT))
        kind = _largest([getattr(memory, name) for name in KINDS], shape)
        part = _largest(_excess(times, reference), shape)
        beyond = np.broadcast_to(columns["tp"] > space.cluster.gpus_per_node, shape)
        for loss in _block_losses(over_gib, slower_pct, kind, part, beyond):
            known = found.get(loss.reason)
            found[loss.reason] = loss if known is None else _both(known, loss)
    losses = tuple(sorted(found.values(), key=lambda loss: (-loss.layouts, loss.reason)))
    return losses, [space.layout(row) for row in misses.rows]


def _both(a: LossReason, b: LossReason) -> LossReason:
    return LossReason(reason=a.reason, layouts=a.layouts + b.layouts, nearest=min(a.nearest, b.nearest), unit=a.unit)


def _block_losses(
    over_gib: Array, slower_pct: Array, kind: Indices, part: Indices, beyond: NDArray[np.bool_]
) -> list[LossReason]:
    """The losses of one block from its largest kinds of memory and its parts that grew most; `beyond` the node."""
    over, slower = over_gib > 0, (over_gib <= 0) & (slower_pct > EQUAL_PCT)
    across = slower & beyond & (part == list(PARTS).index(TENSOR))
    within = slower & ~across
    groups: list[tuple[str, NDArray[np.bool_], Array, Literal["GiB", "%"]]] = [
        *((f"does not fit, most of it {name}", over & (kind == k), over_gib, "GiB") for k, name in enumerate(KINDS)),
        *((name, within & (part == k), slower_pct, "%") for k, name in enumerate(PARTS)),
        (OVER_NODE, across, slower_pct, "%"),
    ]
    return [
        LossReason(reason=reason, layouts=int(mask.sum()), nearest=float(amount[mask].min()), unit=unit)
        for reason, mask, amount, unit in groups
        if mask.any()
    ]


def _excess(times: StepTimes, reference: StepTimes) -> list[Array]:
    """Seconds of each of the `PARTS` above the reference's."""
    return [sum(getattr(times, name) - getattr(reference, name) for name in names) for names in PARTS.values()]


def _largest(parts: Sequence[Array], shape: tuple[int, ...]) -> Indices:
    """Which of the parts is the largest, the first of equals."""
    most = np.broadcast_to(parts[0], shape).copy()
    which = np.zeros(shape, dtype=np.int8)
    for k, part in enumerate(parts[1:], start=1):
        more = part > most
        which[more] = k
        np.copyto(most, part, where=more)
    return which


def loss_sentence(space: LayoutSpace, layout: ParallelLayout, times: StepTimes, memory: MemoryUse, i: int) -> str:
    """Why entry `i` of an evaluated case, a `layout`, loses against entry 0; empty where it does not."""

    def at(values: Array, index: int = i) -> float:
        return entry(values, index)

    over_gib = (at(memory.total) - space.cluster.gpu.memory_bytes) / GIB
    if over_gib > 0:
        may = fit(at(memory.total), space.cluster.gpu.memory_bytes) == "tight"
        return f"{'may fit' if may else 'does not fit'}: {_over(over_gib)}, most of it {largest_kind(memory, i)}"
    lost_s = at(times.total) - at(times.total, 0)
    slower_pct = lost_s / at(times.total, 0) * 100
    if slower_pct <= EQUAL_PCT:
        return ""
    excess = {
        part: sum(at(getattr(times, name)) - at(getattr(times, name), 0) for name in names)
        for part, names in PARTS.items()
    }
    part = max(excess, key=lambda name: excess[name])
    name = OVER_NODE if part == TENSOR and layout.tp > space.cluster.gpus_per_node else part
    less = ", less gains elsewhere" if excess[part] > (1 + EQUAL_PCT) * lost_s else ""
    return f"{_said(slower_pct, '%')} slower: {name} +{excess[part]:.2g} s{less}"


def _over(over_gib: float) -> str:
    """`2.4 GiB over`, to `LEAST_SAID`."""
    if over_gib < LEAST_SAID:
        return "just over"
    return f"{over_gib:.1f} GiB over" if over_gib < 10 else f"{significant(over_gib, 2)} GiB over"


def _said(amount: float, unit: str) -> str:
    return f"under {LEAST_SAID} {unit}" if amount < LEAST_SAID else f"{significant(amount, 2)} {unit}"
