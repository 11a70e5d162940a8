"""Curves of the all-reduce in a node."""

from pathlib import Path

import numpy as np
import pandas as pd

from sim.kernels.collectives import CollectiveCurve, collective_s
from sim.kernels.fits.regression import NONE, Array, Parameter, fitted, read
from sim.kernels.tables import Evidence


def collective_curves(folder: Path) -> dict[str, CollectiveCurve]:
    """Curves of the all-reduce in a node of eight H100: NCCL takes NVLink SHARP from five ranks on, a ring below."""
    timings = read(folder, "collectives")
    timings = timings[(timings.src == "C1") & ~timings.fabric.str.contains("custom")]
    rows = timings[(timings.gpu == "H100-SXM5-80GB") & (timings.op == "all_reduce")]
    timed = f"H100-SXM5-80GB: {', '.join(sorted(note.split(' -n')[0] for note in rows.note.unique()))}"
    sharp, ring = rows[rows.ranks == 8], rows[rows.ranks < 5]
    return {
        "h100-all-reduce-sharp": _curve(sharp, sharp.ranks * 0.0, timed),
        "h100-all-reduce": _curve(ring, ring.ranks - 1, timed),
    }


def _curve(rows: pd.DataFrame, hops: pd.Series, timed: str) -> CollectiveCurve:
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
