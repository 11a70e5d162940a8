"""Sentences and short texts."""

import pytest

from planner.plan import Interval, Plan
from planner.report import words


def test_answer_is_one_sentence_with_the_plan_in_it(plan: Plan) -> None:
    text = words.answer(plan)
    assert text.startswith("Training Llama 3.1 8B on 256 H100")
    assert text.endswith("in a year.")
    assert " rented and draws " in text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (76e6, 312e6, "$76–312 M"),
        (1.27e6, 5.19e6, "$1.3–5.2 M"),
        (0.5, 2, "$0.50–2.0"),
        (4e6, 4e6, "$4.00 M exactly"),
    ],
)
def test_money_ranges_share_their_unit(low: float, high: float, text: str) -> None:
    assert words.money_span(low, high) == text


def test_energy_ranges_share_their_unit() -> None:
    assert words.energy_span(Interval(low=900, expected=1000, high=1100)) == "0.900–1.10 GWh"
    assert words.energy_span(Interval(low=90, expected=100, high=110)) == "90.0–110 MWh"


def test_days_below_one_are_hours() -> None:
    assert words.days(0.25) == "6.0 hours"
    assert words.days(78.5) == "78 days"


def test_emissions_follow_the_energy(plan: Plan) -> None:
    interval = words.emissions(plan)
    assert interval.expected == pytest.approx(plan.carbon.location_based_tco2e)
    assert interval.high / interval.expected == pytest.approx(plan.energy_mwh.high / plan.energy_mwh.expected)


def test_kinds_are_counted_in_order(plan: Plan) -> None:
    counts = words.kind_counts(plan.assumptions)
    assert sum(counts.values()) == len(plan.assumptions)
    assert list(counts) == [kind for kind in words.KINDS if kind in counts]
