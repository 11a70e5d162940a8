"""Cells of a workbook and how they look. Text enters here, and only as text."""

from collections.abc import Sequence
from typing import Any

from planner.report.document import clean
from planner.report.theme import LIGHT

MOST_CELL = 32_000
"""Characters of a cell; Excel takes 32,767."""


AMOUNT = "[<1]0.0000;[<100]#,##0.00;#,##0"
USD = '[<100]"$"#,##0.00;"$"#,##0'
"""So many decimals as make about three digits, of whatever the cell comes to hold."""


class Writer:
    """Cells with their formats; the one place where text enters the workbook."""

    def __init__(self, book: Any) -> None:
        self.book = book
        base = {"font_name": "Arial", "font_size": 10, "valign": "vcenter"}
        self._base = base
        self._formats: dict[tuple[tuple[str, Any], ...], Any] = {}

    def style(self, **settings: Any) -> Any:
        """A format; asked for twice it is the same."""
        key = tuple(sorted(settings.items()))
        if key not in self._formats:
            self._formats[key] = self.book.add_format({**self._base, **settings})
        return self._formats[key]

    def text(self, sheet: Any, row: int, column: int, text: object, **settings: Any) -> None:
        """Text, as text."""
        sheet.write_string(row, column, clean(text)[:MOST_CELL], self.style(**settings))

    def number(self, sheet: Any, row: int, column: int, value: float, form: str, **settings: Any) -> None:
        """A number."""
        sheet.write_number(row, column, value, self.style(num_format=form, **settings))

    def formula(
        self, sheet: Any, row: int, column: int, formula: str, value: float, form: str, **settings: Any
    ) -> None:
        """A formula of our own making, with the value it has until something is changed."""
        sheet.write_formula(row, column, formula, self.style(num_format=form, **settings), value)

    def head(self, sheet: Any, row: int, names: Sequence[str], column: int = 0, **settings: Any) -> None:
        """Names of columns."""
        for i, name in enumerate(names):
            self.text(sheet, row, column + i, name, bold=True, bottom=1, font_color=LIGHT.muted, **settings)

    def title(self, sheet: Any, text: str, note: str) -> None:
        """What a sheet holds, in its first two rows."""
        self.text(sheet, 0, 0, text, bold=True, font_size=16)
        self.text(sheet, 1, 0, note, font_color=LIGHT.muted)
        sheet.set_row(0, 26)
        sheet.set_row(1, 18)


def on_paper(sheet: Any) -> None:
    """One page wide on A4, lying."""
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.hide_gridlines(2)
