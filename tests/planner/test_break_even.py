"""Rent or buy: where both have cost the same, and what that day does and does not depend on."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.market.prices import Level
from planner.money.break_even import RentOrBuy
from planner.money.costs import broken_down, given_rental, load_rental, rent_item
from planner.money.ownership import Keeping, hardware_usd, load_ownership, ownership_items
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request
from planner.report.words import break_even

OWNED = load_ownership("h100-sxm")


def compared(usd_per_hour: float = 3.0, *, gpus: int = 8, electricity: float = 25.0, **keeping: Any) -> RentOrBuy:
    return RentOrBuy(
        rental=given_rental("h100-sxm", usd_per_hour),
        rented_gpus=gpus,
        ownership=OWNED,
        owned_gpus=gpus,
        electricity_usd_per_day=electricity,
        keeping=Keeping(**keeping),
    )


def day(either: RentOrBuy) -> float:
    assert either.break_even_days is not None
    return either.break_even_days


def bought_usd(gpus: int) -> float:
    """Servers and interconnect, prices as expected."""
    return float(sum(hardware_usd(OWNED, gpus, Level())))


def planned(**changes: Any) -> Plan:
    data = {"model": "llama3.1-8b", "tokens": "1T", "replicas": 1, "cluster": {"gpus": 256}}
    return make_plan(plan_request(data, list(changes.items()), source="test"))


def test_break_even_is_where_both_have_cost_the_same() -> None:
    rental = load_rental("h100-sxm")
    days = day(compared(rental.price_usd_per_gpu_hour.expected))
    own = broken_down(ownership_items(OWNED, 8, days, 25.0 * days, Keeping()))
    running = math.fsum(line.expected for line in own.lines if "value lost" not in line.name)
    rent = rent_item(rental, 24 * 8 * days).line().expected
    assert bought_usd(8) + running == pytest.approx(rent, rel=1e-6)


def test_a_cheap_rent_never_breaks_even() -> None:
    assert compared(0.2).break_even_days is None


@given(resale=st.floats(0, 1), price=st.floats(2, 10), housing=st.sampled_from(["colocation", "building"]))
def test_what_is_written_off_whole_is_not_sold(resale: float, price: float, housing: str) -> None:
    sold, kept = (compared(price, resale_share=share, housing=housing) for share in (resale, 1.0))
    assert sold.break_even_days == kept.break_even_days


def test_before_the_first_day_hardware_and_its_building_are_paid_for() -> None:
    hardware, rated_kw = bought_usd(8), 8 * OWNED.rated_kw_per_gpu
    assert compared().buy_usd(0) == pytest.approx(hardware)
    assert compared(housing="building").buy_usd(0) == pytest.approx(hardware + rated_kw * OWNED.building.expected)
    assert compared(storage_tb=1000).buy_usd(0) == pytest.approx(hardware)
    assert compared().rent_usd(0) == 0


def test_a_building_and_operators_have_to_pay_for_themselves_too() -> None:
    case: dict[str, Any] = {"gpus": 1024, "electricity": 2_000.0}
    bare, staffed = compared(**case), compared(**case, operators=20)
    assert day(bare) < day(staffed) < day(compared(**case, housing="building"))


@given(usd=st.floats(-500, 500), less=st.floats(0, 500))
def test_cheaper_electricity_pays_sooner_below_nothing_too(usd: float, less: float) -> None:
    assert day(compared(9.0, electricity=usd - less)) <= day(compared(9.0, electricity=usd)) + 1e-6


# A term that is paid to its end

YEAR = 365.25


def term(usd_per_hour: float, years: int, **more: Any) -> RentOrBuy:
    return replace(compared(usd_per_hour, **more), term_days=years * YEAR)


@given(days=st.floats(0, 3000), years=st.integers(1, 3))
def test_rent_is_never_less_than_the_term_and_goes_on_by_the_day_after_it(days: float, years: int) -> None:
    either = term(2.0, years)
    assert either.rent_usd(days) == pytest.approx(2.0 * 8 * 24 * max(days, years * YEAR))
    assert either.rent_usd(days) >= compared(2.0).rent_usd(days)


@given(usd=st.floats(0.2, 12), years=st.integers(0, 3), housing=st.sampled_from(["colocation", "building"]))
def test_days_of_use_for_which_buying_is_said_to_pay_are_those_for_which_it_does(
    usd: float, years: int, housing: str
) -> None:
    either = term(usd, years, housing=housing)
    after, until = either.break_even_days, either.short_use_days
    for days in [0.0, 1.0, *(10.0 * n for n in range(1, 366))]:
        pays = either.buy_usd(days) < either.rent_usd(days)
        said = (after is not None and days >= after) or (until is not None and days <= until)
        near = any(edge is not None and abs(days - edge) < 0.01 for edge in (after, until))
        assert pays == said or near, days


def test_a_term_that_costs_more_than_the_cluster_is_better_bought_at_once() -> None:
    usd = bought_usd(8)
    dear = 2 * usd / (8 * 24 * 3 * YEAR)  # the term costs the cluster twice over
    assert day(term(dear, 3)) == 0
    assert term(dear, 3).short_use_days is None
    barely = 1.05 * usd / (8 * 24 * 3 * YEAR)  # what it takes to run eats up the rest within the term
    found = term(barely, 3).short_use_days
    assert found
    assert found < 3 * YEAR
    assert compared(barely).short_use_days is None


# Of a plan


@pytest.mark.parametrize(("usd_per_hour", "says"), [(9.0, "from the first day"), (1.2, "and again after")])
def test_a_plan_that_pays_its_whole_term_compares_the_whole_term(usd_per_hour: float, says: str) -> None:
    money = {
        "money.commitment": "3-year",
        "money.pay_whole_term": True,
        "money.price_usd_per_gpu_hour": usd_per_hour,
        "money.server_usd_per_gpu": 22_000,
    }
    plan = planned(**money)
    assert plan.rent_or_buy
    assert plan.rent
    rented = math.fsum(line.expected for line in plan.rent.lines if line.name in ("Rent of GPUs", "Rest of the term"))
    assert plan.rent_or_buy.rent_usd(plan.billed_days) == pytest.approx(rented)
    assert says in break_even(plan)
    assert "the whole term of 1,096 days being paid" in break_even(plan)
    assert "whole term" not in break_even(planned(**{**money, "money.pay_whole_term": False}))


def test_a_plan_whose_electricity_is_paid_for_using_it_breaks_even_sooner(tmp_path: Path) -> None:
    prices = tmp_path / "below_nothing.csv"
    prices.write_text("usd_per_mwh\n" + "-20\n" * 8760)
    paid, free = planned(**{"site.tariff": str(prices)}), planned(**{"site.electricity_usd_per_kwh": 0.0})
    assert paid.bill.total_usd == pytest.approx(-20 * paid.energy_mwh.expected, rel=1e-3)
    assert paid.rent_or_buy
    assert free.break_even_days
    assert day(paid.rent_or_buy) < free.break_even_days


@pytest.mark.parametrize("charge", ["demand_usd_per_kw_month = 20.0", "fixed_usd_per_month = 50000.0"])
def test_charges_of_a_month_are_no_charges_of_a_day(tmp_path: Path, charge: str) -> None:
    """A run of two days on a flat tariff, within a month or over the end of one: the same cluster, the same years."""
    tariff = tmp_path / "demand.toml"
    tariff.write_text(
        f'name = "d"\nlabel = "d"\nenergy_usd_per_kwh = 0.08\n{charge}\nsource = "a test"\ndate = "2026"\n'
    )
    one, two = (
        planned(tokens="250B", start=start, **{"site.tariff": str(tariff)}) for start in ("2026-01-05", "2026-01-31")
    )
    assert (len(one.bill.months), len(two.bill.months)) == (1, 2)
    assert one.bill.total_usd < two.bill.total_usd
    assert two.break_even_days == pytest.approx(one.break_even_days, rel=0.01)
    assert one.rent_or_buy
    monthly_usd, days = one.bill.demand_usd + one.bill.fixed_usd, one.campaign.duration_s / 86_400
    by_hand = one.bill.energy_usd / days + 12 * monthly_usd / 365.25
    assert one.rent_or_buy.electricity_usd_per_day == pytest.approx(by_hand)


@pytest.mark.parametrize("gpus", [4, 8, 64])
def test_rent_is_that_of_the_plan_and_whole_nodes_are_bought(gpus: int) -> None:
    plan = planned(**{"cluster.gpus": gpus, "tokens": "50B", "training.layout": {"tp": 1, "sharding": "fsdp"}})
    assert plan.rent_or_buy
    assert plan.rent
    assert plan.rent_or_buy.rent_usd(plan.billed_days) == pytest.approx(plan.rent.lines[0].expected)
    bought = bought_usd(8 if gpus < 8 else plan.charges.gpus)
    assert plan.rent_or_buy.buy_usd(0) == pytest.approx(bought)


def test_a_plan_keeps_what_it_buys_as_it_says() -> None:
    plan, in_building = planned(), planned(**{"money.housing": "building", "money.operators": 5})
    assert plan.rent_or_buy
    assert in_building.rent_or_buy
    building_usd = plan.charges.gpus * OWNED.rated_kw_per_gpu * OWNED.building.expected
    assert in_building.rent_or_buy.buy_usd(0) == pytest.approx(plan.rent_or_buy.buy_usd(0) + building_usd)
    assert day(plan.rent_or_buy) < day(in_building.rent_or_buy)
