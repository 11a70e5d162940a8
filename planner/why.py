"""Why a number of a plan is what it is: followed down to measurements, sources, assumptions and what was given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from planner.assumption import Kind as AssumptionKind
from planner.money.costs import CostLine
from planner.phase_notes import fitted_on
from planner.phases import PlannedPhase
from planner.plan import Plan
from planner.quantities import energy, human, money, power, significant
from planner.step_constants import constant_text, meanings, used_constants
from planner.water import site_only
from profiler.files import InputError, nearest
from profiler.units import DAY_S, JOULES_PER_MWH

Kind = Literal["computed"] | AssumptionKind


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One number and what it follows from; without parts it rests on its source."""

    what: str
    value: str
    kind: Kind = "computed"
    how: str = ""
    """How it follows from its parts."""
    source: str = ""
    amount: float | None = None
    parts: tuple["Reason", ...] = ()

    def leaves(self) -> Iterator["Reason"]:
        """What it all rests on."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()

    def to_dict(self) -> dict[str, object]:
        """The tree as scripts read it."""
        return {
            "what": self.what,
            "value": self.value,
            "kind": self.kind,
            "how": self.how,
            "source": self.source,
            "amount": self.amount,
            "parts": [part.to_dict() for part in self.parts],
        }


def why(plan: Plan, number: str) -> Reason:
    """Follow one of `NUMBERS` down.

    Raises:
        InputError: another number; names the nearest.
    """
    if number not in NUMBERS:
        raise InputError(f"'{number}' cannot be followed; {nearest(number, NUMBERS)}.")
    return NUMBERS[number](plan)


def _assumed(plan: Plan, *what: str) -> tuple[Reason, ...]:
    """Rows of the plan's list of assumptions by their names."""
    return tuple(
        Reason(what=row.what, value=row.value, kind=row.kind, source=row.source)
        for name in what
        for row in plan.assumptions
        if row.what == name
    )


def _given(what: str, value: str) -> Reason:
    return Reason(what=what, value=value, kind="given", source="the plan")


def _days(plan: Plan) -> Reason:
    return Reason(
        what="Days",
        value=f"{significant(plan.days.expected)} days",
        amount=plan.days.expected,
        how=f"the campaign of median length among {len(plan.replica_days)} simulated; its activities add up",
        parts=tuple(_activity(plan, name, s) for name, s in plan.campaign.seconds.items() if s > 0),
    )


ACTIVITY_ROWS = {
    "checkpointing": ("Checkpoints", "Checkpoint storage"),
    "lost_work": ("Failures", "Spot capacity", "Checkpoints"),
    "stragglers": ("Stragglers",),
    "fewer_replicas": ("Failures", "Spare nodes"),
    "pauses": ("Pauses",),
    "detection": ("Failures", "Restart"),
    "drain": ("Failures", "Restart"),
    "restart": ("Failures", "Restart", "Planned interruptions"),
    "waiting_for_repair": ("Failures", "Spare nodes"),
    "maintenance": ("Planned interruptions",),
}
"""The assumptions behind each activity but training; what the plan lists none for was asked for in it."""


def _activity(plan: Plan, name: str, seconds: float) -> Reason:
    if name == "training":
        return _training(plan)
    stops = plan.campaign.unexpected_interruptions
    planned = len(plan.campaign.interruptions) - stops
    return Reason(
        what=name.replace("_", " ").capitalize(),
        value=f"{significant(seconds / DAY_S)} days",
        amount=seconds / DAY_S,
        how=f"{stops:,} failures and {planned:,} planned stops, simulated with seed {plan.campaign.seed}",
        parts=_assumed(plan, *ACTIVITY_ROWS.get(name, ())) or (_given("Asked for", name.replace("_", " ")),),
    )


def _training(plan: Plan) -> Reason:
    days = plan.campaign.seconds["training"] / DAY_S
    return Reason(
        what="Training",
        value=f"{significant(days)} days",
        amount=days,
        how="steps that were kept, phase by phase",
        parts=tuple(_phase(plan, phase) for phase in plan.phases),
    )


def _phase(plan: Plan, phase: PlannedPhase) -> Reason:
    return Reason(
        what=f"Phase {phase.name}",
        value=f"{significant(phase.training_s / DAY_S)} days",
        amount=phase.training_s / DAY_S,
        how="tokens over tokens per step, times the time of a step",
        parts=(
            _given("Tokens", human(phase.tokens)),
            *_assumed(plan, f"Batch, {phase.name}", f"Layout, {phase.name}"),
            _step(plan, phase),
        ),
    )


def _step(plan: Plan, phase: PlannedPhase) -> Reason:
    """The step of the main phase with its parts and constants; of the others the same model is said."""
    value = f"{significant(phase.step_time_s)} s"
    what = f"Step time, {phase.name}"
    if phase.stated:
        throughput = _assumed(plan, "Throughput")
        return Reason(
            what=what, value=value, amount=phase.step_time_s, how="at the stated throughput", parts=throughput
        )
    if phase is not plan.main_phase:
        source = f"the same step model, {fitted_on(plan.phases, plan.cluster.gpu)}"
        return Reason(what=what, value=value, amount=phase.step_time_s, kind=phase.step.origin, source=source)
    parts_s = {name: s for name, s in phase.step.parts_s.items() if s > 0}
    return Reason(
        what=what,
        value=value,
        amount=phase.step_time_s,
        how="closed form of its parts; see docs/model.md",
        parts=(
            *(_step_part(plan, phase, name, seconds) for name, seconds in parts_s.items()),
            *_assumed(plan, "GPU", "Cooling", "Network cards", "Fabric"),
            *_assumed(plan, "Software stack", "Power limit", "Clocks at less power"),
            _constants(plan, phase),
        ),
    )


def _step_part(plan: Plan, phase: PlannedPhase, name: str, seconds: float) -> Reason:
    """One part of the step and what its seconds stand on: a profile's shapes, shapes between them, or the fit."""
    fitted: AssumptionKind = "assumed" if phase.step.origin == "assumed" else "calibrated"
    kind, source = fitted, fitted_on([phase], plan.cluster.gpu)
    if phase.step.bases[name] in ("measured", "interpolated"):
        whole = phase.step.bases[name] == phase.step.origin == "measured"  # nor slowed by clocks
        kind, source = "measured" if whole else "scaled", plan.provenance["profile"]
    return Reason(
        what=name.replace("_", " ").capitalize(),
        value=f"{significant(seconds)} s",
        amount=seconds,
        kind=kind,
        source=source,
    )


def _constants(plan: Plan, phase: PlannedPhase) -> Reason:
    """The constants that move this step; those of other GPUs and kernels are left out."""
    said = meanings()
    parts = tuple(
        Reason(what=said[name], value=constant_text(name, c), kind="calibrated", source=c.source)
        for name, c in used_constants(plan, phase).items()
    )
    return Reason(
        what="Kernel speeds",
        value=f"{len(parts)} of {len(said)} constants",
        how=f"those that this step depends on, fitted on {fitted_on([phase], plan.cluster.gpu)}",
        source="" if parts else fitted_on([phase], plan.cluster.gpu),
        parts=parts,
    )


def _gpu_hours(plan: Plan) -> Reason:
    return Reason(
        what="GPU-hours",
        value=human(plan.gpu_hours.expected),
        amount=plan.gpu_hours.expected,
        how="days times 24 times GPUs; spares not counted",
        parts=(_days(plan), _given("GPUs", f"{plan.cluster.gpus:,}")),
    )


def _mfu(plan: Plan) -> Reason:
    flops = Reason(
        what="Model FLOPs",
        value=f"{plan.model_flops:.4g}",
        amount=plan.model_flops,
        how="FLOPs per token, non-causal attention, times tokens",
        parts=_assumed(plan, "Model", "Tokens"),
    )
    return Reason(
        what="MFU",
        value=f"{plan.mfu:.1%}",
        amount=plan.mfu,
        how=f"model FLOPs over training time, GPUs and {plan.mfu_peak_tflops:,.0f} TFLOP/s dense",
        parts=(flops, _training(plan), _given("GPUs", f"{plan.cluster.gpus:,}"), *_assumed(plan, "GPU")),
    )


def _ettr(plan: Plan) -> Reason:
    return Reason(
        what="Effective time ratio",
        value=f"{plan.campaign.ettr:.2%}",
        amount=plan.campaign.ettr,
        how="training over all days",
        parts=(_training(plan), _days(plan)),
    )


PART_ROWS = {
    "gpu": ("GPU power by its profile", "GPU power by activity", "GPU power in communication and waiting", "GPU"),
    "host": ("Node beside its GPUs", "Spare nodes"),
    "network": ("Switches, optics, storage",),
    "storage": ("Switches, optics, storage",),
    "cooling": ("PUE",),
}


def _energy(plan: Plan) -> Reason:
    parts = tuple(
        Reason(
            what=f"Energy, {name.replace('_', ' and ')}",
            value=energy(joules / JOULES_PER_MWH),
            amount=joules / JOULES_PER_MWH,
            how="watts in each activity of the campaign, times its seconds",
            parts=_assumed(plan, *PART_ROWS.get(name, ("PUE",))),
        )
        for name, joules in plan.campaign.energy_j.items()
    )
    return Reason(
        what="Energy",
        value=energy(plan.energy_mwh.expected),
        amount=plan.energy_mwh.expected,
        how="parts of the site added up, at its meter",
        parts=(*parts, _days(plan)),
    )


def _peak(plan: Plan) -> Reason:
    hottest_w = max(phase.gpu_power_w for phase in plan.phases)
    gpu = Reason(
        what="Mean power of a GPU in its hottest phase",
        value=f"{hottest_w:.0f} W",
        amount=hottest_w,
        how="watts of each part of a step, weighted by its seconds",
        parts=_assumed(plan, *PART_ROWS["gpu"]),
    )
    rows = ("Node beside its GPUs", "Spare nodes", "Switches, optics, storage", "PUE")
    return Reason(
        what="Peak power",
        value=power(plan.peak_power_mw),
        amount=plan.peak_power_mw,
        how="GPUs and nodes, what is above them, times PUE",
        parts=(gpu, _given("GPUs", f"{plan.cluster.gpus:,}"), *_assumed(plan, *rows)),
    )


def _tco2e(plan: Plan) -> Reason:
    return Reason(
        what="Emissions",
        value=f"{human(plan.carbon.location_based_tco2e)} tCO2e",
        amount=plan.carbon.location_based_tco2e,
        how="energy times the grid's intensity, location-based",
        parts=(_energy(plan), *_assumed(plan, "Grid intensity")),
    )


def _water(plan: Plan) -> Reason:
    return Reason(
        what="Water",
        value=f"{human(plan.water.total_m3)} m3{' at the site' if site_only(plan.grid) else ''}",
        amount=plan.water.total_m3,
        how=plan.water.how,
        parts=(_energy(plan), *_assumed(plan, "Water at the site", "Water in generation")),
    )


def _cost(plan: Plan) -> Reason:
    return Reason(
        what="Cost",
        value=money(plan.cost.expected),
        amount=plan.cost.expected,
        how=f"items added up, {plan.paid}",
        parts=tuple(_cost_line(plan, line) for line in plan.cost.lines),
    )


def _cost_line(plan: Plan, line: CostLine) -> Reason:
    price = Reason(what=f"Price: {line.name}", value=line.how, kind="published", source=line.source)
    if "electricity" in line.name.lower():
        parts: tuple[Reason, ...] = (_energy(plan), *_idle(plan), *_assumed(plan, "Electricity"))
    elif line.source == "given by the user":  # a rent alone; a purchase price rests on the loss of value too
        parts = (_billed(plan), *_assumed(plan, "Rent"))
    else:
        parts = (_billed(plan), price)
    return Reason(what=line.name, value=money(line.expected), amount=line.expected, how=line.how, parts=parts)


def _idle(plan: Plan) -> tuple[Reason, ...]:
    """What an owned cluster draws before its first and after its last step; nothing where it never stands idle."""
    kwh, asked = plan.standing_bill.energy_kwh, plan.request.money
    if not kwh:
        return ()
    days = {"Preparation": asked.preparation_days, "Idling": asked.idle_days}
    idle = Reason(
        what="Energy, idle before and after training",
        value=energy(kwh / 1000),
        amount=kwh / 1000,
        how="what the cluster draws with nothing running, hour by hour; months without training pay its demand too",
        parts=(
            *(_waiting(name, some) for name, some in days.items() if some),
            *_assumed(plan, "GPU", "Node beside its GPUs", "Switches, optics, storage", "PUE"),
        ),
    )
    return (idle,)


def _billed(plan: Plan) -> Reason:
    asked = plan.request.money
    waits = {"Preparation": asked.preparation_days, "Idling": asked.idle_days}
    waiting = "".join(f", {days:g} of {name.lower()}" for name, days in waits.items() if days)
    campaign_days = significant(plan.campaign.duration_s / DAY_S)
    return Reason(
        what="Billed GPU-hours",
        value=human(plan.billed_gpu_hours),
        amount=plan.billed_gpu_hours,
        how=f"{plan.charges.rented_gpus:,} GPUs, spare nodes' too, for {significant(plan.billed_days)} days: "
        f"{campaign_days} of training{waiting}",
        parts=(
            _days(plan),
            *(_waiting(name, days) for name, days in waits.items() if days),
            _given("GPUs", f"{plan.cluster.gpus:,}"),
            *_assumed(plan, "Spare nodes"),
        ),
    )


def _waiting(what: str, days: float) -> Reason:
    return replace(_given(what, f"{days:g} days"), amount=days)


NUMBERS: dict[str, Callable[[Plan], Reason]] = {
    "days": _days,
    "gpu_hours": _gpu_hours,
    "cost_usd": _cost,
    "energy_mwh": _energy,
    "peak_mw": _peak,
    "tco2e": _tco2e,
    "water_m3": _water,
    "mfu": _mfu,
    "ettr": _ettr,
    "step_time_s": lambda plan: _step(plan, plan.main_phase),
}
"""The numbers that can be followed."""
