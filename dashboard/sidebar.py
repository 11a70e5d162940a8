"""What a person changes: model, machine, tokens, money, place; everything else under Assumptions."""

import streamlit as st

from dashboard import state, ui
from dashboard.address import COMMITMENTS, MOST_GPUS, machine_keys
from dashboard.assumption_list import show_all, show_assumptions
from dashboard.scenarios import LABELS, read_upload
from planner.carbon import grids
from sim.campaign.reliability import load_reliability, reliability_names
from sim.hardware import load_gpu, names

WAYS = {"rent": "Rent", "own": "Own", "mixed": "Both"}


def sidebar() -> None:
    """Draw the sidebar; every widget keeps its value under the key the address uses."""
    with st.sidebar:
        st.selectbox("Model", state.models(), format_func=LABELS.__getitem__, key="model")
        gpus, tokens, layout = machine_keys(state.chosen())
        st.selectbox("GPU", names("gpus"), format_func=lambda name: load_gpu(name).label, key="gpu",
                     on_change=_whole_nodes)  # fmt: skip
        own = state.own_profile()
        if own is not None and own.speaks_for(st.session_state.gpu):
            ui.note(f"As measured: {own.name}")
        st.number_input("GPUs", 1, MOST_GPUS, step=1024, key=gpus, on_change=_search_again)
        st.text_input("Tokens", key=tokens, max_chars=24, help="Such as 15T, 800B or 15e12.")
        if st.session_state[layout]:
            st.button("Undo the layout picked", icon=":material/undo:", on_click=_search_again, width="stretch")
        _money()
        labels = {grid.name: grid.label for grid in grids()}
        st.selectbox("Place", sorted(labels, key=labels.__getitem__), format_func=labels.__getitem__, key="grid",
                     help="The grid whose carbon intensity is used.")  # fmt: skip
        st.number_input("Electricity [USD per kWh]", 0.0, 100.0, step=0.01, format="%.4g", value=None,
                        key="electricity_usd_per_kwh", placeholder="the plan’s tariff")  # fmt: skip
        _assumptions()
        _keep()
        with st.expander("Plan from a file"):
            ui.upload("A plan file (TOML)", "toml", "upload", _take)


def _search_again() -> None:
    """A layout belongs to the machine it was picked on."""
    st.session_state[machine_keys(state.chosen())[2]] = ""


def _whole_nodes() -> None:
    """Another GPU stands in other nodes: for every model the nearest number of GPUs to the one that the person asked
    for, not to what the GPU before made of it, so that the way back ends where it began."""
    made: dict[str, tuple[int, int]] = st.session_state.setdefault("made_of_asked", {})
    for key in state.models():
        gpus, _, layout = machine_keys(key)
        asked, made_of_it = made.get(key, (0, 0))
        if st.session_state[gpus] != made_of_it:
            asked = st.session_state[gpus]
        state.put({gpus: asked, layout: ""})
        count = min(state.nearest_gpus(key), MOST_GPUS)
        made[key] = asked, count
        state.put({gpus: count})


def _take(content: bytes, name: str) -> None:
    own = state.own_profile()
    state.take_upload(read_upload(content, name, own.name if own else ""))


def _money() -> None:
    st.segmented_control("Rent or own", list(WAYS), format_func=WAYS.__getitem__, key="mode", required=True)
    mode = st.session_state.mode
    if mode == "mixed":
        st.number_input("GPUs owned", 0, MOST_GPUS, step=1024, key="owned_gpus")
    if mode != "own":
        st.number_input("Price [USD per GPU-hour]", 0.01, 1e4, step=0.1, format="%.4g", value=None,
                        key="price_usd_per_gpu_hour", placeholder="published prices")  # fmt: skip
    if mode != "rent":
        st.number_input("Price [USD per GPU, with server]", 1.0, 1e7, step=1000.0, format="%.6g", value=None,
                        key="server_usd_per_gpu", placeholder="published prices")  # fmt: skip


def _assumptions() -> None:
    with st.expander("Assumptions"):
        st.slider("PUE", 1.0, 3.0, step=0.01, key="pue", help="Site power over the power of the machines.")
        st.selectbox("Failure record", reliability_names(), key="record")
        ui.note(f"{load_reliability(st.session_state.record).label}.")
        st.selectbox("Commitment of a rental", COMMITMENTS, key="commitment")
        st.number_input("Days paid before the first step", 0.0, 1000.0, step=1.0, key="preparation_days")
        if st.button("All of them, with their sources", icon=":material/list_alt:", width="stretch",
                     key="all_assumptions", on_click=show_all):  # fmt: skip
            found = state.outcome(state.chosen())
            if found.plan is None:
                ui.problem(f"There is no plan, so it assumes nothing: {found.problem}")
            else:
                show_assumptions(found.plan)


def _keep() -> None:
    with st.expander("Save and share"):
        st.text_input("Name of this scenario", key="scenario_name", max_chars=60, placeholder="such as Norway, owned")
        st.button("Save beside others", icon=":material/bookmark_add:", on_click=_save, width="stretch")
        ui.note("The address of this page holds everything you chose, saved scenarios too: copy it to share it.")


def _save() -> None:
    state.save(st.session_state.scenario_name)
    st.session_state.scenario_name = ""
