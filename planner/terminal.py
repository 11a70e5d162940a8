"""What a person reads in the terminal."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from planner.plan import Plan
from planner.quantities import human, money, significant
from planner.search import SearchResult
from planner.validation import ErrorSummary, Validation

WIDE = 200
"""Columns assumed where the output is not a terminal, so that a redirected table is not cut."""


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def print_plans(plans: Sequence[Plan], report: Path | None) -> None:
    """The table side by side, what it stands on, and what to do next."""
    console = _console()
    console.print(_plan_table(plans))
    for plan in plans:
        console.print(_basis(plan), style="dim", markup=False)
    for plan in plans:
        if plan.card_explanation:
            console.print(f"\n{plan.name}: {plan.card_explanation}", markup=False)
    for note in dict.fromkeys(note for plan in plans for note in plan.notes):
        console.print(f"\nNote: {note}.", style="dim", markup=False)
    console.print()
    if report:
        console.print(f"Report: {report.resolve()}", markup=False)
    console.print(
        "Next: `herdplan dashboard` to change it, `herdplan plan FILE --set cluster.gpus=8192` to try another size,"
    )
    console.print("      `herdplan validate` to see how far predictions lie from published runs.")


def _plan_table(plans: Sequence[Plan]) -> Table:
    """Plans as columns: one figure a row stays readable at any width."""
    table = Table(title="What it takes", title_justify="left", title_style="bold")
    table.add_column("")
    for plan in plans:
        table.add_column(plan.name, justify="right", overflow="fold")
    for label, cell in ROWS:
        table.add_row(label, *(cell(plan) for plan in plans))
    return table


def _interval(plan: Plan) -> str:
    days = plan.days
    return f"{significant(days.expected)} ({significant(days.low, 2)}-{significant(days.high, 2)})"


def _mode(plan: Plan) -> str:
    return "rented" if plan.request.money.mode == "rent" else "owned"


ROWS: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("GPUs", lambda p: f"{p.cluster.gpus:,} x {p.cluster.gpu.label}"),
    ("Days", _interval),
    ("Months", lambda p: significant(p.months.expected, 2)),
    ("GPU-hours", lambda p: human(p.gpu_hours.expected)),
    ("Cost, expected", lambda p: f"{money(p.cost.expected)} {_mode(p)}"),
    ("Cost, low to high", lambda p: f"{money(p.cost.low, digits=2)} to {money(p.cost.high, digits=2)}"),
    ("Electricity", lambda p: f"{p.energy_mwh.expected:,.0f} MWh"),
    ("Peak power", lambda p: f"{significant(p.peak_power_mw)} MW"),
    ("Emissions, metered", lambda p: f"{p.carbon.location_based_tco2e:,.0f} tCO2e"),
    ("Emissions, TDP accounting", lambda p: f"{p.tdp_accounting_tco2e:,.0f} tCO2e"),
    ("MFU (non-causal)", lambda p: f"{p.mfu:.1%}"),
    ("Effective training time", lambda p: f"{p.campaign.ettr:.1%}"),
    ("Step time", lambda p: f"{significant(p.main_phase.step_time_s)} s, {p.main_phase.origin}"),
)


def _basis(plan: Plan) -> str:
    """One sentence: what was measured, scaled, calibrated, published, given or assumed."""
    kinds: dict[str, list[str]] = {}
    for assumption in plan.assumptions:
        kinds.setdefault(assumption.kind, []).append(assumption.what.split(",")[0].lower())
    order = ("measured", "scaled", "calibrated", "published", "given", "assumed")
    parts = []
    for kind in order:
        names = list(dict.fromkeys(kinds.get(kind, [])))
        if names:
            parts.append(f"{kind}: {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}")
    measured = "" if "measured" in kinds else "nothing measured on this GPU; "
    return f"{plan.name} - {measured}{'; '.join(parts)}."


def print_validation(result: Validation) -> None:
    """The error table: overall, by precision, regime and source, and the worst misses."""
    console = _console()
    table = Table(title="Step time, predicted against published", title_justify="left", title_style="bold")
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
    console.print(table)
    console.print("\nWorst misses:")
    for c in result.worst[:10]:
        console.print(f"  {c.error_pct:+6.1f} %  {c.run.id}", markup=False)


def _add(table: Table, name: str, summary: ErrorSummary, style: str = "") -> None:
    p90 = "" if summary.p90_pct is None else f"{summary.p90_pct:.1f} %"
    table.add_row(
        name, str(summary.runs), f"{summary.median_pct:.1f} %", p90, f"{summary.bias_pct:+.1f} %", style=style
    )


def search_dict(result: SearchResult) -> dict[str, object]:
    """A search as scripts read it: `evaluated`, `seconds`, `layouts` best first."""
    layouts = []
    for ranked in result.layouts:
        row = asdict(ranked)
        layouts.append({**row.pop("layout"), "label": ranked.layout.label, **row})
    return {"evaluated": result.evaluated, "fitting": result.fitting, "seconds": result.seconds, "layouts": layouts}


def print_search(result: SearchResult) -> None:
    """The ranking as a table."""
    console = _console()
    table = Table(
        title=f"{result.evaluated:,} layouts in {result.seconds:.2f} s, {result.fitting:,} fit", title_justify="left"
    )
    for column in ("layout", "step", "MFU", "memory", "GPU power", ""):
        table.add_column(column, justify="left" if column in ("layout", "") else "right")
    for r in result.layouts:
        table.add_row(
            r.layout.label,
            f"{significant(r.step_time_s)} s",
            f"{r.mfu:.1%}",
            f"{r.memory_gib:.0f} GiB",
            f"{r.gpu_power_w:.0f} W",
            r.reason,
            style="" if r.fits else "dim",
        )
    console.print(table)
