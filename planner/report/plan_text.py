"""A plan request as the plan file that gives it back."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from planner.plan_file import PlanRequest


def plan_file_text(request: PlanRequest) -> str:
    """The plan file (TOML) of `request`: what differs from the defaults, and what has none.

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
    """Fields that differ from their defaults; dataclasses inside as mappings."""
    found = {}
    for field in fields(item):
        value = getattr(item, field.name)
        if value is None or value == _default(field):
            continue
        if is_dataclass(value):
            value = _stated(value)
        elif isinstance(value, tuple):
            value = [_stated(part) if is_dataclass(part) else part for part in value]
        found[field.name] = value
    return found


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _table(header: str, table: Mapping[str, Any]) -> list[str]:
    return ["", header, *(f"{key} = {_value(value)}" for key, value in table.items())]


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
