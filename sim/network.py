"""Collective times over groups of ranks: bandwidth and latency of the slowest link a ring must cross.

Ring costs follow Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in
MPICH", IJHPCA 19(1), 2005: (n-1)/n of the buffer crosses each link for an all-gather or reduce-scatter, twice
that for an all-reduce.
"""

import numpy as np
from numpy.typing import NDArray

from sim.case import Array, StepCase

NVLINK_HOP_S = 3.4e-6
"""One hop inside a node of a ring that moves large messages: NCCL's Simple protocol (NCCL src/graph/tuning.cc), as
32 us for an all-gather over eight H100 in nccl-tests."""
NVLINK_SMALL_HOP_S = 1.2e-6
"""The same for small messages: 16 us for a 4 KiB all-reduce over 8 H100 is 14 hops (NCCL tables)."""


def leaves_node(case: StepCase, size: Array, stride: Array) -> NDArray[np.bool_]:
    """Whether a group of `size` ranks, `stride` apart, is spread over several nodes."""
    return np.asarray(size * stride > case.gpus_per_node)


def group_bandwidth(case: StepCase, size: Array, stride: Array) -> Array:
    """Bytes per second that each rank of a group sustains.

    Ranks `stride` apart, `size` of them. A group inside a node runs at NVLink's rate; one that leaves it runs
    at the rate of the NICs which its ranks in a node can use together, at most NVLink's. Without a switch a group
    uses only the links to its own members. A group that leaves its pod crosses to the next one once on every ring:
    its ranks in a pod share what the oversubscribed links give each of them.
    """
    ranks_in_node = np.clip(np.floor(case.gpus_per_node / stride), 1, np.maximum(size, 1))
    reached = (ranks_in_node - 1) / np.maximum(case.direct_peers, 1)
    inside = case.nvlink_bytes_per_s * np.where(
        (case.direct_peers > 0) & (reached > 0), np.minimum(reached, 1.0), 1.0
    )
    outside = np.minimum(inside, ranks_in_node * case.nic_bytes_per_s)
    ranks_in_pod = np.clip(np.floor(case.pod_gpus / stride), 1, np.maximum(size, 1))
    between_pods = np.minimum(outside, ranks_in_pod * case.nic_bytes_per_s / case.oversubscription)
    outside = np.where(size * stride > case.pod_gpus, between_pods, outside)
    return np.where(leaves_node(case, size, stride), outside, inside)


def moving_s(case: StepCase, size_bytes: Array, size: Array, stride: Array) -> Array:
    """Seconds in which the bytes of one all-gather cross the slowest link."""
    share: Array = (size - 1) / np.maximum(size, 1)
    return share * size_bytes / group_bandwidth(case, size, stride)


def gather_time_s(case: StepCase, size_bytes: Array, size: Array, stride: Array) -> Array:
    """Seconds to all-gather (or reduce-scatter) `size_bytes` in total over a group: a ring, in which every rank is a
    hop, over NVLink or from node to node."""
    nodes = _nodes(case, size, stride)
    between = np.where(nodes > 1, nodes, 0.0)
    hops_s = (size - nodes) * NVLINK_HOP_S + between * case.fabric_latency_s
    whole: Array = moving_s(case, size_bytes, size, stride) + hops_s
    return whole


def all_reduce_time_s(case: StepCase, size_bytes: Array, size: Array, stride: Array) -> Array:
    """Seconds to all-reduce a buffer of `size_bytes` over a group: the traffic of a reduce-scatter and an all-gather,
    up and down a tree between nodes (Sanders, Speck and Träff, Parallel Computing 35, 2009); inside a node a switch
    may add up instead (NVLink SHARP, which NCCL takes from five ranks on)."""
    nodes = _nodes(case, size, stride)
    inside = np.maximum(size / nodes - 1, 0.0)
    hops_s = inside * NVLINK_SMALL_HOP_S + 2 * np.log2(nodes) * case.fabric_latency_s
    in_switch = (size > 4) & (size * stride <= case.gpus_per_node)
    moving = moving_s(case, size_bytes, size, stride) / np.where(in_switch, case.switch_reduction, 1.0)
    both: Array = 2 * (moving + hops_s)
    return both


def _nodes(case: StepCase, size: Array, stride: Array) -> Array:
    """Nodes that a group of `size` ranks, `stride` apart, is spread over."""
    ranks_in_node = np.clip(np.floor(case.gpus_per_node / stride), 1, np.maximum(size, 1))
    return np.asarray(np.maximum(size / ranks_in_node, 1))


def overlapped(work_s: Array, comm_s: Array, exposed: Array) -> Array:
    """Communication time left over when `comm_s` runs beside `work_s`.

    All that outlasts the work, plus the share `exposed` of what runs beside it (shared SMs and bandwidth).
    """
    return np.maximum(comm_s - work_s, 0) + exposed * np.minimum(comm_s, work_s)
