"""A plan request as the plan file that gives it back."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from planner.plan_file import PlanRequest
from planner.quantities import NAMES, parse_count


def plan_file_text(request: PlanRequest) -> str:
    """The plan file (TOML) of `request`, defaults written out so that it means the same later.

    Reading it gives an equal request.
    """
    stated = _stated(request)
    phases = stated.pop("phases", ())
    lines = [f"{key} = {_value(value)}" for key, value in stated.items() if not isinstance(value, dict)]
    for key, table in stated.items():
        if isinstance(table, dict):
            lines += _table(f"[{key}]", table)
    for phase in phases:
        lines += _table("[[phases]]", phase)
    return "\n".join(lines) + "\n"


def _stated(item: Any) -> dict[str, Any]:
    """Everything that is set; dataclasses inside as mappings."""
    found = {field.name: _plain(field.name, getattr(item, field.name)) for field in fields(item)}
    return {name: value for name, value in found.items() if value not in (None, "", {}, [])}


def _plain(name: str, value: object) -> Any:
    if is_dataclass(value):
        return _stated(value)
    if isinstance(value, tuple):
        return [_plain("", part) for part in value]
    return count_text(value) if name == "tokens" and isinstance(value, float) else value


def count_text(value: float) -> str | float:
    """Tokens as people write them, where that is exact."""
    for size, letter in NAMES.items():
        text = f"{value / size:.10g}{letter}"
        if value >= size and parse_count(text) == value:
            return text
    return value


def _table(header: str, table: Mapping[str, Any]) -> list[str]:
    return ["", header, *(f"{key} = {_value(value)}" for key, value in table.items())]


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "".join(map(_printed, json.dumps(value, ensure_ascii=False)))
    return repr(value)


def _printed(character: str) -> str:
    """A character as it may stand in a TOML string that people look at: marks of direction and the like escaped."""
    return character if character.isprintable() else f"\\U{ord(character):08x}"
