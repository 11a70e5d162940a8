"""Profiles in the step: measured rows count, rooflines change nothing, and both say what they are."""

from dataclasses import replace

import pytest

from profiler.architecture import load_architecture
from profiler.profile import LayerRow, Profile, Provenance, read_profile
from sim.estimate import StepEstimate, estimate_step
from sim.hardware import build_cluster, load_gpu, names
from sim.layout import ParallelLayout
from sim.roofline import load_profile, roofline_profile
from sim.stacks.stack import load_stack

H100 = load_gpu("h100-sxm")
LLAMA_8B = load_architecture("llama3.1-8b")
BLOCK = LayerRow(
    workload="block", model="llama3.1-8b", origin="measured", tp=8, micro_batch=1, seq_len=8192, precision="bf16",
    execution="eager", attention_backend="flash", forward_s=3e-3, backward_s=7e-3,
)  # fmt: skip


def step(profile: Profile | None, *, stack: str = "fairscale-eager", **layout: int) -> StepEstimate:
    chosen = replace(ParallelLayout(tp=8, dp=8), **layout)  # type: ignore[arg-type]
    return estimate_step(
        architecture=LLAMA_8B,
        cluster=build_cluster("h100-sxm", chosen.gpus),
        layout=chosen,
        stack=load_stack(stack),
        seq_len=8192,
        global_batch=128,
        profile=profile,
    )


def profile(*rows: LayerRow) -> Profile:
    provenance = Provenance(device="H100", gpu="h100-sxm", origin="measured", method="by hand")
    return Profile(name="p", provenance=provenance, layers=rows)


def test_a_measured_block_is_what_the_step_is_made_of() -> None:
    found = step(profile(BLOCK))
    assert found.origin == "measured"
    # 16 micro-batches through 32 blocks of 10 ms
    compute_s = sum(found.parts_s[name] for name in ("matmul", "attention", "elementwise"))
    assert compute_s == pytest.approx(16 * 32 * 10e-3)
    assert found.step_time_s != pytest.approx(step(None).step_time_s, rel=0.01)


def test_an_estimate_says_what_it_stands_on() -> None:
    """The same step on a measured block, between two, and on published kernels; other parts as before."""
    measured = step(profile(BLOCK))
    shares = measured.kernel_shares
    blocks_s = sum(measured.parts_s[name] for name in ("matmul", "attention", "elementwise", "recompute", "bubble"))
    assert shares.measured == pytest.approx(blocks_s / measured.step_time_s)
    assert shares.interpolated == 0
    between = step(profile(replace(BLOCK, micro_batch=2), replace(BLOCK, tp=4), replace(BLOCK, tp=16)))
    assert between.kernel_shares.interpolated > 0.3
    assert between.origin == "scaled"
    assert step(None).kernel_shares.measured == step(None).kernel_shares.interpolated == 0
    assert step(None).kernel_shares.published > 0.5


def test_a_measured_head_and_update_count_too() -> None:
    """16 micro-batches through a head of 5 ms; an update slower by 15 ps for each of an eighth of the parameters."""
    head = replace(BLOCK, workload="head_loss", forward_s=2e-3, backward_s=3e-3)
    norm = LayerRow(workload="grad_norm", model="", origin="measured", size=10**9, forward_s=3e-3)

    def with_update(seconds: float) -> StepEstimate:
        update = replace(norm, workload="optimizer", forward_s=seconds)
        return step(profile(head, update, norm), sharding="none")  # type: ignore[arg-type]

    fast, slow = with_update(12e-3), with_update(27e-3)
    assert fast.parts_s["head"] == pytest.approx(16 * 5e-3)
    slower_s = slow.parts_s["optimizer"] - fast.parts_s["optimizer"]
    assert slower_s == pytest.approx(LLAMA_8B.parameters / 8 * 15e-12, rel=1e-3)
    assert fast.kernel_shares.measured > 0
    assert fast.origin == "calibrated"  # of the blocks


def test_a_slower_measurement_is_a_slower_step() -> None:
    slower = replace(BLOCK, forward_s=6e-3)
    assert step(profile(slower)).step_time_s - step(profile(BLOCK)).step_time_s >= 16 * 32 * 3e-3


@pytest.mark.parametrize(
    "other",
    [
        {"tp": 4},
        {"micro_batch": 2},
        {"seq_len": 4096},
        {"model": "llama3.1-70b"},
        {"precision": "fp16"},
        {"execution": "compiled"},
        {"recompute": "full"},
        {"status": "oom"},
        {"workload": "mlp"},
        {"collective_layout": "reference"},  # holds the collectives' time too
        {"backward_s": None},
    ],
)
def test_a_measurement_of_something_else_does_not_count(other: dict[str, object]) -> None:
    found = step(profile(replace(BLOCK, **other)))  # type: ignore[arg-type]
    assert found.origin == "calibrated"
    assert found.step_time_s == step(None).step_time_s


def test_a_measurement_of_fairscale_says_nothing_of_another_stack() -> None:
    assert step(profile(BLOCK), stack="megatron-core").origin == "calibrated"
    compiled = step(profile(BLOCK, replace(BLOCK, execution="compiled")), stack="fairscale-compiled")
    assert compiled.origin == "measured"


def test_a_scaled_row_is_labelled_scaled() -> None:
    assert step(profile(replace(BLOCK, origin="scaled"))).origin == "scaled"


@pytest.mark.parametrize("stack", ["fairscale-eager", "fairscale-compiled"])
@pytest.mark.parametrize("tp", [1, 8])
def test_a_roofline_fed_back_changes_nothing_and_is_no_measurement(stack: str, tp: int) -> None:
    roofline = roofline_profile(H100, [LLAMA_8B])
    assert any((row.tp, row.seq_len) == (tp, 8192) for row in roofline.layers)
    fed, plain = step(roofline, stack=stack, tp=tp), step(None, stack=stack, tp=tp)
    assert fed.step_time_s == pytest.approx(plain.step_time_s, rel=1e-12)
    assert fed.parts_s == pytest.approx(plain.parts_s, rel=1e-9)
    assert fed.origin == "calibrated"


@pytest.mark.parametrize("name", names("gpus"))
def test_every_gpu_has_a_roofline_that_says_it_is_one(name: str) -> None:
    gpu = load_gpu(name)
    roofline = roofline_profile(gpu, [LLAMA_8B], tps=(1, 8), micro_batches=(1,), seq_lens=(4096,))
    assert roofline.provenance.origin == "roofline"
    assert {row.origin for row in roofline.layers} == {"roofline"}
    assert {row.execution for row in roofline.layers} == {"eager", "compiled"}
    for row in roofline.layers:
        assert row.forward_s is not None
        assert row.forward_flops / row.forward_s < gpu.peak_bf16_flops  # nothing beats the datasheet
        assert row.backward_flops == 2 * row.forward_flops
        assert row.energy_j is row.peak_bytes is None


def test_a_blocks_flops_are_its_share_of_the_models() -> None:
    rows = roofline_profile(H100, [LLAMA_8B], tps=(1, 8), micro_batches=(1,), seq_lens=(4096,)).layers
    block = {row.tp: row for row in rows if row.workload == "block"}
    head = next(row for row in rows if row.workload == "head_loss" and row.tp == 1)
    whole = 32 * 3 * block[1].forward_flops + 3 * head.forward_flops
    assert whole == pytest.approx(4096 * LLAMA_8B.flops_per_token(4096, "causal"))
    assert block[1].forward_flops == pytest.approx(8 * block[8].forward_flops)


def test_profiles_that_ship_are_whole_and_found() -> None:
    for name in names("gpus"):
        found = load_profile(load_gpu(name))
        assert found is None or found.provenance.gpu == name


def test_a_roofline_survives_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    roofline = roofline_profile(H100, [LLAMA_8B], tps=(1,), micro_batches=(1,))
    path = tmp_path_factory.mktemp("p") / "r.json"
    roofline.write(path)
    assert read_profile(path) == roofline
