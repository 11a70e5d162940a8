"""Charts of money say what the plan says."""

from typing import Any

import numpy as np
import pytest

from planner.decide.site_text import print_money
from planner.money.cashflow import cash_flow
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request
from planner.quantities import money
from planner.report import words
from planner.report.money_charts import break_even_curve, break_even_table
from profiler.units import DAY_S
from tests.report.conftest import SMALL

CASES: dict[str, dict[str, Any]] = {
    "in colocation": {},
    "in a building, with operators": {"money.housing": "building", "money.operators": 4},
    "written off in equal parts, then sold": {"money.depreciation": "straight-line", "money.resale_share": 0.5},
    "with a demand charge": {"site.tariff": "tou-example"},
    "of a node that is not filled": {"cluster.gpus": 4, "training.layout": {"tp": 1, "sharding": "fsdp"}},
}


def planned(**changes: Any) -> Plan:
    return make_plan(plan_request(SMALL, [("tokens", "100B"), *changes.items()], source="a test"))


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_rent_and_buy_cross_at_the_break_even(changes: dict[str, Any]) -> None:
    plan = planned(**changes)
    table, day = break_even_table(plan), plan.break_even_days
    assert day is not None
    cheaper = np.sign(table["Buy [USD]"] - table["Rent [USD]"])
    assert (cheaper[table["Days of use"] < day] == 1).all()
    assert (cheaper[table["Days of use"] > day] == -1).all()
    rent, buy = (np.interp(day, table["Days of use"], table[name]) for name in ("Rent [USD]", "Buy [USD]"))
    assert rent == pytest.approx(buy, rel=0.002)


def test_this_run_takes_the_days_that_are_paid_for_wherever_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(**{"money.preparation_days": 20, "money.idle_days": 10.5})
    billed = round(plan.billed_days)
    assert billed == round(plan.campaign.duration_s / DAY_S + 30.5) > plan.days.expected
    print_money(plan, [], cash_flow(plan))
    chart = break_even_curve(plan)
    assert chart
    said = " ".join(capsys.readouterr().out.split())
    for text in (said, words.break_even(plan), chart["title"]["text"]):
        assert f"this run takes {billed}" in text
    assert words.break_even(plan) in said
    rent = next(line for line in plan.cost.lines if line.name == "Rent of GPUs")
    assert chart["description"].endswith(f"renting for them costs {money(rent.expected)}.")
