"""What one step takes from a profile: measured rows as they are, between them by interpolation, beyond them nothing.

A profile speaks only for the model, precision and way of running that it measured. Where it holds no block of the
wanted shape but all parts of one, the parts are added up: projections, MLP and norms know only how many tokens
there are, attention also how they are divided into sequences.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from profiler.architecture import ModelArchitecture
from profiler.profile import Execution, LayerRow, Profile, Workload
from sim.hardware import TrainingPrecision
from sim.layout import ParallelLayout
from sim.stacks.stack import AttentionKernel, SoftwareStack

Footing = Literal["measured", "scaled", "interpolated", "none"]
"""measured: this very shape; scaled: this shape, taken over from another GPU; interpolated: between measured
shapes, or added up from measured parts; none: the profile does not say."""

EXECUTIONS: Mapping[str, Execution] = {"fairscale-eager": "eager", "fairscale-compiled": "compiled"}
"""The stacks that the profiler measures, and how it runs them."""
BACKENDS: Mapping[AttentionKernel, str] = {
    "unfused": "math",
    "flash1": "flash",
    "flash2": "flash",
    "flash3": "cudnn",
}
"""What the profiler calls each kind of attention."""
ATTENDING: tuple[Workload, ...] = ("block", "attention")
"""Workloads whose time hangs on it."""
WIDEST_GAP = 4.0
"""Largest ratio of two neighbouring measured shapes between which to interpolate: within it the time of a block is
nearly a power of its tokens, and of its ranks, so that a line between logarithms errs by a few per cent."""
TOKEN_PARTS: tuple[Workload, ...] = ("qkv", "attention_out", "mlp", "norms")

Shape = tuple[float, ...]
Seconds = tuple[float, float]
"""Forward and backward."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds that a profile gives for one thing, and on what footing; NaN where it gives none."""

    forward_s: float = math.nan
    backward_s: float = math.nan
    footing: Footing = "none"

    @property
    def total_s(self) -> float:
        """Both passes."""
        return self.forward_s + self.backward_s


@dataclass(frozen=True, kw_only=True)
class MeasuredStep:
    """What a profile gives for one step."""

    block: Measured = Measured()
    """One transformer block over one micro-batch."""
    head: Measured = Measured()
    """Output projection and loss over one micro-batch."""
    update: Measured = Measured()
    """Optimizer and gradient norm, seconds per parameter of one GPU."""


NOT_MEASURED = MeasuredStep()


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One measured shape: its place on each axis, its seconds, and whether they were measured here."""

    at: Shape
    seconds: Seconds
    scaled: bool


def measured_step(
    profile: Profile | None,
    architecture: ModelArchitecture,
    stack: SoftwareStack,
    layout: ParallelLayout,
    seq_len: int,
    precision: TrainingPrecision,
) -> MeasuredStep:
    """What the profile gives for one step of this layout; nothing for a stack that it was not measured on."""
    execution = EXECUTIONS.get(stack.name)
    if profile is None or execution is None:
        return NOT_MEASURED
    rows = [row for row in profile.layers if _is_usable(row, precision)]
    layers = [
        row
        for row in rows
        if row.model == architecture.name and row.execution == execution and _attends_with(row, stack.attention)
    ]
    local = seq_len / layout.cp
    tokens = layout.micro_batch * local
    return MeasuredStep(
        block=_block(layers, layout, local, seq_len),
        head=interpolated(_by_tokens(layers, "head_loss"), (layout.tp, tokens)),
        update=_update(rows),
    )


def _is_usable(row: LayerRow, precision: TrainingPrecision) -> bool:
    """Whether a row holds a whole measurement of plain passes. A row taken over real ranks names its collective
    layout and holds their time, one that accumulates holds that of the sum of gradients (`sim.sharding.accumulate_s`)
    and one that recomputes that of the second forward pass: the step model adds all three."""
    plain = (row.recompute, row.collective_layout, row.accumulates) == ("none", "", False)
    return row.status == "ok" and row.origin != "roofline" and row.precision == precision and plain


def _attends_with(row: LayerRow, attention: AttentionKernel) -> bool:
    """Whether a row ran the wanted attention kernel, or none."""
    return row.workload not in ATTENDING or row.attention_backend == BACKENDS[attention]


def _block(rows: Sequence[LayerRow], layout: ParallelLayout, local: float, seq_len: int) -> Measured:
    at = (layout.tp, layout.micro_batch, local)
    if layout.cp == 1:
        blocks = [_timed(row, (row.tp, row.micro_batch, row.seq_len)) for row in _of(rows, "block", None)]
        whole = interpolated(blocks, at)
        if whole.footing != "none":
            return whole
    context = None if layout.cp == 1 else seq_len
    cores = [_timed(row, (row.tp, row.micro_batch, row.seq_len)) for row in _of(rows, "attention", context)]
    by_tokens = (layout.tp, layout.micro_batch * local)
    parts = [interpolated(cores, at), *(interpolated(_by_tokens(rows, part), by_tokens) for part in TOKEN_PARTS)]
    if any(part.footing == "none" for part in parts):
        return Measured()
    return Measured(
        forward_s=sum(part.forward_s for part in parts),
        backward_s=sum(part.backward_s for part in parts),
        footing="scaled" if any(part.footing == "scaled" for part in parts) else "interpolated",
    )


def _update(rows: Sequence[LayerRow]) -> Measured:
    """Optimizer and gradient norm of the largest measured count, per parameter: both are bound by memory, so that
    their time is in proportion to the parameters once there are enough of them."""
    steps = [row for row in rows if row.workload == "optimizer" and row.size and row.forward_s]
    norms = [row for row in rows if row.workload == "grad_norm" and row.size and row.forward_s]
    if not steps or not norms:
        return Measured()
    largest = [max(found, key=lambda row: row.size or 0) for found in (steps, norms)]
    per_parameter = sum((row.forward_s or math.nan) / (row.size or math.nan) for row in largest)
    scaled = any(row.origin == "scaled" for row in largest)
    return Measured(forward_s=per_parameter, backward_s=0.0, footing="scaled" if scaled else "interpolated")


def _of(rows: Iterable[LayerRow], workload: Workload, context_len: int | None) -> list[LayerRow]:
    """The rows of a workload with both passes."""
    return [
        row
        for row in rows
        if row.workload == workload and row.context_len == context_len and row.forward_s and row.backward_s
    ]


def _by_tokens(rows: Iterable[LayerRow], workload: Workload) -> list[Timed]:
    return [_timed(row, (row.tp, row.tokens)) for row in _of(rows, workload, None)]


def _timed(row: LayerRow, at: Shape) -> Timed:
    assert row.forward_s is not None
    assert row.backward_s is not None
    return Timed(at=at, seconds=(row.forward_s, row.backward_s), scaled=row.origin == "scaled")


def interpolated(points: Sequence[Timed], at: Shape) -> Measured:
    """Seconds at a shape: those measured there, else on the line between the logarithms of its neighbours, axis by
    axis; nothing outside the measured shapes or across a gap wider than `WIDEST_GAP`.

    Of several measurements of one shape the first counts: the profiler takes the most valuable first.
    """
    first = {point.at: point for point in reversed(points)}
    found = _along(list(first.values()), at, 0)
    if found is None:
        return Measured()
    seconds, used = found
    exact = at in first
    scaled = any(point.scaled for point in used)
    footing: Footing = "scaled" if scaled else "measured" if exact else "interpolated"
    return Measured(forward_s=seconds[0], backward_s=seconds[1], footing=footing)


def _along(points: Sequence[Timed], at: Shape, axis: int) -> tuple[Seconds, list[Timed]] | None:
    """Seconds at a shape from points that agree with it on the axes before `axis`, and the points used."""
    if axis == len(at):
        return (points[0].seconds, [points[0]]) if points else None
    wanted = at[axis]
    places = sorted({point.at[axis] for point in points})

    def held(place: float) -> tuple[Seconds, list[Timed]] | None:
        return _along([point for point in points if point.at[axis] == place], at, axis + 1)

    if wanted in places and (here := held(wanted)):
        return here
    below = next(((p, s) for p in reversed(places) if p < wanted and (s := held(p))), None)
    above = next(((p, s) for p in places if p > wanted and (s := held(p))), None)
    if below is None or above is None or above[0] / below[0] > WIDEST_GAP:
        return None
    (low, (low_s, low_points)), (high, (high_s, high_points)) = below, above
    weight = math.log(wanted / low) / math.log(high / low)
    forward, backward = (a ** (1 - weight) * b**weight for a, b in zip(low_s, high_s, strict=True))
    return (forward, backward), [*low_points, *high_points]
