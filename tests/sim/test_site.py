"""A site's hours: PUE rises with temperature, windows hold when they say, caps hold at every hour."""

from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.files import InputError
from sim.calibration import load_calibration
from sim.clocks import speed_at_power
from sim.site.climate import load_climate
from sim.site.clock import OFF, RESTARTS, RUNS, SAVES, lay, powers, stretches
from sim.site.conditions import PowerWindow, SiteConditions, pue_by_temperature, speed_by_temperature

START = datetime(2026, 1, 5)  # a Monday


@given(mean=st.floats(1, 2), temperatures=st.lists(st.floats(-40, 50), min_size=24, max_size=24))
def test_pue_rises_with_temperature_and_keeps_its_mean(mean: float, temperatures: list[float]) -> None:
    year_c = np.sort(np.array(temperatures))
    found = pue_by_temperature(year_c, mean)
    assert found.mean() == pytest.approx(mean, rel=1e-12)
    assert (np.diff(found) >= -1e-12).all()
    assert (found >= 1).all()


def test_the_economizers_published_table_comes_back() -> None:
    """Xu, Feng and Li (ICAC 2013), table 1: partial PUE 1.30 at 35 °C, 1.21 at 21.1, 1.17 at 15.6, 1.10 at 10 and
    1.05 at -3.9; their quadratic is within 0.03 of it."""
    at_c = np.array([35.0, 21.1, 15.6, 10.0, -3.9])
    published = np.array([1.30, 1.21, 1.17, 1.10, 1.05])
    mean = (7.1705e-5 * at_c**2 + 0.0041 * at_c + 1.0743).mean()
    found = pue_by_temperature(at_c, mean)
    assert np.abs(found - published).max() < 0.03


def test_cold_saves_nothing_below_the_coldest_that_was_measured() -> None:
    found = pue_by_temperature(np.array([-30.0, -3.9, 20.0]), 1.1)
    assert found[0] == found[1] < found[2]


@pytest.mark.parametrize("place", ["phoenix", "calgary", "new-york"])
def test_throughput_swings_by_one_to_two_percent_within_a_day(place: str) -> None:
    """arXiv:2407.21783 section 3.3.4: 1 to 2 % by the time of day; the mean of any day is what it was."""
    speed = speed_by_temperature(load_climate(place).year_c()).reshape(365, 24)
    swing = np.ptp(speed, axis=1)
    assert 0.007 < swing.min() <= swing.max() < 0.02
    assert speed.mean(axis=1) == pytest.approx(1, abs=1e-9)
    assert speed[200].argmin() in range(13, 17)


def slowly_holds(window: PowerWindow, hour: datetime) -> bool:
    """Whether an hour is in a window, as its words say."""
    if not window.first_date <= hour.date().isoformat() <= window.last_date or hour.month not in window.months:
        return False
    if window.days != "all" and (hour.weekday() >= 5) != (window.days == "weekends"):
        return False
    if window.from_hour < window.to_hour:
        return window.from_hour <= hour.hour < window.to_hour
    return hour.hour >= window.from_hour or hour.hour < window.to_hour


@given(
    from_hour=st.integers(0, 24),
    to_hour=st.integers(0, 24),
    months=st.sets(st.integers(1, 12), min_size=1),
    days=st.sampled_from(["all", "weekdays", "weekends"]),
    dates=st.lists(st.dates(datetime(2025, 6, 1).date(), datetime(2026, 12, 31).date()), min_size=2, max_size=2),
    start=st.datetimes(datetime(2025, 1, 1), datetime(2026, 12, 31)),
)
def test_a_window_holds_the_hours_it_says(
    from_hour: int, to_hour: int, months: set[int], days: str, dates: list, start: datetime
) -> None:
    first, last = sorted(dates)
    window = PowerWindow(
        allowed_w=1e6, from_hour=from_hour, to_hour=to_hour, months=tuple(months), days=days,
        first_date=first.isoformat(), last_date=last.isoformat(),
    )  # fmt: skip
    start = start.replace(minute=0, second=0, microsecond=0)
    hours = SiteConditions(start=start, windows=(window,)).hours(24 * 40, 1.1)
    expected = [slowly_holds(window, start + timedelta(hours=i)) for i in range(24 * 40)]
    assert (hours.allowed_w == 1e6).tolist() == expected
    assert (hours.pue == 1.1).all()


def test_the_tightest_window_rules() -> None:
    wide, tight = PowerWindow(allowed_w=5e6), PowerWindow(allowed_w=2e6, from_hour=16, to_hour=20)
    allowed_w = SiteConditions(start=START, windows=(wide, tight)).hours(24, 1.1).allowed_w
    assert (allowed_w[16:20] == 2e6).all()
    assert (np.delete(allowed_w, range(16, 20)) == 5e6).all()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"first_date": "soon"}, "first_date is 'soon'"),
        ({"first_date": "2026-02-02", "last_date": "2026-02-01"}, "before first_date"),
    ],
)
def test_a_window_that_cannot_be_is_refused(keys: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        PowerWindow(allowed_w=1e6, **keys)


@given(st.floats(0, 1), st.floats(0, 1))
def test_less_power_is_never_faster_and_full_power_is_full_speed(one: float, other: float) -> None:
    slow, fast = speed_at_power(np.array(sorted((one, other))))
    assert 0 <= slow <= fast <= 1
    assert speed_at_power(np.array([1.0]))[0] == 1


def test_published_power_limits_come_back() -> None:
    """An H100 at 500 of 693 W multiplies as much slower as published runs of 500 W parts do; at 600 W steps take 10
    to 15 % longer by a vendor's account."""
    fitted = load_calibration().values()
    held = fitted["matmul_h100_500w"] / fitted["matmul_h100"]
    assert speed_at_power(np.array([500 / 693]))[0] == pytest.approx(held, rel=0.02)
    assert 1.10 < 1 / speed_at_power(np.array([600 / 693]))[0] < 1.15


STATES_W = np.array(
    # gpu, host, network, storage, cooling: training, checkpoint, wait, idle
    [[6e6, 2e6, 3e5, 7e5, 9e5], [1e6, 2e6, 3e5, 7e5, 4e5], [1e6, 1.5e6, 3e5, 7e5, 3e5], [6e5, 1.5e6, 3e5, 7e5, 3e5]]
)


def hours_with(allowed_mw: list[float], pue: float = 1.1) -> SiteConditions:
    windows = tuple(
        PowerWindow(allowed_w=mw * 1e6, from_hour=i % 24, to_hour=i % 24 + 1, first_date=day, last_date=day)
        for i, mw in enumerate(allowed_mw)
        for day in [(START + timedelta(hours=i)).date().isoformat()]
    )
    return SiteConditions(start=START, windows=windows)


@given(st.lists(st.floats(0, 12), min_size=1, max_size=30), st.floats(1, 1.6))
def test_no_state_draws_more_than_its_hour_allows(allowed_mw: list[float], pue: float) -> None:
    hours = hours_with(allowed_mw).hours(len(allowed_mw), pue)
    found = powers(hours, STATES_W, 1)
    goes = found.pace > 0
    assert (np.where(goes, found.total_w, 0) <= hours.allowed_w[:, None] * (1 + 1e-12)).all()
    full_w = pue * STATES_W[:, :4].sum(axis=1)
    fits = full_w <= hours.allowed_w[:, None]
    assert (found.pace[fits] == 1).all()  # what fits is not touched
    assert (found.pace[~fits] < 1).all()
    assert (found.pace[:, 1:][~fits[:, 1:]] == 0).all()  # only training can be slowed
    assert (found.off == (hours.allowed_w < full_w[3])).all()


@given(
    st.lists(st.booleans(), min_size=1, max_size=50),
    st.just(0.0) | st.floats(1, 3000),
    st.just(0.0) | st.floats(1, 9000),
)
def test_stretches_fill_the_time_and_a_switched_off_site_saves_before_and_restarts_after(
    off: list[bool], save_s: float, restart_s: float
) -> None:
    found = list(stretches(np.array(off), save_s, restart_s))
    assert found[0].start_s == 0
    assert found[-1].end_s == 3600 * len(off)
    assert all(a.end_s == b.start_s for a, b in pairwise(found))
    assert all(s.hour == int(s.start_s // 3600) and s.end_s <= (s.hour + 1) * 3600 for s in found)
    assert {s.hour for s in found if s.mode == OFF} == {i for i, closed in enumerate(off) if closed}
    for before, after in pairwise(found):
        assert not (before.mode == OFF and after.mode == RUNS and restart_s > 0)
        assert not (before.mode == RUNS and after.mode == OFF and save_s > 0)
        assert before.mode != SAVES or after.mode == OFF
    restarting_s = sum(s.end_s - s.start_s for s in found if s.mode == RESTARTS)
    closings = sum(a and not b for a, b in zip(off, [*off[1:], True], strict=True))
    assert restarting_s <= closings * restart_s + 1e-6


@given(
    lengths=st.lists(st.floats(1, 20_000), min_size=1, max_size=12),
    shares=st.lists(st.floats(0, 1), min_size=12, max_size=12),
    allowed_mw=st.lists(st.floats(0, 12), min_size=1, max_size=24),
)
def test_laying_keeps_all_work_and_leaves_no_gap(
    lengths: list[float], shares: list[float], allowed_mw: list[float]
) -> None:
    hours = hours_with(allowed_mw).hours(24 * 30, 1.1)
    power = powers(hours, STATES_W, 1)
    mix = np.array([[1 - share, share, 0, 0] for share in shares[: len(lengths)]])
    laid = lay(np.array(lengths), mix, power.pace, stretches(power.off, 60.0, 600.0))
    assert laid is not None
    assert laid[0].start_s == 0
    assert all(a.end_s == b.start_s for a, b in pairwise(laid))
    assert [one.segment for one in laid] == sorted(one.segment for one in laid)
    done_s = np.bincount([one.segment for one in laid], [one.done_s for one in laid])
    assert done_s == pytest.approx(lengths, abs=1e-6)
    for one in laid:
        assert one.end_s <= (one.hour + 1) * 3600 + 1e-6
        assert 0 <= one.done_s <= (one.end_s - one.start_s) * (1 + 1e-9) + 1e-6
        assert one.mode == RUNS or one.done_s == 0
    if min(allowed_mw) > 10:
        assert laid[-1].end_s == pytest.approx(sum(lengths))


def test_a_site_that_ends_too_soon_says_so() -> None:
    hours = hours_with([0.0]).hours(2, 1.1)
    power = powers(hours, STATES_W, 1)
    assert lay(np.array([7200.0]), np.array([[1.0, 0, 0, 0]]), power.pace, stretches(power.off, 0, 0)) is None
