"""The timeline of one step as a figure: a row a stage, coloured by what it does."""

from itertools import accumulate, groupby

import numpy as np
import pandas as pd

from planner.quantities import counted, percent, significant
from planner.report.spec import Spec, data, finished, quantity, sized, tips
from planner.report.theme import LIGHT, Theme
from sim.schedule.events import Timeline
from sim.schedule.order import PipelineShape
from sim.schedule.trace import FIXED, HOLDING, stage_summaries

COLOURS = {
    "forward": "soft",
    "backward": "compute",
    "weight gradient": "own",
    "communication": "communication",
    "optimizer": "memory",
    FIXED: "waiting",
}
"""The theme's colour of each kind of work; white is waiting."""

MOST_BARS = 6_000
"""From here on operations are narrower than what can be seen, and the figure shows what columns of time hold."""
COLUMNS = 400
STACKED = -2
"""In the place of a micro-batch where a bar is part of a column; -1 is about none in particular."""
BAND = 0.86
"""Height of a stage's row that its bars take; the rest parts it from the next."""


def timeline_bars(timeline: Timeline) -> pd.DataFrame:
    """The bars of the figure: stage, kind, micro-batch, start and end in seconds, and which part of the row's height
    they take, from `low` to `high`. Width times height is always the time that a stage spends on the kind."""
    rows: list[Bar] = [
        (event.stage, _kind(event.stream, event.name), event.micro_batch, event.start_s, event.end_s, 0.0, 1.0)
        for event in timeline.events
        if event.stream in HOLDING
    ]
    if len(rows) > MOST_BARS:
        rows = _columns(rows, timeline)
    return pd.DataFrame(rows, columns=["stage", "kind", "micro-batch", "start", "end", "low", "high"])


def _kind(stream: str, name: str) -> str:
    if stream == "exposed":
        return "communication"
    return "weight gradient" if name == "head weight gradient" else name if name in COLOURS else FIXED


Bar = tuple[int, str, int, float, float, float, float]


def _columns(rows: list[Bar], timeline: Timeline) -> list[Bar]:
    """Each column of time of each stage with its kinds on top of each other, as high as their shares of its time;
    neighbours that hold the same in one."""
    width_s = max(timeline.end_s) / COLUMNS
    kinds = list(COLOURS)
    spent_s = np.zeros((timeline.work.shape.stages, COLUMNS, len(kinds)))
    for stage, kind, _, start_s, end_s, *_rest in rows:
        first, last = int(start_s / width_s), min(int(end_s / width_s), COLUMNS - 1)
        edges = np.clip(np.arange(first, last + 2) * width_s, start_s, end_s)
        edges[-1] = end_s  # the last column ends with the step, whatever rounding says
        spent_s[stage, first : last + 1, kinds.index(kind)] += np.diff(edges)
    found: list[Bar] = []
    for stage, shares in enumerate((spent_s / width_s).round(6).tolist()):
        begin = 0
        for share, run in groupby(shares):
            end, low = begin + len(list(run)), 0.0
            for kind, high in zip(kinds, accumulate(share), strict=True):
                if high > low:
                    found.append((stage, kind, STACKED, begin * width_s, end * width_s, low, high))
                low = high
            begin = end
    return found


def timeline_chart(
    timeline: Timeline, theme: Theme = LIGHT, width: int | str = 970, *, apart_s: float | None = None
) -> Spec:
    """Every stage of a step from the first forward to the optimizer; `apart_s` is the step if every transfer had its
    link to itself."""
    bars = timeline_bars(timeline)
    kinds = [kind for kind in COLOURS if kind in set(bars["kind"])]
    colours = theme.colours()
    stages = timeline.work.shape.stages
    waiting = [stage.waiting_s / timeline.total_s for stage in stage_summaries(timeline)]
    x = quantity("start", "seconds", ticks=8, scale={"nice": False}, grid=False)
    colour = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": kinds, "range": [colours[COLOURS[kind]] for kind in kinds]},
        "legend": {"orient": "top", "title": None, "symbolType": "square", "labelColor": theme.ink, "columns": 2},
    }
    stacked = bool((bars["micro-batch"] == STACKED).any())
    held = ("share", ".0%") if stacked else ("micro-batch", "")
    body = {
        "data": data(_placed(bars)),
        "mark": {"type": "rect"},
        "encoding": {
            "x": x,
            "x2": {"field": "end"},
            "y": _rows(stages),
            "y2": {"field": "bottom"},
            "color": colour,
            "tooltip": tips(("kind", ""), held, ("start", ".4f"), ("end", ".4f")),
        },
    }
    mean = sum(waiting) / stages
    text = f"A step takes {significant(timeline.total_s)} s; its stages wait {percent(mean, 0)} of it"
    return finished(
        sized(body, width, 26 * stages + 130),
        theme,
        title=text,
        subtitle=f"{_sharing(timeline, apart_s)}{_pipeline(timeline.work.shape)}; "
        f"{_reading(timeline) if stacked else 'blank is waiting'}",
        description=f"{text}: from {percent(min(waiting), 0)} to {percent(max(waiting), 0)} by stage.",
    )


def _placed(bars: pd.DataFrame) -> pd.DataFrame:
    """The bars with their upper and lower ends on an axis that counts stages downwards."""
    inside = bars["stage"] + (1 - BAND) / 2
    return bars.drop(columns=["low", "high"]).assign(
        top=inside + BAND * (1 - bars["high"]),
        bottom=inside + BAND * (1 - bars["low"]),
        share=bars["high"] - bars["low"],
    )


def _rows(stages: int) -> Spec:
    """The axis of stages; an amount, not names, so that bars can take part of a row."""
    marks = {"values": [stage + 0.5 for stage in range(stages)], "labelExpr": "floor(datum.value)"}
    return {
        "field": "top",
        "type": "quantitative",
        "title": "stage",
        "scale": {"domain": [stages, 0], "nice": False, "zero": False},
        "axis": {"grid": False, "domain": False, "ticks": False, "labelOverlap": False, **marks},
    }


def _pipeline(shape: PipelineShape) -> str:
    chunks = f" of {counted(shape.chunks, 'chunk')}" if shape.chunks > 1 else ""
    return (
        f"{counted(shape.stages, 'stage')}{chunks}, {counted(shape.micro_batches, 'micro-batch')}, {shape.schedule}"
    )


def _sharing(timeline: Timeline, apart_s: float | None) -> str:
    """Why a step takes longer here than in the closed form, where it does."""
    if apart_s is None or significant(apart_s) == significant(timeline.total_s):
        return ""
    return f"{significant(apart_s)} s if no two transfers shared a link, as the closed form counts; "


def _reading(timeline: Timeline) -> str:
    """How columns are read."""
    width_ms = 1000 * max(timeline.end_s) / COLUMNS
    return f"columns of {significant(width_ms, 2)} ms, heights are shares of their time, blank is waiting"
