"""How much slower a matrix product runs than the largest ones, by its shape: curves fitted to published timings.

Y[m, n] = X[m, k]·W[k, n] takes 2mnk/R·(1 + depth/k + rows/m + columns/n) + overhead. R is what large products
sustain, one calibrated constant per part; the shape is what this module knows. `depth` pays for the prologue and
epilogue of each tile (it grows with the outputs, not with the work), `rows` and `columns` for tiles cut off at the
edges, `columns` in fp8 also for quantising X. Sources and errors stand in sim/catalogue/kernels/matmul.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from profiler.units import Amount, Share
from sim.hardware import TrainingPrecision
from sim.kernels.tables import Evidence, Values, family_of, load_curves


class MatmulShape(Protocol):
    """What a product's time depends on beside its FLOPs: of one curve, or of one step each."""

    @property
    def depth(self) -> Values: ...

    @property
    def rows(self) -> Values: ...

    @property
    def columns(self) -> Values: ...


@dataclass(frozen=True, kw_only=True)
class MatmulCurve:
    """One part's products in one precision."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    depth: Amount
    """Inner dimension at which tile prologues and epilogues take as long as the products."""
    rows: Amount
    columns: Amount
    overhead_s: Amount
    """Fixed time of one product: launch and drain, in fp8 also of the kernels that quantise its input."""
    quantise_s_per_element: Amount
    """Time to quantise one element of X to fp8, amax included."""
    burst: Share
    """Rate of large products over the dense peak for some tens of milliseconds, before the power limit acts."""
    sustained: Share
    """The same once it does, as in training."""
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class BlockShapes:
    """The products of one block on one rank, added up: all that a sum of their times needs."""

    weights: Values
    """Sum of n·k."""
    outputs: Values
    """Sum of n."""
    inputs: Values
    """Sum of k."""
    products: int = 4


def block_shapes(
    *, hidden: Values, attention_width: Values, kv_width: Values, ffn: Values, gated: Values, tp: Values
) -> BlockShapes:
    """The four products of a decoder block over `tp` ranks, as in Megatron (arXiv:1909.08053 section 3): queries,
    keys and values in one; attention output; MLP up (and gate) in one; MLP down."""
    first = (attention_width + 2 * kv_width + (1 + gated) * ffn) / tp
    second = (attention_width + ffn) / tp
    return BlockShapes(weights=hidden * (first + second), outputs=first + 2 * hidden, inputs=2 * hidden + second)


def forward_s(m: Values, shapes: BlockShapes, flops_per_s: Values, curve: MatmulShape) -> Values:
    """Seconds of a block's products over `m` tokens, at `flops_per_s` for large ones; without overheads."""
    edges = shapes.weights * (1 + curve.rows / m)
    return 2 * m * (edges + curve.depth * shapes.outputs + curve.columns * shapes.inputs) / flops_per_s


def backward_s(m: Values, shapes: BlockShapes, flops_per_s: Values, curve: MatmulShape) -> Values:
    """Seconds of the gradients of a block's products: dX[m, k] over depth n, and dW[n, k] over depth m."""
    of_inputs = shapes.weights * (1 + curve.rows / m) + curve.depth * shapes.inputs + curve.columns * shapes.outputs
    of_weights = shapes.weights * (1 + curve.depth / m) + curve.rows * shapes.inputs + curve.columns * shapes.outputs
    return 2 * m * (of_inputs + of_weights) / flops_per_s


def product_s(m: Values, n: Values, k: Values, flops_per_s: Values, curve: MatmulCurve) -> Values:
    """Seconds of one product with its overhead and, in fp8, the quantising of X."""
    shapes = BlockShapes(weights=n * k, outputs=n, inputs=k, products=1)
    return forward_s(m, shapes, flops_per_s, curve) + curve.overhead_s + curve.quantise_s_per_element * m * k


@cache
def matmul_curves() -> Mapping[str, MatmulCurve]:
    """All curves by part and precision, as `h100-bf16`."""
    return load_curves("matmul", MatmulCurve)


def matmul_curve(kernels: str, precision: TrainingPrecision) -> MatmulCurve:
    """The curve of a GPU's products; 16 bits where it has no fp8 units."""
    family = family_of(kernels)
    fp8 = precision == "fp8" and family != "a100"
    return matmul_curves()[f"{family}-{'fp8' if fp8 else 'bf16'}"]
