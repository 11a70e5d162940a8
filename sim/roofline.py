"""The profile that ships for a GPU, and the calibrated roofline of any GPU in the catalogue as one."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from profiler.architecture import ModelArchitecture
from profiler.profile import (
    PROFILES,
    Execution,
    LayerRow,
    Profile,
    Provenance,
    read_profile,
)
from sim.case import StepCase, entry
from sim.case_columns import build_case
from sim.hardware import Gpu, load_fabric, load_node
from sim.kernels.measured import BACKENDS, EXECUTIONS
from sim.layout import ParallelLayout
from sim.passes import block_passes, head_s
from sim.stacks import SoftwareStack, load_stack


@cache
def load_profile(gpu: Gpu) -> Profile | None:
    """The profile that ships for a GPU, or `None` where none was measured."""
    path = PROFILES / f"{gpu.name}.json"
    return read_profile(path) if path.exists() else None


def roofline_profile(
    gpu: Gpu,
    architectures: Sequence[ModelArchitecture],
    *,
    tps: Sequence[int] = (1, 2, 4, 8),
    micro_batches: Sequence[int] = (1, 2, 4),
    seq_lens: Sequence[int] = (4096, 8192),
) -> Profile:
    """What a profile of `gpu` would hold, computed from its datasheet and the calibrated efficiencies.

    Every row says `roofline`: nothing here was measured on the GPU.
    """
    rows = [
        row
        for architecture in architectures
        for stack_name, execution in EXECUTIONS.items()
        for seq_len in seq_lens
        for row in _rows(gpu, architecture, load_stack(stack_name), execution, seq_len, tps, micro_batches)
    ]
    return Profile(
        name=f"{gpu.name}-roofline",
        provenance=Provenance(
            device=gpu.label,
            gpu=gpu.name,
            origin="roofline",
            method="Computed from the datasheet and the calibrated efficiencies; nothing was measured on this GPU.",
            power_limit_w=gpu.tdp_w,
            idle_power_w=gpu.idle_power_w,
            memory_bytes=gpu.memory_bytes,
            peak_matmul_flops=gpu.peak_bf16_flops,
            copy_bytes_per_s=gpu.memory_bandwidth_bytes_per_s,
            notes=tuple(f"{key}: {source}" for key, source in gpu.sources.items()),
        ),
        layers=tuple(rows),
    )


def _rows(
    gpu: Gpu,
    architecture: ModelArchitecture,
    stack: SoftwareStack,
    execution: Execution,
    seq_len: int,
    tps: Sequence[int],
    micro_batches: Sequence[int],
) -> list[LayerRow]:
    layouts = [
        ParallelLayout(tp=tp, micro_batch=b)
        for tp in tps
        for b in micro_batches
        if architecture.heads % tp == 0 and architecture.kv_heads % tp == 0
    ]
    case = _case(gpu, architecture, stack, layouts, seq_len)
    forward, backward = block_passes(case)
    head = head_s(case)
    rows: list[LayerRow] = []
    for i, layout in enumerate(layouts):
        base = LayerRow(
            workload="block",
            origin="roofline",
            model=architecture.name,
            tp=layout.tp,
            micro_batch=layout.micro_batch,
            seq_len=seq_len,
            execution=execution,
        )
        flops = _block_flops(architecture, layout, seq_len)
        third = entry(head, i) / 3
        head_flops = 2 * base.tokens * architecture.hidden * architecture.vocab / layout.tp
        rows += [
            replace(
                base,
                attention_backend=BACKENDS[stack.attention],
                forward_s=float(forward.compute[i]),
                backward_s=float(backward.compute[i]),
                forward_flops=flops,
                backward_flops=2 * flops,
            ),
            replace(
                base,
                workload="head_loss",
                forward_s=third,
                backward_s=2 * third,
                forward_flops=head_flops,
                backward_flops=2 * head_flops,
            ),
        ]
    return rows


def _case(
    gpu: Gpu, architecture: ModelArchitecture, stack: SoftwareStack, layouts: Sequence[ParallelLayout], seq_len: int
) -> StepCase:
    """One sequence on the GPU's own kind of node."""
    node = load_node(gpu.node)
    return build_case(
        architecture=architecture,
        gpu=gpu,
        node=node,
        gpus_per_node=node.gpus_per_node,
        fabric=load_fabric(node.fabric),
        stack=stack,
        layouts=layouts,
        seq_len=seq_len,
        global_batch=1,
    )


def _block_flops(a: ModelArchitecture, layout: ParallelLayout, seq_len: int) -> float:
    """Forward FLOPs of one rank's share of a block: its products and the causal half of the attention."""
    tokens = layout.micro_batch * seq_len
    attention = a.attention_flops_per_token(seq_len, "causal") / a.layers / 3
    return tokens * (2 * a.layer_matmul_parameters + attention) / layout.tp
