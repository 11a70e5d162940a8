"""Compare: saved scenarios beside the one that is open."""

from functools import partial
from html import escape

import streamlit as st

from dashboard import address, state, ui
from dashboard.controls import for_page
from dashboard.downloads import downloads
from dashboard.plans import plan_of
from planner.plan import Plan
from planner.quantities import energy, money, power, significant
from planner.report import comparison_charts, words
from profiler.files import InputError

OPEN = "Open now"


def _saved() -> list[tuple[str, Plan]]:
    """The plans of the saved scenarios by name; those that cannot be planned say why."""
    found = []
    for line in st.session_state.saved:
        name = "A saved scenario"
        try:
            name, values = address.open_saved(line)
            found.append((name, plan_of(*state.asked(address.request_of(values, str(values["model"]))))))
        except InputError as error:
            ui.problem(f"{name}: {for_page(str(error))}")
        _row(name, line)
    return found


def _open() -> list[tuple[str, Plan]]:
    """The plan that is open; where there is none, why."""
    found = state.outcome(state.chosen())
    if found.plan is None:
        ui.problem(f"{OPEN}: {found.problem}")
        return []
    return [(OPEN, found.plan)]


def _row(name: str, line: str) -> None:
    left, middle, right = st.columns([4, 1, 1], vertical_alignment="center")
    with left:
        st.html(f"<p class='hp-saved'>{escape(name)}</p>")
    middle.button("Open", key=f"open_{line}", on_click=state.open_saved, args=(line,), width="stretch")
    right.button("Remove", key=f"forget_{line}", on_click=state.forget, args=(line,), width="stretch")


def _distinct(plans: list[tuple[str, Plan]]) -> list[tuple[str, Plan]]:
    """The same with names that differ."""
    names: list[str] = []
    for name, _ in plans:
        again = sum(other.partition(" (")[0] == name for other in names)
        names.append(f"{name} ({again + 1})" if again else name)
    return [(name, plan) for name, (_, plan) in zip(names, plans, strict=True)]


def _least(plans: list[tuple[str, Plan]], outcome: str) -> str:
    """Which scenario takes least, in words; those that are written the same count as equal."""
    text = comparison_charts.FIGURES[outcome][3]
    name, plan = min(plans, key=lambda found: found[1].intervals[outcome].expected)
    said = text(plan.intervals[outcome].expected)
    if all(text(other.intervals[outcome].expected) == said for _, other in plans):
        return f"all take {said}" if outcome == "days" else f"all cost {said}"
    return f"“{name}” is done first, in {said}" if outcome == "days" else f"“{name}” costs least, {said}"


def _table(plans: list[tuple[str, Plan]]) -> None:
    most_usd = max(plan.cost.expected for _, plan in plans)
    most_mwh = max(plan.energy_mwh.expected for _, plan in plans)
    rows = [
        ("Model", words.plan_label),
        ("GPUs", lambda p: f"{p.cluster.gpus:,} × {p.cluster.gpu.label}"),
        ("Paid", lambda p: p.paid),
        ("Place", lambda p: p.grid.label),
        ("Layout", lambda p: p.main_phase.step.layout.label),
        ("Days", lambda p: f"{significant(p.days.expected)} ({words.span(p.days, significant)})"),
        ("Cost", lambda p: money(p.cost.expected, like=most_usd)),
        ("Electricity", lambda p: energy(p.energy_mwh.expected, like=most_mwh)),
        ("Peak power", lambda p: power(p.peak_power_mw)),
        ("Emissions", lambda p: f"{words.tonnes(p.carbon.location_based_tco2e)}CO2e"),
        ("MFU", lambda p: words.share(p.mfu)),
        ("Effective time", lambda p: words.share(p.campaign.ettr)),
    ]
    cells = [[label, *(str(text(plan)) for _, plan in plans)] for label, text in rows]
    ui.rows([("", False), *((name, False) for name, _ in plans)], cells)


if not st.session_state.saved:
    ui.answer("Nothing is saved yet.")
    ui.note(
        "Choose a scenario on the left and press “Save beside others” under Save and share; then change something "
        "and come back here. Saved scenarios stay in the address of the page."
    )
    st.stop()
heading = st.container()
plans = _distinct([*_saved(), *_open()])
if not plans:
    st.stop()
with heading:
    ui.answer(f"Of {len(plans)} scenarios {_least(plans, 'days')}; {_least(plans, 'cost_usd')}.")
columns = st.columns(2, gap="large")
for at, name in enumerate(comparison_charts.FIGURES):
    with columns[at % 2]:
        chart = comparison_charts.comparison_bars(plans, name, ui.theme(), "container")
        ui.chart(f"compare-{name}", chart, partial(comparison_charts.comparison_table, plans, name))
ui.heading("Side by side")
_table(plans)
ui.heading("One document for all of them")
downloads([found for _, found in plans], "comparison")
