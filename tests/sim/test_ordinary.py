"""Interruptions taken many at a time give the campaign that they give one by one."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import sim.campaign.ordinary
import sim.campaign.run
from profiler.files import InputError
from sim.campaign import Campaign, CampaignSetup, simulate_campaign
from sim.campaign.checkpoints import CheckpointPolicy
from sim.campaign.failures import FailureProcess
from sim.campaign.ordinary import Ordinary
from sim.campaign.ordinary_stalls import OrdinaryStalls
from sim.campaign.ordinary_stops import OrdinaryStops
from sim.campaign.reliability import FailureCause, InfantMortality, Reliability, Straggler
from tests.sim.campaigns import DAY, check_conserved, fleet, setup, setups

GPUS = 1024
MEMORY = CheckpointPolicy(kind="multi_level")


def both_ways(plan: CampaignSetup, seed: int, least: int = 1) -> tuple[Campaign, Campaign, int]:
    """One campaign one by one and many at a time, and how many interruptions the latter took so."""
    taken = 0

    def counted(self: Ordinary, *args: Any) -> None:
        nonlocal taken
        before = self._run.count
        took(self, *args)
        taken += self._run.count - before

    took = Ordinary.take
    with patch.object(sim.campaign.run, "MAX_INTERRUPTIONS", 20_000):
        with patch.object(sim.campaign.ordinary, "LEAST", 10**9):
            one_by_one = simulate_campaign(plan, seed)
        with patch.object(sim.campaign.ordinary, "LEAST", least), patch.object(Ordinary, "take", counted):
            together = simulate_campaign(plan, seed)
    return one_by_one, together, taken


def check_same(one: Campaign, other: Campaign) -> None:
    """The same interruptions and rows, to the rounding of times of years."""
    for table, same in ((one.stops, other.stops), (one.timeline, other.timeline)):
        assert same.data.shape == table.data.shape
        scale = 1e-9 * np.abs(table.data).max(axis=0, initial=1.0)
        assert (np.abs(same.data - table.data) <= scale).all()
    for name in ("cause", "nodes_lost", "spares_left", "warm"):
        assert (one.stops.column(name) == other.stops.column(name)).all(), name
    assert other.seconds == pytest.approx(one.seconds, rel=1e-9, abs=1e-4)


def check_any(plan: CampaignSetup, seed: int) -> None:
    """Both ways give the same campaign, unless the run is given up."""
    try:
        one_by_one, together, _ = both_ways(plan, seed)
    except InputError as error:
        if "given up after" not in str(error):
            raise
        reject()
    check_same(one_by_one, together)


@settings(max_examples=150, deadline=None)
@given(plan=setups(), seed=st.integers(0, 2**64 - 1))
def test_any_campaign(plan: CampaignSetup, seed: int) -> None:
    """With every option drawn; most of these have few interruptions that are ordinary."""
    check_any(plan, seed)


@st.composite
def failing(draw: st.DrawFn, mtbf_s: float) -> Reliability:
    """A fleet that fails every `mtbf_s`, of one cause or several."""
    shares = draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=4))
    rate = DAY / mtbf_s / (GPUS / 8)
    causes = tuple(
        FailureCause(
            name=f"cause {i}",
            category="any",
            rate_per_node_day=share / sum(shares) * rate,
            detection_s=draw(st.just(0.0) | st.floats(0, 60)),
            nodes_lost=draw(st.sampled_from([0, 1, 1, 2])),
            repair_s=draw(st.floats(0, 20) | st.floats(600, 20_000)),
            drain_s=draw(st.sampled_from([0.0, 30.0])),
            silent=draw(st.booleans()),
            source="drawn",
        )
        for i, share in enumerate(shares)
    )
    slow = Straggler(
        name="slow",
        rate_per_node_day=rate / 100,
        slowdown=0.2,
        found_after_s=20_000.0,
        repair_s=600.0,
        source="drawn",
    )
    return Reliability(
        name="drawn",
        label="",
        causes=causes,
        stragglers=draw(st.sampled_from([(), (slow,)])),
        restart_gpus=(1.0,),
        restart_times_s=(draw(st.just(0.0) | st.floats(0, 60)),),
        warm_restart_share=draw(st.floats(0, 1)),
        gaps_shape=draw(st.sampled_from([0.7, 1.0, 1.5])),
        repair_times=draw(st.sampled_from(["fixed", "exponential"])),
        infant_mortality=draw(
            st.none() | st.builds(InfantMortality, extra_rate=st.just(1.0), fading_days=st.just(0.3))
        ),
    )


@st.composite
def busy(draw: st.DrawFn) -> CampaignSetup:
    """Campaigns of hundreds of interruptions, most of them ordinary."""
    mtbf_s = draw(st.floats(300, 2000))
    spares = draw(st.sampled_from([5, 50, 500, 5000]))
    try:
        return setup(
            draw(st.floats(50, 400)) * mtbf_s / DAY,
            GPUS,
            reliability=draw(failing(mtbf_s)),
            checkpoints=CheckpointPolicy(
                kind=draw(st.sampled_from(["synchronous", "asynchronous", "in_memory", "multi_level"])),
                interval_s=draw(st.none() | st.floats(30, 600)),
                copies=draw(st.sampled_from([1, 2, 3, 3])),
            ),
            spare_nodes=spares,
            hot_spare_nodes=draw(st.integers(0, 3)),
            planned_maintenance_per_day=draw(st.just(0.0) | st.floats(0.005, 0.05)) * DAY / mtbf_s,
            maintenance_s=60.0,
            parameters=draw(st.integers(1, 10**10)),
            replicas=draw(st.sampled_from([2, 8, 64])),
            recovery=draw(st.sampled_from(["job", "replica"])),
            fewer_replicas=draw(st.booleans()),
            replica_stall_s=draw(st.sampled_from([0.0, 20.0, 200.0])),
        )
    except InputError:  # failures faster than recovery
        reject()


@settings(max_examples=150, deadline=None)
@given(plan=busy(), seed=st.integers(0, 2**64 - 1))
def test_any_busy_campaign(plan: CampaignSetup, seed: int) -> None:
    check_any(plan, seed)


def mixed(mtbf_s: float, **fields: Any) -> Reliability:
    """Failures of nodes, of software, silent ones, and some that take two nodes and so both copies in memory."""
    kinds: tuple[tuple[str, float, dict[str, Any]], ...] = (
        ("node", 0.708, {"nodes_lost": 1, "repair_s": 3 * 3600.0, "detection_s": 10.0}),
        ("software", 0.2, {"nodes_lost": 0, "repair_s": 0.0, "detection_s": 20.0}),
        ("silent", 0.09, {"nodes_lost": 1, "repair_s": 3600.0, "detection_s": 60.0, "silent": True, "drain_s": 5.0}),
        ("switch", 0.002, {"nodes_lost": 2, "repair_s": 3600.0, "detection_s": 5.0, "drain_s": 30.0}),
    )
    rate = DAY / mtbf_s / (GPUS / 8)
    causes = tuple(
        FailureCause(name=name, category=name, rate_per_node_day=share * rate, source="test", **kind)
        for name, share, kind in kinds
    )
    return replace(fleet(mtbf_s, GPUS, restart_s=45.0, warm_restart_share=0.5), causes=causes, **fields)


@pytest.mark.parametrize("recovery", ["job", "replica"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hot_spare_nodes": 1},
        {"spare_nodes": 70},
        {"checkpoints": CheckpointPolicy(kind="in_memory", copies=3)},
        {"checkpoints": CheckpointPolicy(kind="asynchronous", interval_s=60.0), "parameters": 10**9},
        {"reliability": mixed(200.0, gaps_shape=0.7, repair_times="exponential")},
        {"replicas": 4, "replica_stall_s": 0.0},
    ],
)
def test_most_interruptions_of_a_busy_campaign_are_ordinary(recovery: str, changes: dict[str, Any]) -> None:
    base: dict[str, Any] = {
        "reliability": mixed(200.0),
        "checkpoints": MEMORY,
        "spare_nodes": 200,
        "replicas": 32,
        "replica_stall_s": 20.0,
    }
    plan = setup(8.0, GPUS, recovery=recovery, **base | changes)
    one_by_one, together, taken = both_ways(plan, seed=3, least=sim.campaign.ordinary.LEAST)
    check_same(one_by_one, together)
    check_conserved(plan, together)
    assert len(together.stops) > 2500
    assert taken > 2 / 3 * len(together.stops)  # between 69 and 98 %


def test_seeds_and_given_up_runs_know_no_difference() -> None:
    plan = setup(8.0, GPUS, reliability=mixed(200.0), checkpoints=MEMORY, spare_nodes=200)
    messages = []
    for least in (1, 10**9):
        with (
            patch.object(sim.campaign.ordinary, "LEAST", least),
            patch.object(sim.campaign.run, "MAX_INTERRUPTIONS", 1000),
            pytest.raises(InputError, match="given up after 1,000 interruptions") as caught,
        ):
            simulate_campaign(plan, 1)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("kind", [OrdinaryStops, OrdinaryStalls])
def test_rare_failures_are_taken_one_by_one(kind: type[Ordinary]) -> None:
    """At a failure every few hours a block would hold less than it costs to set up."""
    recovery = "job" if kind is OrdinaryStops else "replica"
    plan = setup(5.0, recovery=recovery, replicas=128)
    with patch.object(kind, "_take", side_effect=AssertionError("taken together")):
        assert simulate_campaign(plan, 1).duration_s > 5 * DAY


@given(seed=st.integers(0, 2**32), steps=st.lists(st.integers(0, 700), max_size=6), shape=st.sampled_from([0.7, 1.0]))
def test_looking_ahead_shows_what_is_taken(seed: int, steps: list[int], shape: float) -> None:
    """`ahead` and `skip` pass over the failures that `take` gives, whatever the two are mixed with."""
    record = fleet(1000.0, 8, gaps_shape=shape, repair_times="exponential")
    one, other = FailureProcess(record, 1000.0, seed), FailureProcess(record, 1000.0, seed)
    for step in steps:
        for process in (one, other):
            process.stop_clock(10.0)
        ahead = other.ahead(other.next_s + 1e9, step)
        assert len(ahead.time_s) == step
        for i in range(step):
            assert one.next_s == pytest.approx(ahead.time_s[i], rel=1e-12)
            failure = one.take()
            assert (failure.cause, failure.mark, failure.repair) == tuple(column[i] for column in ahead[1:4])
        other.skip(step)
        assert one.next_s == pytest.approx(other.next_s, rel=1e-12)
        assert one.take() == other.take()
