"""Tracking: a run as planned is on plan, and what was put into a log is what is found in it."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from planner.plan import Plan, make_plan
from planner.plan_file import plan_request, read_plan_request
from planner.track_log import RunLog, read_log
from planner.tracking import Tracking, track
from profiler.files import InputError

EXAMPLES = Path(__file__).parents[2] / "examples"
HOUR_S, DAY_S = 3600.0, 86_400.0
START = datetime(2026, 1, 5)


@cache
def big() -> Plan:
    return make_plan(read_plan_request(EXAMPLES / "llama3.1-405b.toml"))


@cache
def small() -> Plan:
    data: dict[str, Any] = {
        "model": "llama3.1-8b",
        "tokens": "1T",
        "cluster": {"gpus": 64, "spare_nodes": 4},  # none waits for a repair
        "training": {"global_batch": 512, "layout": {"tp": 2}},
    }
    return make_plan(plan_request(data, source="test"))


def log(times_s: NDArray[np.float64], tokens: NDArray[np.float64], **more: Any) -> RunLog:
    said = {"in_steps": False, "power_w": np.full(times_s.size, np.nan), "start": START, "notes": (), **more}
    return RunLog(times_s=times_s, progress=tokens, **said)


def as_simulated(plan: Plan, until: float, every_s: float = 600.0) -> RunLog:
    """What the plan's own campaign would have logged until a share of its duration."""
    times_s, tokens = plan.campaign.progress()
    rows_s = np.arange(0, until * plan.campaign.duration_s, every_s)
    return log(rows_s, np.interp(rows_s, times_s, tokens))


def steady(plan: Plan, days: float, *, speed: float = 1.0, every_s: float = 600.0) -> RunLog:
    """A run without any standstill at `speed` times the planned steps."""
    rows_s = np.arange(0, days * DAY_S, every_s)
    return log(rows_s, np.minimum(rows_s * speed * plan.request.tokens / plan.training_s, plan.request.tokens))


def check_parts(found: Tracking) -> None:
    assert sum(found.gap_parts_days.values()) == pytest.approx(found.gap_days, abs=1e-9)
    assert found.days[0] <= found.days[1] <= found.days[2]
    assert found.finish[0] <= found.finish[1] <= found.finish[2]


@pytest.mark.parametrize("until", [0.05, 0.3, 0.9])
def test_a_run_as_the_plan_simulated_it_is_on_plan(until: float) -> None:
    found = track(big(), as_simulated(big(), until))
    check_parts(found)
    assert found.verdict == "on plan"
    assert found.speed == pytest.approx(1, abs=0.002)
    assert abs(found.gap_days) < 0.01 * big().days.expected
    assert found.days[0] < big().days.expected < found.days[2]
    seen = [s for s in big().campaign.interruptions if s.time_s < until * big().campaign.duration_s]
    assert found.standstill.stops == pytest.approx(len(seen), rel=0.25, abs=5)
    assert found.standstill.pauses == 0


def test_the_forecast_narrows_as_the_run_goes_on() -> None:
    widths = []
    for until in (0.1, 0.5, 0.95):
        low, _, high = track(big(), as_simulated(big(), until)).days
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.005 * big().days.expected  # a twentieth of the run is left, at a speed that is known
    assert widths[0] < big().days.high - big().days.low  # a tenth of the run says more than the plan knew


@settings(max_examples=15)
@given(st.floats(0.6, 1.3))
def test_slower_steps_are_found_as_slower_steps(speed: float) -> None:
    found = track(small(), steady(small(), 3, speed=speed))
    check_parts(found)
    assert found.speed == pytest.approx(speed, rel=1e-6)
    kept_days = 3 * speed
    ettr = small().campaign.ettr
    assert found.gap_parts_days["slower_steps"] == pytest.approx(kept_days * (1 / speed - 1) / ettr, abs=0.02)
    assert found.gap_parts_days["pauses"] == 0
    assert found.days[1] == pytest.approx(small().days.expected / speed, rel=0.02)


@settings(max_examples=15)
@given(st.floats(6, 48), st.floats(0.2, 0.8))
def test_a_pause_is_found_as_a_pause(hours: float, at: float) -> None:
    run = steady(small(), 3)
    times_s = run.times_s + np.where(run.times_s > at * 3 * DAY_S, hours * HOUR_S, 0.0)
    found = track(small(), log(times_s, run.progress))
    check_parts(found)
    assert found.standstill.pauses == 1
    assert found.gap_parts_days["pauses"] == pytest.approx(hours / 24 / small().campaign.ettr, abs=0.02)
    assert abs(found.gap_parts_days["slower_steps"]) < 0.02
    assert found.days[1] - track(small(), run).days[1] == pytest.approx(hours / 24, abs=0.05)


@pytest.mark.parametrize(
    "more",
    [
        {"reliability": {"planned_maintenance_per_day": 1 / 7, "maintenance_s": "8 h"}},
        {"cluster": {"gpus": 64, "spare_nodes": 0}},  # waits for repairs
    ],
)
def test_long_interruptions_that_are_planned_are_no_pauses(more: dict[str, Any]) -> None:
    data = {"model": "llama3.1-8b", "tokens": "1T", "cluster": {"gpus": 64, "spare_nodes": 4}, **more}
    plan = make_plan(plan_request({**data, "training": {"global_batch": 512, "layout": {"tp": 2}}}, source="test"))
    longest_s = max(s.lost_s + s.wait_s + s.maintenance_s for s in plan.campaign.interruptions)
    assert longest_s > 4 * HOUR_S
    found = track(plan, as_simulated(plan, 0.9))
    check_parts(found)
    assert (found.standstill.pauses, found.gap_parts_days["pauses"]) == (0, 0)
    beyond = steady(plan, 3)
    times_s = beyond.times_s + np.where(beyond.times_s > DAY_S, 2 * longest_s, 0.0)
    assert track(plan, log(times_s, beyond.progress)).standstill.pauses == 1


@settings(max_examples=15)
@given(st.integers(2, 12), st.integers(1, 5))
def test_restarts_that_go_back_are_found_as_interruptions(stops: int, rows_back: int) -> None:
    run = steady(small(), 4)
    times_s, tokens = run.times_s.copy(), run.progress.copy()
    per_row = tokens[1]
    for i in range(1, stops + 1):
        at = i * tokens.size // (stops + 1)
        tokens[at:] -= rows_back * per_row
    found = track(small(), log(times_s, np.maximum(tokens, 0)))
    check_parts(found)
    assert found.standstill.stops == stops
    # each: the steps back are lost, and the step that would have been made in that row is not made
    lost_days = stops * (rows_back * 600.0) / DAY_S / small().campaign.ettr
    unplanned = found.gap_parts_days["interruptions"] + (1 - small().campaign.ettr) * 4 / small().campaign.ettr
    assert unplanned == pytest.approx(lost_days, abs=0.01 + stops * 600 / DAY_S)
    assert found.speed == pytest.approx(1, rel=1e-6)


def test_steps_are_read_as_tokens_are() -> None:
    run = as_simulated(big(), 0.5)
    edges = np.cumsum([0, *(p.tokens for p in big().phases)])
    steps = np.cumsum([0, *(p.tokens / p.tokens_per_step for p in big().phases)])
    in_steps = log(run.times_s, np.interp(run.progress, edges, steps), in_steps=True)
    a, b = track(big(), run), track(big(), in_steps)
    assert a.days == pytest.approx(b.days)
    assert a.tokens == pytest.approx(b.tokens)


def test_rows_a_day_apart_do_not_make_interruptions_slower_steps() -> None:
    found = track(big(), as_simulated(big(), 0.5, every_s=DAY_S))
    assert found.speed == pytest.approx(1, abs=0.02)
    assert found.verdict == "on plan"
    assert any("too far to tell" in note for note in found.notes)


def test_a_log_that_begins_in_the_middle_and_one_that_starts_late() -> None:
    run = as_simulated(big(), 0.5)
    half = run.times_s.size // 2
    since = timedelta(seconds=float(run.times_s[half]))
    for start in (START + since, None):  # a log without dates is of a run that began as planned
        later = log(run.times_s[half:] - run.times_s[half], run.progress[half:], start=start)
        assert track(big(), later).verdict == "on plan"
    late = track(big(), log(run.times_s, run.progress, start=START + timedelta(days=10)))
    check_parts(late)
    assert late.finish[1] - track(big(), run).finish[1] == timedelta(days=10)
    assert late.gap_parts_days["later_start"] == 10
    assert late.verdict.endswith("days later than planned")
    assert float(late.verdict.split()[0]) == pytest.approx(10, abs=1)


def test_what_no_run_of_the_plan_does_is_asked_about() -> None:
    run = steady(small(), 1.0)
    hundredfold = log(run.times_s / 100, run.progress)
    assert any("100 times the planned speed; is the log of this plan" in n for n in track(small(), hundredfold).notes)
    kilowatts = replace(run, power_w=np.full(run.times_s.size, small().campaign.mean_site_power_w * 1000))
    assert any("times the planned power; is the column in its unit" in n for n in track(small(), kilowatts).notes)


def test_power_is_compared_and_the_energy_forecast() -> None:
    watts = 0.8 * big().campaign.mean_site_power_w
    run = as_simulated(big(), 0.4)
    slow = log(run.times_s / 0.9, run.progress, power_w=np.full(run.times_s.size, watts))
    found = track(big(), slow)
    assert found.power_mw == pytest.approx(watts / 1e6)
    assert found.energy_mwh == pytest.approx(watts / 1e6 * found.days[1] * 24)
    assert any("20% less than planned while steps are slower" in note for note in found.notes)
    assert found.gap_parts_days["less_power"] > 0
    assert track(big(), run).power_mw is None
    assert track(big(), run).gap_parts_days["less_power"] == 0


@settings(max_examples=15)
@given(st.floats(0.6, 0.99), st.floats(0.5, 1.2))
def test_less_power_explains_slower_steps_as_far_as_the_clocks_curve_goes(speed: float, power: float) -> None:
    run = steady(small(), 2, speed=speed)
    planned_w = small().response.working_w
    found = track(small(), log(run.times_s, run.progress, power_w=np.full(run.times_s.size, power * planned_w)))
    check_parts(found)
    without = track(small(), run).gap_parts_days
    parts = found.gap_parts_days
    assert parts["slower_steps"] + parts["less_power"] == pytest.approx(without["slower_steps"])
    assert parts["less_power"] >= 0
    assert parts["slower_steps"] >= -1e-9
    if power > 0.95:
        assert parts["less_power"] == 0
    if power < 0.7 and speed > 0.9:  # much less power than so little slowness needs
        assert parts["slower_steps"] == pytest.approx(0, abs=1e-9)


def test_gaps_in_the_log_are_no_standstill() -> None:
    run = steady(small(), 4)
    kept = np.ones(run.times_s.size, dtype=bool)
    kept[100:250] = False
    found = track(small(), log(run.times_s[kept], run.progress[kept]))
    assert found.standstill.stops == found.standstill.pauses == 0
    assert found.days[1] == pytest.approx(track(small(), run).days[1], rel=0.001)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [([0.0, 0.0, 0.0], "makes no progress"), ([0.0, 5e11, 2e12], "but the plan has 1e+12; is it this run's?")],
)
def test_a_log_that_is_not_of_this_run_is_one_sentence(tokens: list[float], says: str) -> None:
    with pytest.raises(InputError) as error:
        track(small(), log(np.array([0.0, HOUR_S, 2 * HOUR_S]), np.array(tokens)))
    assert says in str(error.value)


# Files


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "log.csv"
    file.write_text(text)
    return file


def test_a_file_with_dates_power_and_rows_out_of_order(tmp_path: Path) -> None:
    text = "time,tokens,power_kw\n2026-01-05T02:00:00,2e9,90\n2026-01-05T00:00:00,0,80\n2026-01-05T01:00:00,1e9,\n"
    found = read_log(written(tmp_path, text))
    assert found.times_s.tolist() == [0, HOUR_S, 2 * HOUR_S]
    assert found.progress.tolist() == [0, 1e9, 2e9]
    assert found.start == START
    assert found.power_w[0] == 80_000
    assert np.isnan(found.power_w[1])
    assert "sorted" in found.notes[0]


def test_a_run_of_more_than_a_trillion_tokens_is_read_to_its_end_and_is_on_plan(tmp_path: Path) -> None:
    made = as_simulated(big(), 0.95, every_s=6 * HOUR_S)
    rows = (f"{t!r},{n!r}" for t, n in zip(made.times_s.tolist(), made.progress.tolist(), strict=True))
    found = read_log(written(tmp_path, "time_s,tokens\n" + "\n".join(rows) + "\n"))
    assert found.progress.tolist() == made.progress.tolist()
    assert found.progress[-1] > 0.9 * 15.6e12
    assert not found.notes
    assert track(big(), found).verdict == "on plan"


@pytest.mark.parametrize(("column", "scale"), [("time_s", 1.0), ("time_h", HOUR_S), ("time_days", DAY_S)])
def test_times_in_seconds_hours_and_days(tmp_path: Path, column: str, scale: float) -> None:
    found = read_log(written(tmp_path, f"# our run\n{column}, step\n3,10\n3.5,20\n"))
    assert found.times_s.tolist() == [0, 0.5 * scale]
    assert found.in_steps
    assert found.start is None


def test_a_few_bad_rows_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [f"{i},{i}e6" for i in range(40)]
    rows[7] = "7,oops"
    rows.append("39,50e6")  # the same time again
    found = read_log(written(tmp_path, "time_h,tokens\n" + "\n".join(rows) + "\n"))
    assert found.times_s.size == 39
    assert found.progress[-1] == 50e6
    assert found.notes[0].startswith("1 of 41 rows could not be read; row 8: column 'tokens' is 'oops'")
    assert "repeated a time" in found.notes[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("when,tokens\n1,2\n", "no column of time (time, time_s, time_h, time_days); it has when, tokens"),
        ("time_s,loss\n1,2\n", "no column of progress (tokens, step, steps)"),
        ("", "no column of time"),
        ("time_s,tokens\n1,2\n", "two rows or more are needed"),
        ("time_s,tokens\n1,2\n1,3\n", "one moment only"),
        ("time_s,tokens\n1,a\n2,b\n3,4\n4,5\n", "2 of 4 rows cannot be read; row 1: column 'tokens' is 'a'"),
        ("time,tokens\nyesterday,1\n2026-01-05,2\n2026-01-06,3\n", "a time such as 2026-01-05T13:00:00"),
        ("time_s,tokens\n1,-5\n2,-6\n3,4\n4,5\n", "0 or more is needed"),
        ("time_s,tokens\n1,\n2,\n3,4\n4,5\n", "column 'tokens' is empty"),
    ],
)
def test_a_file_that_is_no_log_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        read_log(written(tmp_path, text))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_no_bytes_whatever_end_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("log") / "log.csv"
    file.write_bytes(b"time_s,tokens\n" + data)
    try:
        found = read_log(file)
    except InputError:
        return
    assert np.all(np.diff(found.times_s) > 0)
