"""The software stack of a run: its framework's, of its time, with what the row's words change."""

from pathlib import Path

import pytest

from sim.memory import memory_use
from sim.step import step_times
from tests.planner.rows import run


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
        ("torchtitan", "fp8", "", 1),
        ("torchtitan", "fp8", "float8 rowwise", 2),
        ("torchtitan", "bf16", "", 2),
        ("MaxText/JAX 2024.12.09", "fp8", "", 1),
        ("MaxText/JAX (v25.02 recipe)", "fp8", "", 1),
        ("PaXML 24.03.04", "fp8", "", 2),
    ],
)
def test_weights_kept_in_fp8_are_gathered_in_fp8(
    tmp_path: Path, framework: str, precision: str, flags: str, each: int
) -> None:
    """NeMo's recipes keep them so from 24.09 on (fp8_params); torchao casts before it gathers unless each row has its
    own scale, and XLA since July 2024 (openxla/xla pull 15050)."""
    found = run(tmp_path, framework=framework, precision=precision, flags=flags)
    assert float(found.case().weight_bytes[0]) == each


@pytest.mark.parametrize(
    ("framework", "date", "flags", "each"),
    [
        ("llm-foundry", "2023-06", "", (4, 0)),
        ("llm-foundry", "2023-06", "fp8 params", (0, 0)),
        ("PaXML 24.03.04", "2024-12", "", (5, 1.5)),
        ("MaxText/JAX", "2024-06", "", (5, 1.5)),
        ("MaxText/JAX", "2024-07", "", (2, 0)),
        ("MaxText/JAX", "", "", (2, 0)),
        ("NeMo 24.09", "", "", (0, 0)),
    ],
)
def test_who_gathers_16_bits_quantises_them_in_every_pass(
    tmp_path: Path, framework: str, date: str, flags: str, each: tuple[float, float]
) -> None:
    """Bytes a weight, forward and backward, of kernels counted in the frameworks' code (sim/stacks)."""
    row = {"sharding": "fsdp", "tp": "1", "precision": "fp8", "flags": flags}
    case = run(tmp_path, framework=framework, date=date, **row).case()
    assert (case.quantised_forward.item(), case.quantised_backward.item()) == each


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
        ("mpt-7b", "", "flash2"),
    ],
)
def test_llm_foundry_of_2024_has_flash_attention_2_but_for_two_sizes(
    tmp_path: Path, model: str, date: str, attention: str
) -> None:
    """scripts/train/benchmarking/sweep.py 76f5eeb of llm-foundry."""
    era = "FlashAttention (v1/triton era)"
    found = run(tmp_path, framework="llm-foundry/Composer", model=model, date=date, attention_impl=era, tp="1")
    assert found.stack.attention == attention


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


def test_policies_are_those_of_jaxs_frameworks_alone(tmp_path: Path) -> None:
    pax = run(tmp_path, framework="PaxML", flags="AutodiffCheckpoint SAVE_QKV_OUT_PROJ", recompute="selective")
    assert pax.stack.selective == "mlp"
    assert (
        run(tmp_path, framework="PaxML", flags="remat minimal", recompute="selective").stack.selective == "products"
    )
    said = run(tmp_path, framework="torchtitan", flags="minimal", recompute="selective")
    assert said.stack.selective == "operations"


@pytest.mark.parametrize(
    ("framework", "stack"),
    [
        ("NVIDIA NeMo 24.05", "nemo-early-2024"),
        ("NeMo Framework 24.07", "nemo-mid-2024"),
        ("nemo:24.07", "nemo-mid-2024"),
        ("Hugging Face nanotron", "nanotron"),
        ("Hugging Face Trainer", "deepspeed"),
        ("PyTorch torchtitan", "torchtitan"),
        ("PyTorch FSDP2", "plain"),
        ("MosaicML LLM Foundry", "llm-foundry-2024"),
        ("BigScience Megatron-DeepSpeed", "megatron-deepspeed"),
        ("DeepSpeed-Megatron", "megatron-deepspeed"),
        ("NVIDIA JAX-Toolbox (MaxText)", "maxtext"),
        ("NVIDIA JAX-Toolbox (PaxML)", "paxml"),
        ("JAX/Pax 23.10", "paxml"),
        ("MaxText, successor of Pax", "maxtext"),
        ("PaXML 24.03.04", "paxml"),
        ("Levanter", "maxtext"),
        ("Megatron-LM (Megatron-Core 0.8)", "megatron-lm"),
        ("MCore 0.9", "megatron-lm"),
        ("NVIDIA Megatron-LM", "megatron-lm"),
        ("Megatron", "megatron-lm"),
        ("Megatron Bridge", "megatron-core"),
        ("NeMo/Megatron (MLPerf submission)", "megatron-core"),
        ("In-house (fork of Megatron-DeepSpeed)", "megatron-deepspeed"),
        ("Colossal-AI", "plain"),
    ],
)
def test_a_framework_is_known_by_other_spellings_and_with_its_publisher(
    tmp_path: Path, framework: str, stack: str
) -> None:
    assert run(tmp_path, framework=framework).stack.name == stack


@pytest.mark.parametrize(
    ("gpu", "date", "stack", "attention"),
    [
        ("A100-SXM4-80GB", "2022-05", "megatron-2022", "unfused"),
        ("A100-SXM4-80GB", "", "megatron-lm", "flash3"),
        ("A100-SXM4-80GB", "2023-03", "megatron-fork", "flash1"),
        ("A100-SXM4-80GB", "2023-11", "megatron-fork", "flash2"),
        ("A100-SXM4-80GB", "2024-07", "megatron-lm", "flash3"),
        ("H100-SXM5-80GB", "", "megatron-lm", "flash3"),
        ("H100-SXM5-80GB", "2024-02", "megatron-lm", "flash2"),
    ],
)
def test_megatron_lm_is_that_of_its_time(tmp_path: Path, gpu: str, date: str, stack: str, attention: str) -> None:
    """It took up flash attention in January 2023 (pull request 267) and Megatron-Core by default early in 2024."""
    found = run(tmp_path, framework="Megatron-LM", gpu=gpu, date=date).stack
    assert (found.name, found.attention) == (stack, attention)


@pytest.mark.parametrize(
    ("gated_mlp", "kv_heads", "stack", "deepspeed_attention"),
    [
        ("0", "32", "megatron-2022", "unfused"),
        ("1", "32", "megatron-lm", "flash2"),
        ("0", "8", "megatron-lm", "flash2"),
    ],
)
def test_a_llama_without_a_date_was_not_trained_with_what_there_was_before_llama(
    tmp_path: Path, gated_mlp: str, kv_heads: str, stack: str, deepspeed_attention: str
) -> None:
    """Llama came out in February 2023 (arXiv:2302.13971); without flash attention its 8B takes twice as long."""
    shape = {"gated_mlp": gated_mlp, "kv_heads": kv_heads, "gpu": "A100-SXM4-80GB"}
    found = run(tmp_path, framework="Megatron-LM", **shape)
    assert found.stack.name == stack
    assert any("date not stated" in note for note in found.notes) == (stack == "megatron-2022")
    assert run(tmp_path, framework="GPT-NeoX", **shape).stack.attention == deepspeed_attention


@pytest.mark.parametrize(
    ("framework", "date", "stack"),
    [
        ("torchtitan", "2024-08", "torchtitan-2024"),
        ("torchtitan", "2025-06", "torchtitan"),
        ("NeMo", "2024-08", "nemo-mid-2024"),
        ("NeMo", "2024-12", "megatron-core"),
    ],
)
def test_a_release_that_is_not_named_is_that_of_its_month(
    tmp_path: Path, framework: str, date: str, stack: str
) -> None:
    assert run(tmp_path, framework=framework, date=date).stack.name == stack


@pytest.mark.parametrize(
    ("date", "attention"), [("2022-06", "unfused"), ("2023-02", "flash1"), ("2023-08", "flash2")]
)
def test_no_framework_had_flash_attention_in_2022(tmp_path: Path, date: str, attention: str) -> None:
    assert run(tmp_path, framework="Mine", gpu="A100-SXM4-80GB", date=date).stack.attention == attention


@pytest.mark.parametrize(
    ("framework", "gpu", "date", "waits", "attention"),
    [
        ("Megatron-DeepSpeed", "A100-SXM4-80GB", "2022-02", True, "unfused"),
        ("GPT-NeoX", "A100-SXM4-80GB", "2022-02", False, "unfused"),
        ("Megatron-DeepSpeed", "A100-SXM4-80GB", "2024-02", False, "flash2"),
        ("GPT-NeoX", "H100-SXM5-80GB", "", False, "flash2"),
    ],
)
def test_only_bloom_waited_for_every_launch(
    tmp_path: Path, framework: str, gpu: str, date: str, waits: bool, attention: str
) -> None:
    """CUDA_LAUNCH_BLOCKING=1 in BLOOM's chronicles; later releases take flash attention."""
    stack = run(tmp_path, framework=framework, gpu=gpu, date=date).stack
    assert (stack.name, stack.launch_bound, stack.attention) == ("megatron-deepspeed", waits, attention)


@pytest.mark.parametrize(
    ("framework", "date", "precision", "attention"),
    [
        ("PaxML/JAX", "2023-09", "bf16", "unfused"),
        ("PaxML/JAX", "", "bf16", "flash3"),
        ("JAX/PaxML", "2023-09", "bf16", "unfused"),
        ("PaxML/JAX + Transformer Engine", "2023-09", "bf16", "flash3"),
        ("PaXML 24.03.04", "2024-12", "bf16", "flash3"),
        ("PaXML 23.10", "2023-10", "fp8", "flash3"),
        ("MaxText/JAX", "2023-09", "bf16", "flash2"),
    ],
)
def test_paxml_fused_attention_only_through_transformer_engine(
    tmp_path: Path, framework: str, date: str, precision: str, attention: str
) -> None:
    found = run(tmp_path, framework=framework, date=date, precision=precision, sharding="fsdp", tp="1")
    assert (found.stack.attention == "unfused") == (attention == "unfused")


@pytest.mark.parametrize(
    ("framework", "stack"),
    [
        ("Megatron-LLaMA", "megatron-lm"),
        ("Pai-Megatron-Patch", "megatron-lm"),
        ("Megatron-FSDP", "megatron-core"),
        ("Megatron-Bridge 25.09", "megatron-core"),
        ("Megatron-DeepSpeed", "megatron-deepspeed"),
    ],
)
def test_relatives_of_megatron_are_megatron(tmp_path: Path, framework: str, stack: str) -> None:
    assert run(tmp_path, framework=framework, gpu="H100-SXM5-80GB").stack.name == stack


@pytest.mark.parametrize(
    ("cells", "micro_batch", "chunks"),
    [
        ({"pp_schedule": "1f1b"}, 4, 1),
        ({"pp_schedule": "interleaved 1f1b"}, 4, 2),
        ({"micro_batch": "1"}, 1, 1),
        ({"pp": "1"}, None, 1),
    ],
)
def test_pipelines_of_torchtitan_in_2024_are_cut_as_it_did(
    tmp_path: Path, cells: dict[str, str], micro_batch: int | None, chunks: int
) -> None:
    """parallelisms/pipelining_utils.py 6806473: as many micro-batches as ranks of the pipeline, two stages a rank."""
    asked = {"framework": "torchtitan", "date": "2024-12", "tp": "1", "pp": "8", "gpus": "64", "layers": "32"}
    open_cells = {"vp": "", "micro_batch": "", "grad_accum": "", "global_batch": "256", "sharding": "fsdp"}
    found = run(tmp_path, **{**asked, **open_cells, **cells})
    assert found.layout.vp == chunks
    if micro_batch is not None:
        assert found.layout.micro_batch == micro_batch
