"""Profile: what was measured, on what, how near it comes to the ceilings, and the watts; or one's own."""

import streamlit as st

from dashboard import ui
from dashboard.plans import roofline_of
from dashboard.uploads import read_profile_upload
from planner.plan import Plan, step_again
from planner.quantities import percent, significant
from planner.report import profile_charts, words
from profiler.files import InputError
from profiler.profile import Profile
from sim.hardware import load_gpu


def _take(content: bytes, name: str) -> None:
    st.session_state.profile = read_profile_upload(content, name)


def _drop() -> None:
    st.session_state.profile = None


def _shown(plan: Plan) -> tuple[Profile | None, str]:
    """The profile of the page, and how to speak of it."""
    own: Profile | None = st.session_state.get("profile")
    if own is not None:
        return own, "your profile"
    if plan.profile is not None:
        return plan.profile, "the profile that ships"
    try:
        return roofline_of(plan.cluster.gpu.name, plan.request.model), "a roofline"
    except InputError:
        return None, ""


def _sentence(profile: Profile, what: str) -> str:
    p = profile.provenance
    rows = sum(row.status == "ok" for row in profile.layers)
    if p.origin == "roofline":
        return (
            f"No {p.device} has been measured for this release. What is shown is {what}: {rows:,} rows computed from "
            "its datasheet and efficiencies fitted to published kernels"
            + ("." if load_gpu(p.gpu).kernels else ", the H100’s: none of its own are published.")
        )
    taken = f", {p.taken_at[:10]}" if p.taken_at else ""
    return f"This is {what}: {rows:,} rows {p.origin} {'for' if p.origin == 'scaled' else 'on'} {p.device}{taken}."


def _worded(note: str) -> str:
    """`idle_power_w: two logs` → `Idle power: two logs`."""
    head, colon, rest = note.partition(": ")
    if not colon or not head.isidentifier():
        return note
    name = head.removesuffix("_w").removesuffix("_kgco2e").replace("_", " ")
    return f"{name.capitalize()}: {rest}"


def _provenance(profile: Profile) -> None:
    p = profile.provenance
    facts = [
        ("Device", p.device), ("How", p.method), ("Known how", p.origin), ("Taken", p.taken_at),
        ("Command", p.command),
        ("Versions", ", ".join(f"{name} {value}" for name, value in
                               (("herdplan", p.herdplan), ("torch", p.torch), ("CUDA", p.cuda), ("driver", p.driver),
                                ("FairScale", p.fairscale), ("NCCL", p.nccl)) if value)),
        ("Matmul ceiling", f"{p.peak_matmul_flops / 1e12:,.0f} TFLOP/s" if p.peak_matmul_flops else ""),
        ("Copy ceiling", f"{p.copy_bytes_per_s / 1e9:,.0f} GB/s" if p.copy_bytes_per_s else ""),
        ("Power limit", f"{p.power_limit_w:,.0f} W" if p.power_limit_w else ""),
        ("Idle power", f"{p.idle_power_w:,.0f} W" if p.idle_power_w else ""),
        *(("Note", _worded(note)) for note in p.notes),
    ]  # fmt: skip
    ui.heading("Where it comes from")
    ui.rows([("What", False), ("Value", False)], [[what, value] for what, value in facts if value])


def _planned(plan: Plan, profile: Profile) -> None:
    """What the plan's own step would take with the kernels of the person's profile."""
    if profile.provenance.gpu != plan.cluster.gpu.name:
        ui.note(
            f"This profile is of {profile.provenance.device}; the plan is for {plan.cluster.gpu.label}. Choose the "
            "same GPU on the left to see what a step would take with it."
        )
        return
    try:
        step = step_again(plan, plan.main_phase, profile=profile)
    except InputError as error:
        ui.problem(str(error))
        return
    if step.origin not in ("measured", "scaled"):
        computed = profile.provenance.origin == "roofline"
        layers = f"{plan.request.training.stack} as {plan.main_phase.step.layout.label}"
        why = "computed, not measured" if computed else f"of FairScale’s layers, and the plan trains with {layers}"
        ui.note(f"This plan’s step does not stand on it: it is {why}.")
        return
    before = plan.main_phase.step.step_time_s
    change = step.step_time_s / before - 1
    ui.note(
        f"With these kernels a step of “{plan.main_phase.name}” takes {significant(step.step_time_s)} s "
        f"({step.origin}), {percent(change, signed=True)} against {significant(before)} s in the plan."
    )


plan = ui.chosen_plan()
profile, what = _shown(plan)
if profile is None:
    ui.answer(f"There is no profile of {plan.cluster.gpu.label}, and none can be computed.")
else:
    ui.answer(_sentence(profile, what))
    if st.session_state.get("profile") is not None:
        _planned(plan, profile)
        st.button("Back to the plan’s own", icon=":material/undo:", on_click=_drop)
    table = profile_charts.kernel_table(profile)
    left, right = st.columns(2, gap="large")
    with left:
        ui.chart("ceilings", profile_charts.ceiling_bars(profile, ui.theme(), "container"), lambda: table)
    with right:
        watts = profile_charts.watt_bars(profile, ui.theme(), "container")
        ui.chart("watts", watts)
        if watts is None:
            ui.heading("Watts")
            ui.note(
                "No power was measured. While it trains the plan takes "
                f"{words.whole(plan.main_phase.gpu_power_w)} W a GPU, from published measurements; a profile of "
                "your own would replace it."
            )
        _provenance(profile)
ui.heading("Measure your own")
ui.note(
    "On a node with GPUs: herdplan-profile run --out mine.json. To plan with it: herdplan plan my.toml --profile "
    "mine.json. Nothing that is uploaded leaves this session."
)
ui.upload("A profile (JSON)", "json", "profile_upload", _take)
