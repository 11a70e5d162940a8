"""Water: at the site and in the power plants, against the published account of GPT-3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.campaign.simulation import simulate_plan
from planner.campaign.text import distribution_lines
from planner.carbon import grids, load_grid
from planner.plan import make_plan
from planner.plan_file import plan_request
from planner.quantities import significant
from planner.report.board import summary_table
from planner.report.document import Cell
from planner.terminal import print_plans
from planner.water import litres_per_kwh, site_only, water
from planner.why import why
from profiler.files import InputError


@pytest.mark.parametrize(
    ("iso3", "pue", "wue", "site_ml", "all_ml"),
    # arXiv:2304.03271 table 1: GPT-3 (1,287 MWh of machines) in average US data centres, million litres
    [("USA", 1.17, 0.55, 0.708, 5.439)],
)
def test_gpt3_as_published(iso3: str, pue: float, wue: float, site_ml: float, all_ml: float) -> None:
    found = water(1_287e3, 1_287e3 * pue, load_grid(iso3), wue)
    assert found.site_m3 / 1000 == pytest.approx(site_ml, rel=0.01)
    assert found.total_m3 / 1000 == pytest.approx(all_ml, rel=0.01)


def test_by_hand() -> None:
    found = water(1000.0, 1100.0, load_grid("gcp:europe-north1"), 0.5)  # Finland: 4.54 l per kWh
    assert found.site_m3 == pytest.approx(0.5)
    assert found.generation_m3 == pytest.approx(1100 * 4.54 / 1000)
    assert found.total_m3 == pytest.approx(0.5 + 4.994)


def test_what_is_not_published_is_not_counted_and_says_so() -> None:
    found = water(1000.0, 1100.0, load_grid("BTN"))
    assert found.generation_m3 is None
    assert found.total_m3 == found.site_m3 == pytest.approx(0.27)
    assert "not published for this grid" in found.how


DRY = "at the site; water in generation is not published for Bhutan"


def test_wherever_the_water_of_a_plan_stands_it_says_what_is_not_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    request = plan_request(
        {"model": "llama3.1-8b", "tokens": "100B", "cluster": {"gpus": 64}, "site": {"grid": "Bhutan"}}, source="test"
    )
    plan = make_plan(request)
    water_m3 = plan.water.total_m3
    print_plans([plan], None)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Water │ {significant(water_m3)} m3 at the site" in shown
    assert DRY in shown
    [cell] = [row[1] for row in summary_table([plan]).rows if isinstance(row[0], Cell) and row[0].text == "Water"]
    assert isinstance(cell, Cell)
    assert (cell.text, cell.note) == (f"{significant(water_m3)} m3", DRY)
    assert why(plan, "water_m3").value == f"{significant(water_m3)} m3 at the site"
    assert DRY in "\n".join(distribution_lines(simulate_plan(request, seed=1, replicas=2)))


def test_where_water_in_generation_is_published_nothing_is_said_to_be_missing() -> None:
    assert all(not site_only(grid) for grid in grids() if grid.iso3 in litres_per_kwh())
    assert site_only(load_grid("Bhutan")) == DRY


@given(it=st.floats(0, 1e9), pue=st.floats(1, 3), wue=st.floats(0, 10), less=st.floats(0, 1))
def test_water_is_linear_and_never_falls_with_wue_or_pue(it: float, pue: float, wue: float, less: float) -> None:
    grid = load_grid("USA")
    some = water(it, it * pue, grid, wue)
    assert water(2 * it, 2 * it * pue, grid, wue).total_m3 == pytest.approx(2 * some.total_m3)
    assert water(it, it * pue, grid, wue * less).total_m3 <= some.total_m3
    assert water(it, it, grid, wue).total_m3 <= some.total_m3


def test_every_country_with_water_has_a_grid() -> None:
    assert len(litres_per_kwh()) == 47
    assert litres_per_kwh().keys() <= {grid.iso3 for grid in grids()}
    assert all(1 < litres < 20 for litres in litres_per_kwh().values())


def test_what_is_no_amount_is_refused() -> None:
    with pytest.raises(InputError, match=r"^wue_l_per_kwh is -1"):
        water(1, 1, load_grid("USA"), -1.0)
