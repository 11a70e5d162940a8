"""What is charged: mixed clusters lie between rent and ownership, and waiting costs."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.campaign.planned import plan_campaign
from planner.market.prices import Level, PriceRange
from planner.money.charges import Charges
from planner.money.costs import total_usd
from planner.money.pricing import Prices, load_prices
from planner.money.spot import RECLAIMED, with_spot
from planner.plan import make_plan
from planner.plan_file import PlanRequest, plan_request
from planner.priors import price_ranges
from profiler.files import InputError
from sim.campaign import expected_ettr, simulate_campaign
from sim.hardware import build_cluster

SMALL: dict[str, Any] = {
    "model": "llama3.1-8b",
    "tokens": "1T",
    "cluster": {"gpus": 256},
    "training": {"layout": {"tp": 1, "sharding": "fsdp", "micro_batch": 1}},
}


def asked(**money: Any) -> PlanRequest:
    return plan_request({**SMALL, "money": money}, source="test")


REQUEST = asked(mode="mixed")
SETUP = plan_campaign(REQUEST)
PRICES = load_prices(REQUEST, SETUP.cluster)


def charges(**money: Any) -> Charges:
    return Charges(setup=SETUP, money=asked(**money).money)


def test_the_cluster_is_whole_nodes_with_spares() -> None:
    assert charges().gpus == 256 + 8  # one spare in a hundred, at least one


@pytest.mark.parametrize("racks", [1, 2])
@pytest.mark.parametrize("mode", ["rent", "own"])
def test_gpus_that_a_node_leaves_out_are_paid_for_and_said(racks: int, mode: str) -> None:
    """Rented by the GPU, housed by the rack of 132 kW."""
    cluster = {"gpu": "gb200", "gpus": 64 * racks, "gpus_per_node": 64, "spare_nodes": 0}
    money = {"mode": mode, "price_usd_per_gpu_hour": 3.0, "server_usd_per_gpu": 50_000}
    plan = make_plan(plan_request({**SMALL, "cluster": cluster, "money": money, "replicas": 1}, source="test"))
    assert plan.charges.gpus == plan.charges.rented_gpus == 72 * racks
    if mode == "rent":
        assert plan.cost.lines[0].expected == pytest.approx(plan.billed_days * 24 * 72 * racks * 3.0)
    else:
        [housing] = [line for line in plan.cost.lines if "olocation" in line.name]
        assert f"{132 * racks:,} kW of rated power" in housing.how
    assert any(f"{8 * racks} GPUs, 8 of the 72 in each node, stay idle" in note for note in plan.notes)


def test_of_a_node_that_is_not_filled_nothing_is_said_to_be_left_idle() -> None:
    cluster = {"gpu": "gb200", "gpus": 32, "gpus_per_node": 64, "spare_nodes": 0}
    data = {**SMALL, "cluster": cluster, "money": {"price_usd_per_gpu_hour": 3.0}, "replicas": 1}
    plan = make_plan(plan_request(data, source="test"))
    assert plan.charges.rented_gpus == 32
    assert not any("stay idle" in note for note in plan.notes)


@given(days=st.floats(1, 1000), electricity=st.floats(0, 1e7))
def test_a_mixed_cluster_is_rent_at_one_end_and_ownership_at_the_other(days: float, electricity: float) -> None:
    none, all_ = charges(mode="mixed"), charges(mode="mixed", owned_gpus=264)
    rent, own = none.rent(PRICES, days), none.own(PRICES, days, electricity)
    assert rent
    assert own
    for level in ("low", "expected", "high"):
        mixed = none.asked(PRICES, days, electricity)
        assert mixed
        assert getattr(mixed, level) == pytest.approx(getattr(rent, level))
        mixed = all_.asked(PRICES, days, electricity)
        assert mixed
        assert getattr(mixed, level) == pytest.approx(getattr(own, level))


@given(owned=st.integers(0, 264), days=st.floats(1, 1000))
def test_a_mixed_cluster_costs_its_share_of_both(owned: int, days: float) -> None:
    some = charges(mode="mixed", owned_gpus=owned)
    rent, own, mixed = some.rent(PRICES, days), some.own(PRICES, days, 1e5), some.asked(PRICES, days, 1e5)
    assert rent
    assert own
    assert mixed
    share = owned / 264
    assert mixed.expected == pytest.approx(share * own.expected + (1 - share) * rent.expected)


def test_more_cannot_be_owned_than_there_are() -> None:
    with pytest.raises(InputError, match="owned_gpus is 265; the cluster has 264 GPUs, spares included"):
        charges(mode="mixed", owned_gpus=265).asked(PRICES, 10, 0)


KEPT: dict[str, Any] = {
    "rented": {"pay_whole_term": True, "commitment": "1-year"},
    "owned": {"mode": "own", "preparation_days": 20, "storage_tb": 30},
    "sold": {"mode": "own", "resale_share": 0.7, "operators": 12, "research_staff": True},
    "in a building": {"mode": "own", "housing": "building", "depreciation": "straight-line"},
    "written off": {"mode": "own", "depreciation": "write-off"},
    "mixed": {"mode": "mixed", "owned_gpus": 100},
    "rented, with staff": {"research_staff": True},
    "mixed, with staff": {"mode": "mixed", "owned_gpus": 100, "research_staff": True},
}


@pytest.mark.parametrize("money", KEPT.values(), ids=KEPT)
def test_many_outcomes_at_once_cost_what_each_of_them_costs_alone(money: dict[str, Any]) -> None:
    request = asked(**money)
    some, prices = Charges(setup=SETUP, money=request.money), load_prices(request, SETUP.cluster)
    ranges = {name: price for name, (price, _) in price_ranges(prices, request.money.mode).items()}
    luck = np.random.default_rng(7)
    days, electricity = luck.uniform(1, 2500, 20), luck.uniform(0, 1e6, 20)
    drawn = {name: price.expected * luck.uniform(0.6, 1.2, 20) for name, price in ranges.items()}
    standing = np.array([some.standing_bill(prices, one).total_usd for one in days.tolist()])
    items = some.asked_items(prices, days, electricity, standing)
    assert items
    together = np.broadcast_to(total_usd(items, Level(drawn={ranges[n]: drawn[n] for n in drawn})), 20)
    for i in range(20):
        alone = some.asked(at(prices, {name: float(drawn[name][i]) for name in drawn}), days[i], electricity[i])
        assert alone
        assert together[i] == pytest.approx(alone.expected, rel=1e-12)


def at(prices: Prices, usd: dict[str, float]) -> Prices:
    """The same prices with each of those named at one value."""

    def exactly(price: PriceRange, value: float) -> PriceRange:
        return replace(price, low=value, expected=value, high=value)

    rental, owned = prices.rental, prices.ownership
    if rental and "rent_price" in usd:
        price = exactly(rental.price_usd_per_gpu_hour, usd["rent_price"])
        rental = replace(rental, price_usd_per_gpu_hour=price)
    if owned:
        named: Any = {
            name: exactly(getattr(owned, name), value) for name, value in usd.items() if hasattr(owned, name)
        }
        owned = replace(owned, **named)
    staff = prices.staff_share and exactly(prices.staff_share, usd["staff_share"])
    return replace(prices, rental=rental, ownership=owned, staff_share=staff)


@pytest.mark.parametrize("money", [{}, {"mode": "own"}, {"mode": "mixed", "owned_gpus": 100}])
def test_people_who_develop_the_model_are_their_share_of_the_total_however_gpus_are_had(
    money: dict[str, Any],
) -> None:
    request = asked(**money, research_staff=True)
    prices = load_prices(request, SETUP.cluster)
    some = Charges(setup=SETUP, money=request.money)
    for found in (some.asked(prices, 10, 1e5), some.rent(prices, 10), some.own(prices, 10, 1e5)):
        assert found
        [staff] = [line for line in found.lines if line.name == "Research staff"]
        for level, share in (("low", 0.29), ("expected", 0.39), ("high", 0.49)):
            assert getattr(staff, level) == pytest.approx(share * getattr(found, level))
    without, with_staff = some.asked(PRICES, 10, 1e5), some.asked(prices, 10, 1e5)
    assert without
    assert with_staff
    assert with_staff.expected * (1 - 0.39) == pytest.approx(without.expected)


def test_data_checkpoints_and_weights_by_hand() -> None:
    n, tokens = SETUP.parameters, 1e12
    assert charges().storage_tb == pytest.approx((4 * tokens + 10 * 14 * n) / 1e12)
    assert charges().egress_tb == pytest.approx(2 * n / 1e12)
    assert charges(storage_tb=7, egress_tb=0).storage_tb == 7
    assert charges(storage_tb=7, egress_tb=0).egress_tb == 0


@given(before=st.floats(0, 100), after=st.floats(0, 100))
def test_waiting_before_and_after_is_paid_for_and_never_cheaper(before: float, after: float) -> None:
    waiting = charges(preparation_days=before, idle_days=after)
    assert waiting.days(10) == pytest.approx(10 + before + after)
    for cost in (Charges.rent, Charges.own):
        extra = () if cost is Charges.rent else (1e5,)
        busy, slow = cost(charges(), PRICES, 10, *extra), cost(waiting, PRICES, 10, *extra)
        assert busy
        assert slow
        assert slow.expected >= busy.expected


def test_an_idle_cluster_draws_idle_power() -> None:
    waiting = charges(preparation_days=10)
    node, gpu = SETUP.cluster.node, SETUP.cluster.gpu
    least_w = 33 * (8 * gpu.idle_power_w + node.host_idle_power_w)
    idle = waiting.standing_bill(PRICES, 10.0)
    assert idle.energy_kwh > least_w / 1000 * 240
    assert idle.total_usd == pytest.approx(idle.energy_kwh * PRICES.tariff.energy_usd_per_kwh)  # a flat price
    assert charges().standing_bill(PRICES, 10.0).total_usd == 0


def test_a_term_that_is_paid_whole_costs_the_term() -> None:
    request = asked(commitment="1-year", pay_whole_term=True, price_usd_per_gpu_hour=2.0, storage_tb=0, egress_tb=0)
    prices = load_prices(request, SETUP.cluster)
    whole = Charges(setup=SETUP, money=request.money).rent(prices, 10)
    assert whole
    assert whole.expected == pytest.approx(2.0 * 264 * 24 * 365.25)


# Spot


@pytest.mark.parametrize(("gpu", "gpus"), [("h100-sxm", 256), ("h100-sxm", 16384), ("gb200", 2016)])
def test_spot_nodes_are_taken_back_on_top_of_failures_whatever_the_size_of_job_and_node(gpu: str, gpus: int) -> None:
    cluster, firm = build_cluster(gpu, gpus), SETUP.reliability
    spot = with_spot(firm, asked(commitment="spot").money, cluster, 1.0)
    taken_back_per_day = (1 / spot.mtbf_s(cluster) - 1 / firm.mtbf_s(cluster)) * 86_400
    # of each node 15 % in 30.44 days, compounded
    assert math.exp(-taken_back_per_day / cluster.nodes * 365.25 / 12) == pytest.approx(0.85)


def test_a_run_on_spot_nodes_trains_less_of_the_time() -> None:
    assert expected_ettr(plan_campaign(asked(commitment="spot"))) < expected_ettr(plan_campaign(asked()))


@settings(max_examples=10, deadline=None)
@given(share=st.floats(0, 0.9), less=st.floats(0, 1))
def test_more_reclaims_never_train_more_of_the_time(share: float, less: float) -> None:
    often, seldom = (
        plan_campaign(asked(commitment="spot", spot_reclaimed_per_month=s)) for s in (share, share * less)
    )
    assert expected_ettr(often) <= expected_ettr(seldom) + 1e-12


def test_a_stated_effective_time_ratio_holds_on_spot_too() -> None:
    stated = plan_request(
        {**SMALL, "money": {"commitment": "spot"}, "stated": {"effective_time_ratio": 0.9}}, source="t"
    )
    assert simulate_campaign(plan_campaign(stated), seed=1).ettr == pytest.approx(0.9)


def test_owned_nodes_are_not_taken_back() -> None:
    assert plan_campaign(asked(mode="own", commitment="spot")) == plan_campaign(asked(mode="own"))
    half = plan_campaign(asked(mode="mixed", owned_gpus=132, commitment="spot"))
    rate = [c.rate_per_node_day for c in half.reliability.causes if c.name == RECLAIMED]
    whole = [
        c.rate_per_node_day for c in plan_campaign(asked(commitment="spot")).reliability.causes if c.name == RECLAIMED
    ]
    assert rate == pytest.approx([one / 2 for one in whole])


def test_owned_costs_that_spot_interruptions_make_dearer_say_so_and_which_plan_does_not_have_them() -> None:
    money: dict[str, Any] = {"commitment": "spot", "spot_reclaimed_per_month": 0.9}
    rented, owned = (make_plan(replace(asked(mode=mode, **money), replicas=3)) for mode in ("rent", "own"))
    assert rented.own
    assert owned.own
    assert rented.own.expected > owned.own.expected
    [note] = [note for note in rented.notes if "spot" in note]
    assert "owned costs" in note
    assert "money.mode=own" in note
    [note] = [note for note in owned.notes if "spot" in note]
    assert "rented costs" in note
    assert "money.mode=rent" in note


@pytest.mark.parametrize(
    "money", [{}, {"mode": "own"}, {"commitment": "1-year"}, {"commitment": "spot", "spot_reclaimed_per_month": 0}]
)
def test_without_interruptions_every_way_to_have_the_gpus_is_alike(money: dict[str, Any]) -> None:
    assert not [note for note in make_plan(replace(asked(**money), replicas=1)).notes if "spot" in note]


def test_a_spot_plan_takes_longer_and_its_hour_is_cheaper() -> None:
    spot, firm = (make_plan(replace(asked(commitment=kind), replicas=3)) for kind in ("spot", "on-demand"))
    assert spot.campaign.duration_s > firm.campaign.duration_s
    assert spot.cost.expected / spot.billed_gpu_hours < firm.cost.expected / firm.billed_gpu_hours


def test_nobody_develops_a_model_in_the_unused_rest_of_a_term() -> None:
    """Ten days' use of three years: staff is 39 % of what the ten days take with it, whatever the term."""
    money = {"commitment": "3-year", "research_staff": True}
    whole, used = (asked(**money, pay_whole_term=pays) for pays in (True, False))
    prices = load_prices(whole, SETUP.cluster)
    found = [Charges(setup=SETUP, money=one.money).rent(prices, 10) for one in (whole, used)]
    staff = [next(line.expected for line in one.lines if line.name == "Research staff") for one in found if one]
    assert staff[0] == pytest.approx(staff[1])


@pytest.mark.parametrize("money", [{}, {"mode": "mixed", "owned_gpus": 66}])
def test_a_term_longer_than_the_run_says_what_its_rest_would_cost(money: dict[str, Any]) -> None:
    """As much as counting it adds, and nothing where it is counted, used up or of no account."""
    term = {"commitment": "1-year", "price_usd_per_gpu_hour": 2.0, **money}
    silent, counted = (asked(**term, pay_whole_term=pays) for pays in (False, True))
    prices = load_prices(silent, SETUP.cluster)
    used, whole = (Charges(setup=SETUP, money=one.money) for one in (silent, counted))
    [note] = used.term_notes(prices, 65.25)
    costs = [some.asked(prices, 65.25, 0.0) for some in (used, whole)]
    assert costs[0]
    assert costs[1]
    rest_usd = costs[1].expected - costs[0].expected
    assert rest_usd == pytest.approx(2.0 * 24 * 300 * (264 - money.get("owned_gpus", 0)))
    assert "300 days" in note
    assert f"${rest_usd / 1e6:.2f} M" in note
    assert not whole.term_notes(prices, 65.25)
    assert not used.term_notes(prices, 366.0)
    assert not charges().term_notes(PRICES, 65.25)


def test_staff_says_what_its_share_is_not_of() -> None:
    money: dict[str, Any] = {"research_staff": True, "mode": "own"}
    for resale, aside in ((1.0, False), (0.6, True)):
        request = asked(**money, resale_share=resale)
        cost = Charges(setup=SETUP, money=request.money).asked(load_prices(request, SETUP.cluster), 10, 1e5)
        assert cost
        [staff] = [line for line in cost.lines if line.name == "Research staff"]
        of = cost.expected - sum(line.expected for line in cost.lines if line.name == "Sale below value")
        assert staff.expected == pytest.approx(0.39 * of)
        assert ("without “Sale below value”" in staff.how) == aside
