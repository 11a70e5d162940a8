"""`herdplan estimate` and `herdplan validate`: predictions beside published runs."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import JsonOption, check_figure, sentences, write_json
from profiler.files import InputError, write_atomic


def estimate(
    runs: Annotated[Path, typer.Option(help="Runs file (CSV), columns as in planner/published_runs.csv.")],
    out: Annotated[Path, typer.Option(help="Predictions file (CSV) to write; - for the terminal.", allow_dash=True)],
    json_to: JsonOption = "",
) -> None:
    """Predict one optimizer step for every row of a runs file."""
    with sentences():
        from planner.runs.estimate import estimate_runs, predictions_csv
        from planner.runs.rows import column_sentences, read_runs

        shown = str(out) == "-"
        if not shown and out.exists() and runs.exists() and out.samefile(runs):
            raise InputError(f"--out is {out}, the runs file itself; give another name.")
        predictions = estimate_runs(list(read_runs(runs)))
        twice = [name for name, rows in Counter(p.id for p in predictions).items() if rows > 1]
        for sentence in (*column_sentences(runs), *(f"id '{name[:40]}' stands more than once" for name in twice)):
            typer.echo(f"{runs}: {sentence}", err=True)
        if shown:
            typer.echo(predictions_csv(predictions), nl=False)
        else:
            write_atomic(out, predictions_csv(predictions))
        if json_to:
            write_json(json_to, [p.row() for p in predictions])
        unread = sum(p.step_time_s is None for p in predictions)
        if predictions and unread == len(predictions):
            raise InputError(f"{runs}: no row could be predicted; {predictions[0].id}: {predictions[0].note}")
        if json_to != "-":
            typer.echo(
                f"{len(predictions) - unread} of {len(predictions)} rows predicted"
                + ("" if shown else f", written to {out}")
                + (f"; {unread} could not be, see their notes." if unread else "."),
                err=shown,
            )


def validate(
    runs: Annotated[
        Path | None, typer.Option(help="Runs file (CSV); the published runs that ship if not given.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the whole comparison as Markdown here.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw every run's error by source here (SVG).")] = None,
    json_to: JsonOption = "",
) -> None:
    """Compare predictions with published runs: error overall, by regime and by source."""
    with sentences():
        from planner.runs.rows import column_sentences, published_runs, read_runs
        from planner.validation import unseen_errors, validate_runs

        check_figure(figure)
        result = validate_runs(published_runs("scored") if runs is None else list(read_runs(runs)))
        for sentence in column_sentences(runs) if runs else ():
            typer.echo(f"{runs}: {sentence}", err=True)
        unseen = unseen_errors() if runs is None else None
        if json_to:
            write_json(json_to, {**result.to_dict(), **({"unseen": asdict(unseen)} if unseen else {})})
        if markdown:
            from planner.validation_text import figure_address, markdown_text

            address = figure_address(figure, markdown) if figure else ""
            write_atomic(markdown, markdown_text(result, address, fitted=runs is None))
        if figure:
            from planner.report.svg import plain_svg
            from planner.report.trust import validation_by_source
            from sim.calibration import load_calibration

            left_out = load_calibration().left_out_by_source if runs is None else {}
            write_atomic(figure, plain_svg(validation_by_source(result, left_out)))
        if json_to != "-":
            from planner.terminal import print_validation

            print_validation(result, unseen)
            for what, path in (("Markdown", markdown), ("Figure", figure), ("JSON", json_to)):
                if path:
                    typer.echo(f"{what}: {path}")
