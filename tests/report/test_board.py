"""The page for the board: what it ranks, what it says, and that it is one page."""

import csv
import io
from typing import Any

import openpyxl
import pypdf
import pytest

from planner.decide.sensitivity import tornado
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request
from planner.quantities import money
from planner.report.board import board
from planner.report.contents import document
from planner.report.document import Table, Text
from planner.report.formats import write_report
from tests.report.conftest import SMALL
from tests.report.reading import bare

LARGE: dict[str, Any] = {"model": "llama3.1-70b", "tokens": "15T", "cluster": {"gpu": "h100-sxm", "gpus": 2048}}


def planned(name: str, data: dict[str, Any], **changes: Any) -> Plan:
    return make_plan(plan_request({**data, "name": name}, [("replicas", 1), *changes.items()], source="a test"))


@pytest.fixture(scope="module")
def mixed_sizes() -> list[Plan]:
    """A large owned cluster whose purchase is unsure, and a small rented one."""
    owned = {"money.mode": "own", "money.resale_share": 0.6, "money.operators": 12, "money.research_staff": True}
    return [planned("Large and owned", LARGE, **owned), planned("Small and rented", SMALL)]


def first_column(plans: list[Plan], table: int) -> list[str]:
    blocks = [block for section in board(plans) for block in section.blocks if isinstance(block, Table)]
    return [row[0].text for row in blocks[table].rows]


def test_what_matters_most_for_a_small_plan_is_not_hidden_by_a_large_one(mixed_sizes: list[Plan]) -> None:
    """Ranked by the widest swing as a share of a plan's own cost."""
    shown = first_column(mixed_sizes, 1)
    assert "Rent" in shown
    widest = {
        swing.label: max(
            other.width / plan.cost.expected
            for plan in mixed_sizes
            for other in tornado(plan)["cost_usd"]
            if other.label == swing.label
        )
        for plan in mixed_sizes
        for swing in tornado(plan)["cost_usd"]
    }
    assert shown == sorted(widest, key=lambda label: -widest[label])[: len(shown)]


def test_three_plans_with_long_answers_are_one_sheet_whose_sentences_say_whose_they_are() -> None:
    names = ["Texas owned and sold", "One year of commitment", "Ireland, continued"]
    moneys: tuple[dict[str, Any], ...] = (
        {"money.mode": "own", "money.resale_share": 0.6, "money.research_staff": True},
        {"money.commitment": "1-year", "money.pay_whole_term": True, "money.research_staff": True},
        {"money.commitment": "1-year", "site.climate": "phoenix"},
    )
    plans = [planned(name, LARGE, **money) for name, money in zip(names, moneys, strict=True)]
    pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(write_report(plans, "pdf"))).pages]
    first = bare(pages[0])
    report = document(plans)
    assert bare(report.closing) in first
    assert bare("From first day to last") in bare(pages[1])
    for part in report.parts:
        assert bare(part.name + part.answer) in first


def test_what_a_term_still_costs_stands_on_the_first_page_and_in_every_table() -> None:
    """A year's price of a run of days; once the whole term is paid nothing more is due."""
    data = {"model": "llama3.1-8b", "tokens": "100B", "cluster": {"gpus": 64}, "money": {"commitment": "1-year"}}
    used, whole = planned("Used", data), planned("Whole", data, **{"money.pay_whole_term": True})
    assert used.rent
    assert whole.rent
    assert used.unused_term_usd == pytest.approx(whole.rent.expected - used.rent.expected)
    assert used.to_dict()["unused_term_usd"] == used.unused_term_usd
    assert whole.unused_term_usd == 0
    table = board([used, whole])[0].blocks[0]
    assert isinstance(table, Table)
    [costs] = [row[1:] for row in table.rows if row[0].text == "Cost"]
    assert [cell.note.endswith(f"rest {money(used.unused_term_usd)} more") for cell in costs] == [True, False]
    rows = list(csv.DictReader(io.StringIO(str(write_report([used, whole], "csv"), "utf-8"))))
    [row] = [row for row in rows if row["item"] == "rest of the term"]
    assert (row["plan"], float(row["value"])) == ("Used", used.unused_term_usd)
    summary = openpyxl.load_workbook(io.BytesIO(write_report([used, whole], "xlsx")))["Summary"]
    told = [cell.value for (cell,) in summary.iter_rows(max_col=1) if "more, which money" in str(cell.value)]
    assert [text.startswith("Used: The rent is that of a 1-year term") for text in told] == [True]


def test_one_interruption_is_one() -> None:
    data = {"model": "llama3.1-8b", "tokens": "100B", "cluster": {"gpus": 64}}
    plans = (planned("One stop", data, seed=seed) for seed in range(1, 20))
    table = board([next(plan for plan in plans if len(plan.campaign.interruptions) == 1)])[0].blocks[0]
    assert isinstance(table, Table)
    assert table.rows[-1][1].note == "1 interruption"


def test_a_report_says_what_is_not_in_the_cost(plan: Plan) -> None:
    [money] = [section for section in document([plan]).parts[0].sections if section.title == "Money"]
    said = " ".join(block.text for block in money.blocks if isinstance(block, Text))
    for what in ("taxes", "insurance", "transport", "import"):
        assert what in said
