"""Charts of money: renting against buying through the years of use, and cash by month."""

import numpy as np
import pandas as pd

from planner.money.break_even import LONGEST_USE_DAYS
from planner.money.cashflow import cash_flow
from planner.plan import Plan
from planner.quantities import money, money_unit
from planner.report.charts import HALF, Width
from planner.report.spec import Spec, data, finished, month_bars, months, quantity, sized, tips
from planner.report.theme import LIGHT, Theme
from planner.report.words import buying_pays, month, whole
from planner.report.words import days as length

POINTS = 60


def break_even_table(plan: Plan) -> pd.DataFrame:
    """What renting has cost, and buying with nothing sold again, after so many days of use [USD].

    Empty where one has no price.
    """
    columns = ["Days of use", "Rent [USD]", "Buy [USD]"]
    either = plan.rent_or_buy
    if either is None:
        return pd.DataFrame(columns=columns)
    known = [plan.billed_days, plan.break_even_days or 0.0, either.short_use_days or 0.0, either.term_days, 180.0]
    most = min(max(known) * 1.6, LONGEST_USE_DAYS)
    rows = [(days, either.rent_usd(days), either.buy_usd(days)) for days in np.linspace(0, most, POINTS).tolist()]
    return pd.DataFrame(rows, columns=columns)


def break_even_curve(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec | None:
    """Rent against buying over days of use, with the break-even as a point; `None` without both prices."""
    table = break_even_table(plan)
    if table.empty:
        return None
    frame = table.set_axis(["Day", "Rent", "Buy"], axis=1)
    scale, unit = money_unit(float(frame[["Rent", "Buy"]].max().max()))
    frame[["Rent", "Buy"]] /= scale
    lines = frame.melt("Day", var_name="Way", value_name="amount")
    x = quantity("Day", "days of use", ticks=6, scale={"nice": False}, grid=False)
    y = quantity("amount", unit)
    hue = {"field": "Way", "type": "nominal", "legend": None,
           "scale": {"domain": ["Rent", "Buy"], "range": [theme.accent, theme.own]}}  # fmt: skip
    dash = {"field": "Way", "type": "nominal", "legend": None,
            "scale": {"domain": ["Rent", "Buy"], "range": [[1, 0], [6, 3]]}}  # fmt: skip
    tooltip = tips(("Way", ""), ("Day", ".0f"), ("amount", ".3s"))
    ends = lines[lines["Day"] == lines["Day"].max()]
    layers: list[Spec] = [
        {"data": data(lines), "mark": {"type": "line", "strokeWidth": 2.5},
         "encoding": {"x": x, "y": y, "color": hue, "strokeDash": dash, "tooltip": tooltip}},
        {"data": data(ends), "mark": {"type": "text", "align": "right", "dy": -10, "fontWeight": 600},
         "encoding": {"x": x, "y": y, "text": {"field": "Way"}, "color": hue}},
        *_marks(plan, frame, theme),
    ]  # fmt: skip
    pays = buying_pays(plan)
    found = f"Buying pays {pays}" if pays else "Renting stays cheaper for ten years"
    term = ", or is due for the whole term" if plan.rent_or_buy and plan.rent_or_buy.term_days else ""
    return finished(
        sized({"layer": layers}, width, 300),
        theme,
        title=f"{found}; this run takes {length(plan.billed_days)}",
        subtitle=f"What has been paid{term}, hardware written off whole, as expected",
        description=f"{found}. This run takes {length(plan.billed_days)}: renting for them costs "
        f"{money(float(np.interp(plan.billed_days, frame['Day'], frame['Rent'])) * scale)}.",
    )


def _marks(plan: Plan, frame: pd.DataFrame, theme: Theme) -> list[Spec]:
    """The run's own length as a line, and the break-even as a point, each with its label."""
    x, y = {"field": "Day", "type": "quantitative"}, {"field": "amount", "type": "quantitative"}
    run = {"data": {"values": [{"Day": plan.billed_days, "label": "this run"}]}}
    marks: list[Spec] = [
        {**run, "mark": {"type": "rule", "color": theme.ink, "strokeDash": [4, 3]}, "encoding": {"x": x}},
        {**run, "mark": {"type": "text", "align": "left", "dx": 5, "baseline": "top"},
         "encoding": {"x": x, "y": {"value": 0}, "text": {"field": "label"}}},
    ]  # fmt: skip
    crossings = (plan.rent_or_buy and plan.rent_or_buy.short_use_days, plan.break_even_days)
    points = [
        {"Day": day, "amount": float(np.interp(day, frame["Day"], frame["Rent"])), "label": f"day {whole(day)}"}
        for day in crossings
        if day
    ]
    point = {"type": "point", "filled": True, "size": 110, "color": theme.ink, "opacity": 1}
    text = {"type": "text", "align": "left", "dx": 10, "dy": 12, "fontWeight": 600}
    return [
        *marks,
        {"data": {"values": points}, "mark": point, "encoding": {"x": x, "y": y}},
        {"data": {"values": points}, "mark": text, "encoding": {"x": x, "y": y, "text": {"field": "label"}}},
    ]


def bill_months(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """The electricity bill by calendar month."""
    bill = plan.whole_bill
    usd = bill.usd_by_month
    idle = ", with the days before and after training" if plan.standing_bill.energy_kwh else ""
    scale, unit = money_unit(abs(bill.total_usd))
    rows = [(month(name), value / scale, money(value, like=bill.total_usd)) for name, value in usd.items()]
    return finished(
        month_bars(pd.DataFrame(rows, columns=["Month", "amount", "label"]), width, title=unit,
                   colour=theme.communication),
        theme,
        title=f"The power bill: {money(bill.total_usd)} at {bill.average_usd_per_kwh:.4f} USD per kWh",
        subtitle=f"By calendar month{idle}; tariff {bill.tariff}",
        description=f"By month: {'; '.join(f'{name} {label}' for name, _, label in rows)}.",
    )  # fmt: skip


def bill_table(plan: Plan) -> pd.DataFrame:
    """The electricity bill by calendar month [USD]."""
    usd = plan.whole_bill.usd_by_month
    return pd.DataFrame({"Month": list(usd), "USD": list(usd.values())})


def bill_parts_table(plan: Plan) -> pd.DataFrame:
    """The electricity bill of training by part of the tariff, and that of idle days beside it [USD]."""
    bill, idle = plan.bill, plan.standing_bill
    parts = {"Energy": bill.energy_usd, "Demand": bill.demand_usd, "Fixed charges": bill.fixed_usd}
    parts |= {"Idle before and after training": idle.total_usd} if idle.energy_kwh else {}
    total = plan.whole_bill.total_usd or 1.0
    rows = [(part, usd, usd / total * 100) for part, usd in parts.items()]
    return pd.DataFrame(rows, columns=["Part", "USD", "Share [%]"])


PAID_BACK = "comes back, net"


def cash_table(plan: Plan) -> pd.DataFrame:
    """Payments by calendar month and cost line [USD]; what comes back is negative."""
    rows = [(row["month"], row["line"], row["usd"]) for row in cash_flow(plan).rows()]
    return pd.DataFrame(rows, columns=["Month", "Line", "USD"])


def cash_months(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Cash by calendar month, and what has been paid in all by then as a line."""
    flow = cash_flow(plan)
    usd = flow.by_month_usd
    scale, unit = money_unit(max(flow.total_usd, *map(abs, usd.values())))
    frame = pd.DataFrame({"Month": [month(name) for name in usd], "amount": [v / scale for v in usd.values()]})
    frame["sum"] = frame["amount"].cumsum()
    frame["label"] = [money(value) if value >= 0 else f"{money(-value)} {PAID_BACK}" for value in usd.values()]
    frame["total"] = [money(v * scale) if v > 0 else f"{money(-v * scale)} back" for v in frame["sum"]]
    hue = {"condition": {"test": "datum.amount < 0", "value": theme.waiting}, "value": theme.accent}
    along = {"x": months(frame)}
    tooltip = tips(("Month", ""), ("label", ""), ("total", ""))
    line = {"type": "line", "color": theme.ink, "strokeDash": [4, 3], "point": {"color": theme.ink, "size": 25}}
    last = frame.tail(1).assign(label=[f"in all {frame['total'].iloc[-1]}"])
    total = {"field": "sum", "type": "quantitative"}
    falls = len(frame) > 1 and usd[list(usd)[-1]] < 0  # then the line comes from above
    place = {"align": "right" if len(frame) > 1 else "center", "dy": 14 if falls else -10}
    layers: list[Spec] = [
        {"data": data(frame), "mark": {"type": "bar"},
         "encoding": {**along, "y": quantity("amount", unit), "color": hue, "tooltip": tooltip}},
        {"data": data(frame), "mark": line, "encoding": {**along, "y": total}},
        {"data": data(last), "mark": {"type": "text", "fontWeight": 600, **place},
         "encoding": {**along, "y": total, "text": {"field": "label"}}},
    ]  # fmt: skip
    most = max(usd, key=lambda month: usd[month])
    tied = flow.most_tied_up_usd
    which = ", the dearest month" if len(usd) > 1 else ""
    beside = f"; at most {money(tied)} are tied up" if tied > flow.total_usd * 1.001 else ""
    return finished(
        sized({"layer": layers}, width, 290),
        theme,
        title=f"{money(usd[most])} is paid in {month(most, full=True)}{which}{beside}",
        subtitle=f"Cash by calendar month as expected, {plan.paid}; dashed: all that has been paid until then",
        description="Cash by month: "
        + "; ".join(f"{month} {label}" for month, label in zip(frame["Month"], frame["label"], strict=True)),
    )
