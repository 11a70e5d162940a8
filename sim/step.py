"""One optimizer step in closed form, for one layout or a million at once.

Every quantity is an array with one entry per step of a `StepCase`; nothing loops over layouts. Times are
seconds, sizes bytes, all per GPU. Sources of the equations stand in each function.
"""

from dataclasses import dataclass

import numpy as np

from sim.case import RECOMPUTES, SHARDINGS, Array, StepCase
from sim.kernels import attention, matmul
from sim.kernels.matmul import BlockShapes, block_shapes
from sim.network import all_reduce_time_s, gather_time_s, group_bandwidth, overlapped

FSDP = SHARDINGS.index("fsdp")
HSDP = SHARDINGS.index("hsdp")
ZERO1 = SHARDINGS.index("zero1")
ZERO2 = SHARDINGS.index("zero2")
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


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Where the seconds of each step go; the parts add up to `total`."""

    matmul: Array
    attention: Array
    elementwise: Array
    head: Array
    """Output projection and loss, where they delay the step."""
    recompute: Array
    tensor_parallel: Array
    context_parallel: Array
    pipeline: Array
    """Point-to-point transfers between stages."""
    bubble: Array
    data_parallel: Array
    optimizer: Array
    host: Array
    other: Array
    """Fixed time per step and stragglers."""
    total: Array


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


def products_s(case: StepCase, busy_s: Array, times: float) -> Array:
    """Seconds of a block's products: at least the time to read the weights `times` over, a fixed overhead each, and
    in fp8 the traffic of quantising each one's input."""
    shapes = block_shapes_of(case)
    read_s = BF16 * shapes.weights / case.memory_bytes_per_s
    quantised = BF16 / 2 * tokens_per_pass(case) * shapes.inputs * case.quantise_bytes / case.memory_bytes_per_s
    return np.asarray(
        np.maximum(busy_s, times * read_s) + times * (shapes.products * case.matmul_overhead_s + quantised)
    )


def block_matmul_s(case: StepCase) -> Array:
    """Forward seconds of one block's products, by their shapes (`sim.kernels.matmul`)."""
    busy = matmul.forward_s(tokens_per_pass(case), block_shapes_of(case), case.matmul_flops_per_s, case.matmul_shape)
    return products_s(case, np.asarray(busy), 1.0)


def block_matmul_backward_s(case: StepCase) -> Array:
    """Seconds of both gradients of every product."""
    rate = case.matmul_flops_per_s * case.backward_matmul
    busy = matmul.backward_s(tokens_per_pass(case), block_shapes_of(case), rate, case.matmul_shape)
    return products_s(case, np.asarray(busy), 2.0)


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


def stage_layers(case: StepCase) -> tuple[Array, Array]:
    """Layers of the slowest middle stage and of the last stage.

    Where the stages do not divide the layers but do divide them plus two, the embedding and the head each
    take a layer's place, as in Llama 3 (arXiv:2407.21783 section 3.3.2); otherwise the last stage is short.
    """
    even = case.layers / case.pp
    padded = (case.layers + 2) / case.pp
    uneven = np.ceil(even)
    whole = even == np.floor(even)
    asymmetric = ~whole & (padded == np.floor(padded))
    most = np.where(whole, even, np.where(asymmetric, padded, uneven))
    last = np.where(whole, even, np.where(asymmetric, padded - 1, case.layers - (case.pp - 1) * uneven))
    return most, np.maximum(last, 0.0)


def rank_parameters(case: StepCase) -> Array:
    """Weights of the fullest rank: its layers, and an embedding or a head where it holds one."""
    most, _ = stage_layers(case)
    tables = np.where((case.pp == 1) & (case.tied == 0), 2.0, 1.0)
    return (most * case.layer_parameters + tables * case.embedding_parameters) / case.tp


def sharded_weights(case: StepCase) -> Array:
    """True where the weights themselves are shared out (FSDP, HSDP)."""
    return np.asarray((case.sharding == FSDP) | (case.sharding == HSDP))


def fsdp_layer_s(case: StepCase, layer: Pass, gathers: float, scatters: float) -> Array:
    """Exposed seconds of one block's weight gathers and gradient scatters in one pass (arXiv:2304.11277)."""
    weights = BF16 * case.layer_parameters / case.tp
    gradients = case.gradient_bytes * case.layer_parameters / case.tp
    one = gather_time_s(case, weights, case.shard_degree, case.tp)
    scatter = gather_time_s(case, gradients, case.shard_degree, case.tp)
    comm = gathers * one + scatters * scatter
    active = np.logical_and(sharded_weights(case), case.shard_degree > 1)
    return np.where(active, overlapped(layer.total, comm, case.fsdp_exposed), 0.0)


def gradient_sync_s(case: StepCase, forward_s: Array, backward_s: Array) -> Array:
    """Exposed seconds of reducing gradients and gathering weights once a step (ZeRO, arXiv:1910.02054).

    Hidden, where the stack can: the reduction behind the last backward work (`backward_s`), the gather behind
    the first forward work (`forward_s`). Weights that are sharded move block by block instead (`fsdp_layer_s`);
    what is left here is the all-reduce between copies (HSDP).
    """
    ranks = case.dp * case.cp
    parameters = rank_parameters(case)
    reduce = gather_time_s(case, case.gradient_bytes * parameters, ranks, case.tp)
    gather = gather_time_s(case, BF16 * parameters, ranks, case.tp)
    sharded = (case.sharding == ZERO1) | (case.sharding == ZERO2)
    reduce = np.where(sharded, reduce, 2 * reduce)
    copies = np.maximum(ranks / case.shard_degree, 1)
    across = all_reduce_time_s(
        case, case.gradient_bytes * parameters / case.shard_degree, copies, case.tp * case.shard_degree
    )
    reduce = np.where(sharded_weights(case), np.where(copies > 1, across, 0.0), reduce)
    gather = np.where(sharded, gather, 0.0)
    hidden = overlapped(backward_s, reduce, case.dp_exposed) + overlapped(forward_s, gather, case.dp_exposed)
    return np.where(ranks > 1, np.where(case.dp_overlap > 0, hidden, reduce + gather), 0.0)


def optimizer_s(case: StepCase) -> Array:
    """Seconds of one AdamW update of the rank's share, by the bytes it moves, and of clipping; or as
    measured per parameter."""
    ranks = case.dp * case.cp
    shared = (case.sharding == ZERO1) | (case.sharding == ZERO2) | sharded_weights(case)
    owned = rank_parameters(case) / np.where(shared, np.minimum(case.shard_degree, ranks), 1.0)
    computed_s = case.optimizer_bytes / case.memory_bytes_per_s
    measured_s = case.measured_update_s_per_parameter
    return owned * np.where(np.isnan(measured_s), computed_s, measured_s)


def accumulate_s(case: StepCase) -> Array:
    """Seconds per micro-batch to add gradients into an fp32 buffer: read and write it once."""
    traffic = 2 * case.gradient_store_bytes * rank_parameters(case)
    at_once = np.logical_or(sharded_weights(case), case.micro_batches <= 1)
    return np.where(at_once, 0.0, traffic / case.memory_bytes_per_s)


def p2p_s(case: StepCase) -> Array:
    """Seconds to hand one micro-batch's activations to the next stage.

    Each tensor-parallel rank sends its share and the receivers gather (arXiv:2104.04473 section 4.1).
    """
    size_bytes = BF16 * tokens_per_pass(case) * case.hidden / case.tp
    one = size_bytes / group_bandwidth(case, case.pp, case.tp * case.cp * case.dp) + case.fabric_latency_s
    return np.where(case.pp > 1, one, 0.0)


def step_times(case: StepCase) -> StepTimes:
    """Seconds of each step and where they go.

    Pipeline: micro-batches through the slowest stage, plus a bubble of (pp-1)/vp mean stages
    (interleaved 1F1B, arXiv:2104.04473 section 2.2); a zero-bubble schedule keeps only the part that the
    weight gradients cannot fill, about a third (arXiv:2401.10241 table 1).
    """
    forward = forward_pass(case)
    backward = backward_pass(case, forward)
    again = recompute_s(case, forward)
    fsdp = fsdp_layer_s(case, forward, 1.0, 0.0) + fsdp_layer_s(case, backward, 1.0, 1.0)
    block = forward.total + backward.total + again + fsdp
    head = head_s(case)
    most, last = stage_layers(case)
    passes = case.micro_batches
    waits = np.where((case.pp > 1) & (case.defers_head_gradient > 0), head_matmul_s(case), 0.0)
    slowest = np.maximum(most * block, last * block + head - waits)
    mean_stage = (case.layers * block + head) / case.pp

    transfer = p2p_s(case)
    pipeline = 2 * transfer * (case.pp - 1) + case.p2p_exposed * 2 * transfer * case.vp * passes
    bubble = (case.pp - 1) / case.vp * mean_stage * np.where(case.zero_bubble > 0, 1 / 3, 1.0)
    bubble = np.maximum(bubble, waits * passes)  # the last stage works off its waiting gradients while others drain
    accumulate = accumulate_s(case) * passes
    # a chunk's gradients are complete once its last micro-batch is back; with chunks on every stage the others'
    # backward passes over a whole pipeline's worth of micro-batches still follow
    reach = most * np.where(case.vp > 1, (case.vp - 1) / case.vp * np.minimum(case.pp, passes), 1.0)
    gradients = gradient_sync_s(case, reach * forward.total, reach * (block - forward.total))
    update = optimizer_s(case) + accumulate
    calls = passes * case.vp * case.pass_fixed_s
    subtotal = passes * slowest + pipeline + bubble + gradients + update + calls + case.step_fixed_s
    doublings = np.maximum(np.log2(case.gpus / case.gpus_per_node), 0)
    total = subtotal * (1 + case.straggler_per_doubling * doublings)

    own = passes * case.layers / case.pp  # blocks that an average stage runs in a step
    return StepTimes(
        matmul=own * (forward.matmul + backward.matmul),
        attention=own * (forward.attention + backward.attention),
        elementwise=own * (forward.elementwise + backward.elementwise),
        head=passes * head / case.pp,
        recompute=own * again,
        tensor_parallel=own * (forward.tensor_parallel + backward.tensor_parallel),
        context_parallel=own * (forward.context_parallel + backward.context_parallel),
        pipeline=pipeline,
        bubble=bubble + passes * (slowest - mean_stage),
        data_parallel=gradients + own * fsdp,
        optimizer=update,
        host=own * (forward.host + backward.host),
        other=case.step_fixed_s + calls + total - subtotal,
        total=total,
    )
