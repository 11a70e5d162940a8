"""How far predictions lie from published runs. These bounds guard against regressions; the real numbers, with
each source left out of its own calibration, are in docs/validation.md."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.runs import published_runs
from planner.validation import Validation, summarise, validate_runs
from planner.validation_text import markdown_text
from profiler.files import InputError
from sim.calibration import load_calibration


@cache
def published() -> Validation:
    return validate_runs(published_runs())


def test_step_times_of_published_runs() -> None:
    overall = published().overall
    assert overall.p90_pct is not None
    assert overall.runs >= 390
    assert overall.median_pct < 6
    assert overall.p90_pct < 20
    assert abs(overall.bias_pct) < 6


def test_the_error_that_a_plan_carries_is_the_left_out_one() -> None:
    """A fit flatters itself: what is left out of it does worse."""
    calibration, overall = load_calibration(), published().overall
    assert overall.p90_pct is not None
    assert calibration.left_out_p90 * 100 > overall.p90_pct
    assert calibration.left_out_median * 100 > overall.median_pct


def test_groups_hold_every_run_once() -> None:
    result = published()
    for groups in (result.by_precision, result.by_regime, result.by_source):
        assert sum(group.runs for group in groups.values()) == result.overall.runs == len(result.comparisons)
    assert all(abs(a.error_pct) >= abs(b.error_pct) for a, b in zip(result.worst, result.worst[1:], strict=False))


def test_errors_are_signed_percent_of_the_observed() -> None:
    run = published_runs()[0]
    [first] = validate_runs([run]).comparisons
    seconds = first.prediction.step_time_s
    assert seconds is not None
    [half] = validate_runs([replace(run, observed_step_time_s=seconds / 2)]).comparisons
    assert half.error_pct == pytest.approx(100)


@given(st.lists(st.floats(-100, 1000), min_size=1, max_size=30))
def test_summaries(errors: list[float]) -> None:
    summary = summarise(errors)
    absolute = sorted(abs(e) for e in errors)
    assert absolute[0] <= summary.median_pct <= absolute[-1]
    assert (summary.p90_pct is None) == (len(errors) < 3)
    assert summary.p90_pct is None or summary.median_pct <= summary.p90_pct * (1 + 1e-12)


def test_nothing_to_compare_is_one_sentence() -> None:
    with pytest.raises(InputError, match="no run states a step time"):
        validate_runs([replace(published_runs()[0], observed_step_time_s=None)])


def test_the_page_holds_the_figures() -> None:
    text = markdown_text(published())
    assert f"{load_calibration().left_out_p90 * 100:.1f} %" in text
    assert all(miss.run.id in text for miss in published().worst)
