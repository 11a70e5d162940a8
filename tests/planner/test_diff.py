"""Two plans compared: nothing for a plan and itself, each change named and tried alone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.decide.diff import RESULTS, PlanDiff, diff_plans
from planner.plan import make_plan
from planner.plan_file import PlanRequest, plan_request
from planner.why import NUMBERS

SMALL: dict[str, Any] = {
    "model": "llama3.1-8b",
    "tokens": "200B",
    "cluster": {"gpus": 64},
    "training": {"global_batch": 512, "layout": {"tp": 2, "sharding": "zero1"}},
}

CHANGES: dict[str, tuple[Any, ...]] = {
    "tokens": ("100B", "300B"),
    "cluster.gpus": (32, 128),
    "site.grid": ("NOR", "POL"),
    "site.pue": (1.2, 1.5),
    "money.price_usd_per_gpu_hour": (2.0, 4.0),
    "reliability.record": ("rsc-1", "rsc-2"),
}


def request(*overrides: tuple[str, Any]) -> PlanRequest:
    return plan_request(SMALL, overrides, source="test")


def compared(first: PlanRequest, second: PlanRequest) -> PlanDiff:
    return diff_plans(make_plan(first), make_plan(second))


def test_a_plan_and_itself_differ_in_nothing() -> None:
    found = compared(request(), request(("name", "the same by another name")))
    assert found.empty
    assert (found.changes, found.assumptions, found.moved) == ((), (), ())
    assert set(RESULTS) == set(NUMBERS)


@settings(max_examples=6)
@given(st.sampled_from(sorted(CHANGES)), st.integers(0, 1))
def test_one_change_alone_is_the_whole_difference(key: str, which: int) -> None:
    found = compared(request(), request((key, CHANGES[key][which])))
    [change] = found.changes
    assert change.keys == (key,)
    assert change.results == found.after
    assert found.before != found.after
    assert found.moved


def test_each_of_several_changes_is_tried_alone() -> None:
    found = compared(request(), request(("site.grid", "NOR"), ("money.price_usd_per_gpu_hour", 2.0)))
    by_key = {change.keys[0]: change for change in found.changes}
    grid, price = by_key["site.grid"].results, by_key["money.price_usd_per_gpu_hour"].results
    assert grid is not None
    assert price is not None
    assert grid["tco2e"] == pytest.approx(found.after["tco2e"])
    assert grid["cost_usd"] == found.before["cost_usd"]
    assert price["tco2e"] == found.before["tco2e"]
    assert price["cost_usd"] == pytest.approx(found.after["cost_usd"])
    assert {row.what for row in found.assumptions} >= {"Grid intensity", "Rent"}


def test_a_change_that_cannot_be_made_alone_says_why() -> None:
    found = compared(request(), request(("cluster.gpus", 8), ("training.layout", {"tp": 8})))
    assert all(change.results is not None for change in found.changes)
    wide = request(("cluster.gpus", 128), ("training.layout", {"tp": 8, "pp": 16}))
    alone = {change.keys: change for change in compared(request(), wide).changes}
    refused = alone[("training.layout",)]
    assert refused.results is None
    assert "does not divide 64 GPUs" in refused.refused


def test_tokens_and_phases_change_together() -> None:
    def with_phases(tokens: str) -> PlanRequest:
        phases = [{"name": "all", "tokens": tokens, "seq_len": 8192, "global_batch": 512}]
        return plan_request({**SMALL, "tokens": tokens, "phases": phases}, source="test")

    [change] = compared(with_phases("100B"), with_phases("200B")).changes
    assert change.keys == ("tokens", "phases")
    assert change.results is not None
    assert change.results["days"] == pytest.approx(make_plan(with_phases("200B")).days.expected)
