"""A profile against published kernels and on another GPU, from the command line to a plan."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from planner.kernel_comparison import by_part, compare_kernels
from planner.plan import make_plan
from planner.plan_file import plan_request
from profiler.architecture import load_architecture
from profiler.files import InputError
from profiler.profile import LayerRow, Profile, Provenance, read_profile
from sim.hardware import load_gpu
from sim.roofline import roofline_profile
from tests.planner.test_cli import data, refusal, works

H200 = load_gpu("h200-sxm")


def as_if_measured(slower: float = 1.0) -> Profile:
    """The step model's own seconds of an H200, as rows that a GPU might have given, `slower` times as long."""
    roofline = roofline_profile(H200, [load_architecture("llama3.1-8b")], tps=(1, 2), micro_batches=(1,))
    rows = [
        replace(
            row,
            origin="measured",
            forward_s=(row.forward_s or 0.0) * slower,
            backward_s=(row.backward_s or 0.0) * slower,
        )
        for row in roofline.layers
    ]
    came = Provenance(device="NVIDIA H200", gpu="h200-sxm", origin="measured", method="as if")
    return Profile(name="as-if", provenance=came, layers=tuple(rows))


@pytest.mark.parametrize("slower", [1.0, 1.25])
def test_the_differences_are_measured_over_expected(slower: float) -> None:
    rows = compare_kernels(as_if_measured(slower))
    assert len(rows) == len(as_if_measured().layers)
    assert [row.difference for row in rows] == pytest.approx([slower - 1] * len(rows), abs=1e-9)
    parts = by_part(rows)
    assert sum(part.rows for part in parts) == len(rows)
    assert {part.part for part in parts} == {"block eager", "block compiled", "head_loss eager", "head_loss compiled"}


def test_a_profile_of_nothing_comparable_is_refused() -> None:
    profile = as_if_measured()
    nowhere = replace(profile, provenance=replace(profile.provenance, gpu="", device="a CPU"))
    with pytest.raises(InputError, match="of a CPU, of which no kernels are published"):
        compare_kernels(nowhere)
    with pytest.raises(InputError, match="very model"):
        compare_kernels(roofline_profile(H200, [load_architecture("llama3.1-8b")]))
    launch = LayerRow(workload="launch", model="", origin="measured", forward_s=3e-6)
    with pytest.raises(InputError, match="no row that the step model has seconds for"):
        compare_kernels(replace(profile, layers=(launch,)))


def test_the_command_shows_parts_and_the_furthest_rows(tmp_path: Path) -> None:
    as_if_measured(1.1).write(tmp_path / "p.json")
    shown = works("kernels", str(tmp_path / "p.json"))
    assert "block eager" in shown
    assert "+10.0 %" in shown
    found = data("kernels", str(tmp_path / "p.json"))
    assert found["device"] == "NVIDIA H200"
    assert [row["difference"] for row in found["rows"]] == pytest.approx([0.1] * len(found["rows"]))


def test_a_scaled_profile_plans_another_gpu_and_says_so(tmp_path: Path) -> None:
    """From an H200's kernels to an H100's days: labelled scaled, slower, never by more than memory."""
    as_if_measured().write(tmp_path / "h200.json")
    said = works("scale", str(tmp_path / "h200.json"), "--gpu", "h100-sxm", "--out", str(tmp_path / "h100.json"))
    assert "time for memory traffic times 1.43 (4.8 over 3.35 TB/s), time to compute as measured" in said
    assert read_profile(tmp_path / "h100.json").provenance.scaled_from == "as-if"
    layout = {"tp": 2, "sharding": "zero1", "recompute": "full"}
    base = {"model": "llama3.1-8b", "tokens": "200B", "training": {"stack": "fairscale-compiled", "layout": layout}}
    days = {}
    for name in ("h100", "h200"):
        cluster = {"gpus": 64, "gpu": f"{name}-sxm", "profile": str(tmp_path / f"{name}.json")}
        plan = make_plan(plan_request({**base, "cluster": cluster}, source="test"))
        days[name] = plan.days.expected
        assert plan.main_phase.step.origin == ("scaled" if name == "h100" else "measured")
    assert days["h200"] < days["h100"] < days["h200"] * 4.8 / 3.35


def test_scale_keeps_what_is_there_and_refuses_other_parts(tmp_path: Path) -> None:
    source, out = tmp_path / "h200.json", tmp_path / "out.json"
    as_if_measured().write(source)
    assert "other multiprocessors" in refusal("scale", str(source), "--gpu", "a100-80gb", "--out", str(out))
    assert not out.exists()
    out.write_text("mine")
    assert "exists already" in refusal("scale", str(source), "--gpu", "h100-sxm", "--out", str(out))
    assert out.read_text() == "mine"
    works("scale", str(source), "--gpu", "h100-sxm", "--out", str(out), "--overwrite")
    assert json.loads(out.read_text())["provenance"]["origin"] == "scaled"
