"""A person's hours: read whole or refused in one sentence, and priced in the hour they belong to."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.carbon import load_grid
from planner.money.hourly import read_year
from planner.money.tariffs import Tariff, bill, load_tariff
from profiler.files import InputError

START = datetime(2025, 1, 1)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(rows: list[str], header: str = "usd_per_kwh", name: str = "mine.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return make


def hours(count: int = 8760) -> list[str]:
    """Each hour's price is its number in millionths."""
    return [f"{i / 1e6}" for i in range(count)]


def test_a_year_is_read_hour_by_hour(write: Write) -> None:
    tariff = load_tariff(str(write(hours())))
    made = bill(tariff, datetime(2025, 1, 2, 5), [10.0, 20.0])
    assert made.energy_usd == pytest.approx(10 * 29e-6 + 20 * 30e-6)
    assert made.demand_usd == made.fixed_usd == 0
    assert tariff.mean_usd_per_kwh == pytest.approx(8759 / 2 / 1e6)


def test_a_file_written_anew_is_read_anew(write: Write) -> None:
    for price in ("0.05", "0.07"):
        assert load_tariff(str(write([price] * 8760))).mean_usd_per_kwh == pytest.approx(float(price))
        grid = str(write(["100" if price == "0.05" else "200"] * 8760, "g_per_kwh", "grid.csv"))
        assert load_grid(grid).intensity_kg_per_kwh == pytest.approx(0.1 if price == "0.05" else 0.2)


def test_the_next_year_begins_again_and_a_leap_day_repeats_the_day_before(write: Write) -> None:
    tariff = load_tariff(str(write(hours())))
    assert tariff.usd_per_kwh(datetime(2025, 12, 31, 23), 2).tolist() == pytest.approx([8759e-6, 0])
    leap = tariff.usd_per_kwh(datetime(2024, 2, 28), 72)
    assert leap[:24].tolist() == leap[24:48].tolist()
    assert leap[48] == pytest.approx(59 * 24e-6)


def test_a_leap_years_29_february_is_left_out(write: Write) -> None:
    year = load_tariff(str(write(hours(8784))))
    assert len(year.hourly_usd_per_kwh) == 8760
    assert year.usd_per_kwh(datetime(2025, 3, 1), 1)[0] == pytest.approx(60 * 24e-6)


def test_megawatt_hours_grams_and_negative_prices(write: Write) -> None:
    prices = load_tariff(str(write(["-50"] * 8760, "usd_per_mwh")))
    assert bill(prices, START, [1000.0]).energy_usd == pytest.approx(-50)
    grid = load_grid(str(write(["250"] * 8760, "g_per_kwh", "grid.csv")))
    assert grid.intensity_kg_per_kwh == pytest.approx(0.25)


@given(clean=st.integers(0, 23), kwh=st.lists(st.floats(0.1, 100), min_size=24, max_size=24))
def test_a_load_meets_the_intensity_of_its_own_hours(clean: int, kwh: list[float]) -> None:
    grid = load_grid("NOR")
    day = [0.0 if hour == clean else 0.5 for hour in range(24)]
    hourly = type(grid)(**{**vars(grid), "hourly_kg_per_kwh": tuple(day * 365)})
    met = hourly.over(START, np.array(kwh)).intensity_kg_per_kwh
    assert met * sum(kwh) == pytest.approx(0.5 * (sum(kwh) - kwh[clean]))
    assert grid.over(START, np.array(kwh)) == grid


def stamped(start: datetime = START, count: int = 8760) -> list[str]:
    return [f"{(start + timedelta(hours=i)).isoformat()},0.05" for i in range(count)]


def test_times_are_checked_where_there_are_any(write: Write) -> None:
    header = "time,usd_per_kwh"
    assert load_tariff(str(write(stamped(), header, "good.csv"))).hourly_usd_per_kwh[0] == 0.05
    gap = stamped()
    del gap[100]
    mistakes = {
        "gap": (gap, r"line 102: time is 2025-01-05 05:00:00, where 2025-01-05 04:00:00 should follow"),
        "late": (stamped(START + timedelta(days=1)), "line 2: time is 2025-01-02 00:00:00; the first row must be"),
        "words": (["today,0.05", *stamped()[1:]], "line 2: time is 'today'; one like 2025-01-01T00:00 is needed"),
    }
    for name, (rows, said) in mistakes.items():
        with pytest.raises(InputError, match=said) as caught:
            load_tariff(str(write(rows, header, f"{name}.csv")))
        assert f"{name}.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        (hours(), "price", "no column 'usd_per_kwh' or 'usd_per_mwh'; its columns are price"),
        (hours(8759), "usd_per_kwh", "8759 rows; a year from 1 January has 8760 hours, a leap year 8784"),
        ([], "usd_per_kwh", "0 rows; a year"),
        ([*hours(99), "cheap", *hours(8660)], "usd_per_kwh", "line 101: usd_per_kwh is 'cheap'; a number from"),
        (["nan", *hours(8759)], "usd_per_kwh", "line 2: usd_per_kwh is 'nan'"),
        (["50", *hours(8759)], "usd_per_kwh", "line 2: usd_per_kwh is '50'; a number from -1 to 10 is needed"),
        (["99999", *hours(8759)], "usd_per_mwh", "a number from -1000 to 10000 is needed"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(write: Write, rows: list[str], header: str, said: str) -> None:
    path = write(rows, header)
    with pytest.raises(InputError, match=said) as caught:
        load_tariff(str(path))
    assert "mine.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    for load in (load_tariff, load_grid):
        with pytest.raises(InputError, match=r"missing\.csv"):
            load(str(tmp_path / "missing.csv"))
    with pytest.raises(InputError, match="hourly_usd_per_kwh has 2 values; a year has 8760"):
        Tariff(name="t", label="t", energy_usd_per_kwh=0, hourly_usd_per_kwh=(1, 2), source="made up", date="")
    path = tmp_path / "grid.csv"
    path.write_text("kg_per_kwh\n" + "-1\n" * 8760)
    with pytest.raises(InputError, match="kg_per_kwh is '-1'; a number from 0 to 3"):
        read_year(path, {"kg_per_kwh": 1.0}, least=0.0, most=3.0)
