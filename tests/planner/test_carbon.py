"""Carbon: the model card's own numbers, the grids, and comparisons that are computed."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.carbon import (
    Grid,
    account,
    embodied,
    grids,
    load_grid,
    location_based,
    market_based,
    model_card_intensity,
    tdp_accounting,
)
from profiler.files import InputError


@pytest.mark.parametrize(("gpu_hours", "tonnes"), [(1.46e6, 420), (7.0e6, 2040), (30.84e6, 8930)])
def test_one_factor_gives_the_model_card_back(gpu_hours: float, tonnes: float) -> None:
    assert tdp_accounting(gpu_hours, 700) == pytest.approx(tonnes, rel=0.01)


def test_the_factor_is_all_tonnes_over_all_energy() -> None:
    assert model_card_intensity() == pytest.approx(11_390 / (39.3e6 * 0.7 / 1000), rel=1e-12)
    assert tdp_accounting(1000, 500) == pytest.approx(1000 * 0.5 * 0.41403 / 1000, rel=1e-5)


def test_location_based_by_hand() -> None:
    finland = load_grid("gcp:europe-north1")
    assert finland.intensity_kg_per_kwh == 0.046
    assert location_based(1e6, finland) == pytest.approx(46)
    assert market_based(1e6, finland, contracted_share=0.75) == pytest.approx(11.5)
    assert market_based(1e6, finland, contracted_share=1) == 0


def test_embodied_by_hand() -> None:
    assert embodied(16_384, 164, 365.25) == pytest.approx(16_384 * 164 / 5.5 / 1000)
    assert embodied(0, 164, 90) == 0


def test_the_account_adds_up() -> None:
    made = account(30e6, load_grid("USA"), gpus=16_384, embodied_kg_per_gpu=164, days=80, contracted_share=1)
    assert made.market_based_tco2e == 0
    assert made.total_tco2e == pytest.approx(made.location_based_tco2e + made.embodied_tco2e)
    assert made.location_based_tco2e == pytest.approx(30e6 * 0.369473 / 1000)


@given(kwh=st.floats(0, 1e12), two=st.tuples(*[st.sampled_from(grids())] * 2), share=st.floats(0, 1))
def test_a_cleaner_grid_never_emits_more(kwh: float, two: tuple[Grid, Grid], share: float) -> None:
    clean, dirty = sorted(two, key=lambda grid: grid.intensity_kg_per_kwh)
    assert location_based(kwh, clean) <= location_based(kwh, dirty)
    assert location_based(2 * kwh, dirty) == pytest.approx(2 * location_based(kwh, dirty))
    assert market_based(kwh, dirty, contracted_share=share) <= location_based(kwh, dirty)


def test_grids_by_any_of_their_names() -> None:
    assert load_grid("NOR") == load_grid("norway") == load_grid(" Norway ")
    assert load_grid("nor").kind == "country"
    region = load_grid("GCP:me-central1")
    assert (region.kind, region.year) == ("cloud-region", None)


def test_the_catalogue_of_grids() -> None:
    assert sum(grid.kind == "country" for grid in grids()) == 213
    assert sum(grid.kind == "cloud-region" for grid in grids()) == 40
    assert len({grid.name for grid in grids()}) == 253
    assert all(0 <= grid.intensity_kg_per_kwh < 1.4 and grid.source for grid in grids())


@pytest.mark.parametrize(
    ("wrong", "meant"), [("Norwy", "norway"), ("gcp:us-centrl1", "gcp:us-central1"), ("germny", "germany")]
)
def test_an_unknown_grid_suggests_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"grid '{wrong}' is not in the catalogue; .*did you mean '{meant}'"):
        load_grid(wrong)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_what_is_no_amount_is_refused(wrong: float) -> None:
    with pytest.raises(InputError, match=r"^energy_kwh is .*; a finite number of 0 or more is needed"):
        location_based(wrong, load_grid("NOR"))
    with pytest.raises(InputError, match=r"^gpu_hours is "):
        tdp_accounting(wrong, 700)
    with pytest.raises(InputError, match=r"^contracted_share is .*; a number from 0 to 1 is needed"):
        market_based(1.0, load_grid("NOR"), contracted_share=wrong)


@pytest.mark.parametrize("wrong", ["-1", "nan", "inf", "4"])
def test_an_intensity_beyond_any_plants_is_refused(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["kg_per_kwh", wrong, *["0.4"] * 8759]) + "\n")
    with pytest.raises(InputError, match=rf"mine\.csv: line 2: kg_per_kwh is '{wrong}'; a number from 0 to 3 is"):
        load_grid(str(path))
