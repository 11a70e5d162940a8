"""What a plan's step times and watts stand on: a profile, published kernels, or another part's."""

from collections.abc import Mapping, Sequence

from planner.assumption import Assumption, by_words, row
from planner.phase_notes import fitted_on, step_error_source
from planner.phases import PlannedPhase
from planner.plan_file import PlanRequest
from profiler.profile import Profile
from sim.calibration import load_calibration
from sim.hardware import Gpu
from sim.measured_gpu import source_of
from sim.power import Activity, activity_power_w
from sim.stacks.stack import load_stack


def speed_assumptions(
    request: PlanRequest, phases: Sequence[PlannedPhase], gpu: Gpu, profile: Profile | None, step_error: float
) -> list[Assumption]:
    """The stack, how fast its kernels are, and how far off the step may be."""
    stack = load_stack(request.training.stack)
    return [
        row("Software stack", stack.label, "assumed" if stack.notes else "published", stack.source),
        _kernel_speeds(request, phases, gpu, profile),
        row(
            "Error of the step model",
            f"{step_error * 100:.1f} % at the 90th percentile",
            "calibrated",
            step_error_source(phases, gpu),
        ),
    ]


def _kernel_speeds(
    request: PlanRequest, phases: Sequence[PlannedPhase], gpu: Gpu, profile: Profile | None
) -> Assumption:
    if request.stated.tflops_per_gpu is not None:
        rest = "; what a step takes longer than predicted, GPUs wait" if _waits(phases) else ""
        return row("Throughput", f"{request.stated.tflops_per_gpu:.0f} TFLOP/s per GPU{rest}", "given", "plan")
    step = phases[0].step
    constants = f"{len(load_calibration().constants)} constants"
    if profile is None or step.origin not in ("measured", "scaled"):
        return row("Kernel speeds", constants, step.origin, fitted_on(phases[:1], gpu))
    shares = f"{step.kernel_shares.text()}; {constants} for the rest"
    return row("Kernel speeds", shares, step.origin, f"profile {profile.name}; {fitted_on(phases[:1], gpu)}")


def _waits(phases: Sequence[PlannedPhase]) -> bool:
    return any(phase.step_time_s > phase.step.step_time_s for phase in phases)


DRAWN: Mapping[Activity, str] = {
    "matmul": "in matmuls",
    "attention": "in attention",
    "memory": "in memory-bound kernels",
}
"""Activities whose watts can be measured, in words."""


def watts_assumptions(gpu: Gpu, profile: Profile | None) -> list[Assumption]:
    """Watts by activity: those measured on this GPU, and those taken from another's."""
    own = [activity for activity in DRAWN if getattr(gpu, f"{activity}_power_w") is not None]
    others = [activity for activity in DRAWN if activity not in own]

    def listed(activities: Sequence[Activity]) -> str:
        return ", ".join(f"{activity_power_w(gpu, one):.0f} W {DRAWN[one]}" for one in activities)

    rows = []
    if own:
        said = gpu.sources.get(f"{own[0]}_power_w", "")
        kind, rest = by_words(said), ""
        if profile is not None and said.startswith(source_of(profile)):
            kind = "scaled" if profile.provenance.origin == "scaled" else "measured"
            rest = f", {gpu.idle_power_w:.0f} W idle" if profile.provenance.idle_power_w else ""
        rows.append(row("GPU power by its profile", listed(own) + rest, kind, said))
    if others:
        rows.append(
            row(
                "GPU power by activity",
                f"{listed(others)}, of {gpu.tdp_w:.0f} W",
                "published" if gpu.name == "h200-sxm" else "scaled",
                "NVML readings of the aiconfigurator H200 data set (Apache-2.0), 90th percentile per class: 693 W in "
                "matmuls, 687 W in attention and 645 W in memory-bound kernels, of 700 W",
            )
        )
    return rows
