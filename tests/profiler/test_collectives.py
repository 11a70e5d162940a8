"""The fit of latency and bandwidth, and which groups of ranks are measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.collective_fit import fit_latency_and_bandwidth
from profiler.collectives import rank_groups
from profiler.profile import CollectiveRow


def _rows(op: str, ranks: int, latency_s: float, bandwidth: float) -> list[CollectiveRow]:
    factor = {"all_reduce": 2 * (ranks - 1) / ranks, "send_recv": 1.0}.get(op, (ranks - 1) / ranks)
    return [
        CollectiveRow(
            op=op,  # type: ignore[arg-type]
            size_bytes=size,
            ranks=ranks,
            scope="node",
            time_s=latency_s + size * factor / bandwidth,
        )
        for size in (2**12, 2**18, 2**24, 2**30)
    ]


@given(
    op=st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "send_recv", "all_to_all"]),
    ranks=st.integers(2, 1024),
    latency_s=st.floats(1e-6, 1e-2),
    bandwidth=st.floats(1e9, 1e12),
)
def test_the_fit_finds_the_latency_and_bus_bandwidth_behind_the_times(
    op: str, ranks: int, latency_s: float, bandwidth: float
) -> None:
    fit = fit_latency_and_bandwidth(_rows(op, ranks, latency_s, bandwidth))
    assert fit is not None
    assert fit == pytest.approx((latency_s, bandwidth), rel=1e-3)


def test_one_size_determines_nothing() -> None:
    assert fit_latency_and_bandwidth(_rows("all_reduce", 2, 1e-5, 1e11)[:1]) is None


@given(nodes=st.integers(1, 9), ranks_per_node=st.integers(1, 9))
def test_groups_stay_inside_a_node_or_cross_the_fabric_as_they_say(nodes: int, ranks_per_node: int) -> None:
    groups = rank_groups(nodes * ranks_per_node, ranks_per_node)
    for group in groups:
        homes = {member // ranks_per_node for member in group.members}
        assert len(group.members) == len(set(group.members)) > 1
        assert (len(homes) == 1) == (group.scope == "node")
    keys = [(len(group.members), group.scope) for group in groups]
    if ranks_per_node > 1:
        assert (ranks_per_node, "node") in keys
    if nodes > 1:
        assert (nodes, "fabric") in keys
        assert (nodes * ranks_per_node, "fabric") in keys


def test_groups_of_two_nodes_of_eight() -> None:
    inside, across = [(2, "node"), (4, "node"), (8, "node")], [(2, "fabric"), (16, "fabric")]
    groups = rank_groups(16, 8)
    assert [(len(group.members), group.scope) for group in groups] == inside + across
    assert groups[3].members == (0, 8)  # one rank of each node, over its own network card
    assert rank_groups(1, 1) == ()
