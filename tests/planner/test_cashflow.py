"""Payments: they add up to the cost, fall on the right months, and what is bought comes back as value."""

import math
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.decide.site_text import print_money
from planner.money.cashflow import bought_name, cash_flow, cash_flow_csv, days_by_month, kept_name
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request
from planner.quantities import human


def planned(*, tariff: str = "tou-example", **money: Any) -> Plan:
    return make_plan(
        plan_request(
            {
                "model": "llama3.1-8b",
                "tokens": "2T",
                "start": "2026-01-20",
                "replicas": 1,
                "cluster": {"gpus": 64},
                "training": {"layout": {"tp": 1, "sharding": "fsdp"}},
                "site": {"tariff": tariff},
                "money": money,
            },
            source="test",
        )
    )


@pytest.mark.parametrize(
    "money",
    [
        {},
        {"preparation_days": 45, "idle_days": 20},
        {"commitment": "1-year", "pay_whole_term": True},
        {"mode": "own"},
        {"mode": "own", "depreciation": "write-off"},
        {"mode": "own", "depreciation": "straight-line", "housing": "building", "resale_share": 0.8, "operators": 3},
        {"mode": "own", "research_staff": True, "preparation_days": 45},
        {"mode": "mixed", "owned_gpus": 32, "idle_days": 10},
    ],
)
def test_payments_add_up_to_the_cost_line_by_line(money: dict[str, Any]) -> None:
    plan = planned(**money)
    flow = cash_flow(plan)
    assert flow.total_usd == pytest.approx(plan.cost.expected)
    for line in plan.cost.lines:
        names = {bought_name(line), kept_name(line)} if line.bought_usd else {line.name}
        paid = math.fsum(lines.get(name, 0.0) for lines in flow.payments_usd.values() for name in names)
        assert paid == pytest.approx(line.expected), line.name
    assert list(flow.payments_usd) == sorted(flow.payments_usd)
    assert flow.most_tied_up_usd >= plan.cost.expected * (1 - 1e-12)


def test_a_purchase_is_paid_first_and_its_value_comes_back_last() -> None:
    plan = planned(mode="own")
    flow, months = cash_flow(plan), list(cash_flow(plan).payments_usd)
    servers = plan.cost.lines[0]
    assert flow.payments_usd[months[0]]["Servers: bought"] == servers.bought_usd
    assert flow.payments_usd[months[-1]]["Servers: value kept"] == pytest.approx(
        servers.expected - servers.bought_usd
    )
    assert flow.most_tied_up_usd > servers.bought_usd
    assert flow.by_month_usd[months[-1]] < 0 < flow.by_month_usd[months[0]]


def test_rent_is_paid_by_the_days_of_each_month_from_preparation_on() -> None:
    plan = planned(preparation_days=25, storage_tb=0, egress_tb=0)
    flow = cash_flow(plan)
    assert next(iter(flow.payments_usd)) == "2025-12"  # 25 days before 20 January
    per_day = plan.cost.expected / (plan.campaign.duration_s / 86_400 + 25)
    assert flow.by_month_usd["2025-12"] == pytest.approx(6 * per_day)  # from 26 December
    assert flow.by_month_usd["2026-01"] == pytest.approx(31 * per_day)


@pytest.mark.parametrize("usd_per_mwh", [60, -20])
def test_electricity_is_paid_with_its_bills_and_paid_for_where_prices_are_below_nothing(
    tmp_path: Path, usd_per_mwh: int
) -> None:
    prices = tmp_path / "prices.csv"
    hours = (usd_per_mwh if hour < 31 * 24 else usd_per_mwh / 2 for hour in range(8760))  # other days after January
    prices.write_text("\n".join(["usd_per_mwh", *map(str, hours)]) + "\n")
    plan = planned(mode="own", tariff=str(prices))
    flow = cash_flow(plan)
    for month, usd in plan.bill.usd_by_month.items():
        assert flow.payments_usd[month]["Electricity"] == pytest.approx(usd)


def test_bills_that_nearly_cancel_are_paid_as_they_are(tmp_path: Path) -> None:
    """January's prices are above nothing and February's as far below: idle days are another matter."""
    prices = tmp_path / "prices.csv"
    january = planned(mode="own").bill.usd_by_month
    assert len(january) > 1
    hours = (60 if hour < 31 * 24 else -25 for hour in range(8760))
    prices.write_text("\n".join(["usd_per_mwh", *map(str, hours)]) + "\n")
    plan = planned(mode="own", tariff=str(prices), idle_days=25)
    paid = {month: lines["Electricity"] for month, lines in cash_flow(plan).payments_usd.items()}
    for month, usd in list(plan.bill.usd_by_month.items())[:-1]:  # the last has idle days too
        assert paid[month] == pytest.approx(usd)
    assert math.fsum(paid.values()) == pytest.approx(plan.bill.total_usd + plan.standing_bill.total_usd)


def test_a_part_of_which_nothing_is_rented_pays_no_rent() -> None:
    whole = planned(mode="mixed", owned_gpus=72, commitment="3-year", pay_whole_term=True)
    flow = cash_flow(whole)
    assert len(flow.payments_usd) <= 3
    assert all(usd for lines in flow.payments_usd.values() for usd in lines.values())


def test_what_a_sale_brings_below_value_was_never_tied_up() -> None:
    """It comes back less: what was paid out before is the same whatever the sale brings."""
    flows = [cash_flow(planned(mode="own", resale_share=share)) for share in (1.0, 0.6, 0.0)]
    assert flows[0].total_usd < flows[1].total_usd < flows[2].total_usd
    assert [flow.most_tied_up_usd for flow in flows] == pytest.approx([flows[0].most_tied_up_usd] * 3)


@pytest.mark.parametrize(("resale", "head"), [(1.0, "kept as value"), (0.6, "sold, 60 % of value")])
def test_a_month_says_what_comes_back_apart_from_what_is_paid(
    resale: float, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(mode="own", resale_share=resale)
    flow = cash_flow(plan)
    back_usd = math.fsum(flow.back_by_month_usd.values())
    kept_usd = math.fsum(line.bought_usd - line.expected for line in plan.cost.lines if line.bought_usd)
    assert back_usd == pytest.approx(resale * kept_usd)
    last = list(flow.by_month_usd)[-1]
    assert flow.back_by_month_usd[last] > -flow.by_month_usd[last] > 0  # its rent of space is paid too
    print_money(plan, [], flow)
    said = capsys.readouterr().out
    assert head in " ".join(said.split())
    assert f"−${human(-flow.by_month_usd[last])}" in said
    print_money(plan := planned(), [], cash_flow(plan))
    assert "value" not in capsys.readouterr().out.split("Payments")[1]


@pytest.mark.parametrize("money", [{}, {"mode": "mixed", "owned_gpus": 32, "preparation_days": 12, "idle_days": 3}])
def test_the_rest_of_a_term_is_paid_through_the_term(money: dict[str, Any]) -> None:
    plan = planned(commitment="3-year", pay_whole_term=True, price_usd_per_gpu_hour=2.0, **money)
    [name] = [line.name for line in plan.cost.lines if line.name.lower().endswith("rest of the term")]
    paid = {month: lines[name] for month, lines in cash_flow(plan).payments_usd.items() if name in lines}
    first = date(2026, 1, 20) - timedelta(days=money.get("preparation_days", 0))
    end = first + timedelta(days=3 * 365.25)  # of the term, from the first day that is paid for
    assert list(paid)[-1] == f"{end:%Y-%m}"
    rented = plan.charges.rented_gpus - money.get("owned_gpus", 0)
    assert paid["2027-02"] == pytest.approx(2.0 * 24 * 28 * rented)  # a month like any other
    assert max(paid.values()) == pytest.approx(2.0 * 24 * 31 * rented)


def test_the_table_has_every_payment() -> None:
    flow = cash_flow(planned(mode="own"))
    rows = cash_flow_csv(flow).splitlines()
    assert rows[0] == "month,line,usd"
    assert math.fsum(float(row.rsplit(",", 1)[1]) for row in rows[1:]) == pytest.approx(flow.total_usd)


@given(first=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)), days=st.floats(0, 2000))
def test_days_add_up_and_no_month_is_longer_than_it_is(first: datetime, days: float) -> None:
    found = days_by_month(first, days)
    assert math.fsum(found.values()) == pytest.approx(days, abs=1e-6)
    assert all(0 <= one <= 31 for one in found.values())
    assert next(iter(found)) == f"{first:%Y-%m}"


def test_days_by_hand() -> None:
    assert days_by_month(datetime(2024, 1, 31), 31) == {"2024-01": 1.0, "2024-02": 29.0, "2024-03": 1.0}
