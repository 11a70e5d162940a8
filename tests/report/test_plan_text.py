"""A plan file written from a request gives the request back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan_file import PlanRequest, parse_plan_request, plan_request, read_plan_request
from planner.quantities import parse_count
from planner.report.plan_text import count_text, plan_file_text

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_round_trip(path: Path) -> None:
    request = read_plan_request(path)
    assert parse_plan_request(plan_file_text(request), source="a test") == request


def test_power_windows_round_trip() -> None:
    window = {"allowed_w": "5 MW", "from_hour": 17, "to_hour": 21, "months": [12, 1, 2], "days": "weekdays"}
    data = {"model": "llama3.1-8b", "tokens": "1T", "site": {"power_windows": [window, {"allowed_w": 0}]}}
    request = plan_request(data, source="a test")
    assert parse_plan_request(plan_file_text(request), source="a test") == request


@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    tokens=st.floats(1, 1e18),
    pue=st.floats(1, 3),
)
def test_any_name_and_number_round_trips(name: str, tokens: float, pue: float) -> None:
    data = {
        "name": name,
        "model": "llama3.1-8b",
        "tokens": tokens,
        "site": {"pue": pue},
        "stated": {"tflops_per_gpu": 400},
    }
    request: PlanRequest = plan_request(data, source="a test")
    assert parse_plan_request(plan_file_text(request), source="a test") == request


def test_what_cannot_be_seen_is_written_out() -> None:
    data = {"name": "a\u202eb\u0085c\u2028d\x7f é", "model": "llama3.1-8b", "tokens": "1T"}
    request = plan_request(data, source="a test")
    text = plan_file_text(request)
    assert text.replace("\n", "").isprintable()
    assert "é" in text
    assert parse_plan_request(text, source="a test") == request


def test_tokens_are_written_as_people_do() -> None:
    assert count_text(15.6e12) == "15.6T"
    assert count_text(252e6) == "252M"
    assert parse_count(count_text(1234567890123.25)) == 1234567890123.25
