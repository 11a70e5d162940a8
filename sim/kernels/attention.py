"""How fast fused attention runs, by length, heads, head dimension and direction: curves fitted to published timings.

Forward: FLOPs/R·(1 + (half + mask)/s + fill/(b·h·s)), with 4·b·h·s²·d FLOPs, half of them under a causal mask.
`mask` is what the tiles on the diagonal cost, which are computed whole; `fill` is the number of (head, token) pairs
below which a GPU's multiprocessors are not all busy: many ranks of tensor parallelism with few tokens. Backward:
2.5 times the FLOPs (arXiv:2307.08691 section 4.1) at its own rate and half length. R falls with small heads as
1 + softmax/d: each score costs an exponential whatever the head dimension (arXiv:2407.08608 section 3.2). Sources
and errors stand in sim/catalogue/kernels/attention.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

from profiler.units import Amount, Positive
from sim.kernels.tables import Evidence, Values, load_curves

BACKWARD_FLOPS = 2.5
"""Backward FLOPs over forward: five products where there were two (arXiv:2307.08691 section 4.1)."""
TIMED_HEAD_DIM = 128.0

AttentionLibrary = Literal["flash1", "flash2", "flash3", "cudnn"]


class AttentionShape(Protocol):
    """What an attention's time depends on beside its FLOPs: of one curve, or of one step each."""

    @property
    def half(self) -> Values: ...

    @property
    def backward_half(self) -> Values: ...

    @property
    def mask(self) -> Values: ...

    @property
    def fill(self) -> Values: ...

    @property
    def softmax(self) -> Values: ...


@dataclass(frozen=True, kw_only=True)
class AttentionCurve:
    """One library on one part; rates are those of long sequences and heads of 128."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    flops_per_s: Positive
    """Forward, causal."""
    backward_flops_per_s: Positive
    full_gain: Positive
    """Rate without a mask over the rate with one."""
    half: Amount
    """Length at which an attention without a mask runs at half its rate."""
    backward_half: Amount
    mask: Amount
    """What a causal mask adds to either."""
    fill: Amount
    softmax: Amount
    evidence: Evidence


def head_dim_slowdown(head_dim: Values, curve: AttentionShape) -> Values:
    """Time over that of heads of 128, for the same FLOPs."""
    return (1 + curve.softmax / head_dim) / (1 + curve.softmax / TIMED_HEAD_DIM)


def slowdown(
    seq_len: Values, sequences_heads: Values, curve: AttentionShape, *, causal: bool = True, backward: bool = False
) -> Values:
    """Time over that of long sequences on a full GPU; `sequences_heads` is micro-batch × heads of one rank."""
    half = (curve.backward_half if backward else curve.half) + (curve.mask if causal else 0.0)
    return 1 + (half + curve.fill / sequences_heads) / seq_len


def attention_s(
    seq_len: Values,
    sequences_heads: Values,
    head_dim: Values,
    curve: AttentionCurve,
    *,
    causal: bool = True,
    backward: bool = False,
) -> Values:
    """Seconds of one attention, as timed: `sequences_heads` heads of `head_dim` over `seq_len` tokens each."""
    flops = (0.5 if causal else 1.0) * 4 * sequences_heads * seq_len**2 * head_dim
    rate = curve.backward_flops_per_s / BACKWARD_FLOPS if backward else curve.flops_per_s
    scale = head_dim_slowdown(head_dim, curve) / (1.0 if causal else curve.full_gain)
    return flops / rate * scale * slowdown(seq_len, sequences_heads, curve, causal=causal, backward=backward)


@cache
def attention_curves() -> Mapping[str, AttentionCurve]:
    """All curves by part and library, as `h100-flash2`."""
    return load_curves("attention", AttentionCurve)


def attention_curve(kernels: str, library: AttentionLibrary) -> AttentionCurve:
    """The curve of a library on a GPU. An A100 runs FlashAttention-2 in place of what needs Hopper, and
    FlashAttention-1, of which no timing by length is at hand, takes FlashAttention-2's shape (assumed)."""
    if kernels == "a100":
        return attention_curves()["a100-flash2"]
    return attention_curves()["h100-flash2" if library == "flash1" else f"h100-{library}"]
