"""Power and carbon: the site's megawatts, energy by part and month, tonnes two ways."""

from functools import partial

import streamlit as st

from dashboard import ui
from planner.quantities import counted, dollars, energy, power, significant
from planner.report import charts, money_charts, place_charts, tables, words

plan = ui.chosen_plan()
look, carbon = ui.theme(), plan.carbon
ui.answer(
    f"{words.plan_label(plan)} draws {energy(plan.energy_mwh.expected)} ({words.energy_span(plan.energy_mwh)}), "
    f"{plan.comparison.sentence.partition(' (')[0]}; the site needs {power(plan.peak_power_mw)} and emits "
    f"{significant(carbon.location_based_tco2e)} tCO2e."
)
ui.chart("power-whole", charts.power_whole(plan, look, "container"), partial(tables.power_table, plan))
left, right = st.columns(2, gap="large")
with left:
    ui.chart(
        "power-first-week", charts.power_first_week(plan, look, "container"), partial(tables.first_week_table, plan)
    )
    ui.chart("energy-parts", charts.energy_parts(plan, look, "container"), partial(tables.energy_part_table, plan))
    swings = tables.swing_table(plan)
    ui.chart("swings", place_charts.swing_bars(swings, plan.peak_power_mw, look, "container"), lambda: swings)
with right:
    ui.chart("power-failure", charts.power_failure(plan, look, "container"), partial(tables.failure_table, plan))
    ui.chart("energy-months", charts.energy_months(plan, look, "container"), partial(tables.month_table, plan))
    ui.chart("bill-months", money_charts.bill_months(plan, look, "container"), partial(money_charts.bill_table, plan))
ui.heading("The bill by part of the tariff")
bill, parts = plan.whole_bill, money_charts.bill_parts_table(plan)
months = counted(len(plan.bill.months), "calendar month")
ui.rows(
    [("Part", False), ("USD", True), ("Share", True)],
    [
        [f"{part}{f', {months}' if part == 'Demand' else ''}", dollars(usd), f"{share:.1f} %"]
        for part, usd, share in parts.itertuples(index=False)
    ]
    + [[f"In all, {bill.average_usd_per_kwh:.4f} USD per kWh", dollars(bill.total_usd), ""]],
    total=len(parts),
)
renting = plan.request.money.mode == "rent"
given = plan.request.site.electricity_usd_per_kwh is not None
ui.note(
    ("At the price given. " if given else f"Tariff {bill.tariff}. ")
    + ("Rent includes it already." if renting else "One of the lines of ownership.")
)
left, right = st.columns(2, gap="large")
with left:
    ui.chart("places", place_charts.tonnes_by_place(plan, look, "container"), partial(place_charts.place_table, plan))
with right:
    ui.chart("country", place_charts.country_bars(plan, look, "container"), partial(place_charts.country_table, plan))
ui.heading("Carbon")
card = [] if plan.card is None else [["The model card itself", f"{significant(plan.card.tco2e)} t"]]
ui.rows(
    [("What", False), ("CO2e", True)],
    [
        [f"Electricity, location-based: {carbon.how}", f"{significant(carbon.location_based_tco2e)} t"],
        ["Making the hardware, this run’s share of its life", f"{significant(carbon.embodied_tco2e)} t"],
        ["In all", f"{significant(carbon.total_tco2e)} t"],
        [
            "Second mode, the model card’s accounting: GPU-hours at TDP, nothing else, and its one grid factor",
            f"{significant(plan.tdp_accounting_tco2e)} t",
        ],
        *card,
    ],
    total=2,
)
ui.note(f"Grid: {plan.grid.source}. Comparison: {plan.comparison.source}.")
