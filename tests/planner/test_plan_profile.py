"""From measured kernels to days, watts and the bill: what a plan takes from a profile, and what it refuses."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner.plan import Plan, make_plan
from planner.plan_file import plan_request
from profiler.files import InputError
from profiler.profile import Profile
from profiler.units import JOULES_PER_MWH
from sim.hardware import load_gpu
from sim.measured_gpu import measured_gpu
from sim.power import capped_power_w
from tests.planner.profiles import BLOCK, PLAN, metered, taken


def planned(folder: Path, profile: Profile | None, *overrides: tuple[str, object]) -> Plan:
    given: tuple[tuple[str, object], ...] = overrides
    if profile is not None:
        profile.write(folder / "mine.json")
        given = (("cluster.profile", str(folder / "mine.json")), *overrides)
    return make_plan(plan_request(PLAN, given, source="test"))


def test_a_measured_block_is_labelled_wherever_the_plan_stands_on_it(tmp_path: Path) -> None:
    plan = planned(tmp_path, taken(BLOCK))
    assert plan.provenance["profile"].startswith("mine (measured: NVIDIA H100 80GB HBM3, sha256 ")
    assert plan.provenance["step_times"] == "measured"
    assert plan.main_phase.step.origin == "measured"
    speeds = next(row for row in plan.assumptions if row.what == "Kernel speeds")
    assert speeds.kind == "measured"
    assert "profile mine" in speeds.source
    assert [note for note in plan.notes if "mine.json" in note] == [
        f"{tmp_path / 'mine.json'} holds no watts of matrix products that can be trusted: published ones are taken"
    ]
    assert "measured" not in {row.kind for row in planned(tmp_path, None).assumptions}


def test_faster_measured_blocks_make_fewer_days_and_dollars(tmp_path: Path) -> None:
    slow = planned(tmp_path, taken(BLOCK))
    fast = planned(tmp_path, taken(replace(BLOCK, forward_s=5e-3, backward_s=12e-3)))
    assert fast.main_phase.step_time_s < slow.main_phase.step_time_s
    assert fast.days.expected < slow.days.expected
    assert fast.cost.expected < slow.cost.expected


def test_a_profile_that_changed_is_read_again(tmp_path: Path) -> None:
    before = planned(tmp_path, taken(BLOCK))
    after = planned(tmp_path, taken(replace(BLOCK, forward_s=7e-3)))
    os.utime(tmp_path / "mine.json", ns=(0, 1))
    again = planned(tmp_path, taken(replace(BLOCK, forward_s=6e-3)))
    assert after.main_phase.step_time_s > before.main_phase.step_time_s
    assert again.main_phase.step_time_s == before.main_phase.step_time_s


def test_the_watts_of_a_step_are_those_that_were_measured(tmp_path: Path) -> None:
    """Products, attention and memory-bound kernels at one measured power, waiting and communication as assumed: the
    mean of a step lies between, and energy follows."""
    rows = (metered("matmul", 600.0), metered("attention", 600.0), metered("copy", 600.0))
    plain, plan = planned(tmp_path, None), planned(tmp_path, taken(*rows, idle_power_w=100.0))
    parts_s, gpu = plan.main_phase.step.parts_s, plan.cluster.gpu
    assert (gpu.matmul_power_w, gpu.attention_power_w, gpu.memory_power_w, gpu.idle_power_w) == (600, 600, 600, 100)
    quiet = ("tensor_parallel", "context_parallel", "pipeline", "data_parallel")
    drawn = {"bubble": 0.25, "host": 0.25, "other": 0.25, **dict.fromkeys(quiet, 0.55)}
    joules = sum(seconds * (drawn[part] * 700 if part in drawn else 600) for part, seconds in parts_s.items())
    assert plan.main_phase.step.gpu_power_w == pytest.approx(joules / sum(parts_s.values()))
    assert plan.main_phase.step_time_s == plain.main_phase.step_time_s
    assert plan.main_phase.step.gpu_power_w < plain.main_phase.step.gpu_power_w
    assert plan.campaign.total_energy_j / JOULES_PER_MWH < plain.campaign.total_energy_j / JOULES_PER_MWH
    row = next(row for row in plan.assumptions if row.what == "GPU power by its profile")
    assert (row.kind, "600 W in matmuls" in row.value, "100 W idle" in row.value) == ("measured", True, True)
    assert "GPU power by activity" not in {row.what for row in plan.assumptions}


def test_a_cap_above_what_was_measured_slows_nothing(tmp_path: Path) -> None:
    rows = (metered("matmul", 600.0), metered("attention", 600.0), metered("copy", 600.0))
    free, held = (planned(tmp_path, taken(*rows), *cap) for cap in ((), (("site.gpu_power_cap_w", 610.0),)))
    assert held.main_phase.step_time_s == free.main_phase.step_time_s
    parts_s = held.main_phase.step.parts_s
    assert capped_power_w(held.cluster.gpu, parts_s, 610.0) == pytest.approx(free.main_phase.step.gpu_power_w)


def test_only_watts_that_can_be_trusted_are_taken() -> None:
    """Windows too short for an energy, meters that differ, failed rows, fp32 and computed ones say nothing; the
    largest shape stands for its kind."""
    gpu = load_gpu("h100-sxm")
    for bad in (
        metered("matmul", 300.0, energy_j=None),
        metered("matmul", 300.0, power_source="METERS DISAGREE: counter and samples"),
        metered("matmul", 300.0, status="oom"),
        metered("matmul", 300.0, precision="fp32"),
        metered("matmul", 300.0, origin="roofline"),
    ):
        assert measured_gpu(gpu, taken(bad)).matmul_power_w is None
    sizes = [metered("matmul", 300.0 + flops, forward_flops=flops) for flops in (1.0, 3.0, 2.0)]
    assert measured_gpu(gpu, taken(*sizes)).matmul_power_w == 303.0
    assert measured_gpu(gpu, None) == gpu


def test_a_profile_that_does_not_speak_for_the_plan_says_so(tmp_path: Path) -> None:
    other = planned(tmp_path, taken(BLOCK), ("training.stack", "megatron-core"))
    assert any("this plan trains with megatron-core: step times do not stand on it" in note for note in other.notes)
    unmeasured = planned(tmp_path, taken(replace(BLOCK, tp=8)))
    assert any("its step is predicted" in note for note in unmeasured.notes)
    limited = planned(tmp_path, taken(BLOCK, power_limit_w=500.0))
    assert any("a power limit of 500 W, and this GPU's is 700 W" in note for note in limited.notes)
    stated = planned(tmp_path, taken(replace(BLOCK, tp=8)), ("stated.tflops_per_gpu", 300))
    assert not any("its step is predicted" in note for note in stated.notes)


@pytest.mark.parametrize(
    ("provenance", "says"),
    [
        ({"device": "NVIDIA H200", "gpu": "h200-sxm"}, "cluster.gpu is h100-sxm.*or set cluster.gpu = h200-sxm"),
        (
            {"device": "AMD EPYC", "gpu": ""},
            "is of AMD EPYC, and cluster.gpu is h100-sxm; give a profile of h100-sxm",
        ),
        ({"origin": "roofline"}, "computed from a datasheet, not measured"),
    ],
)
def test_a_profile_of_something_else_is_refused(tmp_path: Path, provenance: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        planned(tmp_path, taken(BLOCK, **provenance))


def test_a_file_that_is_no_profile_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.json"):
        planned(tmp_path, None, ("cluster.profile", str(tmp_path / "missing.json")))
    (tmp_path / "cut.json").write_text('{"layers": [')
    with pytest.raises(InputError, match="not a whole JSON file"):
        planned(tmp_path, None, ("cluster.profile", str(tmp_path / "cut.json")))
