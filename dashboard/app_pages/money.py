"""Money: rent against ownership, when owning pays, each line of the cost with its source."""

import streamlit as st

from dashboard import ui
from planner.costs import CostBreakdown
from planner.quantities import money
from planner.report import charts, tables, words


def _lines(name: str, cost: CostBreakdown) -> None:
    ui.heading(name)
    cells = [
        [line.name, money(line.low), money(line.expected), money(line.high), line.how, line.source]
        for line in cost.lines
    ]
    cells.append(["In all", money(cost.low), money(cost.expected), money(cost.high), "", ""])
    columns = [("Item", False), ("Low", True), ("Expected", True), ("High", True), ("How", False), ("Source", False)]
    ui.rows(columns, cells, total=len(cells) - 1)


plan = ui.chosen_plan()
renting = plan.request.money.mode == "rent"
ui.answer(
    f"{words.plan_label(plan)} costs {money(plan.cost.expected)} ({words.money_span(plan.cost.low, plan.cost.high)}) "
    f"{'rented' if renting else 'owned'}. {words.break_even(plan)}"
)
left, right = st.columns(2, gap="large")
with left:
    ui.chart("cost-ranges", charts.cost_ranges(plan, ui.theme(), "container"), tables.cost_table(plan))
with right:
    ui.heading("What is in it and what is not")
    ui.note(
        "Rent pays for servers, network, cooling and electricity. Owning counts the value the cluster loses in these "
        "days, interest, colocation and electricity: it holds only if the cluster is used on afterwards, or sold. "
        "Neither counts people, data, storage beyond the cluster’s own, or failed attempts."
    )
    ui.heading("The electricity bill")
    bill = plan.bill
    ui.rows(
        [("Part", False), ("USD", True)],
        [
            ["Energy", money(bill.energy_usd)],
            [
                f"Demand, {len(bill.months)} calendar month{'s' if len(bill.months) > 1 else ''}",
                money(bill.demand_usd),
            ],
            ["Fixed charges", money(bill.fixed_usd)],
            [f"In all, {bill.average_usd_per_kwh:.4f} USD per kWh", money(bill.total_usd)],
        ],
        total=3,
    )
    ui.note(
        f"Tariff {bill.tariff}. " + ("Rent includes it already." if renting else "One of the lines of ownership.")
    )
if plan.rent is not None:
    _lines("Rent", plan.rent)
if plan.own is not None:
    _lines("Own", plan.own)
