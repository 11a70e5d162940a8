"""The fit of latency and bandwidth, and which groups of ranks are measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.collective_fit import fit_latency_and_bandwidth
from profiler.collectives import group_sizes
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


@pytest.mark.parametrize(("ranks", "groups"), [(1, ()), (2, (2,)), (6, (2, 4, 6)), (8, (2, 4, 8))])
def test_groups_double_up_to_the_world(ranks: int, groups: tuple[int, ...]) -> None:
    assert group_sizes(ranks) == groups
