"""The HTML report: one file that opens without a network, the answer first, then how we know it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from planner.plan import Plan
from planner.quantities import energy, human, money, significant
from planner.report import words
from planner.report.plan_text import plan_file_text
from planner.report.theme import DARK, LIGHT, Theme
from planner.report.words import share, span

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Template

    from planner.report.spec import Spec

HERE = Path(__file__).parent

Text = Callable[[Plan], str]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of every plan, side by side: what it is, its values, and its spread or explanation."""

    label: str
    note: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn chart and the table of its numbers."""

    svg: str
    wide: bool
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render_html(plans: Sequence[Plan], *, date: str | None = None) -> str:
    """One self-contained HTML file for some plans side by side. The same plans give the same bytes.

    Args:
        plans: at least one.
        date: when it was made, printed as it stands; nothing is printed without it.

    Raises:
        ValueError: no plan.
    """
    if not plans:
        raise ValueError("a report needs at least one plan.")
    return _template().render(
        plans=[_plan_view(plan, f"plan-{number}") for number, plan in enumerate(plans, 1)],
        rows=summary_rows(plans),
        kinds=words.KINDS,
        kinds_used=sorted(
            {kind for plan in plans for kind in words.kind_counts(plan.assumptions)}, key=list(words.KINDS).index
        ),
        date=date,
        style=_style(),
        version=plans[0].provenance["herdplan"],
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(HERE / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        money=money, human=human, significant=significant, energy=energy, share=share, whole=words.whole
    )
    return environment.get_template("report.html")


def _style() -> str:
    """The style sheet after the colours of both themes; paper prints light."""

    def variables(theme: Theme) -> str:
        return " ".join(f"--{name}: {colour};" for name, colour in theme.colours().items())

    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} --back: #0e1318; }} }}"
    rules = (HERE / "templates" / "report.css").read_text(encoding="utf-8")
    return f":root {{ color-scheme: light dark; {variables(LIGHT)} --back: #f4f6f8; }}\n{dark}\n{rules}"


def summary_rows(plans: Sequence[Plan]) -> tuple[Row, ...]:
    """The table of the report's first page."""
    rows: tuple[tuple[str, str, Text, Text], ...] = (
        ("GPUs", "", lambda p: f"{p.cluster.gpus:,}", lambda p: p.cluster.gpu.label),
        ("Tokens", "", lambda p: human(p.request.tokens), lambda _: ""),
        ("Days", "90 % interval", lambda p: significant(p.days.expected), lambda p: span(p.days, significant)),
        ("Months", "of 30.44 days", lambda p: significant(p.months.expected), lambda p: span(p.months, significant)),
        ("GPU-hours", "of the job’s GPUs", lambda p: human(p.gpu_hours.expected), lambda p: span(p.gpu_hours, human)),
        ("Cost, low", "prices at their low end", lambda p: money(p.cost.low), lambda _: ""),
        ("Cost, expected", "", lambda p: money(p.cost.expected), _mode),
        ("Cost, high", "prices at their high end", lambda p: money(p.cost.high), lambda _: ""),
        ("Electricity", "at the site’s meter", _mwh, lambda p: words.energy_span(p.energy_mwh)),
        ("Peak power", "of the site", lambda p: _mw(p.peak_power_mw), _mean_mw),
        ("Emissions", "location-based", _tonnes, lambda p: p.grid.label),
        ("MFU", "non-causal FLOPs over dense peak", lambda p: share(p.mfu), _throughput),
        ("Effective training time", "ratio, ETTR", lambda p: share(p.campaign.ettr), _stops),
        ("Step times are", "", lambda p: p.provenance["step_times"], lambda p: f"± {share(p.step_error_p90)}"),
    )
    return tuple(
        Row(label=label, note=note, values=tuple((value(plan), spread(plan)) for plan in plans))
        for label, note, value, spread in rows
    )


def _mode(plan: Plan) -> str:
    return plan.paid


def _mwh(plan: Plan) -> str:
    return f"{significant(plan.energy_mwh.expected)} MWh"


def _mw(value: float) -> str:
    return f"{significant(value)} MW"


def _mean_mw(plan: Plan) -> str:
    return f"mean {_mw(plan.campaign.mean_site_power_w / 1e6)}"


def _tonnes(plan: Plan) -> str:
    return f"{significant(plan.carbon.location_based_tco2e)} tCO2e"


def _throughput(plan: Plan) -> str:
    return f"{plan.tflops_per_gpu:.0f} TFLOP/s per GPU"


def _stops(plan: Plan) -> str:
    return f"{len(plan.campaign.interruptions):,} interruptions"


def _plan_view(plan: Plan, key: str) -> dict[str, object]:
    return {
        "key": key,
        "plan": plan,
        "label": words.plan_label(plan),
        "answer": words.answer(plan),
        "how_known": words.how_known(plan),
        "break_even": words.break_even(plan),
        "kinds": words.kind_counts(plan.assumptions),
        "figures": _figures(plan),
        "phases": [phase.to_dict() for phase in plan.phases],
        "costs": [(name, cost) for name, cost in (("Rent", plan.rent), ("Own", plan.own)) if cost is not None],
        "file": plan_file_text(plan.request),
    }


def _figures(plan: Plan) -> list[Figure]:
    from planner.report import charts, tables

    drawn = (
        (charts.campaign_strip(plan), tables.power_table(plan, most_points=40), True),
        (charts.step_bar(plan), tables.step_table(plan), False),
        (charts.memory_bar(plan), tables.memory_table(plan), False),
        (charts.time_bars(plan), tables.time_table(plan), False),
        (charts.cost_ranges(plan), tables.cost_table(plan), False),
        (charts.power_first_week(plan), tables.first_week_table(plan).iloc[::6], False),
        (charts.power_failure(plan), tables.failure_table(plan), False),
        (charts.energy_parts(plan), tables.energy_part_table(plan), False),
        (charts.energy_months(plan), tables.month_table(plan), False),
    )
    return [_figure(chart, frame, wide) for chart, frame, wide in drawn if chart is not None]


def _figure(chart: "Spec", frame: "pd.DataFrame", wide: bool) -> Figure:
    from planner.report.svg import inline_svg

    shown = frame.drop(columns=[c for c in ("colour", "start", "end") if c in frame.columns])
    return Figure(
        svg=inline_svg(chart),
        wide=wide,
        columns=tuple(map(str, shown.columns)),
        rows=tuple(tuple(_cell(value) for value in row) for row in shown.itertuples(index=False)),
    )


def _cell(value: object) -> str:
    return significant(float(value)) if isinstance(value, int | float) else str(value)
