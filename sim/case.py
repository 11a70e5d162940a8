"""A batch of training steps as numbers: everything the closed form needs, one array entry per step.

The closed form (`sim/step.py`) broadcasts over these fields, so one call evaluates one step, every layout of
a search, or every published run at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.architecture import ModelArchitecture
from profiler.profile import Precision, Recompute
from sim.calibration import load_calibration
from sim.hardware import Fabric, Gpu, Node
from sim.kernels.attention import AttentionLibrary, attention_curve
from sim.kernels.collectives import switch_reduction
from sim.kernels.matmul import matmul_curve
from sim.kernels.measured import MeasuredStep
from sim.layout import ParallelLayout, Sharding
from sim.stacks import Selective, SoftwareStack

Array = NDArray[np.float64]

SHARDINGS: tuple[Sharding, ...] = ("none", "ddp", "zero1", "zero2", "fsdp", "hsdp")
ATTENTION_LIBRARY: Mapping[str, AttentionLibrary] = {
    "unfused": "flash2",  # never asked for
    "flash1": "flash1",
    "flash2": "flash2",
    "flash3": "cudnn",
}
"""Whose timings give the shape of each kind of attention; cuDNN and FlashAttention-3 run alike on Hopper."""
RECOMPUTES: tuple[Recompute, ...] = ("none", "selective", "full")
SELECTIVES: tuple[Selective, ...] = ("attention", "operations", "blocks", "mlp", "qkv")


@dataclass(frozen=True, kw_only=True)
class ProductShape:
    """`sim.kernels.matmul.MatmulShape`, one entry per step."""

    depth: Array
    rows: Array
    columns: Array


@dataclass(frozen=True, kw_only=True)
class CoreShape:
    """`sim.kernels.attention.AttentionShape`, one entry per step."""

    flops_per_s: Array
    backward_flops_per_s: Array
    half: Array
    backward_half: Array
    mask: Array
    fill: Array
    softmax: Array


@dataclass(frozen=True, kw_only=True)
class StepCase:
    """One entry per step. Counts are per model, run or layout; rates are what one GPU sustains."""

    # model
    layers: Array
    hidden: Array
    ffn: Array
    attention_width: Array
    kv_width: Array
    heads: Array
    head_dim: Array
    vocab: Array
    gated: Array
    tied: Array
    layer_parameters: Array
    layer_matmul_parameters: Array
    embedding_parameters: Array
    # run
    seq_len: Array
    global_batch: Array
    fp8: Array
    """1 where matrix products run in fp8."""
    # layout
    tp: Array
    cp: Array
    pp: Array
    vp: Array
    dp: Array
    micro_batch: Array
    shard_degree: Array
    sequence_parallel: Array
    sharding: Array
    """Index into SHARDINGS."""
    recompute: Array
    """Index into RECOMPUTES."""
    recompute_share: Array
    """Share of the layers to which recompute applies."""
    zero_bubble: Array
    """1 for a zero-bubble schedule."""
    # machine
    gpus_per_node: Array
    peak_flops: Array
    """Dense peak of the precision used."""
    ceiling_flops: Array
    """Measured matmul ceiling of the precision used."""
    memory_bytes: Array
    memory_peak_bytes_per_s: Array
    """The datasheet's."""
    memory_bytes_per_s: Array
    """Sustained by elementwise kernels."""
    matmul_flops_per_s: Array
    matmul_16bit_flops_per_s: Array
    matmul_overhead_s: Array
    backward_matmul: Array
    attention_flops_per_s: Array
    matmul_depth: Array
    """How products slow down with their shape in the precision used, and below in 16 bits (`sim.kernels.matmul`)."""
    matmul_rows: Array
    matmul_columns: Array
    matmul_16bit_depth: Array
    matmul_16bit_rows: Array
    matmul_16bit_columns: Array
    attention_half: Array
    """How fused attention slows down with its shape (`sim.kernels.attention`)."""
    attention_backward_half: Array
    attention_mask: Array
    attention_fill: Array
    attention_softmax: Array
    attention_backward_flops_per_s: Array
    nvlink_bytes_per_s: Array
    direct_peers: Array
    """Peers among which a GPU's links are shared out where no switch joins them; 0 where one does."""
    nic_bytes_per_s: Array
    fabric_latency_s: Array
    pod_gpus: Array
    """GPUs that reach each other at full rate; infinite where all do."""
    oversubscription: Array
    switch_reduction: Array
    """Rate of an all-reduce inside a node over a ring's, where a switch adds up; 1 where none does."""
    # stack
    unfused: Array
    softmax_passes: Array
    elementwise: Array
    eager: Array
    """1 where the stack runs one kernel per operation."""
    early_stop: Array
    selective_matmul: Array
    selective_attention: Array
    selective_elementwise: Array
    selective_policy: Array
    """Index into SELECTIVES."""
    backward_all_reduces: Array
    tp_exposed: Array
    misaligned_rate: Array
    defers_head_gradient: Array
    dp_overlap: Array
    dp_exposed: Array
    fsdp_exposed: Array
    cp_exposed: Array
    p2p_exposed: Array
    pipeline_inside_data: Array
    """1 where the stages of a pipeline are nearer to each other than its replicas."""
    gradient_bytes: Array
    gradient_store_bytes: Array
    step_fixed_s: Array
    pass_fixed_s: Array
    launch_gap_s: Array
    straggler_per_doubling: Array
    optimizer_bytes: Array
    quantise_bytes: Array
    # the stack's memory habits (`sim/memory_habits.py`)
    kept_gradient_bytes: Array
    """Bytes per parameter of the gradients held until the step ends."""
    fragmentation: Array
    logit_bytes: Array
    splits_vocabulary: Array
    norm_tensors: Array
    gated_tensors: Array
    keeps_scores: Array
    keeps_fp8_inputs: Array
    sixteen_bit_state: Array
    accumulates_whole: Array
    gradients_in_state: Array
    keeps_gathered_inputs: Array
    keeps_stage_outputs: Array
    bucket_bytes: Array
    # from a profile (`sim.kernels.measured`), NaN where it gives none: a block, the head both ways, and an update
    measured_forward_s: Array
    measured_backward_s: Array
    measured_head_s: Array
    measured_update_s_per_parameter: Array

    @property
    def size(self) -> int:
        """Number of steps."""
        return math.prod(np.broadcast_shapes(*(np.shape(getattr(self, f.name)) for f in fields(self))))

    @property
    def matmul_shape(self) -> "ProductShape":
        """How products slow down with their shape, in the precision used."""
        return ProductShape(depth=self.matmul_depth, rows=self.matmul_rows, columns=self.matmul_columns)

    @property
    def matmul_16bit_shape(self) -> "ProductShape":
        """The same in 16 bits."""
        return ProductShape(
            depth=self.matmul_16bit_depth, rows=self.matmul_16bit_rows, columns=self.matmul_16bit_columns
        )

    @property
    def attention_shape(self) -> "CoreShape":
        """How fused attention slows down with its shape."""
        return CoreShape(
            flops_per_s=self.attention_flops_per_s,
            backward_flops_per_s=self.attention_backward_flops_per_s,
            half=self.attention_half,
            backward_half=self.attention_backward_half,
            mask=self.attention_mask,
            fill=self.attention_fill,
            softmax=self.attention_softmax,
        )

    @property
    def micro_batches(self) -> Array:
        """Forward passes of one replica in one step."""
        return self.global_batch / (self.dp * self.micro_batch)

    @property
    def gpus(self) -> Array:
        """GPUs of the layout."""
        return self.tp * self.cp * self.pp * self.dp

    @property
    def tokens(self) -> Array:
        """Tokens of one step."""
        return self.global_batch * self.seq_len


def concatenate(cases: Sequence[StepCase]) -> StepCase:
    """One case holding the steps of all of them, in order."""
    return StepCase(
        **{f.name: np.concatenate([np.atleast_1d(getattr(case, f.name)) for case in cases]) for f in fields(StepCase)}
    )


def build_case(
    *,
    architecture: ModelArchitecture,
    gpu: Gpu,
    node: Node,
    gpus_per_node: int,
    fabric: Fabric,
    stack: SoftwareStack,
    layouts: "Sequence[ParallelLayout] | Mapping[str, Array]",
    seq_len: int,
    global_batch: int,
    precision: Precision = "bf16",
    calibration: Mapping[str, float] | None = None,
    zero_bubble: bool = False,
    measured: Sequence[MeasuredStep] = (),
) -> StepCase:
    """Put typed objects into arrays, one entry per layout; constants come from the calibration.

    Layouts come as objects, or as the arrays of `layout_columns` where a search makes a million of them.
    `measured` gives, per layout, what a profile says of its step.
    """
    k = load_calibration().values() if calibration is None else calibration
    columns = {
        **_model_columns(architecture),
        **rate_columns(gpu, node, gpus_per_node, fabric, stack, precision, k),
        "seq_len": seq_len,
        "global_batch": global_batch,
        "fp8": precision == "fp8",
        "zero_bubble": zero_bubble,
        **(layouts if isinstance(layouts, Mapping) else layout_columns(layouts, architecture, stack)),
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
        "layer_parameters": a.layer_parameters,
        "layer_matmul_parameters": a.layer_matmul_parameters,
        "embedding_parameters": a.embedding_parameters,
    }


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
        "recompute_share": [min((x.recompute_layers or a.layers) / a.layers, 1.0) for x in layouts],
    }


def _family(gpu: Gpu) -> str:
    """Which calibrated part stands for this GPU: its own, or the H100 where it has none."""
    return gpu.kernels or "h100"


def rate_columns(
    gpu: Gpu,
    node: Node,
    gpus_per_node: int,
    fabric: Fabric,
    stack: SoftwareStack,
    precision: Precision,
    k: Mapping[str, float],
) -> dict[str, Any]:
    """The machine and stack fields of a case: all that depends on the calibrated constants `k`."""
    return {
        **_machine_columns(gpu, node, gpus_per_node, fabric, stack, precision, k),
        **_stack_columns(stack, precision, k),
        **_memory_columns(stack, precision),
    }


def _machine_columns(
    gpu: Gpu,
    node: Node,
    gpus_per_node: int,
    fabric: Fabric,
    stack: SoftwareStack,
    precision: Precision,
    k: Mapping[str, float],
) -> dict[str, Any]:
    family = _family(gpu)
    share = k[f"matmul_{family.replace('-', '_')}"]
    sixteen_bit = gpu.peak_bf16_flops * share
    a100 = family == "a100"
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
        "memory_bytes": gpu.memory_bytes,
        "memory_peak_bytes_per_s": gpu.memory_bandwidth_bytes_per_s,
        "memory_bytes_per_s": gpu.memory_bandwidth_bytes_per_s * k["memory_share"],
        "matmul_flops_per_s": peak * share,
        "matmul_16bit_flops_per_s": sixteen_bit,
        "matmul_overhead_s": k["matmul_overhead_s"],
        "backward_matmul": k["backward_matmul"],
        **_kernel_columns(gpu, stack, precision, k),
        "direct_peers": 0 if node.switched else node.gpus_per_node - 1,
        "nvlink_bytes_per_s": gpu.link_bandwidth_bytes_per_s * k["nvlink_share_a100" if a100 else "nvlink_share"],
        "nic_bytes_per_s": fabric.bandwidth_bytes_per_s * k["nic_share"],
        "fabric_latency_s": fabric.latency_s,
        "pod_gpus": fabric.pod_gpus or math.inf,
        "oversubscription": fabric.oversubscription,
        "switch_reduction": switch_reduction() if node.switched and node.switch_reduces else 1.0,
    }


def _kernel_columns(gpu: Gpu, stack: SoftwareStack, precision: Precision, k: Mapping[str, float]) -> dict[str, float]:
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
        "attention_mask": core.mask,
        "attention_fill": core.fill,
        "attention_softmax": core.softmax,
    }


def attention_rate(gpu: Gpu, stack: SoftwareStack, k: Mapping[str, float]) -> float:
    """Causal attention FLOP/s of the stack's kernel on this GPU, long sequences.

    flash3 needs Hopper: an A100 runs FlashAttention-2 instead. Other parts scale by their matmul rate
    against the H100's (a power-limited one by its clocks, a faster one by its peak).
    """
    family = _family(gpu)
    a100 = family == "a100"
    kernel = stack.attention if stack.attention != "unfused" else "flash2"
    if a100:
        return k["attention_flash1_a100" if kernel == "flash1" else "attention_flash2_a100"]
    clocks = k[f"matmul_{family.replace('-', '_')}"] / k["matmul_h100"]
    h100_peak = 989.4e12  # datasheet, where the kernels were timed
    return k[f"attention_{kernel}_h100"] * clocks * gpu.peak_bf16_flops / h100_peak


def _stack_columns(stack: SoftwareStack, precision: Precision, k: Mapping[str, float]) -> dict[str, Any]:
    # what selective recompute runs again: shares of a block's forward matmuls, attention and elementwise work
    selective = {
        "attention": (0.0, 1.0, 0.1),
        "operations": (0.5, 0.0, 0.9),
        "blocks": (0.5, 0.5, 0.5),
        "mlp": (0.55, 1.0, 0.8),
        "qkv": (0.63, 1.0, 0.8),
    }[stack.selective]
    exposed = {"none": 1.0, "async": k["tp_exposed_async"], "userbuffers": k["tp_exposed_userbuffers"]}
    return {
        "unfused": stack.attention == "unfused",
        "softmax_passes": k["softmax_passes"],
        "elementwise": k[f"elementwise_{stack.elementwise}"],
        "eager": stack.elementwise == "eager",
        "early_stop": stack.early_stop,
        "selective_matmul": selective[0],
        "selective_attention": selective[1],
        "selective_elementwise": selective[2],
        "selective_policy": SELECTIVES.index(stack.selective),
        "backward_all_reduces": stack.backward_all_reduces,
        "tp_exposed": exposed[stack.tp_overlap],
        "misaligned_rate": k["misaligned_rate"],
        "defers_head_gradient": stack.defers_head_gradient,
        "dp_overlap": stack.dp_overlap,
        "dp_exposed": k["dp_exposed"],
        "fsdp_exposed": 0.0 if stack.schedules_gathers else k["fsdp_exposed"],
        "cp_exposed": k["cp_exposed"],
        "pipeline_inside_data": stack.pipeline_inside_data,
        "p2p_exposed": 0.0 if stack.p2p_overlap else 1.0,
        "gradient_bytes": stack.gradient_bytes,
        "gradient_store_bytes": stack.gradient_store_bytes,
        "step_fixed_s": k["step_fixed_s"],
        "pass_fixed_s": k["pass_fixed_s"],
        "launch_gap_s": k["launch_gap_s"] if stack.launch_bound else 0.0,
        "straggler_per_doubling": k["straggler_per_doubling"],
        "optimizer_bytes": k["optimizer_bytes"],
        "quantise_bytes": k["fp8_quantise_bytes"] if precision == "fp8" else 0.0,
    }


def _memory_columns(stack: SoftwareStack, precision: Precision) -> dict[str, Any]:
    habits = stack.memory
    # fp16 gradients are summed in fp16: their loss scale keeps them in range (Megatron-LM sums only bf16's in fp32)
    sums = 2 if precision == "fp16" else stack.gradient_store_bytes
    return {
        "kept_gradient_bytes": sums + (2 if habits.gradients_beside_sums and sums == 4 else 0),
        "fragmentation": habits.fragmentation,
        "logit_bytes": habits.logit_bytes,
        "splits_vocabulary": habits.splits_vocabulary,
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
