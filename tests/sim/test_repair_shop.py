"""Repairs that are known at once are those of a shop with a crew for everybody."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.campaign.ordinary
from sim.campaign import simulate_campaign
from sim.campaign.repair_shop import RepairShop
from tests.sim.campaigns import check_conserved, fleet, setup


@given(
    visits=st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 1000)), min_size=1, max_size=30),
    asked_s=st.floats(0, 5000),
)
def test_without_a_limit_as_with_a_crew_for_everybody(visits: list[tuple[float, float]], asked_s: float) -> None:
    """SimPy's Resource says the same as the sum of two times."""
    free, crewed = RepairShop(None), RepairShop(len(visits))
    now_s = 0.0
    for gap_s, repair_s in visits:
        now_s += gap_s
        assert list(free.good_by(now_s)) == pytest.approx(list(crewed.good_by(now_s)))
        free.send(now_s, repair_s)
        crewed.send(now_s, repair_s)
    asked_s += now_s
    back_s = list(free.good_by(asked_s))
    assert back_s == sorted(back_s)
    assert back_s == pytest.approx(list(crewed.good_by(asked_s)))


def test_one_crew_repairs_in_turn() -> None:
    """Kleinrock's G/G/1: a node is good at max(its arrival, the one before it) + its repair."""
    shop = RepairShop(1)
    for now_s, repair_s in ((0.0, 10.0), (2.0, 5.0), (30.0, 4.0)):
        shop.send(now_s, repair_s)
    assert shop.next_good() == 10.0
    assert list(shop.good_by(33.9)) == [15.0]
    assert shop.next_good() == 34.0


@pytest.mark.parametrize("recovery", ["job", "replica"])
@pytest.mark.parametrize("spare_nodes", [1, 4, 500])
def test_a_campaign_with_a_crew_for_everybody(recovery: str, spare_nodes: int) -> None:
    """Interruptions, waits and spares are the same, whether repairs are simulated or computed."""
    record = fleet(2000.0, 1024, restart_s=60.0, cause={"nodes_lost": 1, "repair_s": 9000.0})
    plan, crewed = (
        setup(
            5.0, 1024, reliability=record, spare_nodes=spare_nodes, repair_crews=crews, recovery=recovery,
            replicas=16, replica_stall_s=30.0, parameters=10**9,
        )
        for crews in (None, 10_000)
    )  # fmt: skip
    free_run, crewed_run = simulate_campaign(plan, 5), simulate_campaign(crewed, 5)
    check_conserved(plan, free_run)
    assert free_run.stops.data == pytest.approx(crewed_run.stops.data, rel=1e-9, abs=1e-5)
    assert free_run.timeline.data == pytest.approx(crewed_run.timeline.data, rel=1e-9, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    nodes_lost=st.integers(1, 3),
    repair_s=st.floats(1, 50_000),
    spares=st.integers(0, 20),
    recovery=st.sampled_from(["job", "replica"]),
    least=st.sampled_from([1, 10**9]),
)
def test_every_node_is_in_the_job_spare_or_under_repair(
    seed: int, nodes_lost: int, repair_s: float, spares: int, recovery: str, least: int
) -> None:
    """Counted from the event log alone: spares, less all nodes lost, plus all that are repaired by then."""
    cause, spare_nodes = {"nodes_lost": nodes_lost, "repair_s": repair_s}, spares * nodes_lost
    record = fleet(1000.0, 1024, restart_s=0.0, cause=cause)
    plan = setup(
        1.0, 1024, reliability=record, spare_nodes=spare_nodes, parameters=10**6, recovery=recovery, replicas=1024,
        replica_stall_s=0.0, planned_maintenance_per_day=0,
    )  # fmt: skip
    with patch.object(sim.campaign.ordinary, "LEAST", least):
        stops = simulate_campaign(plan, seed).stops
    left_s = stops.column("time_s")
    replaced_s = left_s + stops.column("wait_s")
    lost = nodes_lost * np.arange(1, len(stops) + 1)
    back = nodes_lost * np.searchsorted(left_s + repair_s, replaced_s + 1e-6, side="right")
    missing = np.maximum(lost - back - spare_nodes, 0)  # in a job of replicas that trains on without them
    assert (stops.column("spares_left") == spare_nodes - lost + back + missing).all()
    assert recovery == "replica" or not missing.any()
