"""How long NCCL's collectives take inside a node and across nodes: curves fitted to published timings.

Inside a node a collective takes a fixed time, a hop for each other rank of a ring, (n-1)/n of the bytes over the bus
(twice for an all-reduce; Thakur et al., IJHPCA 19(1), 2005), and a further fixed time once messages are large enough
for NCCL's Simple protocol, which moves bytes at full rate but waits for whole chunks. A pair of ranks does not fill
the links. NVLink SHARP adds up in the switch: no hops, and each rank sends its buffer once whatever their number.
Across nodes an all-reduce climbs a tree: so many latencies of the fabric for each doubling of nodes.

The step takes all of this but the rate of the links, which is one calibrated share of their datasheet's for every
collective (`sim.network`). Sources and errors stand in sim/catalogue/kernels/collectives.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Literal

import numpy as np

from profiler.units import Amount, Positive, Share
from sim.kernels.tables import Evidence, Values, load_curves

LINKS = ("h100", "a100")
"""Parts whose links were timed; H100 and H200 have the same and run alike."""

Operation = Literal["gather", "all-reduce", "all-reduce-sharp"]
"""gather: an all-gather or a reduce-scatter, which take the same time."""

SHARP_RANKS = 8
"""Ranks among which SHARP was timed. Its time does not depend on their number: nccl-tests show 420, 440, 460 and
480 GB/s of bus bandwidth over 5, 6, 7 and 8 H100, which are all 263 to 274 GB/s of the buffer."""


@dataclass(frozen=True, kw_only=True)
class CollectiveCurve:
    """One collective over one kind of links inside a node."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    base_s: Amount
    """Fixed time of a small message, and of each hop."""
    hop_s: Amount
    large_s: Amount
    """What a large message adds."""
    change_bytes: Positive
    """Message at which half of that is paid."""
    bus_bytes_per_s: Positive
    """Bus bandwidth of very large messages over many ranks, as nccl-tests defines it."""
    pair_loss: Share
    """What a pair of ranks loses of it; the loss falls with the square of the ranks."""
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class TreeCurve:
    """An all-reduce across nodes, beyond its time inside one: latencies of the fabric per doubling of nodes."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    level: Amount
    """Of a small message, up and down again."""
    large_level: Amount
    """What a large message adds."""
    change_bytes: Positive
    """Message at which half of that is paid."""
    line_share: Share
    """Bus bandwidth of very large messages over the NICs' line rate."""
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class LinkShape:
    """A `CollectiveCurve`, one entry per step, its rate over that of a gather (`rate`)."""

    base_s: Values
    hop_s: Values
    large_s: Values
    change_bytes: Values
    pair_loss: Values
    rate: Values


def growing(size_bytes: Values, change_bytes: Values) -> Values:
    """How much of what large messages pay a message of `size_bytes` pays, from 0 to 1."""
    return size_bytes / (size_bytes + change_bytes)


def fixed_s(size_bytes: Values, hops: Values, curve: CollectiveCurve | LinkShape) -> Values:
    """Seconds that do not go into moving the bytes."""
    return curve.base_s + hops * curve.hop_s + growing(size_bytes, curve.change_bytes) * curve.large_s


def pair_rate(ranks: Values, pair_loss: Values) -> Values:
    """Bus bandwidth of `ranks` ranks over that of many."""
    return np.asarray(1 - pair_loss * (2 / np.maximum(ranks, 2)) ** 2)


def collective_s(size_bytes: Values, ranks: Values, hops: Values, crossings: int, curve: CollectiveCurve) -> Values:
    """Seconds of a collective of `size_bytes` in total, whose bytes cross the bus once or, all-reduced, twice.

    `hops` are those of a ring (`ranks` - 1), none through a switch. Nothing with one rank.
    """
    share = (ranks - 1) / np.maximum(ranks, 1)
    bus = curve.bus_bytes_per_s * pair_rate(ranks, curve.pair_loss)
    return np.where(
        np.asarray(ranks) > 1, fixed_s(size_bytes, hops, curve) + crossings * share * size_bytes / bus, 0.0
    )


def hop_s(size_bytes: Values, latency_s: Values, curve: TreeCurve) -> Values:
    """Seconds from one node to the next, one way."""
    return latency_s / 2 * (curve.level + growing(size_bytes, curve.change_bytes) * curve.large_level)


def tree_s(size_bytes: Values, nodes: Values, latency_s: Values, curve: TreeCurve) -> Values:
    """Seconds that an all-reduce spends on climbing and descending a tree over `nodes` nodes."""
    return 2 * hop_s(size_bytes, latency_s, curve) * np.log2(nodes)


@cache
def collective_curves() -> Mapping[str, CollectiveCurve]:
    """All curves inside a node by part and operation, as `h100-all-reduce`."""
    return load_curves("collectives", CollectiveCurve)


@cache
def tree_curves() -> Mapping[str, TreeCurve]:
    """The curve across nodes: `all-reduce`."""
    return load_curves("collectives-nodes", TreeCurve)


def link_shape(operation: Operation, links: Values) -> LinkShape:
    """The curve of an operation for steps on `links`, indices into LINKS."""
    by_link = _shapes(operation)
    index = np.asarray(links, dtype=np.intp)
    return LinkShape(**{name: values[index] for name, values in by_link.items()})


@cache
def _shapes(operation: Operation) -> Mapping[str, "np.typing.NDArray[np.float64]"]:
    curves = collective_curves()
    # where no switch adds up, there is a ring
    chosen = [curves.get(f"{part}-{operation}", curves[f"{part}-all-reduce"]) for part in LINKS]
    gathers = [curves[f"{part}-gather"].bus_bytes_per_s for part in LINKS]
    columns = {
        f.name: np.array([getattr(curve, f.name) for curve in chosen]) for f in fields(LinkShape) if f.name != "rate"
    }
    rates = [curve.bus_bytes_per_s / gather for curve, gather in zip(chosen, gathers, strict=True)]
    return {**columns, "rate": np.array(rates)}
