"""Rows of a runs file: what somebody trained, on what, how; read into objects the step model takes.

A row says what its source says. What it leaves out is filled by a documented habit of the framework, and the
row's note names every such assumption. A row that cannot be read yields a sentence, never an exception.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast, get_args

from planner.cells import Cells
from planner.run_architecture import read_architecture
from planner.run_choices import settled
from planner.run_layout import other_virtual_stages, read_global_batch, read_layout
from planner.training_run import TrainingRun, UnreadableRun
from profiler.files import InputError, nearest, read_text
from sim.estimate import check_precision
from sim.hardware import Fabric, Gpu, Node, TrainingPrecision, load_fabric, load_gpu, load_node, names
from sim.stacks import DEFAULT_STACK, SoftwareStack, load_stack, stack_of_framework

PUBLISHED_RUNS = Path(__file__).parent / "published_runs.csv"

REQUIRED = ("id", "layers", "hidden", "heads", "gpu", "gpus", "seq_len")

OMNI_PATH_REACHED = 0.45
"""Share of what NCCL reaches over InfiniBand that it reached over Jean Zay's Omni-Path: 5.0 of 12.5 GB/s from one
node's NIC to the next with NCCL 2.10, where InfiniBand gives 0.88 of the line rate (bigscience
experiments/bandwidth/n4_a100_all_reduce_bench.txt 74c6c3d: bus bandwidth 39.9 Gb/s; its README: "an issue with nccl
that doesn't fully utilize Intel OPA full bandwidth")."""

FLASH_ATTENTION_2 = "2023-07"
"""The month in which it came out (arXiv:2307.08691)."""

UNKNOWN_STACK = "plain"
"""What a framework is taken for of which only the name is known."""
NVIDIAS = ("megatron", "nemo", "nvidia", "transformer engine")
"""Words in a framework's name that make it the default stack's relative."""

BOARD_WITHOUT_SWITCH = 4
"""HGX boards of four GPUs join each pair by its own links; those of eight have switches (NVIDIA HGX A100/H100)."""


def read_runs(path: Path) -> Iterator[TrainingRun | UnreadableRun]:
    """Yield each row of a runs file in order.

    Raises:
        InputError: the file is not a CSV with the needed columns.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    try:
        columns = reader.fieldnames or []
        missing = [name for name in REQUIRED if name not in columns]
        if missing:
            raise InputError(f"{path}: column '{missing[0]}' is missing; a runs file needs {', '.join(REQUIRED)}.")
        for number, row in enumerate(reader, start=2):
            cells = {k: (v or "").strip() for k, v in row.items() if isinstance(k, str) and not isinstance(v, list)}
            yield _read_row(cells, number)
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num} is not readable as CSV ({error}).") from None


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
    gpu = _gpu(c)
    gpus = c.count("gpus")
    node = _node(c, gpu)
    precision = _precision(c, gpu)
    stack = _stack(c, gpu, precision)
    layout = read_layout(c, architecture, stack, gpus)
    batch = read_global_batch(c, layout)
    run = TrainingRun(
        id=name,
        architecture=architecture,
        gpu=gpu,
        gpus_per_node=min(node.gpus_per_node, gpus),
        node=node,
        fabric=_fabric(c, gpu, node.gpus_per_node),
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
        observed_step_time_s=_observed_step_time_s(c, batch),
        observed_peak_mem_gib=c.number("peak_mem_gib"),
        observed_node_power_w_per_gpu=c.number("power_w_per_gpu"),
    )
    run = settled(run, c)
    return replace(run, notes=tuple(c.notes))


def _observed_step_time_s(c: Cells, batch: int) -> float | None:
    """The step time stated or derived; else from the throughput stated; else from the TFLOP/s per GPU, whose
    convention is taken as non-causal (Llama 3 states 400 and 430 without naming one)."""
    stated = c.number("step_time_s_derived") or c.number("step_time_s")
    rate = c.number("tokens_per_s_per_gpu_derived") or c.number("tokens_per_s_per_gpu")
    if stated:
        return stated
    tokens_per_gpu = batch * c.count("seq_len") / c.count("gpus")
    if rate:
        return tokens_per_gpu / rate
    tflops, gflop_per_token = c.number("tflops_per_gpu"), c.number("flop_per_token_noncausal")
    return tokens_per_gpu * gflop_per_token / (tflops * 1e3) if tflops and gflop_per_token else None


def _gpu(c: Cells) -> Gpu:
    """The catalogue's GPU by name, alias or family; its memory and a low power limit as the row states."""
    text = c.text("gpu")
    wanted = re.sub(r"[^a-z0-9]", "", text.lower())
    if re.search(r"\bmig\b|mig \d", text.lower()):
        raise InputError(f"gpu '{text[:40]}' is a part of one; whole GPUs are predicted.")
    memory_gb, limit_w = c.number("gpu_mem_gb"), c.number("gpu_power_limit_w")
    catalogue = [load_gpu(name) for name in names("gpus")]
    for gpu in catalogue:
        if wanted in {re.sub(r"[^a-z0-9]", "", x.lower()) for x in (gpu.name, gpu.label, *gpu.aliases)}:
            return gpu
    for family in ("gb200", "b200", "h200", "h100", "a100", "4090"):
        if family in wanted:
            members = [gpu for gpu in catalogue if family in gpu.name.split("-")]
            low_power = limit_w is not None and limit_w <= 0.8 * max(gpu.tdp_w for gpu in members)
            pick = min(
                members,
                key=lambda g: (
                    abs(g.tdp_w - limit_w) if low_power and limit_w else 0,
                    abs(g.memory_gib - (memory_gb or 80.0)),
                ),
            )
            c.notes.append(f"gpu '{text}' taken as {pick.label}")
            return pick
    raise InputError(f"gpu '{text[:40]}' is not in the catalogue; {nearest(text, names('gpus'))}")


def _node(c: Cells, gpu: Gpu) -> Node:
    """The node the GPU is usually sold in; its immersion-cooled form, without fans, where the row says so."""
    cooled = f"{gpu.node}-immersion"
    immersed = "immersion" in c.text("power_scope").lower()
    node = load_node(cooled if immersed and cooled in names("nodes") else gpu.node)
    stated = c.count("gpus_per_node", node.gpus_per_node)
    if stated == node.gpus_per_node:
        return node
    share = stated / node.gpus_per_node  # a smaller node carries a smaller host
    return replace(
        node,
        gpus_per_node=stated,
        switched=stated != BOARD_WITHOUT_SWITCH,
        host_load_power_w=share * node.host_load_power_w,
        host_idle_power_w=share * node.host_idle_power_w,
    )


def _fabric(c: Cells, gpu: Gpu, gpus_per_node: int) -> Fabric:
    """The fabric in the row's words: `8x400Gb/s` and `1600 Gbps node-node` are per node, the rest per GPU."""
    usual = load_fabric(load_node(gpu.node).fabric)
    text = c.text("interconnect").lower()
    each = re.search(r"(\d+)\s*x\s*(?:[a-z\-]+\s+)?(\d+)\s*gb", text)
    total = re.search(r"(\d+)\s*gb(?:it)?(?:/s|ps)[ a-z]*(?:node-node|inter-node|per node)", text)
    single = re.search(r"(\d+)\s*gb(?:it)?(?:/s|ps)", text.split("nvlink4 900gb/s")[-1])
    gbit_per_gpu = 0.0
    if each:
        gbit_per_gpu = int(each[1]) * int(each[2]) / gpus_per_node
    elif total and "per gpu" not in text:
        gbit_per_gpu = int(total[1]) / gpus_per_node
    elif single:
        gbit_per_gpu = float(single[1])
    if not gbit_per_gpu:
        if c.count("gpus") > gpus_per_node:
            c.notes.append(f"interconnect's speed not stated: {usual.label} (usual for {gpu.label})")
        return usual
    if re.search(r"omni[- ]?path|\bopa\b", text):
        gbit_per_gpu *= OMNI_PATH_REACHED
    return replace(
        usual,
        name="as stated",
        label=f"{gbit_per_gpu:g} Gb/s per GPU",
        bandwidth_bytes_per_s=gbit_per_gpu / 8 * 1e9,
    )


def _precision(c: Cells, gpu: Gpu) -> TrainingPrecision:
    text = c.text("precision").lower()
    if not text:
        c.notes.append("precision not stated: bf16")
        return "bf16"
    if text not in get_args(TrainingPrecision):
        raise InputError(f"precision '{text[:40]}' is not known; {nearest(text, get_args(TrainingPrecision))}")
    check_precision(cast(TrainingPrecision, text), gpu)
    return cast(TrainingPrecision, text)


def _stack(c: Cells, gpu: Gpu, precision: TrainingPrecision) -> SoftwareStack:
    """The framework's stack, with what the row's flags and attention columns say about it."""
    framework = c.text("framework")
    stack = stack_of_framework(framework)
    if stack is None:
        related = any(word in framework.lower() for word in NVIDIAS)
        stack = load_stack(DEFAULT_STACK if related else UNKNOWN_STACK)
        named = f"framework '{framework}' has no stack of its own" if framework else "framework not stated"
        c.notes.append(f"{named}: stack {stack.name}")
    if stack.name == "megatron-2022" and gpu.kernels != "a100":
        stack = load_stack("megatron-core")  # plain "Megatron-LM" on Hopper is a later release
    stack = _of_its_time(stack, c.text("date"))
    if stack.name == "kempnerforge" and c.count("pp", 1) > 1:
        stack = load_stack("kempnerforge-pipeline")  # its stages go without sequence parallelism
    if (
        stack.name == "llm-foundry"
        and _month(c.text("date")) >= "2024"
        and not (re.search(r"-(13|30)b", c.text("model").lower()))
    ):
        stack = load_stack("llm-foundry-2024")  # those two sizes kept Triton's attention
    flags = c.text("flags").lower()
    attention = c.text("attention_impl").lower()
    if "unfused" in attention or "no flash" in attention:
        stack = replace(stack, attention="unfused")
    elif "v1" in attention and stack.name != "llm-foundry-2024":  # written of the tables before
        stack = replace(stack, attention="flash1")
    elif re.search(r"flash-?att\w*[ -]?v?2", attention):
        stack = replace(stack, attention="flash2")
    elif "flashattention-3" in attention or "cudnn" in f"{attention} {flags}":
        stack = replace(stack, attention="flash3")
    elif "flash" in f"{attention} {flags}" and stack.attention == "unfused":
        stack = replace(stack, attention="flash2")
    if "torch.compile" in flags:
        stack = replace(stack, elementwise="compiled")
    elif re.search(r"\beager\b|no compile", f"{flags} {framework.lower()}") or (
        flags == "none" and stack.elementwise == "compiled"
    ):
        stack = replace(stack, elementwise="eager")
    if "asynctp" in flags or "async tp" in flags:
        stack = replace(stack, tp_overlap="async")
    elif "userbuffers" in flags or re.search(r"tp[- ]comm[- ]overlap", flags):
        stack = replace(stack, tp_overlap="userbuffers")
    if "bf16 grad reduce" in flags or "mp pure" in flags:
        stack = replace(stack, gradient_bytes=2)
    elif "fp32 grad reduce" in flags:
        summed = replace(stack.kernels, accumulate_bytes=8)
        stack = replace(stack, gradient_bytes=4, gradient_store_bytes=4, kernels=summed)
    if stack.name == "megatron-2021" and c.count("pp", 1) == 1:
        stack = replace(stack, dp_overlap=True)  # torch's DDP (DDP=torch) where there is no pipeline
    if stack.name == "llm-foundry" and ("mp pure" in flags or precision == "fp8"):
        stack = replace(stack, early_stop=False)  # made with torch 1.13.1 and 2.0.1, the others with 2.1
    if "pgle" in flags:
        stack = replace(stack, schedules_gathers=True)
    if "fp8 params" in flags or "float8 all-gather" in flags:
        stack = replace(stack, fp8_weights=True)
    if "rowwise" in flags and precision == "fp8":
        stack = replace(stack, fp8_rowwise=True)
    return stack


def _of_its_time(stack: SoftwareStack, date: str) -> SoftwareStack:
    """The stack as it was at a row's date (`2023-06`); as it is where the row has none.

    Transformer Engine of 2023 took FlashAttention wherever it could, before cuDNN's (DotProductAttention in its
    attention.py); NVIDIA's MLPerf submissions installed flash-attn 2.0.8 in November (training_results_v3.1
    Dockerfile 5b62935) and ran Transformer Engine 0.8 in June (training_results_v3.0 Dockerfile 9f08e30), when there
    was no FlashAttention-2.
    """
    month = _month(date)
    if not month:
        return stack
    if stack.name == "megatron-core" and month < "2024":
        stack = load_stack("nemo-early-2024")
    return replace(stack, attention="flash1") if stack.attention == "flash2" and month < FLASH_ATTENTION_2 else stack


def _month(date: str) -> str:
    """`2023-06` of a date that begins so, its year's last month where there is but a year, nothing otherwise."""
    found = re.match(r"(20\d\d)(?:[-/](0?[1-9]|1[0-2])(?!\d))?", date)
    return f"{found[1]}-{int(found[2] or 12):02}" if found else ""


RunKind = Literal["all", "scored"]


def published_runs(kind: RunKind = "scored") -> list[TrainingRun]:
    """The open published runs that ship with herdplan; `scored` keeps those fit for a step-time error."""
    runs = [run for run in read_runs(PUBLISHED_RUNS) if isinstance(run, TrainingRun)]
    return [run for run in runs if run.scored] if kind == "scored" else runs
