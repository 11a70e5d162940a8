"""Campaigns in a site's hours: caps hold, what a window takes is counted, and nothing else is lost."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.files import InputError
from profiler.units import DAY_S, HOUR_S
from sim.campaign import Campaign, CampaignSetup, Pause, simulate_campaign
from sim.campaign.checkpoints import CheckpointPolicy
from sim.campaign.hours import hour_series
from sim.campaign.swings import swings
from sim.hardware import build_cluster
from sim.site.climate import load_climate
from sim.site.conditions import PowerWindow, SiteConditions
from sim.site.energy import SitePower
from tests.sim.campaigns import at_rate
from tests.sim.test_hours import SETUP

SUMMER, WINTER = datetime(2026, 7, 6), datetime(2026, 1, 5)  # Mondays
PLAIN = simulate_campaign(SETUP, 1)
FULL_W = PLAIN.peak_site_power_w
IDLE_W = min(sum(watts) for watts in PLAIN.state_parts_w)


def under(*windows: PowerWindow, climate: str = "", start: datetime = SUMMER, **keys: object) -> CampaignSetup:
    place = load_climate(climate) if climate else None
    return replace(SETUP, conditions=SiteConditions(start=start, climate=place, windows=windows), **keys)


def afternoon(share: float, **keys: object) -> PowerWindow:
    return PowerWindow(allowed_w=share * FULL_W, from_hour=14, to_hour=18, **keys)  # type: ignore[arg-type]


MIXED = replace(
    SETUP,
    spare_nodes=0,
    repair_crews=2,
    replicas=64,
    fewer_replicas=True,
    pauses=(Pause(name="evaluation", every_s=6 * HOUR_S, pause_s=900.0),),
    reliability=at_rate(SETUP.reliability, 40.0),
)
"""Segments that mix power states: replicas missing, evaluation, many failures."""


def assert_conserved(run: Campaign) -> None:
    """Time, tokens and energy add up, and the segments follow one another."""
    line = run.timeline
    start_s, end_s = line.column("start_s"), line.column("end_s")
    assert start_s[0] == 0
    assert end_s[-1] == run.duration_s
    assert start_s[1:] == pytest.approx(end_s[:-1])
    assert sum(run.seconds.values()) == pytest.approx(run.duration_s, rel=1e-9)
    assert min(run.seconds.values()) >= -1e-6
    assert line.column("tokens").sum() == pytest.approx(run.tokens, rel=1e-9)
    hours = hour_series(run)
    assert hours.energy_j.sum(axis=0) == pytest.approx(list(run.energy_j.values()), rel=1e-9)
    assert (run.watts * (end_s - start_s)[:, None]).sum() == pytest.approx(run.total_energy_j, rel=1e-9)
    assert hours.power_w.max() <= run.peak_site_power_w * (1 + 1e-9)


@given(
    windows=st.lists(
        st.builds(
            PowerWindow,
            allowed_w=st.floats(0, 1.2).map(lambda share: share * FULL_W),
            from_hour=st.integers(0, 24),
            to_hour=st.integers(0, 24),
            days=st.sampled_from(["weekdays", "weekends"]),
            months=st.sampled_from([(7,), (1, 7), (8, 9)]),
        ),
        max_size=3,
    ),
    climate=st.sampled_from(["", "phoenix", "calgary"]),
    pue=st.floats(1, 1.6),
    seed=st.integers(0, 50),
    base=st.sampled_from([SETUP, MIXED]),
)
@settings(max_examples=40)
def test_caps_hold_at_every_moment_and_everything_adds_up(
    windows: list[PowerWindow], climate: str, pue: float, seed: int, base: CampaignSetup
) -> None:
    setup = replace(base, conditions=under(*windows, climate=climate).conditions, site=SitePower(pue=pue))
    run = simulate_campaign(setup, seed)
    assert_conserved(run)
    assert setup.conditions is not None
    hours = int(run.duration_s // HOUR_S) + 1
    allowed_w = setup.conditions.hours(hours, pue).allowed_w
    hour = ((run.timeline.column("start_s") + run.timeline.column("end_s")) / 2 // HOUR_S).astype(int)
    assert (run.watts.sum(axis=1) <= allowed_w[hour] * (1 + 1e-9)).all()
    assert (hour_series(run).power_w <= allowed_w * (1 + 1e-9)).all()
    plain = simulate_campaign(replace(setup, conditions=None), seed)
    assert len(run.stops) == len(plain.stops)
    assert (np.diff(run.stops.column("time_s")) >= -1e-6).all()
    for activity in ("detection", "maintenance", "waiting_for_repair"):
        assert run.seconds[activity] == pytest.approx(plain.seconds[activity], abs=1e-3)


def test_alike_hours_change_nothing() -> None:
    run = simulate_campaign(under(), 1)
    assert_conserved(run)
    assert run.duration_s == pytest.approx(PLAIN.duration_s)
    assert dict(run.energy_j) == pytest.approx(dict(PLAIN.energy_j))
    assert run.peak_site_power_w == pytest.approx(PLAIN.peak_site_power_w)
    assert run.stops.data == pytest.approx(PLAIN.stops.data, abs=1e-6)


def test_a_window_slows_where_clocks_can_and_stops_where_they_cannot() -> None:
    slowed, paused = (simulate_campaign(under(afternoon(share)), 1) for share in (0.8, IDLE_W / FULL_W * 1.01))
    closed_s = 4 / 24 * paused.duration_s
    assert paused.seconds["curtailment"] == pytest.approx(closed_s, rel=0.1)
    assert 0 < slowed.seconds["curtailment"] < 0.5 * paused.seconds["curtailment"]
    for run in (slowed, paused):
        assert run.seconds["training"] == pytest.approx(PLAIN.seconds["training"], rel=1e-6)
        assert run.duration_s == pytest.approx(PLAIN.duration_s + run.seconds["curtailment"], rel=1e-6)
    hours = hour_series(paused)
    asleep = (hours.start_s / HOUR_S % 24 >= 14) & (hours.start_s / HOUR_S % 24 < 18)
    assert hours.power_w[asleep] == pytest.approx(IDLE_W, rel=1e-6)
    assert hours.tokens[asleep].sum() == 0


def test_a_switched_off_site_draws_nothing_and_restarts() -> None:
    run = simulate_campaign(under(afternoon(0.1)), 1)
    hours = hour_series(run)
    off = (hours.start_s / HOUR_S % 24 >= 14) & (hours.start_s / HOUR_S % 24 < 18)
    assert (hours.power_w[off] == 0).all()
    days = int(off.sum() / 4)
    restarts_s = run.seconds["restart"] - PLAIN.seconds["restart"]
    assert restarts_s == pytest.approx(days * SETUP.restart_s, abs=SETUP.restart_s)
    saved_s = SETUP.cadence.cost_s + SETUP.cadence.lag_s
    assert run.seconds["checkpointing"] - PLAIN.seconds["checkpointing"] == pytest.approx(days * saved_s, abs=saved_s)


@given(st.floats(0.35, 1.0), st.floats(0.35, 1.0))
@settings(max_examples=15)
def test_less_allowed_is_never_faster(one: float, other: float) -> None:
    tight, loose = (simulate_campaign(under(afternoon(share)), 3) for share in sorted((one, other)))
    assert tight.duration_s >= loose.duration_s - 1e-6


def test_summer_costs_more_power_than_winter_and_the_years_mean_is_the_plans() -> None:
    """At Phoenix, where July is 23 K warmer than January, the same run cools more in July."""
    summer, winter = (simulate_campaign(under(climate="phoenix", start=start), 1) for start in (SUMMER, WINTER))
    overhead_j = PLAIN.energy_j["cooling"]
    assert summer.energy_j["cooling"] > 1.3 * overhead_j
    assert winter.energy_j["cooling"] < 0.75 * overhead_j
    for part in ("gpu", "host", "network", "storage"):
        assert summer.energy_j[part] == pytest.approx(PLAIN.energy_j[part], rel=0.01)
    assert summer.duration_s == pytest.approx(PLAIN.duration_s, rel=2e-3)


def test_hot_hours_train_one_to_two_percent_less() -> None:
    """arXiv:2407.21783 section 3.3.4: 1 to 2 % between the hours of a day."""
    calm = replace(
        SETUP, phases=SETUP.phases[1:], reliability=at_rate(SETUP.reliability, 0.0), planned_maintenance_per_day=0.0
    )
    conditions = SiteConditions(start=SUMMER, climate=load_climate("phoenix"))
    tokens = hour_series(simulate_campaign(replace(calm, conditions=conditions), 1)).tokens
    by_hour = tokens[: len(tokens) // 24 * 24].reshape(-1, 24).mean(axis=0)
    assert by_hour.argmin() in (14, 15, 16)
    assert 0.01 < by_hour.max() / by_hour.min() - 1 < 0.02


def test_a_site_that_never_has_enough_is_refused() -> None:
    with pytest.raises(InputError, match="never finishes"):
        simulate_campaign(under(PowerWindow(allowed_w=0.05 * FULL_W)), 1)


def test_swings_of_llama_3_are_tens_of_megawatts() -> None:
    """arXiv:2407.21783 section 3.3.4: power swings of tens of megawatts when all GPUs of 16,384 stop or go on."""
    big = replace(SETUP, cluster=build_cluster("h100-sxm", 16_384), spare_nodes=20)
    run = simulate_campaign(big, 1)
    found = {swing.name: swing for swing in swings(run, big)}
    assert -15e6 < found["Training stops"].largest_w < -9e6
    assert found["Training goes on"].largest_w == pytest.approx(-found["Training stops"].largest_w, rel=0.05)
    assert -found["Training stops"].largest_w >= 16_384 * (600.0 - big.cluster.gpu.idle_power_w)
    assert found["Training stops"].ramp_w_per_s == found["Training stops"].largest_w / 9.0


def test_a_slowed_window_swings_too() -> None:
    setup = under(afternoon(0.8))
    found = {swing.name: swing for swing in swings(simulate_campaign(setup, 1), setup)}
    window = found["A power window closes or opens"]
    assert 0.1 * FULL_W < abs(window.largest_w) < 0.25 * FULL_W
    assert abs(window.largest_w) < abs(found["Training stops"].largest_w)
    days = int(simulate_campaign(setup, 1).duration_s / DAY_S)
    assert 2 * days <= window.times <= 2 * (days + 1) + 10


def test_a_synchronous_checkpoint_swings_as_often_as_it_is_taken() -> None:
    slow = replace(SETUP, checkpoints=CheckpointPolicy(kind="synchronous", bytes_per_parameter=500.0))
    assert slow.cadence.cost_s > 9
    run = simulate_campaign(slow, 1)
    found = {swing.name: swing for swing in swings(run, slow)}["A checkpoint holds training"]
    assert found.largest_w < 0
    assert found.times >= run.duration_s / (slow.cadence.cycle_s * 1.5)
    assert found.times <= run.duration_s / slow.cadence.cycle_s + len(run.stops) + 2
