"""The state of a session: what the widgets hold, what the address says, and the plans that follow."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import streamlit as st

from dashboard.plans import plan_of
from dashboard.scenarios import LABELS, MODELS, UPLOADED, Shared, base, changed, shared_of
from planner.carbon import grids
from planner.plan import Plan
from planner.plan_file import PlanRequest
from planner.quantities import parse_count
from planner.report.plan_text import count_text
from profiler.files import InputError
from sim.hardware import names
from sim.reliability import reliability_names

DEFAULT_MODEL = "405b"

Reader = Callable[[str], Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A plan, or the sentence that says why there is none."""

    label: str
    plan: Plan | None = None
    problem: str = ""


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


def _gpus(text: str) -> int:
    if not 1 <= int(text) <= MOST_GPUS:
        raise ValueError(text)
    return int(text)


def _tokens(text: str) -> str:
    return str(count_text(parse_count(text)))


MOST_GPUS = 1_000_000

READERS: dict[str, Reader] = {
    "model": _one_of(*MODELS),
    "gpu": lambda text: _one_of(*names("gpus"))(text),
    "mode": _one_of("rent", "own"),
    "price_usd_per_gpu_hour": _number(0.01, 1e4),
    "server_usd_per_gpu": _number(1.0, 1e7),
    "grid": lambda text: _one_of(*(grid.name for grid in grids()))(text),
    "electricity_usd_per_kwh": _number(0.0, 100.0),
    "pue": _number(1.0, 3.0),
    "record": lambda text: _one_of(*reliability_names())(text),
    "commitment": _one_of("on-demand", "1-year", "3-year", "spot"),
    "preparation_days": _number(0.0, 1000.0),
    **{f"gpus_{key}": _gpus for key in MODELS},
    **{f"tokens_{key}": _tokens for key in MODELS},
}
"""Every parameter of the address, and how it is read; widgets hold the values under the same keys."""


def defaults() -> dict[str, Any]:
    """What every widget holds when nobody has changed anything."""
    found: dict[str, Any] = {"model": DEFAULT_MODEL}
    found |= {f.name: getattr(Shared(), f.name) for f in fields(Shared)}
    for key in MODELS:
        found |= machine(key, base(key))
    return found


def machine(key: str, request: PlanRequest) -> dict[str, Any]:
    """The widgets that every model has of its own."""
    gpus, tokens = machine_keys(key)
    return {gpus: request.cluster.gpus, tokens: _tokens(repr(request.tokens))}


def machine_keys(key: str) -> tuple[str, str]:
    """The widgets of a model's number of GPUs and tokens."""
    return f"gpus_{key}", f"tokens_{key}"


def restore() -> None:
    """Fill the session from the address once; what cannot be read is left at its default and named."""
    if "restored" in st.session_state:
        return
    st.session_state.restored = True
    st.session_state.unread = []
    values = defaults()
    for key, text in st.query_params.items():
        if key not in READERS:
            continue
        try:
            values[key] = READERS[key](text)
        except (ValueError, OverflowError):
            st.session_state.unread.append(key)
    for key, value in values.items():
        st.session_state.setdefault(key, value)


def hold() -> None:
    """Keep the values of widgets that this run may not draw; before any widget."""
    for key in {*defaults(), *machine_keys(UPLOADED)} & set(map(str, st.session_state)):
        st.session_state[key] = st.session_state[key]


def tell() -> None:
    """Write what differs from the defaults into the address; after the widgets."""
    standard = defaults()
    said = {key: st.session_state[key] for key in standard if key in READERS}
    told = {key: _written(value) for key, value in said.items() if value is not None and value != standard[key]}
    if dict(st.query_params) != told:
        st.query_params.from_dict(told)


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def take_upload(request: PlanRequest) -> None:
    """Make an uploaded plan the chosen one, and let the widgets say what it says."""
    state = st.session_state
    state.uploaded_request = request
    for key, value in machine(UPLOADED, request).items():
        state[key] = value
    for f in fields(Shared):
        state[f.name] = getattr(shared_of(request), f.name)
    state.model = UPLOADED


def models() -> list[str]:
    """The models that can be chosen."""
    return [*MODELS, *([UPLOADED] if "uploaded_request" in st.session_state else [])]


def chosen() -> str:
    """The chosen model's key."""
    return str(st.session_state.model)


def request_of(key: str) -> PlanRequest:
    """The request of a model with what the widgets say.

    Raises:
        InputError: a value that cannot be.
    """
    state = st.session_state
    original = state.uploaded_request if key == UPLOADED else base(key)
    shared = Shared(**{f.name: state[f.name] for f in fields(Shared)})
    try:
        tokens = parse_count(str(state[f"tokens_{key}"]))
    except ValueError as error:
        raise InputError(f"The number of tokens is '{str(state[f'tokens_{key}'])[:40]}'; {error}") from None
    return changed(original, shared, int(state[f"gpus_{key}"]), tokens)


def outcome(key: str) -> Outcome:
    """The plan of a model as the widgets have it, or why there is none."""
    try:
        return Outcome(label=LABELS[key], plan=plan_of(request_of(key)))
    except InputError as error:
        return Outcome(label=LABELS[key], problem=str(error))
