"""The fit of the shared constants: it finds what it should, stays near its priors, and ships what it wrote."""

import math
import tomllib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from planner.calibrate import errors_pct, fit, fit_part, later_p90, other_part_p90_pct, part_left_out_p90, toml_text
from planner.runs.estimate import run_cases
from planner.runs.rows import later_runs, part_runs, published_runs
from planner.runs.training_run import TrainingRun
from profiler.files import validated
from sim.calibration import Calibration, load_calibration
from sim.hardware import load_gpu, names
from sim.step import step_times


@cache
def runs() -> tuple[TrainingRun, ...]:
    return tuple(published_runs()[::6])


def predicted_by(constants: dict[str, float]) -> list[TrainingRun]:
    """The runs as they would have been observed were these constants true."""
    seconds = step_times(run_cases(runs(), constants)).total
    return [replace(run, observed_step_time_s=float(s)) for run, s in zip(runs(), seconds, strict=True)]


@cache
def only(*names: str) -> Calibration:
    """The calibration with all but some constants held."""
    calibration = load_calibration()
    held = {
        name: c if name in names else replace(c, spread=1e-6, prior=c.value)
        for name, c in calibration.constants.items()
    }
    return replace(calibration, constants=held)


def test_runs_that_follow_the_constants_leave_no_error() -> None:
    constants = load_calibration().values()
    assert np.abs(errors_pct(predicted_by(constants), constants)).max() < 1e-9


def test_the_fit_finds_the_constant_that_made_the_runs() -> None:
    """Runs made with an H100 5 % slower than expected are explained by one; the prior keeps a fifth or so,
    because runs of one source share an error."""
    prior = load_calibration().constants["matmul_h100"].prior
    truth = {**load_calibration().values(), "matmul_h100": 0.95 * prior}
    found = fit(predicted_by(truth), only("matmul_h100"))
    assert 0.95 * prior <= found["matmul_h100"] < 0.965 * prior


def test_one_odd_run_does_not_pull() -> None:
    """A soft L1 likelihood (Huber 1964): a run ten times too slow moves the constant by less than 1 %, where
    least squares over as many runs would move it by some 8 %."""
    truth = load_calibration().values()
    odd = predicted_by(truth)
    slow = next(i for i, run in enumerate(odd) if run.gpu.kernels == "h100")
    odd[slow] = replace(odd[slow], observed_step_time_s=10 * (odd[slow].observed_step_time_s or 1.0))
    found = fit(odd, only("matmul_h100"))
    straight = fit(predicted_by(truth), only("matmul_h100"))
    assert found["matmul_h100"] == pytest.approx(straight["matmul_h100"], rel=0.01)


def test_without_runs_that_speak_of_it_a_constant_stays_where_it_was_expected() -> None:
    h100 = [run for run in predicted_by(load_calibration().values()) if run.gpu.kernels == "h100"]
    found = fit(h100, only("matmul_a100"))
    assert found["matmul_a100"] == pytest.approx(load_calibration().constants["matmul_a100"].prior, rel=1e-6)


def test_the_file_that_ships_reads_back() -> None:
    calibration = load_calibration()
    data = tomllib.loads(toml_text(calibration))
    again = validated(data, Calibration, source="test")
    assert again.fitted_on == calibration.fitted_on
    assert again.left_out_p90 == pytest.approx(calibration.left_out_p90, abs=1e-4)
    assert set(again.constants) == set(calibration.constants)
    for name, constant in again.constants.items():
        assert constant.value == pytest.approx(calibration.constants[name].value, rel=1e-5)


def test_the_constants_that_ship_explain_the_runs_better_than_what_was_expected() -> None:
    calibration = load_calibration()
    expected = {name: constant.prior for name, constant in calibration.constants.items()}
    scored = published_runs()
    fitted, prior = (np.median(np.abs(errors_pct(scored, c))) for c in (calibration.values(), expected))
    assert fitted < prior


def test_few_constants_for_many_runs() -> None:
    """A fit of as many constants as runs would explain anything."""
    constants, scored = load_calibration().constants, published_runs()
    assert len(constants) < 0.1 * len(scored)
    at_a_bound = [n for n, c in constants.items() if abs(math.log(c.value / c.prior)) / c.spread > 2.99]
    assert len(at_a_bound) <= 3, at_a_bound


def test_what_another_part_may_expect_is_what_the_a100_would_have_been_missed_by() -> None:
    shipped = load_calibration()
    expected = other_part_p90_pct(published_runs(), shipped.values()) / 100
    assert shipped.other_part_p90 == pytest.approx(expected, rel=0.01)
    assert shipped.other_part_p90 > shipped.unseen_p90


def test_the_constants_serve_runs_that_they_were_not_fitted_to() -> None:
    """Better than what was expected of them before, and no run is among both."""
    calibration, later = load_calibration(), later_runs()
    expected = {name: constant.prior for name, constant in calibration.constants.items()}
    fitted, prior = (np.median(np.abs(errors_pct(later, c))) for c in (calibration.values(), expected))
    assert fitted < prior
    assert calibration.later_p90 == pytest.approx(later_p90(calibration.values()), rel=0.01)
    assert calibration.unseen_p90 >= calibration.left_out_p90
    assert not {run.id for run in later} & {run.id for run in published_runs("all")}


# Parts whose rate alone is fitted


def test_a_part_that_no_run_was_fitted_on_is_told_from_one_whose_rate_was() -> None:
    """B200 and GB200 run their published runs; no scored run is on either, and an RTX 4090 has neither."""
    shipped, by_part = load_calibration(), part_runs()
    assert set(by_part) == set(shipped.part_left_out_p90) == {load_gpu(name).fitted for name in names("gpus")} - {""}
    assert not any(run.gpu.fitted for run in published_runs("all"))
    assert all(run.gpu.fitted == part for part, own in by_part.items() for run in own)
    assert all(len({run.source_id for run in own}) > 1 for own in by_part.values())


def test_the_rate_of_a_part_is_fitted_to_its_runs_and_nothing_else_is() -> None:
    shipped = load_calibration()
    constants = shipped.values()
    for part, own in part_runs().items():
        name = f"matmul_{part}"
        found = fit_part(own, shipped, {**constants, name: 0.9}, name)
        assert found[name] == pytest.approx(constants[name], rel=1e-3)
        assert {**found, name: 0.0} == {**constants, name: 0.0}
        left_out = part_left_out_p90(own, shipped, constants, name)
        assert shipped.part_left_out_p90[part] == pytest.approx(left_out, rel=0.01)
        fitted, before = (np.median(np.abs(errors_pct(own, c))) for c in (found, {**constants, name: 0.71}))
        assert fitted < before / 2


def test_a_faster_part_is_faster_by_no_more_than_its_peak() -> None:
    """What a B200 sustains is a smaller share of its peak than what an H100 does: power, not units, limits it."""
    constants = load_calibration().constants
    peaks = {name: load_gpu(name).peak_bf16_flops for name in ("h100-sxm", "b200-sxm", "gb200")}
    h100, b200, gb200 = (constants[f"matmul_{part}"].value for part in ("h100", "b200", "gb200"))
    assert gb200 < b200 < h100
    assert h100 * peaks["h100-sxm"] < b200 * peaks["b200-sxm"]
    assert gb200 * peaks["gb200"] == pytest.approx(b200 * peaks["b200-sxm"], rel=0.05)
