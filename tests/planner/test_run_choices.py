"""What is chosen for a row that leaves its micro-batch open."""

import csv
from dataclasses import replace
from statistics import median, quantiles

import numpy as np
import pytest

from planner.estimate import estimate_runs, run_cases
from planner.run_choices import WORTH_MORE_MEMORY
from planner.runs import PUBLISHED_RUNS, parse_run
from planner.training_run import TrainingRun
from sim.memory import memory_use
from sim.step import step_times

ROW = {"layers": "32", "hidden": "4096", "heads": "32", "gpu": "H100 SXM", "gpus": "8", "seq_len": "4096"}


def chosen(**cells: str) -> TrainingRun:
    return parse_run({**ROW, "framework": "torchtitan", "sharding": "fsdp", "recompute": "full", **cells}, "row")


def hidden(misses: dict[str, str]) -> list[float]:
    """Absolute errors of the published runs that state their micro-batch, in percent, under other cells."""
    with PUBLISHED_RUNS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["use_for_scoring"] == "1" and row["micro_batch"]]
    runs = [parse_run({**row, **misses}, row["id"]) for row in rows]
    predicted = step_times(run_cases(runs)).total
    return [abs(100 * p / (run.observed_step_time_s or 0) - 100) for p, run in zip(predicted, runs, strict=True)]


def test_a_hidden_micro_batch_is_found_well_enough() -> None:
    found, one = (hidden({"micro_batch": size, "grad_accum": ""}) for size in ("", "1"))
    assert median(found) < median(one) / 1.5
    assert quantiles(found, n=10)[-1] < quantiles(one, n=10)[-1] / 2


def test_no_other_that_fits_is_much_faster_and_no_smaller_one_nearly_as_fast() -> None:
    run = chosen(global_batch="256")
    sizes = [*run.other_micro_batches, run.layout.micro_batch]
    assert sizes
    [taken] = [i for i, size in enumerate(sizes) if size == run.layout.micro_batch]
    case = run_cases([replace(run, layout=replace(run.layout, micro_batch=size)) for size in sizes])
    seconds = step_times(case).total
    assert np.all(memory_use(case).total <= run.gpu.memory_bytes)
    assert seconds[taken] <= WORTH_MORE_MEMORY * seconds.min()
    smaller = [i for i, size in enumerate(sizes) if size < run.layout.micro_batch]
    assert np.all(seconds[smaller] > WORTH_MORE_MEMORY * seconds.min())


def test_the_others_are_the_band() -> None:
    run = chosen(global_batch="256")
    [found] = estimate_runs([run])
    assert (found.step_time_low_s or 0) < (found.step_time_s or 0) < (found.step_time_high_s or 0)
    assert "micro_batch not stated" in found.note


@pytest.mark.parametrize(
    "cells", [{"micro_batch": "2", "global_batch": "256"}, {"grad_accum": "16", "global_batch": "256"}, {}]
)
def test_what_is_stated_or_says_nothing_is_left(cells: dict[str, str]) -> None:
    run = chosen(**cells)
    assert run.layout.micro_batch == (2 if cells else 1)
    assert run.other_micro_batches == ()
