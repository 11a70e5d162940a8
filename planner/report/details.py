"""The part of one plan: time, layout, money, power, how sure, trust, every assumption, how to get it again."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from planner.comparisons import emitted_as_much_as, water_as_much_as
from planner.money.costs import CostBreakdown
from planner.plan import Plan
from planner.quantities import counted, dollars, energy, human, money, power, significant
from planner.report import charts, finish_charts, money_charts, place_charts, tables, words
from planner.report.document import Block, Cell, Code, Figure, Part, Role, Section, Table, Text, table
from planner.report.plan_text import plan_file_text
from profiler.units import GIB

if TYPE_CHECKING:
    import pandas as pd

    from planner.report.spec import Spec

OUTCOME_TEXTS: dict[str, Callable[[float], str]] = {
    "days": lambda days: f"{significant(days)} days",
    "gpu_hours": human,
    "cost_usd": money,
    "energy_mwh": energy,
    "tco2e": words.tonnes,
    "peak_mw": power,
}
"""How each outcome of `planner.uncertainty.OUTCOMES` is written."""

DRAWN_ONLY = ("colour", "start", "end")
"""Columns of a chart's table that place its marks and say nothing more."""

NOT_IN_COST = "Not in the cost: taxes, insurance, transport, import and installation."
"""The money of docs/money.md's list."""

EVERY = 6
"""One row in so many of a long table is printed; the chart has them all."""


def part(plan: Plan, key: str) -> Part:
    """Everything about one plan."""
    found = (
        Section(title="From first day to last", blocks=_overview(plan)),
        Section(title="Time", blocks=_time(plan)),
        Section(title="Layout", blocks=_layout(plan)),
        Section(title="Money", blocks=_money(plan)),
        Section(title="Power and carbon", blocks=_power(plan)),
        Section(title="How sure, and what would change it", blocks=_sure(plan)),
        Section(title="Can I trust it?", blocks=_trust(plan)),
        Section(title="Every assumption", blocks=(_assumptions(plan),)),
        Section(title="To get this plan again", blocks=_again(plan)),
    )
    return Part(
        key=key,
        name=plan.name,
        label=words.plan_label(plan),
        answer=words.answer(plan),
        sections=tuple(section for section in found if section.blocks),
    )


def _overview(plan: Plan) -> tuple[Block, ...]:
    strip = _figure(charts.campaign_strip(plan), tables.power_table(plan, most_points=40), wide=True)
    return (*strip, *(Text(text=f"{words.sentence(note)}.", muted=True) for note in plan.notes))


def _time(plan: Plan) -> tuple[Block, ...]:
    return (
        *_figure(charts.step_bar(plan), tables.step_table(plan)),
        *_figure(charts.time_bars(plan), tables.time_table(plan)),
        _phases(plan),
        *_causes(plan),
    )


def _causes(plan: Plan) -> tuple[Block, ...]:
    """What stopped training, and what its hours are: the chart of days has the same ones by activity."""
    found = _frame_table("What stopped training", tables.cause_table(plan))
    said = (
        "Hours of a cause are from the last safe checkpoint to going on: work lost, noticing, standing, waiting and "
        "restarting, which the chart above counts each for all causes together."
    )
    return (*found, Text(text=said, muted=True)) if found else ()


def _phases(plan: Plan) -> Table:
    columns: tuple[tuple[str, Role], ...] = (
        ("Phase", "text"),
        ("Tokens", "number"),
        ("Sequence", "number"),
        ("Batch [sequences]", "number"),
        ("Step [s]", "number"),
        ("MFU", "number"),
        ("Days of steps", "number"),
        ("Step time is", "kind"),
    )
    rows: list[tuple[object, ...]] = []
    for phase in plan.phases:
        found = phase.to_dict()
        rows.append(
            (
                Cell(phase.name, phase.step.layout.label),
                human(phase.tokens),
                f"{phase.seq_len:,}",
                f"{phase.global_batch:,}",
                significant(phase.step_time_s),
                words.share(float(found["mfu"])),  # type: ignore[arg-type]
                significant(float(found["days"])),  # type: ignore[arg-type]
                phase.origin,
            )
        )
    return table("Phases of training", columns, rows)


def _layout(plan: Plan) -> tuple[Block, ...]:
    step = plan.main_phase.step
    use = (
        f"The phase “{plan.main_phase.name}” runs as {step.layout.label}; its fullest GPU holds "
        f"{significant(step.peak_memory_bytes / GIB)} of {step.capacity_bytes / GIB:.0f} GiB and a GPU draws "
        f"{words.whole(plan.main_phase.gpu_power_w)} W while it trains."
    )
    return (Text(text=use), *_figure(charts.memory_bar(plan), tables.memory_table(plan)))


def _money(plan: Plan) -> tuple[Block, ...]:
    named = (("Rent", plan.rent), ("Own", plan.own), ("Part owned", plan.mixed))
    ways = [(name, cost) for name, cost in named if cost is not None]
    return (
        Text(text=words.break_even(plan)),
        *_figure(charts.cost_ranges(plan), tables.cost_table(plan)),
        *_figure(money_charts.break_even_curve(plan), money_charts.break_even_table(plan).iloc[::EVERY]),
        *_figure(money_charts.cash_months(plan), tables.cash_month_table(plan)),
        *_figure(money_charts.bill_months(plan), money_charts.bill_table(plan)),
        *(_cost_table(plan, name, cost) for name, cost in ways),
        _bill(plan),
        Text(text=_whose_bill(plan), muted=True),
        Text(text=NOT_IN_COST, muted=True),
    )


def _cost_table(plan: Plan, name: str, cost: CostBreakdown) -> Table:
    columns: tuple[tuple[str, Role], ...] = (
        (f"{name}: item", "text"),
        ("Low [USD]", "number"),
        ("Expected [USD]", "number"),
        ("High [USD]", "number"),
        ("Source", "source"),
    )
    rows: list[tuple[object, ...]] = [
        (Cell(line.name, line.how), dollars(line.low), dollars(line.expected), dollars(line.high), line.source)
        for line in cost.lines
    ]
    said = "this plan’s cost" if cost is plan.cost else "another way, for comparison"
    rows.append((f"{name}, in all", dollars(cost.low), dollars(cost.expected), dollars(cost.high), said))
    return table(f"{name}, line by line", columns, rows, frozenset({len(rows) - 1}))


def _bill(plan: Plan) -> Table:
    bill = plan.bill
    months = counted(len(bill.months), "calendar month")
    rows: list[tuple[object, ...]] = [
        (f"Energy, {energy(bill.energy_kwh / 1000)}", dollars(bill.energy_usd)),
        (f"Demand, {months}", dollars(bill.demand_usd)),
        ("Fixed charges", dollars(bill.fixed_usd)),
        *_idle(plan),
        (f"In all, {plan.whole_bill.average_usd_per_kwh:.4f} USD per kWh", dollars(plan.whole_bill.total_usd)),
    ]
    columns: tuple[tuple[str, Role], ...] = (("Electricity bill", "text"), ("USD", "number"))
    return table("The electricity bill", columns, rows, frozenset({len(rows) - 1}))


def _idle(plan: Plan) -> list[tuple[object, ...]]:
    """The part of the bill that is due for days without a step; nothing where there are none."""
    idle = plan.standing_bill
    if not idle.energy_kwh:
        return []
    how = "all charges of days before the first step and after the last that the run’s own months do not have"
    return [(Cell(f"Idle before and after training, {energy(idle.energy_kwh / 1000)}", how), dollars(idle.total_usd))]


def _whose_bill(plan: Plan) -> str:
    if plan.request.money.mode == "rent":
        return f"Tariff {plan.bill.tariff}. Rent includes electricity: this bill is the landlord’s, not an extra."
    return f"Tariff {plan.bill.tariff}. The bill is one of the lines of ownership above."


def _power(plan: Plan) -> tuple[Block, ...]:
    emitted = emitted_as_much_as(plan.carbon.location_based_tco2e)
    compared = (
        f"{energy(plan.energy_mwh.expected)} is {plan.comparison.sentence}. {plan.comparison.source}. "
        f"The emissions are {emitted.sentence}. {emitted.source}."
    )
    return (
        *_figure(charts.power_first_week(plan), tables.first_week_table(plan).iloc[::EVERY]),
        *_figure(charts.power_failure(plan), tables.failure_table(plan)),
        *_figure(charts.energy_parts(plan), tables.energy_part_table(plan)),
        *_figure(charts.energy_months(plan), tables.month_table(plan)),
        *_figure(place_charts.tonnes_by_place(plan), place_charts.place_table(plan).iloc[::EVERY]),
        *_figure(place_charts.country_bars(plan), place_charts.country_table(plan)),
        *_frame_table("How the site’s power swings", tables.swing_table(plan)),
        _carbon(plan),
        _water(plan),
        Text(text=compared, muted=True),
    )


def _carbon(plan: Plan) -> Table:
    carbon = plan.carbon
    rows: list[tuple[object, ...]] = [
        (Cell("Electricity, location-based", carbon.how), significant(carbon.location_based_tco2e)),
        *_market_based(plan),
        (Cell("Hardware", "making it; this run’s share of its life"), significant(carbon.embodied_tco2e)),
        ("In all, location-based", significant(carbon.total_tco2e)),
        (
            Cell(
                "As the model card counts",
                f"GPU-hours at {words.whole(plan.cluster.gpu.tdp_w)} W TDP, nothing else, and the card’s one grid",
            ),
            significant(plan.tdp_accounting_tco2e),
        ),
    ]
    if plan.card:
        card = f"for its {human(plan.card.gpu_hours)} GPU-hours"
        rows.append((Cell("The model card itself", card), significant(plan.card.tco2e)))
    total = next(i for i, row in enumerate(rows) if str(row[0]).startswith("In all"))
    return table("Carbon", (("Emissions", "text"), ("tCO2e", "number")), rows, frozenset({total}))


def _market_based(plan: Plan) -> list[tuple[object, ...]]:
    """Where clean contracts cover a share: the electricity counted so."""
    if not plan.request.site.clean_share:
        return []
    covered = f"{words.share(plan.request.site.clean_share)} of it covered by clean contracts"
    return [(Cell("Electricity, market-based", covered), significant(plan.carbon.market_based_tco2e))]


def _water(plan: Plan) -> Table:
    water = plan.water
    made = "not published" if water.generation_m3 is None else significant(water.generation_m3)
    rows: list[tuple[object, ...]] = [
        (
            Cell("At the site", "evaporated for cooling"),
            significant(water.site_m3),
            Cell(water.site_how, water.site_source),
        ),
        (
            Cell("In generating the electricity", plan.grid.label),
            made,
            Cell(water.generation_how, water.generation_source),
        ),
        ("In all, as far as known", significant(water.total_m3), water_as_much_as(water.total_m3).sentence),
    ]
    columns: tuple[tuple[str, Role], ...] = (("Water consumed", "text"), ("m3", "number"), ("", "source"))
    return table("Water", columns, rows, frozenset({2}))


def _sure(plan: Plan) -> tuple[Block, ...]:
    from planner.decide.sensitivity import tornado

    swings = tornado(plan)
    drawn = [
        *_figure(charts.tornado_bars(plan, "cost_usd", swings["cost_usd"]), tables.tornado_table(swings["cost_usd"])),
        *_figure(charts.tornado_bars(plan, "days", swings["days"]), tables.tornado_table(swings["days"], "days")),
    ]
    days = plan.uncertainty.drawn["days"]
    finish = _figure(finish_charts.finish_dates(plan, days), finish_charts.finish_table(plan, days))
    return (_intervals(plan), *drawn, *finish)


def _intervals(plan: Plan) -> Table:
    from planner.uncertainty import OUTCOMES

    rows: list[tuple[object, ...]] = []
    for name, i in plan.intervals.items():
        label, text = OUTCOMES[name].partition(" [")[0], OUTCOME_TEXTS[name]
        rows.append((label, text(i.low), text(i.expected), text(i.high)))
    columns: tuple[tuple[str, Role], ...] = (
        ("Outcome", "text"),
        ("5 %", "number"),
        ("This plan", "number"),
        ("95 %", "number"),
    )
    return table("Outcomes and their 90 % intervals", columns, rows)


def _trust(plan: Plan) -> tuple[Block, ...]:
    said: list[Block] = [Text(text=words.how_known(plan))]
    if plan.card:
        said.append(Text(text=plan.card_explanation))
    return (*said, _profile(plan))


def _profile(plan: Plan) -> Table | Text:
    """Where the measured profile comes from."""
    if plan.profile is None:
        return Text(text=f"Profile: {plan.provenance['profile']}.", muted=True)
    came = plan.profile.provenance
    rows: list[tuple[object, ...]] = [("Profile", plan.profile.name)]
    for field in fields(came):
        value = getattr(came, field.name)
        if value not in (None, "", ()):
            text = " ".join(value) if isinstance(value, tuple) else value
            rows.append((field.name.replace("_", " ").capitalize(), text))
    return table("The profile that step times stand on", (("The profile", "text"), ("", "text")), rows)


def _assumptions(plan: Plan) -> Table:
    columns: tuple[tuple[str, Role], ...] = (
        ("What", "text"),
        ("Value", "text"),
        ("Known how", "kind"),
        ("Source", "source"),
    )
    return table("Assumptions", columns, [(a.what, a.value, a.kind, a.source) for a in plan.assumptions])


def _again(plan: Plan) -> tuple[Block, ...]:
    rows: list[tuple[object, ...]] = [
        (key.replace("_", " ").capitalize(), value) for key, value in plan.provenance.items()
    ]
    return (
        Text(text="Save the text below as plan.toml, then run: herdplan plan plan.toml", muted=True),
        table("Where it comes from", (("Made with", "text"), ("", "text")), rows),
        Code(text=plan_file_text(plan.request)),
    )


def _figure(chart: "Spec | None", frame: "pd.DataFrame", *, wide: bool = False) -> tuple[Figure, ...]:
    """A chart and its numbers; nothing where there is none."""
    if chart is None:
        return ()
    return (Figure(chart=chart, table=frame_table("Numbers of the chart", frame), wide=wide),)


def _frame_table(caption: str, frame: "pd.DataFrame") -> tuple[Table, ...]:
    return () if frame.empty else (frame_table(caption, frame),)


def frame_table(caption: str, frame: "pd.DataFrame") -> Table:
    """The cells of a frame as people read them."""
    from pandas.api.types import is_numeric_dtype

    shown = frame.drop(columns=[name for name in DRAWN_ONLY if name in frame.columns])
    roles: Sequence[Role] = ["number" if is_numeric_dtype(shown[name]) else "text" for name in shown.columns]
    columns = tuple((str(name), role) for name, role in zip(shown.columns, roles, strict=True))
    rows = [tuple(_cell(value) for value in row) for row in shown.itertuples(index=False)]
    return table(caption, columns, rows)  # type: ignore[arg-type]


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return significant(value) if isinstance(value, float) else str(value)
