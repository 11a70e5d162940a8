"""Charts of a profile: how near each kernel comes to the ceilings measured beside it, and the watts it draws."""

from dataclasses import replace

import numpy as np
import pandas as pd

from planner.quantities import significant
from planner.report.charts import HALF, Width
from planner.report.spec import Spec, data, finished, names, quantity, sized, tips
from planner.report.theme import LIGHT, Theme
from profiler.points import point_of
from profiler.profile import LayerRow, Profile

MOST_ROWS = 24
"""Rows of a chart; the table has all."""

COLUMNS = [
    "Workload",
    "Model",
    "TP",
    "Micro-batch",
    "Sequence, or size",
    "Of a context",
    "Precision",
    "Execution",
    "Recompute",
    "Accumulates",
    "Known how",
    "Forward [ms]",
    "Backward [ms]",
    "TFLOP/s",
    "GB/s",
    "Of the ceiling [%]",
    "Ceiling",
    "Watts",
    "Peak memory [GiB]",
]


COMPUTED = "computed"


def known_how(origin: str) -> str:
    """How a row is known, in a word: a roofline is computed."""
    return COMPUTED if origin == "roofline" else origin


def kernel_table(profile: Profile) -> pd.DataFrame:
    """One row a timed row of the profile: times, rates, the share of the nearer ceiling, and mean watts.

    A pass cannot be faster than its FLOPs at the matmul ceiling, nor than its bytes at the copy ceiling; the larger
    of the two shares is given, and whose it is (the roofline of Williams et al., doi:10.1145/1498765.1498785).
    """
    return pd.DataFrame([_row(row, profile) for row in _timed(profile)], columns=COLUMNS)


def _timed(profile: Profile) -> list[LayerRow]:
    return [row for row in profile.layers if row.status == "ok" and row.forward_s]


def _row(row: LayerRow, profile: Profile) -> tuple[object, ...]:
    seconds = (row.forward_s or 0.0) + (row.backward_s or 0.0)
    passes = (row.forward_flops, row.backward_flops), (row.forward_bytes, row.backward_bytes)
    flops, moved = (sum(both if row.backward_s else both[:1]) / seconds for both in passes)
    share, ceiling = _of_ceiling(row, flops, moved, profile)
    return (
        row.workload,
        row.model,
        row.tp,
        row.micro_batch,
        row.seq_len if row.size is None else row.size,
        row.context_len,
        row.precision,
        row.execution,
        row.recompute,
        "yes" if row.accumulates else "",
        known_how(row.origin),
        (row.forward_s or 0.0) * 1e3,
        None if row.backward_s is None else row.backward_s * 1e3,
        flops / 1e12 or None,
        moved / 1e9 or None,
        share,
        ceiling,
        row.power_mean_w,
        None if row.peak_bytes is None else row.peak_bytes / 2**30,
    )


def _of_ceiling(row: LayerRow, flops: float, moved: float, profile: Profile) -> tuple[float | None, str]:
    p = profile.provenance
    peak = p.peak_fp8_matmul_flops if row.precision == "fp8" else p.peak_matmul_flops
    shares = [
        (rate / most * 100, name)
        for rate, most, name in ((flops, peak, "matmul"), (moved, p.copy_bytes_per_s, "copy"))
        if most and rate
    ]
    return max(shares) if shares else (None, "")


def _labels(profile: Profile) -> list[str]:
    """Each row of the table as the terminal calls it, so that no two are called alike; the model where there are
    several."""
    points = [point_of(row) for row in _timed(profile)]
    several = len({point.model for point in points if point.model}) > 1
    named = [point if several else replace(point, model="") for point in points]
    return [" ".join(point.label().replace("_", " ").split()) for point in named]


def ceiling_bars(profile: Profile, theme: Theme = LIGHT, width: Width = HALF) -> Spec | None:
    """The share of the nearer ceiling that each timed row reaches; `None` where no ceiling is known."""
    frame = kernel_table(profile).assign(row=_labels(profile))
    frame = frame[frame["Of the ceiling [%]"].notna()]
    if frame.empty:
        return None
    shown = _thinned(frame)
    shown = shown.assign(share=shown["Of the ceiling [%]"])
    hues = {"matmul": theme.compute, "copy": theme.memory}
    kinds = [kind for kind in hues if kind in set(shown["Ceiling"])]
    known = known_how(profile.provenance.origin)
    median = float(frame["Of the ceiling [%]"].median())
    by = {"field": "Ceiling", "type": "nominal", "title": None}
    hue = {**by, "scale": {"domain": kinds, "range": [hues[kind] for kind in kinds]}, "legend": {"orient": "top"}}
    shown["label"] = [f"{value:.0f} %" for value in shown["share"]]
    y = names("row", shown["row"].tolist(), size=11)
    y["axis"] = {**y["axis"], "labelLimit": 260}
    top = max(110.0, float(shown["share"].max()) * 1.1)
    x = quantity("share", "% of the ceiling", ticks=5, scale={"domain": [0, top]})
    body = {
        "data": data(shown[["row", "share", "Ceiling", "label"]]),
        "encoding": {"y": y, "x": x},
        "layer": [
            {"mark": {"type": "bar", "height": 12},
             "encoding": {"color": hue, "tooltip": tips(("row", ""), ("label", ""), ("Ceiling", ""))}},
            {"mark": {"type": "text", "align": "left", "dx": 5}, "encoding": {"text": {"field": "label"}}},
        ],
    }  # fmt: skip
    return finished(
        sized(body, width, 20 * len(shown) + 150),
        theme,
        title=f"Half the kernels reach {median:.0f} % of their ceiling or more",
        subtitle=f"Micro-batch×tokens, forward and backward together, {known}; ceiling: "
        f"{'datasheet' if known == COMPUTED else known} matmul or copy rate, whichever is nearer",
        description=f"Share of the ceiling of {len(frame)} rows of {profile.name}, median {median:.0f} %.",
    )


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """As many rows as a chart has room for, evenly, in order of workload."""
    ordered = frame.sort_values(["Workload", "Model", "TP", "Micro-batch", "Sequence, or size"], kind="stable")
    at = np.linspace(0, len(ordered) - 1, min(len(ordered), MOST_ROWS)).round().astype(int)
    return ordered.iloc[at]


def watt_bars(profile: Profile, theme: Theme = LIGHT, width: Width = HALF) -> Spec | None:
    """Mean watts of each timed row against the power limit; `None` where no power was measured."""
    frame = kernel_table(profile).assign(row=_labels(profile))
    frame = frame[frame["Watts"].notna()]
    if frame.empty:
        return None
    shown = _thinned(frame)
    limit = profile.provenance.power_limit_w
    most = float(frame["Watts"].max())
    shown = shown.assign(label=[f"{watts:.0f} W" for watts in shown["Watts"]])
    y = names("row", shown["row"].tolist(), size=11)
    y["axis"] = {**y["axis"], "labelLimit": 260}
    top = max(most, limit or 0.0) * 1.2  # room for labels
    bars = {
        "data": data(shown[["row", "Watts", "label"]]),
        "mark": {"type": "bar", "height": 12, "color": theme.gpu},
        "encoding": {"y": y, "x": quantity("Watts", "watts", ticks=5, scale={"domain": [0, top], "nice": False}),
                     "tooltip": tips(("row", ""), ("label", ""))},
    }  # fmt: skip
    label = {"type": "text", "align": "left", "dx": 5}
    halo = {**label, "stroke": theme.paper, "strokeWidth": 4}  # the limit does not cross a label
    texts = [
        {"data": data(shown[["row", "Watts", "label"]]), "mark": mark,
         "encoding": {"y": y, "x": {"field": "Watts", "type": "quantitative"}, "text": {"field": "label"}}}
        for mark in (halo, label)
    ]  # fmt: skip
    rule: list[Spec] = [] if limit is None else [
        {"data": {"values": [{"at": limit}]},
         "mark": {"type": "rule", "color": theme.ink, "strokeDash": [4, 3]},
         "encoding": {"x": {"field": "at", "type": "quantitative"}}}
    ]  # fmt: skip
    return finished(
        sized({"layer": [bars, *rule, *texts]}, width, 20 * len(shown) + 110),
        theme,
        title=f"The hungriest kernel draws {significant(most)} W",
        subtitle="Mean board power while it runs" + ("" if limit is None else f"; dashed: the limit, {limit:.0f} W"),
        description=f"Mean watts of {len(frame)} rows of {profile.name}, at most {significant(most)} W.",
    )
