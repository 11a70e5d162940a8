"""One step of a plan, event by event: its timeline beside the closed form."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from planner.campaign.planned import plan_cluster, planned_phases
from planner.phases import PlannedPhase
from planner.plan_file import PlanRequest
from planner.plan_profile import plan_profile
from planner.quantities import counted, significant
from planner.refusal import of_the_plan
from profiler.architecture import load_architecture
from profiler.files import InputError
from profiler.profile import Profile
from sim.calibration import unfitted_note
from sim.estimate import StepEstimate, step_case
from sim.hardware import Cluster, Gpu
from sim.kernels.shares import COMMUNICATION
from sim.power import COMPUTE
from sim.schedule.events import Timeline, simulate_step
from sim.schedule.noise import Noise
from sim.schedule.trace import FIXED, StageSummary, stage_summaries
from sim.schedule.work import StepWork, step_work
from sim.stacks.stack import load_stack
from sim.step import StepTimes, step_times

if TYPE_CHECKING:
    from rich.table import Table

LEAST = 0.0005
"""Share of a step from which on it is said that its transfers share links."""


@dataclass(frozen=True, kw_only=True)
class PlanTimeline:
    """One step of a phase of a plan."""

    phase: PlannedPhase
    gpu: Gpu
    noise: Noise
    timeline: Timeline
    undisturbed_s: float
    """The step without jitter and stragglers."""
    apart_s: float
    """The same if every transfer had its link to itself."""

    @property
    def stages(self) -> tuple[StageSummary, ...]:
        """Where the seconds of each stage go."""
        return stage_summaries(self.timeline)

    @property
    def closed_form_s(self) -> float:
        """What the plan counts with."""
        return self.phase.step.step_time_s

    @property
    def difference(self) -> float:
        """The undisturbed step against the closed form, as a share of it."""
        return self.undisturbed_s / self.closed_form_s - 1

    def to_dict(self) -> dict[str, Any]:
        """As scripts read it."""
        shape = self.timeline.work.shape
        return {
            "phase": self.phase.name,
            "layout": self.phase.step.layout.label,
            "schedule": shape.schedule,
            "micro_batches": shape.micro_batches,
            "step_time_s": self.timeline.total_s,
            "undisturbed_s": self.undisturbed_s,
            "links_apart_s": self.apart_s,
            "closed_form_s": self.closed_form_s,
            "difference": self.difference,
            "seed": self.noise.seed,
            "jitter": self.noise.jitter,
            "stragglers": {str(stage): factor for stage, factor in self.noise.stragglers.items()},
            "stages": [asdict(stage) for stage in self.stages],
        }


def plan_timeline(request: PlanRequest, phase: int | None, noise: Noise) -> PlanTimeline:
    """Simulate one step of phase `phase`, counted from 1; of the one with most tokens where it is `None`.

    Raises:
        InputError: a plan that cannot be built, a phase it does not have, or a straggler beyond its pipeline.
    """
    with of_the_plan():
        profile = plan_profile(request)
        cluster = plan_cluster(request, profile)
        phases = planned_phases(request, load_architecture(request.model), cluster, profile)
    if phase is not None and not 1 <= phase <= len(phases):
        listed = ", ".join(f"{number} ({one.name})" for number, one in enumerate(phases, 1))
        raise InputError(f"phase is {phase}; the plan has {listed}.")
    chosen = max(phases, key=lambda one: one.tokens) if phase is None else phases[phase - 1]
    work = phase_work(request, cluster, chosen, profile)
    plain = simulate_step(work)
    disturbed = noise.jitter > 0 or bool(noise.stragglers)
    return PlanTimeline(
        phase=chosen,
        gpu=cluster.gpu,
        noise=noise,
        timeline=simulate_step(work, noise) if disturbed else plain,
        undisturbed_s=plain.total_s,
        apart_s=simulate_step(work, shared_links=False).total_s if work.shared_links else plain.total_s,
    )


def phase_work(request: PlanRequest, cluster: Cluster, phase: PlannedPhase, profile: Profile | None) -> StepWork:
    """What one replica does in a step of the phase, with the kernels of the plan's profile and within its power."""
    case, _ = step_case(
        architecture=load_architecture(request.model),
        cluster=cluster,
        layout=phase.step.layout,
        stack=load_stack(request.training.stack),
        seq_len=phase.seq_len,
        global_batch=phase.global_batch,
        precision=request.training.precision,
        profile=profile,
    )
    return step_work(case).slowed(*_slower(step_times(case), phase.step))


def _slower(free: StepTimes, held: StepEstimate) -> tuple[float, float, float]:
    """How many times as long a step computes, communicates and updates weights within the power it is allowed."""

    def times(parts: Sequence[str]) -> float:
        free_s = sum(float(np.squeeze(getattr(free, part))) for part in parts)
        return sum(held.parts_s[part] for part in parts) / free_s if free_s else 1.0

    return times(COMPUTE), times(COMMUNICATION), times(("optimizer",))


def summary_lines(found: PlanTimeline) -> list[str]:
    """What a person reads above and below the table of stages."""
    shape = found.timeline.work.shape
    lines = [
        f"One step of '{found.phase.name}': {found.phase.step.layout.label}; "
        f"{counted(shape.micro_batches, 'micro-batch')}, {shape.schedule}",
        f"{significant(found.undisturbed_s, 4)} s event by event, {significant(found.closed_form_s, 4)} s in closed "
        f"form ({found.difference:+z.1%})",
    ]
    shared = found.undisturbed_s / found.apart_s - 1
    if abs(shared) >= LEAST:
        alone = significant(found.apart_s, 4)
        lines.append(f"{alone} s had each transfer its link to itself ({shared:+.1%} by sharing)")
    if found.timeline.total_s != found.undisturbed_s:
        change = found.timeline.total_s / found.undisturbed_s - 1
        lines.append(
            f"{significant(found.timeline.total_s, 4)} s as disturbed ({change:+.1%}), seed {found.noise.seed}"
        )
    note = unfitted_note(found.gpu)
    if note and found.phase.step.origin in ("assumed", "calibrated"):
        lines.append(note[0].upper() + note[1:])
    return lines


def print_timeline(found: PlanTimeline) -> None:
    """The summary and the table of stages in the terminal."""
    from planner.terminal import console

    screen = console()
    for line in summary_lines(found):
        screen.print(line, markup=False)
    screen.print()
    screen.print(stage_table(found))


COLUMNS = (
    "stage",
    "computing",
    "communicating",
    FIXED.replace(", ", ",\n"),
    "waiting",
    "waiting\n[%]",
    "NVLink\nin use",
    "NIC\nin use",
)
"""Broken by hand, and without rules between them, so that all of them stay whole on 80 columns."""


def stage_table(found: PlanTimeline) -> "Table":
    """Where the seconds of each stage go, narrow enough for 80 columns."""
    from rich import box
    from rich.table import Table

    table = Table(
        title="Seconds of each stage",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for stage in found.stages:
        seconds = (stage.compute_s, stage.collective_s, stage.host_s, stage.waiting_s)
        table.add_row(
            str(stage.stage),
            *(f"{x:.3f}" for x in seconds),
            f"{100 * stage.waiting_s / found.timeline.total_s:.1f}",
            f"{stage.nvlink_s:.3f}",
            f"{stage.nic_s:.3f}",
        )
    return table
