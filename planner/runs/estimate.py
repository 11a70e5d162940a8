"""One optimizer step for every row of a runs file."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby

import numpy as np

from planner.phase_notes import MEMORY_ERROR, of_what_there_is
from planner.runs.training_run import TrainingRun, UnreadableRun
from profiler.units import GIB, TERA
from sim.case import Array, StepCase, concatenate
from sim.floor import floor_s
from sim.kernels.shares import KernelShares, kernel_shares
from sim.memory import fit, memory_use
from sim.power import capped_parts_s, capped_power_w, step_power_w
from sim.stacks.memory_habits import LOGS
from sim.step import StepTimes, step_times

PARTS = tuple(f.name for f in fields(StepTimes) if f.name != "total")
"""Where a step's seconds go; they add up to the step."""

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
    "pred_step_time_low_s",
    "pred_step_time_high_s",
    "pred_floor_s",
    "stack",
    "pred_mfu_peak_tflops",
    *(f"pred_{part}_s" for part in PARTS),
    *(f"share_{f.name}" for f in fields(KernelShares)),
)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the step model says of one run. MFU: non-causal FLOPs against the 16-bit dense peak in any precision, as
    the published runs' `mfu_uniform_noncausal_pct`, so that runs compare."""

    id: str
    step_time_s: float | None = None
    tokens_per_s_per_gpu: float | None = None
    mfu_pct: float | None = None
    peak_mem_gib: float | None = None
    """As the framework's own log counts it (`sim.stacks.memory_habits.MemoryLog`)."""
    gpu_power_w: float | None = None
    node_power_w: float | None = None
    fits: bool | None = None
    """False only where the peak is too large even at the optimistic end of the model's error."""
    note: str = ""
    step_time_low_s: float | None = None
    """Over the virtual pipeline stages, and over the micro-batches, that are possible where the row does not state
    them."""
    step_time_high_s: float | None = None
    floor_s: float | None = None
    """No program on these GPUs can be faster (`sim.floor`)."""
    stack: str = ""
    """The software stack that the row's framework was taken for."""
    mfu_peak_tflops: float | None = None
    """The peak that `mfu_pct` is of."""
    parts_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds by activity; they add up to `step_time_s`."""
    kernel_shares: KernelShares | None = None
    """How much of the time stands on measured, interpolated, published and guessed kernels."""

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
            self.step_time_low_s,
            self.step_time_high_s,
            self.floor_s,
            self.stack or None,
            self.mfu_peak_tflops,
            *(self.parts_s.get(part) for part in PARTS),
            *(getattr(self.kernel_shares, f.name, None) for f in fields(KernelShares)),
        )
        return dict(zip(COLUMNS, values, strict=True))


def run_cases(runs: Sequence[TrainingRun], calibration: Mapping[str, float] | None = None) -> StepCase:
    """All runs in one case, in order."""
    return concatenate([run.case(calibration) for run in runs])


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
    times = step_times(case)
    memory = memory_use(case)
    columns = {
        "step_time_s": times.total,
        **{f"{log}_memory_bytes": memory.logged(log) for log in LOGS},
        "gpu_power_w": _power_w(runs, times),
        "floor_s": floor_s(case),
    }
    parts = {part: np.broadcast_to(getattr(times, part), times.total.shape) for part in PARTS}
    bands = _bands(runs)
    return [
        _prediction(
            run,
            {name: float(values[i]) for name, values in columns.items()},
            {part: float(values[i]) for part, values in parts.items()},
            bands.get(i, ()),
        )
        for i, run in enumerate(runs)
    ]


def _power_w(runs: list[TrainingRun], times: StepTimes) -> Array:
    power_w: Array = np.zeros(len(runs))
    for gpu in {run.gpu for run in runs}:
        power_w = np.where([run.gpu == gpu for run in runs], step_power_w(gpu, times), power_w)
    return power_w


def _bands(runs: list[TrainingRun]) -> dict[int, list[float]]:
    """Step seconds under each other layout that is possible, for the runs that do not state all of theirs."""
    others = [(i, replace(run, layout=layout)) for i, run in enumerate(runs) for layout in run.other_layouts]
    bands: dict[int, list[float]] = {}
    if others:
        totals = step_times(run_cases([run for _, run in others])).total
        for (i, _), total in zip(others, totals, strict=True):
            bands.setdefault(i, []).append(float(total))
    return bands


def _prediction(
    run: TrainingRun, found: Mapping[str, float], parts_s: Mapping[str, float], others_s: Sequence[float]
) -> Prediction:
    step_time_s, gpu_power_w = found["step_time_s"], found["gpu_power_w"]
    if run.power_cap_w is not None:
        parts_s = capped_parts_s(run.gpu, parts_s, run.power_cap_w)
        gpu_power_w = capped_power_w(run.gpu, parts_s, run.power_cap_w)
        slowed = sum(parts_s.values()) / step_time_s
        step_time_s, others_s = step_time_s * slowed, [other_s * slowed for other_s in others_s]
    rate = run.global_batch * run.seq_len / step_time_s / run.layout.gpus
    flops = run.architecture.flops_per_token(run.seq_len, "noncausal")
    device_bytes = found["device_memory_bytes"]
    fits = fit(device_bytes, run.gpu.memory_bytes)
    of_memory = f"{of_what_there_is(device_bytes, run.gpu.memory_bytes)}, CUDA and the allocator's own included"
    notes = {
        "fits": run.notes,
        "tight": (*run.notes, f"memory is tight: {of_memory}; {MEMORY_ERROR}"),
        "does not fit": (*run.notes, f"peak memory is too much: {of_memory}"),
    }[fits]
    return Prediction(
        id=run.id,
        step_time_s=step_time_s,
        tokens_per_s_per_gpu=rate,
        mfu_pct=100 * flops * rate / run.gpu.peak_bf16_flops,
        peak_mem_gib=found[f"{run.stack.memory.log}_memory_bytes"] / GIB,
        gpu_power_w=gpu_power_w,
        node_power_w=run.gpus_per_node * gpu_power_w + run.node.host_load_power_w,
        fits=fits != "does not fit",
        note="; ".join(notes),
        step_time_low_s=min([step_time_s, *others_s]),
        step_time_high_s=max([step_time_s, *others_s]),
        floor_s=found["floor_s"],
        stack=run.stack.name,
        mfu_peak_tflops=run.gpu.peak_bf16_flops / TERA,
        parts_s=parts_s,
        kernel_shares=kernel_shares(parts_s, timed_part=run.gpu.kernels != ""),
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
