"""A campaign told its effective time ratio: that ratio to the last second, and everything still adds up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.files import InputError
from sim.campaign import CampaignSetup, Pause, simulate_campaign
from sim.campaign.hours import hour_series
from sim.campaign.stated import at_effective_ratio
from tests.sim.campaigns import DAY, check_conserved, fleet, setup, setups

ratios = st.floats(0.05, 1.0)


@settings(max_examples=60, deadline=None)
@given(setups(), ratios, st.integers(0, 9))
def test_the_ratio_comes_out_and_time_tokens_and_energy_are_conserved(
    plan: CampaignSetup, ratio: float, seed: int
) -> None:
    told = simulate_campaign(replace(plan, effective_time_ratio=ratio), seed)
    work_s = sum(phase.training_s for phase in plan.phases)
    assert told.duration_s == pytest.approx(work_s / ratio)
    assert told.ettr == pytest.approx(ratio)
    check_conserved(replace(plan, effective_time_ratio=ratio), told)
    hours = hour_series(told)
    assert hours.energy_j.sum() == pytest.approx(told.total_energy_j)
    assert hours.activity_s.sum() == pytest.approx(told.duration_s)


@pytest.mark.parametrize("gpus", [8, 512, 16_384])
@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.95, 1.0])
def test_on_any_cluster_size_and_with_one_spare(gpus: int, ratio: float) -> None:
    """With one spare a campaign of 512 GPUs waits for repairs most of its time unless it is told otherwise."""
    plan = setup(20.0, gpus, spare_nodes=1, effective_time_ratio=ratio)
    assert simulate_campaign(plan, 1).duration_s == pytest.approx(20 * DAY / ratio)


def test_its_own_ratio_changes_nothing() -> None:
    plan = setup(20.0, pauses=(Pause(name="evaluation", every_s=7200.0, pause_s=120.0),))
    run = simulate_campaign(plan, 3)
    again = simulate_campaign(replace(plan, effective_time_ratio=run.ettr), 3)
    assert np.allclose(run.timeline.data, again.timeline.data, rtol=1e-9, atol=1e-6)
    assert np.allclose(run.stops.data, again.stops.data, rtol=1e-9, atol=1e-6)
    assert again.total_energy_j == pytest.approx(run.total_energy_j)
    assert again.peak_site_power_w == run.peak_site_power_w


def test_failures_stay_the_records_and_take_longer() -> None:
    """419 interruptions in 54 days (arXiv:2407.21783) stay as many when the time lost is told."""
    plan = setup(50.0)
    run, told = (simulate_campaign(replace(plan, effective_time_ratio=ratio), 1) for ratio in (None, 0.8))
    assert [s.cause for s in run.interruptions] == [s.cause for s in told.interruptions]
    longer = (1 / 0.8 - 1) / (1 / run.ettr - 1)
    assert longer > 1
    for before, after in zip(run.interruptions, told.interruptions, strict=True):
        assert after.restart_s == pytest.approx(before.restart_s * longer)
        assert after.lost_s == pytest.approx(before.lost_s * longer)
        assert after.time_s > before.time_s


def test_a_run_without_losses_cannot_be_told_that_it_has_some() -> None:
    run = at_effective_ratio(simulate_campaign(setup(1.0), 1), 1.0)
    assert run.seconds["training"] == run.duration_s
    with pytest.raises(InputError, match="does nothing but train"):
        at_effective_ratio(run, 0.9)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.1, float("nan"), float("inf")])
def test_a_ratio_that_is_none_is_refused(ratio: float) -> None:
    with pytest.raises(InputError, match="effective_time_ratio is"):
        setup(1.0, effective_time_ratio=ratio)


def test_a_failing_fleet_can_be_told_to_lose_less() -> None:
    plan = setup(10.0, 1024, reliability=fleet(7200.0, 1024, restart_s=1800.0))
    assert simulate_campaign(plan, 1).ettr < 0.8
    assert simulate_campaign(replace(plan, effective_time_ratio=0.97), 1).ettr == pytest.approx(0.97)
