"""What the step model computes for one row of a profile: the seconds of a block, a part of one, the head, a ceiling.

A row that was measured can be held against it, and the share of its seconds that memory traffic takes tells how it
goes on a GPU of the same architecture with other memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast, get_args

import numpy as np

from profiler.architecture import ModelArchitecture
from profiler.profile import LayerRow, Workload
from sim.calibration import load_calibration
from sim.case import Array, StepCase, entry
from sim.case_columns import build_case, rate_columns
from sim.hardware import Gpu, TrainingPrecision, load_fabric, load_node
from sim.kernels.matmul import BlockShapes, matmul_curve, product_s
from sim.kernels.measured import BACKENDS, EXECUTIONS
from sim.layout import ParallelLayout
from sim.passes import (
    block_attention_s,
    block_elementwise_s,
    block_matmul_backward_s,
    block_matmul_s,
    block_shapes_of,
    head_s,
    recomputed,
)
from sim.stacks.stack import SoftwareStack, load_stack

OPERATIONS = ("norm", "residual", "gated", "plain", "rotary", "copies")
OPERATIONS_OF: Mapping[Workload, tuple[str, ...]] = {
    "block": OPERATIONS,
    "attention": ("rotary", "copies"),
    "mlp": ("gated", "plain"),
    "norms": ("norm", "residual"),
}
"""Elementwise operations of a part of a block; the other parts have none."""
MOVING: tuple[Workload, ...] = ("embedding", "optimizer", "grad_norm", "copy")
"""Workloads that move the bytes that their rows count, and compute nothing to speak of."""


@dataclass(frozen=True, kw_only=True)
class PassSeconds:
    """Seconds of one pass of a row's workload on one GPU."""

    total_s: float
    memory_s: float
    """Of these, what memory traffic adds: with memory infinitely fast the pass would be so much shorter."""


def row_seconds(
    row: LayerRow, gpu: Gpu, architecture: ModelArchitecture | None
) -> tuple[PassSeconds, PassSeconds] | None:
    """Seconds of a row's forward and backward pass on `gpu` by the calibrated efficiencies; `None` where the model
    has none: launches by the host, products in fp32, a model that is not given."""
    if row.workload in MOVING:
        return _moving_s(row.forward_bytes, gpu), _moving_s(row.backward_bytes, gpu)
    if row.workload == "launch" or row.precision not in get_args(TrainingPrecision):
        return None
    if row.workload == "matmul":
        return _ceiling_s(row, gpu), PassSeconds(total_s=0.0, memory_s=0.0)
    if architecture is None:
        return None
    case = _of_part(row_case(row, gpu, architecture), row.workload)
    if row.workload == "head_loss":
        third = _split(case, lambda c: head_s(c) / 3)
        return third, PassSeconds(total_s=2 * third.total_s, memory_s=2 * third.memory_s)
    return (
        _split(case, lambda c: sum(_kernels_s(c, row.workload, backward=False), np.zeros(1))),
        _split(case, lambda c: _behind_s(c, row)),
    )


def row_case(row: LayerRow, gpu: Gpu, architecture: ModelArchitecture) -> StepCase:
    """One rank's share of a step as the row ran it, on the GPU's own kind of node."""
    node, seq_len = load_node(gpu.node), row.context_len or row.seq_len
    cp = max(seq_len // row.seq_len, 1)
    return build_case(
        architecture=architecture,
        gpu=gpu,
        node=node,
        gpus_per_node=node.gpus_per_node,
        fabric=load_fabric(node.fabric),
        stack=row_stack(row),
        layouts=[ParallelLayout(tp=row.tp, cp=cp, micro_batch=row.micro_batch, recompute=row.recompute)],
        seq_len=seq_len,
        global_batch=row.micro_batch,
        precision=cast(TrainingPrecision, row.precision),
    )


def row_stack(row: LayerRow) -> SoftwareStack:
    """The stack that a row ran, with its attention kernel; gathered keys and values are merged with none."""
    name = next(name for name, execution in EXECUTIONS.items() if execution == row.execution)
    stack = load_stack(name)
    kernels = [kernel for kernel, backend in BACKENDS.items() if backend == row.attention_backend]
    return stack if not kernels or stack.attention in kernels else replace(stack, attention=kernels[0])


def _split(case: StepCase, seconds: Callable[[StepCase], Array]) -> PassSeconds:
    total_s = entry(seconds(case), 0)
    alone_s = entry(seconds(replace(case, memory_bytes_per_s=np.full(1, np.inf))), 0)
    return PassSeconds(total_s=total_s, memory_s=total_s - alone_s)


def _of_part(case: StepCase, workload: Workload) -> StepCase:
    """The case with the elementwise operations of that part alone."""
    others = [name for name in OPERATIONS if name not in OPERATIONS_OF.get(workload, ())]
    silent = {f"{name}_{way}": np.zeros(1) for name in others for way in ("forward", "backward")}
    if "copies" in others:
        silent["repeats_heads"] = np.zeros(1)
    return replace(case, **silent, merge_forward=np.zeros(1), merge_backward=np.zeros(1))


def _kernels_s(case: StepCase, workload: Workload, *, backward: bool) -> tuple[Array, Array, Array]:
    """Seconds of the products, the attention and the elementwise kernels of a part of a block."""
    shapes, nothing = _shapes(case, workload), np.zeros(1)
    products_s = block_matmul_backward_s if backward else block_matmul_s
    attends = workload in ("block", "attention")
    return (
        nothing if shapes is None else products_s(case, shapes),
        block_attention_s(case, backward=backward) if attends else nothing,
        block_elementwise_s(case, backward=backward) if workload in OPERATIONS_OF else nothing,
    )


def _behind_s(case: StepCase, row: LayerRow) -> Array:
    """Seconds of a backward pass, with what it runs again and the sum of gradients, where the row has them."""
    ahead, behind = (_kernels_s(case, row.workload, backward=way) for way in (False, True))
    again = recomputed(case)
    shares = (again.matmul, again.attention, again.elementwise)
    summed = case.accumulate_bytes * case.layer_parameters / case.tp if row.accumulates else np.zeros(1)
    rerun = sum((share * seconds for share, seconds in zip(shares, ahead, strict=True)), np.zeros(1))
    return np.asarray(sum(behind, rerun) + summed / case.memory_bytes_per_s)


def _shapes(case: StepCase, workload: Workload) -> BlockShapes | None:
    """The products of a part of a block on one rank; `None` where there are none."""
    heads, kv, wide = case.attention_width / case.tp, case.kv_width / case.tp, case.ffn / case.tp
    up = (1 + case.gated) * wide
    of_part = {
        "qkv": BlockShapes(
            weights=case.hidden * (heads + 2 * kv), outputs=heads + 2 * kv, inputs=case.hidden, products=1
        ),
        "attention_out": BlockShapes(weights=case.hidden * heads, outputs=case.hidden, inputs=heads, products=1),
        "mlp": BlockShapes(
            weights=case.hidden * (up + wide), outputs=up + case.hidden, inputs=case.hidden + wide, products=2
        ),
        "block": block_shapes_of(case),
    }
    return of_part.get(workload)


def _moving_s(moved_bytes: float, gpu: Gpu) -> PassSeconds:
    seconds = moved_bytes / (gpu.memory_bandwidth_bytes_per_s * load_calibration().values()["memory_share"])
    return PassSeconds(total_s=seconds, memory_s=seconds)


def _ceiling_s(row: LayerRow, gpu: Gpu) -> PassSeconds:
    """One square product."""
    precision, node = cast(TrainingPrecision, row.precision), load_node(gpu.node)
    rates = rate_columns(
        gpu,
        node,
        node.gpus_per_node,
        load_fabric(node.fabric),
        row_stack(row),
        precision,
        load_calibration().values(),
    )
    size, curve = float(row.size or 1), matmul_curve(gpu.kernels, precision)
    seconds = product_s(size, size, size, rates["matmul_flops_per_s"], replace(curve, quantise_s_per_element=0.0))
    return PassSeconds(total_s=float(seconds), memory_s=0.0)
