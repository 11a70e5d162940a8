"""The page for the board: the answers, the plans side by side, what would change them, what they stand on."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from planner.plan import Interval, Plan
from planner.quantities import counted, energy, human, money, power, significant
from planner.report import words
from planner.report.document import Bar, Cell, Column, Section, Table
from planner.report.words import share, span
from planner.water import site_only

if TYPE_CHECKING:
    from planner.decide.sensitivity import Swing

Show = Callable[[Plan], Cell]

MOST_SWINGS = 3
"""Assumptions named on the page; all of them stand in each plan's own part."""

BEYOND = 1.05
"""Where the axis of an interval's bar ends, over its high end."""


def board(plans: Sequence[Plan]) -> tuple[Section, ...]:
    """The sections of the first page."""
    return (
        Section(title="Side by side", blocks=(summary_table(plans),)),
        Section(
            title="What would change it most",
            blocks=(_swing_table(plans, "cost_usd", "Cost", money), _swing_table(plans, "days", "Days", significant)),
        ),
        Section(title="What it stands on", blocks=(_basis(plans),)),
    )


def summary_table(plans: Sequence[Plan]) -> Table:
    """The figures of every plan, with 90 % intervals."""
    return Table(
        caption="Plans side by side",
        columns=(Column(""), *(Column(plan.name, "number") for plan in plans)),
        rows=tuple((Cell(label, note), *(show(plan) for plan in plans)) for label, note, show in ROWS),
        per_plan=True,
        summary=True,
    )


def _interval(interval: Interval, text: str, spread: str) -> Cell:
    most = interval.high * BEYOND or 1.0
    return Cell(text, spread, Bar(*(value / most for value in (interval.low, interval.expected, interval.high))))


def _machine(p: Plan) -> Cell:
    return Cell(f"{p.cluster.gpus:,}", p.cluster.gpu.label)


def _tokens(p: Plan) -> Cell:
    return Cell(human(p.request.tokens))


def _days(p: Plan) -> Cell:
    months = f"{significant(p.months.expected)} months"
    return _interval(p.days, significant(p.days.expected), f"{span(p.days, significant)}; {months}")


def _gpu_hours(p: Plan) -> Cell:
    return _interval(p.gpu_hours, human(p.gpu_hours.expected), span(p.gpu_hours, human))


def _cost(p: Plan) -> Cell:
    cost = p.intervals["cost_usd"]
    spread = words.money_span(cost.low, cost.high, cost.expected)
    rest = f"; the term’s rest {money(p.unused_term_usd)} more" if p.unused_term_usd else ""
    return _interval(cost, money(p.cost.expected), f"{spread}; {p.paid}{rest}")


def _energy(p: Plan) -> Cell:
    return _interval(p.energy_mwh, energy(p.energy_mwh.expected), words.energy_span(p.energy_mwh))


def _peak(p: Plan) -> Cell:
    mean_mw, interval = p.campaign.mean_site_power_w / 1e6, p.intervals["peak_mw"]
    return _interval(
        interval,
        power(p.peak_power_mw),
        f"{words.power_span(interval)}; mean {power(mean_mw)}",
    )


def _tonnes(p: Plan) -> Cell:
    interval = p.intervals["tco2e"]
    return _interval(
        interval,
        f"{significant(p.carbon.location_based_tco2e)} tCO2e",
        f"{span(interval, significant)}; {p.grid.label}",
    )


def _water(p: Plan) -> Cell:
    site = f"{significant(p.water.site_m3)} m3 of it at the site"
    return Cell(f"{significant(p.water.total_m3)} m3", site_only(p.grid) or site)


def _mfu(p: Plan) -> Cell:
    return Cell(share(p.mfu), f"{p.tflops_per_gpu:.0f} of {p.mfu_peak_tflops:,.0f} TFLOP/s")


def _ettr(p: Plan) -> Cell:
    return Cell(share(p.campaign.ettr), counted(len(p.campaign.interruptions), "interruption"))


ROWS: tuple[tuple[str, str, Show], ...] = (
    ("GPUs", "", _machine),
    ("Tokens", "", _tokens),
    ("Days", "and 90 % interval", _days),
    ("GPU-hours", "of the job’s GPUs", _gpu_hours),
    ("Cost", "and 90 % interval", _cost),
    ("Electricity", "at the site’s meter", _energy),
    ("Peak power", "of the site", _peak),
    ("Emissions", "location-based", _tonnes),
    ("Water", "consumed", _water),
    ("MFU", "non-causal FLOPs over dense peak", _mfu),
    ("Effective training time", "ratio, ETTR", _ettr),
)
"""Label, explanation and cell of each row of the summary."""


def _swing_table(plans: Sequence[Plan], outcome: str, label: str, text: Callable[[float], str]) -> Table:
    """What moves an outcome most when it alone goes from its 5th to its 95th percentile: over the plans, the widest
    first as a share of the plan's own outcome, so that a large plan does not hide what matters for a small one."""
    from planner.decide.sensitivity import tornado

    swings = [
        {swing.label: swing for swing in tornado(plan)[outcome] if text(swing.at_p5) != text(swing.at_p95)}
        for plan in plans
    ]
    shares = [
        {name: swing.width / plan.intervals[outcome].expected for name, swing in found.items()}
        for plan, found in zip(plans, swings, strict=True)
    ]
    ranked = sorted(
        {name for found in shares for name in found},
        key=lambda name: (-max(found.get(name, 0.0) for found in shares), name),
    )
    rows = tuple(
        (Cell(name), *(Cell(_ends(found.get(name), text)) for found in swings)) for name in ranked[:MOST_SWINGS]
    )
    columns = (Column(f"{label}, if only this changes"), *(Column(plan.name, "number") for plan in plans))
    return Table(caption=f"What moves {label.lower()} most", columns=columns, rows=rows, per_plan=True)


def _ends(swing: "Swing | None", text: Callable[[float], str]) -> str:
    return f"{text(swing.at_p5)} to {text(swing.at_p95)}" if swing else "no effect to speak of"


def _basis(plans: Sequence[Plan]) -> Table:
    """How the numbers are known, and which are only assumed."""
    found = [words.kind_counts(plan.assumptions) for plan in plans]
    used = [kind for kind in words.KINDS if any(kind in counts for counts in found)]
    rows = tuple(
        (Cell(kind), Cell(words.KINDS[kind]), *(Cell(str(counts.get(kind, 0))) for counts in found)) for kind in used
    )
    columns = (Column("Known how", "kind"), Column("which means"), *(Column(plan.name, "number") for plan in plans))
    return Table(caption="Assumptions by how they are known", columns=columns, rows=rows, per_plan=True)
