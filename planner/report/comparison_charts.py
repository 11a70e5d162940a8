"""Plans against each other: one figure of each with its 90 % interval, a row a plan."""

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from planner.plan import Plan
from planner.quantities import energy, money, significant
from planner.report.charts import HALF, Width
from planner.report.spec import Spec, data, finished, names, quantity, sized, tips
from planner.report.theme import LIGHT, Theme
from planner.report.words import tonnes

FIGURES: dict[str, tuple[str, str, float, Callable[[float], str]]] = {
    "days": ("Days", "days", 1.0, lambda days: f"{significant(days)} days"),
    "cost_usd": ("Cost", "million USD", 1e6, money),
    "energy_mwh": ("Electricity", "GWh", 1e3, energy),
    "tco2e": ("Emissions", "thousand tCO2e", 1e3, tonnes),
}
"""Outcomes by name: label, unit of the axis and that in the outcome's unit, and how it is written."""


def comparison_table(plans: Sequence[tuple[str, Plan]], outcome: str) -> pd.DataFrame:
    """One outcome of each named plan with the ends of its 90 % interval, in the unit of the axis."""
    label, unit, scale, _ = FIGURES[outcome]
    rows = []
    for name, plan in plans:
        found = plan.intervals[outcome]
        rows.append((name, found.low / scale, found.expected / scale, found.high / scale))
    columns = [f"{label}, 5 % [{unit}]", f"{label} [{unit}]", f"{label}, 95 % [{unit}]"]
    return pd.DataFrame(rows, columns=["Scenario", *columns])


def comparison_bars(
    plans: Sequence[tuple[str, Plan]], outcome: str, theme: Theme = LIGHT, width: Width = HALF
) -> Spec:
    """One outcome of each named plan: a dot on the bar of its 90 % interval. Names differ."""
    label, unit, _, text = FIGURES[outcome]
    frame = comparison_table(plans, outcome).set_axis(["Scenario", "low", "expected", "high"], axis=1)
    values = [plan.intervals[outcome].expected for _, plan in plans]
    told = partial(text, like=max(values)) if text in (money, energy) else text
    frame["label"] = [told(value) for value in values]
    most = float(frame["high"].max()) * 1.3
    y = names("Scenario", frame["Scenario"].tolist())
    x = quantity("low", unit, ticks=5, scale={"domain": [0, most], "nice": False})
    expected, high = ({"field": name, "type": "quantitative"} for name in ("expected", "high"))
    tooltip = tips(("Scenario", ""), ("label", ""), ("low", ".3s"), ("high", ".3s"))
    bar = {"type": "bar", "height": 9, "color": theme.soft, "cornerRadius": 4}
    dot = {"type": "point", "filled": True, "size": 110, "opacity": 1, "color": theme.accent}
    body = {
        "data": data(frame),
        "encoding": {"y": y},
        "layer": [
            {"mark": bar, "encoding": {"x": x, "x2": {"field": "high"}, "tooltip": tooltip}},
            {"mark": dot, "encoding": {"x": expected, "tooltip": tooltip}},
            {"mark": {"type": "text", "align": "left", "dx": 8}, "encoding": {"x": high, "text": {"field": "label"}}},
        ],
    }
    least, largest = (pick(range(len(plans)), key=lambda i: values[i]) for pick in (min, max))
    return finished(
        sized(body, width, 40 * len(frame) + 96),
        theme,
        title=f"{label}: {' to '.join(dict.fromkeys((told(values[least]), told(values[largest]))))}",
        subtitle="Dot: as planned. Bar: 90 % interval",
        description="; ".join(f"{name} {told(value)}" for (name, _), value in zip(plans, values, strict=True)),
    )
