"""The template of a plan file: every key, its default, its words, and nothing that changes the plan."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan_file import parse_plan_request, plan_request
from planner.quantities import EXAMPLES, UNITS, parse_quantity, quantity_text
from planner.template import plan_keys, plan_tables, template
from profiler.files import InputError

TEXT = template("llama3.1-8b", "15T")


def test_the_template_read_back_is_the_defaults() -> None:
    least = plan_request({"model": "llama3.1-8b", "tokens": "15T"}, source="test")
    assert parse_plan_request(TEXT, source="template") == least


def test_every_key_stands_in_it_once_with_words_before_it() -> None:
    lines = TEXT.splitlines()
    for table in plan_tables():
        for key in table.keys:
            found = [i for i, line in enumerate(lines) if re.match(rf"(# )?{key.name} = ", line)]
            assert found, key.path
            assert key.doc, f"{key.path} says nothing of itself in planner/plan_file.py"
            assert any(lines[i - 1].startswith("# ") for i in found)
    for header in ("[cluster]", "[training]", "# [training.layout]", "# [[phases]]", "[reliability]", "[money]"):
        assert lines.count(header) == 1


def test_every_default_in_it_is_what_a_plan_takes() -> None:
    data = tomllib.loads(TEXT)
    assert data["cluster"]["gpus"] == 1024
    assert data["site"]["above_node_share"] == "10 %"
    assert {"site.pue", "money.mode", "stated.tflops_per_gpu", "cluster.gpus"} <= set(plan_keys())


@pytest.mark.parametrize(
    "path", [path for path, key in plan_keys().items() if key.default is None and not key.required]
)
def test_a_key_behind_a_hash_can_be_given_as_it_stands(path: str) -> None:
    key = plan_keys()[path]
    given_value = tomllib.loads(f"x = {key.example()}")["x"]
    request = plan_request({"model": "llama3.1-8b", "tokens": "15T"}, [(path, given_value)], source="test")
    value: object = request
    for name in path.split("."):
        value = getattr(value, name)
    assert value is not None


def test_the_optional_tables_can_be_given_as_they_stand() -> None:
    lines = TEXT.splitlines()
    start = lines.index("# [training.layout]")
    end = next(i for i in range(start, len(lines)) if not lines[i])
    keys = [line[2:] for line in lines[start:end] if re.match(r"# (\[|\w+ = )", line)]
    data = tomllib.loads("\n".join(keys))
    request = plan_request({"model": "llama3.1-8b", "tokens": "15T", **data}, source="test")
    assert request.training.layout is not None


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        ("30 MW", "W", 30e6),
        ("0.08 USD/kWh", "USD/kWh", 0.08),
        ("80 $/MWh", "USD/kWh", 0.08),
        ("8 ct/kWh", "USD/kWh", 0.08),
        ("$100M", "USD", 100e6),
        ("100M USD", "USD", 100e6),
        ("$1,250,000", "USD", 1_250_000),
        ("2.50 USD/GPU-hour", "USD/GPU-hour", 2.5),
        ("$35k/GPU", "USD/GPU", 35_000),
        ("5 kt", "t", 5000),
        ("5000tCO2e", "t", 5000),
        ("10 min", "s", 600),
        ("2 weeks", "days", 14),
        ("90 %", "share", 0.9),
        ("0.4 PFLOP/s", "TFLOP/s", 400),
        (7, "W", 7),
    ],
)
def test_amounts_as_people_write_them(text: object, unit: str, number: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(number)


@pytest.mark.parametrize(
    "text", ["", "MW", "30", "30 furlongs", "-", "1.2.3 MW", "NaN MW", True, None, "30 MWh", "1e400x"]
)
def test_what_is_no_amount_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a number with its unit, such as '30 MW'"):
        parse_quantity(text, "W")


@given(st.sampled_from(sorted(UNITS)), st.floats(1e-6, 1e12))
def test_an_amount_written_with_its_unit_reads_back_the_same(unit: str, value: float) -> None:
    assert parse_quantity(quantity_text(value, unit), unit) == value
    assert parse_quantity(EXAMPLES[unit], unit) > 0


def test_a_wrong_unit_names_the_key() -> None:
    with pytest.raises(InputError, match=r"key 'site.electricity_usd_per_kwh' is '5 MW'; .*USD/MWh"):
        plan_request(
            {"model": "llama3.1-8b", "tokens": "15T"}, [("site.electricity_usd_per_kwh", "5 MW")], source="test"
        )
