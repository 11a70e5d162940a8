"""The software stack of a run: its framework's, as it was at the row's date, with what the row's words change."""

import re
from collections.abc import Mapping
from dataclasses import replace

from planner.runs.cells import Cells
from planner.runs.framework import hinted_stack, named_stack
from planner.runs.words import SHARDINGS, meant
from profiler.architecture import ModelArchitecture
from sim.hardware import Gpu, TrainingPrecision
from sim.stacks.stack import DEFAULT_STACK, Selective, SoftwareStack, load_stack, stack_of_framework

FLASH_ATTENTION_2 = "2023-07"
"""The month in which it came out (arXiv:2307.08691)."""

CUDNN_ATTENTION = "2024-06"
"""The month from which cuDNN's attention is taken on Hopper: what NVIDIA's documentation says Transformer Engine
prefers there changed in May 2024 (github.com/NVIDIA/NeMo/pull/9188), and NeMo 24.05 still switched it off."""

FLASH_ATTENTION_IN_FRAMEWORKS = "2023"
"""The year from which a framework is taken to have fused attention: Megatron-LM took it up in January 2023 (pull
request 267), torch in 2.0 in March."""

CUDNN_ATTENTION_IN_JAX = "2024"
"""The year from which JAX has cuDNN's attention without Transformer Engine (its cudnn/fused_attention_stablehlo.py);
PaxML before it takes none that is fused."""

XLA_QUANTISES_FIRST = "2024-07"
"""The month from which XLA quantises weights before it gathers them (openxla/xla pull 15050)."""

MEGATRON_CORE = "2024"
"""The year from which Megatron-LM is taken to train on Megatron-Core (its default since core 0.6, early in 2024)."""

TORCHTITAN_COMPILES = "2025"
"""The year from which torchtitan is taken as its stack of today; its presets of 2024 did not compile."""

NEMO_CUDNN_ATTENTION = "2024-10"
"""The month of NeMo 24.09, whose launcher no longer switched cuDNN's attention off."""

UNKNOWN_STACK = "plain"
"""What a framework is taken for of which only the name is known."""
NVIDIAS = ("megatron", "nemo", "nvidia", "transformer engine")
"""Words in a framework's name that make it the default stack's relative."""

REMAT_POLICIES: Mapping[str, Selective] = {
    "minimal_flash": "elementwise",
    "minimal_with_context": "elementwise",
    "minimal": "products",
    "save_dot_except_mlpwi": "mlp",
    "save_dot_except_mlp": "mlp",
    "save_qkv_proj": "qkv",
}
"""What each of MaxText's `remat_policy` runs again (AI-Hypercomputer/maxtext MaxText/layers/models.py 0042423: the
names that it saves). A product whose output the backward pass does not read is not run again, saved or not."""
REMAT_POLICY = r"\bremat(?:[ _]policy)?[ :=]+(minimal(?:[ _-](?:flash|with[ _-]context))?\b|\w+_\w+)"
"""Where a row's flags name one."""


def read_stack(c: Cells, gpu: Gpu, precision: TrainingPrecision, architecture: ModelArchitecture) -> SoftwareStack:
    """The framework's stack, with what the row's date, flags and attention columns say about it."""
    named = _named(c)
    stack = _of_its_kind(_of_its_time(named, c, gpu, architecture), c, precision)
    if c.text("framework") and named is named_stack(c.text("framework")) is not stack_of_framework(
        c.text("framework")
    ):
        c.notes.append(f"framework '{c.text('framework')}' taken for stack {stack.name}")
    for said in (_attention, _fusion, _overlap, _gradients, _fp8, _remat):
        stack = said(stack, c)
    return stack


def _named(c: Cells) -> SoftwareStack:
    framework = c.text("framework")
    stack = named_stack(framework)
    hint = None if framework else hinted_stack(c)
    if hint:
        stack, column = hint
        c.notes.append(f"framework not stated: stack {stack.name}, as {column} says")
    if stack is None:
        related = any(word in framework.lower() for word in NVIDIAS)
        stack = load_stack(DEFAULT_STACK if related else UNKNOWN_STACK)
        named = f"framework '{framework}' has no stack of its own" if framework else "framework not stated"
        c.notes.append(f"{named}: stack {stack.name}")
    return stack


def _of_its_time(stack: SoftwareStack, c: Cells, gpu: Gpu, architecture: ModelArchitecture) -> SoftwareStack:
    """The stack as it was at a row's date (`2023-06`); as it is where the row has none.

    Until mid-2024 Transformer Engine took FlashAttention wherever it could, before cuDNN's (DotProductAttention in
    its attention.py); NVIDIA's MLPerf submissions installed flash-attn 2.0.8 in November (training_results_v3.1
    Dockerfile 5b62935) and ran Transformer Engine 0.8 in June (training_results_v3.0 Dockerfile 9f08e30), when there
    was no FlashAttention-2.
    """
    month = _month(c.text("date"))
    stack = _release(stack, c, month, gpu, architecture)
    if not month:
        return stack
    if stack.name == "megatron-lm" and month < CUDNN_ATTENTION:
        stack = replace(stack, attention="flash2")
    if stack.attention in ("flash1", "flash2") and month < FLASH_ATTENTION_IN_FRAMEWORKS:
        return replace(stack, attention="unfused")
    return replace(stack, attention="flash1") if stack.attention == "flash2" and month < FLASH_ATTENTION_2 else stack


def _release(stack: SoftwareStack, c: Cells, month: str, gpu: Gpu, architecture: ModelArchitecture) -> SoftwareStack:
    """The release that a name without a version means in a month, or else on a GPU, for a model."""
    if stack.name == "megatron-2022":
        if month >= MEGATRON_CORE or (not month and _after_2022(gpu, architecture)):
            return load_stack("megatron-lm")
        if not month:
            c.notes.append("date not stated: Megatron-LM of 2022, without flash attention")
        return load_stack("megatron-fork") if month >= FLASH_ATTENTION_IN_FRAMEWORKS else stack
    if stack.name == "megatron-deepspeed":
        later = month >= FLASH_ATTENTION_IN_FRAMEWORKS or (not month and _after_2022(gpu, architecture))
        stack = replace(stack, attention="flash2") if later else stack
        bloom = not later and "neox" not in c.text("framework").lower()  # its chronicles waited for every launch
        return stack if bloom else replace(stack, launch_bound=False)
    if stack.name == "megatron-core" and month:
        submitted = "mlperf" in c.text("framework").lower()  # with attention as Transformer Engine has it
        if month < CUDNN_ATTENTION:
            return load_stack("nemo-early-2024")
        return stack if submitted or month >= NEMO_CUDNN_ATTENTION else load_stack("nemo-mid-2024")
    if stack.name == "torchtitan" and month and month < TORCHTITAN_COMPILES:
        return load_stack("torchtitan-2024")
    if stack.name == "maxtext" and month and month < XLA_QUANTISES_FIRST:
        casts = replace(stack.kernels, quantised_weights=load_stack("paxml").kernels.quantised_weights)
        return replace(stack, fp8_weights=False, kernels=casts)
    return stack


def _after_2022(gpu: Gpu, architecture: ModelArchitecture) -> bool:
    """Whether a run without a date is younger than 2022: a GPU after the A100, or a Llama's block (arXiv:2302.13971,
    2307.09288), a gated MLP or heads that share keys and values."""
    return gpu.kernels != "a100" or architecture.gated_mlp or architecture.kv_heads < architecture.heads


def _month(date: str) -> str:
    """`2023-06` of a date that begins so, its year's last month where there is but a year, nothing otherwise."""
    found = re.match(r"(20\d\d)(?:[-/](0?[1-9]|1[0-2])(?!\d))?", date)
    return f"{found[1]}-{int(found[2] or 12):02}" if found else ""


def _of_its_kind(stack: SoftwareStack, c: Cells, precision: TrainingPrecision) -> SoftwareStack:
    """The stack that the same framework is for this layout, model, release or precision."""
    stages, flags = c.count("pp", 1), _flags(c)
    if stack.name == UNKNOWN_STACK and meant(c.text("sharding").lower(), SHARDINGS) in ("fsdp", "hsdp"):
        # torch's root group, and what is selected beside it: not Megatron's attention core
        return replace(stack, root_gathers=1, selective="operations")
    if stack.name == "kempnerforge" and stages > 1:
        return load_stack("kempnerforge-pipeline")  # its stages go without sequence parallelism
    if stack.name == "megatron-2021" and stages == 1:
        return replace(stack, dp_overlap=True)  # torch's DDP (DDP=torch) where there is no pipeline
    if stack.name == "paxml" and precision != "fp8" and not _fused_in_jax(c):
        return replace(stack, attention="unfused")
    if stack.name == "llm-foundry":
        older = re.search(r"-(13|30)b", c.text("model").lower())  # those two sizes kept Triton's attention
        month = _month(c.text("date"))
        later = month >= "2024" if month else "mp pure" not in flags
        if later and not older:
            return load_stack("llm-foundry-2024")
        if "mp pure" in flags or precision == "fp8":
            return replace(stack, early_stop=False)  # made with torch 1.13.1 and 2.0.1, the others with 2.1
    return stack


def _fused_in_jax(c: Cells) -> bool:
    """Whether a row that JAX trained says of Transformer Engine, or is of a time when JAX fused attention itself, or
    of none."""
    words, month = f"{c.text('framework')} {c.text('flags')}".lower(), _month(c.text("date"))
    return not month or month >= CUDNN_ATTENTION_IN_JAX or bool(re.search(r"transformer ?engine|\bte\b", words))


def _flags(c: Cells) -> str:
    return c.text("flags").lower()


def _attention(stack: SoftwareStack, c: Cells) -> SoftwareStack:
    attention, flags = c.text("attention_impl").lower(), _flags(c)
    if "unfused" in attention or "no flash" in attention:
        return replace(stack, attention="unfused")
    if "v1" in attention and stack.name != "llm-foundry-2024":  # written of the tables before
        return replace(stack, attention="flash1")
    if re.search(r"flash-?att\w*[ -]?v?2", attention):
        return replace(stack, attention="flash2")
    if "flashattention-3" in attention or "cudnn" in f"{attention} {flags}":
        return replace(stack, attention="flash3")
    if "flash" in f"{attention} {flags}" and stack.attention == "unfused":
        return replace(stack, attention="flash2")
    return stack


def _fusion(stack: SoftwareStack, c: Cells) -> SoftwareStack:
    flags = _flags(c)
    fp8 = c.text("precision").lower() == "fp8" and not flags  # its docs/float8.md: competitive only when compiled
    if "torch.compile" in flags or (fp8 and stack.name.startswith("torchtitan")):
        return replace(stack, elementwise="compiled")
    unsaid = flags == "none" and stack.elementwise == "compiled"
    if unsaid or re.search(r"\beager\b|no compile", f"{flags} {c.text('framework').lower()}"):
        return replace(stack, elementwise="eager")
    return stack


def _overlap(stack: SoftwareStack, c: Cells) -> SoftwareStack:
    flags = _flags(c)
    if "asynctp" in flags or "async tp" in flags:
        stack = replace(stack, tp_overlap="async")
    elif "userbuffers" in flags or re.search(r"tp[- ]comm[- ]overlap", flags):
        stack = replace(stack, tp_overlap="userbuffers")
    return replace(stack, schedules_gathers=True) if "pgle" in flags else stack


def _gradients(stack: SoftwareStack, c: Cells) -> SoftwareStack:
    flags = _flags(c)
    if "bf16 grad reduce" in flags or "mp pure" in flags:
        return replace(stack, gradient_bytes=2)
    if "fp32 grad reduce" in flags:
        summed = replace(stack.kernels, accumulate_bytes=6)
        return replace(stack, gradient_bytes=4, gradient_store_bytes=4, kernels=summed)
    return stack


def _fp8(stack: SoftwareStack, c: Cells) -> SoftwareStack:
    flags = _flags(c)
    if "fp8 params" in flags or "float8 all-gather" in flags:
        stack = replace(stack, fp8_weights=True, kernels=replace(stack.kernels, quantised_weights=(0.0, 0.0)))
    if "rowwise" in flags and c.text("precision").lower() == "fp8":
        stack = replace(stack, fp8_rowwise=True, fp8_weights=False)
    return stack


def _remat(stack: SoftwareStack, c: Cells) -> SoftwareStack:
    """JAX's stacks by the name of the policy that says what backward runs again."""
    if not stack.name.startswith(("maxtext", "paxml")):
        return stack
    named = re.search(REMAT_POLICY, _flags(c))
    if not named:
        return stack
    policy = re.sub(r"[ -]", "_", named[1])
    if policy not in REMAT_POLICIES:
        c.notes.append(f"remat policy '{policy[:40]}' is not known: {stack.selective}, as in stack {stack.name}")
        return stack
    return replace(stack, selective=REMAT_POLICIES[policy])
