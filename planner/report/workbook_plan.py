"""One plan's sheet of the workbook: yellow prices, and what follows from them."""

from dataclasses import dataclass
from typing import Any

from planner.money.costs import CostBreakdown
from planner.money.tariffs import Bill
from planner.plan import Plan
from planner.report.calculator import (
    LEVELS,
    Levels,
    Price,
    Working,
    has_standing,
    peaks_kw,
    plan_prices,
    site_energy_kwh,
    standing_charges,
    workings,
)
from planner.report.theme import LIGHT
from planner.report.workbook_writer import AMOUNT, USD, Writer, on_paper

YELLOW = "#fff4c2"
LOW, QUANTITY, REST = 2, 7, 10
"""First columns of the three levels, of a line's quantities and of its rests."""
PRICES_HEAD = 4
"""Row in which Low, Expected and High stand first."""
NAME_WIDTH, TEXT_WIDTH = 42, 60


@dataclass(frozen=True, kw_only=True)
class PlanSheet:
    """Where the outcomes of a plan stand, as formulas for another sheet."""

    cells: dict[str, str]


@dataclass
class _Sheet:
    """A sheet as it is written from top to bottom."""

    writer: Writer
    plan: Plan
    sheet: Any
    name: str
    row: int = 3

    def ref(self, row: int, level: int) -> str:
        """A cell of this sheet at one of the three levels."""
        return f"${'CDE'[level]}${row + 1}"

    def line(
        self, label: str, unit: str, formulas: tuple[str, str, str], values: Levels, form: str, **how: Any
    ) -> int:
        """A row of formulas at the three levels; its number."""
        y = self.row
        self.writer.text(self.sheet, y, 0, label, **how)
        self.writer.text(self.sheet, y, 1, unit, font_color=LIGHT.muted)
        for i, (formula, value) in enumerate(zip(formulas, values, strict=True)):
            self.writer.formula(self.sheet, y, LOW + i, formula, value, form, **how)
        self.row += 1
        return y

    def fixed(self, label: str, unit: str, value: float, form: str, note: str = "") -> int:
        """A row of one number that the prices do not change."""
        y = self.row
        self.writer.text(self.sheet, y, 0, label)
        self.writer.text(self.sheet, y, 1, unit, font_color=LIGHT.muted)
        for i in range(3):
            self.writer.number(self.sheet, y, LOW + i, value, form)
        self.note(y, LOW + 3, note)
        self.row += 1
        return y

    def note(self, row: int, column: int, text: str) -> None:
        """An explanation, on as many lines as it needs."""
        self.writer.text(self.sheet, row, column, text, font_color=LIGHT.muted, font_size=8, text_wrap=True)

    def heading(self, text: str, *more: str) -> None:
        """The title of a block, with the names of its columns."""
        self.row += 1
        self.writer.head(self.sheet, self.row, (text, "Unit"))
        self.writer.head(self.sheet, self.row, LEVELS, LOW, align="right")
        self.writer.head(self.sheet, self.row, more, LOW + 3)
        self.row += 1


def write_plan_sheet(writer: Writer, plan: Plan, name: str) -> PlanSheet:
    """Write the sheet; what stands where is told for the summary."""
    page = _Sheet(writer, plan, writer.book.add_worksheet(name), name)
    note = (
        "Change what is yellow: the totals, the bill and the tonnes follow, cash and power on other sheets do not. "
        "Low and high are the ends of published prices."
    )
    writer.title(page.sheet, plan.name, note)
    prices = _prices(page)
    energy = _energy(page, prices)
    bills = [_bill(page, prices, energy)]
    bills += [_standing_bill(page, prices)] if has_standing(plan) else []
    tonnes = _tonnes(page, prices, energy)
    totals = {
        mode: _cost(page, label, cost, prices, bills)
        for mode, label, cost in (
            ("rent", "Rent", plan.rent),
            ("own", "Own", plan.own),
            ("mixed", "Part owned, the others rented", plan.mixed),
        )
        if cost is not None
    }
    _chart(page, totals)
    page.sheet.set_column(0, 0, NAME_WIDTH)
    page.sheet.set_column(1, 1, 20)
    page.sheet.set_column(LOW, LOW + 2, 15)
    page.sheet.set_column(LOW + 3, LOW + 4, TEXT_WIDTH)
    page.sheet.set_column(QUANTITY, REST + 2, 15, None, {"level": 1})
    page.sheet.freeze_panes(3, 1)
    page.sheet.print_area(0, 0, page.row + 20, LOW + 4)
    on_paper(page.sheet)
    total = totals[plan.request.money.mode]
    at = {"cost_usd": total, "energy_mwh": energy, "tco2e": tonnes}
    return PlanSheet(cells={key: f"='{name}'!{page.ref(row, 1)}" for key, row in at.items()})


def _prices(page: _Sheet) -> dict[str, int]:
    """The yellow cells; the row of each price by its key."""
    page.heading("Prices", "Source")
    rows = {}
    for price in plan_prices(page.plan):
        rows[price.key] = page.row
        _price(page, price, rows)
    return rows


def _price(page: _Sheet, price: Price, rows: dict[str, int]) -> None:
    """A price at each level, yellow where it may be changed; levels that are the same follow the expected one."""
    y, writer, form = page.row, page.writer, price.number_format
    writer.text(page.sheet, y, 0, price.label)
    writer.text(page.sheet, y, 1, price.unit, font_color=LIGHT.muted)
    one = len(set(price.levels)) == 1
    yellow = {"bg_color": YELLOW, "border": 1, "border_color": LIGHT.line}
    for i, value in enumerate(price.levels):
        if one and i != 1:
            writer.formula(page.sheet, y, LOW + i, f"={page.ref(y, 1)}", value, form)
        elif price.same_as:
            writer.formula(page.sheet, y, LOW + i, f"={page.ref(rows[price.same_as], i)}", value, form, **yellow)
        else:
            writer.number(page.sheet, y, LOW + i, value, form, **({} if price.stands else yellow))
    page.note(y, LOW + 3, price.source)
    page.row += 1


def _each(page: _Sheet, formula: str, **rows: int) -> tuple[str, str, str]:
    """A formula at each level, its names standing for rows."""
    low, expected, high = (
        "=" + formula.format(**{name: page.ref(row, i) for name, row in rows.items()}) for i in range(3)
    )
    return low, expected, high


def _energy(page: _Sheet, prices: dict[str, int]) -> int:
    machines_kwh, meter_kwh = site_energy_kwh(page.plan)
    page.heading("Energy", "How")
    machines = page.fixed("Machines", "MWh", machines_kwh / 1000, AMOUNT, "GPUs, hosts, network and storage")
    mwh = (meter_kwh / 1000,) * 3
    formulas = _each(page, "{machines}*{pue}", machines=machines, pue=prices["pue"])
    return page.line("At the site's meter", "MWh", formulas, mwh, AMOUNT, bold=True)


def _bill(page: _Sheet, prices: dict[str, int], energy: int) -> int:
    bill = page.plan.bill
    page.heading("Electricity bill", "How")
    [own_pue] = [price.levels[1] for price in plan_prices(page.plan) if price.key == "pue"]
    machines_kw = peaks_kw(page.plan) / own_pue
    peaks = page.fixed(
        "Peaks of all months, added up", "kW", machines_kw, AMOUNT, "machines, the highest hour of each"
    )
    months = page.fixed("Calendar months", "months", len(bill.months), "0", ", ".join(bill.months))
    at = {"energy": energy, "price": prices["energy"], "peaks": peaks, "months": months}
    return _charged(page, "Electricity bill, in all", bill, "{energy}*1000*{price}", prices, at)


def _standing_bill(page: _Sheet, prices: dict[str, int]) -> int:
    """The bill of idle days beside that of training."""
    bill = page.plan.standing_bill
    page.heading("Electricity bill of idle days", "How")
    [own_pue] = [price.levels[1] for price in plan_prices(page.plan) if price.key == "pue"]
    peak_kw, month_count = standing_charges(page.plan)
    energy = page.fixed("Machines, idle", "MWh", bill.energy_kwh / 1000 / own_pue, AMOUNT)
    peaks = page.fixed(
        "Peaks of months without training, added up",
        "kW",
        peak_kw / own_pue,
        AMOUNT,
        "machines; others pay theirs above",
    )
    months = page.fixed("Calendar months without training", "months", month_count, "0")
    at = {"energy": energy, "price": prices["standing"], "peaks": peaks, "months": months}
    return _charged(page, "Idle electricity, in all", bill, "{energy}*1000*{pue}*{price}", prices, at)


def _charged(
    page: _Sheet, label: str, bill: Bill, energy_formula: str, prices: dict[str, int], at: dict[str, int]
) -> int:
    """Energy, demand and fixed charges of a bill, and their sum; the sum's row."""
    at = {**at, "pue": prices["pue"], "demand": prices["demand"], "fixed": prices["fixed"]}
    parts = (
        ("Energy", energy_formula, bill.energy_usd),
        ("Demand", "{peaks}*{pue}*{demand}", bill.demand_usd),
        ("Fixed", "{months}*{fixed}", bill.fixed_usd),
    )
    rows = [page.line(name, "USD", _each(page, form, **at), (usd,) * 3, USD) for name, form, usd in parts]
    formulas = _each(page, "SUM({first}:{last})", first=rows[0], last=rows[-1])
    return page.line(label, "USD", formulas, (bill.total_usd,) * 3, USD, bold=True, top=1)


def _tonnes(page: _Sheet, prices: dict[str, int], energy: int) -> int:
    carbon = page.plan.carbon
    page.heading("Carbon", "How")
    formulas = _each(page, "{energy}*{intensity}", energy=energy, intensity=prices["intensity"])
    located = (carbon.location_based_tco2e,) * 3
    row = page.line("Electricity, location-based", "tCO2e", formulas, located, AMOUNT)
    made = page.fixed("Making the hardware, this run's share", "tCO2e", carbon.embodied_tco2e, AMOUNT)
    formulas = _each(page, "{row}+{made}", row=row, made=made)
    page.line("Emissions, in all", "tCO2e", formulas, (carbon.total_tco2e,) * 3, AMOUNT, bold=True, top=1)
    return row


def _cost(page: _Sheet, label: str, cost: CostBreakdown, prices: dict[str, int], bills: list[int]) -> int:
    """The lines of a cost and their total; the total's row."""
    more = ("How", "Source", *(f"Quantity, {x.lower()}" for x in LEVELS), *(f"Rest, {x.lower()}" for x in LEVELS))
    page.heading(label, *more)
    found = workings(page.plan, cost)
    first = page.row
    last = first + len(found) - 1
    for working in found:
        y = page.row
        formulas = _formulas(page, working, prices, bills, first)
        page.line(working.line.name, "USD", formulas, working.levels, USD)
        page.note(y, LOW + 3, working.line.how)
        page.note(y, LOW + 4, working.line.source)
        for start, values in ((QUANTITY, working.quantity), (REST, working.rest)):
            for i, value in enumerate(values):
                page.writer.number(page.sheet, y, start + i, value, "#,##0.####", font_color=LIGHT.muted)
    formulas = _each(page, "SUM({first}:{last})", first=first, last=last)
    values = (cost.low, cost.expected, cost.high)
    return page.line(f"{label}, in all", "USD", formulas, values, USD, bold=True, top=1)


def _formulas(
    page: _Sheet, working: Working, prices: dict[str, int], bills: list[int], first_row: int
) -> tuple[str, str, str]:
    """What a line is, from the cells of its row and the prices."""
    y = page.row + 1
    low, expected, high = (
        "=" + _formula(page, working, prices, bills, first_row, i, f"${'HIJ'[i]}${y}", f"${'KLM'[i]}${y}")
        for i in range(3)
    )
    return low, expected, high


def _formula(
    page: _Sheet,
    working: Working,
    prices: dict[str, int],
    bills: list[int],
    first_row: int,
    level: int,
    quantity: str,
    rest: str,
) -> str:
    match working.follows:
        case "":
            return rest
        case "bill":
            return f"{quantity}*({'+'.join(page.ref(bill, level) for bill in bills)})"
        case "staff":
            first, last = (page.ref(row, level) for row in (first_row, page.row - 1))  # of the lines above
            return f"{quantity}*SUM({first}:{last})"
        case "interest":
            interest, server = (page.ref(prices[key], level) for key in ("interest", "server"))
            return f"({quantity}*{server}+{rest})*{interest}"
        case "sale":
            return f"{quantity}*{page.ref(prices['server'], level)}+{rest}"
        case key:
            return f"{quantity}*{page.ref(prices[key], level)}+{rest}"


def _chart(page: _Sheet, totals: dict[str, int]) -> None:
    """The ways to have the GPUs side by side, drawn from the cells so that it follows them."""
    chart = page.writer.book.add_chart({"type": "column"})
    for row, colour in zip(totals.values(), (LIGHT.accent, LIGHT.own, LIGHT.waiting), strict=False):
        chart.add_series(
            {
                "name": [page.name, row, 0],
                "categories": [page.name, PRICES_HEAD, LOW, PRICES_HEAD, LOW + 2],
                "values": [page.name, row, LOW, row, LOW + 2],
                "fill": {"color": colour},
                "gap": 60,
            }
        )
    chart.set_title({"name": "Cost: low, expected and high [USD]", "name_font": {"size": 12}})
    chart.set_y_axis(
        {"num_format": '"$"0.0,,"M"', "major_gridlines": {"visible": True, "line": {"color": LIGHT.line}}}
    )
    chart.set_size({"width": 560, "height": 300})
    page.sheet.insert_chart(page.row + 2, 0, chart)
