"""Curves of the collectives inside a node, and of the all-reduce across nodes."""

from pathlib import Path

import numpy as np
import pandas as pd

from sim.kernels.collectives import CollectiveCurve, TreeCurve, collective_s, fixed_s, tree_s
from sim.kernels.fits.regression import NONE, Array, Parameter, fitted, read
from sim.kernels.tables import Evidence

PARTS = {"h100": ("H100-SXM5-80GB", "H200-SXM-141GB"), "a100": ("A100-SXM4-80GB",)}
UNKNOWN = Evidence(timed="", points=1, error_median=0, error_p90=0)

LATENCY_S = 10e-6
"""Of the fabric under the timings across nodes (sim/catalogue/fabrics/400g.toml)."""
LINE_BYTES_PER_S = 8 * 50e9
"""Of a node's NICs there."""


def collective_curves(folder: Path) -> dict[str, CollectiveCurve]:
    """Curves inside a node: NCCL takes NVLink SHARP from five ranks on where a switch adds up, a ring below."""
    timings = read(folder, "collectives")
    timings = timings[(timings.src == "C1") & ~timings.fabric.str.contains("custom")]
    curves = {}
    for part, gpus in PARTS.items():
        rows = timings[timings.gpu.isin(gpus)]
        reduces, gathers = rows[rows.op == "all_reduce"], rows[rows.op.isin(["all_gather", "reduce_scatter"])]
        timed = f"{' and '.join(gpus)}: {', '.join(sorted({note.split(' -n')[0] for note in rows.note}))}"
        curves[f"{part}-gather"] = _curve(gathers, 1, timed)
        curves[f"{part}-all-reduce"] = _curve(reduces[(reduces.ranks < 5) | (part == "a100")], 2, timed)
        if part == "h100":
            curves[f"{part}-all-reduce-sharp"] = _curve(reduces[reduces.ranks == 8], 2, timed)
    return curves


def _curve(rows: pd.DataFrame, crossings: int, timed: str) -> CollectiveCurve:
    """One operation over all its group sizes; a single size is a switch's, without hops or pairs."""
    size_bytes, ranks = rows.bytes.to_numpy(float), rows.ranks.to_numpy(float)
    ring = rows.ranks.nunique() > 1
    hops = ranks - 1 if ring else np.zeros(len(rows))

    def model(**values: float) -> Array:
        return np.asarray(
            collective_s(size_bytes, ranks, hops, crossings, CollectiveCurve(**values, evidence=UNKNOWN))
        )

    parameters = {
        "base_s": Parameter(6e-6, 0, 1e-3),
        "hop_s": Parameter(1e-6, 0, 1e-3) if ring else NONE,
        "large_s": Parameter(20e-6, 0, 2e-3),
        "change_bytes": Parameter(5e6, 1e5, 1e9),
        "bus_bytes_per_s": Parameter(300e9, 20e9, 600e9),
        "pair_loss": Parameter(0.1, 0, 0.9) if ring else NONE,
    }
    values, evidence = fitted(model, rows.time_us.to_numpy(float) * 1e-6, parameters, timed)
    return CollectiveCurve(**values, evidence=evidence)


def tree_curves(folder: Path, inside: CollectiveCurve) -> dict[str, TreeCurve]:
    """The all-reduce over 4 to 1,024 nodes of eight, beyond what it takes `inside` a node."""
    rows = read(folder, "collectives")
    rows = rows[rows.src.isin(["C6", "C7"]) & (rows.op == "all_reduce") & (rows.nodes > 1) & (rows.bytes > 0)]
    size_bytes, ranks, nodes = (rows[name].to_numpy(float) for name in ("bytes", "ranks", "nodes"))
    hops = ranks / nodes - 1
    small = CollectiveCurve(**{**vars(inside), "large_s": 0.0})

    def model(**values: float) -> Array:
        curve = TreeCurve(**values, evidence=UNKNOWN)
        moving_s = 2 * (ranks - 1) / ranks * size_bytes / (curve.line_share * LINE_BYTES_PER_S)
        climbing_s = tree_s(size_bytes, nodes, LATENCY_S, curve)
        return np.asarray(fixed_s(size_bytes, hops, small) + climbing_s + moving_s)

    parameters = {
        "level": Parameter(3.0, 0, 100),
        "large_level": Parameter(6.0, 0, 100),
        "change_bytes": Parameter(4e6, 1e5, 1e9),
        "line_share": Parameter(0.9, 0.1, 1.0),
    }
    timed = "H100 nodes of eight on 400 Gb/s InfiniBand, rings, trees and NVLSTree, read from figures"
    values, evidence = fitted(model, rows.time_us.to_numpy(float) * 1e-6, parameters, timed)
    return {"all-reduce": TreeCurve(**values, evidence=evidence)}
