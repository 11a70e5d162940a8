"""Charts of choices: layouts of one cluster, and clusters against each other; a click on a mark picks it."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from planner.decide.pareto import ClusterComparison, Contender
from planner.plan import Plan
from planner.quantities import money, significant
from planner.report.charts import HALF, Width
from planner.report.spec import Spec, data, finished, names, quantity, sized, tips
from planner.report.tables import MEMORY_KINDS
from planner.report.theme import LIGHT, Theme
from planner.report.words import share
from planner.search import RankedLayout, SearchResult
from profiler.units import GIB
from sim.estimate import StepEstimate
from sim.hardware import load_gpu
from sim.memory import memory_use

PICK = "pick"
"""The name under which a click is told; a picked mark has the field `key`."""

MOST_MEMORY_ROWS = 12


def layout_table(result: SearchResult, plan: Plan) -> pd.DataFrame:
    """The ranked layouts, the best first, then the nearest that do not fit.

    Days and dollars are the plan's with the main phase's steps as long as the layout's and nothing else changed.
    """
    step_s = np.array([r.step_time_s for r in result.layouts])
    main = plan.main_phase
    longer = 1 + main.training_s / plan.training_s * (step_s / main.step_time_s - 1)
    found = plan.response.outcomes({"step_time": longer})
    rows = [
        (
            days if r.fits else None,
            _compact(r.layout.label),
            usd / 1e6 if r.fits else None,
            r.reason or ("the fastest that fits" if i == 0 else "as fast"),
            r.memory_gib,
            r.mfu * 100,
            r.step_time_s,
            r.gpu_power_w,
            r.energy_kwh_per_step,
        )
        for i, (r, days, usd) in enumerate(zip(result.layouts, found["days"], found["cost_usd"], strict=True))
    ]
    columns = ["Days", "Layout", "M USD", "Why not", "Memory [GiB]", "MFU [%]", "Step [s]", "GPU power [W]",
               "Energy a step [kWh]"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def layout_front(layouts: Sequence[RankedLayout]) -> list[bool]:
    """Which of the layouts that fit no other beats in both step time and memory."""
    points = np.array([(r.step_time_s, r.memory_gib) for r in layouts])
    beaten = [bool(np.any(np.all(points <= point, axis=1) & np.any(points < point, axis=1))) for point in points]
    return [r.fits and not lost for r, lost in zip(layouts, beaten, strict=True)]


def layout_scatter(result: SearchResult, step: StepEstimate, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Step time over memory of the ranked layouts, and of the plan's own `step`."""
    capacity = result.space.cluster.gpu.memory_bytes / GIB
    front = layout_front(result.layouts)
    kinds = ["the plan’s", "on the front", "beaten", "does not fit"]
    rows = []
    for i, (r, best) in enumerate(zip(result.layouts, front, strict=True)):
        kind = kinds[1] if best else kinds[2] if r.fits else kinds[3]
        rows.append((i, r.layout.label, r.memory_gib, r.step_time_s, share(r.mfu), kind))
    own = (len(rows), step.layout.label, step.peak_memory_bytes / GIB, step.step_time_s, share(step.mfu()), kinds[0])
    rows.append(own)
    frame = pd.DataFrame(rows, columns=["key", "Layout", "GiB", "s", "MFU", "Kind"])
    slowest, fastest = float(frame["s"].max()), float(frame["s"].min())
    low = fastest - 0.1 * max(slowest - fastest, 0.01 * fastest)
    x = quantity("GiB", "GiB on the fullest GPU", ticks=6, scale={"zero": False}, grid=False)
    y = quantity("s", "seconds a step", ticks=5, scale={"zero": False, "domainMin": low})
    by = {"field": "Kind", "type": "nominal", "title": None}
    hues = [theme.accent, theme.own, theme.waiting, theme.lost]
    legend = {"orient": "top", "direction": "horizontal"}
    points = {
        "data": data(frame),
        "params": [{"name": PICK, "select": {"type": "point", "fields": ["key"]}}],
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 0.85, "cursor": "pointer"},
        "encoding": {
            "x": x,
            "y": y,
            "color": {**by, "scale": {"domain": kinds, "range": hues}, "legend": legend},
            "shape": {**by, "scale": {"domain": kinds, "range": ["diamond", "circle", "circle", "cross"]}},
            "tooltip": tips(("Layout", ""), ("s", ".4g"), ("GiB", ".1f"), ("MFU", "")),
        },
    }
    rule: Spec = {
        "data": {"values": [{"at": capacity, "label": f"{capacity:.0f} GiB"}]},
        "mark": {"type": "rule", "color": theme.ink, "strokeDash": [4, 3]},
        "encoding": {"x": {"field": "at", "type": "quantitative"}},
    }
    best_layout = result.best
    return finished(
        sized({"layer": [rule, points]}, width, 340),
        theme,
        title=f"The fastest layout that fits takes {significant(best_layout.step_time_s)} s a step",
        subtitle=f"The {len(result.layouts)} best and nearest; dashed: what a GPU holds. Click one to plan with it",
        description=f"{result.fitting:,} of {result.evaluated:,} layouts fit in {capacity:.0f} GiB; the fastest, "
        f"{best_layout.layout.label}, takes {significant(best_layout.step_time_s)} s.",
    )


def layout_memory_table(result: SearchResult) -> pd.DataFrame:
    """Memory of the fullest GPU by kind [GiB], a column a kind, a row for each of the best layouts."""
    layouts = [r.layout for r in result.layouts[:MOST_MEMORY_ROWS]]
    use = memory_use(result.space.case(layouts))
    columns = {
        label: np.broadcast_to(getattr(use, name), len(layouts)) / GIB for name, (label, _) in MEMORY_KINDS.items()
    }
    return pd.DataFrame({"Layout": [layout.label for layout in layouts], **columns})


def short_labels(labels: Sequence[str]) -> list[str]:
    """The degrees of each layout, and beside them only what tells apart layouts of the same degrees."""
    parts = [label.split(", ") for label in labels]
    alike: dict[str, list[list[str]]] = {}
    for part in parts:
        alike.setdefault(part[0], []).append(part)
    told = [[_short(x) for x in part[1:] if _differs(x, alike[part[0]])] for part in parts]
    return [", ".join(filter(None, [part[0], *more])) for part, more in zip(parts, told, strict=True)]


def _differs(text: str, others: Sequence[list[str]]) -> bool:
    """Whether not every layout of the same degrees has it too."""
    return any(text not in other for other in others)


def _short(text: str) -> str:
    """A part of a layout's label as short as a row of a chart needs it; none where nothing is recomputed."""
    short = {"not sequence-parallel": "no SP", "sequence-parallel": "SP", "recompute none": ""}
    return short.get(text, text.replace("micro-batch ", "b").replace("recompute ", ""))


def _compact(label: str) -> str:
    """A layout's label as short as a row of a table needs it."""
    return ", ".join(filter(None, map(_short, label.split(", "))))


SHORT_WORDS = {r", b\d": "b: micro-batch", r"\bSP\b": "SP: sequence-parallel"}
"""What stands in a row of the chart by what it means."""


def layout_memory(result: SearchResult, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Memory by kind of the best layouts, stacked, against what a GPU holds."""
    capacity = result.space.cluster.gpu.memory_bytes / GIB
    table = layout_memory_table(result)
    table["Layout"] = [f"{i}  {name}" for i, name in enumerate(short_labels(table["Layout"].tolist()), 1)]
    kinds = list(MEMORY_KINDS.values())
    frame = table.melt("Layout", var_name="Kind", value_name="GiB")
    order = {label: i for i, (label, _) in enumerate(kinds)}
    frame["order"] = frame["Kind"].map(order)
    colours = theme.colours()
    hue = {
        "field": "Kind",
        "type": "nominal",
        "title": None,
        "scale": {"domain": [k for k, _ in kinds], "range": [colours[c] for _, c in kinds]},
        "legend": {"orient": "top", "direction": "horizontal", "columns": 1},
    }
    rows = table["Layout"].tolist()
    meant = [text for short, text in SHORT_WORDS.items() if re.search(short, " ".join(rows))]
    amount = {**quantity("GiB", "GiB", ticks=5), "stack": "zero"}
    bars = {
        "data": data(frame),
        "mark": {"type": "bar", "height": {"band": 0.7}},
        "encoding": {
            "y": names("Layout", rows, size=11, limit=230),
            "x": amount,
            "color": hue,
            "order": {"field": "order"},
            "tooltip": tips(("Layout", ""), ("Kind", ""), ("GiB", ".2f")),
        },
    }
    rule: Spec = {
        "data": {"values": [{"at": capacity}]},
        "mark": {"type": "rule", "color": theme.ink, "strokeDash": [4, 3]},
        "encoding": {"x": {"field": "at", "type": "quantitative"}},
    }
    return finished(
        sized({"layer": [bars, rule]}, width, 20 * len(rows) + 215),
        theme,
        title="What the memory of the best layouts holds",
        subtitle="; ".join(["The fullest GPU, by rank", *meant, f"dashed: {capacity:.0f} GiB"]),
        description=f"Memory by kind of the {len(rows)} fastest layouts that fit in {capacity:.0f} GiB.",
    )


def cluster_table(comparison: ClusterComparison) -> pd.DataFrame:
    """Clusters with what each takes: the front, which none beats, then the others and who beats each."""
    named = {c.name: _named(c) for c in comparison.front}
    rows = [_row(c, "none") for c in comparison.front]
    rows += [_row(c, named[by]) for c, by in comparison.beaten]
    columns = ["GPU", "GPUs", "Days", "M USD", "MWh", "tCO2e", "Beaten by", "Layout", "MFU [%]"]
    return pd.DataFrame(rows, columns=columns)


def _row(c: Contender, beaten_by: str) -> tuple[object, ...]:
    takes = c.days, c.cost_usd / 1e6, c.energy_mwh, c.emissions_tco2e
    return load_gpu(c.gpu).label, c.gpus, *takes, beaten_by, _compact(c.layout), c.mfu * 100


def _named(c: Contender) -> str:
    return f"{c.gpus:,} × {load_gpu(c.gpu).label}"


def cluster_front(comparison: ClusterComparison, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Days over dollars of clusters, those that none beats joined up and named."""
    found = [*comparison.front, *(c for c, _ in comparison.beaten)]
    kinds = ["on the front", "beaten"]
    rows = [
        (
            i,
            _named(c),
            c.cost_usd / 1e6,
            c.days,
            kinds[i >= len(comparison.front)],
            money(c.cost_usd),
        )
        for i, c in enumerate(found)
    ]
    frame = pd.DataFrame(rows, columns=["key", "Cluster", "million", "days", "Kind", "cost"])
    by = {"field": "Kind", "type": "nominal", "title": None}
    x = quantity("million", "million USD", ticks=6, grid=False)
    y = quantity("days", "days")
    tooltip = tips(("Cluster", ""), ("days", ".3s"), ("cost", ""))
    points = {
        "data": data(frame),
        "params": [{"name": PICK, "select": {"type": "point", "fields": ["key"]}}],
        "mark": {"type": "point", "filled": True, "size": 100, "opacity": 0.9, "cursor": "pointer"},
        "encoding": {
            "x": x,
            "y": y,
            "color": {**by, "scale": {"domain": kinds, "range": [theme.accent, theme.waiting]}, "legend": None},
            "shape": {**by, "scale": {"domain": kinds, "range": ["circle", "cross"]}, "legend": None},
            "tooltip": tooltip,
        },
    }
    named = frame[frame["Kind"] == kinds[0]].sort_values("million")
    label = {"type": "text", "align": "left", "dx": 9, "dy": -7}
    halo = {**label, "stroke": theme.paper, "strokeWidth": 4}  # of what lies beneath nothing crosses a name
    texts = [
        {"data": data(named), "mark": mark, "encoding": {"x": x, "y": y, "text": {"field": "Cluster"}}}
        for mark in (halo, label)
    ]
    return finished(
        sized({"layer": [points, *texts]}, width, 400),
        theme,
        title=comparison.headline[0].upper() + comparison.headline[1:],
        subtitle="In days, dollars, MWh and tonnes together; crosses are beaten. Click one to plan with it",
        description="Not beaten: " + "; ".join(f"{c.name}, {significant(c.days)} days, {money(c.cost_usd)}"
                                               for c in comparison.front),
    )  # fmt: skip
