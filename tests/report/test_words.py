"""Sentences and short texts."""

import re

import pytest

from planner.plan import Interval, Plan, make_plan
from planner.plan_file import plan_request
from planner.quantities import money
from planner.report import words
from tests.report.conftest import SMALL


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


@pytest.mark.parametrize(
    ("low", "expected", "high", "text"),
    [
        (0.41e6, 0.76e6, 2.6e6, "$410–2,600 k"),
        (0.9e6, 1.2e6, 2.6e6, "$0.90–2.6 M"),
        (700, 1400, 12e3, "$700–12,000"),
    ],
)
def test_a_range_beside_what_is_expected_has_its_unit(low: float, expected: float, high: float, text: str) -> None:
    said = f"{money(expected)} ({words.money_span(low, high, expected)})"
    assert words.money_span(low, high, expected) == text
    assert money(expected).strip("$0123456789.,") == text.strip("$0123456789.,–"), said
    assert words.energy_span(Interval(low=700, expected=990, high=1300)) == "700–1,300 MWh"
    assert words.power_span(Interval(low=0.9, expected=0.98, high=1.02)) == "900–1,020 kW"


def test_energy_ranges_share_their_unit() -> None:
    assert words.energy_span(Interval(low=900, expected=1000, high=1100)) == "0.900–1.10 GWh"
    assert words.energy_span(Interval(low=90, expected=100, high=110)) == "90.0–110 MWh"


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (78.6, "79 days"),
        (1.0, "1 day"),
        (1.4, "1.4 days"),
        (0.25, "6.0 hours"),
        (0.025, "36 minutes"),
        (47 / 86_400, "47 seconds"),
    ],
)
def test_a_length_is_written_in_the_unit_of_which_it_holds_one(days: float, text: str) -> None:
    assert words.days(days) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(low=64, expected=79, high=93), "79 days (64–93)"),
        (Interval(low=15 / 24, expected=17 / 24, high=18 / 24), "17 hours (15–18)"),
        (Interval(low=18 / 24, expected=22 / 24, high=30 / 24), "22 hours (18–30)"),
        (Interval(low=40 / 86_400, expected=47 / 86_400, high=75 / 86_400), "47 seconds (40–75)"),
    ],
)
def test_an_interval_of_lengths_is_in_the_unit_of_the_expected_one(interval: Interval, text: str) -> None:
    assert words.days_interval(interval) == text


@pytest.mark.parametrize(("tokens", "per_day"), [("200B", 24), ("4B", 1440)])
def test_the_answer_of_a_short_run_has_its_interval_in_the_unit_of_its_length(tokens: str, per_day: int) -> None:
    short = make_plan(plan_request({**SMALL, "tokens": tokens}, source="a test"))
    found = re.search(r"takes ([\d.]+) \w+ \(([\d.]+)–([\d.]+)\), costs", words.answer(short))
    assert found
    interval = (short.days.expected, short.days.low, short.days.high)
    assert [float(text) / per_day for text in found.groups()] == pytest.approx(interval, rel=0.06)


def test_emissions_follow_the_energy(plan: Plan) -> None:
    interval = words.emissions(plan)
    assert interval.expected == pytest.approx(plan.carbon.location_based_tco2e)
    assert interval.high / interval.expected == pytest.approx(plan.energy_mwh.high / plan.energy_mwh.expected)


def test_kinds_are_counted_in_order(plan: Plan) -> None:
    counts = words.kind_counts(plan.assumptions)
    assert sum(counts.values()) == len(plan.assumptions)
    assert list(counts) == [kind for kind in words.KINDS if kind in counts]
