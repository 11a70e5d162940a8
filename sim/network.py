"""Collective times over groups of ranks: bandwidth and latency of the slowest link a ring must cross.

Ring costs follow Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in
MPICH", IJHPCA 19(1), 2005: (n-1)/n of the buffer crosses each link for an all-gather or reduce-scatter, twice
that for an all-reduce.
"""

import numpy as np

from sim.case import Array, StepCase

NVLINK_LATENCY_S = 1.2e-6
"""One step of a ring inside a node: 16 us for a 4 KiB all-reduce over 8 H100 is 14 steps (NCCL tables)."""


def group_bandwidth(case: StepCase, size: Array, stride: Array) -> Array:
    """Bytes per second that each rank of a group sustains.

    Ranks `stride` apart, `size` of them. A group inside a node runs at NVLink's rate; one that leaves it runs
    at the rate of the NICs which its ranks in a node can use together, at most NVLink's. Without a switch a group
    uses only the links to its own members.
    """
    ranks_in_node = np.clip(np.floor(case.gpus_per_node / stride), 1, np.maximum(size, 1))
    leaves = size * stride > case.gpus_per_node
    reached = (ranks_in_node - 1) / np.maximum(case.direct_peers, 1)
    inside = case.nvlink_bytes_per_s * np.where(
        (case.direct_peers > 0) & (reached > 0), np.minimum(reached, 1.0), 1.0
    )
    outside = np.minimum(inside, ranks_in_node * case.nic_bytes_per_s)
    return np.where(leaves, outside, inside)


def gather_time_s(case: StepCase, size_bytes: Array, size: Array, stride: Array) -> Array:
    """Seconds to all-gather (or reduce-scatter) `size_bytes` in total over a group."""
    share: Array = (size - 1) / np.maximum(size, 1)
    return share * size_bytes / group_bandwidth(case, size, stride) + latency_s(case, size, stride)


def latency_s(case: StepCase, size: Array, stride: Array) -> Array:
    """Latency of one all-gather: a ring inside the node, a tree (log2) between nodes."""
    ranks_in_node = np.clip(np.floor(case.gpus_per_node / stride), 1, np.maximum(size, 1))
    nodes = np.maximum(size / ranks_in_node, 1)
    hops_s: Array = (ranks_in_node - 1) * NVLINK_LATENCY_S + 2 * np.log2(nodes) * case.fabric_latency_s
    return hops_s


def all_reduce_time_s(case: StepCase, size_bytes: Array, size: Array, stride: Array) -> Array:
    """Seconds to all-reduce a buffer of `size_bytes` over a group: a reduce-scatter and an all-gather."""
    return 2 * gather_time_s(case, size_bytes, size, stride)


def overlapped(work_s: Array, comm_s: Array, exposed: Array) -> Array:
    """Communication time left over when `comm_s` runs beside `work_s`.

    All that outlasts the work, plus the share `exposed` of what runs beside it (shared SMs and bandwidth).
    """
    return np.maximum(comm_s - work_s, 0) + exposed * np.minimum(comm_s, work_s)
