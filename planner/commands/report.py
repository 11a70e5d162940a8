"""`herdplan report`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from planner.commands.shared import JsonOption, SettingsOption, make_plans, overrides, requests, sentences, write_json
from profiler.files import InputError, write_atomic


def report(
    file: Annotated[list[Path], typer.Argument(help="Plan files (TOML).")],
    format_: Annotated[str, typer.Option("--format", help="html or json.")] = "html",
    out: Annotated[
        Path | None, typer.Option(help="Where to write; beside the plan's name under out/ if not given.")
    ] = None,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """Write a report of one or more plans that opens offline."""
    with sentences():
        if format_ not in ("html", "json"):
            from profiler.files import nearest

            raise InputError(f"format '{format_}' cannot be written; {nearest(format_, ('html', 'json'))}")
        plans = make_plans(requests(file, overrides({}, settings or [])))
        target = out or Path("out") / f"{file[0].stem}.{format_}"
        if format_ == "html":
            from planner.report.html import render_html

            write_atomic(target, render_html(plans))
        else:
            data: list[Any] = [one.to_dict() for one in plans]
            write_json(str(target), data[0] if len(data) == 1 else data)
        if json_to:
            write_json(json_to, {"report": str(target), "format": format_, "plans": [one.name for one in plans]})
        if json_to != "-":
            typer.echo(f"Report written to {target}")
