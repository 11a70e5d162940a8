"""Bills checked by hand, hour by hour and month by month."""

import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.money.tariffs import Tariff, Window, bill, flat_tariff, load_tariff, names
from profiler.files import InputError

AFTERNOON = Window(label="afternoon", days="weekdays", from_hour=14, to_hour=20, usd_per_kwh=0.20)
TWO_RATES = Tariff(
    name="two",
    label="two rates",
    energy_usd_per_kwh=0.05,
    windows=(AFTERNOON,),
    demand_usd_per_kw_month=10.0,
    fixed_usd_per_month=100.0,
    source="made up",
    date="2025",
)
FRIDAY = datetime(2025, 2, 28)


def holds(window: Window, hour: datetime) -> bool:
    return bool(window.holds(np.array([hour], dtype="datetime64[h]"))[0])


def test_a_weekday_by_hand() -> None:
    # 100 kWh every hour of a Friday: six hours at 0.20, eighteen at 0.05
    made = bill(TWO_RATES, FRIDAY, [100.0] * 24)
    assert made.energy_usd == pytest.approx(6 * 100 * 0.20 + 18 * 100 * 0.05)
    assert made.demand_usd == pytest.approx(100 * 10.0)
    assert made.fixed_usd == 100.0
    assert made.total_usd == pytest.approx(120 + 90 + 1000 + 100)
    assert made.energy_kwh == 2400
    assert made.months == ("2025-02",)


def test_a_weekend_has_no_afternoon() -> None:
    assert bill(TWO_RATES, FRIDAY + timedelta(days=1), [100.0] * 24).energy_usd == pytest.approx(24 * 100 * 0.05)


def test_months_have_their_own_peaks() -> None:
    # from 22:00 on Friday 28 February: two hours at 50, then two in March at 80 and 20
    made = bill(TWO_RATES, FRIDAY.replace(hour=22), [50.0, 50.0, 80.0, 20.0])
    assert made.months == ("2025-02", "2025-03")
    assert made.energy_usd == pytest.approx(200 * 0.05)
    assert made.demand_usd == pytest.approx((50 + 80) * 10)
    assert made.fixed_usd == 200.0


def test_the_edges_of_a_window() -> None:
    assert not holds(AFTERNOON, FRIDAY.replace(hour=13))
    assert holds(AFTERNOON, FRIDAY.replace(hour=14))
    assert holds(AFTERNOON, FRIDAY.replace(hour=19))
    assert not holds(AFTERNOON, FRIDAY.replace(hour=20))


def test_a_window_through_midnight() -> None:
    night = Window(label="night", from_hour=22, to_hour=6, usd_per_kwh=0.01)
    assert [hour for hour in range(24) if holds(night, FRIDAY.replace(hour=hour))] == [0, 1, 2, 3, 4, 5, 22, 23]
    winter_weekends = Window(label="w", months=(1,), days="weekends", from_hour=0, to_hour=24, usd_per_kwh=0.0)
    assert holds(winter_weekends, datetime(2025, 1, 4, 12))
    assert not holds(winter_weekends, datetime(2025, 1, 6, 12))
    assert not holds(winter_weekends, datetime(2025, 2, 1, 12))


def test_the_first_window_wins() -> None:
    noon = Window(label="noon", from_hour=12, to_hour=15, usd_per_kwh=0.5)
    both = Tariff(name="b", label="b", energy_usd_per_kwh=0.05, windows=(noon, AFTERNOON), source="made up", date="")
    assert both.usd_per_kwh(FRIDAY.replace(hour=11), 5).tolist() == [0.05, 0.5, 0.5, 0.5, 0.20]


@given(
    start=st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1)), hours=st.integers(1, 2000), kw=st.floats(0, 1e5)
)
def test_a_steady_load_by_the_calendar(start: datetime, hours: int, kw: float) -> None:
    start = start.replace(minute=0, second=0, microsecond=0)
    times = [start + timedelta(hours=i) for i in range(hours)]
    afternoons = sum(time.weekday() < 5 and 14 <= time.hour < 20 for time in times)
    months = sorted({f"{time:%Y-%m}" for time in times})
    made = bill(TWO_RATES, start, [kw] * hours)
    assert made.months == tuple(months)
    assert made.energy_usd == pytest.approx(kw * (0.20 * afternoons + 0.05 * (hours - afternoons)))
    assert made.demand_usd == pytest.approx(10 * kw * len(months))
    assert made.fixed_usd == 100 * len(months)
    assert sum(made.usd_by_month.values()) == pytest.approx(made.total_usd)
    assert bill(flat_tariff(0.08), start, [kw] * hours).total_usd == pytest.approx(0.08 * kw * hours)


@given(load=st.lists(st.floats(0, 1e5), max_size=100), price=st.floats(0, 1), cheaper=st.floats(0, 1))
def test_cheaper_never_costs_more(load: list[float], price: float, cheaper: float) -> None:
    dear = bill(flat_tariff(price), FRIDAY, load)
    assert bill(flat_tariff(price * cheaper), FRIDAY, load).total_usd <= dear.total_usd
    assert dear.total_usd == pytest.approx(price * math.fsum(load))


def test_the_example_costs_a_steady_load_what_industry_pays() -> None:
    example, industry = load_tariff("tou-example"), load_tariff("us-industrial-2025")
    assert example.assumed
    year = bill(example, datetime(2025, 1, 1), [20_000.0] * 365 * 24)
    assert year.average_usd_per_kwh == pytest.approx(industry.energy_usd_per_kwh, rel=0.01)


def test_us_industry_by_year() -> None:
    assert load_tariff("us-industrial-2024").energy_usd_per_kwh == 0.0771
    assert load_tariff("us-industrial") == load_tariff("us-industrial-2025")
    assert not load_tariff("us-industrial").assumed
    assert all(load_tariff(name).source for name in names())


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = 'name = "mine"\nlabel = "mine"\nenergy_usd_per_kwh = {}\nsource = "contract"\ndate = "2026"\n'
    path.write_text(text.format("0.06"))
    assert load_tariff(str(path)).energy_usd_per_kwh == 0.06
    path = tmp_path / "per_mwh.toml"
    path.write_text(text.format('"45 USD/MWh"') + WINDOW.replace("80", '"0.08 USD/kWh"'))
    by_mwh = load_tariff(str(path))
    assert (by_mwh.energy_usd_per_kwh, by_mwh.windows[0].usd_per_kwh) == pytest.approx((0.045, 0.08))
    for i, bad in enumerate(("-0.06", "nan", '"cheap"', '"45 USD/kW"')):
        path = tmp_path / f"bad{i}.toml"
        path.write_text(text.format(bad))
        with pytest.raises(InputError, match="energy_usd_per_kwh"):
            load_tariff(str(path))


WINDOW = """[[windows]]
label = "day"
from_hour = 8
to_hour = 20
usd_per_kwh = 80
"""


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            "energy_usd_per_kwh = 80\n",
            "energy_usd_per_kwh is 80; at most 10 USD per kWh is possible. If 80 USD per MWh",
        ),
        (f"energy_usd_per_kwh = 0.08\n{WINDOW}", "usd_per_kwh is 80; at most 10 USD per kWh is possible"),
        ("energy_usd_per_kwh = 0.08\ndemand_usd_per_kw_month = 1e9\n", "a number from 0 to 1000 is needed"),
        ("energy_usd_per_kwh = 0.08\nfixed_usd_per_month = 1e300\n", "a number from 0 to 1e+09 is needed"),
    ],
)
def test_a_price_beyond_any_market_is_refused_of_a_file_as_of_a_year_of_hours(
    tmp_path: Path, lines: str, says: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\nlabel = "mine"\nsource = "contract"\ndate = 2026-01-01\n{lines}')
    with pytest.raises(InputError) as error:
        load_tariff(str(path))
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))
    with pytest.raises(InputError, match="at most 10 USD per kWh"):
        flat_tariff(80.0)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_what_is_no_amount_is_refused(wrong: float) -> None:
    with pytest.raises(InputError, match=r"^usd_per_kwh is .*; a finite number of 0 or more is needed"):
        flat_tariff(wrong)
    with pytest.raises(InputError, match=r"^hourly_kwh\[1\] is "):
        bill(TWO_RATES, FRIDAY, [1.0, wrong])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'us-industrial'"):
        load_tariff("us-industrail")
    with pytest.raises(InputError, match="a whole hour is needed"):
        bill(TWO_RATES, FRIDAY.replace(minute=30), [1.0])
