"""Collectives against the textbook ring and published bandwidths."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.case import Array, StepCase
from sim.hardware import load_fabric
from sim.kernels.collectives import link_shape
from sim.layout import ParallelLayout
from sim.network import all_reduce_time_s, gather_time_s, group_bandwidth, moving_s, overlapped, send_time_s
from tests.sim.steps import Situation

sizes = st.floats(1.0, 1e11)


def one(value: float) -> Array:
    return np.array([value])


@pytest.fixture(name="case", scope="module")
def _case() -> StepCase:
    return Situation(layout=ParallelLayout(dp=64), global_batch=64).case()


@pytest.fixture(name="ring", scope="module")
def _ring(case: StepCase) -> StepCase:
    """The same where no switch adds up."""
    return replace(case, switch_reduces=one(0.0))


def test_a_ring_moves_what_thakur_counts(ring: StepCase) -> None:
    """Thakur et al. 2005, sections 4.1 and 4.4: (n-1)/n of the buffer to all-gather, twice that to all-reduce."""
    for ranks in (2, 16, 64):
        size_bytes, stride = 1e15, 8  # large: latency vanishes; one rank a node: its NIC is the link
        bandwidth = float(ring.nic_bytes_per_s[0])
        gather = float(gather_time_s(ring, one(size_bytes), one(ranks), one(stride))[0])
        reduce = float(all_reduce_time_s(ring, one(size_bytes), one(ranks), one(stride))[0])
        assert gather == pytest.approx((ranks - 1) / ranks * size_bytes / bandwidth, rel=1e-4)
        assert reduce == pytest.approx(2 * (ranks - 1) / ranks * size_bytes / bandwidth, rel=1e-4)


@given(size_bytes=sizes, ranks=st.integers(0, 12), stride=st.sampled_from([1, 2, 4, 8, 16]))
def test_all_reduce_moves_what_reduce_scatter_and_all_gather_move(
    ring: StepCase, size_bytes: float, ranks: int, stride: int
) -> None:
    """The same bytes; over a tree it waits for fewer hops than two rings do."""
    group = one(size_bytes), one(2.0**ranks), one(stride)
    reduce = float(all_reduce_time_s(ring, *group)[0])
    moving = 2 * float(moving_s(ring, *group, link_shape("all-reduce", ring.links))[0])
    assert moving * (1 - 1e-12) <= reduce <= 2 * float(gather_time_s(ring, *group)[0]) * (1 + 1e-12)


@given(size_bytes=sizes, ranks=st.integers(0, 12), stride=st.integers(0, 4))
def test_time_grows_with_ranks_and_bytes(ring: StepCase, size_bytes: float, ranks: int, stride: int) -> None:
    """Ranks and strides are powers of two, as groups of a layout are."""

    def time_s(size: float, n: int) -> float:
        return float(all_reduce_time_s(ring, one(size), one(2.0**n), one(2.0**stride))[0])

    assert time_s(size_bytes, ranks + 1) > time_s(size_bytes, ranks)
    assert time_s(2 * size_bytes, ranks) >= time_s(size_bytes, ranks)


def test_nobody_to_talk_to_takes_no_time(case: StepCase) -> None:
    assert float(all_reduce_time_s(case, one(1e9), one(1), one(1))[0]) == 0.0


def test_all_reduce_over_eight_h100_as_published(case: StepCase) -> None:
    """NCCL tables for HGX H100: bus bandwidths of 335 to 480 GB/s at 512 MiB over 8 GPUs (NVLink SHARP off to on)."""
    size_bytes = 2.0**29
    seconds = float(all_reduce_time_s(case, one(size_bytes), one(8), one(1))[0])
    assert 300e9 < 2 * 7 / 8 * size_bytes / seconds < 480e9


@pytest.mark.parametrize(("gpus", "microseconds"), [(32, 120), (4096, 420)])
def test_latency_of_a_small_all_reduce_over_infiniband(gpus: int, microseconds: float) -> None:
    """Published all-reduces of 1 MiB over NDR InfiniBand: about 120 us on 32 GPUs, 420 us on 4,096."""
    case = Situation(layout=ParallelLayout(dp=gpus), global_batch=gpus).case()
    seconds = float(all_reduce_time_s(case, one(2.0**20), one(gpus), one(1))[0])
    assert seconds * 1e6 == pytest.approx(microseconds, rel=0.35)


@given(stride=st.sampled_from([1, 2, 4, 8]), ranks=st.sampled_from([2, 8, 64, 512]))
def test_no_group_is_faster_than_nvlink_or_slower_than_its_nics(case: StepCase, stride: int, ranks: int) -> None:
    bandwidth = float(group_bandwidth(case, one(ranks), one(stride))[0])
    assert case.nic_bytes_per_s[0] <= bandwidth <= case.nvlink_bytes_per_s[0]
    if ranks * stride > 8 and stride == 8:  # one rank of the group in each node has one NIC
        assert bandwidth == case.nic_bytes_per_s[0]


@given(work=st.floats(0, 1e3), comm=st.floats(0, 1e3), exposed=st.floats(0, 1))
def test_overlap_hides_no_more_than_there_is(work: float, comm: float, exposed: float) -> None:
    left = float(overlapped(one(work), one(comm), one(exposed))[0])
    assert max(comm - work, 0.0) <= left * (1 + 1e-12) + 1e-12
    assert left <= comm * (1 + 1e-12)


@pytest.mark.parametrize(
    ("gpu", "ranks", "size_mib", "gb_s"),
    [
        ("h100-sxm", 2, 64, 204),
        ("h100-sxm", 4, 64, 262),
        ("h100-sxm", 8, 64, 287),
        ("h200-sxm", 2, 16, 160),
        ("a100-80gb", 2, 64, 136),
        ("a100-80gb", 8, 64, 173),
        ("h100-sxm", 8, 1, 59),
    ],
)
def test_gathers_inside_a_node_as_published(gpu: str, ranks: float, size_mib: float, gb_s: float) -> None:
    """nccl-tests (aiconfigurator), mean of all-gather and reduce-scatter: a pair has 0.7 of the rate of eight."""
    case = Situation(layout=ParallelLayout(dp=64), global_batch=64, gpu=gpu).case()
    seconds = float(gather_time_s(case, one(size_mib * 2**20), one(ranks), one(1))[0])
    assert (ranks - 1) / ranks * size_mib * 2**20 / seconds / 1e9 == pytest.approx(gb_s, rel=0.15)


@pytest.mark.parametrize(
    ("nodes", "size_mib", "milliseconds"),
    [(4, 64, 0.6), (4, 1024, 6.16), (32, 64, 0.88), (512, 64, 1.2), (512, 1024, 7.5)],
)
def test_all_reduces_across_nodes_as_published(nodes: int, size_mib: float, milliseconds: float) -> None:
    """arXiv:2411.13055, H100 on 400 Gb/s InfiniBand, read from a figure."""
    case = Situation(layout=ParallelLayout(dp=8 * nodes), global_batch=8 * nodes).case()
    seconds = float(all_reduce_time_s(case, one(size_mib * 2**20), one(8 * nodes), one(1))[0])
    assert seconds * 1e3 == pytest.approx(milliseconds, rel=0.15)


@pytest.mark.parametrize(("stride", "size_mib", "microseconds"), [(1, 16, 52), (8, 16, 465), (8, 64, 1890)])
def test_sends_to_a_neighbour_as_published(
    case: StepCase, stride: float, size_mib: float, microseconds: float
) -> None:
    """Vidur's send and receive between two H100 of one DGX and of two."""
    seconds = float(send_time_s(case, one(size_mib * 2**20), one(2), one(stride))[0])
    assert seconds * 1e6 == pytest.approx(microseconds, rel=0.25)


def test_neighbours_in_two_nodes_have_one_nic_each(case: StepCase) -> None:
    """However many ranks of the group are in a node: one NIC sends what one rank has to send."""
    seconds = float(send_time_s(case, one(1e12), one(16), one(4))[0])
    assert seconds == pytest.approx(1e12 / case.nic_bytes_per_s[0], rel=1e-3)


def test_pcie_boards_are_slower_than_nvlink(case: StepCase) -> None:
    boards = Situation(layout=ParallelLayout(tp=8), gpu="rtx-4090").case()
    share = one(1e9), one(8), one(1)
    assert all_reduce_time_s(boards, *share)[0] > 10 * all_reduce_time_s(case, *share)[0]


def test_fewer_gpus_in_a_node_means_more_over_the_fabric(case: StepCase) -> None:
    fours = replace(case, gpus_per_node=one(4))
    assert (
        all_reduce_time_s(fours, one(1e9), one(8), one(1))[0] > all_reduce_time_s(case, one(1e9), one(8), one(1))[0]
    )


def test_a_switch_that_adds_up_speeds_an_all_reduce_of_a_node_only(case: StepCase, ring: StepCase) -> None:
    """nccl-tests on HGX H100: 480 GB/s bus bandwidth with NVLink SHARP, 365 without; from 5 ranks on."""

    def gain(ranks: float) -> float:
        group = one(1e12), one(ranks), one(1)
        return float(all_reduce_time_s(ring, *group)[0] / all_reduce_time_s(case, *group)[0])

    assert gain(8) == pytest.approx(480 / 365, rel=0.01)
    assert gain(4) == gain(16) == 1.0
    assert np.all(gather_time_s(ring, one(1e9), one(8), one(1)) == gather_time_s(case, one(1e9), one(8), one(1)))


def test_oversubscription_between_pods(case: StepCase) -> None:
    """arXiv:2407.21783 section 3.3.1: pods of 3,072, 1:7 between them. A data-parallel ring with 24 ranks in a pod
    crosses once and feels nothing; a group with one rank in each pod has a seventh of its NIC."""
    pods = replace(case, pod_gpus=one(3072), oversubscription=one(7))
    within, across = (one(128), one(16)), (one(128), one(128))
    assert group_bandwidth(pods, *within) == group_bandwidth(case, *within)
    assert group_bandwidth(pods, *across) == group_bandwidth(case, *across)
    lonely = one(4), one(3072)
    assert group_bandwidth(pods, *lonely) == pytest.approx(group_bandwidth(case, *lonely) / 7)
    assert load_fabric("400g-roce-pods").pod_gpus == 3072


@given(size_bytes=sizes, ranks=st.integers(0, 12), stride=st.integers(0, 10), by=st.floats(1, 20))
def test_oversubscription_never_helps(case: StepCase, size_bytes: float, ranks: int, stride: int, by: float) -> None:
    pods = replace(case, pod_gpus=one(512), oversubscription=one(by))
    group = one(size_bytes), one(2.0**ranks), one(2.0**stride)
    assert gather_time_s(pods, *group)[0] >= gather_time_s(case, *group)[0]
