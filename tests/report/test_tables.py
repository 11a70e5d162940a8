"""The numbers behind the charts add up to the plan's."""

from dataclasses import replace

import pytest

from planner.plan import Plan
from planner.report import charts, tables
from planner.report.theme import DARK, LIGHT, Theme
from profiler.units import DAY_S, GIB, JOULES_PER_MWH

CHARTS = (
    charts.campaign_strip,
    charts.step_bar,
    charts.memory_bar,
    charts.time_bars,
    charts.cost_ranges,
    charts.power_whole,
    charts.power_first_week,
    charts.power_failure,
    charts.energy_parts,
    charts.energy_months,
)


def test_parts_add_up(plan: Plan) -> None:
    step, campaign = plan.main_phase.step, plan.campaign
    assert tables.step_table(plan)["Seconds"].sum() == pytest.approx(step.step_time_s)
    assert tables.memory_table(plan)["GiB"].sum() == pytest.approx(step.peak_memory_bytes / GIB)
    assert tables.time_table(plan)["Days"].sum() == pytest.approx(campaign.duration_s / DAY_S)
    assert tables.time_table(plan)["Share [%]"].sum() == pytest.approx(100)
    assert tables.energy_part_table(plan)["MWh"].sum() == pytest.approx(campaign.total_energy_j / JOULES_PER_MWH)
    assert tables.month_table(plan)["MWh"].sum() == pytest.approx(campaign.total_energy_j / JOULES_PER_MWH)


def test_a_cascade_has_no_gaps(plan: Plan) -> None:
    frame = tables.step_table(plan)
    assert frame["start"].iloc[0] == 0
    assert frame["start"].iloc[1:].tolist() == frame["end"].iloc[:-1].tolist()


def test_progress_rises_from_nothing_to_all(plan: Plan) -> None:
    done = tables.progress_table(plan)["Tokens [%]"]
    assert done.is_monotonic_increasing
    assert (done.iloc[0], done.iloc[-1]) == (0, pytest.approx(100))


def test_power_band_holds_its_mean_and_has_few_points(plan: Plan) -> None:
    frame = tables.power_table(plan, most_points=20)
    assert len(frame) <= 20
    assert (frame["MW, lowest hour"] <= frame["MW, mean"] * (1 + 1e-12)).all()
    assert (frame["MW, highest hour"] >= frame["MW, mean"] * (1 - 1e-12)).all()


def test_ticks_are_thinned_for_charts_only(plan: Plan) -> None:
    assert len(tables.interruption_table(plan)) == len(plan.campaign.interruptions)
    assert len(tables.interruption_table(plan, most=2)) <= 2 * 3


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_charts_have_a_message_a_description_and_their_theme(plan: Plan, theme: Theme) -> None:
    for draw in CHARTS:
        spec = draw(plan, theme)
        assert spec is not None
        assert len(spec["title"]["text"]) > 15
        assert len(spec["description"]) > 20
        assert spec["config"]["background"] == theme.paper


def test_no_failure_no_chart_of_one(plan: Plan) -> None:
    calm = replace(plan, campaign=replace(plan.campaign, interruptions=()))
    assert charts.power_failure(calm) is None
    assert charts.campaign_strip(calm)["title"]["text"].count("0 interruptions") == 1


def test_themes_name_the_same_things_apart() -> None:
    assert len(set(LIGHT.colours().values())) == len(LIGHT.colours())
    assert set(LIGHT.colours()) == set(DARK.colours())
