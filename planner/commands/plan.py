"""`herdplan plan`."""

from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import JsonOption, SettingsOption, make_plans, overrides, sentences, write_json
from profiler.files import write_atomic


def plan(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Plan files (TOML); several are set side by side.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model name or TOML file.")] = "",
    gpu: Annotated[str, typer.Option(help="GPU name or TOML file.")] = "",
    profile: Annotated[str, typer.Option(help="What this GPU was measured at (herdplan-profile run).")] = "",
    gpus: Annotated[int | None, typer.Option(help="How many GPUs.")] = None,
    tokens: Annotated[str, typer.Option(help="Training tokens, such as 15.6T.")] = "",
    price: Annotated[float | None, typer.Option(help="USD per GPU-hour, replacing the catalogue's range.")] = None,
    own: Annotated[bool, typer.Option("--own", help="Own the cluster instead of renting it.")] = False,
    grid: Annotated[str, typer.Option(help="Country, ISO code or provider:region.")] = "",
    electricity: Annotated[float | None, typer.Option(help="USD per kWh, replacing the tariff.")] = None,
    tflops_per_gpu: Annotated[float | None, typer.Option(help="Stated model TFLOP/s per GPU; no prediction.")] = None,
    effective_time: Annotated[float | None, typer.Option(help="Stated productive share of the time.")] = None,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
) -> None:
    """Plan a training run: days, dollars, megawatt-hours, and what they stand on."""
    with sentences():
        given = overrides(
            {
                "model": model,
                "cluster.gpu": gpu,
                "cluster.profile": profile,
                "cluster.gpus": gpus,
                "tokens": tokens,
                "money.price_usd_per_gpu_hour": price,
                "money.mode": "own" if own else None,
                "site.grid": grid,
                "site.electricity_usd_per_kwh": electricity,
                "stated.tflops_per_gpu": tflops_per_gpu,
                "stated.effective_time_ratio": effective_time,
            },
            settings or [],
        )
        if report:
            from planner.report.formats import check_ending, write_report

            check_ending(report, "html")
        plans = make_plans(files or [], given)
        if json_to:
            data = [one.to_dict() for one in plans]
            write_json(json_to, data[0] if len(data) == 1 else data)
        if report:
            write_atomic(report, write_report(plans, "html"))
        if json_to != "-":
            from planner.terminal import print_plans

            print_plans(plans, report)
