"""How often a software stack's kernels pass over memory beyond its products and its attention: counted in its code.

A pass reads or writes one 16-bit number per element once (an fp32 number counts two); nothing is taken to stay in a
cache. Kernels written by hand or generated read each input once and write each output once; eager code runs one
kernel per operation and writes down what lies between. The bytes run at one share of the memory's bandwidth
(`memory_share` of the calibration), whatever the kind of kernel: fitted apart, fused, compiled and eager ones came
out at 0.96, 0.97 and 1.09 times the counted bytes over 393 published runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from profiler.units import Amount

ElementwiseKind = Literal["fused", "compiled", "eager"]
Passes = tuple[Amount, Amount]
"""Forward and backward."""


@dataclass(frozen=True, kw_only=True)
class ElementwisePasses:
    """Passes over memory of one block's operations; `None` where they are as usual for the kind of kernels."""

    norm: Passes | None = None
    """One of two norms, per hidden element."""
    residual: Passes | None = None
    """One of two residual additions with its bias and dropout, per hidden element."""
    gated: Passes | None = None
    """A gated activation, per element of the gate."""
    plain: Passes | None = None
    """A plain activation with its bias, per element."""
    rotary: Passes | None = None
    """The rotary embedding, per element of queries and keys."""
    copies: Passes | None = None
    """Copies and casts about queries, keys and values, per element of them."""


USUAL: Mapping[ElementwiseKind, ElementwisePasses] = {
    # NVIDIA Transformer Engine and Megatron-Core: norm and activation kernels, gradients of a fork added once;
    # the split of q, k and v is put together again by a cat backward
    "fused": ElementwisePasses(
        norm=(2, 3), residual=(3, 3), gated=(3, 5), plain=(2, 3), rotary=(2, 2), copies=(0, 2)
    ),
    # Inductor and XLA: a norm with the addition before it; weight gradients of norms in a second kernel
    "compiled": ElementwisePasses(
        norm=(2, 5), residual=(2, 2), gated=(3, 5), plain=(2, 3), rotary=(2, 2), copies=(0, 2)
    ),
    # torch's RMSNorm up to 2.8 (cast, square, mean, rsqrt, two products, cast back), silu and product apart,
    # complex rotary embedding in fp32
    "eager": ElementwisePasses(
        norm=(18, 45), residual=(3, 3), gated=(5, 9), plain=(2, 3), rotary=(10, 10), copies=(0, 2)
    ),
}


@dataclass(frozen=True, kw_only=True)
class KernelHabits(ElementwisePasses):
    """The habits of one training framework; the defaults are Megatron-Core's."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    source: str = "Megatron-Core and Transformer Engine"
    norms_again: bool = False
    """True where each norm, and the addition before the second, runs again backward unless its whole block does."""
    repeats_heads: bool = False
    """True where keys and values are written out for every query head before attention (repeat_kv), and their
    gradients added up over them behind it; context parallelism then passes on all of that."""
    gathered: Amount = 0.0
    """Passes over the whole tensor that each gather or scatter of activations adds (DTensor along the sequence:
    chunks are put together after the gather, and laid out before the scatter)."""
    loss_bytes: Amount = 32.0
    """Bytes per logit of the loss, forward and backward: 52 where Megatron's vocabulary-parallel one runs kernel by
    kernel, about 30 where it is fused, 36 for torch's own in fp32, 8 for one fused kernel on 16-bit logits."""
    accumulate_bytes: Amount = 6.0
    """Bytes per parameter to add one micro-batch's gradients to those before, beyond the 16-bit result that a product
    writes anyway: in the product's own epilogue 6 where they are summed in fp32 (read 4, write 4 and not 2), 2 in 16
    bits; apart from it 6 in 16 bits, 10 in fp32."""
    optimizer_bytes: Amount = 46.0
    """Bytes per parameter of clipping and of the update: norm 4, scaling 8, fused Adam 28, 16-bit copy 6."""
    gather_copy_bytes: Amount = 0.0
    """Bytes per parameter to copy sharded weights out of the buffer they were gathered into (FSDP2), gathered in 16
    bits; half of them in fp8."""
    scatter_copy_bytes: Amount = 0.0
    """Bytes per parameter to lay out gradients before they are scattered (FSDP)."""
    quantised_weights: Passes = (0.0, 0.0)
    """Bytes per weight that every pass moves in fp8 to make its products' operands of what is kept or was gathered:
    quantising 16-bit weights, laying out fp8 ones; none where that is done once a step."""

    def passes(self, kind: ElementwiseKind) -> dict[str, Passes]:
        """Operation → forward and backward passes, with what is usual for `kind` where nothing is said."""
        names = [f.name for f in fields(ElementwisePasses)]
        return {name: getattr(self, name) or getattr(USUAL[kind], name) for name in names}
