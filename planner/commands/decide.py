"""`herdplan uncertainty` and `herdplan goal`."""

from datetime import date
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
from profiler.files import InputError, nearest, write_atomic

if TYPE_CHECKING:
    from planner.decide.goals import Limit
    from planner.plan_file import PlanRequest

PlanFile = Annotated[Path, typer.Argument(help="Plan file (TOML).")]


def uncertainty(
    file: PlanFile,
    samples: Annotated[int, typer.Option(help="Samples of all assumptions.")] = 1000,
    seed: Annotated[int | None, typer.Option(help="Same seed, same samples; the plan's own if not given.")] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            "--prior", metavar="NAME=LOW:HIGH", help="5th and 95th percentile as factors on the plan's value."
        ),
    ] = None,
    outcome: Annotated[str, typer.Option(help="What is asked about: days, cost_usd, energy_mwh, ...")] = "cost_usd",
    sobol: Annotated[bool, typer.Option("--sobol", help="Shares of the variance too (needs SALib).")] = False,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """How sure a plan is: 5, 50 and 95 % of days, dollars, MWh and tonnes, and what matters most."""
    with sentences(file):
        from planner.decide.sensitivity import sobol as sobol_of
        from planner.decide.sensitivity import to_dict, tornado
        from planner.plan import make_plan
        from planner.uncertainty import OUTCOMES, sample_plan

        if outcome not in OUTCOMES:
            raise InputError(f"outcome '{outcome}' is not known; {nearest(outcome, OUTCOMES)}.")
        [request] = requests([file], overrides({}, settings or []))
        plan, changes = make_plan(request), dict(_prior(text) for text in prior or [])
        found = sample_plan(plan, samples=samples, seed=seed, changes=changes)
        swings = tornado(plan, changes)
        indices = sobol_of(plan, seed=seed, changes=changes) if sobol else {}
        if json_to:
            write_json(json_to, {**found.to_dict(), **to_dict(swings, indices)})
        if json_to != "-":
            from planner.decide.text import print_uncertainty

            print_uncertainty(found, swings, indices, outcome)


def _prior(text: str) -> tuple[str, tuple[float, float]]:
    """`restart_time=0.5:3` → ("restart_time", (0.5, 3.0))."""
    name, _, ends = text.partition("=")
    low, _, high = ends.partition(":")
    try:
        return name.strip(), (float(low), float(high))
    except ValueError:
        raise InputError(f"'{text}' is not NAME=LOW:HIGH, such as restart_time=0.5:3.") from None


def goal(
    file: PlanFile,
    by: Annotated[str, typer.Option(help="Finish by the end of this day, such as 2027-06-30.")] = "",
    budget: Annotated[str, typer.Option(help="Spend no more than this, such as 100M or '$5.5M'.")] = "",
    site_power: Annotated[str, typer.Option(help="Draw no more than this, such as '30 MW'.")] = "",
    carbon: Annotated[str, typer.Option(help="Emit no more than this, such as 5000t.")] = "",
    prefer: Annotated[str, typer.Option(help="cheapest, fastest or cleanest.")] = "cheapest",
    gpu: Annotated[str, typer.Option(help="GPU types to try, with commas, or any; the plan's if not given.")] = "",
    most_gpus: Annotated[int, typer.Option(help="The largest cluster to try.")] = 131_072,
    sure: Annotated[
        float | None, typer.Option(help="Keep each limit with this probability; the plan's own numbers if not given.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Write the plan found here (TOML).")] = None,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """The cheapest, fastest or cleanest plan within a date, a budget, a power feed or a carbon budget."""
    with sentences(file):
        from planner.decide.goals import seek
        from planner.progress import progress

        [request] = requests([file], overrides({}, settings or []))
        limits = _limits(request, by, budget, site_power, carbon)
        types = [name.strip() for name in gpu.split(",") if name.strip()]
        with progress("clusters") as tell:
            result = seek(
                request,
                limits,
                prefer=prefer,  # type: ignore[arg-type]  # checked there
                gpus=types,
                most_gpus=most_gpus,
                sure=sure,
                workers=workers,
                tell=tell,
            )
        if result.stopped:
            from planner.quantities import counted

            tried = len(result.candidates)
            were = f"{counted(tried, 'cluster')} {'was' if tried == 1 else 'were'} tried"
            typer.echo(f"Stopped: {were}, but not all; what follows is theirs.", err=True)
        if out and result.request:
            from planner.report.plan_text import plan_file_text

            write_atomic(out, plan_file_text(result.request))
        if json_to:
            write_json(json_to, result.to_dict())
        if json_to != "-":
            from planner.decide.text import print_goal
            from planner.terminal import print_plans

            print_goal(result)
            if result.plan:
                print_plans([result.plan], None)
    if result.stopped:
        raise typer.Exit(INTERRUPTED)
    if result.plan is None:
        raise typer.Exit(1)


def _limits(request: "PlanRequest", by: str, budget: str, site_power: str, carbon: str) -> "tuple[Limit, ...]":
    from planner.decide.goals import goal_limits

    try:
        day = date.fromisoformat(by) if by else None
    except ValueError:
        raise InputError(f"--by is '{by}'; a date such as 2027-06-30 is needed.") from None
    return goal_limits(
        request,
        by=day,
        budget_usd=_amount("--budget", budget, "USD"),
        site_power_w=_amount("--site-power", site_power, "W"),
        carbon_t=_amount("--carbon", carbon, "t"),
    )


def _amount(option: str, text: str, unit: str) -> float | None:
    """An option's text as a number of `unit`; nothing for nothing."""
    from planner.quantities import parse_quantity

    try:
        return parse_quantity(text, unit) if text else None
    except ValueError as error:
        raise InputError(f"{option} is '{text}'; {error}") from None
