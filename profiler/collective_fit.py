"""Latency and bandwidth of a collective from its measured sizes. No torch here."""

from collections.abc import Sequence

from profiler.profile import CollectiveRow


def fit_latency_and_bandwidth(rows: Sequence[CollectiveRow]) -> tuple[float, float] | None:
    """Latency [s] and bus bandwidth [bytes/s] of one operation on one group, from its rows.

    Least squares of time = latency + moved bytes / bandwidth on relative errors, so that small sizes, which
    hold the latency, weigh as much as large ones. None where the rows do not determine both.
    """
    moved = [row.bus_bandwidth_bytes_per_s * row.time_s for row in rows]
    if len(set(moved)) < 2:
        return None
    weights = [1.0 / row.time_s**2 for row in rows]
    total = sum(weights)
    mean_x = sum(w * x for w, x in zip(weights, moved, strict=True)) / total
    mean_y = sum(w * row.time_s for w, row in zip(weights, rows, strict=True)) / total
    spread = sum(w * (x - mean_x) ** 2 for w, x in zip(weights, moved, strict=True))
    together = sum(w * (x - mean_x) * (row.time_s - mean_y) for w, x, row in zip(weights, moved, rows, strict=True))
    slope = together / spread
    latency = mean_y - slope * mean_x
    return (latency, 1.0 / slope) if slope > 0 and latency > 0 else None
