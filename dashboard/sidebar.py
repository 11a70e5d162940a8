"""What a person changes: model, machine, tokens, money, place; everything else under Assumptions."""

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard.scenarios import LABELS, read_upload
from dashboard.state import MOST_GPUS, chosen, models, take_upload
from planner.carbon import grids
from profiler.files import InputError
from sim.hardware import load_gpu, names
from sim.reliability import load_reliability, reliability_names

COMMITMENTS = ("on-demand", "1-year", "3-year", "spot")


def sidebar() -> None:
    """Draw the sidebar; every widget keeps its value under the key the address uses."""
    with st.sidebar:
        st.selectbox("Model", models(), format_func=LABELS.__getitem__, key="model")
        key = chosen()
        st.selectbox("GPU", names("gpus"), format_func=lambda name: load_gpu(name).label, key="gpu")
        st.number_input("GPUs", 1, MOST_GPUS, step=1024, key=f"gpus_{key}")
        st.text_input("Tokens", key=f"tokens_{key}", max_chars=24, help="Such as 15T, 800B or 15e12.")
        _money()
        labels = {grid.name: grid.label for grid in grids()}
        st.selectbox("Place", sorted(labels, key=labels.__getitem__), format_func=labels.__getitem__, key="grid",
                     help="The grid whose carbon intensity is used.")  # fmt: skip
        st.number_input("Electricity [USD per kWh]", 0.0, 100.0, step=0.01, format="%.4g", value=None,
                        key="electricity_usd_per_kwh", placeholder="US industrial average")  # fmt: skip
        _assumptions()
        _upload()


def _money() -> None:
    ways = {"rent": "Rent", "own": "Own"}
    st.segmented_control("Rent or own", list(ways), format_func=ways.__getitem__, key="mode", required=True)
    if st.session_state.mode == "rent":
        st.number_input("Price [USD per GPU-hour]", 0.01, 1e4, step=0.1, format="%.4g", value=None,
                        key="price_usd_per_gpu_hour", placeholder="published prices")  # fmt: skip
    else:
        st.number_input("Price [USD per GPU, with server]", 1.0, 1e7, step=1000.0, format="%.6g", value=None,
                        key="server_usd_per_gpu", placeholder="published prices")  # fmt: skip


def _assumptions() -> None:
    with st.expander("Assumptions"):
        st.slider("PUE", 1.0, 3.0, step=0.01, key="pue", help="Site power over the power of the machines.")
        st.selectbox(
            "Failure record", reliability_names(), format_func=lambda n: load_reliability(n).label, key="record"
        )
        st.selectbox("Commitment of a rental", COMMITMENTS, key="commitment")
        st.number_input("Days paid before the first step", 0.0, 1000.0, step=1.0, key="preparation_days")


def _upload() -> None:
    with st.expander("Plan from a file"):
        st.file_uploader("A plan file (TOML)", type=["toml"], key="upload", on_change=_read_upload)
        trouble = st.session_state.get("upload_problem")
        if trouble:
            from dashboard.ui import problem

            problem(trouble)


def _read_upload() -> None:
    st.session_state.upload_problem = ""
    file: UploadedFile | None = st.session_state.upload
    if file is None:
        return
    try:
        take_upload(read_upload(file.getvalue(), file.name))
    except InputError as error:
        st.session_state.upload_problem = str(error)
