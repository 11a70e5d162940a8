"""A plan in sentences and short texts, the same in the report and on the dashboard."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import date

from planner.assumption import Assumption
from planner.phases import PlannedPhase
from planner.plan import Interval, Plan
from planner.quantities import NAMES, day_unit, energy, energy_unit, human, money, percent, power_unit, significant
from planner.quantities import days as days
from planner.quantities import whole as whole

KINDS = {
    "measured": "timed on a GPU by this project's profiler",
    "scaled": "between shapes timed on a GPU, or timed on another GPU and scaled by datasheet rates",
    "calibrated": "computed, with constants fitted to published kernels and runs",
    "published": "taken from a cited source",
    "given": "stated in the plan",
    "stated": "stated in the plan",
    "assumed": "our judgement; nobody published a number",
}
"""How a number is known, in words, the strongest first."""


STEP_KINDS = {"assumed": "computed with the H100's efficiencies, on a GPU on which no published run was fitted"}
"""The same of step times, where it is more than judgement."""


def answer(plan: Plan) -> str:
    """The answer in one sentence."""
    machine = (
        f"{plan.cluster.gpus:,} {plan.cluster.gpu.label}"
        if plan.cluster.gpus > 1
        else f"one {plan.cluster.gpu.label}"
    )
    cost = plan.intervals["cost_usd"]
    return (
        f"Training {plan_label(plan)} on {machine} takes {days_interval(plan.days)}, "
        f"costs {money(cost.expected)} ({money_span(cost.low, cost.high, cost.expected)}) {plan.paid} and draws "
        f"{energy(plan.energy_mwh.expected)}, {plan.comparison.sentence.partition(' (')[0]}."
    )


def plan_label(plan: Plan) -> str:
    """The model as people write it, with the number of tokens where the plan has a name of its own."""
    name = plan.architecture.name
    head, _, size = name.partition("-")
    if head.startswith("llama") and size:
        return f"Llama {head.removeprefix('llama')} {size.upper()}".replace("  ", " ")
    return name


def sentence(text: str) -> str:
    """With a capital where it begins with a word and not with a name or a key."""
    return re.sub(r"^[a-z]+(?= )", lambda first: first[0].capitalize(), text)


def days_interval(interval: Interval) -> str:
    """`17 hours (15–18)`: the ends in the unit of what is expected."""
    length, _ = day_unit(interval.expected)
    return f"{days(interval.expected)} ({span(interval, lambda end: whole(end / length))})"


def span(interval: Interval, text: Callable[[float], str]) -> str:
    """`64–93`."""
    return f"{text(interval.low)}–{text(interval.high)}"


def money_span(low: float, high: float, expected: float | None = None) -> str:
    """`$76–312 M`: both ends in the unit of what is expected, where it stands beside them, else of the higher one."""
    unit_of = high if expected is None else expected
    scale = next((s for s in NAMES if unit_of >= s * (1 if s > 1e3 else 10)), 1.0)
    if low == high:
        return f"{money(low)} exactly"
    text = f"{'−' if low < 0 else ''}${_short(abs(low) / scale)}–{_short(high / scale)}"
    return f"{text} {NAMES[scale]}" if scale in NAMES else text


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else significant(value, 2)


def energy_span(interval: Interval) -> str:
    """`24.5–36.0 GWh`: in the unit of what is expected."""
    return _span_in(*energy_unit(interval.expected), interval)


def power_span(interval: Interval) -> str:
    """`16.9–18.2 MW`: in the unit of what is expected."""
    return _span_in(*power_unit(interval.expected), interval)


def _span_in(scale: float, unit: str, interval: Interval) -> str:
    return f"{significant(interval.low / scale)}–{significant(interval.high / scale)} {unit}"


def month(iso: str, *, full: bool = False) -> str:
    """`2026-02` → `Feb 2026`; with `full`, `February 2026`."""
    return f"{date.fromisoformat(f'{iso}-01'):{'%B' if full else '%b'} %Y}"


def emissions(plan: Plan) -> Interval:
    """Location-based emissions [tCO2e] with the interval of the energy they come from."""
    return plan.energy_mwh.scaled(plan.carbon.location_based_tco2e / plan.energy_mwh.expected)


def tonnes(value: float) -> str:
    """`11,200 t` of CO2 equivalent."""
    return f"{human(value, digits=3)} t" if value >= 1e6 else f"{significant(value)} t"


def share(value: float) -> str:
    """`0.3987` → `39.9 %`."""
    return percent(value)


def kind_counts(assumptions: tuple[Assumption, ...]) -> dict[str, int]:
    """How many assumptions are of each kind, in the order of `KINDS`."""
    counts = Counter(a.kind for a in assumptions)
    return {kind: counts[kind] for kind in KINDS if kind in counts}  # type: ignore[index]


def known(phase: PlannedPhase) -> str:
    """How a phase's step time is known; of one that stands on a profile, how much of it does."""
    shares = phase.step.kernel_shares
    if phase.origin not in ("measured", "scaled"):
        return phase.origin
    return f"{phase.origin}, {percent(shares.measured + shares.interpolated, 0)} of it"


def how_known(plan: Plan) -> str:
    """One sentence on where the step times come from and how far they have been off."""
    origins = sorted({phase.origin for phase in plan.phases})
    meaning = ", ".join(f"{origin} ({STEP_KINDS.get(origin, KINDS[origin])})" for origin in origins)
    if plan.main_phase.origin in ("measured", "scaled"):
        meaning += f", {plan.main_phase.step.kernel_shares.text()}"
    runs = "published runs that the fit did not see"
    if "assumed" in origins:
        runs = "the A100's published runs, so predicted,"
    elif plan.cluster.gpu.fitted:
        runs = "this GPU's published runs, their source left out of the fit,"
    return (
        f"Step times are {meaning}; of {runs} nine in ten are within {share(plan.step_error_p90)}. Every interval "
        "is made to hold 90 % of cases: step time, failures, power, prices and grids are each drawn from a spread "
        "of their own, and what the plan states is taken as exact."
    )


def break_even(plan: Plan) -> str:
    """When owning has cost less than renting, in a sentence."""
    if plan.rent is None:
        return f"No rental price of {plan.cluster.gpu.label} is published, so there is no break-even."
    if plan.own is None:
        return f"No purchase price of {plan.cluster.gpu.label} is published, so there is no break-even."
    pays = buying_pays(plan)
    if not pays:
        return "Renting stays cheaper than buying for ten years of use."
    term_days = 0.0 if plan.rent_or_buy is None else plan.rent_or_buy.term_days
    term = f", the whole term of {term_days:,.0f} days being paid" if term_days else ""
    return f"Buying the cluster and writing it off whole costs less than renting it {pays}{term}; {this_run(plan)}."


def buying_pays(plan: Plan) -> str:
    """For how much use buying costs less than renting, as `after 501 days of use`; empty where for none."""
    after, until = plan.break_even_days, plan.rent_or_buy and plan.rent_or_buy.short_use_days
    if after == 0:
        return "from the first day"
    parts = (
        f"up to {days(until)} of use" if until and after else f"only up to {days(until)} of use" if until else "",
        f"{'again ' if until else ''}after {whole(after)} days{'' if until else ' of use'}" if after else "",
    )
    return " and ".join(part for part in parts if part)


def this_run(plan: Plan) -> str:
    """The days that a run's GPUs are paid for, and how many of them no step is taken in."""
    waiting, (length, _) = plan.charges.standing_days, day_unit(plan.billed_days)
    beside = f", {whole(waiting / length)} of them before its first step or after its last" if waiting else ""
    return f"this run takes {days(plan.billed_days)}{beside}"
