"""Charts of a plan, the same in the report and on the dashboard. Pure functions from a Plan to an Altair chart.

Each has a title that states its message, a description for those who cannot see it, labels on the marks in
place of legends, and a table of its numbers in `planner.report.tables`.
"""

import altair as alt
import pandas as pd

from planner.plan import Plan
from planner.quantities import energy, human, money, significant
from planner.report import tables
from planner.report.theme import LIGHT, Theme, config
from planner.report.words import money_span, plan_label, share, whole
from profiler.units import DAY_S, GIB

Chart = alt.Chart | alt.LayerChart | alt.VConcatChart
Width = int | str

WIDE, HALF = 1020, 470
"""Widths [px] of a chart across the page and of one of two beside each other."""


def _finish(chart: Chart, theme: Theme, *, title: str, subtitle: str, description: str) -> Chart:
    heading = alt.TitleParams(title, subtitle=subtitle)
    return chart.properties(title=heading, description=description).configure(**config(theme))


def _coloured(frame: pd.DataFrame, theme: Theme) -> pd.DataFrame:
    """The frame with each thing's name replaced by its colour."""
    return frame.assign(colour=frame["colour"].map(theme.colours()))


def _days(title: str | None = "days since the start", **more: object) -> alt.X:
    return alt.X("Day:Q", title=title, axis=alt.Axis(tickCount=6, grid=False, **more), scale=alt.Scale(nice=False))


def campaign_strip(plan: Plan, theme: Theme = LIGHT, width: Width = WIDE) -> Chart:
    """From first day to last: progress rising, interruptions as ticks, site power as a band beneath."""
    stops = plan.campaign.interruptions
    unplanned = plan.campaign.unexpected_interruptions
    strip = alt.vconcat(
        _progress(plan, theme, width), _ticks(plan, theme, width), _band(plan, theme, width), spacing=6
    ).resolve_scale(x="shared")
    lost = 1 - plan.campaign.ettr
    return _finish(
        strip,
        theme,
        title=f"{plan_label(plan)}: {whole(plan.campaign.duration_s / DAY_S)} days, {len(stops):,} interruptions, "
        f"{share(lost)} of the time lost",
        subtitle="Share of the tokens trained, when training stopped, and the site's power",
        description=f"Progress rises almost evenly to 100 % in {whole(plan.campaign.duration_s / DAY_S)} days; "
        f"{unplanned:,} unplanned and {len(stops) - unplanned:,} planned interruptions; site power averages "
        f"{significant(plan.campaign.mean_site_power_w / 1e6)} MW and peaks at {significant(plan.peak_power_mw)} MW.",
    )


def _progress(plan: Plan, theme: Theme, width: Width) -> alt.LayerChart:
    frame = tables.progress_table(plan).set_axis(["Day", "done"], axis=1)
    y = alt.Y("done:Q", title="tokens [%]", axis=alt.Axis(values=[0, 50, 100]), scale=alt.Scale(domain=[0, 100]))
    base = alt.Chart(frame).encode(x=_days(None, labels=False, ticks=False), y=y)
    area = base.mark_area(color=theme.soft, opacity=0.45)
    line = base.mark_line(color=theme.accent, strokeWidth=2.5)
    return alt.layer(area, line).properties(width=width, height=130)


def _ticks(plan: Plan, theme: Theme, width: Width) -> alt.Chart:
    frame = tables.interruption_table(plan, most=400)[["Day", "Cause", "Kind"]]
    rows = ["unplanned", "planned"]
    return (
        alt.Chart(frame)
        .mark_tick(thickness=1, opacity=0.75, size=14)
        .encode(
            x=_days(None, labels=False, ticks=False, domain=False),
            y=alt.Y("Kind:N", sort=rows, scale=alt.Scale(domain=rows), title=None,
                    axis=alt.Axis(domain=False, ticks=False, grid=False)),
            color=alt.Color("Kind:N", scale=alt.Scale(domain=rows, range=[theme.lost, theme.waiting]), legend=None),
            tooltip=[alt.Tooltip("Cause:N"), alt.Tooltip("Day:Q", format=".2f")],
        )
        .properties(width=width, height=36)
    )  # fmt: skip


def _band(plan: Plan, theme: Theme, width: Width) -> alt.LayerChart:
    base = alt.Chart(tables.power_table(plan)).encode(x=_days())
    low, high = "MW, lowest hour:Q", "MW, highest hour:Q"
    axis = alt.Axis(tickCount=3)
    area = base.mark_area(color=theme.gpu, opacity=0.35).encode(
        y=alt.Y(low, title="site power [MW]", axis=axis, scale=alt.Scale(zero=True), stack=None), y2=alt.Y2(high)
    )
    ground = base.mark_area(color=theme.gpu, opacity=0.12).encode(y=alt.Y(low))
    line = base.mark_line(color=theme.gpu, strokeWidth=1.5).encode(
        y=alt.Y("MW, mean:Q"),
        tooltip=[alt.Tooltip("Day:Q", format=".1f"), alt.Tooltip("MW, mean:Q", format=".2f")],
    )
    return alt.layer(ground, area, line).properties(width=width, height=90)


def power_whole(plan: Plan, theme: Theme = LIGHT, width: Width = WIDE) -> Chart:
    """Site power through the whole campaign: the mean of each interval and its lowest and highest hour."""
    mean_mw, peak_mw = plan.campaign.mean_site_power_w / 1e6, plan.peak_power_mw
    return _finish(
        _band(plan, theme, width).properties(height=200),
        theme,
        title=f"The site draws {significant(mean_mw)} MW on average and {significant(peak_mw)} MW at most",
        subtitle="Mean of each interval as a line; lowest to highest hour as a band",
        description=f"Site power over {whole(plan.days.expected)} days, mean {significant(mean_mw)} MW.",
    )


def power_first_week(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Chart:
    """Site power of the first seven days, hour by hour."""
    frame = tables.first_week_table(plan)
    lowest, highest = frame["MW"].min(), frame["MW"].max()
    base = alt.Chart(frame).encode(
        x=_days(), y=alt.Y("MW:Q", title="site power [MW]", axis=alt.Axis(tickCount=4), stack=None)
    )
    area = base.mark_area(color=theme.gpu, opacity=0.15, interpolate="step-after")
    line = base.mark_line(color=theme.gpu, strokeWidth=1.5, interpolate="step-after").encode(
        tooltip=[alt.Tooltip("Day:Q", format=".2f"), alt.Tooltip("MW:Q", format=".2f")]
    )
    return _finish(
        alt.layer(area, line).properties(width=width, height=180),
        theme,
        title=f"First week: hours between {significant(lowest)} and {significant(highest)} MW",
        subtitle="Site power, mean of each hour; dips are interruptions",
        description=f"Hourly site power of the first days, {significant(lowest)} to {significant(highest)} MW.",
    )


def power_failure(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Chart | None:
    """Site power through the first unplanned interruption: the drop and the way back; `None` without one."""
    frame = tables.failure_table(plan)
    if frame.empty:
        return None
    lowest, highest = frame["MW"].min(), frame["MW"].max()
    minutes = alt.X("Minute:Q", title="minutes since the failure", axis=alt.Axis(grid=False, tickCount=6))
    base = alt.Chart(frame).encode(
        x=minutes, y=alt.Y("MW:Q", title="site power [MW]", axis=alt.Axis(tickCount=4), stack=None)
    )
    area = base.mark_area(color=theme.gpu, opacity=0.15)
    line = base.mark_line(color=theme.gpu, strokeWidth=2).encode(
        tooltip=[alt.Tooltip("Activity:N"), alt.Tooltip("MW:Q")]
    )
    return _finish(
        alt.layer(area, line).properties(width=width, height=180),
        theme,
        title=f"One failure: {significant(highest - lowest, 2)} MW drop within moments",
        subtitle="Site power around the first unplanned interruption; the ramp is drawn as a step",
        description=f"Power falls from {significant(highest)} to {significant(lowest)} MW and returns.",
    )


def _unrolled(
    frame: pd.DataFrame, theme: Theme, width: Width, *, unit: str, label: str, mark_at: float, mark: str
) -> alt.LayerChart:
    """A stacked bar unrolled, a row a part, with a rule marked at one value."""
    amounts = zip(frame[label], frame["Share [%]"], strict=True)
    texts = [f"{significant(value)} {unit} · {percent:.1f} %" for value, percent in amounts]
    top = max(float(frame["end"].max()), mark_at) * 1.02
    frame = _coloured(frame[["Part", "start", "end", "colour"]], theme).assign(label=texts)
    y = _names("Part", frame)
    scale = alt.Scale(domain=[0, top], nice=False)
    x = alt.X("start:Q", title=label.lower() if unit == "s" else unit, scale=scale, axis=alt.Axis(tickCount=5))
    bars = alt.Chart(frame).mark_bar(height=14)
    bars = bars.encode(
        y=y,
        x=x,
        x2=alt.X2("end:Q"),
        color=alt.Color("colour:N", scale=None),
        tooltip=[alt.Tooltip("Part:N"), alt.Tooltip("label:N")],
    )
    rule, note = _rule(mark_at, mark, theme)
    return alt.layer(bars, rule, *_labels(frame, top, theme), note).properties(width=width, height=22 * len(frame))


def _labels(frame: pd.DataFrame, top: float, theme: Theme) -> list[alt.Chart]:
    """The label of each bar where there is room: after it, before it, or in it."""
    after = frame["end"] < 0.6 * top
    before = ~after & (frame["start"] > 0.45 * top)
    y = _names("Part", frame)
    places = (
        (after, "end", "left", 6, theme.ink),
        (before, "start", "right", -6, theme.ink),
        (~after & ~before, "end", "right", -6, theme.paper),
    )
    return [
        alt.Chart(frame[chosen])
        .mark_text(align=align, dx=dx, color=colour)
        .encode(y=y, x=alt.X(f"{side}:Q"), text=alt.Text("label:N"))
        for chosen, side, align, dx, colour in places
        if chosen.any()
    ]


def _rule(at: float, text: str, theme: Theme) -> tuple[alt.Chart, alt.Chart]:
    """A dashed line across the rows and its label above them."""
    base = alt.Chart(pd.DataFrame({"at": [at], "mark": [text]})).encode(x=alt.X("at:Q"))
    rule = base.mark_rule(color=theme.ink, strokeDash=[4, 3], strokeWidth=1.5)
    return rule, base.mark_text(dy=-8, fontWeight=600).encode(y=alt.value(0), text=alt.Text("mark:N"))


def _names(field: str, frame: pd.DataFrame, size: int = 12) -> alt.Y:
    """A row a name, in the order of the frame."""
    axis = alt.Axis(labelLimit=190, labelFontSize=size, grid=False, domain=False, ticks=False)
    return alt.Y(f"{field}:N", sort=list(frame[field]), title=None, axis=axis)


def step_bar(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Chart:
    """One optimizer step of the main phase, part by part, with the physical floor marked."""
    phase = plan.main_phase
    step, frame = phase.step, tables.step_table(plan)
    floor_share = step.floor_s / step.step_time_s
    predicted = " as predicted; the plan states another time" if phase.stated else ""
    return _finish(
        _unrolled(frame, theme, width, unit="s", label="Seconds", mark_at=step.floor_s,
                  mark=f"floor {significant(step.floor_s)} s"),
        theme,
        title=f"One step takes {significant(step.step_time_s)} s; arithmetic at peak alone {significant(step.floor_s)} s",
        subtitle=f"{human(step.tokens)} tokens, phase “{phase.name}”{predicted}. Floor: causal FLOPs at dense peak",
        description=f"A step of {significant(step.step_time_s)} s by part; the physical floor is {share(floor_share)} of it.",
    )  # fmt: skip


def memory_bar(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Chart:
    """Memory of the fullest GPU by kind against its capacity."""
    step, frame = plan.main_phase.step, tables.memory_table(plan)
    used, capacity = step.peak_memory_bytes / GIB, step.capacity_bytes / GIB
    return _finish(
        _unrolled(frame, theme, width, unit="GiB", label="GiB", mark_at=capacity, mark=f"{capacity:.0f} GiB"),
        theme,
        title=f"The fullest GPU holds {significant(used)} of {capacity:.0f} GiB",
        subtitle=f"{step.layout.label}",
        description=f"Memory by kind, {significant(used)} GiB in all; most of it is {step.largest_memory}.",
    )


def time_bars(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Chart:
    """The days that went elsewhere than into training."""
    frame = _coloured(tables.time_table(plan), theme)
    lost = frame[(frame["Activity"] != "Training") & (frame["Days"] > 0)].sort_values("Days", ascending=False)
    lost = lost.assign(
        label=[f"{significant(d, 2)} d · {p:.2f} %" for d, p in zip(lost["Days"], lost["Share [%]"], strict=True)]
    )
    return _finish(
        _labelled_bars(lost, theme, width, y="Activity", x="Days", title="days"),
        theme,
        title=f"{share(plan.campaign.ettr)} of the time trains; {significant(lost['Days'].sum(), 2)} days go elsewhere",
        subtitle=f"Days not spent on kept training, of {significant(plan.campaign.duration_s / DAY_S)} in all",
        description="Days lost by reason: "
        + "; ".join(f"{a} {t}" for a, t in zip(lost["Activity"], lost["label"], strict=True)),
    )


def energy_parts(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Chart:
    """Energy at the site's meter by part."""
    frame = _coloured(tables.energy_part_table(plan), theme)
    frame = frame.assign(
        label=[f"{energy(m)} · {p:.0f} %" for m, p in zip(frame["MWh"], frame["Share [%]"], strict=True)]
    )
    gpu_share = float(frame["Share [%]"].iloc[0])
    return _finish(
        _labelled_bars(frame, theme, width, y="Part", x="MWh", title="MWh"),
        theme,
        title=f"{energy(plan.campaign.total_energy_j / 3.6e9)} at the meter, {gpu_share:.0f} % of it in the GPUs",
        subtitle="Energy of the whole run by part of the site",
        description="Energy by part: "
        + "; ".join(f"{a} {t}" for a, t in zip(frame["Part"], frame["label"], strict=True)),
    )


def _labelled_bars(frame: pd.DataFrame, theme: Theme, width: Width, *, y: str, x: str, title: str) -> alt.LayerChart:
    """Horizontal bars from zero with their value beside them."""
    most = float(frame[x].max()) if len(frame) else 1.0
    scale = alt.Scale(domain=[0, most * 1.5], nice=False)
    base = alt.Chart(frame[[y, x, "colour", "label"]]).encode(
        y=_names(y, frame), x=alt.X(f"{x}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4))
    )
    bars = base.mark_bar(height=16).encode(
        color=alt.Color("colour:N", scale=None), tooltip=[alt.Tooltip(f"{y}:N"), alt.Tooltip("label:N")]
    )
    return alt.layer(bars, base.mark_text(align="left", dx=6).encode(text=alt.Text("label:N"))).properties(
        width=width, height=max(30 * len(frame), 60)
    )


def energy_months(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Chart:
    """Energy at the site's meter by calendar month."""
    frame = tables.month_table(plan)
    frame["label"] = [energy(m) for m in frame["MWh"]]
    base = alt.Chart(frame).encode(
        x=alt.X("Month:O", title=None, axis=alt.Axis(labelAngle=0 if len(frame) < 9 else -60)),
        y=alt.Y("MWh:Q", title="MWh", axis=alt.Axis(tickCount=4)),
        tooltip=[alt.Tooltip("Month:O"), alt.Tooltip("label:N")],
    )
    layers = [base.mark_bar(color=theme.gpu, width={"band": 0.6})]
    if len(frame) < 9:
        layers.append(base.mark_text(dy=-8).encode(text=alt.Text("label:N")))
    most = frame.loc[frame["MWh"].idxmax()]
    return _finish(
        alt.layer(*layers).properties(width=width, height=180),
        theme,
        title=f"{most['label']} in the busiest month, {most['Month']}",
        subtitle="Energy at the site's meter by calendar month; the first and the last are not whole",
        description="Energy by month: "
        + "; ".join(f"{m} {t}" for m, t in zip(frame["Month"], frame["label"], strict=True)),
    )


def cost_ranges(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Chart:
    """Rent beside ownership for the days of this run: low, expected and high."""
    frame = _coloured(tables.cost_table(plan), theme)
    frame = frame.set_axis(["Way", "low", "expected", "high", "colour"], axis=1)
    rows = zip(frame["low"], frame["expected"], frame["high"], strict=True)
    frame["label"] = [f"{money(expected)} ({money_span(low, high)})" for low, expected, high in rows]
    frame[["low", "expected", "high"]] /= 1e6
    base = alt.Chart(frame).encode(y=_names("Way", frame, 13), color=alt.Color("colour:N", scale=None))
    x = alt.X("low:Q", title="million USD", scale=alt.Scale(domainMin=0), axis=alt.Axis(tickCount=5))
    bars = base.mark_bar(height=10, opacity=0.4, cornerRadius=5).encode(x=x, x2=alt.X2("high:Q"))
    dots = base.mark_point(size=130, filled=True, opacity=1).encode(
        x=alt.X("expected:Q"), tooltip=[alt.Tooltip("Way:N"), alt.Tooltip("label:N")]
    )
    text = base.mark_text(align="left", dy=-18).encode(
        x=alt.X("low:Q"), text=alt.Text("label:N"), color=alt.value(theme.ink)
    )
    return _finish(
        alt.layer(bars, dots, text).properties(width=width, height=64 * len(frame)),
        theme,
        title=_cost_title(plan),
        subtitle="Bar: low to high. Dot: expected. Owning: value lost, interest, colocation, electricity",
        description="; ".join(f"{w}: {t}" for w, t in zip(frame["Way"], frame["label"], strict=True)),
    )


def _cost_title(plan: Plan) -> str:
    if plan.rent is None or plan.own is None:
        return f"{'Renting' if plan.rent else 'Owning'} costs {money(plan.cost.expected)} as expected"
    return f"Renting costs {money(plan.rent.expected)}; owning for the same days {money(plan.own.expected)}"
