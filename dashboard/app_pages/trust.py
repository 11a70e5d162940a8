"""Can I trust it? Predicted against published, and every assumption with its source."""

from functools import partial

import streamlit as st

from dashboard import ui
from dashboard.assumption_list import assumption_list
from dashboard.plans import validation
from dashboard.uploads import read_runs_upload
from planner.quantities import percent, significant
from planner.report import words
from planner.report.trust import error_table, run_table, validation_by_source, validation_errors, validation_scatter
from planner.runs.estimate import estimate_runs, predictions_csv
from planner.validation import Validation, later_validation
from sim.calibration import load_calibration

MOST_UNREAD = 5
MOST_SHOWN = 100


def _published(result: Validation) -> None:
    look = ui.theme()
    left, right = st.columns(2, gap="large")
    with left:
        ui.chart("validation-scatter", validation_scatter(result, look, "container"), partial(run_table, result))
        ui.heading("Error by regime, worst first")
        _regimes(result)
    with right:
        ui.chart("validation-errors", validation_errors(result, look, "container"), partial(run_table, result))
        ui.heading("The worst misses")
        misses = [[c.run.id, c.run.source_id, percent(c.error_pct / 100, 0, signed=True)] for c in result.worst[:8]]
        ui.rows([("Run", False), ("Source", False), ("Error", True)], misses)
    left_out = load_calibration().left_out_by_source
    by_source = validation_by_source(result, left_out, look, "container")
    ui.chart(
        "validation-sources",
        by_source,
        partial(error_table, result.by_source, "Source", left_out),
    )


PLAIN = ("single", "small", "mid", "large", "long", "context", "longseq", "schedules")


def _regime(name: str) -> str:
    """`fsdp_small` → `FSDP small`: what is no plain word is an abbreviation."""
    return " ".join(word if word in PLAIN else word.upper() for word in name.split("_"))


def _regimes(result: Validation) -> None:
    """The errors of each regime as texts; of few runs nothing is said of nine in ten."""
    cells = [
        [_regime(name), f"{runs}", f"{median:.1f} %", "" if p90 != p90 else f"{p90:.1f} %"]
        for name, runs, median, p90, _ in error_table(result.by_regime).itertuples(index=False)
    ]
    columns = [("Regime", False), ("Runs", True), ("Half within", True), ("Nine in ten", True)]
    ui.rows(columns, cells)


def _take(content: bytes, name: str) -> None:
    st.session_state.runs = read_runs_upload(content, name)


def _own_runs() -> None:
    """The step model against the person's own runs."""
    ui.heading("Your own runs")
    ui.note(
        "A CSV file with columns as in planner/published_runs.csv: what ran, on what, and what a step took. It stays "
        "in this session."
    )
    ui.upload("Runs (CSV)", "csv", "runs_upload", _take)
    if "runs" not in st.session_state:
        return
    runs, unread, said = st.session_state.runs
    for sentence in said:
        ui.note(words.sentence(sentence))
    for row in unread[:MOST_UNREAD]:
        ui.note(f"{row.id}: {row.note}")
    if len(unread) > MOST_UNREAD:
        ui.note(f"And {len(unread) - MOST_UNREAD} more rows that are not predicted.")
    predictions = estimate_runs(runs)
    cells = []
    for run, found in zip(runs, predictions, strict=True):
        seen, said = run.observed_step_time_s, found.step_time_s
        error = percent(said / seen - 1, signed=True) if seen and said else ""
        texts = [f"{significant(value)} s" if value else "not stated" for value in (seen, said)]
        cells.append([run.id, *texts, error, found.note])
    columns = [("Run", False), ("Observed", True), ("Predicted", True), ("Error", True), ("Note", False)]
    ui.rows(columns, cells[:MOST_SHOWN])
    if len(cells) > MOST_SHOWN:
        ui.note(f"The first {MOST_SHOWN} of {len(cells)} rows; the file below has all.")
    st.download_button("All predictions (CSV)", predictions_csv(predictions), "predictions.csv", "text/csv")


with st.spinner("Predicting the published runs …"):
    result = validation()
overall, later = result.overall, later_validation().overall
ui.answer(
    f"Of {later.runs} published runs to which no constant was fitted, the step model misses half by less than "
    f"{significant(later.median_pct, 2)} % and nine in ten by less than {significant(later.p90_pct or 0.0, 2)} %."
)
ui.note(
    f"Of the {overall.runs} that its constants were fitted to, shown below, half are missed by less than "
    f"{significant(overall.median_pct, 2)} % and nine in ten by less than {significant(overall.p90_pct or 0.0, 2)} % "
    f"({words.share(load_calibration().left_out_p90)} with each source left out of its own fit). Some "
    "habits of frameworks and machines were looked up because of the former."
)
_published(result)
_own_runs()
ui.heading("Every assumption of this plan")
plan = ui.chosen_plan()
assumption_list(plan.assumptions, "shown")
ui.note(" · ".join(f"{key.replace('_', ' ')}: {value}" for key, value in plan.provenance.items()))
