"""Layouts: which of thousands is fastest and what its memory holds; and which cluster none beats. A click chooses."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from dashboard import jobs, state, ui
from dashboard.address import MOST_GPUS, machine_keys
from dashboard.controls import for_page
from dashboard.plans import asked_of, search_of
from dashboard.scenarios import layout_text
from planner.decide.pareto import ClusterComparison, compare_clusters
from planner.phase_notes import memory_notes
from planner.plan import Plan
from planner.quantities import percent, significant
from planner.report import charts, layout_charts, tables, words
from planner.report.plan_text import plan_file_text
from planner.search import SearchResult
from profiler.files import InputError
from sim.hardware import load_gpu, names

FACTORS = (0.5, 1.0, 2.0)
WIDTHS = {"Days": 52, "Layout": 268, "M USD": 62, "Why not": 478}
"""Of columns [px]: days and layout as wide as a phone, those that choose a layout as wide as a page of 1,360."""
CLUSTER_WIDTHS = {"GPU": 116, "GPUs": 58, "Days": 52, "M USD": 62, "MWh": 62, "tCO2e": 62, "Beaten by": 180,
                  "Layout": 272}  # fmt: skip

COMPARED = ("h100-sxm", "h200-sxm", "b200-sxm")


def _pick_layout(result: SearchResult) -> Callable[[int], None]:
    def picked(at: int) -> None:
        if at < len(result.layouts):  # beyond them is the plan's own
            state.put({machine_keys(state.chosen())[2]: layout_text(result.layouts[at].layout)})

    return picked


def _pick_cluster(comparison: ClusterComparison) -> Callable[[int], None]:
    found = [*comparison.front, *(contender for contender, _ in comparison.beaten)]

    def picked(at: int) -> None:
        gpus, _, layout = machine_keys(state.chosen())
        state.put({"gpu": found[at].gpu, gpus: found[at].gpus, layout: ""})

    return picked


def _layouts(result: SearchResult, plan: Plan) -> None:
    look, picked, step = ui.theme(), _pick_layout(result), plan.main_phase.step
    left, right = st.columns(2, gap="large")
    with left:
        ui.chart("layout-scatter", layout_charts.layout_scatter(result, step, look, "container"), picked=picked)
    with right:
        ui.chart(
            "layout-memory",
            layout_charts.layout_memory(result, look, "container"),
            partial(layout_charts.layout_memory_table, result),
        )
    ui.note(
        "The best layouts, then the nearest that do not fit; b: micro-batch, SP: sequence-parallel. Click a row to "
        "plan with its layout."
    )
    ui.picking_table("layouts", layout_charts.layout_table(result, plan), picked, widths=WIDTHS)


def _losses(result: SearchResult) -> None:
    ui.heading("Why the others lose")
    cells = [[loss.reason, f"{loss.layouts:,}", loss.miss] for loss in result.losses]
    ui.rows([("Reason", False), ("Layouts", True), ("The nearest", True)], cells)


def _clusters(plan: Plan) -> None:
    request, profile = asked_of(plan)
    ui.heading("Another cluster?")
    ui.note("Each GPU at half, one and two times the number of GPUs, with its own fastest layout.")
    st.multiselect("GPUs to compare", names("gpus"), default=COMPARED, max_selections=6, key="compared",
                   format_func=lambda name: load_gpu(name).label)  # fmt: skip
    gpus = tuple(st.session_state.compared)
    if not gpus:
        ui.note("Choose at least one GPU to compare.")
        return
    counts = sorted({min(max(round(request.cluster.gpus * factor), 1), MOST_GPUS) for factor in FACTORS})
    comparison: ClusterComparison | None = jobs.panel(
        "clusters",
        about=f"{gpus} {counts} {profile and profile.digest} {plan_file_text(request)}",
        label=f"Compare {len(gpus) * len(counts)} clusters",
        total=len(gpus) * len(counts),
        work=lambda tell: compare_clusters(request, gpus, counts, profile=profile, done=tell),
    )
    if comparison is None:
        return
    picked = _pick_cluster(comparison)
    ui.chart("clusters", layout_charts.cluster_front(comparison, ui.theme(), "container"), picked=picked)
    ui.picking_table("clusters", layout_charts.cluster_table(comparison), picked, height=360, widths=CLUSTER_WIDTHS)
    for name, why in comparison.impossible:
        ui.note(f"{name}: {for_page(why)}")
    for note in comparison.notes:
        ui.note(words.sentence(for_page(note)))
    if comparison.interrupted:
        ui.note(f"Not looked at: {'; '.join(comparison.interrupted)}.")


plan = ui.chosen_plan()
layout = plan.main_phase.step.layout
try:
    with st.spinner("Comparing every layout …"):
        result = search_of(plan)
except InputError as error:
    ui.answer(f"This plan runs as {layout.label}.")
    ui.problem(for_page(str(error)))
    st.stop()
slower = plan.main_phase.step.step_time_s / result.best.step_time_s - 1
ui.answer(
    f"Of {result.evaluated:,} layouts {result.fitting:,} fit. "
    + (
        "This plan has the fastest: "
        if slower < 0.0005
        else f"This plan’s takes {percent(slower)} longer than the fastest of them: "
        if slower < 1
        else f"This plan’s takes {significant(1 + slower, 2)} times as long as the fastest of them: "
    )
    + f"{layout.label}."
)
_layouts(result, plan)
left, right = st.columns(2, gap="large")
with left:
    ui.heading("The layout of this plan")
    tight = memory_notes(plan.phases)
    if tight:
        ui.note(f"Note: {'; '.join(tight)}.")
    ui.chart("memory-bar", charts.memory_bar(plan, ui.theme(), "container"), partial(tables.memory_table, plan))
with right:
    _losses(result)
_clusters(plan)
