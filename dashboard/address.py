"""Every state of the dashboard as the parameters of an address, and back; no session is needed for either."""

import base64
import binascii
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import date
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from dashboard.controls import CONTROLS
from dashboard.scenarios import (
    LABELS,
    LARGEST_PLAN_BYTES,
    MODELS,
    UPLOADED,
    Shared,
    base,
    changed,
    layout_choice,
    read_upload,
    shared_of,
)
from planner.carbon import grids
from planner.plan_file import PlanRequest
from planner.quantities import parse_count
from planner.report.plan_text import count_text, plan_file_text
from profiler.files import InputError
from sim.campaign.reliability import reliability_names
from sim.hardware import names

Values = Mapping[str, Any]
Reader = Callable[[str], Any]

DEFAULT_MODEL = "405b"
MOST_GPUS = 1_000_000
MOST_SAVED = 6
LONGEST_NAME = 60
LONGEST_PACKED = 8000
"""Characters of a plan in an address; browsers and servers take some tens of thousands in all."""

COMMITMENTS = ("on-demand", "1-year", "3-year", "spot")

WHAT_IF = {
    "tokens": "Tokens",
    "step_time": "Step time",
    "failures": "Failure rate",
    "restart_time": "Restart time",
    "node_power": "Power of a node",
    "cooling": "PUE, the part above 1",
    "grid_intensity": "Grid intensity",
    "rent_price": "Rent",
    "server_usd_per_gpu": "Purchase price",
    "electricity_price": "Electricity price",
}
"""Assumptions with a slider, by the names of their priors; which of them a plan has depends on how it is paid."""

LEAST_FACTOR, MOST_FACTOR = 0.5, 2.0
"""Ends of every slider."""

OUTCOMES = ("cost_usd", "days")


def _one_of(*allowed: str) -> Reader:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return read


def _number(low: float, high: float) -> Reader:
    def read(text: str) -> float:
        value = float(text)
        if not low <= value <= high or not math.isfinite(value):
            raise ValueError(text)
        return value

    return read


def _whole(low: int, high: int) -> Reader:
    return lambda text: int(_number(low, high)(str(int(text))))


def _tokens(text: str) -> str:
    return str(count_text(parse_count(text)))


def _layout(text: str) -> str:
    if text:
        layout_choice(text)
    return text


def _name(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LONGEST_NAME]


def _day(text: str) -> date:
    found = date.fromisoformat(text)
    if not 2000 <= found.year <= 2999:
        raise ValueError(text)
    return found


def _packed(text: str) -> str:
    unpacked(text)
    return text


SHARED_READERS: dict[str, Reader] = {
    "gpu": lambda text: _one_of(*names("gpus"))(text),
    "mode": _one_of("rent", "own", "mixed"),
    "price_usd_per_gpu_hour": _number(0.01, 1e4),
    "server_usd_per_gpu": _number(1.0, 1e7),
    "owned_gpus": _whole(0, MOST_GPUS),
    "grid": lambda text: _one_of(*(grid.name for grid in grids()))(text),
    "electricity_usd_per_kwh": _number(0.0, 100.0),
    "pue": _number(1.0, 3.0),
    "record": lambda text: _one_of(*reliability_names())(text),
    "commitment": _one_of(*COMMITMENTS),
    "preparation_days": _number(0.0, 1000.0),
}

READERS: dict[str, Reader] = {
    "plan": _packed,
    "model": _one_of(*MODELS, UPLOADED),
    **SHARED_READERS,
    **{f"gpus_{key}": _whole(1, MOST_GPUS) for key in (*MODELS, UPLOADED)},
    **{f"tokens_{key}": _tokens for key in (*MODELS, UPLOADED)},
    **{f"layout_{key}": _layout for key in (*MODELS, UPLOADED)},
    "deadline": _day,
    "timeline": lambda text: _one_of("True")(text) == "True",
    "outcome": _one_of(*OUTCOMES),
    **{f"x_{name}": _number(LEAST_FACTOR, MOST_FACTOR) for name in WHAT_IF},
}
"""Every parameter of the address, and how it is read; widgets hold the values under the same keys."""


def defaults(plan: str = "") -> dict[str, Any]:
    """What every widget holds when nobody has changed anything; `plan` is an uploaded one, packed."""
    found: dict[str, Any] = {
        "plan": "",
        "model": DEFAULT_MODEL,
        "deadline": None,
        "timeline": False,
        "outcome": OUTCOMES[0],
    }
    found |= {f.name: getattr(Shared(), f.name) for f in fields(Shared)}
    found |= {f"x_{name}": 1.0 for name in WHAT_IF}
    for key in MODELS:
        found |= machine(key, base(key))
    return found | (machine(UPLOADED, unpacked(plan)) if plan else {})


def machine(key: str, request: PlanRequest) -> dict[str, Any]:
    """The widgets that every model has of its own."""
    gpus, tokens, layout = machine_keys(key)
    return {gpus: request.cluster.gpus, tokens: _tokens(repr(request.tokens)), layout: ""}


def machine_keys(key: str) -> tuple[str, str, str]:
    """The widgets of a model's number of GPUs, tokens and layout."""
    return f"gpus_{key}", f"tokens_{key}", f"layout_{key}"


def read(parameters: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """What an address says over the defaults, and which parameters cannot be, whose defaults are kept."""
    found, unread = {}, []
    for key, text in parameters.items():
        if key not in READERS:
            continue
        try:
            found[key] = READERS[key](text)
        except (ValueError, OverflowError):  # InputError is a ValueError
            unread.append(key)
    plan = found.get("plan", "")
    if not plan:
        of_upload = [key for key in found if key.endswith(f"_{UPLOADED}") or found[key] == UPLOADED]
        unread += of_upload
        found = {key: value for key, value in found.items() if key not in of_upload}
    return defaults(plan) | found, unread


def label_of(key: str) -> str:
    """What a parameter is called on the page."""
    kind, _, of = key.partition("_")
    if kind == "x" and of in WHAT_IF:
        return f"What if, {WHAT_IF[of]}"
    return f"{CONTROLS[kind]} of {LABELS[of]}" if of in LABELS else CONTROLS.get(key, key)


NOT_OURS = ("utm_", "embed")
"""Beginnings of parameters that others put into an address."""


def unread_sentence(parameters: Mapping[str, str], unread: Iterable[str]) -> str:
    """What of an address is not planned, and why, in words; empty where all of it is."""
    cannot = ", ".join(f"{label_of(key)} “{_name(parameters[key])}”" for key in sorted(unread))
    unknown = ", ".join(
        f"“{_name(key)}”" for key in sorted(parameters) if key not in READERS and not key.startswith(NOT_OURS)
    )
    said = [
        f"The address asks for what cannot be ({cannot}): what usually stands there is planned." if cannot else "",
        f"The address names what this page does not have ({unknown}): that is left aside." if unknown else "",
    ]
    return " ".join(filter(None, said))


def write(values: Values, keys: Iterable[str] = READERS) -> dict[str, str]:
    """The parameters of what differs from the defaults."""
    standard = defaults(values["plan"])
    said = {key: values[key] for key in keys if key in standard and key in values}
    return {key: written(value) for key, value in said.items() if value is not None and value != standard[key]}


def written(value: object) -> str:
    """A value as an address has it."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def plan_keys(key: str) -> tuple[str, ...]:
    """What the plan of one model follows from."""
    shared = tuple(f.name for f in fields(Shared))
    return ("model", *(("plan",) if key == UPLOADED else ()), *shared, *machine_keys(key))


def saved(values: Values, name: str) -> str:
    """A scenario to keep: the parameters of the chosen model's plan and a name, as one line."""
    key = str(values["model"])
    own = values if key == UPLOADED else {**values, "plan": ""}
    return urlencode({"name": _name(name), **write(own, plan_keys(key))})


def open_saved(line: str) -> tuple[str, dict[str, Any]]:
    """The name and the values of a saved scenario.

    Raises:
        InputError: something that was never saved here.
    """
    try:
        parameters = dict(parse_qsl(line, strict_parsing=True, max_num_fields=60))
    except ValueError:
        raise InputError("The address holds a saved scenario that cannot be read; remove it.") from None
    values, unread = read(parameters)
    if unread:
        raise InputError(f"The saved scenario asks for what cannot be: {', '.join(map(label_of, sorted(unread)))}.")
    return _name(parameters.get("name", "")) or "Scenario", values


def request_of(values: Values, key: str) -> PlanRequest:
    """The plan that the values ask for, of one model.

    Raises:
        InputError: a value that cannot be.
    """
    original = unpacked(values["plan"]) if key == UPLOADED else base(key)
    shared = Shared(**{f.name: values[f.name] for f in fields(Shared)})
    gpus, tokens, layout = (values[name] for name in machine_keys(key))
    try:
        count = parse_count(str(tokens))
    except ValueError as error:
        raise InputError(f"The number of tokens is '{str(tokens)[:40]}'; {error}") from None
    return changed(original, shared, int(gpus), count, layout)


def packed(request: PlanRequest) -> str:
    """A plan file in the letters that an address may hold.

    Raises:
        InputError: a plan that is too long for an address, or says what this page has no widget for.
    """
    for key, value in vars(shared_of(request)).items():
        try:
            SHARED_READERS[key](written(value)) if value is not None else None
        except (ValueError, OverflowError):
            raise InputError(
                f"{label_of(key)} is {written(value)[:40]}, which this page cannot plan; use the command line."
            ) from None
    text = base64.urlsafe_b64encode(zlib.compress(plan_file_text(request).encode(), 9)).decode().rstrip("=")
    if len(text) > LONGEST_PACKED:
        raise InputError("This plan is too long for the page; plan it on the command line.")
    return text


@lru_cache(maxsize=64)
def unpacked(text: str) -> PlanRequest:
    """The plan of `packed`, checked as an upload is.

    Raises:
        InputError: not a plan, or more than one unpacks to.
    """
    trouble = InputError("the plan in the address cannot be read; copy the whole address, or upload the file.")
    if len(text) > LONGEST_PACKED or not re.fullmatch(r"[\w-]*", text):
        raise trouble
    try:
        stream = zlib.decompressobj()
        content = stream.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), LARGEST_PLAN_BYTES + 1)
    except (zlib.error, binascii.Error):
        raise trouble from None
    return read_upload(content, "the plan in the address")
