"""From typed objects to the numbers of a `StepCase`: model, layout, machine, kernels and stack, column by column."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from profiler.architecture import ModelArchitecture
from profiler.files import InputError, nearest
from sim.calibration import load_calibration
from sim.case import BF16, RECOMPUTES, SELECTIVES, SHARDINGS, StepCase
from sim.hardware import Fabric, Gpu, Node, TrainingPrecision
from sim.kernels.attention import AttentionLibrary, attention_curve
from sim.kernels.collectives import LINKS
from sim.kernels.matmul import matmul_curve
from sim.kernels.measured import MeasuredStep
from sim.layout import ParallelLayout
from sim.schedule.order import SCHEDULES
from sim.stacks.stack import SoftwareStack

ATTENTION_LIBRARY: Mapping[str, AttentionLibrary] = {
    "unfused": "flash2",  # never asked for
    "flash1": "flash1",
    "flash2": "flash2",
    "flash3": "cudnn",
}
"""Whose timings give the shape of each kind of attention; cuDNN and FlashAttention-3 run alike on Hopper."""


def build_case(
    *,
    architecture: ModelArchitecture,
    gpu: Gpu,
    node: Node,
    gpus_per_node: int,
    fabric: Fabric,
    stack: SoftwareStack,
    layouts: Sequence[ParallelLayout],
    seq_len: int,
    global_batch: int,
    precision: TrainingPrecision = "bf16",
    calibration: Mapping[str, float] | None = None,
    measured: Sequence[MeasuredStep] = (),
) -> StepCase:
    """Put typed objects into arrays, one entry per layout; constants come from the calibration.

    `measured` gives, per layout, what a profile says of its step.
    """
    k = load_calibration().values() if calibration is None else calibration
    columns = {
        **_model_columns(architecture),
        "head_layers": _head_layers(architecture) if stack.stages_by_work else 0.0,
        **rate_columns(gpu, node, gpus_per_node, fabric, stack, precision, k),
        "seq_len": seq_len,
        "global_batch": global_batch,
        "fp8": precision == "fp8",
        **layout_columns(layouts, architecture, stack),
        "measured_forward_s": [step.block.forward_s for step in measured] or math.nan,
        "measured_backward_s": [step.block.backward_s for step in measured] or math.nan,
        "measured_head_s": [step.head.total_s for step in measured] or math.nan,
        "measured_update_s_per_parameter": [step.update.total_s for step in measured] or math.nan,
    }
    return StepCase(**{name: np.atleast_1d(np.asarray(value, dtype=np.float64)) for name, value in columns.items()})


def _model_columns(a: ModelArchitecture) -> dict[str, Any]:
    return {
        "layers": a.layers,
        "hidden": a.hidden,
        "ffn": a.ffn,
        "attention_width": a.attention_width,
        "kv_width": a.kv_width,
        "heads": a.heads,
        "head_dim": a.head_dim,
        "vocab": a.vocab,
        "gated": a.gated_mlp,
        "tied": a.tied_embeddings,
        "biased": a.biases,
        "layer_parameters": a.layer_parameters,
        "layer_matmul_parameters": a.layer_matmul_parameters,
        "embedding_parameters": a.embedding_parameters,
    }


def _head_layers(a: ModelArchitecture) -> float:
    """The head's weights over a layer's: nanotron's cost of either is its matmul parameters."""
    return a.vocab * a.hidden / a.layer_matmul_parameters


def layout_columns(
    layouts: Sequence[ParallelLayout], a: ModelArchitecture, stack: SoftwareStack
) -> dict[str, list[float]]:
    """The layout fields of a case, one entry per layout."""

    def sequence_parallel(layout: ParallelLayout) -> bool:
        stated = layout.sequence_parallel
        return stack.sequence_parallel if stated is None else stated

    return {
        "tp": [x.tp for x in layouts],
        "cp": [x.cp for x in layouts],
        "pp": [x.pp for x in layouts],
        "vp": [x.vp for x in layouts],
        "dp": [x.dp for x in layouts],
        "micro_batch": [x.micro_batch for x in layouts],
        "shard_degree": [x.shard_degree or x.dp * x.cp for x in layouts],
        "sequence_parallel": [sequence_parallel(x) for x in layouts],
        "sharding": [SHARDINGS.index(x.sharding) for x in layouts],
        "recompute": [RECOMPUTES.index(x.recompute) for x in layouts],
        "schedule": [SCHEDULES.index(x.schedule) for x in layouts],
        "recompute_share": [min((x.recompute_layers or a.layers) / a.layers, 1.0) for x in layouts],
    }


def _family(gpu: Gpu) -> str:
    """Which calibrated part stands for this GPU: its own, or the H100 where it has none."""
    return gpu.kernels or gpu.fitted or "h100"


def _rate_of(gpu: Gpu, k: Mapping[str, float]) -> str:
    """The constant that is the rate of its large products.

    Raises:
        InputError: a GPU's file names a part that was not calibrated.
    """
    rates = {name.removeprefix("matmul_").replace("_", "-"): name for name in k if name.startswith("matmul_")}
    parts = [part for part in rates if part not in ("fp8", "overhead-s")]
    if _family(gpu) not in parts:
        raise InputError(f"gpu '{gpu.name}' has kernels or fitted '{_family(gpu)}'; {nearest(_family(gpu), parts)}.")
    return rates[_family(gpu)]


def rate_columns(
    gpu: Gpu,
    node: Node,
    gpus_per_node: int,
    fabric: Fabric,
    stack: SoftwareStack,
    precision: TrainingPrecision,
    k: Mapping[str, float],
) -> dict[str, Any]:
    """The machine and stack fields of a case: all that depends on the calibrated constants `k`."""
    share = k[_rate_of(gpu, k)] * (1 + node.clock_gain)  # attention stays below the power limit as it is
    sixteen_bit = gpu.peak_bf16_flops * share
    a100, hopper = _family(gpu) == "a100", gpu.kernels.startswith("h")
    if precision == "fp8" and gpu.peak_fp8_flops:
        peak = gpu.peak_fp8_flops
        # the power limit slows fp8 as it slows bf16: the 500 W part keeps its ratio
        share = k["matmul_fp8"] * share / k["matmul_h100"]
        if stack.fp8_rowwise:
            share /= k["fp8_rowwise_slowdown"]
    else:
        peak = gpu.peak_bf16_flops
    return {
        "gpus_per_node": gpus_per_node,
        "peak_flops": peak,
        "ceiling_flops": gpu.matmul_ceiling_flops(precision),
        "memory_peak_bytes_per_s": gpu.memory_bandwidth_bytes_per_s,
        "memory_bytes_per_s": gpu.memory_bandwidth_bytes_per_s * k["memory_share"],
        "matmul_flops_per_s": peak * share,
        "matmul_16bit_flops_per_s": sixteen_bit,
        "matmul_overhead_s": k["matmul_overhead_s"],
        "backward_matmul": k["backward_matmul"],
        "biased_matmul": k["biased_matmul"] if stack.small_workspace and hopper and precision != "fp8" else 1.0,
        **_kernel_columns(gpu, stack, precision, k),
        "slowdown": node.slowdown,
        "direct_peers": 0 if node.switched else node.gpus_per_node - 1,
        "nvlink_bytes_per_s": gpu.link_bandwidth_bytes_per_s * k["nvlink_share_a100" if a100 else "nvlink_share"],
        "nic_bytes_per_s": fabric.bandwidth_bytes_per_s
        * k["nic_share"]
        * (k["omni_path_share"] if fabric.omni_path else 1.0)
        * (k["nic_at_cpu_share"] if node.nics_at_cpu else 1.0),
        "fabric_latency_s": fabric.latency_s,
        "pod_gpus": fabric.pod_gpus or math.inf,
        "oversubscription": fabric.oversubscription,
        "links": LINKS.index("a100" if a100 else "h100"),
        "switch_reduces": node.switched and node.switch_reduces,
        "fp8_gathers": stack.fp8_gathers and precision == "fp8" and not stack.fp8_rowwise,
        **_stack_columns(stack, precision, k),
        **_habit_columns(stack),
        **_context_columns(stack),
        **_memory_columns(stack, precision),
    }


def _habit_columns(stack: SoftwareStack) -> dict[str, float]:
    """What the stack's kernels move beside its products and attention, and its collectives over activations."""
    habits = stack.kernels
    passes = habits.passes(stack.elementwise)
    # asynchronous gathers arrive in place; scatters still add up what each rank computed for the others
    laid_out = 0.5 if stack.tp_overlap == "async" else 1.0
    return {
        **{f"{name}_forward": both[0] for name, both in passes.items()},
        **{f"{name}_backward": both[1] for name, both in passes.items()},
        "norms_again": habits.norms_again,
        "repeats_heads": habits.repeats_heads,
        "gathered_passes": habits.gathered * laid_out,
        "loss_bytes": habits.loss_bytes,
        "accumulate_bytes": habits.accumulate_bytes,
        "optimizer_bytes": habits.optimizer_bytes,
        "gather_copy_bytes": habits.gather_copy_bytes,
        "scatter_copy_bytes": habits.scatter_copy_bytes,
        "quantised_forward": habits.quantised_weights[0],
        "quantised_backward": habits.quantised_weights[1],
        "backward_all_reduces": stack.backward_all_reduces,
        "forward_gathers": stack.gathers[0] - (stack.shared_gathers if stack.elementwise == "compiled" else 0.0),
        "backward_gathers": stack.gathers[1],
        "hidden_gathers": stack.hidden_gathers,
        "hidden_all_reduces": stack.hidden_all_reduces,
        "root_gathers": stack.root_gathers,
        "root_has_head": stack.root_has_head,
        "keeps_gathered": stack.keeps_gathered,
        "zero2_by_block": stack.zero2_by_block,
    }


def _context_columns(stack: SoftwareStack) -> dict[str, float]:
    """What the stack does for context parallelism."""
    habits = stack.context
    return {
        "gathers_first": habits.gathers_first,
        "passed_gradient_bytes": habits.gradient_bytes,
        "sends_home": habits.sends_home,
        "merge_forward": habits.merge[0],
        "merge_backward": habits.merge[1],
    }


def _kernel_columns(
    gpu: Gpu, stack: SoftwareStack, precision: TrainingPrecision, k: Mapping[str, float]
) -> dict[str, float]:
    """How kernels slow down with their shape: published curves, beside the calibrated rates of large ones."""
    products, products_16bit = matmul_curve(gpu.kernels, precision), matmul_curve(gpu.kernels, "bf16")
    core = attention_curve(gpu.kernels, ATTENTION_LIBRARY[stack.attention])
    rate = attention_rate(gpu, stack, k)
    return {
        "matmul_depth": products.depth,
        "matmul_rows": products.rows,
        "matmul_columns": products.columns,
        "matmul_16bit_depth": products_16bit.depth,
        "matmul_16bit_rows": products_16bit.rows,
        "matmul_16bit_columns": products_16bit.columns,
        "attention_flops_per_s": rate,
        "attention_backward_flops_per_s": rate * core.backward_flops_per_s / core.flops_per_s,
        "attention_half": core.half,
        "attention_backward_half": core.backward_half,
        "attention_full_gain": core.full_gain,
        "attention_mask": core.mask,
        "attention_fill": core.fill,
        "attention_softmax": core.softmax,
    }


def attention_rate(gpu: Gpu, stack: SoftwareStack, k: Mapping[str, float]) -> float:
    """Causal attention FLOP/s of the stack's kernel on this GPU, long sequences.

    flash3 needs Hopper: an A100 runs FlashAttention-2 instead. Other parts scale by their matmul rate
    against the H100's (a power-limited one by its clocks, a faster one by its peak).
    """
    kernel = stack.attention if stack.attention != "unfused" else "flash2"
    if _family(gpu) == "a100":
        return k["attention_flash1_a100" if kernel == "flash1" else "attention_flash2_a100"]
    clocks = k[_rate_of(gpu, k)] / k["matmul_h100"]
    h100_peak = 989.4e12  # datasheet, where the kernels were timed
    return k[f"attention_{kernel}_h100"] * clocks * gpu.peak_bf16_flops / h100_peak


def _stack_columns(stack: SoftwareStack, precision: TrainingPrecision, k: Mapping[str, float]) -> dict[str, Any]:
    # what selective recompute runs again: shares of a block's forward matmuls, attention and elementwise work
    selective = {
        "attention": (0.0, 1.0, 0.1),
        "operations": (0.5, 0.0, 0.9),
        "blocks": (0.5, 0.5, 0.5),
        "mlp": (0.55, 1.0, 0.8),
        "qkv": (0.63, 1.0, 0.8),
        "products": (0.0, 1.0, 0.8),
        "elementwise": (0.0, 0.0, 0.8),
    }[stack.selective]
    exposed = {"none": 1.0, "async": k["tp_exposed_async"], "userbuffers": k["tp_exposed_userbuffers"]}
    return {
        "unfused": stack.attention == "unfused",
        "softmax_passes": k["softmax_passes"],
        "eager": stack.elementwise == "eager",
        "early_stop": stack.early_stop,
        "selective_matmul": selective[0],
        "selective_attention": selective[1],
        "selective_elementwise": selective[2],
        "selective_policy": SELECTIVES.index(stack.selective),
        "tp_exposed": exposed[stack.tp_overlap],
        "misaligned_rate": k["misaligned_rate"],
        "defers_head_gradient": stack.defers_head_gradient,
        "dp_overlap": stack.dp_overlap,
        "whole_tensors": stack.whole_tensors,
        "dp_exposed": k["dp_exposed"],
        "fsdp_passes": 0.0 if stack.schedules_gathers else k["fsdp_passes"],
        "cp_exposed": k["cp_exposed"],
        "pipeline_inside_data": stack.pipeline_inside_data,
        "p2p_exposed": 0.0 if stack.p2p_overlap else 1.0,
        "gradient_bytes": stack.gradient_bytes,
        "weight_bytes": 1.0 if stack.fp8_weights and precision == "fp8" else BF16,
        "step_fixed_s": k["step_fixed_s"],
        "pass_fixed_s": k["pass_fixed_s"],
        "reduces_maxima": stack.reduces_maxima and precision == "fp8",
        "launch_gap_s": k["launch_gap_s"] if stack.launch_bound else 0.0,
        "gpu_spread": k["gpu_spread"],
        "quantise": k["fp8_quantise"] if precision == "fp8" else 0.0,
    }


def _memory_columns(stack: SoftwareStack, precision: TrainingPrecision) -> dict[str, Any]:
    habits = stack.memory
    # fp16 gradients are summed in fp16: their loss scale keeps them in range (Megatron-LM sums only bf16's in fp32)
    sums = 2 if precision == "fp16" else stack.gradient_store_bytes
    return {
        "kept_gradient_bytes": sums + (2 if habits.gradients_beside_sums and sums == 4 else 0),
        "fragmentation": habits.fragmentation,
        "logit_bytes": habits.logit_bytes,
        "splits_vocabulary": habits.splits_vocabulary,
        "splits_head": habits.splits_head,
        "norm_tensors": habits.norm_tensors,
        "gated_tensors": habits.gated_tensors,
        "keeps_scores": habits.keeps_scores or stack.attention == "unfused",
        "keeps_fp8_inputs": habits.keeps_fp8_inputs and precision == "fp8",
        "sixteen_bit_state": habits.sixteen_bit_state,
        "accumulates_whole": habits.accumulates_whole,
        "gradients_in_state": habits.gradients_in_state,
        "keeps_gathered_inputs": habits.keeps_gathered_inputs,
        "keeps_stage_outputs": habits.keeps_stage_outputs,
        "bucket_bytes": habits.bucket_bytes,
    }
