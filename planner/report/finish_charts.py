"""Charts of the day on which a run may be done."""

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planner.plan import Plan
from planner.quantities import percent
from planner.report.charts import HALF, Width
from planner.report.spec import Spec, data, finished, quantity, sized, tips
from planner.report.theme import LIGHT, Theme

BINS = 40


def finish_table(plan: Plan, days: NDArray[np.float64]) -> pd.DataFrame:
    """How likely the run is done by which day: a row each 5 % of the samples `days`."""
    shares = np.arange(5, 100, 5)
    found = np.quantile(days, shares / 100)
    return pd.DataFrame(
        {"Done by then [%]": shares, "Days": found, "Date": [f"{finish_day(plan, d):%Y-%m-%d}" for d in found]}
    )


def finish_day(plan: Plan, days: float) -> date:
    """The date on which a run of so many days ends."""
    return (datetime.fromisoformat(plan.request.start) + timedelta(days=float(days))).date()


def finish_dates(
    plan: Plan, days: NDArray[np.float64], theme: Theme = LIGHT, width: Width = HALF, *, deadline: date | None = None
) -> Spec:
    """The distribution of the day on which the last step ends; a line marks the plan, another the date asked for."""
    counts, edges = np.histogram(days, bins=BINS)
    begins = [_stamp(plan, edge) for edge in edges]
    bars = pd.DataFrame({"from": begins[:-1], "until": begins[1:], "share": counts / counts.sum() * 100})
    low, high = (finish_day(plan, float(q)) for q in np.quantile(days, (0.05, 0.95)))
    rules = [(_stamp(plan, plan.days.expected), "plan", True)]
    chance = ""
    if deadline is not None:
        met = chance_by(plan, days, deadline)
        asked = f"{deadline + timedelta(days=1):%Y-%m-%d}T00:00:00"  # the day itself still counts
        rules.append((asked, "asked for", asked > begins[len(begins) // 2]))
        chance = f" The date asked for, {deadline:%d %B %Y}, is met with {chance_text(met)}."
    x = {
        "field": "from",
        "type": "temporal",
        "title": None,
        "axis": {"grid": False, "tickCount": 5, "format": "%d %b", "labelOverlap": True},
    }
    tooltip = [{"field": "from", "type": "temporal", "format": "%d %b %Y"}, *tips(("share", ".1f"))]
    layers = [
        {
            "data": data(bars),
            "mark": {"type": "rect", "color": theme.soft},
            "encoding": {
                "x": x,
                "x2": {"field": "until"},
                "y": quantity("share", "% of samples", scale={"domainMax": float(bars["share"].max()) * 1.15}),
                "y2": {"datum": 0},
                "tooltip": tooltip,
            },
        },
        *_rules(pd.DataFrame(rules, columns=["at", "mark", "late"]), theme),
    ]
    middle = finish_day(plan, plan.days.expected)
    return finished(
        sized({"layer": layers}, width, 270),
        theme,
        title=f"Done on {middle.day} {middle:%B %Y}; nine in ten {low.day} {low:%b} to {high.day} {high:%b %Y}",
        subtitle=f"Days from {plan.request.start}, every assumption drawn from its own spread, {len(days):,} samples",
        description=f"The last step ends on {middle:%d %B %Y} as planned; 90 % of samples end between "
        f"{low:%d %B %Y} and {high:%d %B %Y}.{chance}",
    )


def chance_by(plan: Plan, days: NDArray[np.float64], deadline: date) -> float:
    """The share of samples that are done before the day after `deadline`."""
    start = datetime.fromisoformat(plan.request.start)
    allowed = (datetime.combine(deadline, datetime.min.time()) + timedelta(days=1) - start).total_seconds() / 86_400
    return float(np.mean(days <= allowed))


def chance_text(chance: float) -> str:
    """A chance in whole percent; 0 % and 100 % only where none or all of the samples are meant."""
    text = percent(chance, 0)
    if chance < 1 and text == percent(1, 0):
        return "over 99 %"
    return "under 1 %" if chance > 0 and text == percent(0, 0) else text


def _stamp(plan: Plan, days: float) -> str:
    return (datetime.fromisoformat(plan.request.start) + timedelta(days=float(days))).isoformat(timespec="minutes")


def _rules(frame: pd.DataFrame, theme: Theme) -> list[Spec]:
    x = {"field": "at", "type": "temporal"}
    hue = {
        "field": "mark",
        "type": "nominal",
        "scale": {"domain": ["plan", "asked for"], "range": [theme.accent, theme.lost]},
        "legend": None,
    }
    text = {"type": "text", "dy": -6, "baseline": "top", "fontWeight": 600}
    lines = {
        "data": data(frame),
        "mark": {"type": "rule", "strokeDash": [4, 3], "strokeWidth": 2},
        "encoding": {"x": x, "color": hue},
    }
    labels = [
        {
            "data": data(frame[i : i + 1]),
            "mark": {**text, "align": "right" if late else "left", "dx": -4 if late else 4},
            "encoding": {"x": x, "text": {"field": "mark"}, "color": hue, "y": {"value": 16 * i}},
        }
        for i, late in enumerate(frame["late"])
    ]
    return [lines, *labels]
