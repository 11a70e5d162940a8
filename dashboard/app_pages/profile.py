"""Profile: what was measured, on what, how near it comes to the ceilings, and the watts; or one's own."""

import streamlit as st

from dashboard import state, ui
from dashboard.controls import for_page
from dashboard.plans import roofline_of
from dashboard.uploads import UploadedProfile, read_profile_upload
from planner.plan import Plan, step_again
from planner.plan_profile import profile_notes
from planner.quantities import percent, significant
from planner.report import profile_charts, words
from profiler.files import InputError
from profiler.profile import Profile
from profiler.units import GIGA, TERA
from sim.hardware import load_gpu, names
from sim.measured_gpu import measured_gpu


def _take(content: bytes, name: str) -> None:
    state.put_profile(read_profile_upload(content, name))


def _shown(plan: Plan) -> tuple[Profile | None, str]:
    """The profile of the page, and how to speak of it."""
    own = state.own_profile()
    if own is not None:
        return own.profile, "your profile"
    if plan.profile is not None:
        return plan.profile, "the profile that ships"
    try:
        return roofline_of(plan.cluster.gpu.name, plan.request.model), "a stand-in"
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
        ("Device", p.device), ("How", p.method), ("Known how", profile_charts.known_how(p.origin)),
        ("Taken", p.taken_at.replace("T", " ")),
        ("Command", p.command),
        ("Versions", ", ".join(f"{name} {value}" for name, value in
                               (("herdplan", p.herdplan), ("torch", p.torch), ("CUDA", p.cuda), ("driver", p.driver),
                                ("FairScale", p.fairscale), ("NCCL", p.nccl)) if value)),
        ("Matmul ceiling", f"{significant(p.peak_matmul_flops / TERA, 4)} TFLOP/s" if p.peak_matmul_flops else ""),
        ("Copy ceiling", f"{significant(p.copy_bytes_per_s / GIGA, 4)} GB/s" if p.copy_bytes_per_s else ""),
        ("Power limit", f"{p.power_limit_w:,.0f} W" if p.power_limit_w else ""),
        ("Idle power", f"{p.idle_power_w:,.0f} W" if p.idle_power_w else ""),
        *(("Note", _worded(note)) for note in p.notes),
    ]  # fmt: skip
    ui.heading("Where it comes from")
    ui.rows([("What", False), ("Value", False)], [[what, value] for what, value in facts if value])


def _planned(plan: Plan, own: UploadedProfile) -> None:
    """What the plans of this session take from the person's profile, and what they do not."""
    came, phase = own.profile.provenance, plan.main_phase
    if came.origin == "roofline":
        ui.note("This profile was computed, not measured: no plan stands on it.")
        return
    if came.gpu not in names("gpus"):
        ui.note(f"This profile is of {came.device}, which is no GPU of the catalogue: no plan stands on it.")
        return
    if came.gpu != plan.cluster.gpu.name:
        ui.note(
            f"This profile is of {came.device}; the plan is for {plan.cluster.gpu.label}. Choose the same GPU on the "
            "left to plan with it."
        )
        return
    if phase.origin in ("measured", "scaled"):
        predicted_s = step_again(plan, phase).step_time_s
        change = phase.step.step_time_s / predicted_s - 1
        ui.note(
            f"Every plan for this GPU stands on it now: a step of “{phase.name}” takes "
            f"{significant(phase.step.step_time_s)} s ({words.known(phase)}), {percent(change, signed=True)} against "
            f"{significant(predicted_s)} s predicted."
        )
    else:
        watts = measured_gpu(load_gpu(came.gpu), own.profile).matmul_power_w
        ui.note(f"No step of this plan stands on it{'; its watts do' if watts else ''}.")
    for said in profile_notes(plan.request, own.profile, plan.phases):
        ui.note(f"{words.sentence(for_page(said))}.")


plan = ui.chosen_plan()
profile, what = _shown(plan)
if profile is None:
    ui.answer(f"There is no profile of {plan.cluster.gpu.label}, and none can be computed.")
else:
    ui.answer(_sentence(profile, what))
    own = state.own_profile()
    if own is not None:
        _planned(plan, own)
        st.button("Plan without it", icon=":material/undo:", on_click=state.put_profile, args=(None,))
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
    "On a node with GPUs: herdplan-profile run --out mine.json. Plans of this session then stand on what is uploaded "
    "here; in a terminal, herdplan plan my.toml --profile mine.json does the same. It stays in this session: the "
    "address of the page does not carry it."
)
ui.upload("A profile (JSON)", "json", "profile_upload", _take)
