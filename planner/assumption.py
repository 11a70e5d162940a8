"""One number or choice that a plan stands on, with where it comes from and how we know it."""

from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal["given", "measured", "scaled", "calibrated", "published", "assumed"]


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """One number or choice a plan stands on."""

    what: str
    value: str
    kind: Kind
    source: str

    def to_dict(self) -> dict[str, str]:
        """The row as scripts read it."""
        return asdict(self)


def row(what: str, value: str, kind: Kind, source: str) -> Assumption:
    """One row of a plan's list."""
    return Assumption(what=what, value=value, kind=kind, source=source)


def by_words(source: str) -> Kind:
    """How a catalogue's number is known, from the words of its source."""
    return "assumed" if source.lower().startswith("assumed") else "published"
