"""How long NCCL's collectives take, by ranks, nodes and bytes: curves fitted to published timings.

Gathers and scatters run round a ring: a fixed time, a hop for each other rank, and (n-1)/n of the bytes over the
bus (Thakur et al., IJHPCA 19(1), 2005). Small messages take fast hops, large ones the slow hops of NCCL's Simple
protocol, which moves bytes at full rate; the change from one to the other is smooth here. Between nodes an
all-reduce climbs a tree instead, whose time grows with log2 of the nodes, and NVLink SHARP adds up in the switch
inside one. Sources and errors stand in sim/catalogue/kernels/collectives*.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from profiler.units import Amount, Count, Positive, Share
from sim.kernels.tables import Evidence, Values, load_curves


@dataclass(frozen=True, kw_only=True)
class CollectiveCurve:
    """One collective on one part and its links."""

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
    passes: Count
    """How often the bytes cross the bus: once, or twice for an all-reduce."""
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
    """Seconds of one collective of `size_bytes` in total (the gathered total, the buffer of an all-reduce).

    `hops` are those of a ring (`ranks` - 1) or a tree (`tree_hops`). Nothing with one rank.
    """
    share = (ranks - 1) / np.maximum(ranks, 1)
    moving = curve.passes * share * size_bytes / bus_bytes_per_s(ranks, curve)
    return np.where(np.asarray(ranks) > 1, fixed_s(size_bytes, hops, curve) + moving, 0.0)


def tree_hops(nodes: Values) -> Values:
    """Levels of the tree between nodes."""
    return np.log2(np.maximum(nodes, 1))


@cache
def collective_curves() -> Mapping[str, CollectiveCurve]:
    """All curves by part and operation, as `h100-all-gather`; those between nodes come from another file with
    another licence."""
    return {
        **load_curves("collectives", CollectiveCurve),
        **load_curves("collectives-between-nodes", CollectiveCurve),
    }


def switch_reduction() -> float:
    """Bus bandwidth of a large all-reduce that NVLink SHARP adds up over that of a ring, on Hopper."""
    curves = collective_curves()
    return curves["h100-all-reduce-sharp"].bus_bytes_per_s / curves["h100-all-reduce"].bus_bytes_per_s
