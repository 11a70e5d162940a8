"""`herdplan simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import JsonOption, SettingsOption, overrides, requests, sentences, write_json


def simulate(
    file: Annotated[Path, typer.Argument(help="Plan file (TOML).")],
    seed: Annotated[int, typer.Option(help="Same seed, same campaign.")] = 1,
    replicas: Annotated[int, typer.Option(min=1, help="Independent campaigns.")] = 1,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """Simulate the campaign of a plan with its failures, replica by replica."""
    with sentences():
        from planner.simulation import simulate_plan, summary_line

        [request] = requests([file], overrides({}, settings or []))
        result = simulate_plan(request, seed=seed, replicas=replicas)
        if json_to:
            write_json(json_to, result)
        if json_to != "-":
            typer.echo(summary_line(result))
