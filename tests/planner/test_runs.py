"""Runs files: every row becomes a run or a note, and no text in a cell is ever an exception."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.estimate import estimate_runs
from planner.runs import PUBLISHED_RUNS, REQUIRED, published_runs, read_runs
from planner.training_run import TrainingRun, UnreadableRun
from profiler.files import InputError
from sim.calibration import load_calibration
from sim.memory import memory_use
from sim.step import step_times

ROW = {
    "id": "mine", "model": "a-model-of-mine", "layers": "32", "hidden": "4096", "ffn": "14336", "heads": "32",
    "kv_heads": "8", "vocab": "128256", "gated_mlp": "1", "tied_embeddings": "0", "gpu": "H100-SXM5-80GB",
    "gpu_mem_gb": "80", "gpu_power_limit_w": "700", "gpus": "64", "gpus_per_node": "8",
    "interconnect": "8x400Gb/s", "tp": "2", "pp": "1", "vp": "", "pp_schedule": "", "cp": "1", "sharding": "zero1",
    "shard_degree": "", "micro_batch": "1", "grad_accum": "", "global_batch": "128", "seq_len": "8192",
    "precision": "bf16", "date": "", "recompute": "none", "recompute_layers": "", "attention_impl": "", "flags": "",
    "framework": "NeMo 24.09", "step_time_s": "", "tokens_per_s_per_gpu": "", "tflops_per_gpu": "",
    "peak_mem_gib": "", "power_w_per_gpu": "", "power_scope": "",
}  # fmt: skip


def read(folder: Path, *rows: dict[str, str]) -> list[TrainingRun | UnreadableRun]:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROW))
    writer.writeheader()
    writer.writerows([{**ROW, **row} for row in rows])
    path = folder / "runs.csv"
    path.write_text(text.getvalue(), newline="")
    return list(read_runs(path))


def run(folder: Path, **cells: str) -> TrainingRun:
    [found] = read(folder, cells)
    assert isinstance(found, TrainingRun), found
    return found


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
    assert all(row.note.startswith("not predicted: column '") for row in unread)
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
        ({}, None),
    ],
)
def test_what_was_observed(tmp_path: Path, stated: dict[str, str], seconds: float | None) -> None:
    assert run(tmp_path, **stated).observed_step_time_s == seconds


@pytest.mark.parametrize(
    ("text", "gigabits_per_gpu"),
    [
        ("8x400Gb/s", 400),
        ("NVLink4 900GB/s; 8x 400 Gb/s InfiniBand", 400),
        ("1600 Gbps node-node", 200),
        ("400 Gb/s per GPU", 400),
        ("InfiniBand NDR 400Gb/s", 400),
        ("4x RoCE 100Gb/s per node", 50),
    ],
)
def test_networks_in_words(tmp_path: Path, text: str, gigabits_per_gpu: float) -> None:
    assert run(tmp_path, interconnect=text).fabric.bandwidth_bytes_per_s == gigabits_per_gpu / 8 * 1e9


def test_omni_path_reaches_what_was_measured_on_it(tmp_path: Path) -> None:
    """Four ranks a node, one NIC of 100 Gb/s: 39.9 Gb/s of bus bandwidth (bigscience experiments/bandwidth)."""
    calibrated = load_calibration().constants["nic_share"].value
    fabric = run(tmp_path, interconnect="4x OmniPath 100Gb/s per node").fabric
    shared_by = 8 / 4
    assert fabric.bandwidth_bytes_per_s * shared_by * calibrated * 8 / 1e9 == pytest.approx(39.9, rel=0.1)


@pytest.mark.parametrize(
    ("cells", "gpu"),
    [
        ({"gpu": "H100-SXM5-80GB"}, "h100-sxm"),
        ({"gpu": "h100 sxm 80 gb"}, "h100-sxm"),
        ({"gpu": "NVIDIA H200 141GB", "gpu_mem_gb": "141"}, "h200-sxm"),
        ({"gpu": "A100 SXM", "gpu_mem_gb": "40", "gpu_power_limit_w": "400"}, "a100-40gb"),
        ({"gpu": "A100 SXM", "gpu_mem_gb": "80", "gpu_power_limit_w": "400"}, "a100-80gb"),
        ({"gpu": "H100 96GB HBM2e", "gpu_mem_gb": "96", "gpu_power_limit_w": "500"}, "h100-96gb"),
        ({"gpu": "GB200 NVL72", "gpu_mem_gb": "186", "gpu_power_limit_w": "1200"}, "gb200"),
        ({"gpu": "B200", "gpu_mem_gb": "180", "gpu_power_limit_w": "1000"}, "b200-sxm"),
    ],
)
def test_gpus_in_words(tmp_path: Path, cells: dict[str, str], gpu: str) -> None:
    assert run(tmp_path, **cells).gpu.name == gpu


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
        ({"tp": "3"}, "32 heads and 8 key/value heads, which it must divide"),
        ({"precision": "fp4"}, "precision 'fp4' is not known; allowed: bf16, fp16, fp8"),
        ({"precision": "fp32"}, "precision 'fp32' is not known; allowed: bf16, fp16, fp8"),
        ({"precision": "fp8", "gpu": "A100-SXM4-80GB"}, "no fp8 matrix units"),
        ({"recompute": "most"}, "recompute 'most' is not known"),
        ({"sharding": "zero9"}, "sharding 'zero9' is not known"),
        ({"gated_mlp": "maybe"}, "column 'gated_mlp' is 'maybe'; 0 or 1"),
        ({"global_batch": "1"}, "less than one micro-batch"),
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
        (",".join(REQUIRED) + '\n"x', "not readable as CSV"),
    ],
)
def test_a_file_that_is_no_runs_file_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        list(read_runs(path))


@pytest.mark.parametrize(
    ("framework", "flags", "expected"),
    [
        ("torchtitan@820504e", "eager", "eager"),
        ("torchtitan@820504e", "none", "eager"),
        ("torchtitan@820504e", "", "compiled"),
        ("torchtitan (2024-08)", "torch.compile", "compiled"),
        ("torchtitan (2024-08)", "AC mode: no", "eager"),
    ],
)
def test_flags_say_whether_kernels_are_compiled(tmp_path: Path, framework: str, flags: str, expected: str) -> None:
    """torchtitan's presets of 2024 did not compile (train_configs/llama3_8b.toml, commit 0011fb9)."""
    found = run(tmp_path, framework=framework, flags=flags, sharding="fsdp", tp="1")
    assert found.stack.elementwise == expected


@pytest.mark.parametrize(("flags", "stops"), [("bf16, MP PURE", False), ("amp_bf16, MP DEFAULT", True)])
def test_checkpoints_before_torch_2_1_ran_whole_blocks_again(tmp_path: Path, flags: str, stops: bool) -> None:
    """pytorch/pytorch pull request 96866; the images stand in llm-foundry's scripts/train/benchmarking."""
    found = run(tmp_path, framework="llm-foundry", flags=flags, sharding="fsdp", tp="1")
    assert found.stack.early_stop == stops


@pytest.mark.parametrize(
    ("framework", "attention", "expected"),
    [
        ("NeMo 24.09", "", "flash3"),
        ("NeMo 24.09", "FlashAttention-2 (NVTE_FUSED_ATTN=0)", "flash2"),
        ("NeMo 24.07", "cuDNN", "flash3"),
    ],
)
def test_a_row_says_which_attention_ran(tmp_path: Path, framework: str, attention: str, expected: str) -> None:
    found = run(tmp_path, framework=framework, attention_impl=attention)
    assert found.stack.attention == expected


@pytest.mark.parametrize(
    ("date", "stack", "attention"),
    [
        ("2023-06", "nemo-early-2024", "flash1"),
        ("2023-11", "nemo-early-2024", "flash2"),
        ("2024-05", "nemo-early-2024", "flash2"),
        ("2024-06", "megatron-core", "flash3"),
        ("", "megatron-core", "flash3"),
        ("summer", "megatron-core", "flash3"),
    ],
)
def test_a_stack_is_that_of_its_time(tmp_path: Path, date: str, stack: str, attention: str) -> None:
    """MLPerf training v3.0, v3.1 and v4.0 name no version of NeMo."""
    found = run(tmp_path, framework="NeMo/Megatron (MLPerf submission)", date=date)
    assert (found.stack.name, found.stack.attention) == (stack, attention)


@pytest.mark.parametrize(("flags", "each"), [("", 2), ("bf16 grad reduce", 2), ("fp32 grad reduce", 4)])
def test_flags_say_in_what_gradients_are_reduced(tmp_path: Path, flags: str, each: int) -> None:
    """NeMo reduces them in fp32 where a recipe sets no grad_sync_dtype (megatron_gpt_model.py b1f5aa3)."""
    stack = run(tmp_path, flags=flags).stack
    assert (stack.gradient_bytes, stack.gradient_store_bytes) == (each, each)
    assert stack.kernels.accumulate_bytes == 2 * each - 2  # read and written, but for the 16 bits written anyway


@pytest.mark.parametrize(
    ("framework", "precision", "flags", "each"),
    [
        ("NeMo 24.05", "fp8", "", 2),
        ("NeMo 24.05", "fp8", "fp8 params", 1),
        ("NeMo 24.05", "bf16", "fp8 params", 2),
        ("NeMo 24.09", "fp8", "", 1),
        ("NeMo 24.09", "bf16", "", 2),
        ("torchtitan", "fp8", "float8 + float8 all-gather", 1),
    ],
)
def test_weights_kept_in_fp8_are_gathered_in_fp8(
    tmp_path: Path, framework: str, precision: str, flags: str, each: int
) -> None:
    """NeMo's recipes keep them so from 24.09 on (fp8_params)."""
    found = run(tmp_path, framework=framework, precision=precision, flags=flags)
    assert float(found.case().weight_bytes[0]) == each


@pytest.mark.parametrize(("pp", "overlaps"), [("1", True), ("2", False)])
def test_megatron_of_2021_left_its_gradients_to_torch_without_a_pipeline(
    tmp_path: Path, pp: str, overlaps: bool
) -> None:
    """DDP=torch and DDP=local in Megatron-LM's examples/sc21/run_table_1.sh (79a3bb6)."""
    found = run(tmp_path, framework="Megatron-LM (NGC 20.12, PyTorch)", gpu="A100-SXM4-80GB", pp=pp, sharding="ddp")
    assert (found.stack.name, found.stack.dp_overlap) == ("megatron-2021", overlaps)


@pytest.mark.parametrize(("pp", "sequence", "splits"), [("1", True, True), ("2", False, False)])
def test_stages_of_kempnerforge_split_neither_sequence_nor_head(
    tmp_path: Path, pp: str, sequence: bool, splits: bool
) -> None:
    """kempnerforge/distributed/tensor_parallel.py 0c4eba1."""
    found = run(tmp_path, framework="KempnerForge", flags="eager", sharding="fsdp", tp="4", pp=pp)
    assert (found.stack.sequence_parallel, found.stack.memory.splits_head) == (sequence, splits)
    assert found.stack.elementwise == "eager"


@pytest.mark.parametrize(
    ("model", "date", "attention"),
    [
        ("mpt-7b", "2023-06", "flash1"),
        ("mpt-7b", "2024-04", "flash2"),
        ("mpt-70b", "2024-04", "flash2"),
        ("mpt-30b", "2024-04", "flash1"),
    ],
)
def test_llm_foundry_of_2024_has_flash_attention_2_but_for_two_sizes(
    tmp_path: Path, model: str, date: str, attention: str
) -> None:
    """scripts/train/benchmarking/sweep.py 76f5eeb of llm-foundry."""
    era = "FlashAttention (v1/triton era)"
    found = run(tmp_path, framework="llm-foundry/Composer", model=model, date=date, attention_impl=era, tp="1")
    assert found.stack.attention == attention


@pytest.mark.parametrize(
    ("cells", "slower"),
    [
        ({"date": "2022-02-24"}, 0.03),
        ({"date": "2022-02-25"}, 0.0),
        ({"date": "2022-02"}, 0.0),
        ({"date": "2022-02-24", "interconnect": "4x100Gb/s"}, 0.0),
    ],
)
def test_jean_zay_was_slower_before_its_nodes_were_mended(
    tmp_path: Path, cells: dict[str, str], slower: float
) -> None:
    """bigscience chronicles-prequel.md 9e64ede: 1 to 5 % on 25 February 2022."""
    there = {"interconnect": "Jean Zay: 4x OmniPath 100Gb/s per node", "gpu": "A100-SXM4-80GB"}
    found = run(tmp_path, framework="Megatron-DeepSpeed", **{**there, **cells})
    assert found.node.slowdown == slower
    assert any("Jean Zay" in note for note in found.notes) == (slower > 0)


def test_the_less_a_remat_policy_saves_the_more_is_run_again(tmp_path: Path) -> None:
    """MaxText's policies by what they save (MaxText/layers/models.py 0042423)."""
    policies = ("minimal_flash", "minimal", "save_dot_except_mlp", "save_qkv_proj")
    row = {"framework": "MaxText/JAX", "recompute": "selective", "sharding": "fsdp", "tp": "1"}
    cases = [run(tmp_path, flags=f"remat {policy}, scan off", **row).case() for policy in policies]
    seconds = [float(step_times(case).total[0]) for case in cases]
    kept = [float(memory_use(case).activations[0]) for case in cases]
    assert seconds == sorted(set(seconds))
    assert kept == sorted(set(kept), reverse=True)


@pytest.mark.parametrize(
    ("flags", "selective", "noted"),
    [
        ("remat minimal-flash", "elementwise", False),
        ("remat_policy=minimal with context", "elementwise", False),
        ("remat: minimal", "products", False),
        ("remat full; minimal logging", "mlp", False),
        ("remat: none (not minimal_flash)", "mlp", False),
        ("remat save_out_proj", "mlp", True),
        ("custom remat: save q/k/v projections", "mlp", False),
    ],
)
def test_a_remat_policy_is_read_where_it_is_named(tmp_path: Path, flags: str, selective: str, noted: bool) -> None:
    found = run(tmp_path, framework="MaxText/JAX", flags=flags, recompute="selective")
    assert found.stack.selective == selective
    assert any("remat policy" in note for note in found.notes) == noted


def test_policies_are_those_of_maxtext_alone(tmp_path: Path) -> None:
    said = run(tmp_path, framework="torchtitan", flags="minimal", recompute="selective")
    assert said.stack.selective == "operations"
