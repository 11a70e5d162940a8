"""The HTML report: one file, offline, the plan's own figures, and nothing a file says is run."""

import re
from pathlib import Path

import pytest

from planner.plan import Plan, make_plan
from planner.plan_file import plan_request, read_plan_request
from planner.quantities import significant
from planner.report.html import render_html

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawings are kept in the test's own folder, not in a home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(read_plan_request(Path("examples/llama3.1-405b.toml")))


@pytest.fixture(scope="module")
def small() -> Plan:
    asked = {"model": "llama3.1-8b", "tokens": "1T", "name": HOSTILE, "cluster": {"gpus": 64}}
    return make_plan(plan_request(asked, source="test"))


def test_the_report_states_the_plans_own_figures(plan: Plan) -> None:
    text = render_html([plan])
    assert significant(plan.days.expected) in text
    assert f"{plan.cluster.gpus:,}" in text
    assert plan.comparison.what in text
    assert all(phase.name in text for phase in plan.phases)
    missing = [a.what for a in plan.assumptions if a.what.split(",")[0] not in text]
    assert not missing


def test_every_assumption_shows_its_kind(plan: Plan) -> None:
    text = render_html([plan])
    assert all(kind in text for kind in {a.kind for a in plan.assumptions})


def test_the_same_plan_gives_the_same_bytes(small: Plan) -> None:
    assert render_html([small]) == render_html([small])


def test_a_date_is_shown_only_when_given(small: Plan) -> None:
    assert "2031-02-03" in render_html([small], date="2031-02-03")
    assert "2031-02-03" not in render_html([small])


def test_hostile_names_come_out_as_text(small: Plan) -> None:
    text = render_html([small])
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;" in text


def test_nothing_is_loaded_from_elsewhere(plan: Plan, small: Plan) -> None:
    text = render_html([plan, small])
    loads = re.findall(r"""(?:src|href|xlink:href)\s*=\s*["']([^"']+)""", text)
    assert all(target.startswith(("#", "data:")) for target in loads), loads
    assert not re.search(r"url\(\s*[\"']?https?:", text)
    assert "@import" not in text


def test_charts_have_a_text_for_who_cannot_see_them(plan: Plan) -> None:
    text = render_html([plan])
    charts = re.findall(r"<svg [^>]*>", text)
    assert len(charts) >= 5
    assert all('aria-label="' in chart or 'aria-hidden="true"' in chart for chart in charts)
