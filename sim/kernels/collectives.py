"""How long NCCL's all-reduce takes inside a node, over a ring and with NVLink SHARP: fitted to published timings.

A ring takes a fixed time, a hop for each other rank, and (n-1)/n of the bytes over the bus twice (Thakur et al.,
IJHPCA 19(1), 2005). Small messages take fast hops, large ones the slow hops of NCCL's Simple protocol, which moves
bytes at full rate; the change from one to the other is smooth here. SHARP adds up in the switch, which has no hops.
What the step takes from them is how much faster SHARP moves large messages (`switch_reduction`); rates and latencies
of its own collectives stand in `sim.network`. Sources and errors stand in sim/catalogue/kernels/collectives.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from profiler.units import Amount, Positive, Share
from sim.kernels.tables import Evidence, Values, load_curves


@dataclass(frozen=True, kw_only=True)
class CollectiveCurve:
    """One way of all-reducing on one part and its links."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    base_s: Amount
    """Fixed time of a small message, and of each hop."""
    hop_s: Amount
    large_base_s: Amount
    """What a large message adds to either."""
    large_hop_s: Amount
    change_bytes: Positive
    """Message at which half of that is paid."""
    bus_bytes_per_s: Positive
    """Bus bandwidth of very large messages over many ranks, as nccl-tests defines it."""
    pair_loss: Share
    """What a pair of ranks loses of it; the loss falls with the square of the ranks."""
    evidence: Evidence


def fixed_s(size_bytes: Values, hops: Values, curve: CollectiveCurve) -> Values:
    """Seconds that do not go into moving the bytes."""
    large: Values = size_bytes / (size_bytes + curve.change_bytes)
    return curve.base_s + hops * curve.hop_s + large * (curve.large_base_s + hops * curve.large_hop_s)


def bus_bytes_per_s(ranks: Values, curve: CollectiveCurve) -> Values:
    """Bus bandwidth of very large messages over `ranks` ranks."""
    return curve.bus_bytes_per_s * (1 - 4 * curve.pair_loss / np.maximum(ranks, 2) ** 2)


def collective_s(size_bytes: Values, ranks: Values, hops: Values, curve: CollectiveCurve) -> Values:
    """Seconds of one all-reduce of a buffer of `size_bytes`, which crosses the bus twice.

    `hops` are those of a ring (`ranks` - 1), none through a switch. Nothing with one rank.
    """
    share = (ranks - 1) / np.maximum(ranks, 1)
    moving = 2 * share * size_bytes / bus_bytes_per_s(ranks, curve)
    return np.where(np.asarray(ranks) > 1, fixed_s(size_bytes, hops, curve) + moving, 0.0)


@cache
def collective_curves() -> Mapping[str, CollectiveCurve]:
    """All curves by part and operation, as `h100-all-reduce`."""
    return load_curves("collectives", CollectiveCurve)


def switch_reduction() -> float:
    """Bus bandwidth of a large all-reduce that NVLink SHARP adds up over that of a ring, on Hopper."""
    curves = collective_curves()
    return curves["h100-all-reduce-sharp"].bus_bytes_per_s / curves["h100-all-reduce"].bus_bytes_per_s
