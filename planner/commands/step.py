"""`herdplan step`."""

from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import (
    JsonOption,
    SettingsOption,
    check_figure,
    overrides,
    requests,
    sentences,
    write_json,
)
from profiler.files import InputError, write_atomic


def step(
    file: Annotated[Path, typer.Argument(help="Plan file (TOML).")],
    phase: Annotated[int | None, typer.Option(help="Which phase, from 1; the one with most tokens else.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Trace (JSON) for Perfetto or chrome://tracing.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Timeline of all stages (.svg).")] = None,
    jitter: Annotated[float, typer.Option(help="Each operation takes exp(jitter·|z|) times as long.")] = 0.0,
    straggler: Annotated[
        list[str] | None, typer.Option(metavar="STAGE=FACTOR", help="A slower stage, such as 3=1.1.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same jitter.")] = 1,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """Simulate one optimizer step of a plan event by event, beside the closed form."""
    with sentences(file):
        from planner.step_timeline import plan_timeline, print_timeline
        from sim.schedule.noise import Noise

        check_figure(figure)
        noise = Noise(jitter=jitter, seed=seed, stragglers=dict(map(_straggler, straggler or [])))
        [request] = requests([file], overrides({}, settings or []))
        found = plan_timeline(request, phase, noise)
        if trace:
            from sim.schedule.trace import chrome_trace

            write_atomic(
                trace, chrome_trace(found.timeline, name=f"{request.name or request.model}, {found.phase.name}")
            )
        if figure:
            from planner.campaign.charts import write_figure
            from planner.timeline_chart import timeline_chart

            write_figure(timeline_chart(found.timeline), figure)
        if json_to:
            write_json(json_to, found.to_dict())
        if json_to != "-":
            print_timeline(found)
            if trace:
                typer.echo(f"Trace: {trace} (open it in https://ui.perfetto.dev)")
            if figure:
                typer.echo(f"Figure: {figure}")


def _straggler(text: str) -> tuple[int, float]:
    stage, _, factor = text.partition("=")
    try:
        return int(stage), float(factor)
    except ValueError:
        raise InputError(f"--straggler is '{text}'; a stage and its factor are needed, such as 3=1.1.") from None
