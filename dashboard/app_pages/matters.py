"""What matters: each assumption moved alone, and sliders that answer at once."""

from functools import partial

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import state, ui
from dashboard.address import LEAST_FACTOR, MOST_FACTOR, OUTCOMES, WHAT_IF
from planner.decide.sensitivity import tornado
from planner.plan import Plan
from planner.priors import Prior, plan_priors
from planner.quantities import energy, money, percent, significant
from planner.report import charts, tables, words

LABELS = {"cost_usd": "Cost", "days": "Days"}
UNITS = {"cost_usd": "USD", "days": "days"}
SHOWN = (
    ("days", "Days", lambda days: f"{significant(days)} days"),
    ("cost_usd", "Cost", money),
    ("energy_mwh", "Electricity", energy),
    ("tco2e", "Emissions", words.tonnes),
)

ACROSS = 4
"""Sliders beside each other."""


def _reset() -> None:
    state.put({f"x_{name}": 1.0 for name in WHAT_IF})


def _slider(name: str, prior: Prior, place: DeltaGenerator) -> None:
    said = f"Times what the plan takes; its 90 % range is {prior.low:.2f} to {prior.high:.2f}."
    place.slider(prior.label, LEAST_FACTOR, MOST_FACTOR, step=0.05, key=f"x_{name}", format="%.2f ×", help=said)


def _sliders(plan: Plan) -> dict[str, float]:
    """The factors that the sliders say, of the assumptions that this plan has."""
    known = plan_priors(plan)
    having = [name for name in WHAT_IF if name in known]
    for start in range(0, len(having), ACROSS):  # a row at a time: on a phone they stand in this order
        for name, column in zip(having[start : start + ACROSS], st.columns(ACROSS, gap="medium"), strict=False):
            _slider(name, known[name], column)
    return {name: st.session_state[f"x_{name}"] for name in having}


def _answers(plan: Plan, factors: dict[str, float]) -> None:
    found = plan.response.outcomes({name: np.array([factor]) for name, factor in factors.items() if factor != 1.0})
    before = plan.response.at_plan()
    bodies = []
    for name, label, text in SHOWN:
        value = float(found[name][0])
        change = value / before[name] - 1 if before[name] else 0.0
        said = percent(change, signed=True) if abs(change) >= 0.0005 else "as planned"
        bodies.append((label, ui.figure(text(value), said)))
    ui.small_cards(bodies)


plan = ui.chosen_plan()
swings = tornado(plan)
outcome = st.session_state.outcome
widest = swings[outcome][:3]
named = ", then ".join(swing.label.lower() for swing in widest)
ui.answer(f"{LABELS[outcome]}: what matters most is {named}." if widest else f"{LABELS[outcome]}: nothing moves it.")
st.segmented_control("Outcome", OUTCOMES, format_func=LABELS.__getitem__, key="outcome", required=True,
                     label_visibility="collapsed")  # fmt: skip
left, right = st.columns([3, 2], gap="large")
with left:
    shown = swings[st.session_state.outcome]
    chart = charts.tornado_bars(plan, st.session_state.outcome, shown, ui.theme(), "container")
    ui.chart("tornado", chart, partial(tables.tornado_table, shown, UNITS[outcome]))
with right:
    ui.heading("What if …")
    answers = st.container()
    st.button("Back to the plan", icon=":material/undo:", on_click=_reset)
ui.heading("Move what you doubt")
factors = _sliders(plan)
with answers:
    _answers(plan, factors)
