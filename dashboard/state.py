"""The state of a session: what the widgets hold, what the address says, and the plans that follow."""

from dataclasses import dataclass, fields
from typing import Any

import streamlit as st

from dashboard import address
from dashboard.plans import plan_of
from dashboard.scenarios import A_FILE, LABELS, MODELS, UPLOADED, shared_of
from planner.plan import Plan
from planner.plan_file import PlanRequest
from profiler.files import InputError


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A plan, or the sentence that says why there is none."""

    label: str
    plan: Plan | None = None
    problem: str = ""


def restore() -> None:
    """Fill the session from the address once; what cannot be read is left at its default and named."""
    if "restored" in st.session_state:
        return
    st.session_state.restored = True
    parameters = {key: text for key, text in st.query_params.items() if key != "saved"}
    values, st.session_state.unread = address.read(parameters)
    for key, value in values.items():
        st.session_state.setdefault(key, value)
    st.session_state.saved = list(dict.fromkeys(st.query_params.get_all("saved")))[: address.MOST_SAVED]


def hold() -> None:
    """Keep the values of widgets that this run may not draw; before any widget."""
    for key in set(address.READERS) & set(map(str, st.session_state)):
        st.session_state[key] = st.session_state[key]


def values() -> dict[str, Any]:
    """What the widgets of this session hold."""
    return {key: st.session_state[key] for key in address.READERS if key in st.session_state}


def tell() -> None:
    """Write what differs from the defaults into the address; after the widgets."""
    told: dict[str, str | list[str]] = dict(address.write(values()))
    if st.session_state.saved:
        told["saved"] = st.session_state.saved
    if {key: st.query_params.get_all(key) for key in st.query_params} != {
        key: text if isinstance(text, list) else [text] for key, text in told.items()
    }:
        st.query_params.from_dict(told)


def put(new: dict[str, Any]) -> None:
    """Let the widgets hold other values; before they are drawn, so in a callback."""
    for key, value in new.items():
        st.session_state[key] = value


def take_upload(request: PlanRequest) -> None:
    """Make an uploaded plan the chosen one, and let the widgets say what it says.

    Raises:
        InputError: a plan that the page cannot hold.
    """
    plan = address.packed(request)
    shared = shared_of(request)
    put({"plan": plan, "model": UPLOADED, **address.machine(UPLOADED, request)})
    put({f.name: getattr(shared, f.name) for f in fields(shared)})


def models() -> list[str]:
    """The models that can be chosen."""
    return [*MODELS, *([UPLOADED] if st.session_state.plan else [])]


def chosen() -> str:
    """The chosen model's key."""
    return str(st.session_state.model)


def request_of(key: str) -> PlanRequest:
    """The request of a model with what the widgets say.

    Raises:
        InputError: a value that cannot be.
    """
    return address.request_of(values(), key)


def outcome(key: str) -> Outcome:
    """The plan of a model as the widgets have it, or why there is none."""
    try:
        return Outcome(label=LABELS[key], plan=plan_of(request_of(key)))
    except InputError as error:
        return Outcome(label=LABELS[key], problem=A_FILE.sub("", str(error)))


def save(name: str) -> None:
    """Keep the chosen scenario beside those kept before, the oldest of too many given up."""
    line = address.saved(values(), name)
    kept = [other for other in st.session_state.saved if other != line]
    st.session_state.saved = [*kept, line][-address.MOST_SAVED :]


def forget(line: str) -> None:
    """Drop a saved scenario."""
    st.session_state.saved = [other for other in st.session_state.saved if other != line]


def open_saved(line: str) -> None:
    """Let the widgets say what a saved scenario says."""
    try:
        _, found = address.open_saved(line)
    except InputError:
        forget(line)
        return
    key = str(found["model"])
    put({name: found[name] for name in address.plan_keys(key) if name in found})
