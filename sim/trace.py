"""A step's timeline as a table, as figures by stage, and as a trace that Perfetto and Chrome open."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sim.schedule import Timeline

if TYPE_CHECKING:
    import pandas as pd

STREAMS = ("compute", "collective", "send", "shard", "host")
"""The rows of a stage, in the order in which a trace shows them."""

HOLDING = ("compute", "collective", "host")
"""Streams of which a stage does one thing at a time; the others run beside them on its link."""


@dataclass(frozen=True, kw_only=True)
class StageSummary:
    """Where the seconds of one stage go; computing, communicating, host and waiting make up the step."""

    stage: int
    compute_s: float
    collective_s: float
    """Communication that holds the stage up: inside passes, and what does not hide."""
    host_s: float
    waiting_s: float
    link_s: float
    """Seconds in which its link is in use, mostly beside all this."""


def stage_summaries(timeline: Timeline) -> tuple[StageSummary, ...]:
    """One row a stage, over the whole step."""
    found = []
    for stage in range(timeline.work.shape.stages):
        seconds = dict.fromkeys(STREAMS, 0.0)
        for event in timeline.events:
            if event.stage == stage:
                seconds[event.stream] += event.end_s - event.start_s
        busy_s = sum(seconds[name] for name in HOLDING)
        found.append(
            StageSummary(
                stage=stage,
                compute_s=seconds["compute"],
                collective_s=seconds["collective"],
                host_s=seconds["host"],
                waiting_s=max(timeline.total_s - busy_s, 0.0),
                link_s=seconds["send"] + seconds["shard"],
            )
        )
    return tuple(found)


def timeline_frame(timeline: Timeline) -> "pd.DataFrame":
    """One row an event: stage, stream, name, micro_batch, chunk (-1 where it is about none), start_s and end_s."""
    import pandas as pd

    from sim.schedule import TimelineEvent

    return pd.DataFrame(timeline.events, columns=list(TimelineEvent._fields))


def chrome_trace(timeline: Timeline, *, name: str = "step") -> str:
    """The timeline in the Trace Event Format (JSON, microseconds): a process a stage, a thread a stream.

    Opens in https://ui.perfetto.dev and chrome://tracing. The same timeline gives the same bytes.
    """
    stages = range(timeline.work.shape.stages)
    rows: list[dict[str, Any]] = []
    for stage in stages:
        rows.append(_label("process_name", stage, 0, f"stage {stage}"))
        rows.append({"ph": "M", "name": "process_sort_index", "pid": stage, "tid": 0, "args": {"sort_index": stage}})
        rows += [_label("thread_name", stage, tid, stream) for tid, stream in enumerate(STREAMS)]
    for event in timeline.events:
        args = {"micro_batch": event.micro_batch, "chunk": event.chunk}
        rows.append(
            {
                "ph": "X",
                "name": event.name,
                "cat": event.stream,
                "pid": event.stage,
                "tid": STREAMS.index(event.stream),
                "ts": round(event.start_s * 1e6, 3),
                "dur": round((event.end_s - event.start_s) * 1e6, 3),
                "args": {key: value for key, value in args.items() if value >= 0},
            }
        )
    shape = timeline.work.shape
    about = {
        "name": name,
        "schedule": shape.schedule,
        "stages": shape.stages,
        "chunks": shape.chunks,
        "micro_batches": shape.micro_batches,
    }
    return json.dumps({"traceEvents": rows, "displayTimeUnit": "ms", "otherData": about}, allow_nan=False) + "\n"


def _label(kind: str, pid: int, tid: int, text: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": text}}
