"""Pieces of Vega-Lite specifications, as plain dictionaries.

Plain because a report draws two dozen charts in the time that a person waits: building the same charts with
Altair's classes takes longer than planning does. What comes out is ordinary Vega-Lite, which
`altair.Chart.from_dict` reads.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from planner.quantities import power_unit, significant
from planner.report.theme import Theme, config

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

SMALLEST_PERCENT = 0.05
"""Parts of a bar below this share are in the table only."""

NEAR = 0.06
"""Share of a chart's width within which a label beyond a rule still reads as that of the bar before it."""

CHARACTER = 6.2
"""Width of a character of a label [px], on average."""

BARE = {"grid": False, "domain": False, "ticks": False}


def finished(body: Spec, theme: Theme, *, title: str, subtitle: str, description: str) -> Spec:
    """A whole chart with its title, its description and the look."""
    heading = {"text": title, "subtitle": subtitle}
    return {"$schema": SCHEMA, "config": config(theme), "title": heading, "description": description, **body}


def sized(body: Spec, width: int | str, height: int) -> Spec:
    """The chart with its axes and title within `width` and `height` [px], so that charts side by side agree."""
    return {**body, "width": width, "height": height, "autosize": {"type": "fit", "contains": "padding"}}


def data(frame: pd.DataFrame) -> Spec:
    """The rows of a frame, inline, to six significant digits."""
    names = list(frame.columns)
    rows = zip(*(frame[name].tolist() for name in names), strict=True)
    return {"values": [dict(zip(names, map(_rounded, row), strict=True)) for row in rows]}


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def quantity(field: str, title: str | None, *, ticks: int = 4, scale: Spec | None = None, **axis: Any) -> Spec:
    """A channel for an amount; `title` holds its unit."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "stack": None,
        "scale": {"zero": True, **(scale or {})},
        "axis": {"tickCount": ticks, **axis},
    }


def names(field: str, values: Sequence[str], *, size: int = 12, limit: int = 190) -> Spec:
    """A channel with a row for each name, in the order given; longer than `limit` [px] they are cut."""
    axis = {"labelLimit": limit, "labelFontSize": size, **BARE}
    return {"field": field, "type": "nominal", "title": None, "sort": list(values), "axis": axis}


MANY_MONTHS = 24
"""More than these have every second, third, ... named."""
FEW_MONTHS = 8
"""As many bars have room for their numbers above and the names of their months level."""


def months(frame: pd.DataFrame) -> Spec:
    """A channel for the calendar months in the column `Month`, in their order; few of them are no wider than many."""
    room = {"paddingInner": 0.4, "paddingOuter": max(0.2, 1.2 - 0.4 * len(frame))}
    axis: Spec = {"labelAngle": 0 if len(frame) <= FEW_MONTHS else -60}
    if len(frame) > MANY_MONTHS:
        every = -(-len(frame) // MANY_MONTHS)
        axis["values"] = frame["Month"].tolist()[::every]
    return {"field": "Month", "type": "ordinal", "title": None, "sort": None, "scale": room, "axis": axis}


def in_power_unit(frame: pd.DataFrame, largest: str, *others: str) -> tuple[pd.DataFrame, str]:
    """A frame whose columns of MW are in the unit in which the most of `largest` is written, and that unit's name."""
    scale, unit = power_unit(float(frame[largest].max()))
    return frame.assign(**{name: frame[name] / scale for name in (largest, *others)}), unit


def month_bars(frame: pd.DataFrame, width: int | str, *, title: str, colour: str) -> Spec:
    """Upright bars of the columns `Month` and `amount`; where there is room, `label` stands above each."""
    bars = {"mark": {"type": "bar", "color": colour}}
    labels = {"mark": {"type": "text", "dy": -8}, "encoding": {"text": {"field": "label"}}}
    least, most = min(float(frame["amount"].min()), 0.0), max(float(frame["amount"].max()), 0.0)
    amount = quantity("amount", title, scale={"domain": [least * 1.1, most * 1.1 or (0.0 if least else 1.0)]})
    body = {
        "data": data(frame),
        "encoding": {"x": months(frame), "y": amount, "tooltip": tips(("Month", ""), ("label", ""))},
        "layer": [bars, labels] if len(frame) <= FEW_MONTHS else [bars],
    }
    return sized(body, width, 250)


def tips(*fields: tuple[str, str]) -> list[Spec]:
    """What appears under the pointer: (field, number format) pairs; an empty format is text."""
    return [
        {"field": field, "type": "quantitative", "format": form} if form else {"field": field, "type": "nominal"}
        for field, form in fields
    ]


def literal_colour() -> Spec:
    """Colours as they stand in the column `colour`."""
    return {"field": "colour", "type": "nominal", "scale": None}


def coloured(frame: pd.DataFrame, theme: Theme) -> pd.DataFrame:
    """The frame with each thing's name in `colour` replaced by its colour."""
    return frame.assign(colour=frame["colour"].map(theme.colours()))


def unrolled(frame: pd.DataFrame, theme: Theme, width: int | str, *, unit: str, mark_at: float, mark: str) -> Spec:
    """A stacked bar unrolled, a row a part, each beginning where the one before ends; a rule marks one value."""
    frame = frame[frame["Share [%]"] >= SMALLEST_PERCENT]
    amounts = zip(frame["end"] - frame["start"], frame["Share [%]"], strict=True)
    texts = [f"{significant(value)} {unit} · {percent:.1f} %" for value, percent in amounts]
    frame = coloured(frame[["Part", "start", "end", "colour"]], theme).assign(label=texts)
    top = _top(frame, mark_at)
    y = names("Part", frame["Part"].tolist())
    x = quantity("start", "seconds" if unit == "s" else unit, ticks=5, scale={"domain": [0, top], "nice": False})
    tooltip = tips(("Part", ""), ("label", ""))
    bars = {
        "data": data(frame),
        "mark": {"type": "bar", "height": 14},
        "encoding": {"y": y, "x": x, "x2": {"field": "end"}, "color": literal_colour(), "tooltip": tooltip},
    }
    layers = [bars, *_rule(mark_at, mark, theme), *_labels(frame, y, top, mark_at, theme)]
    return sized({"layer": layers}, width, 23 * len(frame) + 112)


def _top(frame: pd.DataFrame, mark_at: float) -> float:
    """Where the axis ends: no further than gives every label a place that the rule does not cross."""
    tops = [max(float(frame["end"].max()) * room, mark_at * 1.02) for room in (1.2, 1.45, 1.7)]
    rows = list(zip(frame["start"], frame["end"], frame["label"], strict=True))
    return next((top for top in tops if all(_clear(*row, top, mark_at) for row in rows)), tops[-1])


def _labels(frame: pd.DataFrame, y: Spec, top: float, mark_at: float, theme: Theme) -> list[Spec]:
    """The label of each bar where there is room: after it, before it, in it, or beyond a rule at its end; where there
    is none, over the rule, which gives way to it."""
    halo: Spec = {"stroke": theme.paper, "strokeWidth": 4}
    styles: list[tuple[str, str, str, int, str, Spec]] = [
        ("after", "end", "left", 6, theme.ink, {}),
        ("before", "start", "right", -6, theme.ink, {}),
        ("in", "end", "right", -6, theme.paper, {}),
        ("beyond", "beyond", "left", 6, theme.ink, {}),
        ("over", "end", "left", 6, theme.ink, halo),
        ("over", "end", "left", 6, theme.ink, {}),
    ]
    frame = frame.assign(beyond=mark_at)
    rows = zip(frame["start"], frame["end"], frame["label"], strict=True)
    found = [(_clear(*row, top, mark_at) or ["over"])[0] for row in rows]
    places = pd.Series(found, index=frame.index, dtype=object)
    return [
        {
            "data": data(frame[places == place]),
            "mark": {"type": "text", "align": align, "dx": dx, "color": colour, **more},
            "encoding": {"y": y, "x": {"field": side, "type": "quantitative"}, "text": {"field": "label"}},
        }
        for place, side, align, dx, colour, more in styles
        if (places == place).any()
    ]


def _clear(start: float, end: float, label: str, top: float, mark_at: float) -> list[str]:
    """Where a label fits without crossing the rule; a character is taken as 2.2 % of the width."""
    need = (len(label) + 1) * 0.022 * top
    spans = {"after": (end, end + need), "before": (start - need, start), "in": (end - need, end)}
    fits = [place for place, (a, b) in spans.items() if a >= (start if place == "in" else 0) and b <= top]
    found = [place for place in fits if not spans[place][0] < mark_at < spans[place][1]]
    return [*found, "beyond"] if end <= mark_at < end + NEAR * top and mark_at + need <= top else found


def _rule(at: float, text: str, theme: Theme) -> list[Spec]:
    """A dashed line across the rows and its label above them."""
    base = {"data": {"values": [{"at": at, "mark": text}]}}
    x = {"field": "at", "type": "quantitative"}
    line = {"type": "rule", "color": theme.ink, "strokeDash": [4, 3], "strokeWidth": 1.5}
    note = {"type": "text", "dy": -8, "fontWeight": 600}
    return [
        {**base, "mark": line, "encoding": {"x": x}},
        {**base, "mark": note, "encoding": {"x": x, "y": {"value": 0}, "text": {"field": "mark"}}},
    ]


def labelled_bars(
    frame: pd.DataFrame, theme: Theme, width: int | str, *, y: str, x: str, title: str, marked: str = ""
) -> Spec:
    """Horizontal bars from zero with the text of the column `label` beside them; the name `marked` stands out."""
    shown = coloured(frame[[y, x, "colour", "label"]], theme)
    most = float(shown[x].max()) if len(shown) else 1.0
    rows = names(y, shown[y].tolist())
    if marked:
        chosen = {"test": {"field": "value", "equal": marked}}
        weight = {"condition": {**chosen, "value": "bold"}, "value": "normal"}
        colour = {"condition": {**chosen, "value": theme.ink}, "value": theme.muted}
        rows["axis"] = {**rows["axis"], "labelFontWeight": weight, "labelColor": colour}
    room = 20 + CHARACTER * max(map(len, shown["label"]), default=0)
    top = {"expr": f"{most} * width / max(width - {room}, width / 4)"}  # the longest bar leaves its label room
    amount = quantity(x, title, scale={"domainMin": 0, "domainMax": top, "nice": False})
    text = {"type": "text", "align": "left", "dx": 6}
    tooltip = tips((y, ""), ("label", ""))
    body = {
        "data": data(shown),
        "encoding": {"y": rows, "x": amount},
        "layer": [
            {"mark": {"type": "bar", "height": 16}, "encoding": {"color": literal_colour(), "tooltip": tooltip}},
            {"mark": text, "encoding": {"text": {"field": "label"}}},
        ],
    }
    return sized(body, width, max(30 * len(shown), 60) + 104)
