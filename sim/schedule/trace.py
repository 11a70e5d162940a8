"""A step's timeline as figures by stage, and as a trace that Perfetto and Chrome open."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sim.schedule.events import Timeline

STREAMS = ("compute", "exposed", "host", "tensor", "context", "shard", "sync", "send")
"""The rows of a stage, in the order in which a trace shows them."""

HOLDING = ("compute", "exposed", "host")
"""Streams of which a stage does one thing at a time; the others run beside them on its links."""

FIXED = "fixed time, slowest GPU"
"""What people read for the stream `host`: the fixed time once a step, and the wait for the slowest GPU."""

THREADS = {"host": FIXED}
"""Names in a trace of streams that are not called by their own."""


@dataclass(frozen=True, kw_only=True)
class StageSummary:
    """Where the seconds of one stage go; computing, communicating, host and waiting make up the step."""

    stage: int
    compute_s: float
    collective_s: float
    """In which the computation stands for communication."""
    host_s: float
    """The fixed time once a step, and the wait for the slowest GPU."""
    waiting_s: float
    nvlink_s: float
    """In which its links are in use, mostly beside all this: what its transfers would take one at a time."""
    nic_s: float


def stage_summaries(timeline: Timeline) -> tuple[StageSummary, ...]:
    """One row a stage, over the whole step."""
    seconds: defaultdict[tuple[int, str], float] = defaultdict(float)
    for event in timeline.events:
        seconds[event.stage, event.link or event.stream] += event.alone_s
    found = []
    for stage in range(timeline.work.shape.stages):
        busy_s = sum(seconds[stage, name] for name in HOLDING)
        found.append(
            StageSummary(
                stage=stage,
                compute_s=seconds[stage, "compute"],
                collective_s=seconds[stage, "exposed"],
                host_s=seconds[stage, "host"],
                waiting_s=max(timeline.total_s - busy_s, 0.0),
                nvlink_s=seconds[stage, "nvlink"],
                nic_s=seconds[stage, "nic"],
            )
        )
    return tuple(found)


def chrome_trace(timeline: Timeline, *, name: str = "step") -> str:
    """The timeline in the Trace Event Format (JSON, microseconds): a process a stage, a thread a stream; of a
    transfer its link, and how much longer it took there because others used it too.

    Opens in https://ui.perfetto.dev and chrome://tracing. The same timeline gives the same bytes.
    """
    stages = range(timeline.work.shape.stages)
    rows: list[dict[str, Any]] = []
    for stage in stages:
        rows.append(_label("process_name", stage, 0, f"stage {stage}"))
        rows.append({"ph": "M", "name": "process_sort_index", "pid": stage, "tid": 0, "args": {"sort_index": stage}})
        rows += [_label("thread_name", stage, tid, THREADS.get(stream, stream)) for tid, stream in enumerate(STREAMS)]
    for event in timeline.events:
        args = {name: value for name in ("micro_batch", "chunk") if (value := getattr(event, name)) >= 0}
        if event.link:
            late_s = max(event.end_s - event.start_s - event.alone_s, 0.0)
            args = {**args, "link": event.link, "shared_us": round(late_s * 1e6, 3)}
        rows.append(
            {
                "ph": "X",
                "name": event.name,
                "cat": event.stream,
                "pid": event.stage,
                "tid": STREAMS.index(event.stream),
                "ts": round(event.start_s * 1e6, 3),
                "dur": round((event.end_s - event.start_s) * 1e6, 3),
                "args": args,
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
