"""The profile that ships for a GPU, and the calibrated roofline of any GPU in the catalogue as one."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product

from profiler.architecture import ModelArchitecture
from profiler.arithmetic import layer_work
from profiler.profile import PROFILES, LayerRow, Profile, Provenance, Workload, read_profile
from profiler.sharding import rank_share, tensor_parallel_degrees
from sim.hardware import Gpu
from sim.kernels.measured import BACKENDS, EXECUTIONS
from sim.profile_rows import row_seconds
from sim.stacks.stack import load_stack

WORKLOADS: tuple[Workload, ...] = ("block", "head_loss")
"""What a step takes from a profile, shape by shape (`sim.kernels.measured`)."""


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
    rows = (
        LayerRow(
            workload=workload,
            origin="roofline",
            model=architecture.name,
            tp=tp,
            micro_batch=micro_batch,
            seq_len=seq_len,
            execution=execution,
            attention_backend=BACKENDS[load_stack(stack).attention] if workload == "block" else "",
        )
        for architecture in architectures
        for (stack, execution), seq_len, tp, micro_batch, workload in product(
            EXECUTIONS.items(), seq_lens, tps, micro_batches, WORKLOADS
        )
        if tp in tensor_parallel_degrees(architecture)
    )
    named = {architecture.name: architecture for architecture in architectures}
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
        layers=tuple(_row(gpu, named[row.model], row) for row in rows),
    )


def _row(gpu: Gpu, architecture: ModelArchitecture, row: LayerRow) -> LayerRow:
    """The row with its work and its seconds."""
    work = layer_work(row.workload, rank_share(architecture, row.tp), row.micro_batch, row.seq_len, row.precision)
    found = row_seconds(row, gpu, architecture)
    assert found is not None
    ahead, behind = found
    return replace(
        row,
        forward_s=ahead.total_s,
        backward_s=behind.total_s,
        forward_flops=work.forward_flops,
        backward_flops=work.backward_flops,
    )
