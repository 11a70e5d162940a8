"""Places, first days, power caps and payments in the terminal."""

from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from planner.decide.places import PlaceOption, Ranking
from planner.decide.power_cap import CapSweep
from planner.decide.starts import FIGURE, StartOption, StartRanking
from planner.money.cashflow import CashFlow
from planner.money.costs import CostBreakdown
from planner.money.pricing import tariff_notes
from planner.money.spot import spot_notes
from planner.plan import Plan
from planner.plan_file import MoneyRequest, PlanRequest
from planner.quantities import dollars, energy, money, percent, power, significant
from planner.report.words import break_even
from planner.terminal import console
from profiler.units import DAY_S


def print_places(ranking: Ranking, keep: int, request: PlanRequest) -> None:
    """The best places and the plan's own."""
    table = Table(
        title=f"{escape(ranking.name)}: best place for {ranking.goal}", title_justify="left", title_style="bold"
    )
    for column in ("", "cost", "electricity", "tCO2e", "water, m3"):
        table.add_column(column, justify="right" if column else "left")
    for option in ranking.options[:keep]:
        table.add_row(*_place(option))
    table.add_section()
    table.add_row(*_place(ranking.here, "as planned: "))
    screen = console()
    screen.print(table)
    screen.print(ranking.note, style="dim", markup=False)
    _say_whose_electricity(screen, request.money)
    settings = " ".join(f"--set {setting!r}" for setting in ranking.best.settings)
    screen.print(f"Next: herdplan plan FILE {settings}", markup=False)


def _place(option: PlaceOption, prefix: str = "") -> tuple[str, ...]:
    return (
        prefix + option.label,
        _or_nothing(option.cost_usd, money),
        _or_nothing(option.electricity_usd, money),
        _or_nothing(option.emissions_t, significant),
        _or_nothing(option.water_m3, significant),
    )


def _or_nothing(value: float | None, text: object) -> str:
    return "" if value is None else str(text(value))  # type: ignore[operator]


def _say_whose_electricity(screen: Console, money: MoneyRequest) -> None:
    """Which electricity a column of a table does not hold; nothing where it holds all."""
    if money.mode != "rent" and money.preparation_days + money.idle_days:
        said = "Electricity is that of training; the cost also has that of the idle days before and after it."
        screen.print(said, style="dim", markup=False)


def print_starts(ranking: StartRanking, keep: int, request: PlanRequest) -> None:
    """The best first days, or why none is better."""
    screen = console()
    if ranking.why_alike:
        screen.print(f"{ranking.name}: every first day is alike: {ranking.why_alike}", markup=False)
        return
    title = f"{escape(ranking.name)}: best first day for {ranking.goal}"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("first day", "last day", "cost", "electricity", "MWh", "tCO2e"):
        table.add_column(column, justify="left" if "day" in column else "right")
    ranked = sorted(ranking.options, key=lambda option: (getattr(option, FIGURE[ranking.goal]), option.start))
    for option in ranked[:keep]:
        table.add_row(*_start(option))
    table.add_section()
    table.add_row(*_start(ranking.planned, " as planned"))
    screen.print(table)
    _say_whose_electricity(screen, request.money)
    screen.print(f"Next: herdplan plan FILE --set start={ranking.best.start}", markup=False)


def _start(option: StartOption, suffix: str = "") -> tuple[str, ...]:
    return (
        option.start + suffix,
        option.finish,
        _or_nothing(option.cost_usd, lambda usd: money(usd, digits=4)),
        money(option.electricity_usd, digits=4),
        significant(option.energy_mwh, 4),
        significant(option.emissions_t, 4),
    )


BEST, OVER = "*", "!"
"""Marks of a cap, explained below the table: a column of words has no room on 80 columns."""


def print_caps(sweep: CapSweep, screen: Console | None = None) -> None:
    """The caps as a table, and the best of them."""
    title = f"{escape(sweep.name)}: power caps on every GPU"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("cap", "step", "days", "energy", "peak", "rented", "owned", "tCO2e"):
        table.add_column(column, justify="right")
    best = sweep.best
    for option in reversed(sweep.options):
        mark = BEST if option is best else "" if option.keeps_limit else OVER
        table.add_row(
            f"{mark} {option.cap_w:.0f} W".strip(),
            f"+{option.slowdown - 1:.{0 if option.slowdown >= 2 else 1}%}",
            significant(option.days),
            energy(option.energy_mwh),
            power(option.peak_mw),
            _or_nothing(option.rent_usd, money),
            _or_nothing(option.own_usd, money),
            significant(option.emissions_t),
        )
    screen = screen or console()
    screen.print(table)
    over = "" if all(option.keeps_limit for option in sweep.options) else f"; {OVER} over the site's limit"
    screen.print(f"{BEST} best for {sweep.goal}{over}", style="dim", markup=False)
    for why in sweep.impossible:
        screen.print(f"Not kept: {why}", markup=False)
    if best is sweep.uncapped:
        screen.print("It is best without a cap: what one saves in power costs more in time.", markup=False)
    else:
        screen.print(f"Next: herdplan plan FILE --set site.gpu_power_cap_w={best.cap_w:.0f}", markup=False)


def print_money(plan: Plan, costs: Sequence[tuple[str, CostBreakdown]], flow: CashFlow) -> None:
    """Each way to have the GPUs line by line, the break-even with what to know of it, and the payments by month."""
    screen = console()
    for name, cost in costs:
        table = Table(title=f"{escape(plan.name)}: {name}", title_justify="left", title_style="bold")
        for column in ("USD", "low", "expected", "high", "how"):
            table.add_column(column, justify="left" if column in ("USD", "how") else "right")
        for line in cost.lines:
            table.add_row(line.name, dollars(line.low), dollars(line.expected), dollars(line.high), line.how)
        table.add_section()
        table.add_row("In all", dollars(cost.low), dollars(cost.expected), dollars(cost.high), "")
        screen.print(table)
    screen.print(break_even(plan), markup=False)
    request = plan.request
    terms = plan.charges.term_notes(plan.prices, plan.campaign.duration_s / DAY_S)
    for note in (*terms, *spot_notes(request), *tariff_notes(request, plan.grid), *request.money.notes):
        screen.print(f"Note: {note}.", markup=False)
    screen.print(_payments(plan, flow))


def _payments(plan: Plan, flow: CashFlow) -> Table:
    """What is paid in each month; where something was bought also what comes back of it, and both together."""
    table = Table(title=f"Payments, {plan.paid}", title_justify="left", title_style="bold")
    resale = plan.request.money.resale_share
    sold = "kept as value" if resale == 1 else f"sold, {percent(resale, 0)} of value"
    back = flow.back_by_month_usd
    columns = ("month", "paid", sold, "net") if flow.coming_back else ("month", "paid")
    for column in columns:
        table.add_column(column, justify="left" if column == "month" else "right")
    rows = [(month, usd + back[month], back[month], usd) for month, usd in flow.by_month_usd.items()]
    sums = (sum(row[1] for row in rows), sum(row[2] for row in rows), flow.total_usd)
    told = partial(money, like=max(map(abs, sums)))
    for month, paid, returned, net in rows:
        cells = (month, told(paid), told(returned) if returned else "", told(net))
        table.add_row(*cells[: len(columns)])
    table.add_section()
    table.add_row(*("In all", *map(told, sums))[: len(columns)])
    return table
