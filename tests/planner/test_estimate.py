"""Predictions of a runs file: every published row, the same as the step model's, safe in a spreadsheet."""

import csv
import io
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.runs.estimate import COLUMNS, Prediction, defused, estimate_runs, predictions_csv
from planner.runs.rows import PUBLISHED_RUNS, published_runs, read_runs
from planner.runs.training_run import TrainingRun, UnreadableRun


@cache
def published() -> list[tuple[TrainingRun | UnreadableRun, Prediction]]:
    rows = list(read_runs(PUBLISHED_RUNS))
    return list(zip(rows, estimate_runs(rows), strict=True))


def test_every_published_row_is_predicted_or_noted_in_order() -> None:
    for row, prediction in published():
        assert prediction.id == row.id
        if isinstance(row, UnreadableRun):
            assert (prediction.step_time_s, prediction.note) == (None, row.note)
        else:
            assert prediction.step_time_s is not None


def test_no_prediction_beats_the_datasheet() -> None:
    for row, p in published():
        if not isinstance(row, TrainingRun):
            continue
        assert p.step_time_s is not None
        assert p.tokens_per_s_per_gpu is not None
        peak = row.gpu.peak_bf16_flops if row.precision != "fp8" else row.gpu.peak_fp8_flops
        flops = row.architecture.flops_per_token(row.seq_len, "causal")
        assert flops * p.tokens_per_s_per_gpu < (peak or 0.0), row.id
        assert p.tokens_per_s_per_gpu * p.step_time_s * row.layout.gpus == pytest.approx(
            row.global_batch * row.seq_len
        )
        assert row.gpu.idle_power_w <= (p.gpu_power_w or 0) <= row.gpu.tdp_w
        assert (p.node_power_w or 0) > row.gpus_per_node * (p.gpu_power_w or 0)
        assert (p.peak_mem_gib or 0) <= row.gpu.memory_gib or not p.fits or "memory is tight" in p.note
        assert p.fits or "peak memory" in p.note


def test_mfu_is_of_the_noncausal_flops_against_the_16_bit_peak() -> None:
    """One convention for all rows, so that fp8 and bf16 can be compared: by hand for one row."""
    row, p = next(pair for pair in published() if pair[0].id == "dgxc-v24.11.1-llama3.1-8b-bf16-8")
    assert isinstance(row, TrainingRun)
    assert p.mfu_pct is not None
    assert p.tokens_per_s_per_gpu is not None
    per_token = 6 * (32 * 218_103_808 + 128_256 * 4096) + 12 * 32 * 4096 * row.seq_len
    assert p.mfu_pct == pytest.approx(100 * per_token * p.tokens_per_s_per_gpu / 989.4e12)


def test_mfu_is_what_the_published_runs_are_compared_by_in_fp8_too() -> None:
    """Theirs is of the 16-bit peak in any precision; the peak stands beside the prediction."""
    with PUBLISHED_RUNS.open(newline="") as file:
        stated = {row["id"]: row for row in csv.DictReader(file)}
    compared = 0
    for row, p in published():
        uniform, rate = (stated[row.id][name] for name in ("mfu_uniform_noncausal_pct", "tokens_per_s_per_gpu"))
        if isinstance(row, UnreadableRun) or row.precision != "fp8" or not (uniform and rate):
            continue
        assert p.mfu_pct is not None
        assert p.tokens_per_s_per_gpu is not None
        assert p.mfu_pct / p.tokens_per_s_per_gpu == pytest.approx(float(uniform) / float(rate), rel=0.002)
        assert p.mfu_peak_tflops == pytest.approx(row.gpu.peak_bf16_flops / 1e12)
        compared += 1
    assert compared >= 20


def test_rows_are_predicted_alike_alone_and_together() -> None:
    several = [row for row, _ in published()][::40]
    together = estimate_runs(several)
    for row, prediction in zip(several, together, strict=True):
        [alone] = estimate_runs([row])
        assert alone.id == prediction.id
        assert (alone.note, alone.fits) == (prediction.note, prediction.fits)
        figures = ("step_time_s", "tokens_per_s_per_gpu", "peak_mem_gib", "gpu_power_w", "node_power_w")
        for name in figures if alone.step_time_s is not None else ():
            assert getattr(alone, name) == pytest.approx(getattr(prediction, name), rel=1e-12)


def test_the_csv_has_the_published_columns_and_one_line_per_row() -> None:
    predictions = [prediction for _, prediction in published()]
    rows = list(csv.DictReader(io.StringIO(predictions_csv(predictions))))
    assert tuple(rows[0]) == COLUMNS
    assert COLUMNS[:9] == (
        "id", "pred_step_time_s", "pred_tokens_per_s_per_gpu", "pred_mfu_pct", "pred_peak_mem_gib",
        "pred_gpu_power_w", "pred_node_power_w", "fits", "note",
    )  # fmt: skip
    assert [row["id"] for row in rows] == [p.id for p in predictions]
    for row, p in zip(rows, predictions, strict=True):
        assert (row["pred_step_time_s"] == "") == (p.step_time_s is None)
        assert row["fits"] == ("" if p.fits is None else str(int(p.fits)))
        if p.step_time_s is not None:
            assert float(row["pred_step_time_s"]) == pytest.approx(p.step_time_s, rel=1e-5)


SHARES = ("share_measured", "share_interpolated", "share_published", "share_guessed")


def test_shares_of_the_time_come_last_and_add_up() -> None:
    """No profile stands behind a runs file: nothing is measured, and on parts of the H100's and the A100's kinds most
    of the time is kernels that others have timed."""
    assert COLUMNS[-4:] == SHARES
    rows = list(csv.DictReader(io.StringIO(predictions_csv([prediction for _, prediction in published()]))))
    for (run, _), row in zip(published(), rows, strict=True):
        if isinstance(run, UnreadableRun):
            assert {row[name] for name in SHARES} == {""}
            continue
        measured, interpolated, publicly, guessed = (float(row[name]) for name in SHARES)
        assert measured == interpolated == 0
        assert publicly + guessed == pytest.approx(1, abs=1e-5)
        assert publicly == 0 if run.gpu.kernels == "" else publicly > 0.5


START = st.sampled_from(["=", "+", "-", "@", "\t", ""])
TEXT = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=10)


@given(START, TEXT, START)
def test_no_cell_is_a_formula(start: str, text: str, other: str) -> None:
    """OWASP, CSV Injection: cells that begin with = + - @, tab or carriage return are run by spreadsheets."""
    written = predictions_csv([Prediction(id=start + text, note=other + text)])
    [row] = list(csv.DictReader(io.StringIO(written, newline="")))
    assert row["id"][:1] not in {*"=+-@\t"}
    assert row["note"][:1] not in {*"=+-@\t"}
    assert defused("\r" + text) == "'\r" + text


def test_harmless_cells_stay_as_they_are() -> None:
    assert [defused(text) for text in ("", "a=b", "llama-8b", "'x")] == ["", "a=b", "llama-8b", "'x"]
    assert defused("=HYPERLINK()") == "'=HYPERLINK()"


def test_a_step_is_the_sum_of_its_parts_and_above_its_floor() -> None:
    found = [prediction for _, prediction in published() if prediction.step_time_s]
    assert len(found) > 400
    for prediction in found:
        assert sum(prediction.parts_s.values()) == pytest.approx(prediction.step_time_s)
        assert prediction.floor_s is not None
        assert prediction.floor_s <= (prediction.step_time_s or 0.0)


def test_unstated_interleaving_is_a_band_and_a_stated_one_is_not() -> None:
    """Llama 3 405B does not state its virtual stages: from eight to none the step grows by tens of percent."""
    [herd] = [row for row in published_runs("all") if row.id == "llama3-herd-405b-16384"]
    [unstated] = estimate_runs([herd])
    [stated] = estimate_runs([replace(herd, other_virtual_stages=())])
    assert unstated.step_time_low_s == stated.step_time_low_s == stated.step_time_high_s == unstated.step_time_s
    assert (unstated.step_time_high_s or 0.0) > 1.2 * (unstated.step_time_s or 0.0)
