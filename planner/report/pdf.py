"""The PDF report, set by typst from a document: no browser, no network, fonts embedded.

All words reach typst as data (JSON read by a fixed template), never as markup, so no name can run as code. The
file is tagged for screen readers (PDF/UA-1) and carries no time but a date that was given.
"""

import json
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

from planner.report.document import Block, Cell, Code, Column, Document, Figure, Section, Table, Text, clean
from planner.report.svg import plain_svg

TEMPLATE = Path(__file__).parent / "templates" / "report.typ"

FACE = "Libertinus Serif"
"""The text face that typst carries, for charts as well: the same file on a machine without fonts."""

WIDE_PX, HALF_PX = 740, 400
"""Widths at which a chart of the whole and of half a page's width is drawn."""

TITLE_PX, SUBTITLE_PX = 7.0, 5.6
"""Widths of a character of a chart's title and of its subtitle, on average."""

BREAKS = re.compile(r"([/_,;:.\-=&?])(?=\S)")
"""Where a long source or address may break."""


LONG = re.compile(r"(\S{14})(?=\S)")
"""A word that is wider than the head of a column may break there."""


def render_pdf(report: Document) -> bytes:
    """The PDF. The same document gives the same bytes.

    Raises:
        ImportError: typst is not installed.
    """
    charts: dict[str, str] = {}
    data = {
        "names": clean(report.names),
        "title": report.title,
        "date": clean(report.date),
        "version": clean(report.version),
        "closing": report.closing,
        "board": _sections(report.board, charts),
        "parts": [
            {
                "key": part.key,
                "name": clean(part.name),
                "label": clean(part.label),
                "answer": clean(part.answer),
                "sections": _sections(part.sections, charts),
            }
            for part in report.parts
        ],
    }
    files = {"main.typ": _template(), "report.json": json.dumps(data)} | charts
    return _compiled({name: text.encode() for name, text in files.items()})


def _compiled(files: dict[str, bytes]) -> bytes:
    """The PDF by the standard for accessible ones; without it where a name has a character of no font there is."""
    import typst

    compiler: Any = typst  # its annotations leave out files in memory
    try:
        pdf: bytes = compiler.compile(files, pdf_standards=["ua-1"])
    except typst.TypstError:
        pdf = compiler.compile(files)
    return pdf


@cache
def _template() -> str:
    return TEMPLATE.read_text(encoding="utf-8")


def _sections(sections: tuple[Section, ...], charts: dict[str, str]) -> list[dict[str, Any]]:
    return [{"title": clean(s.title), "blocks": [_block(b, charts) for b in s.blocks]} for s in sections]


def _block(block: Block, charts: dict[str, str]) -> dict[str, Any]:
    """A block as the template takes it; drawings are put beside it as files."""
    match block:
        case Text():
            return {"block": "text", "text": clean(block.text), "muted": block.muted}
        case Code():
            return {"block": "code", "text": block.text}
        case Table():
            return {
                "block": "table",
                "columns": [_column(column) for column in block.columns],
                "rows": [[_cell(cell, column) for cell, column in zip(row, block.columns, strict=True)]
                         for row in block.rows],
                "totals": sorted(block.totals),
                "even": block.per_plan,
                "summary": block.summary,
            }  # fmt: skip
        case Figure():
            name = f"chart-{len(charts) + 1}.svg"
            charts[name] = _drawing(block)
            return {"block": "figure", "file": name, "alt": clean(block.description), "wide": block.wide}


def _column(column: Column) -> dict[str, str]:
    return {"name": LONG.sub("\\1\u200b", clean(column.name)), "role": column.role}


def _cell(cell: Cell, column: Column) -> dict[str, Any]:
    text = clean(cell.text)
    if column.role == "source":
        text = BREAKS.sub("\\1\u200b", text)
    return {"text": text, "note": clean(cell.note), "bar": cell.bar}


def _drawing(figure: Figure) -> str:
    """The chart in the report's face, narrower than on a screen so that paper shows its letters larger."""
    chart, width = figure.chart, WIDE_PX if figure.wide else HALF_PX
    title = {
        "text": textwrap.wrap(figure.title, int(width / TITLE_PX)),
        "subtitle": textwrap.wrap(str(chart["title"]["subtitle"]), int(width / SUBTITLE_PX)),
    }
    if "vconcat" in chart:
        sized: dict[str, Any] = {"vconcat": [{**row, "width": width} for row in chart["vconcat"]]}
    else:
        sized = {"width": width}
    drawn = plain_svg({**chart, "title": title, **sized})
    return re.sub(r'font-family="[^"]*"', f'font-family="{FACE}"', drawn)
