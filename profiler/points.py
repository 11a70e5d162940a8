"""What to measure, in which order: the points of a run, the most valuable first. No torch here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Literal

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

OptimizerKernels = Literal["", "fused", "foreach"]

SHAPELESS = ("matmul", "copy", "optimizer", "grad_norm", "launch")
"""Workloads that belong to the device, not to a model's shape."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One thing to measure; the same fields, by the same names, identify its `LayerRow`."""

    workload: Workload
    model: str = ""
    """Empty for what belongs to the device alone."""
    tp: int = 1
    micro_batch: int = 1
    seq_len: int = 1
    context_len: int | None = None
    precision: Precision = "bf16"
    recompute: Recompute = "none"
    execution: Execution = "eager"
    attention_backend: str = ""
    """Of workloads that hold attention."""
    collective_layout: str = ""
    """Where tensor-parallel collectives run inside the workload; empty when none does."""
    optimizer_kernels: OptimizerKernels = ""
    accumulates: bool = False
    size: int | None = None

    def label(self) -> str:
        """A short name for a person."""
        if self.size is not None:
            detail = self.precision if self.workload == "matmul" else self.optimizer_kernels
            return f"{self.workload} {self.size:,} {detail}".rstrip()
        if self.workload in SHAPELESS:
            return self.workload
        shape = f"{self.micro_batch}×{self.seq_len}"
        words = [self.workload, self.model, f"TP {self.tp}", shape]
        words += [f"of {self.context_len}"] if self.context_len else []
        words += [self.precision]
        words += [self.attention_backend] if self.attention_backend not in ("", "flash") else []
        words += [self.execution] if self.execution != "eager" else []
        words += [f"{self.recompute} recompute"] if self.recompute != "none" else []
        words += ["accumulating"] if self.accumulates else []
        return " ".join(words)


def point_of(row: LayerRow) -> Point:
    """The point that a row measured."""
    return Point(**{field.name: getattr(row, field.name) for field in fields(Point)})


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked to measure; of every list, the first is worth most.

    Raises:
        InputError: a degree that does not divide a model, a sequence beyond its context, a context that the
            sequence length does not divide into twice as many chunks as it has ranks.
    """

    architectures: tuple[ModelArchitecture, ...]
    tensor_parallel: tuple[int, ...]
    micro_batches: tuple[int, ...]
    seq_lens: tuple[int, ...]
    context_lens: tuple[int, ...]
    """Whole sequences of which a context-parallel rank holds the longest of `seq_lens`."""
    executions: tuple[Execution, ...]
    recomputes: tuple[Recompute, ...]
    precision: Precision
    attention_backends: tuple[str, ...]
    collective_layout: str
    """Empty when one rank's share is measured in a world of one."""
    matmul_sizes: tuple[int, ...]
    fp8: bool
    """Whether to look for the fp8 matmul ceiling."""
    copy_bytes: int
    parameter_counts: tuple[int, ...]

    def __post_init__(self) -> None:
        for architecture in self.architectures:
            for tp in self.tensor_parallel:
                rank_share(architecture, tp)
            longest = max((*self.seq_lens, *self.context_lens))
            if longest > architecture.context:
                raise InputError(
                    f"sequence length {longest} is beyond {architecture.name}'s context of "
                    f"{architecture.context} tokens."
                )
        for context_len in self.context_lens:
            if context_len % self.query_block or context_len == self.query_block or self.query_block % 2:
                raise InputError(
                    f"--context-len is {context_len}; an even --seq-len and a larger multiple of it are needed "
                    f"(it is {self.query_block}), of which one context-parallel rank holds that many tokens."
                )

    @property
    def query_block(self) -> int:
        """Tokens that a context-parallel rank holds."""
        return max(self.seq_lens)


def points(request: Request) -> tuple[Point, ...]:
    """Everything to measure, the most valuable first.

    The two ceilings, then all that one step of the first shape needs (its eager blocks, the model's ends, the
    optimizer, the same compiled, launches, long context), then its parts, recompute and other attention kernels, then
    other shapes.
    """
    return tuple(dict.fromkeys(_ordered(request)))


def _ordered(request: Request) -> Iterator[Point]:
    first = (request.seq_lens[0], request.micro_batches[0])
    others = [shape for shape in product(request.seq_lens, request.micro_batches) if shape != first]
    yield from _ceilings(request)
    yield from _layers(request, ("block",), [first])
    if request.fp8:
        yield Point(workload="matmul", precision="fp8", size=request.matmul_sizes[0])
    yield from _layers(request, ("head_loss", "embedding"), [first])
    yield from _updates(request, request.parameter_counts[:1], ("fused",))
    yield from _layers(request, ("block", "head_loss"), [first], executions=request.executions)
    yield Point(workload="launch", precision=request.precision)
    yield from _long_context(request)
    yield from _layers(request, BLOCK_PARTS, [first])
    yield from _layers(request, ("block",), [first], recomputes=request.recomputes, executions=request.executions)
    yield from _layers(request, ("attention", "block"), [first], backends=request.attention_backends)
    yield from (replace(point, accumulates=True) for point in _layers(request, ("block",), [first]))
    yield from _updates(request, request.parameter_counts, ("fused", "foreach"))
    yield from _layers(request, ("block",), others)
    yield from _layers(request, ("head_loss", "embedding"), others)
    yield from _layers(request, ("block",), others, executions=request.executions)
    yield from _layers(request, BLOCK_PARTS, others)
    yield from _layers(request, ("attention",), others, backends=request.attention_backends)
    yield from _layers(request, ("block",), others, recomputes=request.recomputes, executions=request.executions)
    ends = ("head_loss", "embedding", *BLOCK_PARTS)
    yield from _layers(request, ends, [first, *others], executions=request.executions)
    for size in request.matmul_sizes[1:]:
        yield Point(workload="matmul", precision=request.precision, size=size)


def _ceilings(request: Request) -> Iterator[Point]:
    yield Point(workload="matmul", precision=request.precision, size=request.matmul_sizes[0])
    yield Point(workload="copy", precision=request.precision, size=request.copy_bytes)


def _updates(request: Request, counts: Sequence[int], kernels: Sequence[OptimizerKernels]) -> Iterator[Point]:
    """What happens to weights once in a step: optimizer and gradient norm."""
    for size in counts:
        for kernel in kernels:
            yield Point(workload="optimizer", precision=request.precision, size=size, optimizer_kernels=kernel)
        yield Point(workload="grad_norm", precision=request.precision, size=size)


def _long_context(request: Request) -> Iterator[Point]:
    """A context-parallel rank's attention. Only kernels that know a mask aligned to the last key can run it."""
    backend = next((b for b in request.attention_backends if b != "cudnn"), "flash")
    for context_len in sorted(request.context_lens, reverse=True):
        shape = [(request.query_block, 1)]
        for point in _layers(request, ("attention",), shape, backends=(backend,)):
            yield replace(point, context_len=context_len, execution="eager")  # one kernel: nothing to compile


def _layers(
    request: Request,
    workloads: Sequence[str],
    shapes: Sequence[tuple[int, int]],
    *,
    executions: Sequence[Execution] = ("eager",),
    recomputes: Sequence[Recompute] = ("none",),
    backends: Sequence[str] = (),
) -> Iterator[Point]:
    """Points of `workloads` at every shape (sequence length, micro-batch), degree and model, in that order.

    An execution, recompute or kernel that was not asked for falls back to the first that was.
    """
    executions = executions if "eager" in request.executions else request.executions
    recomputes = recomputes if "none" in request.recomputes else request.recomputes
    backends = backends or request.attention_backends[:1]
    ways = product(executions, recomputes, backends)
    where = product(shapes, request.tensor_parallel, request.architectures)
    for (execution, recompute, backend), ((seq_len, micro_batch), tp, architecture), workload in product(
        ways, where, workloads
    ):
        yield Point(
            workload=workload,  # type: ignore[arg-type]  # the callers name workloads only
            model=architecture.name,
            tp=tp,
            micro_batch=micro_batch,
            seq_len=seq_len,
            precision=request.precision,
            recompute=recompute if workload == "block" else "none",
            execution=execution,
            attention_backend=backend if workload in ("block", "attention") else "",
            collective_layout=request.collective_layout if tp > 1 and _communicates(workload) else "",
        )


def _communicates(workload: str) -> bool:
    return workload not in ("attention", "norms")


def work_of(point: Point, architecture: ModelArchitecture | None) -> Work:
    """FLOPs and bytes of a point, on one rank; `architecture` is that of its model, if it has one."""
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
            assert architecture is not None, f"{workload} belongs to a model"
            share = rank_share(architecture, point.tp)
            return layer_work(workload, share, point.micro_batch, point.seq_len, point.precision, point.context_len)
