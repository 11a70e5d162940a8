"""`herdplan simulate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.commands.shared import (
    INTERRUPTED,
    JsonOption,
    SettingsOption,
    overrides,
    requests,
    sentences,
    write_json,
)

if TYPE_CHECKING:
    from planner.campaign.simulation import Simulation


def simulate(
    file: Annotated[Path, typer.Argument(help="Plan file (TOML).")],
    seed: Annotated[int, typer.Option(help="Same seed, same campaign.")] = 1,
    replicas: Annotated[int, typer.Option(min=1, help="Independent campaigns.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes of this machine to spread them over.")] = 1,
    scheduler: Annotated[
        str, typer.Option(help="Dask scheduler whose workers run them, such as tcp://10.0.0.1:8786.")
    ] = "",
    export: Annotated[
        Path | None, typer.Option(help="Folder for every table and figure (SVG) of the median campaign.")
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Tables of --export as Parquet instead of CSV.")] = False,
    events: Annotated[Path | None, typer.Option(help="Event log of the median campaign, .csv or .parquet.")] = None,
    hours: Annotated[Path | None, typer.Option(help="Its hours: power, energy, tokens; .csv or .parquet.")] = None,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """Simulate the campaign of a plan with its failures, replica by replica, and say where the time went."""
    with sentences(file):
        from planner.campaign.files import check_path
        from planner.campaign.simulation import simulate_plan
        from planner.campaign.text import distribution_lines, explained, interrupted_line, median_line, summary_line
        from planner.progress import progress
        from planner.terminal import console

        for path in (events, hours, Path("x.parquet") if parquet else None):
            if path:
                check_path(path)
        [request] = requests([file], overrides({}, settings or []))
        with progress("Simulating", replicas) as done:
            result = simulate_plan(
                request, seed=seed, replicas=replicas, workers=workers, scheduler=scheduler, done=done
            )
        if interrupted_line(result):
            typer.echo(interrupted_line(result), err=True)
        _write(result, export, events, hours, "parquet" if parquet else "csv")
        if json_to:
            write_json(json_to, result.to_dict())
        if json_to != "-":
            screen = console()
            for text in (
                "\n".join((summary_line(result), *distribution_lines(result))),
                f"\n{median_line(result)}{explained(result.median, result.scenario.setup)}",
                *((f"\nTables and figures: {export}",) if export else ()),
            ):
                screen.print(text, markup=False, emoji=False)
    if interrupted_line(result):
        raise typer.Exit(INTERRUPTED)


def _write(result: "Simulation", folder: Path | None, events: Path | None, hours: Path | None, ending: str) -> None:
    """The tables and figures asked for."""
    from planner.campaign.files import event_frame, hour_frame, write_table

    start = result.scenario.start
    if folder:
        from planner.campaign.files import write_folder

        write_folder(result, folder, ending)
    if events:
        write_table(event_frame(result.median, start), events)
    if hours:
        write_table(hour_frame(result.median, start), hours)
