"""Runs files: every row becomes a run or a note, and no text in a cell is ever an exception."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from planner.cli import app
from planner.runs.estimate import estimate_runs
from planner.runs.rows import PUBLISHED_RUNS, REQUIRED, column_sentences, published_runs, read_runs
from planner.runs.training_run import TrainingRun, UnreadableRun
from profiler.architecture import load_architecture
from profiler.files import InputError
from tests.planner.rows import ROW, read, run


def test_a_row_is_what_it_says(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found.architecture.parameters == 8_030_261_248
    assert (found.layout.tp, found.layout.dp, found.layout.micro_batch) == (2, 32, 1)
    assert (found.gpu.name, found.gpus_per_node, found.fabric.bandwidth_bytes_per_s) == ("h100-sxm", 8, 50e9)
    assert (found.stack.name, found.precision, found.notes) == ("megatron-core", "bf16", ())


def test_every_published_row_is_a_run_or_says_what_is_missing() -> None:
    rows = list(read_runs(PUBLISHED_RUNS))
    with PUBLISHED_RUNS.open(newline="") as file:
        assert [row.id for row in rows] == [row["id"] for row in csv.DictReader(file)]
    unread = [row for row in rows if isinstance(row, UnreadableRun)]
    assert all(row.note.startswith(("not predicted: column '", "not predicted: model '")) for row in unread)
    assert len(unread) < 0.1 * len(rows)
    # every run that states what a prediction is scored by can be predicted
    assert len(published_runs("scored")) >= 390
    assert all(row.observed_step_time_s for row in published_runs("scored"))


def test_what_is_left_out_is_assumed_and_noted(tmp_path: Path) -> None:
    left_out = ("vocab", "interconnect", "recompute", "precision", "sharding", "micro_batch")
    notes = "; ".join(run(tmp_path, **dict.fromkeys(left_out, ""), framework="Mine", pp="2").notes)
    for what in (*left_out, "framework", "vp"):
        assert what in notes


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ({"step_time_s": "8"}, 8.0),
        ({"tokens_per_s_per_gpu": "4096"}, 128 * 8192 / 64 / 4096),
        ({"step_time_s": "1,234.5"}, 1234.5),
        ({"step_time_s": "0"}, None),
        ({}, None),
    ],
)
def test_what_was_observed(tmp_path: Path, stated: dict[str, str], seconds: float | None) -> None:
    assert run(tmp_path, **stated).observed_step_time_s == seconds


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"gpu": "MI300X"}, "gpu 'MI300X' is not in the catalogue"),
        ({"layers": ""}, "column 'layers' is empty"),
        ({"layers": "many"}, "column 'layers' is 'many'; a number is needed"),
        ({"layers": "0"}, "a whole number of at least 1"),
        ({"layers": "-1"}, "a whole number of at least 1"),
        ({"layers": "1.5"}, "a whole number of at least 1"),
        ({"hidden": "nan"}, "finite number"),
        ({"global_batch": "1e308"}, "finite number"),
        ({"hidden": "inf"}, "finite number"),
        ({"kv_heads": "5"}, "kv_heads 5 must divide heads 32"),
        ({"tp": "8", "pp": "3"}, "does not divide 64 gpus"),
        ({"tp": "3"}, "must divide the 32 heads of"),
        ({"precision": "fp4"}, "precision 'fp4' is not known; allowed: bf16, fp16, fp8"),
        ({"precision": "fp32"}, "precision 'fp32' is not known; allowed: bf16, fp16, fp8"),
        ({"precision": "fp8", "gpu": "A100-SXM4-80GB"}, "no fp8 matrix units"),
        ({"recompute": "most"}, "recompute 'most' is not known"),
        ({"sharding": "zero9"}, "sharding 'zero9' is not known"),
        ({"gated_mlp": "maybe"}, "column 'gated_mlp' is 'maybe'; 0 or 1"),
        ({"global_batch": "1"}, "less than one micro-batch"),
        ({"step_time_s": "-3"}, "column 'step_time_s' is -3; a number above 0"),
        ({"step_time_s": "2,15"}, "column 'step_time_s' is '2,15'; a number is needed"),
    ],
)
def test_a_row_that_cannot_be_read_is_a_note(tmp_path: Path, cells: dict[str, str], says: str) -> None:
    before, bad, after = read(tmp_path, {"id": "before"}, {"id": "bad", **cells}, {"id": "after"})
    assert isinstance(before, TrainingRun)
    assert isinstance(after, TrainingRun)
    assert isinstance(bad, UnreadableRun), bad
    assert bad.id == "bad"
    assert bad.note.startswith("not predicted: ")
    assert says in bad.note


awkward = st.sampled_from(
    ["", "0", "-1", "0.5", "1e308", "-1e308", "1e400", "nan", "inf", "99999999999999999999", "1,000", "1_0", "3", "7",
     "64", "full", "fp8", "fp32", "hsdp", "yes", "0x0Gb/s", "0x400 gb", "0 Gb/s node-node", "b200", "zb",
     "interleaved", "v1", "=1+1", "é", "NULL", "\u0660", "1e-320"]
) | st.text(max_size=10)  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(cells=st.dictionaries(st.sampled_from(list(ROW)), awkward, max_size=4))
def test_whatever_the_cells_hold_each_row_is_a_prediction_or_a_note(
    cells: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cells = {k: v.replace("\r", " ").replace("\n", " ") for k, v in cells.items() if v < "\ud800"}
    rows = read(tmp_path_factory.getbasetemp(), cells, {"id": "fine"})
    first, last = estimate_runs(rows)
    assert last.step_time_s is not None
    assert first.note if first.step_time_s is None else 0 < first.step_time_s < float("inf")
    if first.peak_mem_gib is not None and first.gpu_power_w is not None:
        assert 0 < first.peak_mem_gib < float("inf")
        assert 0 < first.gpu_power_w < 2000


def test_rows_too_short_or_too_long_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(",".join(REQUIRED) + "\nshort,32\nlong,32,4096,32,h100-sxm,8,8,2048,extra,more\n\n")
    short, long = read_runs(path)
    assert isinstance(short, UnreadableRun)
    assert isinstance(long, TrainingRun)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "column 'id' is missing"),
        ("id,layers\n", "column 'hidden' is missing"),
        ("id,model,gpu\n", r"column 'gpus' is missing.*; a runs file needs id, gpu, gpus, seq_len\."),
        (",".join(REQUIRED) + '\n"x', "not readable as CSV"),
        (";".join(REQUIRED), "parted by semicolons"),
        ("\t".join(REQUIRED), "parted by tabs"),
        (",".join(REQUIRED).replace("seq_len", "seqlen"), "column 'seq_len' is missing .'seqlen' is not it.; "),
    ],
)
def test_a_file_that_is_no_runs_file_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        list(read_runs(path))


def test_headers_are_read_whatever_their_case_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(" ID,Layers, hidden,HEADS,gpu,gpus,seq_len\nmine,32,4096,32,h100-sxm,8,2048\n")
    [row] = read_runs(path)
    assert isinstance(row, TrainingRun)
    assert row.id == "mine"


@pytest.mark.parametrize("column", ["Name", "run", "Run ID", "run_name"])
def test_a_run_may_be_called_by_its_name(tmp_path: Path, column: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"{column},model,gpu,gpus,seq_len\nmine,llama3.1-8b,h100-sxm,8,2048\n")
    [row] = read_runs(path)
    assert row.id == "mine"


@pytest.mark.parametrize("name", ["llama3.1-405b", "Llama 3.1 405B", "meta-llama/Llama-3.1-405B-Instruct"])
def test_a_model_of_the_catalogue_needs_no_more_than_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"id,model,gpu,gpus,seq_len,tp\nmine,{name},h100-sxm,64,8192,8\nother,mine,h100-sxm,64,8192,8\n")
    known, unknown = read_runs(path)
    assert isinstance(known, TrainingRun)
    assert known.architecture == load_architecture("llama3.1-405b")
    assert isinstance(unknown, UnreadableRun)
    assert "model 'mine' is not in the catalogue, and layers, hidden and heads are empty" in unknown.note


def test_a_shape_that_is_stated_goes_before_the_catalogue(tmp_path: Path) -> None:
    assert run(tmp_path, model="llama3.1-8b", layers="16").architecture.layers == 16


def test_every_column_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(",".join(REQUIRED) + ",micro_bath,step_time,my_own_column,Another One\n")
    said = column_sentences(path)
    assert "column 'micro_bath' is not read; did you mean 'micro_batch'?" in said
    assert "column 'step_time' is not read; did you mean 'step_time_s'?" in said
    assert said[-1] == "columns that are not read: 'my_own_column', 'another one'"
    assert column_sentences(PUBLISHED_RUNS) == []


def test_columns_by_the_names_that_people_use_are_read_as_their_own(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    head = "id,layers,hidden_size,ffn,heads,kv_heads,vocab,gpu,gpus,{},micro_batch,seq_len,{},precision,recompute\n"
    row = "mine,80,8192,28672,64,8,128256,h100-sxm,512,{},1,8192,512,bf16,none\n"
    path.write_text(head.format("Tensor Parallel,pipeline_parallel,context-parallel", "gbs") + row.format("8,4,1"))
    [theirs] = read_runs(path)
    assert "read by another name: 'hidden_size' as hidden, 'Tensor Parallel' as tp" in column_sentences(path)[0]
    path.write_text(head.format("tp,pp,cp", "global_batch").replace("_size", "") + row.format("8,4,1"))
    assert [theirs] == list(read_runs(path))
    # a column of the own name goes before, and one that may name the schedule is left aside
    path.write_text(head.format("tp,pipeline,pp", "global_batch") + row.format("8,16,4"))
    [both] = read_runs(path)
    assert isinstance(both, TrainingRun)
    assert both.layout.pp == 4
    assert "columns that are not read: 'pipeline'" in column_sentences(path)


def test_a_degree_that_is_left_out_beside_others_is_noted(tmp_path: Path) -> None:
    assert "pp not stated: 1 (others are stated)" in run(tmp_path, pp="").notes
    assert not any("others are stated" in note for note in run(tmp_path, tp="", pp="", cp="").notes)


@pytest.mark.parametrize("written", ["8k", "8 K", "8192"])
def test_a_sequence_may_be_in_thousands_of_the_kind_that_computers_count(tmp_path: Path, written: str) -> None:
    assert run(tmp_path, seq_len=written).seq_len == 8192
    assert isinstance(read(tmp_path, {"gpus": "8k"})[0], UnreadableRun)


def test_rows_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    read(tmp_path, {}, {"id": "other"}, {})
    found = CliRunner().invoke(app, ["estimate", "--runs", str(tmp_path / "runs.csv"), "--out", "-"])
    assert "id 'mine' stands more than once" in found.stderr
    assert "'other' stands" not in found.stderr
