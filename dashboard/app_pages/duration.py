"""Time: one optimizer step against its floor, where the campaign's days went, and the phases."""

import streamlit as st

from dashboard import ui
from planner.quantities import human, significant
from planner.report import charts, tables, words

plan = ui.chosen_plan()
step = plan.main_phase.step
ui.answer(
    f"{words.plan_label(plan)} takes {words.days(plan.days.expected)} ({words.span(plan.days, words.whole)}): "
    f"{words.share(plan.mfu)} of the GPUs’ dense peak while steps run, and steps run "
    f"{words.share(plan.campaign.ettr)} of the time."
)
left, right = st.columns(2, gap="large")
with left:
    ui.chart("step-bar", charts.step_bar(plan, ui.theme(), "container"), tables.step_table(plan))
with right:
    ui.chart("time-bars", charts.time_bars(plan, ui.theme(), "container"), tables.time_table(plan))
with left:
    ui.chart("memory-bar", charts.memory_bar(plan, ui.theme(), "container"), tables.memory_table(plan))
with right:
    with st.expander(f"All {len(plan.campaign.interruptions):,} interruptions of the simulated campaign"):
        st.dataframe(tables.interruption_table(plan), hide_index=True, height=260)
    if plan.card is not None:
        ui.heading("Beside the model card")
        ui.note(plan.card_explanation)
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
            significant(phase.training_s / 86_400),
            phase.origin,
        ]
        for phase in plan.phases
    ],
)  # fmt: skip
