"""Curves of matrix products."""

from pathlib import Path

import numpy as np
import pandas as pd

from sim.hardware import TrainingPrecision, load_gpu
from sim.kernels.fits.regression import NONE, Array, Parameter, fitted, read
from sim.kernels.matmul import MatmulCurve

CHOSEN: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("a100-bf16", "a100-80gb", "A100-SXM4-80GB", "bf16", ("sglang-0.5.10:sglang", "trtllm-1.0.0:torch_flow")),
    ("h100-bf16", "h100-sxm", "H100-SXM5-80GB", "bf16", ("trtllm-1.3.0rc20:torch_flow",)),
    ("h200-bf16", "h200-sxm", "H200-SXM-141GB", "bf16", ("trtllm-1.3.0rc20:torch_flow",)),
    ("h100-fp8", "h100-sxm", "H100-SXM5-80GB", "fp8", ("trtllm-1.3.0rc20:torch_flow",)),
    ("h200-fp8", "h200-sxm", "H200-SXM-141GB", "fp8", ("trtllm-1.3.0rc20:torch_flow",)),
)
"""Curve, part of the catalogue, part and type as timed, libraries."""


def matmul_curves(folder: Path) -> tuple[dict[str, MatmulCurve], pd.DataFrame]:
    """Curves of matrix products with random data, and medians by shape to hold them against."""
    timings = read(folder, "gemm")
    timings = timings[timings["pass"].isin(["fwd"]) & (timings["weights"] != "uninitialised")]
    curves: dict[str, MatmulCurve] = {}
    medians: list[pd.DataFrame] = []
    for name, gpu, part, dtype, libraries in CHOSEN:
        rows = timings[(timings.gpu == part) & (timings.dtype == dtype) & timings.impl.isin(libraries)]
        precision: TrainingPrecision = "fp8" if dtype == "fp8" else "bf16"
        peak = load_gpu(gpu).peak_flops(precision)
        curves[name] = _curve(rows, peak, fp8=precision == "fp8", timed=f"{part}: {', '.join(libraries)}")
        medians.append(_medians(rows, peak).assign(curve=name))
    return curves, pd.concat(medians, ignore_index=True)


def _curve(rows: pd.DataFrame, peak: float, *, fp8: bool, timed: str) -> MatmulCurve:
    """The rate falls from `burst` to `sustained` once a product takes longer than `limit_s`: timed in loops of some
    ten, it then has the part at its power limit."""
    m, n, k, seconds = (rows[c].to_numpy(float) for c in ("m", "n", "k", "time_us"))
    seconds = seconds * 1e-6

    def model(
        depth: float, rows: float, columns: float, overhead_s: float, quantise: float, burst: float,
        sustained: float, limit_s: float,
    ) -> Array:  # fmt: skip
        rate = peak * (sustained + (burst - sustained) / (1 + (seconds / limit_s) ** 2))
        result: Array = (
            2 * m * n * k / rate * (1 + depth / k + rows / m + columns / n) + overhead_s + quantise * m * k
        )
        return result

    parameters = {
        "depth": Parameter(100, 0, 3000),
        "rows": Parameter(50, 0, 2000),
        "columns": NONE if fp8 else Parameter(50, 0, 2000),  # what fp8 takes per column is its quantising
        "overhead_s": Parameter(3e-6, 0, 60e-6),
        "quantise": Parameter(1e-12, 0, 50e-12) if fp8 else NONE,
        "burst": Parameter(0.8, 0.3, 0.99),
        "sustained": Parameter(0.7, 0.3, 0.99),
        "limit_s": Parameter(2e-3, 0.2e-3, 0.05),
    }
    values, evidence = fitted(model, seconds, parameters, timed)
    return MatmulCurve(
        depth=values["depth"],
        rows=values["rows"],
        columns=values["columns"],
        overhead_s=values["overhead_s"],
        quantise_s_per_element=values["quantise"],
        burst=values["burst"],
        sustained=values["sustained"],
        evidence=evidence,
    )


def _medians(rows: pd.DataFrame, peak: float) -> pd.DataFrame:
    """Median share of the peak in bins an octave wide, apart for products before and after the power limit."""
    frame = rows[["m", "n", "k"]].astype(float)
    frame["share"] = 2e6 * frame.m * frame.n * frame.k / rows.time_us / peak
    frame["regime"] = np.where(rows.time_us < 500, "burst", np.where(rows.time_us > 16e3, "sustained", "between"))
    frame = frame[frame.regime != "between"]
    bins = [np.round(np.log2(frame[c])).rename(f"{c}_bin") for c in ("m", "n", "k")]
    grouped = frame.groupby(["regime", *bins])
    table = grouped.agg(share=("share", "median"), points=("share", "size"))
    for c in ("m", "n", "k"):
        table[c] = np.exp(np.log(frame[c]).groupby([frame.regime, *bins]).mean()).round()
    return table[table.points >= 5].reset_index()[["regime", "m", "n", "k", "share", "points"]]
