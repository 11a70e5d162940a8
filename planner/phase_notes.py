"""What to know of a plan's steps beside their numbers: memory that is tight, a busy network, an unfitted GPU."""

from collections import defaultdict
from collections.abc import Sequence

from planner.phases import PlannedPhase
from planner.quantities import percent
from profiler.units import GIB
from sim.calibration import load_calibration, unfitted_note
from sim.hardware import Gpu
from sim.memory import ERROR_P95

MEMORY_ERROR = f"the prediction is within {100 * ERROR_P95:.0f} % nineteen times in twenty"
"""What is said where the predicted peak is near what there is."""

BUSY_NETWORK = 0.4
"""Share of a step from which on what is moved over the network is worth a word. Of the fastest layouts of 105
searches (three models, 64 to 16,384 A100, H100 and B200, three fabrics) those below it took up to 5 % longer event by
event than in closed form, those above it up to 22 %."""


def memory_notes(phases: Sequence[PlannedPhase]) -> tuple[str, ...]:
    """One note on all phases whose peak fills the memory there is to within the model's error, or goes beyond it."""
    tight: dict[str, list[str]] = defaultdict(list)
    for phase in phases:
        if phase.step.memory_fit == "tight":
            peak = of_what_there_is(phase.step.peak_memory_bytes, phase.step.capacity_bytes)
            tight[peak].append(f"'{phase.name}'")
    if not tight:
        return ()
    listed = "; ".join(f"{peak} in {', '.join(names)}" for peak, names in tight.items())
    return (f"memory is tight: {listed} ({MEMORY_ERROR})",)


def network_notes(phases: Sequence[PlannedPhase]) -> tuple[str, ...]:
    """A note on each phase whose step keeps the network so busy that its transfers meet."""
    return tuple(
        f"phase '{phase.name}': {busy_network(phase.step.network_s / phase.step.step_time_s)}"
        for phase in phases
        if phase.step.network_s > BUSY_NETWORK * phase.step.step_time_s
    )


def busy_network(share: float) -> str:
    """What to say of a step in which a GPU's network card is busy for so much of the time."""
    return (
        f"a GPU's network card moves something for {percent(share, 0)} of a step; what transfers do to each other "
        "there is not in the step time, `herdplan step` simulates it"
    )


def step_error_p90(phases: Sequence[PlannedPhase], gpu: Gpu) -> float:
    """What nine in ten predicted steps miss by less than: of sources, or of a GPU, that the fit did not see."""
    calibration = load_calibration()
    seen = calibration.part_left_out_p90.get(gpu.fitted, calibration.unseen_p90)
    return calibration.other_part_p90 if _unfitted(phases) else seen


def step_error_source(phases: Sequence[PlannedPhase], gpu: Gpu) -> str:
    """Where `step_error_p90` comes from."""
    if _unfitted(phases):
        return "error at the 90th percentile of the A100's published runs under the H100's efficiencies"
    if gpu.fitted:
        return (
            "error at the 90th percentile on this GPU's published runs, each source left out of the fit of its rate"
        )
    return "error at the 90th percentile on published runs that the calibration did not see (docs/validation.md)"


def unfitted_notes(phases: Sequence[PlannedPhase], gpu: Gpu, error: float) -> tuple[str, ...]:
    """A word where the step stands on a GPU on which no run was fitted, or no more than its rate was."""
    if _unfitted(phases):
        return (f"{unfitted_note(gpu)}; so predicted, nine in ten of the A100's runs are within {percent(error, 0)}",)
    if gpu.fitted and any(phase.origin == "calibrated" for phase in phases):
        return (f"{unfitted_note(gpu)}; with their source left out, nine in ten are within {percent(error, 0)}",)
    return ()


def fitted_on(phases: Sequence[PlannedPhase], gpu: Gpu) -> str:
    """What the step's constants were fitted on, and that it was other GPUs where it was."""
    others = ", none on this GPU: the H100's" if _unfitted(phases) else ""
    others = ", and the rate of this GPU's products on its own (planner/part_runs.csv)" if gpu.fitted else others
    return load_calibration().fitted_on + others


def _unfitted(phases: Sequence[PlannedPhase]) -> bool:
    return any(phase.origin == "assumed" for phase in phases)


def of_what_there_is(peak_bytes: float, capacity_bytes: float) -> str:
    """A peak beside the memory that holds it, in words."""
    return f"{peak_bytes / GIB:.0f} GiB of the {capacity_bytes / GIB:.0f} there are"
