"""The workbook: a summary, a sheet a plan whose prices can be changed, and every table behind the report.

Text is always written as text, never guessed to be a formula, a number or a link. The same plans give the same bytes.
"""

import io
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from planner.plan import Plan
from planner.report import tables, words
from planner.report.details import DRAWN_ONLY, NOT_IN_COST
from planner.report.document import clean
from planner.report.plan_text import plan_file_text
from planner.report.theme import LIGHT
from planner.report.workbook_plan import PlanSheet, write_plan_sheet
from planner.report.workbook_writer import AMOUNT, USD, Writer, on_paper
from planner.uncertainty import OUTCOMES

if TYPE_CHECKING:
    import pandas as pd

EPOCH = datetime(2000, 1, 1)
"""When a workbook says it was made, where no date is given."""

WIDEST = 60


def render_xlsx(plans: Sequence[Plan], date: str = "") -> bytes:
    """The workbook.

    Raises:
        ValueError: no plan.
        ImportError: XlsxWriter is not installed.
    """
    import xlsxwriter  # type: ignore[import-untyped]

    if not plans:
        raise ValueError("a report needs at least one plan.")
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"in_memory": True})
    made = datetime.fromisoformat(date) if date else EPOCH
    version = clean(plans[0].provenance["herdplan"])
    book.set_properties({"title": "Training plan", "author": f"herdplan {version}", "created": made})
    book.set_calc_mode("auto")
    writer = Writer(book)
    summary = book.add_worksheet("Summary")
    sheets = [write_plan_sheet(writer, plan, f"Plan {n}") for n, plan in enumerate(plans, 1)]
    _summary(writer, summary, plans, sheets, date, version)
    _tables(writer, plans)
    book.close()
    return file.getvalue()


Fixed = Callable[[Plan], float | None]

FORMS = {
    "days": AMOUNT,
    "gpu_hours": AMOUNT,
    "cost_usd": USD,
    "energy_mwh": AMOUNT,
    "tco2e": AMOUNT,
    "peak_mw": AMOUNT,
}

OTHERS: tuple[tuple[str, Fixed, str], ...] = (
    ("GPUs", lambda p: p.cluster.gpus, "#,##0"),
    ("Tokens", lambda p: p.request.tokens, "#,##0"),
    ("Months", lambda p: p.months.expected, AMOUNT),
    ("Mean power [MW]", lambda p: p.campaign.mean_site_power_w / 1e6, AMOUNT),
    ("MFU, non-causal", lambda p: p.mfu, "0.0%"),
    ("Effective training time ratio", lambda p: p.campaign.ettr, "0.0%"),
    ("Interruptions", lambda p: len(p.campaign.interruptions), "#,##0"),
    ("Water at the site [m3]", lambda p: p.water.site_m3, AMOUNT),
    ("Water in generating the electricity [m3]", lambda p: p.water.generation_m3, AMOUNT),
    ("Emissions of making the hardware [tCO2e]", lambda p: p.carbon.embodied_tco2e, AMOUNT),
)
"""Figures that no price changes; `None` where nothing is published."""


def _summary(
    writer: Writer, sheet: Any, plans: Sequence[Plan], sheets: Sequence[PlanSheet], date: str, version: str
) -> None:
    note = " · ".join(part for part in ("Training plan", date, f"herdplan {version}") if part)
    writer.title(sheet, "How long, how much, how many megawatt-hours", note)
    for n, plan in enumerate(plans):
        writer.text(sheet, 2 + n, 0, f"As planned: {words.answer(plan)}")
    top = 3 + len(plans)
    for n, plan in enumerate(plans):
        writer.text(sheet, top, 1 + 3 * n, plan.name, bold=True, align="right")
        writer.head(sheet, top + 1, ("this plan", "5 %", "95 %"), 1 + 3 * n, align="right")
    writer.head(sheet, top + 1, ("",))
    rows = list(FORMS)
    for y, name in enumerate(rows, top + 2):
        writer.text(sheet, y, 0, OUTCOMES[name])
        for n, (plan, links) in enumerate(zip(plans, sheets, strict=True)):
            interval, form = plan.intervals[name], FORMS[name]
            if name in links.cells:
                writer.formula(sheet, y, 1 + 3 * n, links.cells[name], interval.expected, form, bold=True)
            else:
                writer.number(sheet, y, 1 + 3 * n, interval.expected, form, bold=True)
            writer.number(sheet, y, 2 + 3 * n, interval.low, form, font_color=LIGHT.muted)
            writer.number(sheet, y, 3 + 3 * n, interval.high, form, font_color=LIGHT.muted)
    for y, (label, value, form) in enumerate(OTHERS, top + 2 + len(rows)):
        writer.text(sheet, y, 0, label)
        for n, plan in enumerate(plans):
            found = value(plan)
            if found is None:
                writer.text(sheet, y, 1 + 3 * n, "not published", align="right")
            else:
                writer.number(sheet, y, 1 + 3 * n, found, form)
    end = top + 3 + len(rows) + len(OTHERS)
    writer.text(
        sheet,
        end,
        0,
        "Cost, energy and emissions follow the yellow cells of each plan's sheet. All else stays as computed: the "
        "sentences above, 5 % and 95 %, days, peak and mean power, water, and every other sheet, cash by month too.",
        font_color=LIGHT.muted,
    )
    notes = (f"{plan.name}: {words.sentence(note)}." for plan in plans for note in plan.notes)
    for y, text in enumerate((NOT_IN_COST, *notes), end + 1):
        writer.text(sheet, y, 0, text, font_color=LIGHT.muted)
    sheet.set_column(0, 0, 38)
    sheet.set_column(1, 3 * len(plans), 13)
    sheet.freeze_panes(top + 2, 1)
    on_paper(sheet)


Frame = Callable[[Plan], "pd.DataFrame"]

SHEETS: tuple[tuple[str, str, Frame], ...] = (
    ("Step", "One optimizer step of the main phase, part by part", tables.step_table),
    ("Memory", "Memory of the fullest GPU by kind", tables.memory_table),
    ("Time", "Where the days went", tables.time_table),
    ("Interruptions", "What stopped training, from the last safe checkpoint to going on", tables.cause_table),
    ("Energy", "Energy at the site's meter by part", tables.energy_part_table),
    ("Months", "Energy by calendar month and the highest hour", tables.month_table),
    (
        "Cash by month",
        "As planned, whatever the yellow cells say; what comes back is negative",
        tables.cash_month_table,
    ),
    ("Cash by line", "The same line by line", tables.cash_line_table),
    ("Power", "Site power through the campaign", tables.power_table),
    ("Swings", "How the site's power jumps", tables.swing_table),
)
"""Sheets of tables: name, what they hold, and their rows for one plan."""

BARS, COLUMNS, LINES = ("bar", 2), ("column", 2), ("line", 2)
DRAWN = {
    "Step": BARS,
    "Time": BARS,
    "Energy": BARS,
    "Months": COLUMNS,
    "Cash by month": COLUMNS,
    "Power": LINES,
}
"""Sheets with a chart: its type and the column of its values, the plan's name being column 0."""


def _tables(writer: Writer, plans: Sequence[Plan]) -> None:
    for name, note, frame_of in SHEETS:
        _table(writer, name, note, [(plan, frame_of(plan)) for plan in plans])
    _table(writer, "Phases", "Phases of training", [(plan, _phases(plan)) for plan in plans])
    _table(writer, "What matters", "Cost as each assumption alone changes [USD]", [(p, _swings(p)) for p in plans])
    _table(writer, "Assumptions", "Every assumption and its source", [(p, _assumptions(p)) for p in plans])
    _table(writer, "To repeat", "Provenance, and the plan files line by line", [(p, _again(p)) for p in plans])


def _table(writer: Writer, name: str, note: str, frames: "Sequence[tuple[Plan, pd.DataFrame]]") -> None:
    """A sheet of the same table for every plan, one below the other."""
    sheet = writer.book.add_worksheet(name)
    writer.title(sheet, name, note)
    first = frames[0][1]
    columns = [str(column) for column in first.columns if column not in DRAWN_ONLY]
    writer.head(sheet, 3, ("Plan", *columns))
    widths = [18, *(len(column) + 3 for column in columns)]
    y = 4
    for n, (plan, frame) in enumerate(frames):
        start = y
        for row in frame[columns].itertuples(index=False):
            _row(writer, sheet, y, (plan.name, *row), widths)
            y += 1
        if name in DRAWN and y > start:
            sheet.insert_chart(3 + 17 * n, len(columns) + 2, _chart(writer, name, columns, (start, y - 1)))
    for x, width in enumerate(widths):
        sheet.set_column(x, x, min(width, WIDEST))
    sheet.freeze_panes(4, 1)
    if y > 4:
        sheet.autofilter(3, 0, y - 1, len(columns))
    on_paper(sheet)


def _row(writer: Writer, sheet: Any, y: int, row: Sequence[object], widths: list[int]) -> None:
    for x, value in enumerate(row):
        if isinstance(value, int | float):
            writer.number(sheet, y, x, float(value), _form(float(value)))
            continue
        wrapped = {"text_wrap": True} if len(str(value)) > WIDEST else {}
        writer.text(sheet, y, x, value, **wrapped)
        widths[x] = max(widths[x], min(len(str(value)) + 2, WIDEST))


def _form(value: float) -> str:
    """So many decimals as make three digits; the cell holds all of them."""
    size = abs(value)
    return "#,##0" if size >= 100 or value == int(value) else "#,##0.00" if size >= 1 else "0.0000"


def _chart(writer: Writer, name: str, columns: Sequence[str], rows: tuple[int, int]) -> Any:
    """A native chart of one plan's rows, named by the cell that holds its plan."""
    kind, at = DRAWN[name]
    chart = writer.book.add_chart({"type": kind})
    series = {
        "name": [name, rows[0], 0],
        "categories": [name, rows[0], 1, rows[1], 1],
        "values": [name, rows[0], at, rows[1], at],
    }
    colour = {"color": LIGHT.accent}
    chart.add_series(series | ({"line": {**colour, "width": 1.5}} if kind == "line" else {"fill": colour, "gap": 40}))
    chart.set_title({"name": [name, rows[0], 0], "name_font": {"size": 12}})
    chart.set_legend({"none": True})
    value_axis, name_axis = (
        (chart.set_x_axis, chart.set_y_axis) if kind == "bar" else (chart.set_y_axis, chart.set_x_axis)
    )
    value_axis(
        {"name": columns[at - 1], "min": 0, "major_gridlines": {"visible": True, "line": {"color": LIGHT.line}}}
    )
    name_axis(
        {"reverse": True} if kind == "bar" else {"name": columns[0], "interval_unit": 20 if kind == "line" else 1}
    )
    chart.set_size({"width": 560, "height": 320})
    return chart


def _phases(plan: Plan) -> "pd.DataFrame":
    import pandas as pd

    rows = [
        {
            "Phase": phase.name,
            "Tokens": phase.tokens,
            "Sequence [tokens]": phase.seq_len,
            "Batch [sequences]": phase.global_batch,
            "Layout": phase.step.layout.label,
            "Step [s]": phase.step_time_s,
            "Days of steps": phase.training_s / 86_400,
            "GPU [W]": phase.gpu_power_w,
            "Step time is": phase.origin,
        }
        for phase in plan.phases
    ]
    return pd.DataFrame(rows)


def _swings(plan: Plan) -> "pd.DataFrame":
    from planner.decide.sensitivity import tornado

    return tables.tornado_table(tornado(plan)["cost_usd"])


def _assumptions(plan: Plan) -> "pd.DataFrame":
    import pandas as pd

    rows = [(a.what, a.value, a.kind, a.source) for a in plan.assumptions]
    return pd.DataFrame(rows, columns=["What", "Value", "Known how", "Source"])


def _again(plan: Plan) -> "pd.DataFrame":
    import pandas as pd

    rows = [(key.replace("_", " "), value) for key, value in plan.provenance.items()]
    rows += [("plan file", line) for line in plan_file_text(plan.request).splitlines()]
    return pd.DataFrame(rows, columns=["What", "Text"])
