"""The numbers behind the charts add up to the plan's."""

from dataclasses import replace

import pytest

from planner.decide.sensitivity import tornado
from planner.plan import Plan
from planner.report import charts, tables
from planner.report.board import board
from planner.report.details import part
from planner.report.document import Table as Shown
from planner.report.document import Text
from planner.report.flat import plan_rows
from planner.report.theme import DARK, LIGHT, Theme
from profiler.units import DAY_S, GIB, JOULES_PER_MWH
from sim.campaign import PLANNED, Table

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


def test_causes_hold_every_interruption_and_all_its_time(plan: Plan) -> None:
    frame, stops = tables.cause_table(plan), plan.campaign.interruptions
    assert frame["Times"].sum() == len(stops)
    spent = ("lost_s", "detection_s", "drain_s", "maintenance_s", "wait_s", "restart_s")
    lost_h = sum(getattr(stop, name) for stop in stops for name in spent) / 3600
    assert frame["Hours in all"].sum() == pytest.approx(lost_h)
    assert frame["Hours in all"].is_monotonic_decreasing


def test_hours_of_planned_maintenance_are_its_standing_and_the_restarts(plan: Plan) -> None:
    """The chart of days counts all restarts together, the table of causes those of each."""
    causes, days = tables.cause_table(plan).set_index("Cause"), tables.time_table(plan).set_index("Activity")
    planned = [stop for stop in plan.campaign.interruptions if stop.cause == PLANNED]
    standing_h = days.loc["Standing for maintenance", "Days"] * 24
    assert standing_h == pytest.approx(sum(stop.maintenance_s for stop in planned) / 3600)
    beside_h = sum(stop.took_s - stop.maintenance_s for stop in planned) / 3600
    assert beside_h > 0
    assert causes.loc[PLANNED, "Hours in all"] == pytest.approx(standing_h + beside_h)
    texts = [block for section in part(plan, "a").sections for block in section.blocks if isinstance(block, Text)]
    assert any("Hours of a cause" in text.text for text in texts)


def test_swings_have_one_sign(plan: Plan) -> None:
    frame = tables.swing_table(plan)
    assert (frame["Mean size [MW]"] > 0).all()
    assert (frame["Largest size [MW]"] >= frame["Mean size [MW]"] * (1 - 1e-12)).all()


def test_water_has_each_factor_in_its_own_row(plan: Plan) -> None:
    found = part(plan, "a").sections
    [water] = [b for s in found for b in s.blocks if isinstance(b, Shown) and b.caption == "Water"]
    (_, _, site), (_, _, grid), _ = water.rows
    assert site.text == f"{plan.water.wue_l_per_kwh:g} l at the site per kWh of its machines"
    assert "Microsoft" in site.note
    assert plan.grid.label in grid.text
    assert "World Resources Institute" in grid.note
    assert "Microsoft" not in grid.note
    flat = {row.item: row for row in plan_rows(plan) if row.group == "water"}
    assert "in generating" not in flat["at the site"].known
    assert "Microsoft" not in flat["in generating the electricity"].source


def test_power_around_a_failure_reaches_twenty_minutes_beyond_all_it_takes(plan: Plan) -> None:
    """A node drained for hours first."""
    stops = plan.campaign.stops
    data = stops.data.copy()
    data[:, stops.names.index("drain_s")] += 2 * 3600
    drained = replace(plan, campaign=replace(plan.campaign, stops=Table(stops.names, data)))
    stop = next(stop for stop in drained.campaign.interruptions if not stop.planned)
    last_minute = tables.failure_table(drained)["Minute"].iloc[-1]
    assert last_minute == pytest.approx((stop.took_s - stop.lost_s) / 60 + 20)
    assert last_minute > 140


def test_cash_adds_up_to_the_cost(plan: Plan, hostile_plan: Plan) -> None:
    for one in (plan, hostile_plan):
        months, lines = tables.cash_month_table(one), tables.cash_line_table(one)
        assert months["USD"].sum() == pytest.approx(one.cost.expected)
        assert lines["USD"].sum() == pytest.approx(one.cost.expected)
        assert months["In all by then [USD]"].iloc[-1] == pytest.approx(one.cost.expected)


def test_highest_hours_bound_the_months(plan: Plan) -> None:
    frame = tables.month_table(plan)
    assert frame["Peak [MW]"].max() <= plan.peak_power_mw * (1 + 1e-12)
    assert (frame["MWh"] <= frame["Peak [MW]"] * 31 * 24).all()


def test_a_tornado_spans_the_plan_widest_first(plan: Plan) -> None:
    for outcome, swings in tornado(plan).items():
        unit = "USD" if outcome == "cost_usd" else "days"
        frame = tables.tornado_table(swings, unit)
        at = plan.intervals[outcome].expected
        ends = frame[[f"At its 5 % [{unit}]", f"At its 95 % [{unit}]"]]
        low, high = ends.min(axis=1), ends.max(axis=1)
        assert ((low <= at * 1.05) & (high >= at * 0.95)).all()
        assert (high - low).is_monotonic_decreasing


def test_the_page_for_the_board_names_only_what_moves_an_outcome(plan: Plan) -> None:
    """Not "$124 M to $124 M"."""
    tables_of_ends = [
        block
        for part in board([plan, plan])
        for block in part.blocks
        if isinstance(block, Shown) and "moves" in block.caption
    ]
    assert len(tables_of_ends) == 2
    for table in tables_of_ends:
        assert table.rows
        for _, *cells in table.rows:
            assert all(len(set(cell.text.split(" to "))) == 2 for cell in cells)


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
    stops = plan.campaign.stops
    calm = replace(plan, campaign=replace(plan.campaign, stops=Table(stops.names, stops.data[:0])))
    assert charts.power_failure(calm) is None
    assert charts.campaign_strip(calm)["title"]["text"].count("0 interruptions") == 1


def test_themes_name_the_same_things_apart() -> None:
    assert len(set(LIGHT.colours().values())) == len(LIGHT.colours())
    assert set(LIGHT.colours()) == set(DARK.colours())
