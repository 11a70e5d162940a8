"""A second opinion on a workbook's formulas: what a spreadsheet makes of them, by a few lines of our own."""

import io
import math
import re

import openpyxl
from openpyxl.formula import Tokenizer

Key = tuple[str, str]
OPERATORS = {"+", "-", "*", "/", "(", ")"}


class Workbook:
    """Cells that can be changed; formulas of + - * / and SUM are computed when asked."""

    def __init__(self, data: bytes) -> None:
        self.formulas = openpyxl.load_workbook(io.BytesIO(data))
        self.cached = openpyxl.load_workbook(io.BytesIO(data), data_only=True)
        self.changed: dict[Key, float] = {}

    def cells(self) -> list[Key]:
        """Where formulas stand."""
        return [
            (sheet.title, cell.coordinate)
            for sheet in self.formulas
            for row in sheet.iter_rows()
            for cell in row
            if cell.data_type == "f"
        ]

    def find(self, sheet: str, label: str) -> int:
        """The row whose first cell is `label`."""
        [row] = [cell.row for (cell,) in self.formulas[sheet].iter_rows(max_col=1) if cell.value == label]
        assert row is not None
        return row

    def change(self, sheet: str, label: str, value: float) -> None:
        """Put a number into the yellow cells of a price."""
        row = self.find(sheet, label)
        for column in "CDE":
            if self.formulas[sheet][f"{column}{row}"].data_type == "n":
                self.changed[sheet, f"{column}{row}"] = value

    def levels(self, sheet: str, label: str) -> tuple[float, ...]:
        """The three values of a row."""
        row = self.find(sheet, label)
        return tuple(self.value((sheet, f"{column}{row}")) for column in "CDE")

    def value(self, key: Key) -> float:
        """A cell's number, computed."""
        if key in self.changed:
            return self.changed[key]
        sheet, coordinate = key
        cell = self.formulas[sheet][coordinate]
        return self._compute(sheet, str(cell.value)) if cell.data_type == "f" else float(cell.value or 0.0)

    def _compute(self, sheet: str, formula: str) -> float:
        """The tokens as an expression of Python, ranges as sums."""
        words = []
        for token in Tokenizer(formula).items:
            if token.type == "OPERAND" and token.subtype == "RANGE":
                words.append(repr(self._range(sheet, token.value)))
            elif token.value == "SUM(":
                words.append("(")
            else:
                assert token.value in OPERATORS or re.fullmatch(r"[0-9.]+(e[-+]?\d+)?", token.value), token.value
                words.append(token.value)
        return float(eval("".join(words), {"__builtins__": {}}))

    def _range(self, sheet: str, text: str) -> float:
        name, _, cells = text.rpartition("!")
        sheet = name.strip("'") or sheet
        first, _, last = cells.replace("$", "").partition(":")
        if not last:
            return self.value((sheet, first))
        column, begin, end = first[0], int(first[1:]), int(last[1:])
        assert last[0] == column
        return math.fsum(self.value((sheet, f"{column}{row}")) for row in range(begin, end + 1))
