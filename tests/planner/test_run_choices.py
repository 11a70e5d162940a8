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


@pytest.mark.parametrize("cells", [{"micro_batch": "2"}, {"grad_accum": "16"}])
def test_what_is_stated_is_left(cells: dict[str, str]) -> None:
    run = chosen(global_batch="256", **cells)
    assert run.layout.micro_batch == 2
    assert run.other_micro_batches == ()


def test_a_batch_that_nobody_states_is_of_some_four_million_tokens() -> None:
    run = chosen()
    assert run.global_batch * run.seq_len == 2**22
    assert "global_batch not stated: 1024" in "; ".join(run.notes)


LLAMA_70B = {"model": "llama3-70b", "layers": "80", "hidden": "8192", "heads": "64", "gpus": "1024"}


def test_habits_that_could_not_have_fitted_give_way_where_nothing_is_stated() -> None:
    """Seventy billion parameters on one GPU, ten bytes of each."""
    run = parse_run({**ROW, **LLAMA_70B}, "row")
    assert (run.layout.sharding, run.layout.recompute, run.layout.dp) == ("fsdp", "full", 1024)
    assert memory_use(run.case()).total[0] < run.gpu.memory_bytes
    stated = parse_run({**ROW, **LLAMA_70B, "sharding": "zero1", "recompute": "none", "dp": "1024"}, "row")
    assert (stated.layout.sharding, stated.layout.recompute, stated.layout.dp) == ("zero1", "none", 1024)


def test_a_layout_is_looked_for_where_none_is_stated_and_no_habit_fits() -> None:
    """Replicas cannot be sharded where the row says that they are not."""
    run = parse_run({**ROW, **LLAMA_70B, "sharding": "zero1", "framework": "Megatron-Core"}, "row")
    assert run.layout.tp * run.layout.pp > 1
    assert run.layout.sharding == "zero1"
    assert run.layout.gpus == 1024
    assert memory_use(run.case()).total[0] < run.gpu.memory_bytes
    assert "the fastest that fits" in "; ".join(run.notes)
