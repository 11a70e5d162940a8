"""The report: what it says is what the plan says, it stands alone, and names cannot become markup."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from planner.plan import Plan
from planner.quantities import dollars, energy, money, power, significant
from planner.report.contents import document
from planner.report.document import Figure, clean
from planner.report.html import render_html
from planner.report.words import answer, share
from tests.report.conftest import HOSTILE
from tests.report.reading import Page, bare


@pytest.fixture(scope="session")
def report(plan: Plan, hostile_plan: Plan) -> str:
    return render_html([plan, hostile_plan])


def figures(plans: Sequence[Plan]) -> list[Figure]:
    """The charts of a report."""
    sections = (section for part in document(plans).parts for section in part.sections)
    return [block for section in sections for block in section.blocks if isinstance(block, Figure)]


def test_says_what_the_plan_says(plan: Plan, report: str) -> None:
    text = Page(report).text
    assert answer(plan) in text
    for figure in (
        f"{plan.cluster.gpus:,}",
        significant(plan.days.expected),
        significant(plan.months.expected),
        dollars(plan.cost.low),
        money(plan.cost.expected),
        dollars(plan.cost.high),
        energy(plan.energy_mwh.expected),
        power(plan.peak_power_mw),
        f"{significant(plan.carbon.location_based_tco2e)} tCO2e",
        f"{significant(plan.tdp_accounting_tco2e)}",
        f"{significant(plan.water.total_m3)} m3",
        share(plan.mfu),
        share(plan.campaign.ettr),
        energy(plan.bill.energy_kwh / 1000),
        plan.card_explanation,
    ):
        assert figure in text, figure


def test_names_every_assumption_cost_line_and_provenance(plan: Plan, report: str) -> None:
    text = Page(report).text
    for row in plan.assumptions:
        assert " ".join(row.what.split()) in text
        assert " ".join(row.source.split()) in text
    for cost in (plan.rent, plan.own):
        assert cost is not None
        assert all(line.how in text and " ".join(line.source.split()) in text for line in cost.lines)
    assert all(value in text for value in plan.provenance.values())


def test_hostile_names_stay_text(report: str) -> None:
    page = Page(report)
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert bare(clean(HOSTILE)) in bare(page.text)


def test_loads_nothing_from_elsewhere(report: str) -> None:
    for tag, attributes in Page(report).tags:
        for key in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            assert (attributes.get(key) or "#").startswith("#"), (tag, key)
    style = "".join(re.findall(r"<style>(.*?)</style>", report, re.DOTALL))
    assert "@import" not in style
    assert "url(" not in style


def test_each_chart_is_drawn_described_and_follows_the_page_colours(
    plan: Plan, hostile_plan: Plan, report: str
) -> None:
    charts = re.findall(r"<svg [^>]*>", report)
    assert len(charts) == len(figures([plan, hostile_plan])) > 20
    assert all('role="img"' in chart and re.search(r'aria-label="[^"]{20,}"', chart) for chart in charts)
    assert 'fill="var(--accent)"' in report
    assert "prefers-color-scheme: dark" in report
    clips = re.findall(r'id="([^"]+)"', report)
    assert len(clips) == len(set(clips))


def test_same_plans_give_same_bytes(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = render_html([plan])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert render_html([plan]) == first  # drawn again
    assert render_html([plan]) == first  # found again
    assert len(list(tmp_path.rglob("*.svg"))) == len(figures([plan]))


def test_home_that_cannot_be_written_is_no_obstacle(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    first = render_html([plan])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert render_html([plan]) == first


def test_prints_a_date_only_if_given(plan: Plan) -> None:
    assert "2031-05-06" not in render_html([plan])
    assert "2031-05-06" in render_html([plan], date="2031-05-06")


def test_needs_a_plan() -> None:
    with pytest.raises(ValueError, match="at least one"):
        render_html([])
