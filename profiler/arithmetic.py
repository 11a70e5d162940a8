"""Work of each measured workload on one rank: matrix FLOPs and the bytes that must move. No torch here.

FLOPs count matrix products only, attention with its causal half (as `ModelArchitecture` names it), and never
count recomputation: they are model FLOPs. Bytes are the least traffic: every operand read once and every
result written once, with nothing kept in caches between operations. Sources: arXiv:2204.02311 appendix B for
FLOPs; the operators' own definitions for bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from profiler.architecture import ModelArchitecture

FP32_BYTES = 4
INDEX_BYTES = 8
ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}


@dataclass(frozen=True, kw_only=True)
class Work:
    """FLOPs and bytes of one forward and one backward pass."""

    forward_flops: float = 0.0
    backward_flops: float = 0.0
    forward_bytes: float = 0.0
    backward_bytes: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            forward_flops=self.forward_flops + other.forward_flops,
            backward_flops=self.backward_flops + other.backward_flops,
            forward_bytes=self.forward_bytes + other.forward_bytes,
            backward_bytes=self.backward_bytes + other.backward_bytes,
        )


def layer_work(
    workload: str,
    share: ModelArchitecture,
    micro_batch: int,
    seq_len: int,
    precision: str,
    context_len: int | None = None,
) -> Work:
    """Work of one of a model's workloads on one rank.

    Args:
        workload: block, qkv, attention, attention_out, mlp, norms, embedding or head_loss.
        share: that rank's share of the model (`profiler.sharding.rank_share`).
        micro_batch, seq_len: sequences and tokens in each.
        precision: of weights and activations.
        context_len: tokens of the whole sequence, for the attention of a context-parallel rank.
    """
    element = ELEMENT_BYTES[precision]
    if workload == "attention":
        return _attention(share, micro_batch * seq_len, seq_len, context_len or seq_len, element)
    if workload == "block":
        parts = (layer_work(part, share, micro_batch, seq_len, precision) for part in BLOCK_PARTS)
        return sum(parts, Work())
    return _WORK[workload](share, micro_batch * seq_len, seq_len, element)


BLOCK_PARTS = ("qkv", "attention", "attention_out", "mlp", "norms")
"""The parts that together are a block."""


def matmul_work(size: int, precision: str) -> Work:
    """One product of two square matrices `size` wide; the result of an fp8 product is bf16."""
    element = ELEMENT_BYTES[precision]
    moved = float(size) ** 2 * (2 * element + max(element, ELEMENT_BYTES["bf16"]))
    return Work(forward_flops=2.0 * size**3, forward_bytes=moved)


def copy_work(size: int) -> Work:
    """`size` bytes read and written elsewhere."""
    return Work(forward_bytes=2.0 * size)


def optimizer_work(size: int, precision: str) -> Work:
    """AdamW over `size` fp32 master weights; where the model computes in less, conversions besides.

    Reads weight, gradient and two moments, writes weight and moments. In a narrower `precision` it first reads
    the gradients and writes them as fp32, and last reads the weights and writes them narrow. Element-wise FLOPs
    are not counted.
    """
    conversions = 0 if precision == "fp32" else 2 * (FP32_BYTES + ELEMENT_BYTES[precision])
    return Work(forward_bytes=float(size) * (7 * FP32_BYTES + conversions))


def grad_norm_work(size: int) -> Work:
    """One read of `size` fp32 gradients for their norm, one read and write to scale them."""
    return Work(forward_bytes=3.0 * size * FP32_BYTES)


def _linear(tokens: int, inputs: int, outputs: int, element: int) -> Work:
    """y = x·W: one product forward, two backward (towards x and towards W)."""
    flops = 2.0 * tokens * inputs * outputs
    weight, x, y = inputs * outputs, tokens * inputs, tokens * outputs
    return Work(
        forward_flops=flops,
        backward_flops=2 * flops,
        forward_bytes=float(element) * (x + weight + y),
        # towards x: read dy and W, write dx; towards W: read dy and x, write dW
        backward_bytes=float(element) * (2 * y + 2 * weight + 2 * x),
    )


def _qkv(share: ModelArchitecture, tokens: int, _seq_len: int, element: int) -> Work:
    q = _linear(tokens, share.hidden, share.attention_width, element)
    kv = _linear(tokens, share.hidden, share.kv_width, element)
    return q + kv + kv


def _attention(share: ModelArchitecture, tokens: int, seq_len: int, context_len: int, element: int) -> Work:
    # of queries × keys the causal mask leaves half, also for a context-parallel rank's two balanced chunks
    per_token = share.attention_flops_per_token(context_len, "causal") / share.layers
    q = tokens * share.attention_width
    k = tokens * share.kv_width
    kv = k * context_len // seq_len  # keys or values of every token that this rank's queries may see
    rotary = 2 * (q + k)  # read and write this rank's queries and keys
    return Work(
        forward_flops=tokens * per_token / 3,
        backward_flops=tokens * per_token * 2 / 3,
        forward_bytes=float(element) * (rotary + 2 * q + 2 * kv),
        # read q, k, v, output and its gradient; write dq, dk, dv
        backward_bytes=float(element) * (rotary + 4 * q + 4 * kv),
    )


def _attention_out(share: ModelArchitecture, tokens: int, _seq_len: int, element: int) -> Work:
    return _linear(tokens, share.attention_width, share.hidden, element)


def _mlp(share: ModelArchitecture, tokens: int, _seq_len: int, element: int) -> Work:
    up = _linear(tokens, share.hidden, share.ffn, element)
    down = _linear(tokens, share.ffn, share.hidden, element)
    units = float(element) * tokens * share.ffn
    # silu(gate)·up: read two, write one; backward reads those two and a gradient, writes two
    return up + up + down + Work(forward_bytes=3 * units, backward_bytes=5 * units)


def _norms(share: ModelArchitecture, tokens: int, _seq_len: int, element: int) -> Work:
    x = float(element) * tokens * share.hidden
    # norm: read, write; addition: read two, write one. Backward: read x and dy, write dx; add the branches.
    return Work(forward_bytes=2 * (2 + 3) * x, backward_bytes=2 * (3 + 3) * x)


def _embedding(share: ModelArchitecture, tokens: int, _seq_len: int, element: int) -> Work:
    rows = float(element) * tokens * share.hidden
    dense = float(element) * share.vocab * share.hidden
    indices = float(INDEX_BYTES) * tokens
    # backward: clear a dense gradient, then read-modify-write the rows that were used
    return Work(forward_bytes=2 * rows + indices, backward_bytes=dense + 3 * rows + indices)


def _head_loss(share: ModelArchitecture, tokens: int, _seq_len: int, element: int) -> Work:
    x = float(element) * tokens * share.hidden
    logits = float(tokens) * share.vocab
    loss = Work(  # the softmax is kept in fp32 for the backward pass
        forward_bytes=2 * x + logits * (element + FP32_BYTES),
        backward_bytes=3 * x + logits * (element + FP32_BYTES),
    )
    return loss + _linear(tokens, share.hidden, share.vocab, element)


_WORK: dict[str, Callable[[ModelArchitecture, int, int, int], Work]] = {
    "qkv": _qkv,
    "attention_out": _attention_out,
    "mlp": _mlp,
    "norms": _norms,
    "embedding": _embedding,
    "head_loss": _head_loss,
}
