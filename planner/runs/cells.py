"""One row's cells, read as numbers, counts and flags, with a note for every one that had to be assumed."""

import re
from collections.abc import Mapping

from profiler.files import InputError

LARGEST = 1e12
"""Beyond any count or quantity in a runs file."""
THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d*)?$")
"""A number whose commas part thousands; another comma may be a decimal one."""


LENGTH = re.compile(r"(\d+) ?[kK]i?$")
"""A sequence's length in units of 1,024 tokens."""

BLANKS = ("-", "--", "?", "n/a", "n.a.", "unknown", "not stated", "not reported", "unspecified", "tbd")
"""What people write into a cell of which they know nothing."""


class Cells:
    """Typed access to one row's cells; collects the assumptions made for the empty ones."""

    def __init__(self, cells: Mapping[str, str], *, most: float = LARGEST) -> None:
        self._cells = cells
        self._most = most
        self.notes: list[str] = []

    @property
    def cells(self) -> Mapping[str, str]:
        """The row as it stands."""
        return self._cells

    def text(self, key: str) -> str:
        text = self._cells.get(key, "")
        return "" if text.lower() in BLANKS else text

    def number(self, key: str) -> float | None:
        """A finite number, or `None` where the cell is empty."""
        text = self.text(key)
        if not text:
            return None
        if key == "seq_len" and (length := LENGTH.match(text)):
            text = str(1024 * int(length[1]))
        try:
            value = float(text.replace(",", "") if THOUSANDS.match(text) else text)
        except ValueError:
            raise InputError(f"column '{key}' is '{text[:40]}'; a number is needed.") from None
        if not abs(value) <= self._most:
            raise InputError(f"column '{key}' is {text[:40]}; a finite number of at most {self._most:.0e} is needed.")
        return value

    def positive(self, key: str) -> float | None:
        """A finite number above zero, or `None` where the cell is empty."""
        value = self.number(key)
        if value is not None and value <= 0:
            raise InputError(f"column '{key}' is {self.text(key)[:40]}; a number above 0 is needed.")
        return value

    def observed(self, key: str) -> float | None:
        """A number above zero that was measured; `None` where the cell is empty or zero."""
        return self.positive(key) if self.number(key) else None

    def count(self, key: str, default: int | None = None, why: str = "") -> int:
        """A whole number of at least one; `default` (noted, where `why` is given) for an empty cell."""
        value = self.number(key)
        if value is None:
            if default is None:
                raise InputError(f"column '{key}' is empty; a whole number is needed.")
            if why:
                self.notes.append(f"{key} not stated: {default} ({why})")
            return default
        if value < 1 or value != int(value):
            raise InputError(f"column '{key}' is {self.text(key)}; a whole number of at least 1 is needed.")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """A 0/1 cell."""
        text = self.text(key).lower()
        if text not in ("", "0", "1", "true", "false", "yes", "no"):
            raise InputError(f"column '{key}' is '{text[:40]}'; 0 or 1 is needed.")
        return text in ("1", "true", "yes") if text else default
