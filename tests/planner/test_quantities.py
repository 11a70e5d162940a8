"""Numbers as people write and read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.quantities import dollars, energy, human, money, parse_count, parse_quantity, significant


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15.6T", 15.6e12),
        ("15.6 T", 15.6e12),
        ("16M tokens", 16e6),
        ("800B", 8e11),
        ("252M", 2.52e8),
        ("4k", 4e3),
        ("2048", 2048),
        ("1e12", 1e12),
        ("15_600_000", 15.6e6),
        ("2,870,000,000", 2.87e9),
        (7, 7),
        (1.5, 1.5),
    ],
)
def test_counts_as_written(text: object, number: float) -> None:
    assert parse_count(text) == pytest.approx(number)


@pytest.mark.parametrize(
    "wrong",
    ["", "T", "x", "15.6Q", "-1T", "0", "nan", "inf", "1e999", "1.2.3", "12T3", 0, -5, math.nan, math.inf, True,
     None, [], "١٢x", 10**400, "9" * 400 + "T"],
)  # fmt: skip
def test_what_is_no_count_is_a_value_error(wrong: object) -> None:
    with pytest.raises(ValueError, match="number such as"):
        parse_count(wrong)


@pytest.mark.parametrize("text", ["15,6T", "1,5", "15,600,0B", ",5T"])
def test_a_decimal_comma_is_not_passed_over(text: str) -> None:
    with pytest.raises(ValueError, match="commas part thousands only"):
        parse_count(text)
    with pytest.raises(ValueError, match=r"commas part thousands only.*write 0\.08"):
        parse_quantity("0,08 USD/kWh", "USD/kWh")


@given(st.text(max_size=12))
def test_any_text_is_a_positive_number_or_a_value_error(text: str) -> None:
    try:
        number = parse_count(text)
    except ValueError:
        return
    assert math.isfinite(number)
    assert number > 0


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (human(30_840_000, "GPU-hours"), "30.8 M GPU-hours"),
        (human(15.6e12), "15.6 T"),
        (human(9_000), "9,000"),
        (human(16_384), "16.4 k"),
        (money(74_200_000), "$74.2 M"),
        (money(-9_310), "−$9,310"),
        (energy(27_000), "27.0 GWh"),
        (energy(503.35), "503 MWh"),
        (energy(0.25), "250 kWh"),
        (significant(0.4565572), "0.457"),
        (significant(0), "0"),
    ],
)
def test_numbers_as_read(shown: str, text: str) -> None:
    assert shown == text


@given(st.floats(1e-6, 1e12), st.integers(1, 6))
def test_significant_digits_round_and_keep_the_order(value: float, digits: int) -> None:
    shown = float(significant(value, digits).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_numbers_beside_each_other_share_a_unit() -> None:
    assert [money(usd, like=1.2e6) for usd in (1.2e6, 840e3, -840e3, 0)] == ["$1.20 M", "$0.840 M", "−$0.840 M", "$0"]
    assert [energy(mwh, like=15.8e3) for mwh in (15.8e3, 917)] == ["15.8 GWh", "0.917 GWh"]
    assert [dollars(usd) for usd in (74_212_345, 4_521, 40.6, -9_310)] == ["74,200,000", "4,520", "41", "−9,310"]
