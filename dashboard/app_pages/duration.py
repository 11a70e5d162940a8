"""Time: one optimizer step against its floor, where the campaign's days went, when it may be done, and the phases."""

from functools import partial

import pandas as pd
import streamlit as st

from dashboard import jobs, ui
from dashboard.controls import for_page
from dashboard.plans import timeline_chart_of, timeline_of
from planner.campaign.charts import gantt_chart, longest_table
from planner.campaign.files import replica_frame
from planner.campaign.simulation import Simulation, simulate_plan
from planner.campaign.text import FIGURES
from planner.plan import Plan
from planner.quantities import human, significant
from planner.report import charts, finish_charts, tables, words
from planner.report.plan_text import plan_file_text
from profiler.files import InputError
from profiler.units import DAY_S
from sim.schedule.events import Timeline
from sim.schedule.trace import stage_summaries

REPLICAS = 50
LEAST_DAYS = 0.01
"""A quarter of an hour; phases that take less say so."""


def _finish(plan: Plan) -> None:
    ui.heading("When will it be done?")
    st.date_input("It is needed by", value=None, key="deadline", format="YYYY-MM-DD", min_value="2000-01-01",
                  max_value="2999-12-31")  # fmt: skip
    days, deadline = plan.uncertainty.drawn["days"], st.session_state.deadline
    if deadline is not None:
        said = finish_charts.chance_text(finish_charts.chance_by(plan, days, deadline)).capitalize()
        st.html(f"<p class='hp-said'>{said} of cases are done by then.</p>")
    chart = finish_charts.finish_dates(plan, days, ui.theme(), "container", deadline=deadline)
    ui.chart("finish", chart, partial(finish_charts.finish_table, plan, days))


def campaign_table(result: Simulation) -> pd.DataFrame:
    """The figures of each campaign; its seed repeats it whole."""
    named = {
        "training_days": "Days",
        "finish": "Done on",
        "gpu_hours": "GPU-hours",
        "energy_mwh": "MWh",
        "cost_usd": "USD",
        "ettr": "Effective time",
        "unexpected_interruptions": "Failures",
        "seed": "Seed",
    }
    frame = replica_frame(result.replicas).rename(columns=named)[list(named.values())]
    return frame.assign(**{"Done on": frame["Done on"].str.replace("T", " "), "Seed": frame["Seed"].astype(str)})


def stage_table(found: Timeline) -> pd.DataFrame:
    """Where the seconds of each stage go."""
    names = {
        "stage": "Stage",
        "compute_s": "Computing [s]",
        "collective_s": "Communicating [s]",
        "host_s": "Fixed time, slowest GPU [s]",
        "waiting_s": "Waiting [s]",
        "nvlink_s": "NVLink in use [s]",
        "nic_s": "NIC in use [s]",
    }
    return pd.DataFrame([vars(stage) for stage in stage_summaries(found)]).rename(columns=names)


def _timeline(plan: Plan) -> None:
    ui.heading("One step, event by event")
    ui.note(
        "What each pipeline stage of one replica does; a simulation that shares its seconds with the closed form."
    )
    st.toggle("Show the timeline", key="timeline")
    if not st.session_state.timeline:
        return
    try:
        with st.spinner("Running one step event by event …"):
            found = timeline_of(plan)
    except InputError as error:
        ui.problem(for_page(str(error)))
        return
    ui.chart("timeline", timeline_chart_of(plan, dark=ui.dark()), partial(stage_table, found))


def _campaigns(plan: Plan) -> None:
    ui.heading("The same campaign, fifty times")
    ui.note("Chance alone: failures fall on other hours each time, all assumptions as planned.")
    request = plan.request
    result: Simulation | None = jobs.panel(
        "replicas",
        about=plan_file_text(request),
        label=f"Simulate {REPLICAS} campaigns",
        total=REPLICAS,
        work=lambda tell: simulate_plan(request, seed=request.seed, replicas=REPLICAS, done=tell),
    )
    if result is None:
        return
    if len(result.replicas) < result.asked:
        ui.note(f"Stopped: {len(result.replicas)} of {result.asked} campaigns are done; what follows is theirs.")
    cells = []
    for name, (label, text) in FIGURES.items():
        found = result.distribution(name)
        if found["mean"] == found["mean"]:
            cells.append([label.capitalize(), *(text(found[key]) for key in ("p5", "median", "p95"))])
    ui.rows([("Figure", False), ("5 %", True), ("Median", True), ("95 %", True)], cells)
    ui.behind(
        "campaigns",
        "Every campaign",
        lambda: ui.numbers(campaign_table(result), "Every campaign"),
    )


def _days(days: float) -> str:
    return significant(days) if days >= LEAST_DAYS else f"under {LEAST_DAYS}"


def _phases(plan: Plan) -> None:
    ui.heading("Phases")
    ui.rows(
        [("Phase", False), ("Tokens", True), ("Sequence", True), ("Batch", True), ("Layout", False), ("Step", True),
         ("MFU", True), ("Days", True), ("Step time is", False)],
        [
            [
                phase.name,
                human(phase.tokens),
                f"{phase.seq_len:,}",
                f"{phase.global_batch:,}",
                phase.step.layout.label,
                f"{significant(phase.step_time_s)} s",
                words.share(float(str(phase.to_dict()["mfu"]))),
                _days(phase.training_s / DAY_S),
                phase.origin,
            ]
            for phase in plan.phases
        ],
    )  # fmt: skip


plan = ui.chosen_plan()
look = ui.theme()
ui.answer(
    f"{words.plan_label(plan)} takes {words.days_interval(plan.days)}: "
    f"{words.share(plan.mfu)} of the GPUs’ dense peak, {plan.mfu_peak_tflops:,.0f} TFLOP/s, while steps run, and "
    f"steps run {words.share(plan.campaign.ettr)} of the time."
)
left, right = st.columns(2, gap="large")
with left:
    ui.chart("step-bar", charts.step_bar(plan, look, "container"), partial(tables.step_table, plan))
with right:
    ui.chart("time-bars", charts.time_bars(plan, look, "container"), partial(tables.time_table, plan))
left, right = st.columns(2, gap="large")
with left:
    _finish(plan)
with right:
    _campaigns(plan)
    if plan.card is not None:
        ui.heading("Beside the model card")
        ui.note(plan.card_explanation)
_timeline(plan)
ui.heading("What stopped it")
ui.chart("gantt", gantt_chart(plan.campaign, look, "container"), partial(longest_table, plan.campaign))
ui.behind(
    "interruptions",
    "All interruptions of the simulated campaign",
    lambda: ui.numbers(tables.interruption_table(plan), "All interruptions"),
)
_phases(plan)
