"""Every key of a plan: what was given, what was taken by default, and where that comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from planner.plan_file import PlanRequest, plan_request
from planner.template import plan_keys, whole_tables
from profiler.files import parse_toml, read_text


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One key, the value that a plan takes for it, who said so, and what the key is."""

    key: str
    value: str
    given: bool
    """Otherwise the default."""
    doc: str

    def to_dict(self) -> dict[str, object]:
        """The row as scripts read it."""
        return asdict(self)


def read_taken(path: Path, overrides: Sequence[tuple[str, object]] = ()) -> tuple[PlanRequest, tuple[Taken, ...]]:
    """A plan file and every key of it, in the order of the file's tables.

    Raises:
        InputError: unreadable, or a key that cannot be.
    """
    data = parse_toml(read_text(path), source=str(path))
    request = plan_request(data, overrides, source=str(path))
    stated = set(dotted(data)) | {key for key, _ in overrides}
    return request, taken(request, stated)


def taken(request: PlanRequest, stated: set[str]) -> tuple[Taken, ...]:
    """Every key with its value; `stated` are the dotted keys that a person wrote."""
    rows = []
    for path, key in plan_keys().items():
        value = value_at(request, path)
        given = path in stated or any(name.startswith(f"{path}.") for name in stated)
        shown = "nothing" if value in (None, "") else key.shown(value)
        rows.append(Taken(key=path, value=shown, given=given, doc=key.doc))
    for table in whole_tables():
        value = value_at(request, table.path)
        shown = "nothing" if not value else f"{len(value)} of them" if isinstance(value, tuple) else _layout(value)
        rows.append(Taken(key=table.path, value=shown, given=bool(value), doc=table.doc))
    return tuple(rows)


def _layout(value: object) -> str:
    changed = {k: v for k, v in asdict(value).items() if v not in (None, 1, "none", "1f1b")}  # type: ignore[call-overload]
    return ", ".join(f"{name} {amount}" for name, amount in changed.items())


def dotted(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys of nested tables by their dotted paths."""
    found: list[str] = []
    for key, value in data.items():
        found += dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return found


def value_at(request: PlanRequest, path: str) -> Any:
    """The value of a dotted key."""
    value: Any = request
    for name in path.split("."):
        value = getattr(value, name)
    return value
