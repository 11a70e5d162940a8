"""The workbook's formulas hold the plan's numbers, and follow a price as a new plan would."""

import re
from pathlib import Path

import pytest

from planner.plan import Plan, make_plan
from planner.plan_file import plan_request
from planner.report import words
from planner.report.formats import write_report
from tests.report.conftest import SMALL
from tests.report.reading import xlsx_parts
from tests.report.spreadsheet import Workbook

CASES: dict[str, dict[str, object]] = {
    "rented": {},
    "rented for a term": {"money.commitment": "1-year", "money.pay_whole_term": True, "money.idle_days": 20},
    "owned, then sold": {"money.mode": "own", "money.resale_share": 0.7, "money.idle_days": 10},
    "owned, everything": {
        "money.mode": "own",
        "money.housing": "building",
        "money.depreciation": "straight-line",
        "money.resale_share": 0.8,
        "money.operators": 12,
        "money.research_staff": True,
        "money.preparation_days": 30,
        "site.tariff": "tou-example",
    },
    "rented, with the people who develop the model": {"money.research_staff": True, "money.preparation_days": 7},
    "rented for a term, with them": {
        "money.commitment": "1-year",
        "money.pay_whole_term": True,
        "money.research_staff": True,
    },
    "part owned": {"money.mode": "mixed", "money.owned_gpus": 64, "site.tariff": "tou-example", "site.pue": 1.4},
}


def planned(**changes: object) -> Plan:
    return make_plan(plan_request(SMALL, list(changes.items()), source="a test"))


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Plan, Workbook, dict[str, object]]:
    changes = CASES[request.param]
    plan = planned(**changes)
    return plan, Workbook(write_report([plan], "xlsx")), changes


def test_every_formula_gives_the_number_it_shows(case: tuple[Plan, Workbook, dict[str, object]]) -> None:
    _, book, _ = case
    cells = book.cells()
    assert len(cells) > 40
    for sheet, coordinate in cells:
        shown = book.cached[sheet][coordinate].value
        assert book.value((sheet, coordinate)) == pytest.approx(shown, rel=1e-9, abs=1e-9), (sheet, coordinate)


def test_totals_are_the_plans(case: tuple[Plan, Workbook, dict[str, object]]) -> None:
    plan, book, _ = case
    for label, cost in (
        ("Rent, in all", plan.rent),
        ("Own, in all", plan.own),
        ("Part owned, the others rented, in all", plan.mixed),
    ):
        if cost is not None:
            assert book.levels("Plan 1", label) == pytest.approx((cost.low, cost.expected, cost.high))
    assert book.levels("Plan 1", "At the site's meter")[1] == pytest.approx(plan.energy_mwh.expected)
    assert book.levels("Plan 1", "Electricity bill, in all")[1] == pytest.approx(plan.bill.total_usd)
    if plan.own and plan.standing_bill.energy_kwh:
        idle = book.levels("Plan 1", "Idle electricity, in all")[1]
        assert idle == pytest.approx(plan.standing_bill.total_usd)
    located = book.levels("Plan 1", "Electricity, location-based")[1]
    assert located == pytest.approx(plan.carbon.location_based_tco2e)
    assert book.levels("Plan 1", "Emissions, in all")[1] == pytest.approx(plan.carbon.total_tco2e)
    row = book.find("Summary", "Cost [USD]")
    assert book.value(("Summary", f"B{row}")) == pytest.approx(plan.cost.expected)


@pytest.mark.parametrize(
    ("label", "value", "key"),
    [
        ("Rent of a GPU", 1.23, "money.price_usd_per_gpu_hour"),
        ("Server, a GPU's share", 61_000.0, "money.server_usd_per_gpu"),
        ("PUE, mean over the run", 1.7, "site.pue"),
    ],
)
def test_a_changed_price_gives_what_a_new_plan_gives(
    case: tuple[Plan, Workbook, dict[str, object]], label: str, value: float, key: str
) -> None:
    _, book, changes = case
    again = planned(**{**changes, key: value})
    book.changed.clear()
    book.change("Plan 1", label, value)
    assert book.changed
    cost = again.cost
    mode = {"rent": "Rent", "own": "Own", "mixed": "Part owned, the others rented"}[again.request.money.mode]
    assert book.levels("Plan 1", f"{mode}, in all") == pytest.approx((cost.low, cost.expected, cost.high), rel=1e-9)
    assert book.levels("Plan 1", "At the site's meter")[1] == pytest.approx(again.energy_mwh.expected)
    assert book.levels("Plan 1", "Electricity bill, in all")[1] == pytest.approx(again.bill.total_usd)
    assert book.levels("Plan 1", "Emissions, in all")[1] == pytest.approx(again.carbon.total_tco2e)
    row = book.find("Summary", "Cost [USD]")
    assert book.value(("Summary", f"B{row}")) == pytest.approx(again.cost.expected)


@pytest.mark.parametrize(
    ("site", "may_change"),
    [
        ({}, True),
        ({"site.power_windows": [{"allowed_w": "0.2 MW", "from_hour": 16, "to_hour": 20}]}, False),
        ({"site.power_limit_mw": 0.28}, False),
        ({"site.climate": "phoenix"}, False),
    ],
)
def test_pue_may_be_changed_only_where_the_totals_can_follow_it(site: dict[str, object], may_change: bool) -> None:
    book, again = Workbook(write_report([planned(**site)], "xlsx")), planned(**{**site, "site.pue": 1.4})
    label = "PUE, mean over the run"
    book.change("Plan 1", label, 1.4)
    row = [
        cell for [*cells] in book.formulas["Plan 1"].iter_rows(max_col=6) for cell in cells if cells[0].value == label
    ]
    yellow = [cell for cell in row if cell.fill.fgColor.rgb == "FFFFF4C2"]
    follows = book.levels("Plan 1", "At the site's meter")[1] == pytest.approx(again.energy_mwh.expected)
    assert bool(yellow) == follows == may_change
    assert ("Plan again with site.pue" in str(row[5].value)) == (not may_change)


@pytest.mark.parametrize("before", [0.0, 0.06])
@pytest.mark.parametrize("mode", [{"money.mode": "own"}, {"money.mode": "mixed", "money.owned_gpus": 64}])
def test_a_changed_electricity_price_reaches_bill_and_owners(before: float, mode: dict[str, object]) -> None:
    key = "site.electricity_usd_per_kwh"
    flat = {**mode, key: before, "money.idle_days": 10}
    book, again = Workbook(write_report([planned(**flat)], "xlsx")), planned(**{**flat, key: 0.15})
    book.change("Plan 1", "Electricity, mean over the hours", 0.15)
    assert book.levels("Plan 1", "Electricity bill, in all")[1] == pytest.approx(again.bill.total_usd)
    assert again.own is not None
    assert book.levels("Plan 1", "Own, in all")[1] == pytest.approx(again.own.expected, rel=1e-9)
    row = book.find("Summary", "Cost [USD]")
    assert book.value(("Summary", f"B{row}")) == pytest.approx(again.cost.expected, rel=1e-9)


def test_of_prices_by_the_hour_both_means_changed_give_what_a_flat_price_gives() -> None:
    """The hours before and after training have a mean of their own."""
    owned = {"money.mode": "own", "money.idle_days": 10, "site.tariff": "tou-example"}
    book, again = (
        Workbook(write_report([planned(**owned)], "xlsx")),
        planned(**{**owned, "site.electricity_usd_per_kwh": 0.15}),
    )
    for label, value in (
        ("Electricity, mean over the hours", 0.15),
        ("Electricity before and after training", 0.15),
        ("Demand charge", 0.0),
        ("Fixed charge", 0.0),
    ):
        book.change("Plan 1", label, value)
    assert book.levels("Plan 1", "Own, in all")[1] == pytest.approx(again.cost.expected, rel=1e-9)


def test_changed_charges_of_a_month_reach_idle_months_too(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.toml" for n in range(2)]
    for path, demand, fixed in zip(paths, (12.5, 20.0), (2500, 4000), strict=True):
        path.write_text(
            f'name = "t"\nlabel = "t"\nenergy_usd_per_kwh = 0.05\ndemand_usd_per_kw_month = {demand}\n'
            f'fixed_usd_per_month = {fixed}\nsource = "a test"\ndate = "2026"\n'
        )
    owned = {"money.mode": "own", "money.idle_days": 70, "money.preparation_days": 40}
    planned_, again = (planned(**owned, **{"site.tariff": str(path)}) for path in paths)
    book = Workbook(write_report([planned_], "xlsx"))
    book.change("Plan 1", "Demand charge", 20.0)
    book.change("Plan 1", "Fixed charge", 4000.0)
    assert book.levels("Plan 1", "Idle electricity, in all")[1] == pytest.approx(again.standing_bill.total_usd)
    assert book.levels("Plan 1", "Own, in all")[1] == pytest.approx(again.cost.expected, rel=1e-9)


@pytest.mark.parametrize("housing", ["colocation", "building"])
def test_every_yellow_cell_moves_a_total(housing: str) -> None:
    owned = {"money.mode": "own", "money.housing": housing, "money.idle_days": 40, "site.tariff": "tou-example"}
    book = Workbook(write_report([planned(**owned)], "xlsx"))
    yellow = [row for row in book.formulas["Plan 1"].iter_rows(max_col=4) if row[3].fill.fgColor.rgb == "FFFFF4C2"]
    assert len(yellow) > 7
    texts = [row[0].value for row in book.formulas["Plan 1"].iter_rows(max_col=1)]
    totals = [text for text in texts if isinstance(text, str) and ("in all" in text or "meter" in text)]
    before = [book.levels("Plan 1", total) for total in totals]
    for row in yellow:
        book.changed.clear()
        book.change("Plan 1", str(row[0].value), 3.7)
        assert [book.levels("Plan 1", total) for total in totals] != before, row[0].value


def test_what_stays_as_planned_says_so(plan: Plan) -> None:
    book = Workbook(write_report([plan], "xlsx")).formulas
    said = " ".join(str(cell.value) for row in book["Summary"].iter_rows(max_col=1) for cell in row)
    assert "mean power" in said
    assert "cash by month" in said
    assert "As planned" in str(book["Cash by month"]["A2"].value)


def test_a_changed_grid_gives_what_another_place_gives(plan: Plan) -> None:
    again = planned(**{"site.grid": "Norway"})
    book = Workbook(write_report([plan], "xlsx"))
    book.change("Plan 1", "Grid, carbon intensity", again.grid.intensity_kg_per_kwh)
    assert book.levels("Plan 1", "Electricity, location-based")[1] == pytest.approx(again.carbon.location_based_tco2e)


def test_a_demand_charge_may_be_put_on_a_tariff_without_one(plan: Plan) -> None:
    book = Workbook(write_report([plan], "xlsx"))
    before = book.levels("Plan 1", "Electricity bill, in all")[1]
    book.change("Plan 1", "Demand charge", 10.0)
    book.change("Plan 1", "Fixed charge", 1000.0)
    months, peak_kw = len(plan.bill.months), plan.peak_power_mw * 1000
    added = book.levels("Plan 1", "Electricity bill, in all")[1] - before
    assert months * (0.5 * peak_kw * 10 + 1000) < added <= months * (peak_kw * 10 + 1000)


@pytest.mark.parametrize("grid", ["USA", "Bhutan"])
def test_water_that_is_not_published_is_no_number(grid: str) -> None:
    dry = planned(**{"site.grid": grid})
    summary = Workbook(write_report([dry], "xlsx")).formulas["Summary"]
    found = {row[0].value: row[1].value for row in summary.iter_rows(max_col=2)}
    assert found["Water at the site [m3]"] == pytest.approx(dry.water.site_m3)
    published = dry.water.generation_m3
    assert found["Water in generating the electricity [m3]"] == (
        "not published" if published is None else pytest.approx(published)
    )


def test_a_sentence_that_no_price_changes_says_that_it_is_the_plans(plan: Plan) -> None:
    """The cells beneath it follow the yellow ones."""
    summary = Workbook(write_report([plan], "xlsx")).formulas["Summary"]
    texts = [cell.value for (cell,) in summary.iter_rows(max_col=1) if isinstance(cell.value, str)]
    [said] = [text for text in texts if words.answer(plan) in text]
    assert said.startswith("As planned: ")


def test_small_amounts_are_not_shown_as_nothing() -> None:
    """As a spreadsheet shows them: a format's first condition that holds, else its last part."""
    book = Workbook(write_report([planned(tokens="20M", **{"cluster.gpus": 8})], "xlsx"))
    shown = 0
    for sheet in ("Summary", "Plan 1"):
        for cells in book.cached[sheet].iter_rows(max_col=5):
            for cell in cells[1:]:
                if isinstance(cell.value, float) and cell.value > (0.01 if "$" in cell.number_format else 1e-4):
                    parts = [re.fullmatch(r"(?:\[<(\d+)\])?(.*)", part) for part in cell.number_format.split(";")]
                    form = next(p[2] for p in parts if p and (p[1] is None or cell.value < float(p[1])))
                    decimals = len(form.partition(".")[2].strip('%"').replace("#", ""))
                    assert round(cell.value * (100 if "%" in form else 1), decimals) > 0, (sheet, cells[0].value)
                    shown += 1
    assert shown > 50


def test_charts_are_native_and_drawn_from_cells(plan: Plan, hostile_plan: Plan) -> None:
    parts = xlsx_parts(write_report([plan, hostile_plan], "xlsx"))
    charts = [part for name, part in parts.items() if name.startswith("xl/charts/chart")]
    assert len(charts) == 2 * (1 + 6)
    assert all("<c:f>" in chart for chart in charts)
    assert not any(name.startswith("xl/media") for name in parts)
