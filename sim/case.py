"""A batch of training steps as numbers: everything the closed form needs, one array entry per step.

The closed form (`sim/step.py`) broadcasts over these fields, so one call evaluates one step, every layout of
a search, or every published run at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.profile import Recompute
from sim.layout import Sharding
from sim.stacks.stack import Selective

Array = NDArray[np.float64]

BF16 = 2.0
"""Bytes of a 16-bit number."""

SHARDINGS: tuple[Sharding, ...] = ("none", "ddp", "zero1", "zero2", "fsdp", "hsdp")
RECOMPUTES: tuple[Recompute, ...] = ("none", "selective", "full")
SELECTIVES: tuple[Selective, ...] = (
    "attention",
    "operations",
    "blocks",
    "mlp",
    "qkv",
    "products",
    "elementwise",
)


@dataclass(frozen=True, kw_only=True)
class ProductShape:
    """`sim.kernels.matmul.MatmulShape`, one entry per step."""

    depth: Array
    rows: Array
    columns: Array


@dataclass(frozen=True, kw_only=True)
class CoreShape:
    """`sim.kernels.attention.AttentionShape`, one entry per step."""

    half: Array
    backward_half: Array
    full_gain: Array
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
    schedule: Array
    """Index into `sim.schedule.order.SCHEDULES`."""
    # machine
    gpus_per_node: Array
    peak_flops: Array
    """Dense peak of the precision used."""
    ceiling_flops: Array
    """Measured matmul ceiling of the precision used."""
    memory_peak_bytes_per_s: Array
    """The datasheet's."""
    memory_bytes_per_s: Array
    """Sustained by elementwise kernels."""
    matmul_flops_per_s: Array
    matmul_16bit_flops_per_s: Array
    matmul_overhead_s: Array
    backward_matmul: Array
    biased: Array
    """1 where a block's products have biases, added in them forward at `biased_matmul` of the rate."""
    biased_matmul: Array
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
    attention_full_gain: Array
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
    links: Array
    """Index into `sim.kernels.collectives.LINKS`, whose timings say what small messages and few ranks lose."""
    switch_reduces: Array
    """1 where a switch adds up an all-reduce inside a node."""
    # stack
    unfused: Array
    softmax_passes: Array
    norm_forward: Array
    """Passes over memory per element, up to `copies_backward` (`sim.stacks.kernel_habits`)."""
    norm_backward: Array
    residual_forward: Array
    residual_backward: Array
    gated_forward: Array
    gated_backward: Array
    plain_forward: Array
    plain_backward: Array
    rotary_forward: Array
    rotary_backward: Array
    copies_forward: Array
    copies_backward: Array
    norms_again: Array
    """1 where norms run again backward."""
    repeats_heads: Array
    """1 where keys and values are written out for every query head before attention."""
    gathered_passes: Array
    """Passes over the whole tensor beside each gather or scatter of activations."""
    loss_bytes: Array
    """Per logit, forward and backward."""
    accumulate_bytes: Array
    """Per parameter and micro-batch."""
    gather_copy_bytes: Array
    """Per parameter and gather of sharded weights, and below per scatter of their gradients."""
    scatter_copy_bytes: Array
    quantised_forward: Array
    """Bytes per weight and pass to quantise 16-bit weights for fp8 products, and below backward."""
    quantised_backward: Array
    eager: Array
    """1 where the stack runs one kernel per operation."""
    early_stop: Array
    selective_matmul: Array
    selective_attention: Array
    selective_elementwise: Array
    selective_policy: Array
    """Index into SELECTIVES."""
    backward_all_reduces: Array
    forward_gathers: Array
    """Gathers and scatters of activations under sequence parallelism, and below backward, and which of those hide."""
    backward_gathers: Array
    hidden_gathers: Array
    hidden_all_reduces: Array
    """Of the backward ones without sequence parallelism."""
    fp8_gathers: Array
    """1 where those gathers that go to fp8 products move fp8 numbers."""
    root_gathers: Array
    """Gathers of FSDP's root group, all weights in no block, for each micro-batch; 0 where each has a group."""
    root_has_head: Array
    """1 where the head is in that group beside the embedding."""
    keeps_gathered: Array
    """1 where a pipeline's stages keep FSDP's weights gathered for all micro-batches."""
    zero2_by_block: Array
    """1 where ZeRO-2 moves weights and gradients block by block."""
    tp_exposed: Array
    misaligned_rate: Array
    defers_head_gradient: Array
    dp_overlap: Array
    whole_tensors: Array
    """1 where ranks own whole tensors: gradients are summed for each of them whole, and at the end of a step all wait
    for the owner of the largest and while each broadcasts its own."""
    dp_exposed: Array
    fsdp_passes: Array
    """Of memory, that each byte of FSDP's traffic costs the kernels beside it."""
    cp_exposed: Array
    gathers_first: Array
    """1 where context parallelism gathers keys and values before attention, and below its other habits
    (`sim.stacks.context_habits`)."""
    passed_gradient_bytes: Array
    sends_home: Array
    merge_forward: Array
    merge_backward: Array
    p2p_exposed: Array
    head_layers: Array
    """Layers' work that the head counts for when stages are cut; 0 where only layers are counted."""
    pipeline_inside_data: Array
    """1 where the stages of a pipeline are nearer to each other than its replicas."""
    gradient_bytes: Array
    """Per gradient reduced, and below per weight gathered."""
    weight_bytes: Array
    step_fixed_s: Array
    pass_fixed_s: Array
    launch_gap_s: Array
    reduces_maxima: Array
    """1 where the maxima of fp8 tensors are taken over ranks after every pass."""
    gpu_spread: Array
    slowdown: Array
    """Share by which a node that is not in order delays every step."""
    optimizer_bytes: Array
    """Per parameter that a rank updates."""
    quantise: Array
    """Time to quantise for fp8 products over that of the counted bytes; 0 in 16 bits."""
    # the stack's memory habits (`sim/stacks/memory_habits.py`)
    kept_gradient_bytes: Array
    """Bytes per parameter of the gradients held until the step ends."""
    fragmentation: Array
    logit_bytes: Array
    splits_vocabulary: Array
    """1 where tensor-parallel ranks share out the embedding, and below the head."""
    splits_head: Array
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
            half=self.attention_half,
            backward_half=self.attention_backward_half,
            full_gain=self.attention_full_gain,
            mask=self.attention_mask,
            fill=self.attention_fill,
            softmax=self.attention_softmax,
        )

    @property
    def micro_batches(self) -> Array:
        """Forward passes of one replica in one step."""
        return self.global_batch / (self.dp * self.micro_batch)

    @property
    def tokens_per_pass(self) -> Array:
        """Tokens that one rank holds in one pass."""
        return self.micro_batch * self.seq_len / self.cp

    @property
    def gpus(self) -> Array:
        """GPUs of the layout."""
        return self.tp * self.cp * self.pp * self.dp

    @property
    def tokens(self) -> Array:
        """Tokens of one step."""
        return self.global_batch * self.seq_len


def entry(values: NDArray[Any], index: int) -> float:
    """What stands for step `index` among `values`, of which there may be one for all steps."""
    return float(values[index if values.size > 1 else 0])


def concatenate(cases: Sequence[StepCase]) -> StepCase:
    """One case holding the steps of all of them, in order."""
    return StepCase(
        **{f.name: np.concatenate([np.atleast_1d(getattr(case, f.name)) for case in cases]) for f in fields(StepCase)}
    )
