"""One pass of one block, forward or backward, and the head: what a GPU does for one micro-batch.

Every quantity is an array with one entry per step of a `StepCase`; nothing loops over layouts. Times are
seconds, sizes bytes, all per GPU. Sources of the equations stand in each function.
"""

from dataclasses import dataclass

import numpy as np

from sim.case import RECOMPUTES, Array, StepCase
from sim.kernels import attention, matmul
from sim.kernels.matmul import BlockShapes, block_shapes
from sim.kernels.tables import Values
from sim.network import all_reduce_time_s, gather_time_s, overlapped

FULL = RECOMPUTES.index("full")
SELECTIVE = RECOMPUTES.index("selective")

BF16 = 2.0
"""Bytes of a 16-bit number."""
LOSS_BYTES = 32.0
"""Bytes per logit of loss forward and backward: published kernels move between 25 (fused) and 57 to 66 (one fp32 pass
after another; sim/catalogue/kernels/elementwise.toml)."""

BACKWARD_ELEMENTWISE = 1.4
"""Bytes of norms, activation and residuals backward over forward, counted: each reads its gradient too."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Seconds of one pass (forward or backward) of one block over one micro-batch."""

    matmul: Array
    attention: Array
    elementwise: Array
    tensor_parallel: Array
    """Exposed tensor-parallel communication."""
    context_parallel: Array
    """Exposed context-parallel communication."""
    host: Array
    """Gaps in which the GPU waits for launches."""

    @property
    def compute(self) -> Array:
        """Seconds in which the GPU computes."""
        return self.matmul + self.attention + self.elementwise

    @property
    def total(self) -> Array:
        """All seconds of the pass."""
        return self.compute + self.tensor_parallel + self.context_parallel + self.host


def tokens_per_pass(case: StepCase) -> Array:
    """Tokens that one rank holds in one pass."""
    return case.micro_batch * case.seq_len / case.cp


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


def products_s(case: StepCase, shapes: BlockShapes, busy_s: Values, times: float) -> Array:
    """Seconds of a block's products: at least the time to read the weights `times` over, a fixed overhead each, and
    in fp8 the traffic of quantising each one's input."""
    read_s = BF16 * shapes.weights / case.memory_bytes_per_s
    quantised = BF16 / 2 * tokens_per_pass(case) * shapes.inputs * case.quantise_bytes / case.memory_bytes_per_s
    return np.asarray(
        np.maximum(busy_s, times * read_s) + times * (shapes.products * case.matmul_overhead_s + quantised)
    )


def block_matmul_s(case: StepCase) -> Array:
    """Forward seconds of one block's products, by their shapes (`sim.kernels.matmul`)."""
    shapes = block_shapes_of(case)
    busy_s = matmul.forward_s(tokens_per_pass(case), shapes, case.matmul_flops_per_s, case.matmul_shape)
    return products_s(case, shapes, busy_s, 1.0)


def block_matmul_backward_s(case: StepCase) -> Array:
    """Seconds of both gradients of every product."""
    shapes = block_shapes_of(case)
    rate = case.matmul_flops_per_s * case.backward_matmul
    busy_s = matmul.backward_s(tokens_per_pass(case), shapes, rate, case.matmul_shape)
    return products_s(case, shapes, busy_s, 2.0)


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
    slow = attention.slowdown(case.seq_len, heads, curve) * attention.head_dim_slowdown(case.head_dim, curve)
    flash = 0.5 * full_flops / case.attention_flops_per_s * slow
    scores = heads * case.seq_len**2 / case.cp
    aligned = np.where(case.head_dim % 8 == 0, 1.0, case.misaligned_rate)
    unfused = (
        full_flops / (case.matmul_flops_per_s * aligned)
        + BF16 * scores * case.softmax_passes / case.memory_bytes_per_s
    )
    if backward:
        flash = flash * attention.backward_over_forward(case.seq_len, heads, curve)
        unfused = 2 * unfused
    return np.where(case.unfused > 0, unfused, flash)


def block_elementwise_s(case: StepCase) -> Array:
    """Forward seconds of norms, residuals, rotary embedding and activation, by the bytes they must move.

    Per token: two norms (read, write), two residual additions (read two, write one) over the
    sequence-parallel ranks, the activation (read up and gate, write one) and the rotary embedding over the
    tensor-parallel ranks.
    """
    m = tokens_per_pass(case)
    over_sequence = np.where(case.sequence_parallel > 0, case.tp, 1.0)
    norms = 10 * case.hidden / over_sequence
    activation = (2 + case.gated) * case.ffn / case.tp
    rotary = 2 * (case.attention_width + case.kv_width) / case.tp
    return BF16 * m * (norms + activation + rotary) * case.elementwise / case.memory_bytes_per_s


def tensor_parallel_s(case: StepCase, all_reduces: Array) -> Array:
    """Seconds of `all_reduces` all-reduces of one pass' activations; a reduce-scatter and an all-gather
    under sequence parallelism move the same bytes (arXiv:2205.05198 section 4.2.2), but no switch adds them up."""
    size_bytes = BF16 * tokens_per_pass(case) * case.hidden
    group = size_bytes, case.tp, np.ones_like(case.tp)
    apart = 2 * gather_time_s(case, *group)
    one = np.where(case.sequence_parallel > 0, apart, all_reduce_time_s(case, *group))
    return np.where(case.tp > 1, all_reduces * one, 0.0)


def tensor_parallel_exposed(case: StepCase) -> Array:
    """Share of the tensor-parallel communication that shows. What hides it copies over NVLink (Transformer Engine's
    userbuffers), so a group that leaves its node waits for all of it."""
    return np.where(case.tp > case.gpus_per_node, 1.0, case.tp_exposed)


def context_parallel_s(case: StepCase) -> Array:
    """Seconds to pass keys and values round the context-parallel ring once (arXiv:2310.01889)."""
    size_bytes = BF16 * 2 * case.micro_batch * case.seq_len * case.kv_width / case.tp
    return np.where(case.cp > 1, gather_time_s(case, size_bytes, case.cp, case.tp), 0.0)


def as_measured(matmul: Array, attention: Array, elementwise: Array, measured_s: Array) -> tuple[Array, Array, Array]:
    """Scale a block's parts so that they add up to its measured seconds, where there are any."""
    scale = np.where(np.isnan(measured_s), 1.0, measured_s / (matmul + attention + elementwise))
    return matmul * scale, attention * scale, elementwise * scale


def forward_pass(case: StepCase) -> Pass:
    """One block forward."""
    matmul, attention, elementwise = as_measured(
        block_matmul_s(case), block_attention_s(case), block_elementwise_s(case), case.measured_forward_s
    )
    ring = context_parallel_s(case)
    return Pass(
        matmul=matmul,
        attention=attention,
        elementwise=elementwise,
        tensor_parallel=tensor_parallel_s(case, np.full_like(case.tp, 2.0)) * tensor_parallel_exposed(case),
        context_parallel=np.where(case.cp > 1, overlapped(attention, ring, case.cp_exposed), 0.0),
        host=case.launch_gap_s,
    )


def backward_pass(case: StepCase, forward: Pass) -> Pass:
    """One block backward: both gradients of every product, attention's backward, the norms' and activation's.

    Sequence parallelism gathers the input of the first products once more for their weight gradient, a
    quarter more traffic (arXiv:2205.05198 section 4.2.2).
    """
    matmul, attention, elementwise = as_measured(
        block_matmul_backward_s(case),
        block_attention_s(case, backward=True),
        BACKWARD_ELEMENTWISE * forward.elementwise,
        case.measured_backward_s,
    )
    ring = 2 * context_parallel_s(case)
    regather = np.where((case.sequence_parallel > 0) & (case.backward_all_reduces <= 2), 1.25, 1.0)
    return Pass(
        matmul=matmul,
        attention=attention,
        elementwise=elementwise,
        tensor_parallel=tensor_parallel_s(case, case.backward_all_reduces) * regather * tensor_parallel_exposed(case),
        context_parallel=np.where(case.cp > 1, overlapped(attention, ring, case.cp_exposed), 0.0),
        host=case.launch_gap_s,
    )


def recompute_s(case: StepCase, forward: Pass) -> Array:
    """Seconds of one block's forward that the backward pass runs again."""
    selective = (
        case.selective_matmul * (forward.matmul + forward.tensor_parallel)
        + case.selective_attention * forward.attention
        + case.selective_elementwise * forward.elementwise
    )
    last_product = case.hidden * case.ffn / case.layer_matmul_parameters
    skipped = case.early_stop * (last_product * forward.matmul + 0.5 * forward.tensor_parallel)
    full = forward.total - skipped
    again = np.where(case.recompute == FULL, full, np.where(case.recompute == SELECTIVE, selective, 0.0))
    return again * case.recompute_share


def head_matmul_s(case: StepCase) -> Array:
    """Seconds of one of the three products of the output projection; it stays in 16 bits when the rest is fp8."""
    rate = np.where(case.fp8 > 0, case.matmul_16bit_flops_per_s, case.matmul_flops_per_s)
    vocab = case.vocab / case.tp
    inputs = case.hidden * (vocab > 0)
    shapes = BlockShapes(weights=case.hidden * vocab, outputs=vocab, inputs=inputs, products=1)
    return np.asarray(matmul.forward_s(tokens_per_pass(case), shapes, rate, case.matmul_16bit_shape))


def head_s(case: StepCase) -> Array:
    """Seconds of output projection and loss, forward and backward: three products, and the passes over the
    logits in fp32; or as measured."""
    logits_bytes = LOSS_BYTES * tokens_per_pass(case) * case.vocab / case.tp
    computed_s = 3 * head_matmul_s(case) + logits_bytes / case.memory_bytes_per_s
    return np.where(np.isnan(case.measured_head_s), computed_s, case.measured_head_s)
