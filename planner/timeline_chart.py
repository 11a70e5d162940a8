"""The timeline of one step as a figure: a row a stage, coloured by what it does."""

from itertools import groupby

import numpy as np
import pandas as pd

from planner.quantities import percent, significant
from planner.report.spec import Spec, data, finished, quantity, sized, tips
from planner.report.theme import LIGHT, Theme
from sim.schedule import Timeline
from sim.trace import HOLDING, stage_summaries

OVERHEAD = "fixed time, slowest GPU"
COLOURS = {
    "forward": "soft",
    "backward": "compute",
    "weight gradient": "own",
    "communication": "communication",
    "optimizer": "memory",
    OVERHEAD: "waiting",
}
"""The theme's colour of each kind of work; white is waiting."""

MOST_BARS = 6_000
"""From here on the figure shows, column by column, what each stage does most of."""
COLUMNS = 800


def timeline_bars(timeline: Timeline) -> pd.DataFrame:
    """The bars of the figure: stage, kind, micro-batch, start and end in seconds."""
    rows = [
        (event.stage, _kind(event.stream, event.name), event.micro_batch, event.start_s, event.end_s)
        for event in timeline.events
        if event.stream in HOLDING
    ]
    if len(rows) > MOST_BARS:
        rows = _columns(rows, timeline)
    return pd.DataFrame(rows, columns=["stage", "kind", "micro-batch", "start", "end"])


def _kind(stream: str, name: str) -> str:
    if stream == "exposed":
        return "communication"
    return "weight gradient" if name == "head weight gradient" else name if name in COLOURS else OVERHEAD


Bar = tuple[int, str, int, float, float]


def _columns(rows: list[Bar], timeline: Timeline) -> list[Bar]:
    """What each stage does most of in each column; neighbours of the same kind in one bar."""
    width_s = max(timeline.end_s) / COLUMNS
    kinds = list(COLOURS)
    spent_s = np.zeros((timeline.work.shape.stages, len(kinds) + 1, COLUMNS))
    for stage, kind, _, start_s, end_s in rows:
        first, last = int(start_s / width_s), min(int(end_s / width_s), COLUMNS - 1)
        edges = np.clip(np.arange(first, last + 2) * width_s, start_s, end_s)
        spent_s[stage, kinds.index(kind), first : last + 1] += np.diff(edges)
    spent_s[:, -1] = width_s - spent_s.sum(axis=1)
    found: list[Bar] = []
    for stage, most in enumerate(spent_s.argmax(axis=1)):
        begin = 0
        for kind, run in groupby(most.tolist()):
            end = begin + len(list(run))
            if kind < len(kinds):
                found.append((stage, kinds[kind], -1, begin * width_s, end * width_s))
            begin = end
    return found


def timeline_chart(timeline: Timeline, theme: Theme = LIGHT, width: int | str = 970) -> Spec:
    """Every stage of a step from the first forward to the optimizer."""
    bars = timeline_bars(timeline)
    kinds = [kind for kind in COLOURS if kind in set(bars["kind"])]
    colours = theme.colours()
    stages = timeline.work.shape.stages
    waiting = [stage.waiting_s / timeline.total_s for stage in stage_summaries(timeline)]
    x = quantity("start", "seconds", ticks=8, scale={"nice": False}, grid=False)
    row = {
        "field": "stage",
        "type": "ordinal",
        "title": "stage",
        "scale": {"paddingInner": 0.12},
        "axis": {"grid": False, "domain": False, "ticks": False},
    }
    colour = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": kinds, "range": [colours[COLOURS[kind]] for kind in kinds]},
        "legend": {"orient": "top", "title": None, "symbolType": "square", "labelColor": theme.ink, "columns": 2},
    }
    body = {
        "data": data(bars),
        "mark": {"type": "bar"},
        "encoding": {
            "x": x,
            "x2": {"field": "end"},
            "y": row,
            "color": colour,
            "tooltip": tips(("kind", ""), ("micro-batch", ""), ("start", ".4f"), ("end", ".4f")),
        },
    }
    mean = sum(waiting) / stages
    text = f"A step takes {significant(timeline.total_s)} s; its stages wait {percent(mean, 0)} of it"
    shape = timeline.work.shape
    chunks = f" of {shape.chunks} chunks" if shape.chunks > 1 else ""
    return finished(
        sized(body, width, 26 * stages + 130),
        theme,
        title=text,
        subtitle=f"{stages} stages{chunks}, {shape.micro_batches} micro-batches, {shape.schedule}; blank is waiting",
        description=f"{text}: from {percent(min(waiting), 0)} to {percent(max(waiting), 0)} by stage.",
    )
