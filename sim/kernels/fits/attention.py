"""Curves of fused attention."""

from pathlib import Path

import numpy as np
import pandas as pd

from sim.kernels.attention import BACKWARD_FLOPS, AttentionCurve
from sim.kernels.fits.regression import Array, Parameter, fitted, read


def attention_curves(folder: Path) -> dict[str, AttentionCurve]:
    """Curves of fused attention. How much work fills a GPU comes from timings with few heads; an H100's from a
    GH200's, cuDNN's from FlashAttention-2's."""
    timings = read(folder, "attention")
    timings["seconds"] = timings.time_us * 1e-6
    hopper = timings[timings.gpu == "H100-SXM5-80GB"]
    fill = _fill(timings[(timings.gpu == "GH200-96GB(Vista)") & (timings.direction == "fwd")])
    few_heads = hopper[hopper.impl.isin(["sglang-0.5.14:fa3", "vllm-0.24.0:vllm_flash_attn_fa3"])]
    figures = hopper[hopper.src.isin(["S2", "S3", "S4"])]
    perlmutter = (timings.gpu == "A100-SXM4-80GB(Perlmutter)") & (timings.direction == "fwd")
    return {
        "h100-flash2": _curve(figures[figures.impl == "FA2"], fill, "H100-SXM5-80GB: FlashAttention-2, fp16"),
        "h100-flash3": _curve(
            figures[figures.impl == "FA3"], _fill(few_heads), "H100-SXM5-80GB: FlashAttention-3, fp16"
        ),
        "h100-cudnn": _curve(figures[figures.impl == "cuDNN"], fill, "H100-SXM5-80GB: cuDNN, fp16"),
        "a100-flash2": _curve(
            timings[(timings.src == "S5") | perlmutter],
            _fill(timings[perlmutter]),
            "A100-SXM4-80GB: FlashAttention-2, fp16",
        ),
    }


def _fill(rows: pd.DataFrame) -> float:
    """(Head, token) pairs that fill a GPU, from forward timings over many heads and batches."""
    pairs = (rows.batch * rows.heads * rows.seqlen).to_numpy(float)
    seq_len = rows.seqlen.to_numpy(float)
    flops = np.where(rows.causal == 1, 2.0, 4.0) * pairs * seq_len * rows.head_dim.to_numpy(float)
    wide = rows.head_dim.to_numpy() == 128

    def model(rate: float, narrow: float, half: float, fill: float, overhead_s: float) -> Array:
        rates = rate * np.where(wide, 1.0, narrow)
        result: Array = flops / rates * (1 + half / seq_len + fill / pairs) + overhead_s
        return result

    values, _ = fitted(
        model,
        rows.seconds.to_numpy(float),
        {
            "rate": Parameter(4e14, 0.5e14, 15e14),
            "narrow": Parameter(0.9, 0.5, 1.0),
            "half": Parameter(300, 0, 5000),
            "fill": Parameter(5000, 0, 1e5),
            "overhead_s": Parameter(5e-6, 0, 1e-4),
        },
        "",
    )
    return values["fill"]


def _curve(rows: pd.DataFrame, fill: float, timed: str) -> AttentionCurve:
    """All directions, masks and head dimensions of one library together."""
    sequences_heads = (rows.batch * rows.heads).to_numpy(float)
    seq_len, head_dim = rows.seqlen.to_numpy(float), rows.head_dim.to_numpy(float)
    causal = rows.causal.to_numpy() == 1
    forward = rows.direction.isin(["fwd", "fwd+bwd"]).to_numpy(float)
    backward = rows.direction.isin(["bwd", "fwd+bwd"]).to_numpy(float)

    def model(
        flops_per_s: float, backward_flops_per_s: float, full_gain: float, half: float, backward_half: float,
        mask: float, softmax: float,
    ) -> Array:  # fmt: skip
        flops = np.where(causal, 2.0, 4.0) * sequences_heads * seq_len**2 * head_dim
        flops *= (1 + softmax / head_dim) / (1 + softmax / 128) / np.where(causal, 1.0, full_gain)
        extra = mask * causal + fill / sequences_heads
        seconds = forward * flops / flops_per_s * (1 + (half + extra) / seq_len)
        result: Array = seconds + backward * BACKWARD_FLOPS * flops / backward_flops_per_s * (
            1 + (backward_half + extra) / seq_len
        )
        return result

    parameters = {
        "flops_per_s": Parameter(4e14, 1e14, 9e14),
        "backward_flops_per_s": Parameter(3.5e14, 1e14, 9e14),
        "full_gain": Parameter(1.05, 0.95, 1.3),
        "half": Parameter(100, 0, 2000),
        "backward_half": Parameter(300, 0, 2000),
        "mask": Parameter(300, 0, 2000),
        "softmax": Parameter(30, 0, 300),
    }
    values, evidence = fitted(model, rows.seconds.to_numpy(float), parameters, timed)
    return AttentionCurve(**values, fill=fill, evidence=evidence)
