"""Curves of the operations between the products."""

from pathlib import Path

import numpy as np
import pandas as pd

from sim.hardware import load_gpu
from sim.kernels.elementwise import ElementwiseCurve, elementwise_s
from sim.kernels.fits.regression import Array, Parameter, fitted, read

LOSS_BYTES = 8192 * 2 * 3
"""8,192 tokens in bf16, per entry of the vocabulary: read for the loss, read again for its gradient, which is
written."""
LOSSES = {"liger": "liger", "megatron": "megatron-fused", "eager": "megatron-unfused"}
"""Libraries in Liger-Kernel's benchmark."""


def elementwise_curves(folder: Path) -> dict[str, ElementwiseCurve]:
    """Curves of residual additions forward, and of the loss forward and backward."""
    timings = read(folder, "elementwise")
    added = timings[timings.direction.isin(["fwd", "forward"]) & (timings.op == "residual_add")]
    curves = {}
    for family, part in (("h100", "H100(DGX, vidur)"), ("a100", "A100(DGX, vidur)")):
        rows = added[added.gpu == part]
        timed = f"{part}: vLLM kernels, fp16"
        curves[f"{family}-residual-add-vllm"] = _curve(rows.time_us, rows.bytes_min, family, timed)
    part = "NVIDIA H100 80GB HBM3"
    losses = timings[(timings.direction == "full") & (timings.op == "megatron_cross_entropy") & (timings.gpu == part)]
    for name, library in LOSSES.items():
        rows = losses[losses.impl == library]
        vocab = rows["shape"].str.extract(r"=(\d+)")[0].astype(float)
        curves[f"h100-loss-{name}"] = _curve(rows.time_us, LOSS_BYTES * vocab, "h100", f"{part}: {library}")
    return curves


def _curve(time_us: pd.Series, moved_bytes: pd.Series, family: str, timed: str) -> ElementwiseCurve:
    bandwidth = load_gpu({"h100": "h100-sxm", "a100": "a100-80gb"}[family]).memory_bandwidth_bytes_per_s
    moved = moved_bytes.to_numpy(float)

    def model(share: float, overhead_s: float) -> Array:
        return np.asarray(elementwise_s(moved, bandwidth, share, overhead_s))

    parameters = {"share": Parameter(0.7, 0.05, 1.5), "overhead_s": Parameter(3e-6, 0, 1e-3)}
    values, evidence = fitted(model, time_us.to_numpy(float) * 1e-6, parameters, timed)
    return ElementwiseCurve(**values, evidence=evidence)
