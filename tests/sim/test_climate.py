"""Climates: a place's mean year comes out as its weather statistics have it; files are checked at the door."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.files import InputError
from sim.site.climate import Climate, climate_names, hours_of_year, load_climate

# Mean dry-bulb temperature of January and July [°C] and of hours 3-4 and 15-16 of July in the EnergyPlus statistics
STATISTICS = {
    "seattle": (4.5, 17.7, 13.5, 22.6),
    "tokyo": (1.9, 22.6, 20.4, 24.7),
    "calgary": (-6.3, 17.0, 10.1, 23.2),
    "phoenix": (12.9, 35.5, 30.5, 41.4),
    "new-york": (1.2, 25.1, 22.6, 26.8),
    "abu-dhabi": (18.0, 34.4, 29.3, 39.6),
}


@pytest.mark.parametrize("name", sorted(STATISTICS))
def test_a_place_has_the_months_and_hours_of_its_weather_statistics(name: str) -> None:
    """Two sines leave up to 2.3 K of a mean month or hour out; of July's own hours, up to 4 K."""
    year_c = load_climate(name).year_c()
    january, july = year_c[: 31 * 24], year_c[181 * 24 : 212 * 24].reshape(-1, 24)
    mean_january, mean_july, night, afternoon = STATISTICS[name]
    assert january.mean() == pytest.approx(mean_january, abs=2.3)
    assert july.mean() == pytest.approx(mean_july, abs=2.3)
    assert july[:, 3].mean() == pytest.approx(night, abs=4)
    assert july[:, 15].mean() == pytest.approx(afternoon, abs=4)


def test_the_catalogue_holds_those_places_and_no_others() -> None:
    assert set(climate_names()) == set(STATISTICS)


@given(
    mean=st.floats(-20, 30),
    year=st.floats(0, 25),
    day=st.floats(0, 10),
    warmest=st.floats(0, 365),
    hour=st.floats(0, 24),
)
def test_a_year_has_its_mean_and_its_amplitudes(
    mean: float, year: float, day: float, warmest: float, hour: float
) -> None:
    made = Climate(
        name="x", label="x", mean_c=mean, annual_amplitude_c=year, warmest_day=warmest, daily_amplitude_c=day,
        warmest_hour=hour,
    )  # fmt: skip
    found = made.year_c()
    assert found.mean() == pytest.approx(mean, abs=1e-9)
    daily = found.reshape(365, 24)
    assert np.ptp(daily.mean(axis=1)) == pytest.approx(2 * year, abs=1e-2 + 1e-3 * year)
    assert found.max() <= mean + year + day + 1e-9


def test_hours_follow_the_calendar_and_a_leap_day_repeats_the_day_before() -> None:
    assert hours_of_year(datetime(2026, 1, 1), 3).tolist() == [0, 1, 2]
    assert hours_of_year(datetime(2026, 12, 31, 23), 2).tolist() == [8759, 0]
    found = hours_of_year(datetime(2028, 2, 28), 72)
    assert found[:24].tolist() == found[24:48].tolist()
    assert found[48] == 59 * 24
    assert hours_of_year(datetime(2100, 2, 28), 48)[24] == 59 * 24  # no leap year


def test_a_measured_year_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "year.csv"
    rows = [str(i % 40 - 10) for i in range(8760)]
    path.write_text("hour, temperature_c\n" + "".join(f"{i},{c}\n" for i, c in enumerate(rows)))
    assert load_climate(str(path)).year_c().tolist() == [float(c) for c in rows]
    leap = tmp_path / "leap.csv"
    leap.write_text("temperature_c\n" + "".join(f"{day % 50}\n" * 24 for day in range(366)))
    found = load_climate(str(leap)).year_c()
    assert len(found) == 8760
    assert found[59 * 24] == 60 % 50


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("temp\n1\n", "no column 'temperature_c'; its columns are temp"),
        ("", "its columns are none"),
        ("temperature_c\n1\n2\n", "2 rows; a year from 1 January has 8760 hours"),
        ("temperature_c\n1\nhot\n", "line 3: temperature_c is 'hot'"),
        ("temperature_c\nnan\n", "line 2: temperature_c is 'nan'"),
        ("temperature_c\n300\n", "line 2: temperature_c is '300'"),
        ("time,temperature_c\n1\n", "line 2: temperature_c is ''"),
    ],
)
def test_a_year_that_is_none_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "year.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_climate(str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)


def test_an_unknown_climate_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'seattle'"):
        load_climate("seatle")
