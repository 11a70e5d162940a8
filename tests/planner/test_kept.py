"""What is kept: a plan made from kept answers is the plan made anew, and another price works nothing out twice."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import planner.campaign.typical
from planner.kept import forget, kept
from planner.plan import Plan, make_plan
from planner.plan_file import PlanRequest, plan_request
from profiler.files import InputError
from profiler.profile import LayerRow, Profile, Provenance
from sim.campaign import Campaign, simulate_replicas

BASE: dict[str, Any] = {
    "name": "base",
    "model": "llama3.1-8b",
    "tokens": "300B",
    "start": "2026-01-05",
    "cluster": {"gpus": 256},
    "training": {"global_batch": 512, "layout": {"tp": 1, "sharding": "fsdp", "micro_batch": 1, "recompute": "full"}},
    "replicas": 3,
}

FOLDER = TemporaryDirectory()


def _write_profile() -> None:
    """An H100 that draws less than others."""
    row = LayerRow(
        workload="matmul",
        model="",
        origin="measured",
        forward_s=1e-3,
        power_mean_w=500,
        energy_j=0.5,
        power_source="m",
    )
    came = Provenance(device="an H100", gpu="h100-sxm", origin="measured", method="by hand")
    Profile(name="quiet", provenance=came, layers=(row,)).write(Path(FOLDER.name) / "quiet.json")


_write_profile()

CHANGED: dict[str, Any] = {
    "name": "another",
    "model": "llama3.1-70b",
    "tokens": 2.5e11,
    "start": "2026-07-01",
    "replicas": 4,
    "seed": 3,
    "cluster.gpu": "h200-sxm",
    "cluster.profile": str(Path(FOLDER.name) / "quiet.json"),
    "cluster.gpus": 512,
    "cluster.node": "hgx-h100",
    "cluster.gpus_per_node": 4,
    "cluster.fabric": "200g",
    "cluster.storage": "shared-100gb-s",
    "cluster.spare_nodes": 2,
    "training.stack": "torchtitan",
    "training.precision": "fp8",
    "training.seq_len": 4096,
    "training.global_batch": 1024,
    "training.layout": {"tp": 2, "sharding": "zero1"},
    "training.only.tp": 4,
    "training.only.cp": 2,
    "training.only.pp": 2,
    "training.only.dp": 64,
    "training.only.vp": 2,
    "training.only.schedule": "1f1b",
    "training.only.micro_batch": 2,
    "training.only.sharding": "zero1",
    "training.only.recompute": "selective",
    "reliability.record": "rsc-1",
    "reliability.checkpoints": "in_memory",
    "reliability.checkpoint_interval_s": 1800,
    "reliability.checkpoint_rule": "optimal",
    "reliability.durable_interval_s": 7200,
    "reliability.memory_copies": 3,
    "reliability.storage_share": 0.5,
    "reliability.longest_detection_s": 60,
    "reliability.restart_s": 120,
    "reliability.hot_spare_nodes": 1,
    "reliability.repair_crews": 1,
    "reliability.without_spares": "fewer_replicas",
    "reliability.recovery": "replica",
    "reliability.replica_stall_s": 60,
    "reliability.planned_maintenance_per_day": 0.2,
    "reliability.maintenance_s": 1200,
    "reliability.pause_every_s": 36_000,
    "reliability.pause_s": 900,
    "site.grid": "NOR",
    "site.clean_share": 0.5,
    "site.wue_l_per_kwh": 1.0,
    "site.pue": 1.4,
    "site.above_node_share": 0.2,
    "site.tariff": "FIN",
    "site.electricity_usd_per_kwh": 0.2,
    "site.climate": "phoenix",
    "site.gpu_power_cap_w": 500,
    "site.power_limit_mw": 0.34,
    "site.power_windows": [{"allowed_w": 1e5, "from_hour": 17, "to_hour": 20}],
    "money.mode": "mixed",
    "money.owned_gpus": 64,
    "money.commitment": "spot",
    "money.vendor": "Lambda",
    "money.pay_whole_term": True,
    "money.spot_reclaimed_per_month": 0.3,
    "money.price_usd_per_gpu_hour": 3.3,
    "money.server_usd_per_gpu": 44_000,
    "money.preparation_days": 9,
    "money.idle_days": 5,
    "money.storage_tb": 900,
    "money.egress_tb": 80,
    "money.housing": "building",
    "money.depreciation": "write-off",
    "money.resale_share": 0.8,
    "money.operators": 7,
    "money.research_staff": True,
    "stated.tflops_per_gpu": 300,
    "stated.effective_time_ratio": 0.9,
    "phases": [
        {"name": "short", "tokens": "200B", "seq_len": 8192, "global_batch": 512},
        {"name": "long", "tokens": "100B", "seq_len": 16384, "global_batch": 256},
    ],
}
"""Another value of every key that a plan file may hold."""


def keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a plan file, tables by what is in them."""
    for field in fields(kind):
        inner = field.default_factory if is_dataclass(field.default_factory) else None
        if inner is None:
            yield f"{prefix}{field.name}"
        else:
            yield from keys(inner, f"{prefix}{field.name}.")


def changed(*names: str) -> PlanRequest:
    """A layout is stated unless part of one is to be searched."""
    held = any(name.startswith("training.only.") for name in names)
    base = {**BASE, "training": {"global_batch": 512}} if held else BASE
    return plan_request(base, [(name, CHANGED[name]) for name in names], source="test")


def made(request: PlanRequest) -> Plan | str:
    """The plan, or the sentence that says why there is none."""
    try:
        return make_plan(request)
    except InputError as error:
        return str(error)


@cache
def base_plan() -> Plan:
    return make_plan(changed())


def simulated(plan: Plan) -> Campaign:
    """The campaign of median length, simulated with everything that the plan says at once."""
    found = simulate_replicas(plan.setup, plan.request.seed, plan.request.replicas)
    return sorted(found, key=lambda one: one.duration_s)[len(found) // 2]


def test_every_key_of_a_plan_file_is_tried() -> None:
    assert set(CHANGED) == set(keys(PlanRequest))


def same_made_anew(*names: str) -> Plan | str:
    """Make a plan from what is kept, then anew; both must be the same. Returns it."""
    request = changed(*names)
    warm = made(request)
    forget()
    cold = made(request)
    assert warm == cold
    if isinstance(warm, Plan) and isinstance(cold, Plan):
        assert warm.intervals == cold.intervals
        assert warm.to_dict() == cold.to_dict()
        assert warm.campaign == simulated(warm)
    return warm


@pytest.mark.parametrize("name", CHANGED)
def test_a_plan_with_one_key_changed_is_the_plan_made_anew(name: str) -> None:
    make_plan(changed())
    found = same_made_anew(name)
    assert isinstance(found, Plan), found
    assert found != base_plan()


@pytest.mark.parametrize("hourly", ["site.climate", "site.power_windows", "site.power_limit_mw"])
@pytest.mark.parametrize("name", ["site.pue", "site.above_node_share", "stated.effective_time_ratio"])
def test_where_hours_differ_what_the_site_draws_decides_when_it_is_done(hourly: str, name: str) -> None:
    make_plan(changed(hourly))
    make_plan(changed(name))
    assert isinstance(same_made_anew(hourly, name), Plan)


@settings(deadline=None, max_examples=15)
@given(
    before=st.lists(st.sets(st.sampled_from(sorted(CHANGED)), max_size=4), max_size=3),
    names=st.sets(st.sampled_from(sorted(CHANGED)), max_size=5),
)
def test_whatever_was_planned_before_a_plan_is_the_plan_made_anew(before: list[set[str]], names: set[str]) -> None:
    for others in before:
        made(changed(*sorted(others)))
    same_made_anew(*sorted(names))


@pytest.mark.parametrize(
    "name", ["site.grid", "site.pue", "site.tariff", "site.electricity_usd_per_kwh", "money.price_usd_per_gpu_hour",
             "money.mode", "money.server_usd_per_gpu", "site.clean_share", "name"]
)  # fmt: skip
def test_money_place_and_pue_simulate_no_campaign_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_plan(changed()).intervals  # noqa: B018 - its luck is simulated too

    def again(*_: object) -> None:
        pytest.fail("simulated again")

    monkeypatch.setattr(planner.campaign.typical, "simulate_campaign", again)
    assert make_plan(changed(name)).intervals


def test_the_answers_kept_are_the_last_and_no_more() -> None:
    asked: list[int] = []

    @kept(2)
    def square(x: int) -> int:
        """The square."""
        asked.append(x)
        return x * x

    assert [square(x) for x in (1, 2, 1, 3, 1, 2)] == [1, 4, 1, 9, 1, 4]
    assert asked == [1, 2, 3, 2]
    forget()
    assert square(2) == 4
    assert asked == [1, 2, 3, 2, 2]
    assert square.__doc__ == "The square."


def test_an_error_is_found_again_each_time() -> None:
    asked: list[int] = []

    @kept(2)
    def refuse(x: int) -> int:
        asked.append(x)
        raise InputError("no")

    for _ in range(2):
        with pytest.raises(InputError):
            refuse(1)
    assert asked == [1, 1]


def test_threads_that_ask_the_same_at_once_share_one_answer() -> None:
    asked: list[int] = []
    ready = threading.Barrier(8)

    @kept(2)
    def slow(x: int) -> list[int]:
        asked.append(x)
        time.sleep(0.05)
        return [x]

    def ask(_: int) -> list[int]:
        ready.wait(10)
        return slow(7)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert asked == [7]
    assert all(one is found[0] for one in found)
