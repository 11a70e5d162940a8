"""What a report says, before anybody decides how it looks: sections of texts, tables, charts and plan files.

HTML, PDF and Markdown are drawn from the same document, so that they cannot differ in a number.
"""

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Role = Literal["text", "number", "kind", "source"]
"""What a column holds: words, numbers, how a number is known (a key of `words.KINDS`), or where it comes from."""

CONTROL = {"Cc", "Cs"}
NO_CHARACTERS = {"\ufffe", "\uffff"}
BIDIRECTIONAL = {chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)}
"""Marks that turn the direction of what follows: a name could make a number read backwards."""


def clean(text: object) -> str:
    """Text on one line without control characters, lone surrogates and marks of direction (each becomes �)."""
    spaced = " ".join(str(text).replace("\t", " ").splitlines())
    return "".join("�" if _unseen(c) else c for c in spaced)


def _unseen(character: str) -> bool:
    return character in BIDIRECTIONAL or character in NO_CHARACTERS or unicodedata.category(character) in CONTROL


class Bar(NamedTuple):
    """An interval as shares of its own axis, which begins at zero and ends a little above the high end."""

    low: float
    expected: float
    high: float


class Cell(NamedTuple):
    """What stands in a table: a text, a smaller one beneath it, and perhaps an interval drawn as a bar."""

    text: str
    note: str = ""
    bar: Bar | None = None


class Column(NamedTuple):
    """The head of a column."""

    name: str
    role: Role = "text"


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph; a muted one explains."""

    text: str
    muted: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells under columns; `totals` are the rows that sum up."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    totals: frozenset[int] = frozenset()
    per_plan: bool = False
    """Number columns are plans side by side, as wide as each other."""
    summary: bool = False
    """The figures that a reader came for: set larger."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A Vega-Lite chart and its numbers."""

    chart: dict[str, Any]
    table: Table
    wide: bool = False

    @property
    def description(self) -> str:
        """What is said to those who cannot see it."""
        return str(self.chart["description"])

    @property
    def title(self) -> str:
        """Its message."""
        return str(self.chart["title"]["text"])


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text to be copied as it stands."""

    text: str


Block = Text | Table | Figure | Code


@dataclass(frozen=True, kw_only=True)
class Section:
    """Blocks under a title."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The detail of one plan."""

    key: str
    """Unique in the document, for links."""
    name: str
    label: str
    answer: str
    sections: tuple[Section, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole report: a page for the board, then a part for each plan."""

    names: str
    """Of all plans."""
    title: str
    date: str
    """When it was made; empty where nothing was said."""
    version: str
    board: tuple[Section, ...]
    parts: tuple[Part, ...]
    kinds: dict[str, str]
    """How its numbers are known, in words."""
    closing: str


def table(
    caption: str,
    columns: tuple[tuple[str, Role], ...],
    rows: "list[tuple[object, ...]]",
    totals: frozenset[int] = frozenset(),
) -> Table:
    """A table of plain texts."""
    cells = tuple(tuple(c if isinstance(c, Cell) else Cell(str(c)) for c in row) for row in rows)
    return Table(caption=caption, columns=tuple(Column(*c) for c in columns), rows=cells, totals=totals)
