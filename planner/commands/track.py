"""`herdplan track`."""

from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import JsonOption, SettingsOption, overrides, requests, sentences, write_json


def track(
    file: Annotated[Path, typer.Argument(help="Plan file (TOML).")],
    log: Annotated[
        Path, typer.Option(help="CSV of the run: time (or time_s, time_h), tokens or steps, power_mw if known.")
    ],
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """Compare a run in progress with its plan: what the gap is made of, and when it will finish."""
    with sentences(file):
        from planner.plan import make_plan
        from planner.track_log import read_log
        from planner.tracking import track as follow

        [request] = requests([file], overrides({}, settings or []))
        found = follow(make_plan(request), read_log(log))
        if json_to:
            write_json(json_to, found.to_dict())
        if json_to != "-":
            from planner.decide.text import print_tracking

            print_tracking(found)
