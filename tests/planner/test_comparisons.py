"""Comparisons: computed from published yearly amounts."""

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.comparisons import (
    CountryUse,
    as_much_as,
    countries,
    emitted_as_much_as,
    generates,
    in_sentence,
    water_as_much_as,
)
from profiler.files import InputError


def test_the_405b_is_about_a_year_of_kiribati() -> None:
    made = as_much_as(30_400)
    assert made.what == "Kiribati"
    assert made.sentence == "about as much as Kiribati generates in a year (30,000 MWh, 2022)"
    assert made.ratio == pytest.approx(30.4 / 30)


@pytest.mark.parametrize("country", countries()[::20])
def test_a_countrys_own_generation_is_about_as_much(country: CountryUse) -> None:
    generation = country.generation_mwh
    assert as_much_as(generation).yearly == generation


@given(st.floats(5_000, 1e11))
def test_the_nearest_country_is_the_nearest(energy_mwh: float) -> None:
    made = as_much_as(energy_mwh)
    gap = abs(math.log(made.ratio))
    assert all(abs(math.log(energy_mwh / c.generation_mwh)) >= gap - 1e-12 for c in countries())
    assert made.ratio * made.yearly == pytest.approx(energy_mwh)


def test_small_amounts_are_compared_with_homes() -> None:
    made = as_much_as(1_071.5)
    assert made.ratio == pytest.approx(100)
    assert made.sentence.startswith("about as much as 100 US homes use in a year")
    assert as_much_as(10.715).sentence.startswith("about as much as 1 US home uses in a year")
    assert as_much_as(0).ratio == 0


@given(st.floats(1e-9, 10.7))
def test_less_than_a_home_uses_in_a_year_is_the_time_in_which_one_does(energy_mwh: float) -> None:
    assume("1 US home" not in (said := as_much_as(energy_mwh).sentence))
    found = re.fullmatch(r"about as much as a US home uses in ([\d.,]+) (day|hour|minute|second)s? \(.*", said)
    assert found
    hours = float(found[1].replace(",", "")) * {"day": 24, "hour": 1, "minute": 1 / 60, "second": 1 / 3600}[found[2]]
    assert hours / (24 * 365.25) * 10.715 == pytest.approx(energy_mwh, rel=0.05)


def test_a_step_of_one_gpu_is_a_time_that_a_person_can_picture() -> None:
    assert as_much_as(562e-6).sentence.startswith("about as much as a US home uses in 28 minutes (")
    assert emitted_as_much_as(1.69e-5).sentence.startswith("about as much as a US car emits in 1.9 minutes (")
    assert water_as_much_as(0.00389).sentence.startswith("about as much water as a US home uses in 4.9 minutes (")


def test_islands_generate() -> None:
    assert as_much_as(20_000).sentence.startswith("about as much as the Falkland Islands generate in a year (")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Norway", "Norway generates"),
        ("United States", "the United States generates"),
        ("United States Virgin Islands", "the United States Virgin Islands generate"),
        ("Central African Republic", "the Central African Republic generates"),
        ("Netherlands", "the Netherlands generates"),
        ("Saint Pierre and Miquelon", "Saint Pierre and Miquelon generates"),
    ],
)
def test_articles_and_verbs_of_countries(name: str, text: str) -> None:
    assert name in {country.country for country in countries()}
    assert f"{in_sentence(name)} {generates(name)}" == text


def test_amounts_between_countries_say_how_many_times() -> None:
    assert as_much_as(6_000).sentence.startswith("0.6 times what Montserrat generates")


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_what_is_no_amount_is_refused(wrong: float) -> None:
    with pytest.raises(InputError, match=r"^energy_mwh is "):
        as_much_as(wrong)
    with pytest.raises(InputError, match=r"^emissions_t is "):
        emitted_as_much_as(wrong)
    with pytest.raises(InputError, match=r"^water_m3 is "):
        water_as_much_as(wrong)


@given(st.floats(0, 1e10))
def test_tonnes_are_a_countrys_electricity_or_cars(tonnes: float) -> None:
    made = emitted_as_much_as(tonnes)
    assert made.ratio * made.yearly == pytest.approx(tonnes, rel=1e-9, abs=1e-9)
    assert made.what == "US cars" or 0.8 <= made.ratio <= 1.25


def test_tonnes_by_hand() -> None:
    assert emitted_as_much_as(46.0).sentence == "about as much as 10 US cars emit in a year (4.6 t a year each)"
    sweden = next(c for c in countries() if c.iso3 == "SWE")
    assert emitted_as_much_as(sweden.emissions_t).what == "Sweden"


def test_water_by_hand() -> None:
    # 300 gallons of 3.785 l a day
    made = water_as_much_as(300 * 3.785412 * 365.25 / 1000 * 20)
    assert made.ratio == pytest.approx(20)
    assert made.sentence.startswith("about as much water as 20 US homes use in a year")
