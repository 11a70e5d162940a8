"""The months: conservation, theory and the published campaigns."""

import math
import pickle
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import sim.campaign.run
from profiler.files import InputError
from sim.campaign import (
    Campaign,
    CampaignSetup,
    Phase,
    expected_ettr,
    renewal_ettr,
    replica_seeds,
    simulate_campaign,
    simulate_replicas,
)
from sim.campaign.checkpoints import CheckpointPolicy
from sim.campaign.reliability import load_reliability
from sim.hardware import build_cluster
from tests.sim.campaigns import DAY, at_rate, check_conserved, fleet, phase, setup, setups


@settings(max_examples=150, deadline=None)
@given(plan=setups(), seed=st.integers(0, 2**64 - 1))
def test_time_tokens_and_energy_are_conserved(plan: CampaignSetup, seed: int) -> None:
    try:
        with patch.object(sim.campaign.run, "MAX_INTERRUPTIONS", 100_000):
            run = simulate_campaign(plan, seed)
    except InputError as error:  # regular failures (Weibull, early ones) may leave no gap that exponential ones would
        if "given up after" not in str(error):
            raise
        reject()
    check_conserved(plan, run)
    if plan.recovery == "job":
        assert run.duration_s >= plan.cadence.saved_s(sum(stage.training_s for stage in plan.phases)) * (1 - 1e-9)


@pytest.fixture(scope="module")
def snapshot() -> tuple[Campaign, ...]:
    """Llama 3 405B's 54 days on 16,384 H100, again and again (each runs on a few days longer)."""
    return simulate_replicas(setup(54.0), seed=405, replicas=100)


def in_54_days(run: Campaign, cause: str | None = None) -> int:
    return sum(
        stop.time_s < 54 * DAY and not stop.planned and cause in (None, stop.cause) for stop in run.interruptions
    )


def test_snapshot_has_the_published_interruptions(snapshot: tuple[Campaign, ...]) -> None:
    """arXiv:2407.21783 Table 5: 419 unexpected interruptions, each cause inside its 90 % interval."""
    totals = [in_54_days(run) for run in snapshot]
    assert np.mean(totals) == pytest.approx(419, abs=3 * math.sqrt(419 / len(totals)))
    low, high = np.quantile(totals, [0.05, 0.95])
    assert low < 419 < high
    for cause in load_reliability("llama3-405b").causes:
        low, high = np.quantile([in_54_days(run, cause.name) for run in snapshot], [0.05, 0.95])
        assert low <= round(cause.rate_per_node_day * 54 * 2048) <= high


def test_snapshot_has_47_planned_interruptions(snapshot: tuple[Campaign, ...]) -> None:
    for run in snapshot[:10]:
        planned = sum(stop.planned and stop.time_s < 54 * DAY for stop in run.interruptions)
        merged = sum(stop.maintenance_s > 0 and not stop.planned for stop in run.interruptions)
        assert 46 <= planned + merged <= 50


def test_snapshot_trains_more_than_nine_tenths_of_the_time(snapshot: tuple[Campaign, ...]) -> None:
    assert min(run.ettr for run in snapshot) > 0.90
    assert max(run.ettr for run in snapshot) < 0.97


@pytest.mark.parametrize("name", ["rsc-1", "rsc-2", "llama3-405b", "meta-32k"])
@pytest.mark.parametrize("gpus", [2048, 16384])
def test_published_ettr_formula(name: str, gpus: int) -> None:
    """E[ETTR] of arXiv:2410.21680, which is first order in the overheads, against simulation."""
    plan = setup(60, gpus, reliability=load_reliability(name), planned_maintenance_per_day=0)
    simulated = np.mean([run.ettr for run in simulate_replicas(plan, 1, 8)])
    assert simulated == pytest.approx(expected_ettr(plan), abs=0.01)


def test_planned_interruptions_in_the_expected_ettr() -> None:
    plan = setup(60)
    simulated = np.mean([run.ettr for run in simulate_replicas(plan, 1, 8)])
    assert simulated == pytest.approx(expected_ettr(plan), abs=0.01)


@pytest.mark.parametrize("mtbf_s", [1080.0, 3600.0, 20_000.0])
def test_exact_renewal_theory(mtbf_s: float) -> None:
    """Daly's complete cost function, far from first order: failures strike checkpoints and restarts too."""
    plan = setup(
        mtbf_s / 1500,
        reliability=fleet(mtbf_s, 16384, restart_s=600.0),
        checkpoints=CheckpointPolicy(interval_s=300.0),
        planned_maintenance_per_day=0,
    )
    simulated = np.mean([run.ettr for run in simulate_replicas(plan, 7, 30)])
    assert simulated == pytest.approx(renewal_ettr(plan), rel=0.02)


def test_100k_gpus_with_synchronous_restarts() -> None:
    """arXiv:2602.00277: at 98 k GPUs, 18 min between failures and 10 min to recover leave 44 %."""
    plan = setup(
        1,
        98_304,
        reliability=fleet(18 * 60.0, 98_304, restart_s=600.0),
        checkpoints=CheckpointPolicy(kind="asynchronous"),
        planned_maintenance_per_day=0,
    )
    assert expected_ettr(plan) == pytest.approx(0.44, abs=0.01)


def test_quick_detection_on_9600_gpus() -> None:
    """ByteRobust (arXiv:2509.16293): ETTR 97 % over three months on 9,600 GPUs, faults detected in 2-60 s."""
    reliability = load_reliability("llama3-405b")
    quick = tuple(replace(cause, detection_s=min(cause.detection_s, 60.0)) for cause in reliability.causes)
    plan = setup(85, 9600, reliability=replace(reliability, causes=quick), planned_maintenance_per_day=0)
    assert np.mean([run.ettr for run in simulate_replicas(plan, 3, 8)]) == pytest.approx(0.97, abs=0.01)


def test_young_daly_is_the_optimum_that_simulation_finds() -> None:
    slow = build_cluster("h100-sxm", 16384, storage="shared-100gb-s")
    plan = setup(30, cluster=slow, planned_maintenance_per_day=0)
    optimum_s = plan.cadence.interval_s

    def ettr(factor: float) -> float:
        policy = CheckpointPolicy(interval_s=factor * optimum_s)
        runs = simulate_replicas(replace(plan, checkpoints=policy), 11, 20)
        return float(np.mean([run.ettr for run in runs]))

    by_factor = {factor: ettr(factor) for factor in (0.25, 0.5, 1.0, 2.0, 4.0)}
    assert max(by_factor, key=lambda factor: by_factor[factor]) == 1.0
    fit = np.polyfit(np.log(list(by_factor)), list(by_factor.values()), 2)
    assert math.exp(-fit[1] / (2 * fit[0])) == pytest.approx(1.0, abs=0.25)


def test_without_failures_the_duration_is_arithmetic() -> None:
    plan = setup(
        1.0,
        reliability=at_rate(load_reliability("llama3-405b"), 0.0),
        checkpoints=CheckpointPolicy(interval_s=1000.0),
        planned_maintenance_per_day=0,
    )
    run = simulate_campaign(plan, 0)
    assert run.duration_s == pytest.approx(DAY + 87 * 2.835)
    assert run.interruptions == ()
    assert run.steps == 8640
    assert run.gpu_hours == pytest.approx(16384 * run.duration_s / 3600)
    assert run.ettr == pytest.approx(expected_ettr(plan), rel=1e-4)


def test_planned_stops_save_first_and_lose_nothing() -> None:
    plan = setup(10.0, reliability=at_rate(load_reliability("llama3-405b"), 0.0), planned_maintenance_per_day=1)
    run = simulate_campaign(plan, 0)
    assert [stop.planned for stop in run.interruptions] == [True] * 10
    assert run.seconds["lost_work"] == 0
    assert run.seconds["maintenance"] == pytest.approx(6000.0)
    assert run.unexpected_interruptions == 0
    check_conserved(plan, run)


def test_without_spares_the_job_waits_for_every_repair() -> None:
    reliability = fleet(20_000.0, 64, cause={"nodes_lost": 1, "repair_s": 5000.0})
    run = simulate_campaign(setup(20, 64, reliability=reliability, spare_nodes=0, parameters=10**9), 5)
    waits = [stop.wait_s for stop in run.interruptions if stop.wait_s]
    assert len(waits) > 50
    assert waits == pytest.approx([5000.0] * len(waits))
    ready = simulate_campaign(setup(20, 64, reliability=reliability, spare_nodes=64, parameters=10**9), 5)
    assert ready.seconds["waiting_for_repair"] == 0


def test_more_spares_and_crews_never_wait_longer() -> None:
    reliability = fleet(20_000.0, 64, cause={"nodes_lost": 1, "repair_s": 50_000.0})

    def waited(spares: int, crews: int | None) -> float:
        plan = setup(20, 64, reliability=reliability, spare_nodes=spares, repair_crews=crews, parameters=10**9)
        return float(np.mean([run.seconds["waiting_for_repair"] for run in simulate_replicas(plan, 2, 5)]))

    assert waited(0, None) > waited(2, None) > waited(8, None)
    assert waited(2, 1) > waited(2, 2) > waited(2, None)


def test_seeds() -> None:
    plan = setup(3.0)
    first, second = simulate_replicas(plan, 9, 2)
    assert first != second
    assert (first, second) == simulate_replicas(plan, 9, 3)[:2]
    assert pickle.dumps(simulate_campaign(plan, first.seed)) == pickle.dumps(first)
    assert (first.seed, second.seed) == replica_seeds(9, 2)


def test_campaign_round_trips_through_json() -> None:
    run = simulate_campaign(setup(2.0), 1)
    adapter = TypeAdapter(Campaign)
    assert adapter.validate_json(adapter.dump_json(run)) == run


def test_frame_has_a_row_per_segment() -> None:
    run = simulate_campaign(setup(2.0), 1)
    frame = run.to_frame()
    assert len(frame) == len(run.segments)
    assert frame["tokens"].sum() == pytest.approx(run.tokens)
    assert list(frame.columns)[:4] == ["start_s", "end_s", "activity", "phase"]


def test_the_site_swings_when_the_job_stops() -> None:
    """Tens of megawatts on a large site when a job stops or checkpoints (arXiv:2407.21783 section 3.3.4)."""
    run = simulate_campaign(setup(5.0), 1)
    training_w = max(part.site_power_w for part in run.segments if part.activity == "training")
    stopped_w = min(part.site_power_w for part in run.segments if part.activity == "restart")
    assert 5e6 < training_w - stopped_w < 30e6
    assert run.peak_site_power_w > training_w  # the segment's mean holds its checkpoints


def test_phases_follow_one_another() -> None:
    phases = (
        phase(1.0, name="short batches", tokens_per_step=4e6, gpu_power_w=500.0),
        phase(2.0, name="long batches", tokens_per_step=16e6, gpu_power_w=650.0),
    )
    plan = setup(3.0, phases=phases)
    run = simulate_campaign(plan, 4)
    check_conserved(plan, run)
    kept = [part for part in run.segments if part.tokens]
    names = [part.phase for part in kept]
    assert names == sorted(names, key=[stage.name for stage in phases].index)
    assert run.steps == 3 * 8640


@pytest.mark.parametrize("factor", [1, 10, 100])
def test_segments_grow_with_interruptions_only(factor: int) -> None:
    """The same number of failures leaves about as many rows at 100 times the GPUs or 100 times the months."""
    gpus = 128 * factor
    run = simulate_campaign(setup(30.0 * factor, gpus, reliability=fleet(30.0 * factor * DAY / 200, gpus)), seed=1)
    planned = len(run.interruptions) - run.unexpected_interruptions
    assert 140 < run.unexpected_interruptions < 260
    assert len(run.segments) <= 5 * (run.unexpected_interruptions + planned) + 1


def test_runs_that_never_finish_say_why() -> None:
    with pytest.raises(InputError, match=r"262,144 GPUs never finishes: it is interrupted every 11\.6 min"):
        setup(80, 262_144)
    with pytest.raises(InputError, match=r"checkpoints every 10\.0 days that hold up .* checkpoint more often"):
        setup(80, checkpoints=CheckpointPolicy(interval_s=10 * DAY))
    with pytest.raises(InputError, match=r"200 planned interruptions a day take 44\.8 h"):
        setup(80, planned_maintenance_per_day=200)


def test_a_run_of_too_many_interruptions_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.campaign.run, "MAX_INTERRUPTIONS", 50)
    with pytest.raises(InputError, match=r"given up after 50 interruptions with \d+\.\d% of its tokens"):
        simulate_campaign(setup(54), 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"phases": ()},
        {"parameters": 0},
        {"spare_nodes": -1},
        {"repair_crews": 0},
        {"maintenance_s": math.nan},
        {"planned_maintenance_per_day": -1.0},
        {"gpu_wait_power_w": math.inf},
    ],
)
def test_bad_setups(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes)) if "phases" not in changes else "phase"):
        setup(1.0, **changes)


@pytest.mark.parametrize("key", ["tokens", "tokens_per_step", "step_time_s", "gpu_power_w"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_bad_phases(key: str, value: float) -> None:
    good = {"tokens": 1e9, "tokens_per_step": 1e6, "step_time_s": 1.0, "gpu_power_w": 500.0}
    with pytest.raises(InputError, match=key):
        Phase(name="bad", **good | {key: value})


def test_bad_calls() -> None:
    plan = setup(1.0)
    with pytest.raises(InputError, match="seed"):
        simulate_campaign(plan, -1)
    with pytest.raises(InputError, match="replicas"):
        simulate_replicas(plan, 1, 0)
    with pytest.raises(InputError, match="step_s"):
        simulate_campaign(plan, 1).power_series(0.0)
