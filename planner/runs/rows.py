"""Rows of a runs file: what somebody trained, on what, how; read into objects the step model takes.

A row says what its source says. What it leaves out is filled by a documented habit of the framework, and the
row's note names every such assumption. A row that cannot be read yields a sentence, never an exception.
"""

import csv
import difflib
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from planner.runs.architecture import read_architecture
from planner.runs.cells import Cells
from planner.runs.choices import settled
from planner.runs.columns import own_names, said_of_columns
from planner.runs.doubts import doubt
from planner.runs.layout import other_virtual_stages, read_global_batch, read_layout
from planner.runs.machine import read_gpu, read_node, read_power_cap_w
from planner.runs.network import read_fabric
from planner.runs.stack import read_stack
from planner.runs.training_run import TrainingRun, UnreadableRun
from planner.runs.words import PRECISIONS, meant, read_word
from profiler.files import InputError, read_text
from sim.estimate import check_precision
from sim.hardware import Gpu, TrainingPrecision

PUBLISHED_RUNS = Path(__file__).parents[1] / "published_runs.csv"
PART_RUNS = Path(__file__).parents[1] / "part_runs.csv"
"""Published runs on parts that none of the others is on: the rates of these parts are fitted to them and nothing else
is, nor are they among those that a prediction is scored on."""

LATER_RUNS = Path(__file__).parents[1] / "later_runs.csv"
"""Published runs on A100 and Hopper that were gathered when the constants were fitted: nothing is fitted to them."""

REQUIRED = ("id", "layers", "hidden", "heads", "gpu", "gpus", "seq_len")
SHAPE = ("layers", "hidden", "heads")
"""Columns that a file of models from the catalogue can do without."""


def read_runs(path: Path) -> Iterator[TrainingRun | UnreadableRun]:
    """Yield each row of a runs file in order.

    Raises:
        InputError: the file is not a CSV with the needed columns.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    try:
        reader.fieldnames = own_names(reader.fieldnames or [])
        _check_columns(path, reader.fieldnames)
        for number, row in enumerate(reader, start=2):
            cells = {k: (v or "").strip() for k, v in row.items() if isinstance(k, str) and not isinstance(v, list)}
            yield _read_row(cells, number)
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num} is not readable as CSV ({error}).") from None


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    """Refuse a header that a runs file cannot have.

    Raises:
        InputError: a needed column is missing.
    """
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and mark in columns[0]:
            raise InputError(f"{path}: columns are parted by {name}; commas are needed, and points in decimals.")
    optional = SHAPE if "model" in columns else ()
    needed = [name for name in REQUIRED if name not in optional]
    missing = [name for name in needed if name not in columns]
    if missing:
        close = difflib.get_close_matches(missing[0], [name for name in columns if name not in REQUIRED], n=1)
        meant = f" ('{close[0]}' is not it)" if close else ""
        raise InputError(f"{path}: column '{missing[0]}' is missing{meant}; a runs file needs {', '.join(needed)}.")


def column_sentences(path: Path) -> list[str]:
    """What to say of a runs file's header: columns read by another name, and those that are not read."""
    known = {*_header(PUBLISHED_RUNS), "head_dim"}
    return said_of_columns(_header(path), sorted(known))


def _header(path: Path) -> list[str]:
    return next(csv.reader(io.StringIO(read_text(path))), [])


def _read_row(cells: Mapping[str, str], number: int) -> TrainingRun | UnreadableRun:
    name = cells.get("id") or f"row {number}"
    try:
        return parse_run(cells, name)
    except InputError as error:
        return UnreadableRun(id=name, note=f"not predicted: {error}")


def parse_run(cells: Mapping[str, str], name: str) -> TrainingRun:
    """Turn one row's cells into a run.

    Raises:
        InputError: a needed cell is empty, unreadable or impossible.
    """
    c = Cells(cells)
    architecture = read_architecture(c)
    gpu = read_gpu(c)
    gpus = c.count("gpus")
    node = read_node(c, gpu)
    precision = _precision(c, gpu)
    stack = read_stack(c, gpu, precision, architecture)
    layout = read_layout(c, architecture, stack, gpus, node.gpus_per_node)
    batch = read_global_batch(c, layout)
    run = TrainingRun(
        id=name,
        architecture=architecture,
        gpu=gpu,
        gpus_per_node=min(node.gpus_per_node, gpus),
        node=node,
        fabric=read_fabric(c, gpu, node.gpus_per_node),
        stack=stack,
        layout=layout,
        seq_len=c.count("seq_len"),
        global_batch=batch,
        precision=precision,
        notes=(),
        other_virtual_stages=other_virtual_stages(c, architecture, layout),
        source_id=c.text("source_id"),
        regime=c.text("regime"),
        scored=c.text("use_for_scoring") == "1",
        power_cap_w=read_power_cap_w(c, gpu),
        observed_step_time_s=_observed_step_time_s(c, batch),
        observed_peak_mem_gib=c.observed("peak_mem_gib"),
        observed_node_power_w_per_gpu=c.observed("power_w_per_gpu"),
    )
    run = settled(run, c)
    doubt(run, c)
    return replace(run, notes=tuple(c.notes))


def _observed_step_time_s(c: Cells, batch: int) -> float | None:
    """The step time stated or derived; else from the throughput stated; else from the TFLOP/s per GPU, whose
    convention is taken as non-causal (Llama 3 states 400 and 430 without naming one)."""
    stated = c.observed("step_time_s_derived") or c.observed("step_time_s")
    rate = c.observed("tokens_per_s_per_gpu_derived") or c.observed("tokens_per_s_per_gpu")
    if stated:
        return stated
    tokens_per_gpu = batch * c.count("seq_len") / c.count("gpus")
    if rate:
        return tokens_per_gpu / rate
    tflops, gflop_per_token = c.observed("tflops_per_gpu"), c.observed("flop_per_token_noncausal")
    return tokens_per_gpu * gflop_per_token / (tflops * 1e3) if tflops and gflop_per_token else None


def _precision(c: Cells, gpu: Gpu) -> TrainingPrecision:
    text = c.text("precision").lower()
    if not text:
        fp8 = gpu.peak_fp8_flops is not None and meant(c.text("flags").lower(), PRECISIONS[:1])
        c.notes.append("precision not stated: fp8 (as the flags say)" if fp8 else "precision not stated: bf16")
        return "fp8" if fp8 else "bf16"
    precision = read_word("precision", text, PRECISIONS)
    check_precision(precision, gpu)
    return precision


def later_runs() -> list[TrainingRun]:
    """The runs of `LATER_RUNS`."""
    return [run for run in read_runs(LATER_RUNS) if isinstance(run, TrainingRun)]


def part_runs() -> dict[str, list[TrainingRun]]:
    """The runs of `PART_RUNS` by the calibrated rate of their GPU (`Gpu.fitted`)."""
    found: dict[str, list[TrainingRun]] = defaultdict(list)
    for run in read_runs(PART_RUNS):
        if isinstance(run, TrainingRun):
            found[run.gpu.fitted].append(run)
    return dict(found)


RunKind = Literal["all", "scored"]


def published_runs(kind: RunKind = "scored") -> list[TrainingRun]:
    """The open published runs that ship with herdplan; `scored` keeps those fit for a step-time error."""
    runs = [run for run in read_runs(PUBLISHED_RUNS) if isinstance(run, TrainingRun)]
    return [run for run in runs if run.scored] if kind == "scored" else runs
