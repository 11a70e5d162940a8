"""`herdplan report`."""

from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import JsonOption, SettingsOption, make_plans, overrides, sentences, write_json
from profiler.files import InputError, nearest, write_atomic


def report(
    file: Annotated[list[Path], typer.Argument(help="Plan files (TOML); several stand side by side.")],
    format_: Annotated[
        str, typer.Option("--format", help="html, pdf, xlsx, md, csv or json; else as --out ends, else html.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Where to write; under out/ by the first plan's name if not given.")
    ] = None,
    date: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="Print this date; without one there is none.")] = "",
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """Write a report of one or more plans: a page to decide on, the detail, every assumption, the plan files."""
    with sentences():
        from planner.report.formats import FORMATS, check_date, check_ending, write_report

        kind = format_ or (out.suffix.removeprefix(".") if out else "") or "html"
        if kind not in FORMATS:
            raise InputError(f"format '{kind}' cannot be written; {nearest(kind, FORMATS)}")
        if out:
            check_ending(out, kind)
        if date:
            check_date(date)
        plans = make_plans(file, overrides({}, settings or []))
        target = out or Path("out") / f"{file[0].stem}.{kind}"
        write_atomic(target, write_report(plans, kind, date=date))
        if json_to:
            write_json(json_to, {"report": str(target), "format": kind, "plans": [one.name for one in plans]})
        if json_to != "-":
            typer.echo(f"Report written to {target}")
