"""The state of a session: what the widgets hold, what the address says, and the plans that follow."""

import time
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from dashboard import address
from dashboard.controls import for_page
from dashboard.plans import Asked, plan_of
from dashboard.scenarios import LABELS, MODELS, UPLOADED, shared_of
from dashboard.uploads import UploadedProfile
from planner.machine import usual_part
from planner.plan import Plan
from planner.plan_file import PlanRequest
from planner.search import request
from profiler.files import InputError
from sim.hardware import whole_nodes

UNHEARD_S = 2.0
"""How long a click may come with an address that was replaced: the way to the browser and back, and a run."""

FAR = 2.0
"""Times as many or as few GPUs, which a person would not take for those they asked for."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A plan, or the sentence that says why there is none."""

    label: str
    plan: Plan | None = None
    problem: str = ""


def restore() -> None:
    """Fill the session from its address: once, and when the person goes back or forward in the browser. What cannot
    be read is left at its default and named."""
    asked, path = _asked(), urlsplit(st.context.url or "").path
    again = "told" in st.session_state  # a link to another page brings an address without anything, as the first may
    if again:
        moved = path != st.session_state.path
        st.session_state.path, st.session_state.bare = path, not asked and not moved
        came = asked or (not moved and path == st.session_state.begun)
        cut_short = st.session_state.restoring and _written() in (st.session_state.left, st.session_state.told)
        if not came or not (cut_short or _walked(asked)):
            return
        st.session_state.left = _written()
    else:
        st.session_state.path, st.session_state.begun = path, None if asked else path
    st.session_state.bare = False
    parameters = {key: texts[-1] for key, texts in asked.items() if key != "saved"}
    values, unread = address.read(parameters)
    st.session_state.unread = address.unread_sentence(parameters, unread)
    for key, value in values.items():
        st.session_state[key] = value
    st.session_state.saved = list(dict.fromkeys(asked.get("saved", [])))[: address.MOST_SAVED]
    st.session_state.told, st.session_state.restoring = asked, again
    st.session_state.restored = _written()


def unread() -> str:
    """What of the address could not be read, until the person has changed something."""
    return str(st.session_state.unread) if _written() == st.session_state.restored else ""


def settle() -> None:
    """Take note that what was restored is drawn: a run cut short before is restored again, since the browser may have
    asked for the next one with what its widgets said before."""
    st.session_state.restoring = False


def _asked() -> dict[str, list[str]]:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def _walked(asked: dict[str, list[str]]) -> bool:
    """Whether the browser brought an address of before or after: not the one told, though no widget has changed
    since, nor the one just replaced, of which a click may not have heard yet."""
    if asked == st.session_state.get("before") and time.monotonic() - st.session_state.told_at_s < UNHEARD_S:
        return False
    return bool(asked != st.session_state.told and _written() == st.session_state.told)


def hold() -> None:
    """Keep the values of widgets that this run may not draw; before any widget."""
    for key in set(address.READERS) & set(map(str, st.session_state)):
        st.session_state[key] = st.session_state[key]


def values() -> dict[str, Any]:
    """What the widgets of this session hold."""
    return {key: st.session_state[key] for key in address.READERS if key in st.session_state}


def _written() -> dict[str, list[str]]:
    """What of the session differs from the defaults, as an address has it."""
    told = {key: [text] for key, text in address.write(values()).items()}
    return told | ({"saved": list(st.session_state.saved)} if st.session_state.saved else {})


def tell() -> None:
    """Write what differs from the defaults into the address, after the widgets; one without any that the person came
    back to stays, else there were no way past it."""
    written = _written()
    if st.session_state.bare and written == st.session_state.told:
        return
    st.session_state.told, asked = written, _asked()
    if asked != written:
        st.session_state.before, st.session_state.told_at_s = asked, time.monotonic()
        st.query_params.from_dict(written)


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


def nearest_gpus(key: str) -> int:
    """The number of GPUs nearest to a model's that a plan may have; where that is far, the nearest in whole nodes."""
    gpus = int(st.session_state[address.machine_keys(key)[0]])
    try:
        nearest = request.nearest_gpus(request_of(key))
    except InputError:
        nearest = 0
    if gpus / FAR <= nearest <= gpus * FAR:
        return nearest
    per_node = usual_part(st.session_state.gpu)
    return gpus if gpus < per_node else whole_nodes(gpus, per_node)


def own_profile() -> UploadedProfile | None:
    """The profile that this person brought; it lives as long as the session."""
    found: UploadedProfile | None = st.session_state.get("own_profile")
    return found


def put_profile(own: UploadedProfile | None) -> None:
    """Let every plan on its GPU stand on a profile, or on none that was brought."""
    st.session_state.own_profile = own


def asked(request: PlanRequest) -> Asked:
    """A request, on the person's own profile where that is of its GPU."""
    own = own_profile()
    if own is None or not own.speaks_for(request.cluster.gpu):
        return request, None
    return own.named_in(request), own.profile


def outcome(key: str) -> Outcome:
    """The plan of a model as the widgets have it, or why there is none."""
    try:
        return Outcome(label=LABELS[key], plan=plan_of(*asked(request_of(key))))
    except InputError as error:
        return Outcome(label=LABELS[key], problem=for_page(str(error)))


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
