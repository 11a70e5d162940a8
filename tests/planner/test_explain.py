"""Explanations: every number followed down rests on something, and its parts add up to it."""

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from planner.explain import read_taken
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request, read_plan_request
from planner.why import NUMBERS, Reason, why
from profiler.files import InputError
from tests.sim.nodes import own_node

EXAMPLES = Path(__file__).parents[2] / "examples"
KINDS = {"given", "measured", "scaled", "calibrated", "published", "assumed"}


@cache
def plan(mode: str = "rent") -> Plan:
    return make_plan(read_plan_request(EXAMPLES / "llama3.1-405b.toml", [("money.mode", mode)]))


@pytest.mark.parametrize("mode", ["rent", "own"])
@pytest.mark.parametrize("number", sorted(NUMBERS))
def test_every_number_rests_on_a_measurement_a_source_an_assumption_or_what_was_given(number: str, mode: str) -> None:
    found = why(plan(mode), number)
    assert found.parts
    for leaf in found.leaves():
        assert leaf.kind in KINDS, leaf
        assert leaf.source, leaf
        assert leaf.value, leaf


def test_the_headline_numbers_can_be_followed() -> None:
    p = plan()
    said = {
        "days": p.days.expected,
        "gpu_hours": p.gpu_hours.expected,
        "cost_usd": p.cost.expected,
        "energy_mwh": p.energy_mwh.expected,
        "peak_mw": p.peak_power_mw,
        "tco2e": p.carbon.location_based_tco2e,
        "water_m3": p.water.total_m3,
        "mfu": p.mfu,
        "ettr": p.campaign.ettr,
        "step_time_s": p.main_phase.step_time_s,
    }
    assert set(NUMBERS) == set(said)
    assert {number: why(p, number).amount for number in NUMBERS} == pytest.approx(said)


def amounts(reason: Reason, *leave_out: str) -> float:
    return math.fsum(part.amount or 0.0 for part in reason.parts if part.what not in leave_out)


def find(reason: Reason, what: str) -> Reason:
    """The first part of that name, however deep."""
    if reason.what == what:
        return reason
    for part in reason.parts:
        try:
            return find(part, what)
        except LookupError:
            continue
    raise LookupError(what)


@pytest.mark.parametrize("mode", ["rent", "own"])
def test_what_adds_up_adds_up_in_the_tree(mode: str) -> None:
    days = why(plan(mode), "days")
    assert amounts(days) == pytest.approx(days.amount)
    training = find(days, "Training")
    assert amounts(training) == pytest.approx(training.amount, rel=1e-6)
    step = find(days, f"Step time, {plan().main_phase.name}")
    assert amounts(step) == pytest.approx(step.amount)
    cost = why(plan(mode), "cost_usd")
    assert amounts(cost) == pytest.approx(cost.amount)
    energy = why(plan(mode), "energy_mwh")
    assert amounts(energy, "Days") == pytest.approx(energy.amount)


@pytest.mark.parametrize("mode", ["rent", "own"])
@pytest.mark.parametrize("waiting", [{}, {"preparation_days": 20}, {"preparation_days": 20, "idle_days": 10}])
def test_billed_hours_are_the_gpus_times_every_day_that_is_named(mode: str, waiting: dict[str, float]) -> None:
    small = {"model": "llama3.1-8b", "tokens": "200B", "cluster": {"gpus": 64}, "money": {"mode": mode, **waiting}}
    billed = find(why(make_plan(plan_request(small, source="test")), "cost_usd"), "Billed GPU-hours")
    days = {part.what: part.amount for part in billed.parts if part.amount}
    named = {"preparation_days": "Preparation", "idle_days": "Idling"}
    assert {name: days[name] for name in days if name != "Days"} == {named[key]: n for key, n in waiting.items()}
    gpus = 64 + 8  # one spare node
    assert billed.amount == pytest.approx(gpus * 24 * amounts(billed))
    said = re.match(r"72 GPUs, spare nodes' too, for ([\d.]+) days: (.*)", billed.how)
    assert said
    parts = [float(part.partition(" of ")[0]) for part in said[2].split(", ")]
    assert math.fsum(parts) == pytest.approx(float(said[1]), rel=0.005)


def test_a_stated_rent_explains_the_rent_alone() -> None:
    small: dict[str, Any] = {"model": "llama3.1-8b", "tokens": "200B", "cluster": {"gpus": 64}}
    told = [("money.price_usd_per_gpu_hour", 2.0), ("money.research_staff", True)]
    found = why(make_plan(plan_request(small, told, source="test")), "cost_usd")
    given = [line.what for line in found.parts if "Rent" in {leaf.what for leaf in line.leaves()}]
    assert given == ["Rent of GPUs"]


def test_what_a_node_does_to_its_gpus_is_among_what_a_plan_stands_on(tmp_path: Path) -> None:
    """A board that is assumed to be so says so; a node's own file without a source is what a person gave."""
    own = own_node(tmp_path, "hgx-h100-water", 'clock_gain = "', 'nics_at_cpu = "')
    for node, kind in (("hgx-h100-water", "assumed"), (str(own), "given"), ("hgx-h100", None)):
        asked = {"model": "llama3.1-8b", "tokens": "200B", "cluster": {"gpus": 64, "node": node}}
        plan = make_plan(plan_request(asked, source="test"))
        told = {leaf.what: leaf.kind for leaf in why(plan, "step_time_s").leaves()}
        assert [told.get(what) for what in ("Cooling", "Network cards")] == [kind, kind]
        assert all(row.source for row in plan.assumptions)


@pytest.mark.parametrize("gpus", [512, 2048, 16_384])
def test_the_hours_between_failures_follow_from_what_is_said_beside_them(gpus: int) -> None:
    """Rate times nodes times what a job of this size adds: a reader can do the sum."""
    asked = {"model": "llama3.1-8b", "tokens": "1T", "cluster": {"gpus": gpus}}
    rows = make_plan(plan_request(asked, source="test")).assumptions
    said = next(row.value for row in rows if row.what == "Failures")
    per_1000 = float(said.split()[0])
    factor = re.search(r"times ([\d.]+) in a job", said)
    hours = float(said.rpartition("every ")[2].removesuffix(" h"))
    assert 24_000 / per_1000 / (gpus / 8) / (float(factor[1]) if factor else 1) == pytest.approx(hours, rel=0.01)
    assert (factor is None) == (gpus == 16_384)


def test_a_stated_throughput_and_price_are_leaves_that_were_given() -> None:
    small: dict[str, Any] = {"model": "llama3.1-8b", "tokens": "200B", "cluster": {"gpus": 64}}
    told = [("stated.tflops_per_gpu", 400.0), ("money.price_usd_per_gpu_hour", 2.0)]
    found = why(make_plan(plan_request(small, told, source="test")), "cost_usd")
    leaves = {leaf.what: leaf for leaf in found.leaves()}
    assert leaves["Throughput"].kind == "given"
    assert leaves["Rent"].kind == "given"


def constants(**overrides: Any) -> dict[str, str]:
    """What the step of a small plan depends on: meaning and value of each constant."""
    small: dict[str, Any] = {"model": "llama3.1-8b", "tokens": "200B", "cluster": {"gpus": 64}}
    planned = make_plan(plan_request(small, list(overrides.items()), source="test"))
    return {part.what: part.value for part in find(why(planned, "step_time_s"), "Kernel speeds").parts}


def test_only_constants_that_the_step_depends_on_are_shown_each_with_its_unit() -> None:
    h100 = constants(**{"cluster.gpu": "h100-sxm"})
    others = ("A100", "H200", "FlashAttention-1")
    assert not [meaning for meaning in h100 for other in others if other in meaning]
    assert any("H100 at 700 W" in meaning for meaning in h100)
    assert not any("fp8" in meaning for meaning in h100)
    assert any("fp8" in meaning for meaning in constants(**{"training.precision": "fp8"}))
    a100 = constants(**{"cluster.gpu": "a100-80gb", "training.layout.tp": 2})
    assert any(meaning.startswith("The same on A100 as: Bus bandwidth") for meaning in a100)
    assert not [meaning for meaning in a100 if "on an H100" in meaning or "on H100" in meaning]
    with_unit = re.compile(r"[\d.]+ (s|ms|µs|TFLOP/s|%|passes) \(expected .*\)|× [\d.]+ \(expected × [\d.]+\)")
    assert all(map(with_unit.fullmatch, [*h100.values(), *a100.values()]))
    assert h100["Time per step outside the passes: data, clipping, logging, synchronisation"].split()[1] == "ms"


def test_a_number_that_cannot_be_followed_names_those_that_can() -> None:
    with pytest.raises(InputError, match=r"'cost' cannot be followed; allowed: cost_usd, .*did you mean 'cost_usd'"):
        why(plan(), "cost")


def test_every_key_is_shown_with_who_said_it(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('model = "llama3.1-8b"\ntokens = "15T"\n[site]\ngrid = "NOR"\n[training.layout]\ntp = 2\n')
    request, rows = read_taken(file, [("cluster.gpus", 512)])
    taken = {row.key: row for row in rows}
    assert request.cluster.gpus == 512
    assert {key for key, row in taken.items() if row.given} == {
        "model", "tokens", "site.grid", "cluster.gpus", "training.layout",
    }  # fmt: skip
    assert (taken["tokens"].value, taken["cluster.gpus"].value) == ('"15T"', "512")
    assert (taken["site.pue"].value, taken["site.above_node_share"].value) == ("nothing", '"10 %"')
    assert taken["training.layout"].value == "tp 2"
    assert "Google" in taken["site.pue"].doc
    assert taken["phases"].value == "nothing"


def test_idle_days_of_an_owned_cluster_are_followed_down() -> None:
    data = {"model": "llama3.1-8b", "tokens": "1T", "replicas": 1, "cluster": {"gpus": 64}}
    plan = make_plan(plan_request(data, [("money.mode", "own"), ("money.idle_days", 30)], source="t"))
    [line] = [reason for reason in why(plan, "cost_usd").parts if reason.what == "Electricity"]
    [idle] = [reason for reason in line.parts if "idle" in reason.what]
    assert idle.amount == pytest.approx(plan.charges.idle_kw * 24 * 30 / 1000)
    assert any(part.what == "Idling" and part.amount == 30 for part in idle.parts)
