"""One pass of one block, forward or backward, and the head: what a GPU does for one micro-batch.

Every quantity is an array with one entry per step of a `StepCase`; nothing loops over layouts. Times are
seconds, sizes bytes, all per GPU. Sources of the equations stand in each function.
"""

from dataclasses import dataclass

import numpy as np

from sim.case import BF16, RECOMPUTES, Array, StepCase
from sim.context import attention_slowdown, context_parallel_s, merge_s
from sim.kernels import attention, matmul
from sim.kernels.matmul import BlockShapes, block_shapes
from sim.kernels.tables import Values
from sim.network import all_reduce_time_s, gather_time_s

FULL = RECOMPUTES.index("full")
SELECTIVE = RECOMPUTES.index("selective")

SCATTERS = 2.0
"""Of a block's gathers and scatters in one pass, those that add up: behind the attention and behind the MLP forward,
before either backward."""

# Bytes that Transformer Engine moves to quantise one element for an fp8 product (module/linear.py and
# layernorm_linear.py: norms write fp8 themselves; with sequence parallelism transposes wait for the backward pass).
QUANTISED_INPUT = 3.0
"""Forward, of an input that no norm wrote: read 2, write 1."""
TRANSPOSED_INPUT = 2.0
"""Backward, of every input: read 1, write 1."""
QUANTISED_GRADIENT = 4.0
"""Backward, of every output's gradient: read 2, write it and its transpose."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Seconds of one pass (forward or backward) of one block over one micro-batch."""

    matmul: Array
    attention: Array
    elementwise: Array
    tensor_parallel: Array
    """Exposed tensor-parallel communication: what does not hide, or outlasts the computation."""
    context_parallel: Array
    """Exposed context-parallel communication."""
    host: Array
    """Gaps in which the GPU waits for launches."""
    gathers: Array
    """Tensor-parallel communication, hidden or not; no part of the total."""

    @property
    def compute(self) -> Array:
        """Seconds in which the GPU computes."""
        return self.matmul + self.attention + self.elementwise

    @property
    def total(self) -> Array:
        """All seconds of the pass."""
        return self.compute + self.tensor_parallel + self.context_parallel + self.host


def block_shapes_of(case: StepCase) -> BlockShapes:
    """The products of one block on one rank."""
    return block_shapes(
        hidden=case.hidden,
        attention_width=case.attention_width,
        kv_width=case.kv_width,
        ffn=case.ffn,
        gated=case.gated,
        tp=case.tp,
    )


def products_s(case: StepCase, shapes: BlockShapes, busy_s: Values, quantised: Values, times: float) -> Array:
    """Seconds of a block's products: at least the time to read the weights `times` over, a fixed overhead each, and
    in fp8 the traffic of quantising what goes in (`quantised` bytes)."""
    read_s = BF16 * shapes.weights / case.memory_bytes_per_s
    traffic_s = quantised * case.quantise / case.memory_bytes_per_s
    return np.asarray(
        np.maximum(busy_s, times * read_s) + times * shapes.products * case.matmul_overhead_s + traffic_s
    )


def block_matmul_s(case: StepCase, part: BlockShapes | None = None) -> Array:
    """Forward seconds of one block's products, or of some of them, by their shapes (`sim.kernels.matmul`)."""
    shapes = part or block_shapes_of(case)
    rate = case.matmul_flops_per_s * np.where(case.biased > 0, case.biased_matmul, 1.0)
    busy_s = matmul.forward_s(case.tokens_per_pass, shapes, rate, case.matmul_shape)
    inputs = QUANTISED_INPUT * (shapes.inputs - 2 * case.hidden)
    quantised = case.tokens_per_pass * inputs + case.quantised_forward * shapes.weights
    return products_s(case, shapes, busy_s, quantised, 1.0)


def block_matmul_backward_s(case: StepCase, part: BlockShapes | None = None) -> Array:
    """Seconds of both gradients of every product, or of some."""
    shapes = part or block_shapes_of(case)
    rate = case.matmul_flops_per_s * case.backward_matmul
    busy_s = matmul.backward_s(case.tokens_per_pass, shapes, rate, case.matmul_shape)
    each_token = TRANSPOSED_INPUT * shapes.inputs + QUANTISED_GRADIENT * shapes.outputs
    quantised = case.tokens_per_pass * each_token + case.quantised_backward * shapes.weights
    return products_s(case, shapes, busy_s, quantised, 2.0)


def block_attention_s(case: StepCase, *, backward: bool = False) -> Array:
    """Seconds of the attention core.

    Flash: half the s x s scores, 4·b·s²·width FLOPs in full, at a rate that grows with the sequence and the head
    dimension (`sim.kernels.attention`).
    Unfused: all scores at the matmul rate, plus passes over the score matrix in memory
    (arXiv:2205.05198 section 4); twice as much backward. Products whose inner dimension is no multiple of eight
    16-bit numbers miss the tensor cores (NVIDIA, Matrix Multiplication Background, section 4.1).
    """
    full_flops = 4 * case.micro_batch * case.seq_len**2 * case.attention_width / (case.tp * case.cp)
    curve = case.attention_shape
    heads = case.micro_batch * case.heads / case.tp
    slow = attention_slowdown(case, backward=backward) * attention.head_dim_slowdown(case.head_dim, curve)
    rate = case.attention_flops_per_s
    if backward:
        rate = case.attention_backward_flops_per_s / attention.BACKWARD_FLOPS
    flash = 0.5 * full_flops / rate * slow
    scores = heads * case.seq_len**2 / case.cp
    aligned = np.where(case.head_dim % 8 == 0, 1.0, case.misaligned_rate)
    unfused = (
        full_flops / (case.matmul_flops_per_s * aligned)
        + BF16 * scores * case.softmax_passes / case.memory_bytes_per_s
    )
    if backward:
        unfused = 2 * unfused
    return np.where(case.unfused > 0, unfused, flash)


def block_elementwise_s(case: StepCase, *, backward: bool = False) -> Array:
    """Seconds of norms, residuals, activation and rotary embedding of one pass, by the bytes that the stack's kernels
    move (`sim.stacks.kernel_habits`): norms and residuals over the sequence-parallel ranks, the rest over the
    tensor-parallel ones, copies about each gather or scatter of whole activations, and merging on a ring."""

    def passes(operation: str) -> Array:
        counted: Array = getattr(case, f"{operation}_{'backward' if backward else 'forward'}")
        return counted

    over_sequence = np.where(case.sequence_parallel > 0, case.tp, 1.0)
    norms = passes("norm") + passes("residual") + (renormed(case) if backward else 0.0)
    hidden = 2 * norms * case.hidden / over_sequence
    activation = np.where(case.gated > 0, passes("gated"), passes("plain")) * case.ffn / case.tp
    rotary = passes("rotary") * (case.attention_width + case.kv_width) / case.tp
    copies = (
        passes("copies") * (case.attention_width + 2 * case.kv_width) + repeated_heads(case, backward)
    ) / case.tp
    gathers = case.backward_gathers if backward else case.forward_gathers
    split = (case.sequence_parallel > 0) & (case.tp > 1)
    laid_out = np.where(split, gathers * case.gathered_passes * case.hidden, 0.0)
    numbers = hidden + activation + rotary + copies + laid_out
    merged_s = merge_s(case, backward=backward)
    return np.asarray(BF16 * case.tokens_per_pass * numbers / case.memory_bytes_per_s + merged_s)


def renormed(case: StepCase) -> Array:
    """Passes over memory of a norm that runs again backward where its block does not, with the addition before every
    second one."""
    kept = 1 - np.where(case.recompute == FULL, case.recompute_share, 0.0)
    return np.asarray(case.norms_again * kept * (case.norm_forward + case.residual_forward / 2))


def repeated_heads(case: StepCase, backward: bool) -> Array:
    """Numbers per token that are read and written to give every query head its own key and value: both written whole
    forward; backward the gradients of both read whole and written back for the heads that there are."""
    numbers = 2 * (case.attention_width + (case.kv_width if backward else 0.0))
    return np.where((case.repeats_heads > 0) & (case.kv_width < case.attention_width), numbers, 0.0)


def tensor_parallel_s(case: StepCase) -> tuple[Array, Array]:
    """Seconds of a forward and of a backward pass' collectives over activations, hidden or not: two all-reduces
    forward and `backward_all_reduces`, or under sequence parallelism gathers and scatters, of which two move what an
    all-reduce does (arXiv:2205.05198 section 4.2.2), but no switch adds them up."""
    size_bytes, group = BF16 * case.tokens_per_pass * case.hidden, (case.tp, np.ones_like(case.tp))
    scatter_s, all_reduce_s = gather_time_s(case, size_bytes, *group), all_reduce_time_s(case, size_bytes, *group)
    gather_s = gather_time_s(case, size_bytes / np.where(case.fp8_gathers > 0, 2.0, 1.0), *group)

    def whole(all_reduces: Array | float, gathers: Array) -> Array:
        moved_s = SCATTERS * scatter_s + (gathers - SCATTERS) * gather_s
        some = np.where(case.sequence_parallel > 0, moved_s, all_reduces * all_reduce_s)
        return np.where(case.tp > 1, some, 0.0)

    return whole(2.0, case.forward_gathers), whole(case.backward_all_reduces, case.backward_gathers)


def tensor_parallel_exposed(case: StepCase) -> Array:
    """Share of the tensor-parallel communication that shows where there is enough to compute. What hides it copies
    over NVLink (Transformer Engine's userbuffers), so a group that leaves its node waits for all of it."""
    return np.where(case.tp > case.gpus_per_node, 1.0, case.tp_exposed)


def as_measured(matmul: Array, attention: Array, elementwise: Array, measured_s: Array) -> tuple[Array, Array, Array]:
    """Scale a block's parts so that they add up to its measured seconds, where there are any."""
    scale = np.where(np.isnan(measured_s), 1.0, measured_s / (matmul + attention + elementwise))
    return matmul * scale, attention * scale, elementwise * scale


def block_passes(case: StepCase) -> tuple[Pass, Pass]:
    """One block forward; and backward: both gradients of every product, attention's backward, the norms' and the
    activation's."""
    ahead = as_measured(
        block_matmul_s(case), block_attention_s(case), block_elementwise_s(case), case.measured_forward_s
    )
    behind = as_measured(
        block_matmul_backward_s(case),
        block_attention_s(case, backward=True),
        block_elementwise_s(case, backward=True),
        case.measured_backward_s,
    )
    ahead_s, behind_s = tensor_parallel_s(case)
    passed_s, returned_s = context_parallel_s(case, ahead[1], behind[1])
    hidden = np.where(
        case.sequence_parallel > 0,
        case.hidden_gathers / case.backward_gathers,
        case.hidden_all_reduces / case.backward_all_reduces,
    )
    exposed = tensor_parallel_exposed(case)
    return (
        _pass(case, ahead, ahead_s, exposed, passed_s),
        _pass(case, behind, behind_s, exposed * (1 - hidden * (1 - case.dp_exposed)), returned_s),
    )


def _pass(case: StepCase, computed: tuple[Array, Array, Array], gathers: Array, shown: Array, passed: Array) -> Pass:
    """A pass of so many seconds of each part, whose collectives hide behind no more than there is to compute."""
    matmul, attention, elementwise = computed
    return Pass(
        matmul=matmul,
        attention=attention,
        elementwise=elementwise,
        tensor_parallel=np.maximum(gathers * shown, gathers - (matmul + attention + elementwise)),
        context_parallel=passed,
        host=case.launch_gap_s,
        gathers=gathers,
    )


@dataclass(frozen=True, kw_only=True)
class Recomputed:
    """Shares of one block's forward that the backward pass runs again."""

    matmul: Array
    attention: Array
    elementwise: Array
    tensor_parallel: Array
    rest: Array
    """Context-parallel communication and host gaps."""

    def computed_s(self, forward: Pass) -> Array:
        """Seconds of it in which nothing is communicated."""
        kernels = (self.matmul * forward.matmul, self.attention * forward.attention)
        return kernels[0] + kernels[1] + self.elementwise * forward.elementwise + self.rest * forward.host


def recomputed(case: StepCase) -> Recomputed:
    """What the stack's policy runs again; full recompute may stop before the last product and the collective behind
    it."""
    full, selective = case.recompute == FULL, case.recompute == SELECTIVE
    last_product = case.early_stop * case.hidden * case.ffn / case.layer_matmul_parameters
    narrow = np.where(case.fp8_gathers > 0, 0.5, 1.0)
    moved = SCATTERS + (case.forward_gathers - SCATTERS) * narrow
    last_collective = case.early_stop * np.where(case.sequence_parallel > 0, 1 / moved, 0.5)

    def share(whole: Array | float, part: Array | float) -> Array:
        return np.where(full, whole, np.where(selective, part, 0.0)) * case.recompute_share

    return Recomputed(
        matmul=share(1 - last_product, case.selective_matmul),
        attention=share(1.0, case.selective_attention),
        elementwise=share(1.0, case.selective_elementwise),
        tensor_parallel=share(1 - last_collective, case.selective_matmul),
        rest=share(1.0, 0.0),
    )


def recompute_s(case: StepCase, forward: Pass) -> Array:
    """Seconds of one block's forward that the backward pass runs again."""
    again = recomputed(case)
    communicated = again.tensor_parallel * forward.tensor_parallel + again.rest * forward.context_parallel
    return again.computed_s(forward) + communicated


def head_matmul_s(case: StepCase) -> Array:
    """Seconds of one of the three products of the output projection; it stays in 16 bits when the rest is fp8."""
    rate = np.where(case.fp8 > 0, case.matmul_16bit_flops_per_s, case.matmul_flops_per_s)
    vocab = case.vocab / np.where(case.splits_head > 0, case.tp, 1.0)
    inputs = case.hidden * (vocab > 0)
    shapes = BlockShapes(weights=case.hidden * vocab, outputs=vocab, inputs=inputs, products=1)
    return np.asarray(matmul.forward_s(case.tokens_per_pass, shapes, rate, case.matmul_16bit_shape))


def head_s(case: StepCase) -> Array:
    """Seconds of output projection and loss, forward and backward: three products, and the loss' passes over the
    logits, which some stacks gather whole first or compute whole; or as measured."""
    logits = case.tokens_per_pass * case.vocab
    whole = (case.splits_vocabulary == 0) & (case.tp > 1)
    gathers = whole & (case.splits_head > 0)
    gathered_s = np.where(gathers, gather_time_s(case, BF16 * logits, case.tp, np.ones_like(case.tp)), 0.0)
    loss_s = case.loss_bytes * logits / np.where(whole, 1.0, case.tp) / case.memory_bytes_per_s
    computed_s = 3 * head_matmul_s(case) + loss_s + gathered_s
    return np.where(np.isnan(case.measured_head_s), computed_s, case.measured_head_s)
