"""Curves of the operations between the products."""

from pathlib import Path

import pandas as pd

from sim.hardware import load_gpu
from sim.kernels.elementwise import ElementwiseCurve
from sim.kernels.fits.regression import Array, Parameter, fitted, read

LIGER = (
    # 2,048 x H in bf16, read and written
    ("a100-norm-liger", "a100", "rms_norm", "liger", 2048 * 2 * 2),
    ("a100-norm-eager", "a100", "rms_norm", "huggingface", 2048 * 2 * 2),
    # 2,048 x H in fp32, two read and two written
    ("h100-add-norm-liger", "h100", "fused_add_rms_norm", "liger_fused_add_rms_norm", 2048 * 4 * 4),
    ("h100-add-norm-eager", "h100", "fused_add_rms_norm", "huggingface", 2048 * 4 * 4),
    # 8,192 x F in bf16, two read and one written
    ("h100-activation-liger", "h100", "megatron_swiglu", "liger", 8192 * 2 * 3),
    ("h100-activation-megatron", "h100", "megatron_swiglu", "megatron", 8192 * 2 * 3),
    ("h100-activation-eager", "h100", "megatron_swiglu", "torch", 8192 * 2 * 3),
    # 8,192 x V in bf16, forward and backward: read for the loss, read again for its gradient, which is written
    ("h100-loss-liger", "h100", "megatron_cross_entropy", "liger", 8192 * 2 * 3),
    ("h100-loss-megatron", "h100", "megatron_cross_entropy", "megatron-fused", 8192 * 2 * 3),
    ("h100-loss-eager", "h100", "megatron_cross_entropy", "megatron-unfused", 8192 * 2 * 3),
)
"""Curve, part, operation and library in Liger-Kernel's benchmark, and the bytes moved per unit of its swept size."""


def elementwise_curves(folder: Path) -> dict[str, ElementwiseCurve]:
    """Curves of the operations between the products, over the bytes that they must move."""
    timings = read(folder, "elementwise")
    forward = timings[timings.direction.isin(["fwd", "forward"])]
    served = {"residual_add": "residual-add", "rms_norm": "norm", "swiglu_act": "activation", "rope": "rotary"}
    curves = {}
    for family, part in (("h100", "H100(DGX, vidur)"), ("a100", "A100(DGX, vidur)")):
        for operation, name in served.items():
            rows = forward[(forward.gpu == part) & (forward.op == operation)]
            curves[f"{family}-{name}-vllm"] = _curve(
                rows.time_us, rows.bytes_min, family, f"{part}: vLLM kernels, fp16"
            )
    for name, family, operation, library, moved in LIGER:
        part = "NVIDIA H100 80GB HBM3" if family == "h100" else "NVIDIA A100-SXM4-80GB"
        passes = timings[timings.direction == "full"] if "loss" in name else forward
        rows = passes[(passes.gpu == part) & (passes.op == operation) & (passes.impl == library)]
        size = rows["shape"].str.extract(r"=(\d+)")[0].astype(float)
        curves[name] = _curve(rows.time_us, moved * size, family, f"{part}: {library}")
    return curves


def _curve(time_us: pd.Series, moved_bytes: pd.Series, family: str, timed: str) -> ElementwiseCurve:
    bandwidth = load_gpu({"h100": "h100-sxm", "a100": "a100-80gb"}[family]).memory_bandwidth_bytes_per_s
    moved = moved_bytes.to_numpy(float)

    def model(share: float, overhead_s: float) -> Array:
        result: Array = overhead_s + moved / (share * bandwidth)
        return result

    parameters = {"share": Parameter(0.7, 0.05, 1.5), "overhead_s": Parameter(3e-6, 0, 1e-3)}
    values, evidence = fitted(model, time_us.to_numpy(float) * 1e-6, parameters, timed)
    return ElementwiseCurve(**values, evidence=evidence)
