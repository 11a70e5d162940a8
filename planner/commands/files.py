"""`herdplan init`, `herdplan explain` and `herdplan diff`: plans as files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import JsonOption, SettingsOption, make_plans, overrides, sentences, write_json
from profiler.files import InputError, write_atomic


def init(
    file: Annotated[Path, typer.Argument(help="Plan file to write, or - for the screen.")] = Path("plan.toml"),
    model: Annotated[str, typer.Option(help="Model name or TOML file.")] = "llama3.1-70b",
    tokens: Annotated[str, typer.Option(help="Training tokens, such as 15.6T.")] = "15T",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a plan file with every key, its default and a comment."""
    with sentences():
        from planner.plan_file import parse_plan_request
        from planner.template import template
        from profiler.architecture import load_architecture

        text = template(model, tokens)
        load_architecture(parse_plan_request(text, source="the new plan").model)
        if str(file) == "-":
            sys.stdout.write(text)
            return
        if file.exists() and not force:
            raise InputError(f"{file}: is there already; give another name, or --force to write over it.")
        write_atomic(file, text)
        typer.echo(f"Written to {file}. Next: herdplan plan {file}")


def explain(
    file: Annotated[Path, typer.Argument(help="Plan file (TOML).")],
    number: Annotated[
        str, typer.Option("--why", metavar="NUMBER", help="Follow one number down, such as cost_usd.")
    ] = "",
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """Show every key of a plan and where its value comes from, or follow one number down to its sources."""
    with sentences(file):
        from planner.explain import read_taken
        from planner.plan import make_plan
        from planner.why import why

        request, rows = read_taken(file, overrides({}, settings or []))
        plan = make_plan(request)
        reason = why(plan, number) if number else None
        if json_to and reason:
            write_json(json_to, reason.to_dict())
        elif json_to:
            keys, assumptions = [row.to_dict() for row in rows], [a.to_dict() for a in plan.assumptions]
            write_json(json_to, {"name": plan.name, "keys": keys, "assumptions": assumptions})
        if json_to != "-":
            from planner.decide.text import print_taken, print_why

            print_why(reason) if reason else print_taken(rows, plan)


def diff(
    first: Annotated[Path, typer.Argument(help="Plan file (TOML).")],
    second: Annotated[Path, typer.Argument(help="The plan file to compare it with.")],
    json_to: JsonOption = "",
) -> None:
    """Compare two plans, assumption by assumption and result by result, and what each change does alone."""
    with sentences():
        from planner.decide.diff import diff_plans

        a, b = make_plans([first, second], [])
        found = diff_plans(a, b)
        if json_to:
            write_json(json_to, found.to_dict())
        if json_to != "-":
            from planner.decide.text import print_diff

            print_diff(found)
