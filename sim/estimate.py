"""The StepEstimate contract: one optimizer step as a person, or the campaign, wants it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from profiler.architecture import ModelArchitecture
from profiler.files import InputError
from profiler.profile import Profile
from sim.case import Array, StepCase, entry
from sim.case_columns import build_case
from sim.floor import floor_s
from sim.hardware import Cluster, Gpu, TrainingPrecision
from sim.kernels.measured import Footing, MeasuredStep, measured_step
from sim.kernels.shares import Basis, KernelShares, kernel_shares, part_bases
from sim.layout import ParallelLayout, check_layout
from sim.memory import Fit, fit, largest_kind, memory_use
from sim.power import step_power_w
from sim.stacks.stack import SoftwareStack
from sim.step import StepTimes, network_s, step_times

KernelOrigin = Literal["measured", "scaled", "calibrated", "assumed"]
"""Of the blocks. measured: the very shape is in a profile; scaled: it lies between measured shapes, or the profile
derives from another GPU's; calibrated: a roofline whose efficiencies were fitted to published kernels and runs;
assumed: the H100's efficiencies on the datasheet of a part on which no run was fitted."""
ORIGINS: Mapping[Footing, KernelOrigin] = {
    "measured": "measured",
    "scaled": "scaled",
    "interpolated": "scaled",
    "none": "calibrated",
}


@dataclass(frozen=True, kw_only=True)
class StepEstimate:
    """Seconds of one optimizer step and where they go, bytes per GPU by kind, watts, tokens and utilisation."""

    step_time_s: float
    parts_s: Mapping[str, float]
    """Seconds by activity; they add up to `step_time_s`."""
    network_s: float
    """In which a GPU's network card moves something, mostly beside all this."""
    floor_s: float
    """The physical floor: no program on these GPUs can be faster (`sim.floor`)."""
    memory_bytes: Mapping[str, float]
    """Bytes of the fullest GPU by kind."""
    peak_memory_bytes: float
    capacity_bytes: float
    largest_memory: str
    gpu_power_w: float
    node_power_w: float
    """One whole node at the wall, fans and conversion included."""
    tokens: float
    gpus: int
    model_flops: float
    """FLOPs of the step, non-causal, nothing counted twice for recompute."""
    peak_flops: float
    """Dense peak of one GPU in the precision used."""
    origin: KernelOrigin
    kernel_shares: KernelShares
    """How much of the time stands on measured, interpolated, published and guessed kernels."""
    bases: Mapping[str, Basis]
    """Which of these each part stands on."""
    layout: ParallelLayout

    @property
    def memory_fit(self) -> Fit:
        """Whether the fullest GPU's memory suffices, given how far the prediction of its peak is to be trusted."""
        return fit(self.peak_memory_bytes, self.capacity_bytes)

    def mfu(self) -> float:
        """Model FLOPs utilisation against the dense peak of the precision used."""
        return self.model_flops / self.step_time_s / self.gpus / self.peak_flops


def check_precision(precision: TrainingPrecision, gpu: Gpu) -> None:
    """Refuse a precision that the step model has no rates for on this GPU.

    Raises:
        InputError: fp8 where there are no fp8 matrix units.
    """
    if precision == "fp8" and gpu.peak_fp8_flops is None:
        raise InputError(f"precision is fp8, but {gpu.label} has no fp8 matrix units; bf16 is the nearest.")


def step_case(
    *,
    architecture: ModelArchitecture,
    cluster: Cluster,
    layout: ParallelLayout,
    stack: SoftwareStack,
    seq_len: int,
    global_batch: int,
    precision: TrainingPrecision = "bf16",
    profile: Profile | None = None,
    calibration: Mapping[str, float] | None = None,
) -> tuple[StepCase, MeasuredStep]:
    """One optimizer step as numbers, and what of it the profile gives.

    Raises:
        InputError: a layout that cannot be built for this model, batch and cluster, or a precision that the GPU
        lacks.
    """
    check_precision(precision, cluster.gpu)
    check_layout(layout, architecture, gpus=cluster.gpus, global_batch=global_batch, seq_len=seq_len)
    measured = measured_step(profile, architecture, stack, layout, seq_len, precision)
    case = build_case(
        architecture=architecture,
        gpu=cluster.gpu,
        node=cluster.node,
        gpus_per_node=cluster.gpus_per_node,
        fabric=cluster.fabric,
        stack=stack,
        layouts=[layout],
        seq_len=seq_len,
        global_batch=global_batch,
        precision=precision,
        calibration=calibration,
        measured=[measured],
    )
    return case, measured


def estimate_step(
    *,
    architecture: ModelArchitecture,
    cluster: Cluster,
    layout: ParallelLayout,
    stack: SoftwareStack,
    seq_len: int,
    global_batch: int,
    precision: TrainingPrecision = "bf16",
    profile: Profile | None = None,
    calibration: Mapping[str, float] | None = None,
) -> StepEstimate:
    """Predict one optimizer step.

    Raises:
        InputError: as `step_case`.
    """
    case, measured = step_case(
        architecture=architecture,
        cluster=cluster,
        layout=layout,
        stack=stack,
        seq_len=seq_len,
        global_batch=global_batch,
        precision=precision,
        profile=profile,
        calibration=calibration,
    )
    return from_case(case, step_times(case), architecture, cluster, layout, measured=measured)


def _origin(measured: MeasuredStep, gpu: Gpu) -> KernelOrigin:
    found = ORIGINS[measured.block.footing]
    return "assumed" if found == "calibrated" and not (gpu.kernels or gpu.fitted) else found


def from_case(
    case: StepCase,
    times: StepTimes,
    architecture: ModelArchitecture,
    cluster: Cluster,
    layout: ParallelLayout,
    *,
    measured: MeasuredStep,
) -> StepEstimate:
    """The only entry of an evaluated case as a StepEstimate."""

    def at(values: Array) -> float:
        return entry(values, 0)

    memory = memory_use(case)
    gpu_power_w = at(step_power_w(cluster.gpu, times))
    tokens = at(case.tokens)
    parts_s = {f.name: at(getattr(times, f.name)) for f in fields(times) if f.name != "total"}
    return StepEstimate(
        step_time_s=at(times.total),
        parts_s=parts_s,
        network_s=at(network_s(case)),
        floor_s=at(floor_s(case)),
        memory_bytes={f.name: at(getattr(memory, f.name)) for f in fields(memory) if f.name != "total"},
        peak_memory_bytes=at(memory.total),
        capacity_bytes=cluster.gpu.memory_bytes,
        largest_memory=largest_kind(memory),
        gpu_power_w=gpu_power_w,
        node_power_w=cluster.gpus_per_node * gpu_power_w
        + cluster.idle_gpus / cluster.nodes * cluster.gpu.idle_power_w
        + cluster.node.host_load_power_w,
        tokens=tokens,
        gpus=cluster.gpus,
        model_flops=architecture.flops_per_token(round(at(case.seq_len)), "noncausal") * tokens,
        peak_flops=at(case.peak_flops),
        origin=_origin(measured, cluster.gpu),
        kernel_shares=kernel_shares(parts_s, measured, timed_part=cluster.gpu.kernels != ""),
        bases=part_bases(measured, timed_part=cluster.gpu.kernels != ""),
        layout=layout,
    )
