"""What is chosen for a row that leaves its micro-batch open."""

import csv
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import pytest

from planner.runs.choices import worth
from planner.runs.estimate import estimate_runs, run_cases
from planner.runs.rows import PUBLISHED_RUNS, parse_run
from planner.runs.training_run import TrainingRun
from sim.memory import memory_use
from sim.step import step_times
from tests.planner.rows import run

ROW = {"layers": "32", "hidden": "4096", "heads": "32", "gpu": "H100 SXM", "gpus": "8", "seq_len": "4096"}


def chosen(**cells: str) -> TrainingRun:
    return parse_run({**ROW, "framework": "torchtitan", "sharding": "fsdp", "recompute": "full", **cells}, "row")


def hidden(misses: dict[str, str], shardings: str = "") -> list[float]:
    """Absolute errors of the published runs that state their micro-batch, in percent, under other cells."""
    with PUBLISHED_RUNS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["use_for_scoring"] == "1" and row["micro_batch"]]
        rows = [row for row in rows if not shardings or row["sharding"] in shardings]
    runs = [parse_run({**row, **misses}, row["id"]) for row in rows]
    predicted = step_times(run_cases(runs)).total
    return [abs(100 * p / (run.observed_step_time_s or 0) - 100) for p, run in zip(predicted, runs, strict=True)]


def test_a_hidden_micro_batch_is_found_well_enough() -> None:
    found, one = (hidden({"micro_batch": size, "grad_accum": ""}) for size in ("", "1"))
    assert median(found) < median(one) / 1.5
    assert quantiles(found, n=10)[-1] < quantiles(one, n=10)[-1] / 2


def test_whoever_shares_out_weights_fills_the_memory() -> None:
    found = hidden({"micro_batch": "", "grad_accum": ""}, "zero2 fsdp hsdp")
    assert len(found) > 100
    assert median(found) < 2.5
    assert quantiles(found, n=10)[-1] < 8


@pytest.mark.parametrize("sharding", ["fsdp", "zero1"])
def test_no_other_that_fits_is_much_faster_and_no_smaller_one_nearly_as_fast(sharding: str) -> None:
    run = chosen(global_batch="256", gpus="16", tp="2", sharding=sharding)
    sizes = [*run.other_micro_batches, run.layout.micro_batch]
    assert sizes
    [taken] = [i for i, size in enumerate(sizes) if size == run.layout.micro_batch]
    case = run_cases([replace(run, layout=replace(run.layout, micro_batch=size)) for size in sizes])
    seconds = step_times(case).total
    assert np.all(memory_use(case).total <= run.gpu.memory_bytes)
    assert seconds[taken] <= worth(run) * seconds.min()
    smaller = [i for i, size in enumerate(sizes) if size < run.layout.micro_batch]
    assert np.all(seconds[smaller] > worth(run) * seconds.min())


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


def test_habits_that_could_not_have_fitted_give_way_where_they_are_open() -> None:
    """Seventy billion parameters on one GPU, ten bytes of each: only shared out, and run again, do they fit."""
    run = parse_run({**ROW, **LLAMA_70B, "dp": "1024"}, "row")
    assert (run.layout.sharding, run.layout.recompute, run.layout.dp) == ("fsdp", "full", 1024)
    assert memory_use(run.case()).total[0] < run.gpu.memory_bytes
    stated = parse_run({**ROW, **LLAMA_70B, "sharding": "zero1", "recompute": "none", "dp": "1024"}, "row")
    assert (stated.layout.sharding, stated.layout.recompute, stated.layout.dp) == ("zero1", "none", 1024)


@pytest.mark.parametrize("sharding", ["", "zero1"])
def test_the_fastest_that_fits_where_nothing_is_stated(sharding: str) -> None:
    run = parse_run({**ROW, **LLAMA_70B, "sharding": sharding, "framework": "Megatron-Core"}, "row")
    assert run.layout.gpus == 1024
    assert run.layout.sharding == (sharding or run.layout.sharding)
    assert memory_use(run.case()).total[0] < run.gpu.memory_bytes
    [note] = [note for note in run.notes if note.startswith("layout not stated")]
    assert note.endswith("the fastest that fits")
    assert not [note for note in run.notes if note.startswith(("micro_batch", "recompute", "sharding"))]


def test_a_batch_smaller_than_the_gpus_is_no_replicas() -> None:
    """Llama 3.1 405B on 16,384 GPUs with 2,048 sequences (arXiv:2407.21783 table 4)."""
    herd = {"layers": "126", "hidden": "16384", "heads": "128", "model": "llama3-405b"}
    run = parse_run({**ROW, **herd, "gpus": "16384", "global_batch": "2048", "seq_len": "8192"}, "row")
    assert run.layout.dp <= 2048
    assert memory_use(run.case()).total[0] < run.gpu.memory_bytes


@pytest.mark.parametrize("cell", [{"micro_batch": "16"}, {"grad_accum": "1"}, {"recompute": "none"}])
def test_a_cell_that_says_something_of_the_layout_is_kept(cell: dict[str, str]) -> None:
    """No other layout is looked for, even where the memory does not suffice."""
    run = parse_run({**ROW, "gpus": "8", "hidden": "8192", "heads": "64", "global_batch": "512", **cell}, "row")
    assert (run.layout.tp, run.layout.pp, run.layout.dp) == (1, 1, 8)
    if "micro_batch" in cell:
        assert run.layout.micro_batch == 16
    if "recompute" in cell:
        assert run.layout.recompute == "none"


def test_a_batch_without_end_is_quickly_cut() -> None:
    assert chosen(global_batch="1000000000000").layout.micro_batch <= 256


def test_hybrid_sharding_without_a_degree_shares_out_over_a_node(tmp_path: Path) -> None:
    """torch's HYBRID_SHARD; 8 of 512 ranks hold a 70B's 16 bytes a parameter, 138 GB, which no 80 GB part does."""
    cells = {
        "layers": "80", "hidden": "8192", "heads": "64", "kv_heads": "8", "ffn": "28672", "framework": "torchtitan",
        "gpus": "512", "tp": "1", "global_batch": "1024", "sharding": "hsdp", "recompute": "full",
    }  # fmt: skip
    silent, stated = (run(tmp_path, **cells, shard_degree=degree) for degree in ("", "8"))
    assert silent.layout.shard_degree == 8
    assert any("shard_degree not stated: 8 (the ranks in a node)" in note for note in silent.notes)
    one, other = estimate_runs([silent, stated])
    assert (one.step_time_s, one.peak_mem_gib, one.fits) == (other.step_time_s, other.peak_mem_gib, False)
