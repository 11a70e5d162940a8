"""`herdplan place`, `herdplan when` and `herdplan cap`: where, when and with how much power."""

from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import JsonOption, SettingsOption, overrides, requests, sentences, write_json
from profiler.files import InputError

PlanFile = Annotated[Path, typer.Argument(help="Plan file (TOML).")]
KeepOption = Annotated[int, typer.Option(min=1, help="How many to show.")]


def place(
    file: PlanFile,
    goal: Annotated[str, typer.Option("--for", help="cost, carbon or water.")] = "cost",
    keep: KeepOption = 10,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """Where a plan costs, emits or evaporates least: countries, US states and cloud regions, or vendors of rent."""
    with sentences(file):
        from planner.decide.places import rank_places

        [request] = requests([file], overrides({}, settings or []))
        ranking = rank_places(request, goal)  # type: ignore[arg-type]  # checked there
        if json_to:
            write_json(json_to, ranking.to_dict())
        if json_to != "-":
            from planner.decide.site_text import print_places

            print_places(ranking, keep, request)


def when(
    file: PlanFile,
    goal: Annotated[str, typer.Option("--for", help="cost or carbon.")] = "cost",
    within_days: Annotated[int, typer.Option(help="How far from the plan's first day to look.")] = 365,
    every_days: Annotated[int, typer.Option(help="Days between two first days that are tried.")] = 7,
    keep: KeepOption = 10,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """When a plan costs or emits least: the best first day."""
    with sentences(file):
        from planner.decide.starts import rank_starts
        from planner.progress import progress

        [request] = requests([file], overrides({}, settings or []))
        with progress("first days", within_days // max(every_days, 1) + 1) as done:
            ranking = rank_starts(request, goal, within_days=within_days, every_days=every_days, done=done)  # type: ignore[arg-type]  # checked there
        if json_to:
            write_json(json_to, ranking.to_dict())
        if json_to != "-":
            from planner.decide.site_text import print_starts

            print_starts(ranking, keep, request)


def cap(
    file: PlanFile,
    goal: Annotated[str, typer.Option("--for", help="cost, energy, carbon or time.")] = "cost",
    caps: Annotated[str, typer.Option("--watts", help="Caps on each GPU, such as 400,500,600.")] = "",
    limits: Annotated[str, typer.Option("--site-mw", help="Limits of the site instead, such as 12,14,16.")] = "",
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """What a lower power cap on every GPU, or a limit of the site, does to time, energy and money; which is best."""
    with sentences(file):
        from planner.decide.power_cap import CAPS, sweep_caps, sweep_limits
        from planner.progress import progress

        [request] = requests([file], overrides({}, settings or []))
        watts, megawatts = _numbers("--watts", caps), _numbers("--site-mw", limits)
        if watts and megawatts:
            raise InputError("--watts and --site-mw cannot be given together; one of them is needed.")
        with progress("power caps", len(watts or megawatts) + 1 if watts or megawatts else CAPS + 1) as done:
            if megawatts:
                sweep = sweep_limits(request, megawatts, goal=goal, done=done)  # type: ignore[arg-type]  # checked there
            else:
                sweep = sweep_caps(request, goal=goal, caps_w=watts, done=done)  # type: ignore[arg-type]  # checked there
        if json_to:
            write_json(json_to, sweep.to_dict())
        if json_to != "-":
            from planner.decide.site_text import print_caps

            print_caps(sweep)


def _numbers(option: str, text: str) -> list[float]:
    """`400,500` as numbers above 0, of at most a million."""
    try:
        found = [float(word) for word in text.split(",")] if text else []
    except ValueError:
        found = [-1.0]
    if any(not 0 < number < 1e6 for number in found):
        raise InputError(f"{option} is '{text}'; a number above 0 such as 500, or several with commas, is needed.")
    return found
