"""Predicted against published step times: a chart and the error table."""

import math
from collections.abc import Mapping

import pandas as pd

from planner.quantities import percent, significant
from planner.report.charts import HALF, Width
from planner.report.spec import Spec, data, finished, names, quantity, sized, tips
from planner.report.theme import LIGHT, Theme
from planner.validation import Comparison, ErrorSummary, Validation

BAND = 0.10
"""The band drawn about equality."""


def error_table(
    groups: Mapping[str, ErrorSummary], group: str = "Group", left_out: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Errors by group, the worst median first; with the medians of each left out of the fit where they are given."""
    ordered = sorted(groups.items(), key=lambda item: -item[1].median_pct)
    rows = [
        (
            name,
            s.runs,
            round(s.median_pct, 1),
            None if s.p90_pct is None else round(s.p90_pct, 1),
            round(s.bias_pct, 1),
        )
        for name, s in ordered
    ]
    frame = pd.DataFrame(rows, columns=[group, "Runs", "Median [%]", "90th percentile [%]", "Signed median [%]"])
    if left_out is not None:
        frame["Left out [%]"] = [round(100 * left_out[name], 1) if name in left_out else None for name, _ in ordered]
    return frame


def _frame(result: Validation) -> pd.DataFrame:
    rows = [
        (c.observed_step_time_s, c.prediction.step_time_s, c.error_pct, c.run.id, c.run.source_id, _precision(c))
        for c in result.comparisons
        if c.prediction.step_time_s
    ]
    return pd.DataFrame(rows, columns=["published", "predicted", "error", "Run", "Source", "Precision"])


def run_table(result: Validation) -> pd.DataFrame:
    """Every run with its published and its predicted step time, the largest error first."""
    frame = _frame(result).sort_values("error", key=abs, ascending=False)
    frame["error"] = frame["error"].round(1)
    named = {"published": "Published [s]", "predicted": "Predicted [s]", "error": "Error [%]"}
    return frame.rename(columns=named)[["Error [%]", "Published [s]", "Predicted [s]", "Run", "Source", "Precision"]]


def _precision(comparison: Comparison) -> str:
    return "fp8" if comparison.run.precision == "fp8" else "16-bit"


def _decades(frame: pd.DataFrame) -> tuple[float, float]:
    least, most = float(frame["published"].min()), float(frame["published"].max())
    return 10.0 ** math.floor(math.log10(least)), 10.0 ** math.ceil(math.log10(most))


def validation_scatter(result: Validation, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Predicted over published step time on log axes with a ±10 % band; shape and colour by precision."""
    frame = _frame(result)
    within = float((frame["error"].abs() <= 100 * BAND).mean())
    ends = _decades(frame)
    band = pd.DataFrame([(x, x * (1 - BAND), x * (1 + BAND)) for x in ends], columns=["published", "low", "high"])
    y = _axis("low", "predicted [s]", ends)
    points = _points(frame, {"field": "predicted", "type": "quantitative"}, theme)
    return finished(
        sized({"layer": [_band(band, _axis("published", "published [s]", ends), y, theme), points]}, width, 380),
        theme,
        title=f"{len(frame):,} published runs: {percent(within, 0)} predicted within {percent(BAND, 0)}",
        subtitle="Seconds of one step. Band: ±10 %. Circles: 16-bit. Triangles: fp8",
        description=f"Predicted against published step times, {significant(frame['published'].min())} to "
        f"{significant(frame['published'].max())} seconds; {percent(within, 0)} lie within 10 %.",
    )


def validation_errors(result: Validation, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """The signed error of every published run over its step time, with the ±10 % band."""
    frame = _frame(result)
    ends = _decades(frame)
    worst = result.worst[0]
    most = math.ceil(abs(worst.error_pct) / 10) * 10
    missed = percent(worst.error_pct / 100, 0, signed=True)
    band = pd.DataFrame([(x, -100 * BAND, 100 * BAND) for x in ends], columns=["published", "low", "high"])
    y = quantity("low", "error [%]", ticks=6, scale={"domain": [-most, most]})
    points = _points(frame, {"field": "error", "type": "quantitative"}, theme)
    return finished(
        sized({"layer": [_band(band, _axis("published", "published [s]", ends), y, theme), points]}, width, 380),
        theme,
        title=f"The worst miss is {missed}: {worst.run.id}",
        subtitle="Error of the predicted step time. Above zero: predicted too slow",
        description=f"Signed errors of {len(frame):,} runs; the largest is {missed}.",
    )


def _axis(field: str, title: str, ends: tuple[float, float]) -> Spec:
    decades = [10.0**power for power in range(round(math.log10(ends[0])), round(math.log10(ends[1])) + 1)]
    scale = {"type": "log", "domain": list(ends), "nice": False, "clamp": True}
    axis = {"values": decades, "format": "~g"}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _band(frame: pd.DataFrame, x: Spec, y: Spec, theme: Theme) -> Spec:
    mark = {"type": "area", "color": theme.waiting, "opacity": 0.3}
    return {"data": data(frame), "mark": mark, "encoding": {"x": x, "y": y, "y2": {"field": "high"}}}


def _points(frame: pd.DataFrame, y: Spec, theme: Theme, legend: Spec | None = None) -> Spec:
    looks = {"16-bit": (theme.accent, "circle"), "fp8": (theme.communication, "triangle-up")}
    kinds = [kind for kind in looks if kind in set(frame["Precision"])]
    hues, shapes = [looks[kind][0] for kind in kinds], [looks[kind][1] for kind in kinds]
    by = {"field": "Precision", "type": "nominal", "legend": legend}
    shown = frame.assign(Error=[percent(error / 100, signed=True) for error in frame["error"]])
    return {
        "data": data(shown),
        "mark": {"type": "point", "filled": True, "size": 42, "opacity": 0.6},
        "encoding": {
            "x": {"field": "published", "type": "quantitative"},
            "y": y,
            "color": {**by, "scale": {"domain": kinds, "range": hues}},
            "shape": {**by, "scale": {"domain": kinds, "range": shapes}},
            "tooltip": tips(("Run", ""), ("Source", ""), ("Error", ""), ("published", ".3s"), ("predicted", ".3s")),
        },
    }


MOST_ERROR_PCT = 40.0
"""Errors beyond are drawn at the edge; their value stands in the table."""


def validation_by_source(
    result: Validation, left_out: Mapping[str, float], theme: Theme = LIGHT, width: Width = 860
) -> Spec:
    """Every run's signed error, a row a source, the best known first; a bar marks the source's left-out median."""
    frame = _frame(result)
    frame["error"] = frame["error"].clip(-MOST_ERROR_PCT, MOST_ERROR_PCT)
    order = sorted(result.by_source, key=lambda name: result.by_source[name].median_pct)
    labels = {name: f"{name} ({result.by_source[name].runs})" for name in order}
    frame["Source"] = frame["Source"].replace("", "not stated").map(labels)
    rows = names("Source", [labels[name] for name in order], size=11)
    rows["axis"] = {**rows["axis"], "labelLimit": 260, "grid": True, "gridDash": [1, 3]}
    ends = [-MOST_ERROR_PCT, MOST_ERROR_PCT]
    x = quantity("error", "error of the predicted step time [%]", ticks=9, scale={"domain": ends, "nice": False})
    marks = pd.DataFrame(
        [(labels[name], sign * 100 * left_out[name]) for name in order if name in left_out for sign in (-1, 1)],
        columns=["Source", "error"],
    )
    noise: Spec = {
        "data": {"values": [{"low": -3, "high": 3}]},
        "mark": {"type": "rect", "color": theme.soft, "opacity": 0.4},
        "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
    }
    legend = {"orient": "top", "title": None, "labelColor": theme.ink, "symbolOpacity": 1}
    points = _points(frame, x, theme, legend)
    tick = {"type": "tick", "thickness": 2, "size": 12, "color": theme.lost}
    layers = [
        noise,
        {"data": data(marks), "mark": tick, "encoding": {"y": rows, "x": x}},
        {**points, "encoding": {**points["encoding"], "x": x, "y": rows}},
    ]
    summary = result.overall
    return finished(
        sized({"layer": layers}, width, 22 * len(order) + 145),
        theme,
        title=f"Half of {summary.runs} {'published ' if left_out else ''}runs within {summary.median_pct:.1f} %"
        + ("" if summary.p90_pct is None else f", nine in ten within {summary.p90_pct:.1f} %"),
        subtitle="A point a run, its source beside it; "
        + ("red ticks: the median with that source left out of the fit; " if left_out else "")
        + "shaded: what the same run measured twice differs by",
        description="Signed step-time error of every published run by source, with the left-out median of each.",
    )
