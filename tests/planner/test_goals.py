"""Goals turned around: what is found keeps its limits when simulated, and what cannot be says what must give."""

from datetime import date
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.campaign.simulation import simulate_plan
from planner.decide.goals import SHOWN, GoalResult, Limit, elsewhere, goal_limits, seek
from planner.plan_file import PlanRequest, plan_request
from profiler.files import InputError

SMALL: dict[str, Any] = {
    "model": "llama3.1-8b",
    "tokens": "500B",
    "start": "2026-01-05",
    "training": {"global_batch": 512, "layout": {"tp": 2}},
}
MOST = 128


def request(**more: Any) -> PlanRequest:
    return plan_request({**SMALL, **more}, source="test")


@cache
def found(*limits: tuple[str, float], prefer: str = "cheapest", gpus: tuple[str, ...] = ()) -> GoalResult:
    stated = [Limit(outcome=name, most=most, said=f"the limit of {name}") for name, most in limits]
    return seek(request(cluster={"gpus": 64}), stated, prefer=prefer, gpus=gpus, most_gpus=MOST)  # type: ignore[arg-type]


def outcome(result: GoalResult, name: str) -> float:
    assert result.plan is not None
    return result.plan.intervals[name].expected


def test_a_date_is_kept_when_simulated() -> None:
    limits = goal_limits(request(), by=date(2026, 1, 25))
    assert limits[0].most == 21  # the fifth to the twenty-fifth, both whole
    assert limits[0].said == "finishing by 2026-01-25 from a start on 2026-01-05"
    result = seek(request(), limits, most_gpus=MOST)
    assert result.request is not None
    simulated = simulate_plan(result.request, seed=result.request.seed, replicas=result.request.replicas)
    assert sorted(replica.training_days for replica in simulated.replicas)[len(simulated.replicas) // 2] <= 21
    assert result.plan is not None
    cost = result.plan.cost.expected * (1 - 1e-9)  # priced one by one, or all at once
    assert all(c.outcomes["days"] > 21 for c in result.candidates if not c.refused and c.outcomes["cost_usd"] < cost)


@settings(max_examples=4)
@given(st.floats(3, 60), st.sampled_from(["cheapest", "fastest", "cleanest"]))
def test_what_is_found_keeps_its_limit_and_is_best_among_those_that_do(days: float, prefer: str) -> None:
    result = found(("days", days), prefer=prefer)
    objective = {"cheapest": "cost_usd", "fastest": "days", "cleanest": "tco2e"}[prefer]
    if result.plan is None:
        assert all(c.refused or c.outcomes["days"] > days for c in result.candidates)
        return
    assert outcome(result, "days") <= days
    kept = [c for c in result.candidates if not c.refused and c.outcomes["days"] <= days]
    assert outcome(result, objective) == pytest.approx(min(c.outcomes[objective] for c in kept))


@pytest.mark.parametrize(("name", "most"), [("cost_usd", 70_000.0), ("peak_mw", 0.1), ("tco2e", 7.0)])
def test_the_fastest_within_each_limit_keeps_it(name: str, most: float) -> None:
    result = found((name, most), prefer="fastest")
    assert outcome(result, name) <= most
    faster = [c for c in result.candidates if not c.refused and c.outcomes["days"] < outcome(result, "days")]
    assert all(c.outcomes[name] > most for c in faster)


def test_a_tighter_limit_never_gives_a_better_plan() -> None:
    costs = [outcome(found(("days", days)), "cost_usd") for days in (30.0, 15.0)]
    assert costs == sorted(costs)


def test_what_cannot_be_says_by_how_much_it_must_give() -> None:
    result = found(("days", 15.0), ("cost_usd", 10_000.0))
    assert result.plan is None
    for shortfall in result.shortfalls:
        least = shortfall.nearest.outcomes[shortfall.limit.outcome]
        assert least > shortfall.limit.most
        assert "is out of reach by" in shortfall.sentence
    [budget] = [s for s in result.shortfalls if s.limit.outcome == "cost_usd"]
    assert budget.others_kept
    # given by just so much, it can be done
    relaxed = found(("days", 15.0), ("cost_usd", budget.nearest.outcomes["cost_usd"]))
    assert relaxed.plan is not None
    data = result.to_dict()
    assert data["possible"] is False
    assert data["plan"] is None


def test_what_the_other_limits_keep_out_of_reach_is_told_from_what_is_so_by_itself() -> None:
    [alone] = found(("days", 1.0)).shortfalls
    assert "the least is" in alone.sentence
    cheapest = min(c.outcomes["cost_usd"] for c in found(("days", 1.0)).candidates if not c.refused)
    both = found(("days", 1.0), ("cost_usd", cheapest * 1.001))
    [days] = both.shortfalls  # no cluster keeps the date, whatever it costs; the budget keeps the fast ones out too
    assert days.alone == alone.nearest
    assert days.nearest.outcomes["days"] > 2 * days.alone.outcomes["days"]
    assert "the least within the other limits is" in days.sentence
    assert days.sentence.endswith(
        f"without them it is {SHOWN['days'](days.alone.outcomes['days'])}, on {days.alone.name}"
    )


def test_more_sureness_costs_more() -> None:
    limits = [Limit(outcome="days", most=15.0, said="the date")]
    even, sure = (seek(request(), limits, most_gpus=MOST, sure=p).plan for p in (0.5, 0.95))
    assert even is not None
    assert sure is not None
    assert sure.days.high <= 15.0 * 1.001
    assert sure.cost.expected >= even.cost.expected


def test_other_gpus_are_tried_in_their_own_nodes() -> None:
    result = found(("days", 30.0), gpus=("a100-80gb", "h100-sxm"))
    assert {c.gpu for c in result.candidates} == {"h100-sxm", "a100-80gb"}
    a100 = elsewhere(request(cluster={"gpu": "h100-sxm", "node": "grand-teton"}), "a100-80gb", 16)
    assert a100.cluster.node == ""
    assert elsewhere(request(cluster={"node": "grand-teton"}), "h100-sxm", 16).cluster.node == "grand-teton"
    assert a100.training.layout is None


def test_gpus_that_do_not_come_in_the_node_asked_for_are_named() -> None:
    limit = [Limit(outcome="days", most=30.0, said="the date")]
    asked = request(cluster={"gpus": 64, "node": "grand-teton"})
    both = seek(asked, limit, gpus=("h100-sxm", "a100-80gb"), most_gpus=64)
    assert both.to_dict()["notes"] == list(both.notes)
    assert "node 'grand-teton' does not name a100-80gb among its GPUs" in " ".join(both.notes)
    assert seek(asked, limit, most_gpus=64).notes == ()
    other = request(cluster={"gpu": "a100-80gb", "gpus": 64, "node": "grand-teton"})
    with pytest.raises(InputError, match="node 'grand-teton' holds h100-96gb or h100-sxm, and gpu is 'a100-80gb'"):
        seek(other, limit, gpus=("a100-80gb", "a100-80gb"), most_gpus=64)


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({}, "no goal: give a date"),
        ({"by": date(2025, 1, 1)}, "before the plan's start"),
        ({"budget_usd": 0.0}, "the budget is 0; more than 0"),
        ({"site_power_w": -1.0}, "the power feed is -1"),
    ],
)
def test_a_goal_that_is_none_is_one_sentence(stated: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as error:
        goal_limits(request(), **stated)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"prefer": "nicest"}, "preference 'nicest' is not known"),
        ({"sure": 1.0}, "sure is 1; a probability"),
        ({"gpus": ("tpu",)}, "gpu 'tpu' is not in the catalogue"),
        ({"most_gpus": 0}, "most_gpus is 0"),
    ],
)
def test_what_cannot_be_sought_is_one_sentence(more: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as error:
        seek(request(), goal_limits(request(), budget_usd=1e6), **more)
    assert says in str(error.value)


def test_a_model_that_fits_nowhere_says_so() -> None:
    big = plan_request({"model": "llama3.1-405b", "tokens": "1T", "cluster": {"gpus": 8}}, source="test")
    with pytest.raises(InputError, match="does not fit"):
        seek(big, goal_limits(big, budget_usd=1e9), most_gpus=16)
