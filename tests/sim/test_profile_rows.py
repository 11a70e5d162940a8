"""What the step model computes for a profile's rows, and a profile taken over to other memory or less power."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.architecture import load_architecture
from profiler.arithmetic import layer_work
from profiler.files import InputError
from profiler.profile import CollectiveRow, LayerRow, Profile, Provenance, Workload
from profiler.sharding import rank_share
from sim.hardware import Gpu, load_gpu
from sim.profile_rows import row_seconds
from sim.roofline import roofline_profile
from sim.scaled_profile import scaled_profile

H100, H200 = load_gpu("h100-sxm"), load_gpu("h200-sxm")
LLAMA = load_architecture("llama3.1-8b")
MODELS = {LLAMA.name: LLAMA}
PARTS: tuple[Workload, ...] = ("qkv", "attention", "attention_out", "mlp", "norms")
few = settings(max_examples=40, deadline=None)
shapes = st.fixed_dictionaries(
    {
        "tp": st.sampled_from([1, 2, 4, 8]),
        "micro_batch": st.sampled_from([1, 2, 4]),
        "seq_len": st.sampled_from([2048, 4096, 8192]),
        "execution": st.sampled_from(["eager", "compiled"]),
    }
)


def row(workload: Workload = "block", **more: Any) -> LayerRow:
    said = {"model": LLAMA.name, "origin": "measured", "seq_len": 8192, "attention_backend": "flash", **more}
    return LayerRow(workload=workload, **said)


def timed(one: LayerRow, gpu: Gpu = H200, slower: float = 1.0) -> LayerRow:
    """The row with the model's own seconds, as if they had been measured."""
    found = row_seconds(one, gpu, LLAMA)
    assert found is not None
    return replace(one, forward_s=found[0].total_s * slower, backward_s=found[1].total_s * slower or None)


def measured(*rows: LayerRow, **more: Any) -> Profile:
    came = Provenance(device="NVIDIA H200", gpu="h200-sxm", origin="measured", method="by hand")
    return Profile(name="mine", provenance=replace(came, **more), layers=rows)


def scaled(*rows: LayerRow, target: Gpu = H100) -> tuple[LayerRow, ...]:
    return scaled_profile(measured(*rows), H200, target, MODELS).layers


@few
@given(shapes)
def test_the_parts_of_a_block_are_the_block(shape: dict[str, Any]) -> None:
    whole = row_seconds(row(**shape), H100, LLAMA)
    parts = [row_seconds(row(part, **shape), H100, LLAMA) for part in PARTS]
    assert whole is not None
    for way in (0, 1):
        for name in ("total_s", "memory_s"):
            added = sum(getattr(part[way], name) for part in parts if part is not None)
            assert added == pytest.approx(getattr(whole[way], name), rel=1e-9)


@few
@given(shapes)
def test_nothing_beats_the_datasheet(shape: dict[str, Any]) -> None:
    share = rank_share(LLAMA, shape["tp"])
    for part in (*PARTS, "block", "head_loss"):
        found = row_seconds(row(part, **shape), H100, LLAMA)
        work = layer_work(part, share, shape["micro_batch"], shape["seq_len"], "bf16")
        assert found is not None
        assert found[0].total_s >= work.forward_flops / H100.peak_bf16_flops
        assert found[1].total_s >= work.backward_flops / H100.peak_bf16_flops
        assert 0 <= found[0].memory_s <= found[0].total_s


def test_recompute_and_sums_of_gradients_lengthen_the_backward_pass_alone() -> None:
    plain, again, summed = (
        row_seconds(row(**more), H100, LLAMA) for more in ({}, {"recompute": "full"}, {"accumulates": True})
    )
    assert plain is not None
    assert again is not None
    assert summed is not None
    assert again[0] == summed[0] == plain[0]
    assert plain[1].total_s < again[1].total_s < plain[1].total_s + plain[0].total_s
    added_s = 10 * LLAMA.layer_parameters / H100.memory_bandwidth_bytes_per_s  # 10 bytes a parameter
    assert added_s < summed[1].total_s - plain[1].total_s < 1.3 * added_s


def test_a_context_parallel_rank_attends_to_the_whole_sequence() -> None:
    """Half of seq_len x context_len scores: sixteen times the FLOPs, at the higher rate of a longer sequence."""
    alone, rank = (row_seconds(row("attention", context_len=c), H100, LLAMA) for c in (None, 131_072))
    assert alone is not None
    assert rank is not None
    core_s = [one[0].total_s - one[0].memory_s for one in (alone, rank)]
    flops = [layer_work("attention", LLAMA, 1, 8192, "bf16", c).forward_flops for c in (None, 131_072)]
    assert flops[1] == pytest.approx(16 * flops[0])
    assert flops[0] / core_s[0] < flops[1] / core_s[1] < 340e12  # FlashAttention-2 reaches 335 (arXiv:2407.08608)


def test_what_the_model_does_not_know_is_none() -> None:
    assert row_seconds(row("launch"), H100, LLAMA) is None
    assert row_seconds(row(precision="fp32"), H100, LLAMA) is None
    assert row_seconds(row(), H100, None) is None


@few
@given(shapes, st.sampled_from([*PARTS, "block", "head_loss"]))
def test_scaling_gives_what_the_model_gives_with_the_other_memory(shape: dict[str, Any], part: Workload) -> None:
    """Parity: the model's own seconds on an H200, scaled, are its seconds on an H200 with an H100's bandwidth."""
    one = row(part, **shape)
    other = timed(one, replace(H200, memory_bandwidth_bytes_per_s=H100.memory_bandwidth_bytes_per_s))
    [found] = scaled(timed(one))
    assert (found.forward_s, found.backward_s) == pytest.approx((other.forward_s, other.backward_s), rel=1e-9)
    assert found.origin == "scaled"


@few
@given(shapes, st.floats(0.5, 3.0))
def test_a_row_slows_by_no_more_than_its_memory_does(shape: dict[str, Any], slower: float) -> None:
    before = timed(row(**shape), slower=slower)
    [after] = scaled(before)
    assert before.forward_s
    assert after.forward_s
    assert before.forward_s <= after.forward_s <= before.forward_s * 4.8 / 3.35


def test_ceilings_scale_by_what_bounds_them() -> None:
    copy = row("copy", model="", forward_bytes=4e9, forward_s=1e-3)
    product = row("matmul", model="", size=8192, forward_flops=1e12, forward_s=1.5e-3)
    launch = row("launch", model="", forward_s=3e-6)
    profile = measured(copy, product, launch, copy_bytes_per_s=4e12, peak_matmul_flops=7e14)
    found = scaled_profile(profile, H200, H100, {})
    assert [one.forward_s for one in found.layers] == pytest.approx([1e-3 * 4.8 / 3.35, 1.5e-3, 3e-6])
    assert found.provenance.copy_bytes_per_s == pytest.approx(4e12 * 3.35 / 4.8)
    assert (found.provenance.peak_matmul_flops, found.provenance.gpu) == (7e14, "h100-sxm")
    assert (found.provenance.origin, found.provenance.scaled_from) == ("scaled", "mine")


def test_a_lower_power_limit_slows_what_draws_more_and_energy_follows() -> None:
    """500 W of 690 W: clocks as in `sim.clocks`; published 500 W parts multiply at .81 of the rate."""
    product = row("matmul", model="", size=8192, forward_s=1e-3, power_mean_w=690.0, energy_j=0.69)
    quiet = row("matmul", model="", size=4096, forward_s=1e-3, power_mean_w=400.0, energy_j=0.4)
    slow, same = scaled(product, quiet, target=replace(H100, name="h100-500w", tdp_w=500.0))
    assert slow.forward_s
    assert 1e-3 / slow.forward_s == pytest.approx(0.81, abs=0.03)
    assert slow.power_mean_w == 500
    assert slow.energy_j == pytest.approx(500 * slow.forward_s)
    assert (same.forward_s, same.power_mean_w, same.energy_j) == (1e-3, 400.0, pytest.approx(0.4))


def test_what_does_not_fit_and_what_failed_stay_failures() -> None:
    large, failed = row(forward_s=1.0, peak_bytes=100 * 2**30), row(status="error", message="broke")
    full, broken = scaled(large, failed)
    assert (full.status, full.forward_s) == ("oom", None)
    assert "took 100 GiB; H100 SXM 80 GB has 80" in full.message
    assert (broken.status, broken.message) == ("error", "broke")


def test_collectives_stay_over_equal_links_and_go_over_others() -> None:
    collective = CollectiveRow(op="all_reduce", size_bytes=2**20, ranks=8, scope="node", time_s=3e-5)
    profile = replace(measured(timed(row())), collectives=(collective,))
    assert [one.time_s for one in scaled_profile(profile, H200, H100, MODELS).collectives] == [3e-5]
    narrow = replace(H100, link_bandwidth_bytes_per_s=32e9)
    found = scaled_profile(profile, H200, narrow, MODELS)
    assert found.collectives == ()
    assert "collectives left out: other links" in found.provenance.notes


@pytest.mark.parametrize(
    ("target", "says"),
    [("h200-sxm", "is of h200-sxm already"), ("a100-80gb", "other multiprocessors"), ("b200-sxm", "other multi")],
)
def test_only_the_same_architecture_is_scaled(target: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        scaled_profile(measured(timed(row())), H200, load_gpu(target), MODELS)


def test_only_what_was_measured_is_scaled() -> None:
    with pytest.raises(InputError, match="is roofline, not measured"):
        scaled_profile(roofline_profile(H200, [LLAMA]), H200, H100, MODELS)
    once = scaled_profile(measured(timed(row())), H200, H100, MODELS)
    with pytest.raises(InputError, match="scale mine instead"):
        scaled_profile(once, H100, H200, MODELS)


def test_rows_of_unknown_models_are_left_out_and_said() -> None:
    found = scaled_profile(measured(timed(row()), row(model="own")), H200, H100, MODELS)
    assert len(found.layers) == 1
    assert "rows of models that are not in the catalogue, left out: 1" in found.provenance.notes


def test_more_memory_leaves_out_what_did_not_fit_and_a_cap_stays_a_cap() -> None:
    small = replace(measured(timed(row(), H100), row(status="oom")).provenance, gpu="h100-sxm", power_limit_w=500.0)
    found = scaled_profile(Profile(name="a", provenance=small, layers=(row(status="oom"),)), H100, H200, MODELS)
    assert found.layers == ()
    assert "rows that did not fit in less memory, left out: 1" in found.provenance.notes
    assert found.provenance.power_limit_w == 500
    unknown = replace(small, power_limit_w=None)
    scaled_on = scaled_profile(Profile(name="a", provenance=unknown), H100, H200, MODELS).provenance
    assert scaled_on.power_limit_w is None


def test_moving_bytes_scales_in_any_precision() -> None:
    update = row("optimizer", model="", precision="fp32", forward_bytes=1e9, forward_s=1e-3, size=2**26)
    [found] = scaled(update)
    assert found.forward_s == pytest.approx(1e-3 * 4.8 / 3.35)
