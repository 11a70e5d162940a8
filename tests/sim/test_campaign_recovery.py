"""Spares, repair crews, fewer replicas, recovery by replica: queueing theory and what was published."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from profiler.files import InputError
from sim.campaign import CampaignSetup, expected_ettr, simulate_campaign, simulate_replicas
from sim.campaign.checkpoints import CheckpointPolicy
from sim.campaign.reliability import LemonNodes, load_reliability
from sim.campaign.setup import SHORT_SHARE, enough_spares
from sim.campaign.theory import above_poisson
from sim.hardware import build_cluster
from tests.sim.campaigns import DAY, check_conserved, fleet, phase, setup

NODE = {"nodes_lost": 1, "repair_s": 5000.0}
MEMORY = CheckpointPolicy(kind="multi_level")


def mean_ettr(plan: CampaignSetup, seed: int = 1, runs: int = 6) -> float:
    return float(np.mean([run.ettr for run in simulate_replicas(plan, seed, runs)]))


def erlang_c_mean(load: float, crews: int) -> float:
    """Mean number in an M/M/c queue: C(c, a) ρ / (1 − ρ) + a (Kleinrock, Queueing Systems I, 1975, 3.5)."""
    rho = load / crews
    busy = load**crews / math.factorial(crews) / (1 - rho)
    wait = busy / (sum(load**k / math.factorial(k) for k in range(crews)) + busy)
    return wait * rho / (1 - rho) + load


@pytest.mark.parametrize(("crews", "load"), [(1, 0.5), (2, 1.2), (4, 3.0), (None, 3.0)])
def test_repair_shop_is_the_mmc_queue(crews: int | None, load: float) -> None:
    """Failures arrive at random and see the shop as it is on average (PASTA); without crews M/M/∞."""
    mtbf_s = 1000.0
    record = fleet(
        mtbf_s, 64, restart_s=0.0, cause={"nodes_lost": 1, "repair_s": load * mtbf_s}, repair_times="exponential"
    )
    plan = setup(
        200,
        64,
        reliability=record,
        spare_nodes=500,
        repair_crews=crews,
        parameters=10**6,
        planned_maintenance_per_day=0,
    )
    seen = [500 - stop.spares_left - 1 for run in simulate_replicas(plan, 3, 3) for stop in run.interruptions]
    expected = load if crews is None else erlang_c_mean(load, crews)
    assert np.mean(seen) == pytest.approx(expected, rel=0.08)


def test_availability_without_spares() -> None:
    """An alternating renewal process: up for MTBF, down for restart and repair; nothing fails while it waits."""
    mtbf_s, repair_s, restart_s = 50_000.0, 5000.0, 300.0
    record = fleet(mtbf_s, 64, restart_s=restart_s, cause=NODE)
    plan = setup(
        2000, 64, reliability=record, spare_nodes=0, parameters=10**6, planned_maintenance_per_day=0,
        checkpoints=CheckpointPolicy(interval_s=60.0),
    )  # fmt: skip
    run = simulate_campaign(plan, 5)
    up_s = run.duration_s - run.seconds["waiting_for_repair"] - run.seconds["restart"]
    cycle_s = mtbf_s * math.exp(restart_s / mtbf_s) + repair_s  # a restart that fails begins again
    assert up_s / run.duration_s == pytest.approx(mtbf_s / cycle_s, rel=0.02)


def test_no_spares_is_said_in_one_sentence() -> None:
    plan = setup(20, 64, reliability=fleet(20_000.0, 64, cause=NODE), spare_nodes=0, parameters=10**6,
                 replicas=4)  # fmt: skip
    (note,) = plan.notes
    assert note.startswith("There are no spare nodes: about 4.3 nodes a day fail, and the job stands up to 1.39 h")
    assert "; keep 1 spare_nodes or let" in note  # a node every 5.56 h, 1.39 h under repair
    assert setup(20).notes == ()


def test_where_none_would_seldom_be_too_few_one_spare_is_advised() -> None:
    record = fleet(20_000.0, 64, cause=NODE)
    (note,) = setup(20, 8, reliability=record, spare_nodes=0, parameters=10**6, replicas=4).notes
    assert note.startswith("There are no spare nodes: a node fails about every ")
    assert note.endswith("; keep 1 spare_nodes")  # and a job on one node cannot go on with fewer


def test_as_many_spares_as_are_advised_are_enough() -> None:
    record = fleet(20_000.0, 64, cause={"nodes_lost": 1, "repair_s": 100_000.0})
    plans = (setup(60, 64, reliability=record, spare_nodes=n, parameters=10**6, replicas=4) for n in (2, 8, 9))
    few, *others = plans
    assert "; keep 9 spare_nodes or let" in few.notes[0]
    assert [len(plan.notes) for plan in others] == [1, 0]


@pytest.mark.parametrize(
    ("spares", "crews", "says"),
    [
        (2, None, "There are too few spare nodes: about 4.3 nodes a day fail, and 5.0 are under repair on average"),
        (6, None, "There are too few spare nodes"),
        (12, 2, "The repair crews cannot keep up: about 4.3 nodes a day fail, and 2 of them mend 1.7 a day"),
        (60, None, ""),
        (60, 8, ""),
    ],
)
def test_too_few_spares_or_crews_are_said_where_the_job_waits(spares: int, crews: int | None, says: str) -> None:
    """Little's law: a node every 20,000 s, 100,000 s under repair, makes five of them on average."""
    record = fleet(20_000.0, 64, cause={"nodes_lost": 1, "repair_s": 100_000.0})
    plan = setup(60, 64, reliability=record, spare_nodes=spares, repair_crews=crews, parameters=10**6)
    run = simulate_campaign(plan, 1)
    assert "".join(plan.notes).startswith(says)
    assert (len(plan.notes), run.seconds["waiting_for_repair"] > 0.05 * run.duration_s) == (bool(says), bool(says))


@pytest.mark.parametrize("away", [0.001, 5.0, 400.0, 20_000.0])
@pytest.mark.parametrize("deviations", [-2.0, 0.0, 2.0, 8.0, 12.0, 1e9])
def test_spares_for_all_under_repair_are_poissons_tail_however_many(away: float, deviations: float) -> None:
    spares = max(int(away + deviations * math.sqrt(away)), 0)
    assert above_poisson(spares, away) == pytest.approx(stats.poisson.sf(spares, away), abs=1e-10)


@pytest.mark.parametrize("away", [0.0, 0.001, 0.4, 5.0, 400.0, 2e7])
def test_enough_spares_are_the_fewest_that_are_seldom_too_few_however_large_the_fleet(away: float) -> None:
    spares = enough_spares(away)
    assert stats.poisson.sf(spares, away) <= SHORT_SHARE
    assert spares == math.floor(away) or stats.poisson.sf(spares - 1, away) > SHORT_SHARE


@pytest.mark.parametrize("spares", [0, 3, 6, 20])
def test_nodes_under_repair_are_palms_poisson(spares: int) -> None:
    """Against scipy's, and against a job that goes on by replica and so never makes a failure wait."""
    assert above_poisson(spares, 5.0) == pytest.approx(stats.poisson.sf(spares, 5.0), abs=1e-12)
    record = fleet(20_000.0, 64, restart_s=1.0, cause={"nodes_lost": 1, "repair_s": 100_000.0})
    plan = setup(
        2000, 64, reliability=record, spare_nodes=100, parameters=10**6, recovery="replica", replicas=8,
        replica_stall_s=0.0, planned_maintenance_per_day=0,
    )  # fmt: skip
    stops = simulate_campaign(plan, 3).interruptions
    above = np.mean([100 - stop.spares_left - 1 > spares for stop in stops])  # as each failure finds them (PASTA)
    assert above == pytest.approx(above_poisson(spares, 5.0), abs=0.03)


def test_fewer_replicas_go_on_where_the_job_would_wait() -> None:
    record = fleet(40_000.0, 64, cause={"nodes_lost": 1, "repair_s": 30_000.0})
    waits = setup(30, 64, reliability=record, spare_nodes=0, parameters=10**6, replicas=4)
    goes_on = replace(waits, fewer_replicas=True)
    run = simulate_campaign(goes_on, 2)
    check_conserved(goes_on, run)
    assert mean_ettr(goes_on) > mean_ettr(waits) + 0.1
    assert run.seconds["fewer_replicas"] > 0
    # two nodes make a replica: any one or two missing leave three quarters of the throughput
    missing = {part.replicas for part in run.segments if part.activity == "training"}
    assert {1.0, 0.75} <= missing <= {1.0, 0.75, 0.5, 0.25}
    for part in run.segments:
        if part.activity == "training":
            rate = part.tokens / (part.end_s - part.start_s - part.checkpointing_s)
            assert rate == pytest.approx(part.replicas * 1.6e6, rel=1e-6)
    assert any(stop.cause == "Replicas rejoin" for stop in run.interruptions)


def test_hot_spares_make_restarts_warm() -> None:
    record = fleet(20_000.0, 64, restart_s=600.0, cause=NODE, warm_restart_share=0.5)
    plan = setup(30, 64, reliability=record, spare_nodes=8, parameters=10**6, planned_maintenance_per_day=0)
    cold, hot = simulate_campaign(plan, 1), simulate_campaign(replace(plan, hot_spare_nodes=4), 1)
    assert not any(stop.warm for stop in cold.interruptions)
    assert all(stop.warm for stop in hot.interruptions)
    assert hot.seconds["restart"] / len(hot.interruptions) == pytest.approx(300.0, rel=0.02)
    assert cold.seconds["restart"] / len(cold.interruptions) == pytest.approx(600.0, rel=0.05)


def hundred_thousand(**changes: Any) -> CampaignSetup:
    """arXiv:2602.00277: 98,304 GPUs, 18 min between failures, ten minutes to restart them all."""
    base: dict[str, Any] = {
        "reliability": fleet(18 * 60.0, 98_304, restart_s=600.0, cause={"nodes_lost": 1, "repair_s": DAY}),
        "checkpoints": CheckpointPolicy(kind="asynchronous"),
        "planned_maintenance_per_day": 0,
        "spare_nodes": 500,
    }
    return setup(5, 98_304, **base | changes)


def test_recovery_by_replica_near_100k_gpus() -> None:
    """arXiv:2602.00277: restarting the job leaves 44 % of the time, a stall of three minutes for all but one
    replica 80 %."""
    assert expected_ettr(hundred_thousand()) == pytest.approx(0.44, abs=0.01)
    plan = hundred_thousand(recovery="replica", replicas=24, replica_stall_s=180.0)
    run = simulate_campaign(plan, 1)
    check_conserved(plan, run)
    assert run.ettr == pytest.approx(0.80, abs=0.05)
    assert run.seconds["lost_work"] == 0


@pytest.mark.parametrize(("stall_s", "replicas"), [(30.0, 8), (180.0, 32), (900.0, 128)])
def test_stalls_overlap_as_theory_says(stall_s: float, replicas: int) -> None:
    """No stall with probability exp(−λ s) (M/G/∞); replicas away by Little's law."""
    plan = hundred_thousand(recovery="replica", replicas=replicas, replica_stall_s=stall_s)
    assert mean_ettr(plan, runs=3) == pytest.approx(expected_ettr(plan), rel=0.03)


def test_a_million_gpus() -> None:
    """The whole job can never restart before it fails again; it is said why, and what makes it work."""
    cluster = build_cluster("h100-sxm", 1_000_000)
    with pytest.raises(
        InputError, match=r"1,000,000 GPUs never finishes: it is interrupted every 3\.04 min on average"
    ):
        setup(1, 1_000_000)
    record = load_reliability("llama3-405b").detected_within(10.0)
    quick = setup(2, cluster=cluster, reliability=record.restarting_in(45.0), checkpoints=MEMORY, spare_nodes=1250)
    by_replica = setup(
        2,
        cluster=cluster,
        reliability=record,
        recovery="replica",
        replica_stall_s=20.0,
        replicas=488,
        spare_nodes=1250,
    )
    for plan, least in ((quick, 0.5), (by_replica, 0.7)):
        run = simulate_campaign(plan, 1)
        check_conserved(plan, run)
        assert run.ettr > least
    slow = load_reliability("llama3-405b")
    with pytest.raises(InputError, match="detect failures sooner"):
        setup(1, cluster=cluster, reliability=slow, recovery="replica", replicas=488, replica_stall_s=3600.0)


def test_the_scenario_of_airesim() -> None:
    """AIReSim (arXiv:2603.07041; its repository's report of September 2026 on the paper's table 1): 256 days on 4,096
    servers of 0.01 failures a day, 15 % of them failing five times as often on top until a repair cures them (85.6 %
    do), 20 min to recover: 9,832 h, 62.5 % effective, 11,062 failures; 9,866 h before a fix of its repairs.

    Nothing fails there while the job recovers: here that is detection, during which failures are found together.
    """
    lemons = LemonNodes(share=0.15, extra_rate=5.0, found_share=0.856)
    repair_s = 60 * (120 + 0.40 * 0.80 * 2 * 1440)
    mtbf_s = DAY / 0.01 / 4096
    record = fleet(
        mtbf_s, 32_768, restart_s=0.0, lemon_nodes=lemons,
        cause={"nodes_lost": 1, "repair_s": repair_s, "detection_s": 1200.0},
    )  # fmt: skip
    plan = setup(
        256, 32_768, reliability=record, spare_nodes=264, planned_maintenance_per_day=0, parameters=10**6,
        phases=(phase(256, step_time_s=1.0),), checkpoints=CheckpointPolicy(interval_s=10.0),
    )  # fmt: skip
    runs = simulate_replicas(plan, 42, 3)
    hours = np.mean([run.duration_s for run in runs]) / 3600
    assert hours == pytest.approx(9832, rel=0.01)
    assert np.mean([run.ettr for run in runs]) == pytest.approx(0.6249, abs=0.005)
    in_training = [sum(stop.detection_s > 0 for stop in run.interruptions) for run in runs]
    # a third of the lemons are found while the job is down here, so fewer of them stop it
    assert np.mean(in_training) == pytest.approx(11_062, rel=0.02)
    assert max(run.seconds["waiting_for_repair"] for run in runs) == 0  # nor did AIReSim's jobs wait
