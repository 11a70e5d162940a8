"""Curves of collectives."""

from pathlib import Path

import numpy as np
import pandas as pd

from sim.kernels.collectives import CollectiveCurve, collective_s
from sim.kernels.fits.regression import NONE, Array, Parameter, fitted, read
from sim.kernels.tables import Evidence


def collective_curves(folder: Path) -> dict[str, CollectiveCurve]:
    """Curves of collectives inside a node, over rings; all-reduce over NVLink SHARP apart."""
    timings = read(folder, "collectives")
    timings = timings[(timings.src == "C1") & ~timings.fabric.str.contains("custom")]
    parts = {"a100": "A100-SXM4-80GB", "h100": "H100-SXM5-80GB", "h200": "H200-SXM-141GB"}
    curves = {}
    for family, part in parts.items():
        for op in ("all_gather", "reduce_scatter", "all_reduce"):
            rows = timings[(timings.gpu == part) & (timings.op == op)]
            timed = f"{part}: {', '.join(sorted(note.split(' -n')[0] for note in rows.note.unique()))}"
            name = f"{family}-{op.replace('_', '-')}"
            passes = 2 if op == "all_reduce" else 1
            if op == "all_reduce" and family != "a100":  # NCCL takes NVLink SHARP from five ranks on
                sharp = rows[rows.ranks == 8]
                curves[f"{name}-sharp"] = _curve(sharp, passes, sharp.ranks * 0.0, timed)
                rows = rows[rows.ranks < 5]
            curves[name] = _curve(rows, passes, rows.ranks - 1, timed)
    return curves


def collective_curves_between_nodes(folder: Path) -> dict[str, CollectiveCurve]:
    """All-reduce over nodes of eight H100, InfiniBand: read by eye from a figure, so rough below 8 MiB."""
    timings = read(folder, "collectives")
    rows = timings[timings.src == "C6"]
    hops = np.log2(rows.nodes.to_numpy(float))
    timed = "H100-SXM, 4 to 512 nodes with 8 x 400 Gb/s InfiniBand: arXiv:2411.13055"
    return {"h100-all-reduce-nodes": _curve(rows, 2, pd.Series(hops, index=rows.index), timed)}


def _curve(rows: pd.DataFrame, passes: int, hops: pd.Series, timed: str) -> CollectiveCurve:
    """One operation over all its group sizes; with a single size there is neither hop nor pair to tell apart."""
    size_bytes, ranks = rows.bytes.to_numpy(float), rows.ranks.to_numpy(float)
    hop = hops.to_numpy(float)
    sizes = rows.ranks.nunique()

    def curve(values: dict[str, float], evidence: Evidence) -> CollectiveCurve:
        return CollectiveCurve(
            base_s=values["base_s"],
            hop_s=values["hop_s"],
            large_base_s=values["large_base_s"],
            large_hop_s=values["large_hop_s"],
            change_bytes=values["change_bytes"],
            bus_bytes_per_s=values["bus_bytes_per_s"],
            passes=passes,
            pair_loss=values["pair_loss"],
            evidence=evidence,
        )

    unknown = Evidence(timed=timed, points=1, error_median=0, error_p90=0)

    def model(**values: float) -> Array:
        return np.asarray(collective_s(size_bytes, ranks, hop, curve(values, unknown)))

    parameters = {
        "base_s": Parameter(6e-6, 0, 1e-3),
        "hop_s": Parameter(1e-6, 0, 1e-3) if sizes > 1 else NONE,
        "large_base_s": Parameter(20e-6, 0, 2e-3),
        "large_hop_s": Parameter(4e-6, 0, 1e-3) if sizes > 1 else NONE,
        "change_bytes": Parameter(5e6, 1e5, 1e9),
        "bus_bytes_per_s": Parameter(300e9, 20e9, 600e9),
        "pair_loss": Parameter(0.1, 0, 0.9) if sizes > 1 and ranks.min() < 8 else NONE,
    }
    values, evidence = fitted(model, rows.time_us.to_numpy(float) * 1e-6, parameters, timed)
    return curve(values, evidence)
