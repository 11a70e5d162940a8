"""What failures cost: copies in memory, correlated and silent failures, slow nodes, pauses, small jobs."""

from dataclasses import replace

import numpy as np
import pytest

from profiler.files import InputError
from sim.campaign import CampaignSetup, Pause, expected_ettr, simulate_campaign, simulate_replicas
from sim.campaign.checkpoints import CheckpointPolicy, optimal_interval_s, young_daly_interval_s
from sim.campaign.reliability import Straggler, load_reliability
from sim.hardware import build_cluster
from tests.sim.campaigns import B405, DAY, check_conserved, fleet, quiet, setup

TWO_LEVELS = CheckpointPolicy(kind="multi_level", interval_s=60.0, durable_interval_s=1800.0)


def losses(nodes_lost: int, policy: CheckpointPolicy, *, silent: bool = False) -> tuple[CampaignSetup, list[float]]:
    """Work lost at each failure that takes so many nodes."""
    cause = {"nodes_lost": nodes_lost, "repair_s": 3600.0, "detection_s": 600.0, "silent": silent}
    plan = setup(
        40, 1024, reliability=fleet(20_000.0, 1024, cause=cause), checkpoints=policy, planned_maintenance_per_day=0,
        parameters=10**9,
    )  # fmt: skip
    run = simulate_campaign(plan, 1)
    check_conserved(plan, run)
    return plan, [stop.lost_s for stop in run.interruptions if stop.detection_s or silent]


def test_a_node_takes_its_memory_along_but_not_its_neighbours_copy() -> None:
    plan, lost = losses(1, TWO_LEVELS)
    assert max(lost) <= plan.cadence.cycle_s + plan.cadence.lag_s + 1e-6
    assert np.mean(lost) == pytest.approx(plan.cadence.cycle_s / 2, rel=0.15)


def test_neighbours_lost_at_one_stroke_send_the_job_back_to_storage() -> None:
    plan, lost = losses(2, TWO_LEVELS)
    assert plan.cadence.every == 30
    assert np.mean(lost) == pytest.approx(1800 / 2, rel=0.15)
    _, single = losses(1, replace(TWO_LEVELS, copies=1))  # its own host's copy is lost with the host
    assert np.mean(single) == pytest.approx(1800 / 2, rel=0.15)
    _, three = losses(2, replace(TWO_LEVELS, copies=3))
    assert max(three) < 120


def test_software_failures_leave_the_hosts_memory() -> None:
    plan, lost = losses(0, replace(TWO_LEVELS, copies=1))
    assert max(lost) <= plan.cadence.cycle_s + 1e-6


def test_memory_alone_goes_back_to_the_last_planned_stop() -> None:
    record = fleet(DAY, 1024, cause={"nodes_lost": 2, "repair_s": 3600.0})
    policy = CheckpointPolicy(kind="in_memory", interval_s=60.0)
    plan = setup(20, 1024, reliability=record, checkpoints=policy, planned_maintenance_per_day=4, parameters=10**9)
    run = simulate_campaign(plan, 3)
    check_conserved(plan, run)
    lost = [stop.lost_s for stop in run.interruptions if not stop.planned]
    assert np.mean(lost) == pytest.approx(3 * 3600, rel=0.35)
    assert max(lost) <= 6.3 * 3600
    with pytest.raises(InputError, match="takes all 2 copies in memory, and nothing is on storage"):
        replace(plan, planned_maintenance_per_day=0)


def test_storage_is_reached_however_short_the_stretches() -> None:
    """Failures every quarter of the time between checkpoints to storage: those go on counting across restarts."""
    cause = {"nodes_lost": 1, "repair_s": 3600.0}
    policy = replace(TWO_LEVELS, copies=1)
    record = fleet(450.0, 1024, restart_s=10.0, cause=cause)
    two_faults = replace(record, causes=(replace(record.causes[0], nodes_lost=0), replace(record.causes[0])))
    rare = replace(two_faults, causes=(two_faults.causes[0], replace(two_faults.causes[1], rate_per_node_day=0.005)))
    plan = setup(20, 1024, reliability=rare, checkpoints=policy, planned_maintenance_per_day=0, parameters=10**9)
    run = simulate_campaign(plan, 1)
    check_conserved(plan, run)
    lost = [stop.lost_s for stop in run.interruptions if stop.nodes_lost]
    assert len(lost) > 4
    assert np.mean(lost) < 2 * 1800


def test_two_levels_lose_less_than_one() -> None:
    """GEMINI (SOSP 2023): frequent copies in memory lose less than checkpoints to storage, at the same storage."""
    slow = build_cluster("h100-sxm", 16384, storage="shared-100gb-s")
    plan = setup(30, cluster=slow, planned_maintenance_per_day=0)
    by_kind = {}
    for kind in ("synchronous", "asynchronous", "multi_level"):
        runs = simulate_replicas(replace(plan, checkpoints=CheckpointPolicy(kind=kind)), 1, 3)
        by_kind[kind] = np.mean([run.ettr for run in runs])
        simulated = expected_ettr(replace(plan, checkpoints=CheckpointPolicy(kind=kind)))
        assert by_kind[kind] == pytest.approx(simulated, abs=0.01)
    assert by_kind["multi_level"] > by_kind["asynchronous"] > by_kind["synchronous"]


def test_silent_corruption_trains_in_vain_until_it_is_noticed() -> None:
    _, loud = losses(1, TWO_LEVELS)
    plan, silent = losses(1, TWO_LEVELS, silent=True)
    assert np.mean(silent) == pytest.approx(np.mean(loud) + 600.0, rel=0.1)
    assert simulate_campaign(plan, 1).seconds["detection"] == 0


def test_one_power_feed_takes_its_nodes_at_once() -> None:
    record = fleet(2 * DAY, 1024, cause={"nodes_lost": 8, "repair_s": 4 * 3600.0})
    plan = setup(60, 1024, reliability=record, spare_nodes=20, parameters=10**9)
    stops = [stop for stop in simulate_campaign(plan, 1).interruptions if not stop.planned]
    assert {stop.nodes_lost for stop in stops} == {8}
    assert min(stop.spares_left for stop in stops) in (4, 12)
    scarce = simulate_campaign(replace(plan, spare_nodes=7), 1)
    assert min(stop.wait_s for stop in scarce.interruptions if not stop.planned) > 0.9 * 4 * 3600


def slow_nodes(found_after_s: float, per_node_day: float, slowdown: float = 0.1) -> Straggler:
    return Straggler(
        name="slow", rate_per_node_day=per_node_day, slowdown=slowdown, found_after_s=found_after_s, repair_s=0.0,
        source="test",
    )  # fmt: skip


def test_slow_nodes_hold_up_the_job_until_they_are_found() -> None:
    """Nodes turn slow at random and stay so for F: one is there with probability 1 − exp(−λ F) (M/G/∞)."""
    rate_s, found_s = 1 / 40_000, 30_000.0
    plan = setup(
        300, 1024, reliability=quiet(stragglers=(slow_nodes(found_s, rate_s * DAY / 128),), restart_gpus=(1.0,),
        restart_times_s=(0.0,)), planned_maintenance_per_day=0, parameters=10**9,
    )  # fmt: skip
    run = simulate_campaign(plan, 1)
    check_conserved(plan, run)
    stepping_s = run.seconds["training"] + run.seconds["stragglers"]
    assert run.seconds["stragglers"] / stepping_s == pytest.approx(0.1 * (1 - np.exp(-rate_s * found_s)), rel=0.05)
    assert {stop.cause for stop in run.interruptions} == {"slow"}
    assert run.seconds["lost_work"] == 0  # the job saves itself before it throws a slow node out


def test_never_found_slow_machines_set_the_pace() -> None:
    """MegaScale (arXiv:2402.15627): half a percent of machines 10 % slow; not found, the job runs at nine tenths."""
    slow = slow_nodes(1e9, 0.005)
    plan = setup(30, 12_288, reliability=quiet(stragglers=(slow,)), planned_maintenance_per_day=0)
    run = simulate_campaign(plan, 1)
    assert run.seconds["training"] / (run.seconds["training"] + run.seconds["stragglers"]) == pytest.approx(
        0.9, rel=0.01
    )


def test_pauses_take_their_share() -> None:
    pauses = (
        Pause(name="evaluation", every_s=7200.0, pause_s=300.0),
        Pause(name="data", every_s=DAY, pause_s=1200.0),
    )
    plan = setup(10, pauses=pauses)
    run = simulate_campaign(plan, 1)
    check_conserved(plan, run)
    assert run.seconds["pauses"] == pytest.approx(run.seconds["training"] * (300 / 7200 + 1200 / DAY))
    assert run.ettr == pytest.approx(expected_ettr(plan), abs=0.01)


def test_small_jobs_fail_more_often_than_their_size_says() -> None:
    """arXiv:2410.21680: 7.9 h between failures at 1,024 GPUs, where the fleet's rate says 28.8 h."""
    record = load_reliability("rsc-1")
    plan = setup(
        200, cluster=build_cluster("a100-80gb", 1024), reliability=record, parameters=10**9,
        planned_maintenance_per_day=0,
    )  # fmt: skip
    run = simulate_campaign(plan, 1)
    up_s = run.duration_s - run.seconds["waiting_for_repair"]
    assert up_s / len(run.interruptions) / 3600 == pytest.approx(7.9, rel=0.1)


def test_a_rough_cluster_is_worse_than_the_record_it_is_made_of() -> None:
    smooth = setup(30)
    rough = replace(smooth, reliability=load_reliability("llama3-405b-rough"))
    run, best = simulate_campaign(rough, 1), simulate_campaign(smooth, 1)
    check_conserved(rough, run)
    assert 0.5 < run.ettr < best.ettr
    week = [sum(stop.time_s < 7 * DAY for stop in each.interruptions) for each in (run, best)]
    assert week[0] > 1.3 * week[1]


@pytest.mark.parametrize("mtbf_s", [600.0, 3.09 * 3600, 1e6])
@pytest.mark.parametrize("cost_s", [0.01, 5.0, 300.0])
def test_optimal_interval_is_what_the_series_approaches(cost_s: float, mtbf_s: float) -> None:
    """Daly (2006) figure 2: his series stays within a percent or so of the optimum while δ < M / 2."""
    exact = optimal_interval_s(cost_s, mtbf_s)
    assert exact == pytest.approx(young_daly_interval_s(cost_s, mtbf_s), rel=0.02)


def test_storage_shared_with_others_writes_longer() -> None:
    cluster = build_cluster("h100-sxm", 16384)
    alone, shared = CheckpointPolicy(), CheckpointPolicy(storage_share=0.25)
    assert shared.write_time_s(cluster, B405) == pytest.approx(4 * alone.write_time_s(cluster, B405))
    with pytest.raises(InputError, match="storage_share is 2"):
        CheckpointPolicy(storage_share=2.0)


def test_impossible_memory_checkpoints() -> None:
    with pytest.raises(InputError, match="copies is 3; 2 nodes"):
        setup(1, 16, checkpoints=CheckpointPolicy(kind="in_memory", copies=3), parameters=10**9)
    slow = build_cluster("h100-sxm", 16384, storage="shared-100gb-s")
    policy = CheckpointPolicy(kind="multi_level", interval_s=20.0, durable_interval_s=30.0)
    with pytest.raises(InputError, match="every 30 s cannot be kept up"):
        setup(1, cluster=slow, checkpoints=policy)
