"""Every key of a plan file: what it is, what it takes where nothing is said, and a file that shows them all.

All of it is read off `planner.plan_file`: names, types, defaults and the words beside them.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Literal, get_args, get_origin, get_type_hints

from planner.plan_file import PlanRequest
from planner.quantities import EXAMPLES, quantity_text
from planner.report.plan_text import count_text

WRITTEN = {
    "model": "llama3.1-70b",
    "tokens": "15T",
    "cluster.gpus_per_node": 8,
    "cluster.spare_nodes": 2,
    "training.seq_len": 8192,
    "training.only.schedule": "1f1b",
    "training.global_batch": 512,
    "site.gpu_power_cap_w": "500 W",
    "site.pue": 1.09,
    "site.wue_l_per_kwh": 0.27,
    "phases.name": "pre-training",
    "phases.tokens": "15T",
    "phases.seq_len": 8192,
    "phases.global_batch": 512,
}
"""What is written where a key has no default of its own."""

HEAD = """\
# A plan for herdplan. Every key stands here with what is taken where nothing is said; a key behind # has no
# default, and what happens without it is said above it. Amounts are numbers in the unit of the key's name, or text
# with its own unit, such as "10 min", "0.08 USD/kWh" or "15.6T".
"""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a plan file."""

    path: str
    """Dotted, as `--set` takes it."""
    default: object
    """`None` where it has none."""
    required: bool
    doc: str
    unit: str
    """A key of `planner.quantities.UNITS`, or empty."""
    hint: Any

    @property
    def name(self) -> str:
        """Without its table."""
        return self.path.rpartition(".")[2]

    def shown(self, value: object) -> str:
        """A value as it stands in a file."""
        if self.unit and isinstance(value, int | float):
            value = quantity_text(value, self.unit)
        elif self.name == "tokens" and isinstance(value, float):
            value = count_text(value)
        return json.dumps(value, ensure_ascii=False, default=str)

    def example(self) -> str:
        """Something that may stand there, where there is no default."""
        if self.path in WRITTEN:
            return json.dumps(WRITTEN[self.path])
        if self.unit:
            return json.dumps(EXAMPLES[self.unit])
        return json.dumps(_of_type(self.hint))


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of keys; an optional one is left out as a whole where nothing is said."""

    path: str
    doc: str
    keys: tuple[Key, ...]
    optional: bool = False
    repeated: bool = False

    @property
    def header(self) -> str:
        """Its line in the file; empty for the top."""
        return self.path and (f"[[{self.path}]]" if self.repeated else f"[{self.path}]")


def plan_tables() -> tuple[Table, ...]:
    """The tables of a plan file, the top first."""
    return tuple(_tables(PlanRequest, "", doc=""))


def whole_tables() -> tuple[Table, ...]:
    """The tables that are there as a whole or not at all, such as training.layout and phases."""
    return tuple(table for table in plan_tables() if table.optional)


def plan_keys() -> dict[str, Key]:
    """Every key outside optional tables by its dotted path."""
    return {key.path: key for table in plan_tables() if not table.optional for key in table.keys}


def template(model: str = "", tokens: str = "") -> str:
    """A plan file with every key and a comment; reading it gives what the model and tokens alone give."""
    given = {"model": model, "tokens": tokens}
    lines = [*HEAD.splitlines(), ""]
    for table in plan_tables():
        mark = "# " if table.optional else ""
        lines += ["", *_comment(table.doc)] if table.header else []
        lines += [mark + table.header] if table.header else []
        for key in table.keys:
            without = mark or ("" if key.required or key.default is not None else "# ")
            value = given.get(key.path) and json.dumps(given[key.path], ensure_ascii=False)
            value = value or (key.example() if key.default is None else key.shown(key.default))
            lines += [*_comment(key.doc), f"{without}{key.name} = {value}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 114)]


def _tables(cls: type, prefix: str, *, doc: str, optional: bool = False, repeated: bool = False) -> Iterator[Table]:
    """The table of a dataclass, then those within it."""
    words, hints = _words(cls), get_type_hints(cls, include_extras=True)
    keys, inner = [], []
    for field in fields(cls):
        path = f"{prefix}.{field.name}" if prefix else field.name
        hint, kind = hints[field.name], _table_kind(hints[field.name])
        if kind is None:
            required = field.default is MISSING and field.default_factory is MISSING
            default = None if field.default is MISSING else field.default
            keys.append(
                Key(path=path, default=default, required=required, doc=words[field.name], unit=_unit(hint), hint=hint)
            )
        elif not repeated:  # tables within repeated ones are those of the plan, such as phases.layout
            inner.append((kind, path, get_origin(hint) is tuple, hint is not kind, words[field.name]))
    yield Table(path=prefix, doc=doc, keys=tuple(keys), optional=optional, repeated=repeated)
    for kind, path, is_repeated, is_optional, said in inner:
        own = (inspect.getdoc(kind) or "").partition("\n")[0]
        yield from _tables(kind, path, doc=f"{own} {said}".strip(), optional=is_optional, repeated=is_repeated)


def _words(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    words = {field.name: "" for field in fields(cls)}
    for node, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            words[node.target.id] = " ".join(str(text.value).split()) if isinstance(text, ast.Constant) else ""
    return words


def _table_kind(hint: Any) -> type | None:
    """The dataclass that a field holds, perhaps or several times."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((kind for part in get_args(hint) if (kind := _table_kind(part))), None)


def _unit(hint: Any) -> str:
    """The unit that a type reads amounts in."""
    for part in (*getattr(hint, "__metadata__", ()), *get_args(hint)):
        check = getattr(part, "func", None)
        if isinstance(check, partial):
            return str(check.keywords["unit"])
        if found := _unit(part):
            return found
    return ""


def _of_type(hint: Any) -> object:
    """A value of a type."""
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    plain: dict[Any, object] = {bool: True, int: 1, float: 1.0, str: ""}
    if hint in plain:
        return plain[hint]
    return next((value for part in get_args(hint) if (value := _of_type(part)) is not None), None)
