"""Charts say what the plan says: sums add up, curves cross where the plan says, fronts hold none that is beaten."""

import io
import json
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from PIL import Image

from dashboard.plans import timeline_chart_of, timeline_of
from dashboard.scenarios import base, layout_choice, layout_text
from dashboard.screenshots import reduced
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request
from planner.report import (
    comparison_charts,
    finish_charts,
    layout_charts,
    money_charts,
    place_charts,
    profile_charts,
    tables,
)
from planner.report.plan_text import plan_file_text
from planner.report.spec import Spec
from planner.report.theme import DARK, LIGHT
from planner.search.request import search_request
from planner.uncertainty import sample_plan
from profiler.architecture import load_architecture
from profiler.files import parse_toml
from sim.hardware import load_gpu
from sim.roofline import roofline_profile


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(base("8b"))


def _owned(plan: Plan) -> Plan:
    data = parse_toml(plan_file_text(plan.request), source="a test")
    return make_plan(plan_request(data, [("money.mode", "own")], source="a test"))


def _charts(plan: Plan, theme: object = LIGHT) -> list[Spec | None]:
    look = {"theme": theme}
    days = sample_plan(plan).drawn["days"]
    result = search_request(plan.request, 10)
    profile = roofline_profile(plan.cluster.gpu, [plan.architecture], tps=(1,), micro_batches=(1,), seq_lens=(4096,))
    return [
        finish_charts.finish_dates(plan, days, deadline=date(2026, 3, 1), **look),  # type: ignore[arg-type]
        money_charts.break_even_curve(plan, **look),  # type: ignore[arg-type]
        money_charts.cash_months(plan, **look),  # type: ignore[arg-type]
        money_charts.bill_months(plan, **look),  # type: ignore[arg-type]
        place_charts.tonnes_by_place(plan, **look),  # type: ignore[arg-type]
        place_charts.country_bars(plan, **look),  # type: ignore[arg-type]
        place_charts.swing_bars(tables.swing_table(plan), plan.peak_power_mw, **look),  # type: ignore[arg-type]
        layout_charts.layout_scatter(result, plan.main_phase.step, **look),  # type: ignore[arg-type]
        layout_charts.layout_memory(result, **look),  # type: ignore[arg-type]
        comparison_charts.comparison_bars([("a", plan), ("b", plan)], "days", **look),  # type: ignore[arg-type]
        profile_charts.ceiling_bars(profile, **look),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_chart_is_drawn_with_title_alt_text_and_no_stray_number(plan: Plan, theme: object) -> None:
    import vl_convert

    for chart in _charts(plan, theme):
        assert chart is not None
        assert chart["title"]["text"]
        assert len(chart["description"]) > 15
        text = json.dumps(chart, allow_nan=False)
        assert "<svg" in vl_convert.vegalite_to_svg(text)


def test_the_curves_cross_at_the_break_even(plan: Plan) -> None:
    table = money_charts.break_even_table(plan)
    day = plan.break_even_days
    assert day is not None
    rent, buy = (np.interp(day, table["Days of use"], table[name]) for name in ("Rent [USD]", "Buy [USD]"))
    assert rent == pytest.approx(buy, rel=0.002)
    before = table[table["Days of use"] < day * 0.95]
    assert (before["Rent [USD]"] < before["Buy [USD]"]).all()


@pytest.mark.parametrize("owned", [False, True])
def test_cash_by_month_adds_up_to_the_cost(plan: Plan, owned: bool) -> None:
    found = _owned(plan) if owned else plan
    assert money_charts.cash_table(found)["USD"].sum() == pytest.approx(found.cost.expected)


def test_the_bill_adds_up(plan: Plan) -> None:
    assert money_charts.bill_table(plan)["USD"].sum() == pytest.approx(plan.bill.total_usd)
    assert money_charts.bill_parts_table(plan)["USD"].sum() == pytest.approx(plan.bill.total_usd)


def test_places_emit_in_proportion_to_their_grids(plan: Plan) -> None:
    table = place_charts.place_table(plan)
    ratio = table["tCO2e"] / table["g per kWh"]
    assert ratio.max() == pytest.approx(ratio.min())
    here = table[table["Place"] == plan.grid.label]["tCO2e"].item()
    assert here == pytest.approx(plan.carbon.location_based_tco2e)
    assert table["tCO2e"].is_monotonic_increasing


def test_a_deadline_is_met_more_often_the_later_it_is(plan: Plan) -> None:
    days = sample_plan(plan).drawn["days"]
    asked = [date(2026, 1, 15), date(2026, 1, 27), date(2026, 2, 3), date(2027, 1, 1)]
    chances = [finish_charts.chance_by(plan, days, day) for day in asked]
    assert chances == sorted(chances)
    assert (chances[0], chances[-1]) == (0.0, 1.0)
    middle = finish_charts.finish_day(plan, float(np.median(days)))
    assert finish_charts.chance_by(plan, days, middle) >= 0.5


def test_a_chance_is_all_or_none_only_where_it_is(plan: Plan) -> None:
    texts = [finish_charts.chance_text(chance) for chance in (0.0, 0.001, 0.3, 0.994, 0.999, 1.0)]
    assert texts == ["0 %", "under 1 %", "30 %", "99 %", "over 99 %", "100 %"]


def test_a_deadline_counts_to_its_end_in_the_sentence_and_in_the_chart(plan: Plan) -> None:
    days = np.concatenate([np.full(999, 20.5), [21.5]])  # one sample in a thousand ends on the day after
    last = finish_charts.finish_day(plan, 20.5)
    chart = finish_charts.finish_dates(plan, days, deadline=last)
    assert chart["description"].endswith("is met with over 99 %.")
    asked = chart["layer"][1]["data"]["values"][1]
    assert (asked["mark"], asked["at"][:10]) == ("asked for", f"{last + timedelta(days=1)}")
    assert finish_charts.finish_dates(plan, days, deadline=last + timedelta(days=1))["description"].endswith("100 %.")


def test_small_runs_stand_beside_countries_in_title_and_chart(plan: Plan) -> None:
    chart, table = place_charts.country_bars(plan), place_charts.country_table(plan)
    assert plan.comparison.what == "US homes"
    title = chart["title"]["text"]
    assert "homes" not in title
    [least] = table[table["What"].str.startswith("Montserrat")]["MWh"]
    times = float(title.partition("generates ")[2].partition(" times")[0])
    assert times == pytest.approx(least / plan.energy_mwh.expected, rel=0.05)
    assert least == table[table["What"] != place_charts.THIS_RUN]["MWh"].min()


def test_the_front_of_layouts_holds_none_that_is_beaten() -> None:
    layouts = search_request(base("70b"), 30).layouts
    front = layout_charts.layout_front(layouts)
    for layout, best in zip(layouts, front, strict=True):
        beaten = any(
            other.step_time_s <= layout.step_time_s
            and other.memory_gib <= layout.memory_gib
            and (other.step_time_s, other.memory_gib) != (layout.step_time_s, layout.memory_gib)
            for other in layouts
        )
        assert best == (layout.fits and not beaten)
    assert front[0] or any(front)


def test_days_and_dollars_of_a_layout_are_those_of_a_plan_with_it(plan: Plan) -> None:
    result = search_request(plan.request, 30)
    table = layout_charts.layout_table(result, plan)
    fits = [r.fits for r in result.layouts]
    assert table["Days"].notna().tolist() == fits
    assert table.loc[0, "Days"] == pytest.approx(plan.days.expected, rel=0.01)
    slowest = max((i for i, fit in enumerate(fits) if fit), key=lambda i: result.layouts[i].step_time_s)
    data = parse_toml(plan_file_text(plan.request), source="a test")
    data["training"]["layout"] = layout_choice(layout_text(result.layouts[slowest].layout))
    again = make_plan(plan_request(data, source="a test"))
    assert table.loc[slowest, "Days"] == pytest.approx(again.days.expected, rel=0.02)
    assert table.loc[slowest, "M USD"] == pytest.approx(again.cost.expected / 1e6, rel=0.02)


def test_memory_by_kind_adds_up(plan: Plan) -> None:
    result = search_request(plan.request, 5)
    table = layout_charts.layout_memory_table(result)
    sums = table.drop(columns="Layout").sum(axis=1)
    fitting = [r.memory_gib for r in result.layouts[: len(table)]]
    assert sums.tolist() == pytest.approx(fitting, rel=1e-6)


def test_layouts_of_the_same_degrees_are_told_apart_by_what_differs() -> None:
    beside = ("micro-batch 1, zero1, recompute none", "micro-batch 2, zero1, recompute none",
              "micro-batch 1, zero1, recompute full, not sequence-parallel")  # fmt: skip
    labels = [*(f"TP2 DP8, {text}" for text in beside), f"TP4 DP4, {beside[0]}"]
    assert layout_charts.short_labels(labels) == ["TP2 DP8, b1", "TP2 DP8, b2", "TP2 DP8, b1, full, no SP", "TP4 DP4"]


@pytest.mark.parametrize("key", ["8b", "70b", "405b"])
def test_no_two_rows_of_the_best_layouts_are_named_alike(key: str) -> None:
    best = search_request(base(key), layout_charts.MOST_MEMORY_ROWS).layouts[: layout_charts.MOST_MEMORY_ROWS]
    names = layout_charts.short_labels([r.layout.label for r in best])
    assert len(set(names)) == len(names) == layout_charts.MOST_MEMORY_ROWS


def test_no_roofline_row_is_above_its_ceiling() -> None:
    profile = roofline_profile(load_gpu("h100-sxm"), [load_architecture("llama3.1-8b")], tps=(1, 8))
    table = profile_charts.kernel_table(profile)
    assert len(table) == len(profile.layers)
    assert table["Of the ceiling [%]"].between(1, 100).all()
    assert profile_charts.watt_bars(profile) is None


def test_no_two_rows_of_a_profile_are_called_alike() -> None:
    """Of the first micro-batch and of those that add up, of a sequence and of part of a longer one."""
    profile = roofline_profile(load_gpu("h100-sxm"), [load_architecture("llama3.1-8b")], tps=(1,), seq_lens=(4096,))
    block = next(row for row in profile.layers if row.workload == "block")
    attention = replace(block, workload="attention")
    again = (replace(block, accumulates=True), replace(attention, context_len=32_768))
    chart = profile_charts.ceiling_bars(replace(profile, layers=(block, attention, *again)))
    assert chart is not None
    rows = [row["row"] for row in chart["data"]["values"]]
    assert len(set(rows)) == len(rows) == 4
    assert [name for name in rows if "accumulating" in name]
    assert [name for name in rows if "of 32768" in name]


def test_a_step_that_differs_event_by_event_says_why(plan: Plan) -> None:
    large = make_plan(base("405b"))
    said = timeline_chart_of(large, dark=False)["title"]["subtitle"]
    assert f"{timeline_of(large).total_s:.2f}" in timeline_chart_of(large, dark=False)["title"]["text"]
    apart_s = float(said.partition(" s if no two transfers shared a link")[0])
    assert apart_s == pytest.approx(large.main_phase.step.step_time_s, rel=0.005)
    assert "shared a link" not in timeline_chart_of(plan, dark=False)["title"]["subtitle"]


def test_a_picture_in_few_colours_keeps_those_of_its_large_areas() -> None:
    pixels = np.full((300, 400, 3), 255, dtype=np.uint8)
    pixels[:, :80] = sidebar = (244, 246, 248)
    inks = np.array([(11, 98, 168), (201, 105, 18), (23, 32, 42), (184, 52, 64), (16, 128, 106), (90, 101, 112)])
    shades = np.linspace(0, 1, 40)[:, None, None]  # of the edges of letters and lines
    edges = (shades * inks + (1 - shades) * 255).reshape(-1, 3)
    pixels[100 : 100 + len(edges) // 4, 100:104] = edges.reshape(-1, 4, 3)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    kept = Image.open(io.BytesIO(reduced(out.getvalue()))).convert("RGB")
    assert kept.getpixel((10, 10)) == sidebar
    assert kept.getpixel((390, 290)) == (255, 255, 255)
