"""What a step takes from a profile: rows as they are, lines between them, sums of parts, and nothing beyond."""

import math
from dataclasses import fields, replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.architecture import load_architecture
from profiler.profile import LayerRow, Profile, Provenance, Workload
from sim.estimate import StepEstimate, estimate_step
from sim.hardware import build_cluster, load_gpu
from sim.kernels.measured import (
    NOT_MEASURED,
    WIDEST_GAP,
    Measured,
    MeasuredStep,
    Timed,
    interpolated,
    measured_step,
)
from sim.kernels.shares import KernelShares, kernel_shares, mean_shares
from sim.layout import ParallelLayout
from sim.roofline import roofline_profile
from sim.stacks.stack import AttentionKernel, load_stack
from sim.step import StepTimes

LLAMA_8B = load_architecture("llama3.1-8b")
BLOCK = LayerRow(
    workload="block", model="llama3.1-8b", origin="measured", tp=8, micro_batch=1, seq_len=8192,
    attention_backend="flash", forward_s=3e-3, backward_s=7e-3,
)  # fmt: skip
PARTS: dict[Workload, float] = {
    "qkv": 0.4e-3,
    "attention": 1e-3,
    "attention_out": 0.3e-3,
    "mlp": 1.1e-3,
    "norms": 2e-4,
}


def profile(*rows: LayerRow) -> Profile:
    provenance = Provenance(device="H100", gpu="h100-sxm", origin="measured", method="by hand")
    return Profile(name="p", provenance=provenance, layers=rows)


def step(*rows: LayerRow, seq_len: int = 8192, **layout: int) -> MeasuredStep:
    chosen = ParallelLayout(**{"tp": 8, **layout})  # type: ignore[arg-type]
    return measured_step(profile(*rows), LLAMA_8B, load_stack("fairscale-eager"), chosen, seq_len, "bf16")


def estimate(*rows: LayerRow) -> StepEstimate:
    """64 GPUs, 16 micro-batches for each of eight replicas."""
    return estimate_step(
        architecture=LLAMA_8B,
        cluster=build_cluster("h100-sxm", 64),
        layout=ParallelLayout(tp=8, dp=8),
        stack=load_stack("fairscale-eager"),
        seq_len=8192,
        global_batch=128,
        profile=profile(*rows),
    )


def parts(tp: int = 8, micro_batch: int = 1, seq_len: int = 8192) -> list[LayerRow]:
    """The parts of a block, three times as long backward."""
    shape = {"tp": tp, "micro_batch": micro_batch, "seq_len": seq_len}
    return [
        replace(BLOCK, workload=name, forward_s=s, backward_s=3 * s, **shape)  # type: ignore[arg-type]
        for name, s in PARTS.items()
    ]


def test_a_measured_block_is_taken_as_it_is() -> None:
    assert step(BLOCK).block == Measured(forward_s=3e-3, backward_s=7e-3, footing="measured")
    assert step(replace(BLOCK, origin="scaled")).block.footing == "scaled"
    assert step(BLOCK, replace(BLOCK, forward_s=9e-3)).block.forward_s == 3e-3  # the first counts


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
        {"attention_backend": "cudnn"},
        {"attention_backend": ""},
        {"status": "oom"},
        {"workload": "mlp"},
        {"collective_layout": "reference"},  # holds the collectives' time too
        {"accumulates": True},  # holds that of the sum of gradients too
        {"context_len": 65536},
        {"origin": "roofline"},
        {"backward_s": None},
    ],
)
def test_a_measurement_of_something_else_does_not_count(other: dict[str, object]) -> None:
    found = step(replace(BLOCK, **other))  # type: ignore[arg-type]
    assert found.block.footing == "none"
    assert math.isnan(found.block.total_s)


UNWANTED = (
    {"accumulates": True},
    {"attention_backend": "cudnn"},
    {"execution": "compiled"},
    {"recompute": "selective"},
    {"collective_layout": "shared"},
)


@pytest.mark.parametrize("unwanted", UNWANTED)
def test_of_two_kinds_the_wanted_one_counts(unwanted: dict[str, object]) -> None:
    """A profile holds a block in many ways, in whatever order; the step asks for one of them."""
    other = replace(BLOCK, forward_s=1e-3, backward_s=1e-3, **unwanted)  # type: ignore[arg-type]
    for rows in ((other, BLOCK), (BLOCK, other)):
        assert step(*rows).block == Measured(forward_s=3e-3, backward_s=7e-3, footing="measured")


@pytest.mark.parametrize(("attention", "backend"), [("flash2", "flash"), ("flash3", "cudnn"), ("unfused", "math")])
def test_blocks_and_attention_are_those_of_the_stacks_kernel(attention: AttentionKernel, backend: str) -> None:
    stack = replace(load_stack("fairscale-eager"), attention=attention)
    seconds = {"flash": 1e-3, "cudnn": 2e-3, "math": 3e-3}
    blocks = [replace(BLOCK, attention_backend=name, forward_s=s, backward_s=s) for name, s in seconds.items()]
    rest = [row for row in parts() if row.workload != "attention"]
    cores = [
        replace(BLOCK, workload="attention", attention_backend=name, forward_s=s, backward_s=s)
        for name, s in seconds.items()
    ]
    layout = ParallelLayout(tp=8)
    for rows, beside_s in ((blocks, 0.0), ([*cores, *rest], sum(PARTS.values()) - PARTS["attention"])):
        found = measured_step(profile(*rows), LLAMA_8B, stack, layout, 8192, "bf16").block
        assert found.forward_s == pytest.approx(seconds[backend] + beside_s)


def test_accumulating_is_added_by_the_step_once() -> None:
    """The sum of gradients reads and writes fp32 once a micro-batch, whatever else a profile holds."""
    both = estimate(BLOCK, replace(BLOCK, accumulates=True, backward_s=9e-3))
    plain = estimate(BLOCK)
    assert both.parts_s == plain.parts_s
    assert both.kernel_shares == plain.kernel_shares
    assert estimate(replace(BLOCK, accumulates=True)).origin == "calibrated"


def test_a_profile_speaks_only_for_the_stacks_it_was_measured_on() -> None:
    for stack in ("megatron-core", "torchtitan", "fairscale-compiled"):
        found = measured_step(profile(BLOCK), LLAMA_8B, load_stack(stack), ParallelLayout(tp=8), 8192, "bf16")
        assert found.block.footing == "none"
    assert (
        measured_step(None, LLAMA_8B, load_stack("fairscale-eager"), ParallelLayout(), 8192, "bf16") == NOT_MEASURED
    )


# between measured shapes

exponents = st.floats(-2, 2)


@given(
    first=exponents,
    second=exponents,
    at=st.tuples(st.floats(1, 8), st.floats(1, 4)),
)
def test_powers_are_met_exactly(first: float, second: float, at: tuple[float, float]) -> None:
    def seconds(x: float, y: float) -> float:
        return 1e-3 * x**first * y**second

    points = [
        Timed(at=(x, y), seconds=(seconds(x, y), 2 * seconds(x, y)), scaled=False)
        for x, y in product((1.0, 2.0, 8.0), (1.0, 4.0))
    ]
    found = interpolated(points, at)
    assert found.forward_s == pytest.approx(seconds(*at), rel=1e-9)
    assert found.backward_s == pytest.approx(2 * seconds(*at), rel=1e-9)
    assert found.footing == ("measured" if at in {p.at for p in points} else "interpolated")


@given(low=st.floats(1e-6, 1), high=st.floats(1e-6, 1), at=st.floats(1.001, 3.999))
def test_what_lies_between_stays_between(low: float, high: float, at: float) -> None:
    points = [
        Timed(at=(1.0,), seconds=(low, low), scaled=False),
        Timed(at=(4.0,), seconds=(high, high), scaled=False),
    ]
    found = interpolated(points, (at,)).forward_s
    assert min(low, high) * (1 - 1e-9) <= found <= max(low, high) * (1 + 1e-9)
    nearly = interpolated(points, (1.0 + 1e-9,)).forward_s
    assert nearly == pytest.approx(low, rel=1e-6)  # no jump at a measured shape


def test_nothing_is_said_beyond_what_was_measured() -> None:
    short, long = replace(BLOCK, seq_len=4096), replace(BLOCK, seq_len=16384)
    assert step(short, long).block.footing == "interpolated"
    assert step(short, long, seq_len=2048).block.footing == "none"
    assert step(short, long, seq_len=32768).block.footing == "none"
    assert step(short, replace(BLOCK, seq_len=round(4096 * WIDEST_GAP) + 1)).block.footing == "none"
    assert step(short, replace(long, tp=4)).block.footing == "none"  # not neighbours: they differ in two ways


@pytest.mark.parametrize(
    ("without", "held_out"),
    [("seq_len", (8, 2, 8192)), ("micro_batch", (8, 2, 8192)), ("tp", (4, 2, 8192))],
)
def test_interpolation_finds_the_roofline_again(without: str, held_out: tuple[int, int, int]) -> None:
    """Blocks of a smooth model, one shape left out and found from its neighbours a factor of two away."""
    full = roofline_profile(
        load_gpu("h100-sxm"), [LLAMA_8B], tps=(2, 4, 8), micro_batches=(1, 2, 4), seq_lens=(4096, 8192, 16384)
    )
    rows = [replace(row, origin="measured") for row in full.layers if row.workload == "block"]
    place = ("tp", "micro_batch", "seq_len").index(without)

    def at(row: LayerRow) -> tuple[int, int, int]:
        return row.tp, row.micro_batch, row.seq_len

    truth = next(row for row in rows if at(row) == held_out and row.execution == "eager")
    others = [row for row in rows if at(row)[place] != held_out[place]]
    tp, micro_batch, seq_len = held_out
    found = step(*others, seq_len=seq_len, tp=tp, micro_batch=micro_batch).block
    assert found.footing == "interpolated"
    assert found.forward_s == pytest.approx(truth.forward_s, rel=0.06)
    assert found.backward_s == pytest.approx(truth.backward_s, rel=0.06)


# parts of a block


def test_parts_add_up_to_a_block() -> None:
    found = step(*parts()).block
    assert found.forward_s == pytest.approx(sum(PARTS.values()))
    assert found.backward_s == pytest.approx(3 * sum(PARTS.values()))
    assert found.footing == "interpolated"
    assert step(*parts()[:-1]).block.footing == "none"  # a part is missing
    assert step(BLOCK, *parts()).block.forward_s == 3e-3  # a whole block is better


def test_only_attention_knows_how_tokens_are_divided() -> None:
    """Two sequences of 4,096: attention measured so, the rest with one of 8,192."""
    core = replace(parts()[1], micro_batch=2, seq_len=4096, forward_s=0.6e-3, backward_s=1.8e-3)
    found = step(*parts(), core, seq_len=4096, micro_batch=2).block
    assert found.forward_s == pytest.approx(sum(PARTS.values()) - PARTS["attention"] + 0.6e-3)
    assert step(*parts(), seq_len=4096, micro_batch=2).block.footing == "none"


def test_a_context_parallel_rank_is_made_of_its_long_attention() -> None:
    """`context_len` rows are a rank's share of a long sequence: never that of a whole one as long as the share."""
    core = replace(parts()[1], context_len=65536, forward_s=9e-3, backward_s=27e-3)
    found = step(*parts(), core, seq_len=65536, cp=8).block
    assert found.forward_s == pytest.approx(sum(PARTS.values()) - PARTS["attention"] + 9e-3)
    assert step(BLOCK, *parts(), seq_len=65536, cp=8).block.footing == "none"
    assert step(*parts(), core, seq_len=32768, cp=4).block.footing == "none"  # another whole, of equal shares
    assert step(core, *parts()).block.forward_s == pytest.approx(sum(PARTS.values()))


def test_head_and_update_come_along() -> None:
    head = replace(BLOCK, workload="head_loss", forward_s=1e-3, backward_s=2e-3)
    update = LayerRow(workload="optimizer", model="", origin="measured", size=10**9, forward_s=12e-3)
    norm = replace(update, workload="grad_norm", forward_s=2e-3)
    found = step(head, update, norm, replace(update, size=10**6, forward_s=1.0))
    assert found.head == Measured(forward_s=1e-3, backward_s=2e-3, footing="measured")
    assert found.update.total_s == pytest.approx(14e-12)
    assert step(update).update.footing == "none"
    twice = replace(head, seq_len=16384, forward_s=2e-3, backward_s=4e-3)
    assert step(head, twice, seq_len=12288).head.total_s == pytest.approx(4.5e-3)


# shares

seconds = st.floats(0, 100)


STEP_PARTS = [f.name for f in fields(StepTimes) if f.name != "total"]


@given(
    parts_s=st.fixed_dictionaries({name: st.floats(0.01, 1) if name == "other" else seconds for name in STEP_PARTS}),
    footing=st.sampled_from(["measured", "scaled", "interpolated", "none"]),
    timed_part=st.booleans(),
)
def test_shares_add_up_to_one(parts_s: dict[str, float], footing: str, timed_part: bool) -> None:
    measured = MeasuredStep(block=Measured(footing=footing))  # type: ignore[arg-type]
    shares = kernel_shares(parts_s, measured, timed_part=timed_part)
    everything = (shares.measured, shares.interpolated, shares.published, shares.guessed)
    assert sum(everything) == pytest.approx(1)
    assert all(0 <= share <= 1 + 1e-12 for share in everything)
    block_s = sum(parts_s[name] for name in ("matmul", "attention", "elementwise", "recompute", "bubble"))
    share = block_s / sum(parts_s.values())
    if footing == "measured":
        assert shares.measured == pytest.approx(share)
    if footing in ("scaled", "interpolated"):
        assert shares.interpolated == pytest.approx(share)
    if footing == "none":
        assert shares.measured == shares.interpolated == 0
    if timed_part:
        untimed_s = sum(parts_s[name] for name in ("optimizer", "host", "other"))
        assert shares.guessed == pytest.approx(untimed_s / sum(parts_s.values()))


def test_a_part_of_which_nothing_is_known_is_not_guessed_in_silence() -> None:
    with pytest.raises(KeyError, match="teleport"):
        kernel_shares({"matmul": 3.0, "teleport": 1.0})


def test_the_mean_of_shares() -> None:
    one = kernel_shares({"matmul": 3.0, "other": 1.0})
    two = kernel_shares({"matmul": 1.0, "other": 1.0}, MeasuredStep(block=Measured(footing="measured")))
    assert mean_shares([one, two]) == KernelShares(measured=0.25, interpolated=0, published=0.375, guessed=0.375)


def test_a_part_that_nobody_timed_is_guessed() -> None:
    shares = kernel_shares({"matmul": 3.0, "tensor_parallel": 1.0}, timed_part=False)
    assert shares == KernelShares(measured=0, interpolated=0, published=0, guessed=1)
    assert kernel_shares({"matmul": 3.0, "other": 1.0}).text() == "75 % published, 25 % guessed"
