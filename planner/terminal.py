"""What a person reads in the terminal."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from planner.assumption import Kind
from planner.plan import Plan
from planner.quantities import energy, human, money, power, significant, whole
from planner.report.words import known
from planner.validation import ErrorSummary, Unseen, Validation
from planner.water import site_only

WIDE = 200
"""Columns assumed where the output is not a terminal, so that a redirected table is not cut."""


def console() -> Console:
    """The terminal, or a wide page where the output goes elsewhere."""
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=WIDE)


def print_plans(plans: Sequence[Plan], report: Path | None) -> None:
    """The table side by side, what it stands on, and what to do next."""
    screen = console()
    screen.print(_plan_table(plans))
    for basis, names in _bases(plans).items():
        screen.print(f"{', '.join(names)}: {basis}", style="dim", markup=False)
    for plan in plans:
        if plan.card_explanation:
            screen.print(f"\n{plan.name}: {plan.card_explanation}", markup=False)
    for note, names in _notes(plans).items():
        of = f" on {', '.join(names)}" if len(names) < len(plans) else ""
        screen.print(f"\nNote{of}: {note}.", style="dim", markup=False)
    screen.print()
    if report:
        screen.print(f"Report: {report.resolve()}", markup=False)
    screen.print("Next:")
    screen.print(next_steps())


def _notes(plans: Sequence[Plan]) -> dict[str, list[str]]:
    """What to know of plans, each once, with the names of those of which it is said."""
    notes: dict[str, list[str]] = {}
    for plan in plans:
        for note in plan.notes:
            notes.setdefault(note, []).append(plan.name)
    return notes


NEXT = (
    ("herdplan dashboard", "change it in the browser"),
    ("herdplan plan FILE --set cluster.gpus=8192", "try another size"),
    ("herdplan uncertainty FILE", "how sure this is, and what matters most"),
    ("herdplan explain FILE --why cost_usd", "follow a number to its sources"),
    ("herdplan validate", "how near published runs it comes"),
)


def next_steps() -> Table:
    """What to do next; what has no room goes on under its own column."""
    table = Table.grid(padding=(0, 2))
    for command, what in NEXT:
        table.add_row("", command, what)
    table.columns[1].no_wrap = True
    return table


def _plan_table(plans: Sequence[Plan]) -> Table:
    """Plans as columns: one figure a row stays readable at any width."""
    table = Table(title="What it takes", title_justify="left", title_style="bold")
    table.add_column("")
    for plan in plans:
        table.add_column(escape(plan.name), justify="right", overflow="fold")
    for label, cell in ROWS:
        table.add_row(label, *(escape(cell(plan)) for plan in plans))
    return table


def _interval(plan: Plan) -> str:
    days = plan.days
    return f"{significant(days.expected)} ({whole(days.low)}-{whole(days.high)})"


def _span(outcome: str, text: Callable[[float], str]) -> tuple[str, Callable[[Plan], str]]:
    """A row with the 90 % interval of an outcome."""
    return (
        "  90 % interval",
        lambda plan: f"{text(plan.intervals[outcome].low)} to {text(plan.intervals[outcome].high)}",
    )


def _mode(plan: Plan) -> str:
    return plan.paid


ROWS: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("Model", lambda p: p.architecture.name),
    ("GPU", lambda p: p.cluster.gpu.label),
    ("GPUs", lambda p: f"{p.cluster.gpus:,}"),
    ("Node", lambda p: p.cluster.node.label),
    ("Days", _interval),
    ("Months", lambda p: significant(p.months.expected, 2)),
    ("GPU-hours", lambda p: human(p.gpu_hours.expected)),
    ("Cost", lambda p: f"{money(p.cost.expected)} {_mode(p)}"),
    _span("cost_usd", lambda usd: money(usd, digits=2)),
    ("Electricity", lambda p: energy(p.energy_mwh.expected)),
    _span("energy_mwh", lambda mwh: energy(mwh, digits=2)),
    ("Peak power", lambda p: power(p.peak_power_mw)),
    ("Emissions", lambda p: f"{significant(p.carbon.location_based_tco2e)} tCO2e"),
    _span("tco2e", lambda tonnes: significant(tonnes, 2)),
    ("  by the card's TDP rule", lambda p: f"{significant(p.tdp_accounting_tco2e)} tCO2e"),
    ("Water", lambda p: f"{human(p.water.total_m3)} m3{' at the site' if site_only(p.grid) else ''}"),
    ("MFU, non-causal", lambda p: f"{p.mfu:.1%} of {p.mfu_peak_tflops:,.0f} TFLOP/s"),
    ("Effective time ratio", lambda p: f"{p.campaign.ettr:.1%}"),
    ("Step time", lambda p: f"{significant(p.main_phase.step_time_s)} s"),
    ("  which is", lambda p: known(p.main_phase)),
    ("  of tokens", lambda p: human(p.main_phase.tokens_per_step)),
    ("  laid out as", lambda p: p.main_phase.step.layout.degrees),
)


KIND_ORDER: tuple[Kind, ...] = ("measured", "scaled", "calibrated", "published", "given", "assumed")


def _bases(plans: Sequence[Plan]) -> dict[str, list[str]]:
    """What plans stand on, in words, with the names of those that stand on the same."""
    bases: dict[str, list[str]] = {}
    for plan in plans:
        bases.setdefault(_basis(plan), []).append(plan.name)
    return bases


def _basis(plan: Plan) -> str:
    """One sentence: how much was measured, scaled, calibrated, published, given or assumed, and what was assumed."""
    counts = Counter(assumption.kind for assumption in plan.assumptions)
    parts = [f"{counts[kind]} {kind}" for kind in KIND_ORDER if counts[kind]]
    assumed = [_within(a.what) for a in plan.assumptions if a.kind == "assumed"]
    measured = "" if counts["measured"] else f"nothing measured on {plan.cluster.gpu.label}; "
    names = f" Assumed: {'; '.join(assumed)}." if assumed else ""
    return f"{measured}of {len(plan.assumptions)} assumptions {', '.join(parts)}.{names} Sources stand in the report."


def _within(name: str) -> str:
    """A name as it stands within a sentence; one that begins as GPU or PUE does stays as it is."""
    return name if name[:2].isupper() else name[:1].lower() + name[1:]


MOST_PASSED_OVER = 10


def print_validation(result: Validation, unseen: Unseen | None = None) -> None:
    """The error table: overall, by precision, regime and source, and the worst misses; beside runs that the constants
    were fitted to also what is `unseen` by them."""
    screen = console()
    table = Table(title="Step time, predicted against observed", title_justify="left", title_style="bold")
    for column, justify in (
        ("", "left"),
        ("runs", "right"),
        ("median", "right"),
        ("p90", "right"),
        ("bias", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    _add(table, "all", result.overall, style="bold")
    for name, group in (("", result.by_precision), ("regime ", result.by_regime), ("source ", result.by_source)):
        table.add_section()
        for key, summary in group.items():
            _add(table, f"{name}{key}", summary)
    if result.memory:
        table.add_section()
        _add(table, "peak memory, where stated", result.memory)
    screen.print(table)
    if unseen:
        p90 = "" if unseen.later.p90_pct is None else f" / {unseen.later.p90_pct:.1f}"
        screen.print(
            "The constants were fitted to these runs. With each source left out of its own fit: "
            f"{unseen.left_out_median_pct:.1f} / {unseen.left_out_p90_pct:.1f} % (median / p90). On "
            f"{unseen.later.runs} further runs, to which no constant was fitted: "
            f"{unseen.later.median_pct:.1f}{p90} %",
            markup=False,
        )
    screen.print(f"Kernels behind the predicted time: {result.kernel_shares.text()}", markup=False)
    if result.passed_over:
        screen.print(f"\nNot compared, {len(result.passed_over)}:")
        for sentence in result.passed_over[:MOST_PASSED_OVER]:
            screen.print(Padding(escape(sentence), (0, 0, 0, 2)))
        if len(result.passed_over) > MOST_PASSED_OVER:
            screen.print(f"  and {len(result.passed_over) - MOST_PASSED_OVER} more (--json lists all)")
    screen.print("\nWorst misses:")
    for c in result.worst[:10]:
        screen.print(f"  {c.error_pct:+6.1f} %  {c.run.id}", markup=False)


def _add(table: Table, name: str, summary: ErrorSummary, style: str = "") -> None:
    p90 = "" if summary.p90_pct is None else f"{summary.p90_pct:.1f} %"
    table.add_row(
        name, str(summary.runs), f"{summary.median_pct:.1f} %", p90, f"{summary.bias_pct:+.1f} %", style=style
    )
