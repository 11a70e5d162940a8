"""Sizes, times and intervals of checkpoints."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.files import InputError
from sim.campaign.checkpoints import Cadence, CheckpointPolicy, young_daly_interval_s
from sim.hardware import build_cluster

B405 = 405_000_000_000
CLUSTER = build_cluster("h100-sxm", 16384)


@pytest.mark.parametrize(("mtbf_h", "minutes"), [(24, 117), (6, 57), (0.25, 9.1)])
def test_daly_figures_3_to_5(mtbf_h: float, minutes: float) -> None:
    """Daly (2006): 5 min dumps, MTBF 24 h, 6 h and 15 min are best taken every 117, 57 and 9.1 min."""
    assert young_daly_interval_s(300, mtbf_h * 3600) / 60 == pytest.approx(minutes, abs=0.5 if mtbf_h > 1 else 0.05)


@pytest.mark.parametrize(("cost_s", "minutes"), [(5, 5.6), (20, 11), (60, 19), (300, 43)])
def test_first_order_at_the_405b_mtbf(cost_s: float, minutes: float) -> None:
    """Young's first term at 3.09 h; Daly's further terms change it by less than the checkpoint itself."""
    interval_s = young_daly_interval_s(cost_s, 3.09 * 3600)
    young_s = math.sqrt(2 * cost_s * 3.09 * 3600)
    assert young_s / 60 == pytest.approx(minutes, rel=0.03)
    assert young_s - cost_s < interval_s < young_s


def test_dumps_longer_than_twice_the_mtbf() -> None:
    assert young_daly_interval_s(300, 100) == 100
    assert math.isinf(young_daly_interval_s(300, math.inf))


def test_405b_checkpoint() -> None:
    """405 B parameters at 14 bytes are 5.67 TB, 2.8 s at 2 TB/s."""
    policy = CheckpointPolicy()
    assert policy.size_bytes(B405) == pytest.approx(5.67e12)
    assert policy.write_time_s(CLUSTER, B405) == pytest.approx(2.835)
    assert policy.cost_s(CLUSTER, B405) == policy.write_time_s(CLUSTER, B405)


def test_few_nodes_write_as_fast_as_they_can_push() -> None:
    small = build_cluster("h100-sxm", 64)
    expected_s = 8e9 * 14 / (8 * small.storage.node_write_bytes_per_s)
    assert CheckpointPolicy().write_time_s(small, 8_000_000_000) == pytest.approx(expected_s)


def test_asynchronous_holds_training_less_and_is_safe_later() -> None:
    policy = CheckpointPolicy(kind="asynchronous")
    cadence = policy.cadence(CLUSTER, B405, 3.09 * 3600)
    assert cadence.cost_s < 0.01 * policy.write_time_s(CLUSTER, B405)
    assert cadence.cost_s + cadence.lag_s == pytest.approx(policy.write_time_s(CLUSTER, B405))
    assert cadence.interval_s < CheckpointPolicy().cadence(CLUSTER, B405, 3.09 * 3600).interval_s


def test_young_daly_never_outruns_storage_or_a_step() -> None:
    slow = build_cluster("h100-sxm", 16384, storage="shared-100gb-s")
    policy = CheckpointPolicy(kind="asynchronous")
    cadence = policy.cadence(slow, B405, 10.0)
    assert cadence.cycle_s >= policy.write_time_s(slow, B405) * (1 - 1e-12)
    assert policy.cadence(CLUSTER, B405, 3.09 * 3600, shortest_s=1000.0).interval_s == 1000.0


def test_storage_too_slow_for_the_interval() -> None:
    slow = build_cluster("h100-sxm", 16384, storage="shared-100gb-s")
    policy = CheckpointPolicy(kind="asynchronous", interval_s=30.0)
    with pytest.raises(InputError, match=r"every 30 s cannot be kept up: .* takes 56\.7 s"):
        policy.cadence(slow, B405, 3600.0)


@given(
    interval=st.floats(1, 1e5),
    cost=st.floats(0, 1e3),
    lag=st.floats(0, 1),
    work=st.floats(1e-3, 1e7),
    share=st.floats(0, 0.999999),
)
def test_what_is_safe_was_trained_and_what_was_trained_fits(
    interval: float, cost: float, lag: float, work: float, share: float
) -> None:
    cadence = Cadence(interval_s=interval, cost_s=cost, lag_s=lag * interval)
    end_s = cadence.saved_s(work)
    elapsed_s = share * end_s
    safe = cadence.safe_after(elapsed_s, work)
    assert 0 <= safe < cadence.checkpoints(work)
    assert safe * cadence.cycle_s <= elapsed_s * (1 + 1e-12)
    assert safe * interval <= cadence.trained_s(elapsed_s) * (1 + 1e-12) <= elapsed_s * (1 + 1e-9)
    assert end_s == pytest.approx(work + cadence.checkpoints(work) * cost + cadence.lag_s)


def test_a_stretch_ends_with_a_checkpoint() -> None:
    cadence = Cadence(interval_s=100.0, cost_s=10.0)
    assert [cadence.checkpoints(work) for work in (0.0, 1.0, 100.0, 101.0, 300.0)] == [0, 1, 1, 2, 3]
    assert cadence.saved_s(250.0) == 280.0
    assert cadence.saved_s(0.0) == 0.0
    assert [cadence.trained_s(at) for at in (50.0, 105.0, 110.0, 120.0)] == [50.0, 100.0, 100.0, 110.0]
    assert [cadence.safe_after(at, 250.0) for at in (109.0, 111.0, 275.0)] == [0, 1, 2]
