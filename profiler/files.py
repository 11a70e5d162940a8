"""The door: people's files come in here, are checked once, and leave as frozen dataclasses.

Every refusal is one sentence (`InputError`) naming the file, the key, what was given and what is allowed.
"""

import difflib
import math
import os
import re
import tempfile
import tomllib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

T = TypeVar("T")

MAX_FILE_BYTES = 64 * 2**20
"""Larger files are refused before they are read: no plan, profile or catalogue comes near this."""


class InputError(ValueError):
    """Something a person gave cannot be used; the message is the one sentence they should read."""


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Say what is allowed and, where one is close, which was probably meant: one that begins with the same word."""
    choices, wanted = sorted(allowed), given.lower()
    word = re.split(r"\W", wanted, maxsplit=1)[0]
    alike = [choice for choice in choices if choice.lower().startswith(word)]
    close = difflib.get_close_matches(wanted, alike or choices, n=1, cutoff=0.4)
    meant = f"; did you mean '{close[0]}'?" if close else ""
    return f"allowed: {', '.join(choices)}{meant}"


def read_text(path: Path) -> str:
    """Return the text of a small UTF-8 file, or raise `InputError` naming it."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: larger than {MAX_FILE_BYTES // 2**20} MiB; this is not a herdplan file.")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None


def parse_toml(text: str, *, source: str) -> dict[str, Any]:
    """Parse TOML; `source` names the text in the error."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source}: not readable as TOML: {error}.") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise InputError(f"{source}: not readable as TOML: a number too long or values nested too deep.") from None


def read_toml(path: Path, kind: type[T]) -> T:
    """Read one TOML file as a `kind` (a dataclass), checked by pydantic."""
    return validated(parse_toml(read_text(path), source=str(path)), kind, source=str(path))


@cache
def _adapter(kind: Hashable) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cast(type[Any], kind))


def validated(data: Mapping[str, Any], kind: type[T], *, source: str) -> T:
    """Check `data` against the dataclass `kind`; raise `InputError` with the first thing wrong.

    Unknown keys, wrong types, NaN, infinities and values out of range are refused. A date of TOML is its text.
    """
    from pydantic import ValidationError

    data = _dates_as_text(data)
    try:
        result: T = _adapter(cast(Hashable, kind)).validate_python(data)
    except ValidationError as error:
        raise InputError(_sentence(error, source, kind)) from None
    _refuse_nan(data, source, ())
    _refuse_flags(data, result, source, ())
    return result


def _dates_as_text(value: Any) -> Any:
    """TOML has dates without quotes; here each is text: `2028-02-29`, with a time of day unless it is midnight."""
    if isinstance(value, datetime):
        return value.date().isoformat() if value == datetime.combine(value, time()) else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _dates_as_text(inner) for key, inner in value.items()}
    return [_dates_as_text(inner) for inner in value] if isinstance(value, list) else value


def _refuse_flags(data: object, result: object, source: str, where: tuple[str, ...]) -> None:
    """Refuse `true` and `false` that pydantic took for the numbers 1 and 0."""
    if isinstance(data, bool) and isinstance(result, int | float) and not isinstance(result, bool):
        raise InputError(f"{source}: key '{'.'.join(where)}' is {str(data).lower()}; a number is needed.")
    if isinstance(data, Mapping):
        for key, inner in data.items():
            found = result.get(key) if isinstance(result, Mapping) else getattr(result, str(key), None)
            _refuse_flags(inner, found, source, (*where, str(key)))
    elif isinstance(data, list | tuple) and isinstance(result, list | tuple):
        for i, (inner, found) in enumerate(zip(data, result, strict=False)):
            _refuse_flags(inner, found, source, (*where, str(i)))


def _refuse_nan(value: object, source: str, where: tuple[str, ...]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{source}: key '{'.'.join(where)}' is {value}; a finite number is needed.")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_nan(inner, source, (*where, str(key)))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _refuse_nan(inner, source, (*where, str(i)))


def _sentence(error: Any, source: str, kind: type) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "(top level)"
    given = repr(first["input"])
    if len(given) > 80:
        given = given[:77] + "..."
    match first["type"]:
        case "unexpected_keyword_argument" | "extra_forbidden":
            meant = _meant([part for part in first["loc"] if isinstance(part, str)], tuple(_keys(kind)))
            helps = f"did you mean '{meant}'?" if meant else "remove it or check its spelling."
            return f"{source}: key '{key}' is not known here; {helps}"
        case "missing" | "missing_argument":
            return f"{source}: key '{key}' is missing."
        case "value_error":
            return (
                f"{source}: {first['ctx']['error']}"
                if not first["loc"]
                else (f"{source}: key '{key}' is {given}; {first['ctx']['error']}")
            )
        case "dataclass_type":
            return f"{source}: key '{key}' is {given}; a table is needed, such as {_header(first['loc'])}."
        case "tuple_type":
            return f"{source}: key '{key}' is {given}; a list is needed."
        case _:
            return f"{source}: key '{key}' is {given}; {first['msg'][0].lower()}{first['msg'][1:]}."


def _header(where: tuple[str | int, ...]) -> str:
    """How TOML heads a table that stands somewhere, or in a list of tables."""
    name = ".".join(part for part in where if isinstance(part, str))
    return f"[[{name}]]" if where and isinstance(where[-1], int) else f"[{name}]"


def _meant(given: list[str], known: tuple[str, ...]) -> str:
    """The key that was probably meant: the same word in another table, or one spelt much like it; empty if none."""
    elsewhere = [key for key in known if key.rpartition(".")[2] == given[-1]]
    beside = [key for key in known if key.count(".") == len(given) - 1]
    close = elsewhere or difflib.get_close_matches(".".join(given), beside, n=1, cutoff=0.8)
    return close[0] if close else ""


def _keys(kind: Any, table: str = "") -> Iterator[str]:
    """Every key that a dataclass and those within it take, with the tables they stand in."""
    if is_dataclass(kind):
        for name, inner in get_type_hints(kind).items():
            yield f"{table}{name}"
            yield from _keys(inner, f"{table}{name}.")
    else:
        for inner in get_args(kind):
            yield from _keys(inner, table)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` whole or not at all: to a temporary file in the same folder, then renamed.

    Raises `InputError` when the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)  # mkstemp is private; a report is for sharing
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from None
        raise
