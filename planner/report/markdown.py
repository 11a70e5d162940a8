"""The Markdown report, in the pipe tables that GitHub and most tools read."""

import re

from planner.report.document import Block, Cell, Code, Column, Document, Figure, Section, Table, Text, clean

SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$^=-])")
"""What Markdown, its tables, its mathematics or the HTML within it may read as more than a character."""


def render_markdown(report: Document) -> str:
    """The Markdown. Charts are their message and their numbers."""
    date = f" · {escaped(report.date)}" if report.date else ""
    lines = [f"# {escaped(report.title)}", "", f"Training plan{date} · herdplan {escaped(report.version)}", ""]
    for part in report.parts:
        lines += [f"**{escaped(part.name)}.** {escaped(part.answer)}", ""]
    lines += _sections(report.board, "##")
    lines += [f"*{escaped(report.closing)}*", ""]
    for part in report.parts:
        lines += [f"# {escaped(part.name)}", "", *_sections(part.sections, "##")]
    return "\n".join(lines).rstrip("\n") + "\n"


def escaped(text: str) -> str:
    """Text on one line that Markdown shows as it stands."""
    line = SPECIAL.sub(r"\\\1", clean(text))
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", line)  # not a list


def _sections(sections: tuple[Section, ...], level: str) -> list[str]:
    lines: list[str] = []
    for section in sections:
        lines += [f"{level} {escaped(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return lines


def _block(block: Block) -> list[str]:
    match block:
        case Text():
            return [escaped(block.text)]
        case Table():
            return _table(block)
        case Figure():
            return [f"**{escaped(block.title)}**", "", *_table(block.table)]
        case Code():
            return _fenced(block.text)


def _table(table: Table) -> list[str]:
    rule = ["---:" if column.role == "number" else "---" for column in table.columns]
    head = [escaped(column.name) for column in table.columns]
    rows = [
        [_cell(cell, column, bold=y in table.totals) for cell, column in zip(row, table.columns, strict=True)]
        for y, row in enumerate(table.rows)
    ]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def _cell(cell: Cell, column: Column, *, bold: bool) -> str:
    text = escaped(cell.text)
    text = f"**{text}**" if bold and text and column.role != "source" else text
    return f"{text}<br>{escaped(cell.note)}" if cell.note else text


def _fenced(text: str) -> list[str]:
    """Text between more back quotes than it holds itself."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}toml", text.rstrip("\n"), fence]
