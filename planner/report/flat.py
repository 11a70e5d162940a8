"""Every number of some plans as the rows of one CSV file, for a spreadsheet or a script."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from planner.phase_notes import step_error_source
from planner.plan import Plan
from planner.report import tables
from planner.report.details import DRAWN_ONLY
from planner.report.document import clean
from planner.report.plan_text import plan_file_text
from planner.report.words import share

FORMULA = ("=", "+", "-", "@", "'")
"""What a spreadsheet takes the text behind it for: a formula, or a mark that it swallows."""

PLAN_FILE = "plan file"
STEP = "model: closed form of sim/step.py, docs/model.md"
MEMORY = "model: closed form of sim/memory.py, docs/model.md"
SIMULATION = "simulation: sim/campaign, docs/campaign.md"
POWER = "model: sim/site/energy.py, docs/power.md"
SPREAD = "simulation and samples of every assumption: planner/uncertainty.py, docs/uncertainty.md"
CASH = "model: planner/money/cashflow.py, docs/money.md, from the lines of the cost"
BREAK_EVEN = "model: planner/money/break_even.py, docs/money.md"
CARD = "GPU-hours of this plan at the TDP, times the intensity of the Llama 3.1 model card: planner/carbon.py"
RECORD = "record of how this plan was made: planner/plan.py"
"""Where a number comes from that has no source of its own."""


class Row(NamedTuple):
    """One number or text of one plan."""

    plan: str
    group: str
    item: str
    unit: str
    value: float | str
    low: float | str = ""
    high: float | str = ""
    known: str = ""
    source: str = ""


def render_csv(plans: Sequence[Plan], date: str = "") -> str:
    """The CSV: one row a number, low and high being its 90 % interval or its range of prices.

    Raises:
        ValueError: no plan.
    """
    if not plans:
        raise ValueError("a report needs at least one plan.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for plan in plans:
        writer.writerows([_cell(value) for value in row] for row in plan_rows(plan, date))
    return text.getvalue()


def _cell(value: float | str) -> float | str:
    """Numbers to the last digit; text that a spreadsheet would run stays text behind a quote."""
    if not isinstance(value, str):
        return float(value)
    line = clean(value)
    return f"'{line}" if line.lstrip().startswith(FORMULA) else line


def plan_rows(plan: Plan, date: str = "") -> Iterator[Row]:
    """The rows of one plan."""
    yield from _outcomes(plan)
    yield from _money(plan)
    yield from _carbon(plan)
    yield from _tables(plan)
    yield from _phases(plan)
    yield from (Row(plan.name, "assumption", a.what, "", a.value, "", "", a.kind, a.source) for a in plan.assumptions)
    yield from _provenance(plan, date)


def _tables(plan: Plan) -> Iterator[Row]:
    """Where the step, the memory, the time, the energy and the money go."""
    months, power = tables.month_table(plan), f"{SIMULATION}; {POWER}"
    for group, unit, frame, source in (
        ("step", "s", tables.step_table(plan), _step_source(plan)),
        ("memory", "GiB", tables.memory_table(plan), MEMORY),
        ("time", "days", tables.time_table(plan), SIMULATION),
        ("energy", "MWh", tables.energy_part_table(plan), power),
        ("energy by month", "MWh", months[["Month", "MWh"]], power),
        ("highest hour by month", "MW", months[["Month", "Peak [MW]"]], power),
    ):
        shown = frame.drop(columns=[name for name in (*DRAWN_ONLY, "Share [%]") if name in frame.columns])
        for item, value in shown.itertuples(index=False):
            yield Row(plan.name, group, str(item), unit, value, source=source)
    for month, line, usd in tables.cash_line_table(plan).itertuples(index=False):
        yield Row(plan.name, f"cash of {month}", line, "USD", usd, source=CASH)


def _step_source(plan: Plan) -> str:
    """The closed form, and the profile where the step stands on one."""
    if plan.profile is None or plan.main_phase.step.origin in ("calibrated", "assumed"):
        return STEP
    return f"measured profile {plan.profile.name}; {STEP}"


def _outcomes(plan: Plan) -> Iterator[Row]:
    units = {
        "days": "days",
        "gpu_hours": "GPU-hours",
        "cost_usd": "USD",
        "energy_mwh": "MWh",
        "tco2e": "tCO2e",
        "peak_mw": "MW",
    }
    for name, unit in units.items():
        found = plan.intervals[name]
        yield Row(plan.name, "outcome", name, unit, found.expected, found.low, found.high, "90 % interval", SPREAD)
    yield Row(plan.name, "outcome", "gpus", "GPUs", plan.cluster.gpus, known=plan.cluster.gpu.label, source=PLAN_FILE)
    yield Row(plan.name, "outcome", "tokens", "tokens", plan.request.tokens, source=PLAN_FILE)
    how, source = "non-causal FLOPs over dense peak", PLAN_FILE if plan.main_phase.stated else _step_source(plan)
    yield Row(plan.name, "outcome", "mfu", "share", plan.mfu, known=how, source=source)
    yield Row(plan.name, "outcome", "ettr", "share", plan.campaign.ettr, source=SIMULATION)
    yield Row(plan.name, "outcome", "interruptions", "times", len(plan.campaign.interruptions), source=SIMULATION)
    yield Row(
        plan.name,
        "outcome",
        "mean_power_mw",
        "MW",
        plan.campaign.mean_site_power_w / 1e6,
        source=f"{SIMULATION}; {POWER}",
    )


def _money(plan: Plan) -> Iterator[Row]:
    for group, cost in (("rent", plan.rent), ("own", plan.own), ("mixed", plan.mixed)):
        if cost is None:
            continue
        for line in cost.lines:
            yield Row(plan.name, group, line.name, "USD", line.expected, line.low, line.high, line.how, line.source)
        yield Row(plan.name, group, "in all", "USD", cost.expected, cost.low, cost.high, source="sum of its lines")
    bill = plan.bill
    for item, usd in (
        ("energy", bill.energy_usd),
        ("demand", bill.demand_usd),
        ("fixed", bill.fixed_usd),
        ("idle before and after training", plan.standing_bill.total_usd),
        ("in all", plan.whole_bill.total_usd),
    ):
        yield Row(plan.name, "electricity bill", item, "USD", usd, source=f"tariff {bill.tariff}")
    if plan.unused_term_usd and plan.prices.rental:
        source = plan.prices.rental.price_usd_per_gpu_hour.source
        yield Row(plan.name, "not in the cost", "rest of the term", "USD", plan.unused_term_usd, source=source)
    if plan.rent_or_buy and plan.rent_or_buy.short_use_days:
        until_days = plan.rent_or_buy.short_use_days
        yield Row(plan.name, "own", "costs less than renting up to", "days", until_days, source=BREAK_EVEN)
    if plan.break_even_days is not None:
        yield Row(plan.name, "own", "break-even with renting", "days", plan.break_even_days, source=BREAK_EVEN)


def _carbon(plan: Plan) -> Iterator[Row]:
    carbon, gpu = plan.carbon, plan.cluster.gpu.sources.get("embodied_kgco2e", "planner/carbon.py")
    grid = f"{carbon.how}; {plan.grid.source}"
    for item, tonnes, source in (
        ("electricity, location-based", carbon.location_based_tco2e, grid),
        ("electricity, market-based", carbon.market_based_tco2e, f"{grid}, less clean_share of the plan file"),
        ("hardware", carbon.embodied_tco2e, f"this run's share of its life; {gpu}"),
        ("by TDP, as the model card counts", plan.tdp_accounting_tco2e, CARD),
    ):
        yield Row(plan.name, "carbon", item, "tCO2e", tonnes, source=source)
    water = plan.water
    for item, m3, how, source in (
        ("at the site", water.site_m3, water.site_how, water.site_source),
        ("in generating the electricity", water.generation_m3, water.generation_how, water.generation_source),
    ):
        if m3 is not None:
            yield Row(plan.name, "water", item, "m3", m3, known=how, source=source)


def _phases(plan: Plan) -> Iterator[Row]:
    asked = "given" if plan.request.phases else "assumed"
    for phase in plan.phases:
        step = PLAN_FILE if phase.stated else _step_source(plan)
        found = f"fastest of {phase.searched:,} layouts tried: {STEP}" if phase.searched else PLAN_FILE
        for item, unit, value, known, source in (
            ("tokens", "tokens", phase.tokens, "given", PLAN_FILE),
            ("sequence", "tokens", phase.seq_len, asked, PLAN_FILE),
            ("batch", "sequences", phase.global_batch, asked, PLAN_FILE),
            ("layout", "", phase.step.layout.label, "calibrated" if phase.searched else "given", found),
            ("step time", "s", phase.step_time_s, phase.origin, step),
            ("GPU power", "W", phase.gpu_power_w, "", POWER),
            ("days of steps", "days", phase.training_s / 86_400, phase.origin, step),
        ):
            yield Row(plan.name, f"phase {phase.name}", item, unit, value, known=known, source=source)


def _provenance(plan: Plan, date: str) -> Iterable[Row]:
    yield from (Row(plan.name, "provenance", key, "", value, source=RECORD) for key, value in plan.provenance.items())
    if date:
        yield Row(plan.name, "provenance", "date", "", date, source="given with the report")
    error = share(plan.step_error_p90)
    source = step_error_source(plan.phases, plan.cluster.gpu)
    yield Row(plan.name, "provenance", "step error, 90th percentile", "", error, source=source)
    for number, line in enumerate(plan_file_text(plan.request).splitlines(), 1):
        yield Row(plan.name, "plan file", f"line {number}", "", line, source=PLAN_FILE)
