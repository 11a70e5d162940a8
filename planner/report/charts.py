"""Charts of a plan, the same in the report and on the dashboard: pure functions from a Plan to Vega-Lite.

Each has a title that states its message, a description for those who cannot see it, labels on the marks in
place of legends, and a table of its numbers in `planner.report.tables`.
"""

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from planner.decide.sensitivity import Swing
from planner.plan import Plan
from planner.quantities import counted, energy, energy_unit, human, money, money_unit, power, significant
from planner.report import tables
from planner.report.spec import (
    BARE,
    Spec,
    coloured,
    data,
    finished,
    in_power_unit,
    labelled_bars,
    literal_colour,
    month_bars,
    names,
    quantity,
    sized,
    tips,
    unrolled,
)
from planner.report.theme import LIGHT, Theme
from planner.report.words import days, money_span, month, plan_label, share
from profiler.units import DAY_S, GIB, JOULES_PER_MWH

Width = int | str
"""Pixels, or `container`."""

WIDE, HALF = 970, 530
"""Widths [px] of a chart across the page and of one of two beside each other."""


def _days(*, labels: bool = True) -> Spec:
    title = "days since the start" if labels else None
    axis = {} if labels else {"labels": False, "tickSize": 0}
    return quantity("Day", title, ticks=6, scale={"nice": False}, grid=False, **axis)


def campaign_strip(plan: Plan, theme: Theme = LIGHT, width: Width = WIDE) -> Spec:
    """From first day to last: progress rising, interruptions as ticks, site power as a band beneath."""
    stops, unplanned = plan.campaign.interruptions, plan.campaign.unexpected_interruptions
    length = days(plan.campaign.duration_s / DAY_S)
    mean_mw, peak_mw = plan.campaign.mean_site_power_w / 1e6, plan.peak_power_mw
    rows = [_progress(plan, theme, width), _ticks(plan, theme, width), _band(plan, theme, width, height=90)]
    return finished(
        {"vconcat": rows, "spacing": 8, "resolve": {"scale": {"x": "shared"}}},
        theme,
        title=f"{plan_label(plan)}: {length}, {counted(len(stops), 'interruption')}, "
        f"{share(1 - plan.campaign.ettr)} of the time lost",
        subtitle="Share of the tokens trained, when training stopped, and the site’s power",
        description=f"Progress rises almost evenly to 100 % in {length}; {unplanned:,} unplanned and "
        f"{len(stops) - unplanned:,} planned interruptions; site power averages {power(mean_mw)} and peaks at "
        f"{power(peak_mw)}.",
    )


def _progress(plan: Plan, theme: Theme, width: Width) -> Spec:
    frame = tables.progress_table(plan).set_axis(["Day", "done"], axis=1)
    done = quantity("done", "tokens [%]", scale={"domain": [0, 100]}, values=[0, 50, 100])
    tooltip = tips(("Day", ".1f"), ("done", ".1f"))
    return {
        "data": data(frame),
        "encoding": {"x": _days(labels=False), "y": done},
        "layer": [
            {"mark": {"type": "area", "color": theme.soft, "opacity": 0.45}},
            {"mark": {"type": "line", "color": theme.accent, "strokeWidth": 2.5}, "encoding": {"tooltip": tooltip}},
        ],
        "width": width,
        "height": 130,
    }


def _ticks(plan: Plan, theme: Theme, width: Width) -> Spec:
    rows = ["unplanned", "planned"]
    colour = {"domain": rows, "range": [theme.lost, theme.waiting]}
    kind = {**names("Kind", rows), "scale": {"domain": rows}}
    return {
        "data": data(tables.interruption_table(plan, most=400)[["Day", "Cause", "Kind"]]),
        "mark": {"type": "tick", "thickness": 1, "opacity": 0.75, "size": 14},
        "encoding": {
            "x": {**_days(labels=False), "axis": {**BARE, "labels": False}},
            "y": kind,
            "color": {"field": "Kind", "type": "nominal", "scale": colour, "legend": None},
            "tooltip": tips(("Cause", ""), ("Day", ".2f")),
        },
        "width": width,
        "height": 36,
    }


def _band(plan: Plan, theme: Theme, width: Width, *, height: int) -> Spec:
    frame = tables.power_table(plan).set_axis(["Day", "mean", "low", "high"], axis=1)
    frame, unit = in_power_unit(frame, "high", "mean", "low")
    low = quantity("low", f"site power [{unit}]", ticks=3)
    mean = {"field": "mean", "type": "quantitative"}
    tooltip = tips(("Day", ".1f"), ("mean", ".2f"), ("low", ".2f"), ("high", ".2f"))
    line = {"type": "line", "color": theme.gpu, "strokeWidth": 1.5}
    return {
        "data": data(frame),
        "encoding": {"x": _days()},
        "layer": [
            {"mark": {"type": "area", "color": theme.gpu, "opacity": 0.12}, "encoding": {"y": low}},
            {
                "mark": {"type": "area", "color": theme.gpu, "opacity": 0.35},
                "encoding": {"y": low, "y2": {"field": "high"}},
            },
            {"mark": line, "encoding": {"y": mean, "tooltip": tooltip}},
        ],
        "width": width,
        "height": height,
    }


def power_whole(plan: Plan, theme: Theme = LIGHT, width: Width = WIDE) -> Spec:
    """Site power through the whole campaign: the mean of each interval and its lowest and highest hour."""
    mean_mw, peak_mw = plan.campaign.mean_site_power_w / 1e6, plan.peak_power_mw
    return finished(
        _band(plan, theme, width, height=200),
        theme,
        title=f"The site draws {power(mean_mw)} on average and {power(peak_mw)} at most",
        subtitle="Line: mean of each interval. Band: its lowest to its highest hour",
        description=f"Site power over {days(plan.days.expected)}, mean {power(mean_mw)}.",
    )


def _curve(
    frame: pd.DataFrame, x: Spec, theme: Theme, width: Width, *, line: Spec, told: Sequence[tuple[str, str]]
) -> Spec:
    """Power over time with its area beneath; `told` is what a tooltip says beside the power."""
    colour = {"color": theme.gpu, **line}
    frame, unit = in_power_unit(frame, "MW")
    body = {
        "data": data(frame.rename(columns={"MW": unit})),
        "encoding": {"x": x, "y": quantity(unit, f"site power [{unit}]")},
        "layer": [
            {"mark": {"type": "area", "opacity": 0.15, **colour}},
            {
                "mark": {"type": "line", "strokeWidth": 1.5, **colour},
                "encoding": {"tooltip": tips(*told, (unit, ".2f"))},
            },
        ],
    }
    return sized(body, width, 250)


def power_first_week(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Site power of the first seven days, hour by hour."""
    frame = tables.first_week_table(plan)
    between = f"between {power(frame['MW'].min())} and {power(frame['MW'].max())}"
    return finished(
        _curve(frame, _days(), theme, width, line={"interpolate": "step-after"}, told=[("Day", ".2f")]),
        theme,
        title=f"First week: hours {between}",
        subtitle="Site power, mean of each hour; dips are interruptions",
        description=f"Hourly site power of the first days, {between}.",
    )


def power_failure(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec | None:
    """Site power through the first unplanned interruption: the drop and the way back; `None` without one."""
    frame = tables.failure_table(plan)
    if frame.empty:
        return None
    lowest, highest = float(frame["MW"].min()), float(frame["MW"].max())
    x = quantity("Minute", "minutes since the failure", ticks=6, scale={"zero": False, "nice": False}, grid=False)
    return finished(
        _curve(frame, x, theme, width, line={}, told=[("Activity", ""), ("Minute", ".1f")]),
        theme,
        title=f"One failure: {power(highest - lowest, digits=2)} gone at once, and back",
        subtitle="Site power around the first unplanned interruption",
        description=f"Power falls from {power(highest)} to {power(lowest)} and returns.",
    )


def step_bar(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """One optimizer step of the main phase, part by part, with the physical floor marked."""
    phase, step = plan.main_phase, plan.main_phase.step
    floor = f"floor {significant(step.floor_s)} s"
    stated = f" as predicted (the plan states {significant(phase.step_time_s)} s)" if phase.stated else ""
    return finished(
        unrolled(tables.step_table(plan), theme, width, unit="s", mark_at=step.floor_s, mark=floor),
        theme,
        title=f"A step takes {significant(step.step_time_s)} s{stated}; at peak speed {significant(step.floor_s)} s",
        subtitle=f"{human(step.tokens)} tokens of “{phase.name}”. Floor: causal FLOPs at peak",
        description=f"A step of {significant(step.step_time_s)} s by part; the physical floor is "
        f"{share(step.floor_s / step.step_time_s)} of it.",
    )


def memory_bar(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Memory of the fullest GPU by kind against its capacity."""
    step = plan.main_phase.step
    used, capacity = step.peak_memory_bytes / GIB, step.capacity_bytes / GIB
    return finished(
        unrolled(tables.memory_table(plan), theme, width, unit="GiB", mark_at=capacity, mark=f"{capacity:.0f} GiB"),
        theme,
        title=f"The fullest GPU holds {significant(used)} of {capacity:.0f} GiB",
        subtitle=step.layout.label,
        description=f"Memory by kind, {significant(used)} GiB in all; most of it is {step.largest_memory}.",
    )


def time_bars(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """The days that went elsewhere than into training."""
    frame = tables.time_table(plan)
    lost = frame[(frame["Activity"] != tables.ACTIVITIES["training"][0]) & (frame["Days"] > 0)]
    lost = lost.sort_values("Days", ascending=False)
    texts = [f"{days(d)} · {significant(p, 2)} %" for d, p in zip(lost["Days"], lost["Share [%]"], strict=True)]
    lost = lost.assign(label=texts)
    return finished(
        labelled_bars(lost, theme, width, y="Activity", x="Days", title="days"),
        theme,
        title=f"{share(plan.campaign.ettr)} of the time trains; {days(float(lost['Days'].sum()))} go elsewhere",
        subtitle=f"Time not spent on training that was kept, of {days(plan.campaign.duration_s / DAY_S)}",
        description="Time lost by reason: " + _listed(lost["Activity"], texts),
    )


def _listed(names_: pd.Series, texts: list[str]) -> str:
    return "; ".join(f"{name} {text}" for name, text in zip(names_, texts, strict=True))


def energy_parts(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Energy at the site's meter by part."""
    frame = tables.energy_part_table(plan)
    most_mwh = float(frame["MWh"].max())
    texts = [
        f"{energy(mwh, like=most_mwh)} · {percent:.0f} %"
        for mwh, percent in zip(frame["MWh"], frame["Share [%]"], strict=True)
    ]
    total = energy(plan.campaign.total_energy_j / JOULES_PER_MWH)
    scale, unit = energy_unit(most_mwh)
    shown = frame.assign(label=texts, MWh=frame["MWh"] / scale)
    return finished(
        labelled_bars(shown, theme, width, y="Part", x="MWh", title=unit),
        theme,
        title=f"{total} at the meter, {frame['Share [%]'].iloc[0]:.0f} % of it in the GPUs",
        subtitle="Energy of the whole run by part of the site",
        description="Energy by part: " + _listed(frame["Part"], texts),
    )


def energy_months(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Energy at the site's meter by calendar month."""
    frame = tables.month_table(plan)
    texts = [energy(mwh, like=frame["MWh"].max()) for mwh in frame["MWh"]]
    busiest = int(frame["MWh"].to_numpy().argmax())
    scale, unit = energy_unit(frame["MWh"].max())
    names_ = [month(name) for name in frame["Month"]]
    shown = pd.DataFrame({"Month": names_, "amount": frame["MWh"] / scale, "label": texts})
    which = "the busiest month, " if len(frame) > 1 else ""
    return finished(
        month_bars(shown, width, title=unit, colour=theme.gpu),
        theme,
        title=f"{texts[busiest]} in {which}{month(frame['Month'].iloc[busiest], full=True)}",
        subtitle=f"Energy at the site’s meter by calendar month, from {plan.request.start}",
        description="Energy by month: " + _listed(shown["Month"], texts),
    )


def cost_ranges(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Rent beside ownership for the days of this run: low, expected and high."""
    frame = tables.cost_table(plan).set_axis(["Way", "low", "expected", "high", "colour"], axis=1)
    rows = list(zip(frame["low"], frame["expected"], frame["high"], strict=True))
    texts = [
        money(expected) if money(low) == money(high) else f"{money(expected)} ({money_span(low, high, expected)})"
        for low, expected, high in rows
    ]
    scale, unit = money_unit(frame["high"].max())
    frame[["low", "expected", "high"]] /= scale
    x = quantity("low", unit, ticks=5)
    hue, tooltip = literal_colour(), tips(("Way", ""), ("label", ""))
    bar = {"type": "bar", "height": 10, "opacity": 0.4, "cornerRadius": 5}
    dot = {"type": "point", "filled": True, "size": 130, "opacity": 1}
    text = {"type": "text", "align": "left", "dy": -18, "color": theme.ink}
    low, expected = ({"field": field, "type": "quantitative"} for field in ("low", "expected"))
    layers = [
        {"mark": bar, "encoding": {"x": x, "x2": {"field": "high"}, "color": hue, "tooltip": tooltip}},
        {"mark": dot, "encoding": {"x": expected, "color": hue, "tooltip": tooltip}},
        {"mark": text, "encoding": {"x": low, "text": {"field": "label"}}},
    ]
    body = {
        "data": data(coloured(frame, theme).assign(label=texts)),
        "encoding": {"y": names("Way", frame["Way"].tolist(), size=13)},
        "layer": layers,
    }
    return finished(
        sized(body, width, 64 * len(frame) + 84),
        theme,
        title=_cost_title(plan),
        subtitle="Bar: prices from low to high, all else as planned. Dot: expected",
        description=_listed(frame["Way"], texts),
    )


def _cost_title(plan: Plan) -> str:
    if plan.rent is None or plan.own is None:
        return f"{'Renting' if plan.rent else 'Owning'} costs {money(plan.cost.expected)} as expected"
    return f"Renting costs {money(plan.rent.expected)}; owning for the same days {money(plan.own.expected)}"


MOST_BARS = 10
"""Bars of a tornado: more cannot be read on a page; the rest stand in its table."""

OUTCOME_TEXTS: dict[str, tuple[str, Callable[[float], tuple[float, str]], Callable[[float], str]]] = {
    "cost_usd": ("Cost", money_unit, money),
    "days": ("Days", lambda _: (1.0, "days"), lambda days: f"{significant(days)} days"),
}
"""Of an outcome: its name, the unit of an axis that reaches so far, and how it is written."""


def tornado_bars(
    plan: Plan, outcome: str, swings: Sequence[Swing], theme: Theme = LIGHT, width: Width = HALF
) -> Spec:
    """An outcome as each assumption alone goes from its 5th to its 95th percentile, widest first."""
    label, unit_of, text = OUTCOME_TEXTS[outcome]
    felt = [swing for swing in swings if text(swing.at_p5) != text(swing.at_p95)]
    shown, at = felt[:MOST_BARS], plan.intervals[outcome].expected
    told = partial(money, like=at) if outcome == "cost_usd" else text
    rows = [
        (s.label, *sorted((s.at_p5, s.at_p95)), f"{told(s.at_p5)} to {told(s.at_p95)}".replace(" days to", " to"))
        for s in shown
    ]
    frame = pd.DataFrame(rows, columns=["Assumption", "low", "high", "label"])
    scale, unit = unit_of(max([at, *frame["high"]]))
    frame[["low", "high"]] /= scale
    bottom = min([at / scale, *frame["low"]]) * 0.95 if outcome == "days" else 0.0
    top = max([at / scale, *frame["high"]])
    top += 0.6 * (top - bottom)  # room for labels
    x = quantity("low", unit, ticks=5, scale={"domain": [bottom, top], "nice": False, "zero": False})
    y = names("Assumption", frame["Assumption"].tolist())
    high = {"field": "high", "type": "quantitative"}
    rule = {"type": "rule", "color": theme.ink, "strokeDash": [4, 3]}
    body = {
        "layer": [
            {
                "data": data(frame),
                "mark": {"type": "bar", "height": 13, "color": theme.accent},
                "encoding": {
                    "y": y,
                    "x": x,
                    "x2": {"field": "high"},
                    "tooltip": tips(("Assumption", ""), ("label", "")),
                },
            },
            {
                "data": data(frame),
                "mark": {"type": "text", "align": "left", "dx": 6},
                "encoding": {"y": y, "x": high, "text": {"field": "label"}},
            },
            {
                "data": {"values": [{"at": at / scale}]},
                "mark": rule,
                "encoding": {"x": {"field": "at", "type": "quantitative"}},
            },
        ]
    }
    return finished(
        sized(body, width, 25 * max(len(frame), 1) + 112),
        theme,
        title=f"{label}: {shown[0].label.lower()} matters most" if shown else f"{label}: nothing moves it",
        subtitle="Each assumption alone from its 5th to its 95th percentile. Dashed: this plan",
        description=f"{label} as each assumption changes alone: "
        + _listed(frame["Assumption"], frame["label"].tolist()),
    )
