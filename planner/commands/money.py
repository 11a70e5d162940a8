"""`herdplan money`: every way to have the GPUs, line by line, and when it is paid."""

from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import JsonOption, SettingsOption, overrides, requests, sentences, write_json
from profiler.files import write_atomic


def money(
    file: Annotated[Path, typer.Argument(help="Plan file (TOML).")],
    csv_to: Annotated[Path | None, typer.Option("--csv", help="Write the payments by month and line (CSV).")] = None,
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """What a plan costs rented, owned or mixed, line by line; rent or buy; and the payments month by month."""
    with sentences(file):
        from planner.money.cashflow import cash_flow, cash_flow_csv
        from planner.plan import make_plan

        [request] = requests([file], overrides({}, settings or []))
        plan = make_plan(request)
        flow = cash_flow(plan)
        ways = {"rented": plan.rent, "owned": plan.own, "part owned": plan.mixed}
        costs = [(name, cost) for name, cost in ways.items() if cost is not None]
        if csv_to:
            write_atomic(csv_to, cash_flow_csv(flow))
        if json_to:
            write_json(
                json_to,
                {
                    "name": plan.name,
                    "mode": request.money.mode,
                    "break_even_days": plan.break_even_days,
                    "short_use_days": plan.rent_or_buy and plan.rent_or_buy.short_use_days,
                    "costs": {name: [line.to_dict() for line in cost.lines] for name, cost in costs},
                    "payments_usd": flow.by_month_usd,
                    "payments": flow.rows(),
                    "most_tied_up_usd": flow.most_tied_up_usd,
                },
            )
        if json_to != "-":
            from planner.decide.site_text import print_money

            print_money(plan, costs, flow)
