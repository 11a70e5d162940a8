"""What to measure, in which order: the points of a run, the most valuable first. No torch here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product

from profiler.architecture import ModelArchitecture
from profiler.arithmetic import (
    BLOCK_PARTS,
    Work,
    copy_work,
    grad_norm_work,
    layer_work,
    matmul_work,
    optimizer_work,
)
from profiler.files import InputError
from profiler.profile import Execution, LayerRow, Precision, Recompute, Workload
from profiler.sharding import rank_share

SHAPELESS = ("matmul", "copy", "optimizer", "grad_norm", "launch")
"""Workloads that belong to the device, not to a model's shape."""
_WINDOW_WEIGHT = {"block": 5.0, "matmul": 3.0, "head_loss": 2.0, "launch": 0.2}
"""Share of the time budget by workload, against 1 for the others."""
MEASURING_SHARE = 0.6
"""Part of the budget planned for measured windows; warm-up, compilation and building take the rest."""
SHORTEST_WINDOW_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Point:
    """One thing to measure; the same fields, by the same names, identify its `LayerRow`."""

    workload: Workload
    model: str = ""
    """Empty for what belongs to the device alone."""
    tp: int = 1
    micro_batch: int = 1
    seq_len: int = 1
    precision: Precision = "bf16"
    recompute: Recompute = "none"
    execution: Execution = "eager"
    attention_backend: str = ""
    """Of workloads that hold attention."""
    collective_layout: str = ""
    """Where tensor-parallel collectives run inside the workload; empty when none does."""
    size: int | None = None

    def label(self) -> str:
        """A short name for a person."""
        if self.size is not None:
            return f"{self.workload} {self.size:,}" + (f" {self.precision}" if self.workload == "matmul" else "")
        if self.workload in SHAPELESS:
            return self.workload
        words = [self.workload, f"TP {self.tp}", f"{self.micro_batch}×{self.seq_len}", self.precision]
        words += [self.execution] if self.execution != "eager" else []
        words += [f"{self.recompute} recompute"] if self.recompute != "none" else []
        return " ".join(words)


def point_of(row: LayerRow) -> Point:
    """The point that a row measured."""
    return Point(**{field.name: getattr(row, field.name) for field in fields(Point)})


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked to measure.

    Raises:
        InputError: a degree that does not divide the model, a sequence beyond its context.
    """

    architecture: ModelArchitecture
    tensor_parallel: tuple[int, ...]
    micro_batches: tuple[int, ...]
    seq_lens: tuple[int, ...]
    executions: tuple[Execution, ...]
    recomputes: tuple[Recompute, ...]
    precision: Precision
    attention_backend: str
    collective_layout: str
    """Empty when one rank's share is measured in a world of one."""
    matmul_sizes: tuple[int, ...]
    copy_bytes: int
    parameter_counts: tuple[int, ...]

    def __post_init__(self) -> None:
        for tp in self.tensor_parallel:
            rank_share(self.architecture, tp)
        longest = max(self.seq_lens)
        if longest > self.architecture.context:
            raise InputError(
                f"sequence length {longest} is beyond {self.architecture.name}'s context of "
                f"{self.architecture.context} tokens."
            )


def points(request: Request) -> tuple[Point, ...]:
    """Everything to measure, most valuable first: ceilings, blocks, the model's ends, then the parts."""
    return tuple(dict.fromkeys(_ordered(request)))


def _ordered(request: Request) -> Iterator[Point]:
    yield Point(workload="matmul", precision=request.precision, size=request.matmul_sizes[0])
    yield Point(workload="copy", precision=request.precision, size=request.copy_bytes)
    yield from _layers(request, ("block",), "none")
    yield from _layers(request, ("head_loss", "embedding"), "none")
    for size in request.parameter_counts:
        yield Point(workload="optimizer", precision=request.precision, size=size)
    for recompute in request.recomputes:
        yield from _layers(request, ("block",), recompute)
    yield from _layers(request, BLOCK_PARTS, "none")
    for size in request.parameter_counts:
        yield Point(workload="grad_norm", precision=request.precision, size=size)
    yield Point(workload="launch", precision=request.precision)
    for size in request.matmul_sizes[1:]:
        yield Point(workload="matmul", precision=request.precision, size=size)


def _layers(request: Request, workloads: Sequence[str], recompute: Recompute) -> Iterator[Point]:
    shapes = product(request.executions, request.seq_lens, request.micro_batches, request.tensor_parallel)
    for (execution, seq_len, micro_batch, tp), workload in product(shapes, workloads):
        yield Point(
            workload=workload,  # type: ignore[arg-type]  # the callers name workloads only
            model=request.architecture.name,
            tp=tp,
            micro_batch=micro_batch,
            seq_len=seq_len,
            precision=request.precision,
            recompute=recompute,
            execution=execution,
            attention_backend=request.attention_backend if workload in ("block", "attention") else "",
            collective_layout=request.collective_layout if tp > 1 and _communicates(workload) else "",
        )


def _communicates(workload: str) -> bool:
    return workload not in ("attention", "norms")


def work_of(point: Point, architecture: ModelArchitecture) -> Work:
    """FLOPs and bytes of a point, on one rank."""
    size = point.size or 0
    match point.workload:
        case "matmul":
            return matmul_work(size, point.precision)
        case "copy":
            return copy_work(size)
        case "optimizer":
            return optimizer_work(size, point.precision)
        case "grad_norm":
            return grad_norm_work(size)
        case "launch":
            return Work()
        case workload:
            share = rank_share(architecture, point.tp)
            return layer_work(workload, share, point.micro_batch, point.seq_len, point.precision)


def windows_s(todo: Sequence[Point], budget_s: float, longest_s: float) -> dict[Point, float]:
    """Seconds to spend measuring each point: the budget divided by value, none beyond `longest_s`."""
    weights = {point: _WINDOW_WEIGHT.get(point.workload, 1.0) for point in todo}
    each_s = MEASURING_SHARE * budget_s / max(sum(weights.values()), 1.0)
    return {p: min(max(w * each_s, SHORTEST_WINDOW_S), longest_s) for p, w in weights.items()}
