"""Every state is an address: what is written is read again, and what cannot be is named, never planned."""

import base64
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import address
from dashboard.scenarios import MODELS, UPLOADED, base, layout_choice, layout_text
from planner.carbon import grids
from planner.plan import make_plan
from planner.plan_file import parse_plan_request
from planner.report.plan_text import plan_file_text
from profiler.files import InputError
from sim.campaign.reliability import reliability_names
from sim.hardware import names
from sim.layout import ParallelLayout

STANDARD, _ = address.read({})

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(list(MODELS)),
        "gpu": st.sampled_from(names("gpus")),
        "mode": st.sampled_from(["rent", "own", "mixed"]),
        "price_usd_per_gpu_hour": st.floats(0.01, 1e4).map(lambda x: float(f"{x:.6g}")),
        "owned_gpus": st.integers(0, address.MOST_GPUS),
        "grid": st.sampled_from([grid.name for grid in grids()]),
        "pue": st.floats(1, 3).map(lambda x: round(x, 2)),
        "record": st.sampled_from(reliability_names()),
        "gpus_70b": st.integers(1, address.MOST_GPUS),
        "tokens_8b": st.sampled_from(["2T", "800B", "15.6T"]),
        "deadline": st.dates(min_value=address.READERS["deadline"]("2000-01-01"),
                             max_value=address.READERS["deadline"]("2999-12-31")),
        "timeline": st.booleans(),
        "x_failures": st.floats(0.5, 2).map(lambda x: round(x, 2)),
    },
)  # fmt: skip

LAYOUTS = st.builds(
    ParallelLayout,
    tp=st.integers(1, 64),
    cp=st.integers(1, 64),
    pp=st.integers(1, 126),
    vp=st.integers(1, 16),
    micro_batch=st.integers(1, 512),
    sharding=st.sampled_from(["none", "ddp", "zero1", "zero2", "fsdp"]),
    recompute=st.sampled_from(["none", "selective", "full"]),
    sequence_parallel=st.sampled_from([None, True, False]),
    schedule=st.sampled_from(["1f1b", "gpipe", "zb-h1", "zb-h2", "zb-v"]),
)


def test_nothing_changed_is_an_empty_address() -> None:
    assert address.write(STANDARD) == {}


@given(CHANGES)
def test_what_is_written_is_read(changes: dict[str, Any]) -> None:
    values = STANDARD | changes
    again, unread = address.read(address.write(values))
    assert (again, unread) == (values, [])


@given(CHANGES, st.text(max_size=80))
def test_a_saved_scenario_opens_as_it_was(changes: dict[str, Any], name: str) -> None:
    values = STANDARD | changes
    key = str(values["model"])
    shown, again = address.open_saved(address.saved(values, name))
    assert len(shown) <= address.LONGEST_NAME
    assert shown.isprintable()
    assert all(again[part] == values[part] for part in address.plan_keys(key))


@given(st.dictionaries(st.sampled_from(list(address.READERS)), st.text(max_size=40)))
def test_no_address_breaks_the_page(parameters: dict[str, str]) -> None:
    values, unread = address.read(parameters)
    assert set(unread) <= set(parameters)
    assert values.keys() >= STANDARD.keys()


@pytest.mark.parametrize("key", MODELS)
def test_a_plan_fits_an_address(key: str) -> None:
    packed = address.packed(base(key))
    assert address.unpacked(packed) == base(key)
    values, unread = address.read({"plan": packed, "model": UPLOADED})
    assert unread == []
    assert address.request_of(values, UPLOADED) == base(key)


def _pack(content: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(content, 9)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<script>", "cannot be read"),
        ("abc", "cannot be read"),
        ("x" * 9000, "cannot be read"),
        (_pack(b"x" * 4_000_000), "at most 256 KiB"),
        (_pack(b"model ="), "not readable as TOML"),
        (_pack(b'model = "/etc/passwd.toml"\ntokens = "1T"'), "only use what the catalogue holds"),
    ],
)
def test_a_hostile_plan_in_an_address_is_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        address.unpacked(text)
    values, unread = address.read({"plan": text, "model": UPLOADED})
    assert set(unread) == {"plan", "model"}
    assert values == STANDARD


def test_a_plan_that_no_widget_can_hold_is_refused() -> None:
    text = plan_file_text(base("8b")).replace("[site]", "[site]\npue = 5.0")
    with pytest.raises(InputError, match="PUE is 5"):
        address.packed(parse_plan_request(text, source="a test"))


@given(LAYOUTS)
def test_a_layout_in_an_address_is_the_same_layout(layout: ParallelLayout) -> None:
    stated = layout_choice(layout_text(layout))
    assert ParallelLayout(**stated) == layout  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["tp8", "tp8_cp1_pp16_vp8_b1_zero9_none", "tp8_cp1_pp16_vp8_b1_zero1_none; rm -rf"])
def test_what_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="tp8"):
        layout_choice(text)


def test_a_layout_picked_is_the_plans() -> None:
    text = "tp8_cp1_pp16_vp4_b1_zero1_selective"
    values, unread = address.read({"layout_405b": text})
    assert unread == []
    assert layout_text(make_plan(address.request_of(values, "405b")).main_phase.step.layout) == text
