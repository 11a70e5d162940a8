"""Collective times over groups of ranks: fixed times and hops, and the bandwidth of the slowest link they must cross.

Ring costs follow Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in
MPICH", IJHPCA 19(1), 2005: (n-1)/n of the buffer crosses each link for an all-gather or reduce-scatter, twice
that for an all-reduce. What NCCL's collectives lose on small messages and on few ranks are curves fitted to its
timings (`sim.kernels.collectives`); the rate of large ones is a calibrated share of the links'.
"""

import numpy as np
from numpy.typing import NDArray

from sim.case import Array, StepCase
from sim.kernels.collectives import SHARP_RANKS, LinkShape, fixed_s, hop_s, link_shape, pair_rate, tree_curves, tree_s

SMALL_BASE_S = 6.8e-6
"""NCCL's own estimate of what an all-reduce of a small message takes over a tree, and of each hop below."""
SMALL_HOP_INSIDE_S = 0.6e-6
SMALL_HOP_BETWEEN_S = 5e-6


def group_bandwidth(case: StepCase, size: Array, stride: Array, shape: LinkShape | None = None) -> Array:
    """Bytes per second that each rank of a group sustains, in a gather unless `shape` is another collective's.

    Ranks `stride` apart, `size` of them. A group inside a node runs at NVLink's rate, of which few ranks lose a
    part; one that leaves it runs at the rate of the NICs that its ranks in a node can use together, at most NVLink's.
    Without a switch a group uses only the links to its own members. A group that leaves its pod crosses to the next
    one once on every ring: its ranks in a pod share what the oversubscribed links give each of them.
    """
    shape = shape or link_shape("gather", case.links)
    ranks_in_node = _ranks_in_node(case, size, stride)
    reached = (ranks_in_node - 1) / np.maximum(case.direct_peers, 1)
    inside = case.nvlink_bytes_per_s * np.where(
        (case.direct_peers > 0) & (reached > 0), np.minimum(reached, 1.0), 1.0
    )
    outside = np.minimum(inside, _between_nodes(case, ranks_in_node, size, stride))
    within: Array = inside * shape.rate * pair_rate(size, shape.pair_loss)
    return np.where(leaves_node(case, size, stride), outside, within)


def _between_nodes(case: StepCase, nics: Array, size: Array, stride: Array) -> Array:
    """Bytes per second of `nics` NICs, of which those of a group that leaves its pod share its way out."""
    ranks_in_pod = np.clip(np.floor(case.pod_gpus / stride), 1, np.maximum(size, 1))
    between_pods = np.minimum(
        nics * case.nic_bytes_per_s, ranks_in_pod * case.nic_bytes_per_s / case.oversubscription
    )
    return np.where(size * stride > case.pod_gpus, between_pods, nics * case.nic_bytes_per_s)


def moving_s(case: StepCase, size_bytes: Array, size: Array, stride: Array, shape: LinkShape | None = None) -> Array:
    """Seconds in which the bytes of one all-gather cross the slowest link."""
    share: Array = (size - 1) / np.maximum(size, 1)
    return share * size_bytes / group_bandwidth(case, size, stride, shape)


def gather_time_s(case: StepCase, size_bytes: Array, size: Array, stride: Array) -> Array:
    """Seconds to all-gather (or reduce-scatter) `size_bytes` in total over a group: a ring, in which every rank is a
    hop, over NVLink or from node to node.

    No gather across nodes was timed by size: a hop between them is taken to wait as long as one of an all-reduce's
    tree does, by the bytes of one node.
    """
    around = _around_s(case, size_bytes, size_bytes / _nodes(case, size, stride), size, stride)
    return np.where(size > 1, moving_s(case, size_bytes, size, stride) + around, 0.0)


def pass_round_s(case: StepCase, size_bytes: Array, size: Array, stride: Array) -> Array:
    """Seconds that a broadcast takes beyond moving its `size_bytes`: NCCL knows rings alone for it
    (NVIDIA/nccl src/graph/tuning.cc), so that the message passes every rank of the group."""
    return np.where(size > 1, _around_s(case, size_bytes, size_bytes, size, stride), 0.0)


def _around_s(case: StepCase, size_bytes: Array, node_bytes: Array, size: Array, stride: Array) -> Array:
    """Fixed times and hops of a ring that moves `size_bytes` in all and `node_bytes` from a node to the next at a
    time."""
    shape, tree = link_shape("gather", case.links), tree_curves()["all-reduce"]
    nodes = _nodes(case, size, stride)
    inside_s = fixed_s(size_bytes, np.maximum(size - nodes, 0.0), shape)
    return inside_s + np.where(nodes > 1, nodes, 0.0) * hop_s(node_bytes, case.fabric_latency_s, tree)


def all_reduce_time_s(case: StepCase, size_bytes: Array, size: Array, stride: Array) -> Array:
    """Seconds to all-reduce a buffer of `size_bytes` over a group: the traffic of a reduce-scatter and an all-gather,
    up and down a tree between nodes (Sanders, Speck and Träff, Parallel Computing 35, 2009); inside a node a switch
    may add up instead (NVLink SHARP, which NCCL takes from five ranks on)."""
    ring, sharp = link_shape("all-reduce", case.links), link_shape("all-reduce-sharp", case.links)
    nodes, leaves = _nodes(case, size, stride), leaves_node(case, size, stride)
    hops = np.maximum(size / nodes - 1, 0.0)
    around = np.where(leaves, ring.base_s + hops * ring.hop_s, fixed_s(size_bytes, hops, ring))
    climbing = tree_s(size_bytes, nodes, case.fabric_latency_s, tree_curves()["all-reduce"])
    ring_s = around + climbing + 2 * moving_s(case, size_bytes, size, stride, ring)
    crossing = 2 * (SHARP_RANKS - 1) / SHARP_RANKS * size_bytes / (case.nvlink_bytes_per_s * sharp.rate)
    in_switch = (case.switch_reduces > 0) & (size > 4) & ~leaves
    whole = np.where(in_switch, fixed_s(size_bytes, np.zeros_like(size), sharp) + crossing, ring_s)
    return np.where(size > 1, whole, 0.0)


def small_all_reduce_s(case: StepCase, size: Array, stride: Array) -> Array:
    """Seconds to all-reduce a few kilobytes over a group: latency alone, of a tree in NCCL's low-latency protocol, by
    its own tuning (NVIDIA/nccl src/graph/tuning.cc: baseLat, hwLat)."""
    nodes = _nodes(case, size, stride)
    hops_s = (size / nodes - 1) * SMALL_HOP_INSIDE_S + np.log2(nodes) * SMALL_HOP_BETWEEN_S
    return np.where(size > 1, SMALL_BASE_S + 2 * hops_s, 0.0)


def send_time_s(case: StepCase, size_bytes: Array, size: Array, stride: Array) -> Array:
    """Seconds until the slowest neighbours of a group of `size` ranks, `stride` apart, have sent `size_bytes`: over
    NVLink where all are in one node, otherwise over one NIC each."""
    shape = link_shape("gather", case.links)
    leaves = leaves_node(case, size, stride)
    outside = _between_nodes(case, np.ones_like(size), size, stride)
    rate = np.where(leaves, np.minimum(outside, case.nvlink_bytes_per_s), case.nvlink_bytes_per_s)
    return np.asarray(size_bytes / rate + shape.base_s + np.where(leaves, case.fabric_latency_s, 0.0))


def leaves_node(case: StepCase, size: Array, stride: Array) -> NDArray[np.bool_]:
    """True where a group does not fit into a node."""
    return np.asarray(size * stride > case.gpus_per_node)


def _ranks_in_node(case: StepCase, size: Array, stride: Array) -> Array:
    return np.clip(np.floor(case.gpus_per_node / stride), 1, np.maximum(size, 1))


def _nodes(case: StepCase, size: Array, stride: Array) -> Array:
    """Nodes that a group of `size` ranks, `stride` apart, is spread over."""
    return np.asarray(np.maximum(size / _ranks_in_node(case, size, stride), 1))


def overlapped(work_s: Array, comm_s: Array, exposed: Array) -> Array:
    """Communication time left over when `comm_s` runs beside `work_s`.

    All that outlasts the work, plus the share `exposed` of what runs beside it (shared SMs and bandwidth).
    """
    return np.maximum(comm_s - work_s, 0) + exposed * np.minimum(comm_s, work_s)
