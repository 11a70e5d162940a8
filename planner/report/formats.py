"""Every format of a report behind one function, for the command line and the dashboard."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date as calendar_date
from pathlib import Path

from planner.plan import Plan
from profiler.files import InputError, nearest

Render = Callable[[Sequence[Plan], str], str | bytes]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file."""

    label: str
    """What people call it."""
    mime: str
    render: Render

    def bytes(self, plans: Sequence[Plan], date: str) -> bytes:
        """The file's content."""
        made = self.render(plans, date)
        return made if isinstance(made, bytes) else made.encode("utf-8", "replace")


def _html(plans: Sequence[Plan], date: str) -> str:
    from planner.report.html import render_html

    return render_html(plans, date=date)


def _pdf(plans: Sequence[Plan], date: str) -> bytes:
    from planner.report.contents import document
    from planner.report.pdf import render_pdf

    return render_pdf(document(plans, date))


def _xlsx(plans: Sequence[Plan], date: str) -> bytes:
    from planner.report.workbook import render_xlsx

    return render_xlsx(plans, date)


def _md(plans: Sequence[Plan], date: str) -> str:
    from planner.report.contents import document
    from planner.report.markdown import render_markdown

    return render_markdown(document(plans, date))


def _csv(plans: Sequence[Plan], date: str) -> str:
    from planner.report.flat import render_csv

    return render_csv(plans, date)


def _json(plans: Sequence[Plan], date: str) -> str:
    """One plan as an object, several as a list: what `herdplan plan --json` gives, and the plan file."""
    from planner.report.plan_text import plan_file_text

    dated = {"date": date} if date else {}
    found = [{**plan.to_dict(), "plan_file": plan_file_text(plan.request), **dated} for plan in plans]
    return json.dumps(found[0] if len(found) == 1 else found, indent=2, allow_nan=False, default=float) + "\n"


FORMATS = {
    "html": Format(label="HTML page", mime="text/html", render=_html),
    "pdf": Format(label="PDF", mime="application/pdf", render=_pdf),
    "xlsx": Format(
        label="Excel workbook",
        mime="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        render=_xlsx,
    ),
    "md": Format(label="Markdown", mime="text/markdown", render=_md),
    "json": Format(label="JSON", mime="application/json", render=_json),
    "csv": Format(label="CSV", mime="text/csv", render=_csv),
}
"""The formats by the ending of their files."""


def write_report(plans: Sequence[Plan], kind: str = "html", *, date: str = "") -> bytes:
    """A report of some plans, the same bytes for the same plans and date.

    Args:
        plans: at least one; several stand side by side.
        kind: a key of `FORMATS`.
        date: YYYY-MM-DD, shown where one is given.

    Raises:
        InputError: no plan, another format, no date, or a library that is not installed.
    """
    if not plans:
        raise InputError("a report needs at least one plan.")
    if kind not in FORMATS:
        raise InputError(f"format '{kind}' cannot be written; {nearest(kind, FORMATS)}.")
    if date:
        check_date(date)
    try:
        return FORMATS[kind].bytes(plans, date)
    except ModuleNotFoundError as error:
        raise InputError(f"a {kind} report needs {error.name}: pip install 'herdplan[report]'.") from None


def check_ending(path: Path, kind: str) -> None:
    """Raise `InputError` where a file's name promises another format than is written into it."""
    ending = path.suffix.removeprefix(".").lower()
    if ending in FORMATS and ending != kind:
        raise InputError(
            f"{path}: {kind} is asked for, but the name ends as {ending} does; name it "
            f"{path.with_suffix(f'.{kind}')}, or ask for {ending}: herdplan report --format {ending}."
        )


def check_date(date: str) -> None:
    """Raise `InputError` unless it is a day as YYYY-MM-DD."""
    try:
        found = calendar_date.fromisoformat(date).isoformat()
    except ValueError:
        found = ""
    if found != date:
        raise InputError(f"date is '{date}'; a day such as 2026-01-05 is needed.")
