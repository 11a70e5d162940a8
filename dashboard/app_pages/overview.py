"""Plan: the answer first, then the three models side by side, then the chosen campaign as one picture."""

from collections.abc import Callable
from functools import partial
from html import escape

import streamlit as st

from dashboard import ui
from dashboard.downloads import downloads
from dashboard.state import Outcome, chosen, models, outcome
from planner.plan import Plan
from planner.quantities import energy, money, power, significant
from planner.report import charts, tables, words


def _figure(value: str, unit: str, interval: tuple[float, float, float], text: Callable[[float], str]) -> str:
    low, expected, high = interval
    return ui.figure(value, unit, ui.bar(low, expected, high, text(low), text(high)))


def _figures(plan: Plan) -> str:
    months, mwh = plan.months, plan.energy_mwh
    cost, emitted = plan.intervals["cost_usd"], plan.intervals["tco2e"]
    shown = (
        (significant(months.expected), f"months, {words.days(plan.days.expected)}", months, significant),
        (money(cost.expected), plan.paid, cost, partial(money, like=cost.expected)),
        (energy(mwh.expected), f"peak {power(plan.peak_power_mw)}", mwh, partial(energy, like=mwh.expected)),
        (words.tonnes(emitted.expected), "CO2e", emitted, words.tonnes),
    )
    return "".join(
        _figure(value, unit, (spread.low, spread.expected, spread.high), text) for value, unit, spread, text in shown
    )


def _card(found: Outcome, key: str) -> str:
    kind = "hp-card chosen" if key == chosen() else "hp-card"
    title = f"<h3>{escape(found.label)}</h3>"
    if found.plan is None:
        said = "No plan, as said above." if key == chosen() else ui.sentence(found.problem)
        return f"<div class='{kind}'>{title}<div class='hp-problem'>{said}</div></div>"
    machine = f"{found.plan.cluster.gpus:,} × {found.plan.cluster.gpu.label}"
    return f"<div class='{kind}'>{title}<p class='machine'>{escape(machine)}</p>{_figures(found.plan)}</div>"


first = outcome(chosen())
plan = first.plan
if plan is None:
    ui.answer(f"There is no plan for {first.label} with these choices.")
    ui.problem(first.problem)
else:
    ui.answer(words.answer(plan))
place = st.empty()
if plan is not None:
    ui.chart("strip", charts.campaign_strip(plan, ui.theme(), "container"), partial(tables.power_table, plan))
    ui.note(words.how_known(plan))
    ui.plan_notes(plan)
    downloads([plan], plan.architecture.name.replace("/", "-"))
outcomes = {key: first if key == chosen() else outcome(key) for key in models()}
place.html("<div class='hp-cards'>" + "".join(_card(found, key) for key, found in outcomes.items()) + "</div>")
