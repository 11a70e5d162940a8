"""One optimizer step for every row of a runs file."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from planner.runs import TrainingRun, UnreadableRun
from profiler.units import GIB
from sim.case import Array, StepCase, build_case, concatenate
from sim.memory import memory_use
from sim.power import step_power_w
from sim.step import step_times

COLUMNS = (
    "id",
    "pred_step_time_s",
    "pred_tokens_per_s_per_gpu",
    "pred_mfu_pct",
    "pred_peak_mem_gib",
    "pred_gpu_power_w",
    "pred_node_power_w",
    "fits",
    "note",
)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the step model says of one run. MFU: non-causal FLOPs against the 16-bit dense peak."""

    id: str
    step_time_s: float | None = None
    tokens_per_s_per_gpu: float | None = None
    mfu_pct: float | None = None
    peak_mem_gib: float | None = None
    gpu_power_w: float | None = None
    node_power_w: float | None = None
    fits: bool | None = None
    note: str = ""

    def row(self) -> dict[str, object]:
        """The prediction under its published column names; blanks where nothing was predicted."""
        values = (
            self.id,
            self.step_time_s,
            self.tokens_per_s_per_gpu,
            self.mfu_pct,
            self.peak_mem_gib,
            self.gpu_power_w,
            self.node_power_w,
            None if self.fits is None else int(self.fits),
            self.note,
        )
        return dict(zip(COLUMNS, values, strict=True))


def run_cases(runs: Sequence[TrainingRun], calibration: Mapping[str, float] | None = None) -> StepCase:
    """All runs in one case, in order."""
    return concatenate(
        [
            build_case(
                architecture=run.architecture,
                gpu=run.gpu,
                node=run.node,
                gpus_per_node=run.gpus_per_node,
                fabric=run.fabric,
                stack=run.stack,
                layouts=[run.layout],
                seq_len=run.seq_len,
                global_batch=run.global_batch,
                precision=run.precision,
                zero_bubble=run.zero_bubble,
                calibration=calibration,
            )
            for run in runs
        ]
    )


def estimate_runs(rows: Sequence[TrainingRun | UnreadableRun]) -> list[Prediction]:
    """Predict every row, in order; a row that could not be read keeps its note."""
    predictions: list[Prediction] = []
    for readable, group in groupby(rows, key=lambda row: isinstance(row, TrainingRun)):
        if readable:
            predictions += _predict([row for row in group if isinstance(row, TrainingRun)])
        else:
            predictions += [Prediction(id=row.id, note=row.note) for row in group if isinstance(row, UnreadableRun)]
    return predictions


def _predict(runs: list[TrainingRun]) -> list[Prediction]:
    case = run_cases(runs)
    times, memory = step_times(case), memory_use(case)
    power_w: Array = np.zeros(len(runs))
    for gpu in {run.gpu for run in runs}:
        power_w = np.where([run.gpu == gpu for run in runs], step_power_w(gpu, times), power_w)
    return [
        _prediction(run, float(times.total[i]), float(memory.total[i]), float(power_w[i]))
        for i, run in enumerate(runs)
    ]


def _prediction(run: TrainingRun, step_time_s: float, memory_bytes: float, gpu_power_w: float) -> Prediction:
    gpus = run.layout.gpus
    rate = run.global_batch * run.seq_len / step_time_s / gpus
    flops = run.architecture.flops_per_token(run.seq_len, "noncausal")
    fits = memory_bytes <= run.gpu.memory_bytes
    node = run.node
    notes = run.notes if fits else (*run.notes, f"peak memory over the {run.gpu.memory_gib:.0f} GiB there are")
    return Prediction(
        id=run.id,
        step_time_s=step_time_s,
        tokens_per_s_per_gpu=rate,
        mfu_pct=100 * flops * rate / run.gpu.peak_bf16_flops,
        peak_mem_gib=memory_bytes / GIB,
        gpu_power_w=gpu_power_w,
        node_power_w=run.gpus_per_node * gpu_power_w + node.host_load_power_w,
        fits=fits,
        note="; ".join(notes),
    )


def predictions_csv(predictions: Sequence[Prediction]) -> str:
    """The predictions as CSV text; a cell that a spreadsheet would run as a formula is quoted with an apostrophe."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for prediction in predictions:
        row = prediction.row()
        row["id"], row["note"] = defused(prediction.id), defused(prediction.note)
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    return out.getvalue()


def defused(text: str) -> str:
    """Text that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
