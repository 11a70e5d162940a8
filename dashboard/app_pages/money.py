"""Money: rent against ownership, when owning pays, each line of the cost with its source."""

from functools import partial

import streamlit as st

from dashboard import ui
from planner.money.costs import CostBreakdown
from planner.quantities import dollars, money
from planner.report import charts, money_charts, tables, words


def _lines(name: str, cost: CostBreakdown) -> None:
    ui.heading(name)
    cells = [
        [line.name, dollars(line.low), dollars(line.expected), dollars(line.high), line.how, line.source]
        for line in cost.lines
    ]
    cells.append(["In all", dollars(cost.low), dollars(cost.expected), dollars(cost.high), "", ""])
    columns = [("Item", False), ("Low [USD]", True), ("Expected [USD]", True), ("High [USD]", True), ("How", False),
               ("Source", False)]  # fmt: skip
    ui.rows(columns, cells, total=len(cells) - 1)


plan = ui.chosen_plan()
cost = plan.intervals["cost_usd"]
ui.answer(
    f"{words.plan_label(plan)} costs {money(plan.cost.expected)} "
    f"({words.money_span(cost.low, cost.high, cost.expected)}) {plan.paid}. {words.break_even(plan)}"
)
look = ui.theme()
left, right = st.columns(2, gap="large")
with left:
    ui.chart("cost-ranges", charts.cost_ranges(plan, look, "container"), partial(tables.cost_table, plan))
    ui.heading("What is in it and what is not")
    ui.note(
        "Rent pays for servers, network, cooling and electricity. Owning counts the value the cluster loses in these "
        "days, interest, colocation and electricity: it holds only if the cluster is used on afterwards, or sold. "
        "Neither counts people unless asked for, data, or failed attempts."
    )
with right:
    curve = money_charts.break_even_curve(plan, look, "container")
    ui.chart("break-even", curve, partial(money_charts.break_even_table, plan))
    if curve is None:
        ui.heading("Rent or buy?")
        ui.note(words.break_even(plan))
ui.chart("cash-months", money_charts.cash_months(plan, look, "container"), partial(money_charts.cash_table, plan))
for name, lines in (("Rent", plan.rent), ("Own", plan.own), ("Both", plan.mixed)):
    if lines is not None:
        _lines(name, lines)
