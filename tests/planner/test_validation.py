"""How far predictions lie from published runs. These bounds guard against regressions; the real numbers, with
each source left out of its own calibration, are in docs/validation.md."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import validation
from planner.runs.rows import later_runs, published_runs
from planner.runs.training_run import TrainingRun
from planner.validation import Validation, known_misses, summarise, unseen_errors, validate_runs
from planner.validation_text import figure_address, markdown_text
from profiler.files import InputError
from sim.calibration import load_calibration
from tests.planner.rows import read


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


def test_runs_that_the_fit_did_not_see_are_told_beside_those_that_it_saw() -> None:
    """Nothing of later runs is among the published ones, whose errors a fit flatters."""
    unseen, calibration = unseen_errors(), load_calibration()
    ids = {run.id for run in published_runs("all")}
    later = [run for run in later_runs() if isinstance(run, TrainingRun)]
    assert not ids & {run.id for run in later}
    assert unseen.later.runs == len([run for run in later if run.observed_step_time_s])
    assert unseen.later.p90_pct == pytest.approx(100 * calibration.later_p90, abs=0.01)
    assert unseen.left_out_p90_pct == pytest.approx(100 * calibration.left_out_p90)
    assert unseen.later.median_pct > published().overall.median_pct


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


def test_the_page_says_what_the_time_stands_on() -> None:
    shares = published().kernel_shares
    assert shares.published + shares.guessed == pytest.approx(1)
    assert published().to_dict()["kernel_shares"] == {
        "measured": 0, "interpolated": 0, "published": shares.published, "guessed": shares.guessed
    }  # fmt: skip
    assert shares.text() in markdown_text(published())


def test_reasons_are_of_runs_that_there_are() -> None:
    ids = {run.id for run in (*published_runs("all"), *later_runs())}
    assert set(known_misses()) <= ids
    assert all(text.count("\n") == 0 and text.strip() for text in known_misses().values())


def test_a_miss_says_why_or_where_the_time_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = published().worst[:2]
    monkeypatch.setattr(validation, "known_misses", lambda: {first.run.id: "Paged | to disk."})
    assert first.why == "Paged | to disk."
    parts = second.prediction.parts_s
    computing = ("matmul", "attention", "elementwise", "head", "recompute")
    largest = max((name for name in parts if name not in computing), key=lambda name: parts[name])
    assert largest.replace("_", " ") in second.why
    row = next(line for line in markdown_text(published()).splitlines() if line.startswith(f"| {first.run.id} |"))
    assert row.endswith("| Paged \\| to disk. |")


def test_what_nobody_states_is_a_band() -> None:
    """Llama 3 405B does not state its virtual stages, MegaScale not its micro-batch."""
    page = markdown_text(published())
    table = page[page.index("## Where the layout is not wholly stated") : page.index("## Constants")]
    for c in published().comparisons:
        assert (c.run.id in table) == bool(c.run.other_layouts) == (c.band_s is not None)
        if c.band_s:
            low, high = c.band_s
            assert low <= (c.prediction.step_time_s or 0) <= high
            assert f"| {low:.3f} to {high:.3f} |" in table
    assert table.count("llama3-herd-405b") == 3
    assert re.search(r"megascale\S+ \|[^|]+\| micro-batch 1, 2", table)
    stated = validate_runs([c.run for c in published().comparisons if not c.run.other_layouts][:5])
    assert "not stated" not in markdown_text(stated).split("## Constants")[0].split("worst misses\n")[1]


def test_the_figure_is_found_from_the_page(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "validation.md"
    assert figure_address(tmp_path / "docs" / "validation.svg", page) == "validation.svg"
    assert figure_address(tmp_path / "a b" / "v(1).svg", page) == "../a%20b/v%281%29.svg"
    assert "](validation.svg)" in markdown_text(published(), "validation.svg")
    assert "![" not in markdown_text(published())


def test_rows_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    rows = read(tmp_path, {"id": "timed", "step_time_s": "8"}, {"id": "untimed"}, {"id": "odd", "step_time_s": "-3"})
    found = validate_runs(rows)
    assert [c.run.id for c in found.comparisons] == ["timed"]
    assert [sentence.split(":")[0] for sentence in found.passed_over] == ["untimed", "odd"]
    assert found.to_dict()["passed_over"] == list(found.passed_over)


def test_ones_own_runs_are_not_called_fitted(tmp_path: Path) -> None:
    found = validate_runs(read(tmp_path, {"step_time_s": "8"}))
    page = markdown_text(found, fitted=False)
    assert "Fitted" not in page
    assert "left out" not in page
    assert "# Predicted against observed" in page
