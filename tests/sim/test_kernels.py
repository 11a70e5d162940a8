"""Kernel curves against limits, order and published timings."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.calibration import load_calibration
from sim.hardware import load_gpu
from sim.kernels.attention import (
    AttentionCurve,
    attention_curve,
    attention_curves,
    attention_s,
    head_dim_slowdown,
    slowdown,
)
from sim.kernels.collectives import collective_curves, collective_s, pair_rate, tree_curves, tree_s
from sim.kernels.elementwise import elementwise_curves, elementwise_s
from sim.kernels.matmul import (
    MatmulCurve,
    backward_s,
    block_shapes,
    forward_s,
    matmul_curve,
    matmul_curves,
    product_s,
)
from sim.kernels.tables import TABLES
from sim.stacks.stack import load_stack

RATE = 700e12
MIB = 2**20
H100 = load_gpu("h100-sxm")
PARTS = {"a100": "a100-80gb", "h100": "h100-sxm", "h200": "h200-sxm"}

sides = st.integers(256, 200_000)
products = st.sampled_from(sorted(matmul_curves()))
libraries = st.sampled_from(sorted(attention_curves()))
collectives = st.sampled_from(sorted(collective_curves()))


def peak_of(name: str) -> float:
    return load_gpu(PARTS[name.split("-")[0]]).peak_flops("fp8" if "fp8" in name else "bf16")


# matrix products


def efficiency(m: float, n: float, k: float, flops_per_s: float, curve: MatmulCurve) -> float:
    """Rate of one product over that of large ones."""
    return float(2 * m * n * k / flops_per_s / product_s(m, n, k, flops_per_s, curve))


@given(name=products, m=sides, n=sides, k=sides, factor=st.floats(1.01, 8))
def test_larger_products_run_nearer_to_the_large_ones_rate(name: str, m: int, n: int, k: int, factor: float) -> None:
    curve = matmul_curves()[name]
    here = efficiency(m, n, k, RATE, curve)
    assert 0 < here < 1
    assert efficiency(factor * m, n, k, RATE, curve) > here
    assert efficiency(m, factor * n, k, RATE, curve) > here
    assert efficiency(m, n, factor * k, RATE, curve) > here
    assert efficiency(1e9, 1e9, 1e9, RATE, curve) == pytest.approx(1, rel=1e-5)


@given(name=products, m=sides, tp=st.sampled_from([1, 2, 4, 8]), gated=st.booleans())
def test_a_blocks_products_add_up(name: str, m: int, tp: int, gated: bool) -> None:
    """Llama 3.1 70B's, one by one, against the closed sum."""
    curve = matmul_curves()[name]
    hidden, width, kv_width, ffn = 8192, 8192, 1024, 28672
    shapes = [
        ((width + 2 * kv_width) / tp, hidden),
        (hidden, width / tp),
        ((2 if gated else 1) * ffn / tp, hidden),
        (hidden, ffn / tp),
    ]
    one_by_one = sum(
        product_s(m, n, k, RATE, curve) - curve.overhead_s - curve.quantise_s_per_element * m * k for n, k in shapes
    )
    together = block_shapes(hidden=hidden, attention_width=width, kv_width=kv_width, ffn=ffn, gated=gated, tp=tp)
    assert forward_s(m, together, RATE, curve) == pytest.approx(one_by_one, rel=1e-9)


@given(name=products, m=st.integers(512, 65_536), tp=st.sampled_from([1, 2, 4, 8]))
def test_gradients_cost_two_products_and_division_costs_efficiency(name: str, m: int, tp: int) -> None:
    curve = matmul_curves()[name]
    whole = block_shapes(hidden=8192, attention_width=8192, kv_width=1024, ffn=28672, gated=1, tp=1)
    share = block_shapes(hidden=8192, attention_width=8192, kv_width=1024, ffn=28672, gated=1, tp=tp)
    flops_s = 2 * m * np.asarray(share.weights) / RATE
    assert forward_s(m, share, RATE, curve) > flops_s
    assert backward_s(m, share, RATE, curve) > 2 * flops_s
    assert forward_s(m, share, RATE, curve) >= forward_s(m, whole, RATE, curve) / tp * (1 - 1e-12)
    assert backward_s(1e9, share, RATE, curve) < 2.6 * flops_s * 1e9 / m


@pytest.mark.parametrize("name", sorted(matmul_curves()))
def test_products_follow_the_published_medians(name: str) -> None:
    """Medians in octaves of the timings (aiconfigurator), as far as each fit says that it describes them."""
    curve = matmul_curves()[name]
    lines = (TABLES / "matmul-medians.csv").read_text().splitlines()
    errors = []
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        if row["curve"] != name:
            continue
        m, n, k = (float(row[c]) for c in ("m", "n", "k"))
        large = peak_of(name) * (curve.burst if row["regime"] == "burst" else curve.sustained)
        predicted = large * efficiency(m, n, k, large, curve) / peak_of(name)
        errors += int(row["points"]) * [abs(predicted / float(row["share"]) - 1)]
    assert len(errors) >= 500
    assert np.median(errors) < max(0.03, curve.evidence.error_median)
    assert np.quantile(errors, 0.9) < max(0.08, curve.evidence.error_p90)


@pytest.mark.parametrize(("name", "ceiling"), [("h100-bf16", 794.5e12), ("a100-bf16", 271e12)])
def test_the_best_shapes_agree_with_another_benchmark(name: str, ceiling: float) -> None:
    """Mean of the best shapes of ml-engineering's matmul finder (Stas Bekman), another program on other parts."""
    curve = matmul_curves()[name]
    burst = peak_of(name) * curve.burst
    found = burst * efficiency(8192, 8192, 8192, burst, curve)
    assert found == pytest.approx(ceiling, rel=0.06)


@pytest.mark.parametrize("name", sorted(matmul_curves()))
def test_a_part_at_its_power_limit_is_slower(name: str) -> None:
    curve = matmul_curves()[name]
    assert 0.6 < curve.sustained < curve.burst < 0.9


def test_fp8_pays_more_for_shape_than_16_bits() -> None:
    """Half the work for each byte moved and each tile begun."""
    for kernels in ("h100", "h200"):
        wide, narrow = matmul_curve(kernels, "bf16"), matmul_curve(kernels, "fp8")
        assert narrow.depth > 1.5 * wide.depth
        assert narrow.overhead_s > wide.overhead_s


def test_every_gpu_has_a_curve() -> None:
    assert matmul_curve("a100", "fp8") == matmul_curve("a100", "bf16")  # no fp8 units
    assert matmul_curve("", "bf16") == matmul_curve("h100-500w", "bf16") == matmul_curve("h100", "bf16")
    assert matmul_curve("h200", "fp8") != matmul_curve("h100", "fp8")
    assert attention_curve("a100", "flash3") == attention_curve("a100", "flash2")
    assert attention_curve("", "cudnn") == attention_curve("h100", "cudnn")


# attention

FORWARD_CAUSAL = {  # TFLOP/s at 1k, 2k, 4k, 8k, 16k tokens, 16 heads of 128, 16k tokens in all
    "flash2": (260, 298, 319, 333, 335),
    "cudnn": (410, 484, 518, 529, 539),
    "flash3": (423, 521, 579, 602, 616),
}
BACKWARD_FULL = {
    "flash2": (260, 291, 310, 318, 322),
    "cudnn": (408, 465, 499, 518, 516),
    "flash3": (424, 501, 542, 559, 561),
}


def tflops(curve: AttentionCurve, seq_len: int, *, causal: bool, backward: bool, head_dim: int = 128) -> float:
    """As benchmarks count them: 2.5 times the FLOPs backward, half of them under a mask."""
    sequences_heads = 16_384 / seq_len * 2048 / head_dim
    flops = (2 if causal else 4) * sequences_heads * seq_len**2 * head_dim * (2.5 if backward else 1)
    seconds = attention_s(seq_len, sequences_heads, head_dim, curve, causal=causal, backward=backward)
    return float(flops / seconds / 1e12)


@pytest.mark.parametrize("library", ["flash2", "flash3", "cudnn"])
def test_attention_follows_the_published_curves(library: str) -> None:
    """arXiv:2407.08608, figures 5 and 6, H100."""
    curve = attention_curves()[f"h100-{library}"]
    for i, seq_len in enumerate((1024, 2048, 4096, 8192, 16384)):
        forward = tflops(curve, seq_len, causal=True, backward=False)
        backward = tflops(curve, seq_len, causal=False, backward=True)
        assert forward == pytest.approx(FORWARD_CAUSAL[library][i], rel=0.1)
        assert backward == pytest.approx(BACKWARD_FULL[library][i], rel=0.1)


def test_heads_of_256_agree_with_the_paper() -> None:
    """arXiv:2407.08608: FlashAttention-3 reaches up to 740 TFLOP/s forward; no such head was fitted."""
    found = tflops(attention_curves()["h100-flash3"], 16384, causal=False, backward=False, head_dim=256)
    assert found == pytest.approx(740, rel=0.08)


@given(
    name=libraries,
    seq_len=st.integers(512, 200_000),
    heads=st.integers(1, 512),
    causal=st.booleans(),
    backward=st.booleans(),
)
def test_attention_is_best_long_wide_and_unmasked(
    name: str, seq_len: int, heads: int, causal: bool, backward: bool
) -> None:
    curve = attention_curves()[name]

    def slow(length: float, pairs: float) -> float:
        return float(slowdown(length, pairs, curve, causal=causal, backward=backward))

    here = slow(seq_len, heads)
    assert here > max(slow(2 * seq_len, heads), slow(seq_len, 2 * heads)) >= 1
    assert slowdown(seq_len, heads, curve, causal=True) > slowdown(seq_len, heads, curve, causal=False)
    assert slow(1e9, 1e9) == pytest.approx(1, rel=1e-5)
    assert head_dim_slowdown(64, curve) > head_dim_slowdown(128, curve) == 1 > head_dim_slowdown(256, curve)


@given(name=libraries, seq_len=st.integers(1024, 200_000), heads=st.integers(4, 512), causal=st.booleans())
def test_attention_backward_is_five_products_to_two_and_slower(
    name: str, seq_len: int, heads: int, causal: bool
) -> None:
    curve = attention_curves()[name]
    forward_s, backward_s = (
        attention_s(seq_len, heads, 128, curve, causal=causal, backward=backward) for backward in (False, True)
    )
    assert 2.5 < backward_s / forward_s < 3.5


def test_division_by_tensor_parallelism_leaves_a_gpu_half_idle() -> None:
    """4 heads of one sequence of 1,024 tokens are 32 blocks of queries for 132 multiprocessors."""
    curve = attention_curves()["h100-flash2"]
    assert slowdown(1024, 4, curve) > 2 * slowdown(1024, 64, curve)


# elementwise


def test_residual_additions_run_at_the_memorys_rate_and_the_calibration_no_faster() -> None:
    """3.26 to 3.36 TB/s of an H100's 3.35 and 1.7 of an A100's 2.04 (Vidur), the best case."""
    curves = elementwise_curves()
    hopper, ampere = (curves[f"{part}-residual-add-vllm"].share for part in ("h100", "a100"))
    assert hopper * 3.35 == pytest.approx(3.31, rel=0.02)
    assert ampere * 2.04 == pytest.approx(1.7, rel=0.04)
    assert 0.8 * ampere < load_calibration().values()["memory_share"] < hopper


def test_bytes_of_the_loss_are_those_of_published_kernels() -> None:
    """Two bytes a logit read twice and written once is the least there is. A fused loss lies between two published
    fused kernels; Megatron's, counted kernel by kernel, takes what it was timed at."""
    curves = elementwise_curves()
    bandwidth = H100.memory_bandwidth_bytes_per_s
    share = load_calibration().values()["memory_share"]
    fused_s, by_kernel_s = (
        load_stack(name).kernels.loss_bytes * 1e9 / (share * bandwidth) for name in ("megatron-core", "megatron-2021")
    )
    liger, megatron, eager = (
        elementwise_s(6 * 1e9, bandwidth, curves[name].share, curves[name].overhead_s)
        for name in ("h100-loss-liger", "h100-loss-megatron", "h100-loss-eager")
    )
    assert 6 * 1e9 / bandwidth < liger < fused_s < megatron < eager
    assert by_kernel_s == pytest.approx(megatron, rel=0.1)


# collectives


def crossings_of(name: str) -> int:
    """How often a collective's bytes cross the bus (Thakur et al. 2005)."""
    return 2 if "all-reduce" in name else 1


def bus_gb_s(name: str, size_bytes: float, ranks: int) -> float:
    """Bus bandwidth as nccl-tests defines it."""
    hops = 0 if "sharp" in name else ranks - 1
    crossings = crossings_of(name)
    seconds = float(collective_s(size_bytes, ranks, hops, crossings, collective_curves()[name]))
    return crossings * (ranks - 1) / ranks * size_bytes / seconds / 1e9


PUBLISHED_BUS_GB_S = {  # nccl-tests at 16, 64 and 512 MiB (aiconfigurator)
    ("h100-all-reduce-sharp", 8): (241, 363, 445),
    ("h100-all-reduce", 2): (205, 264, 319),
    ("h100-all-reduce", 4): (254, 308, 350),
    ("h100-gather", 2): (154, 204, 254),  # mean of all-gather and reduce-scatter
    ("h100-gather", 4): (202, 262, 314),
    ("h100-gather", 8): (213, 287, 336),
    ("a100-all-reduce", 2): (131, 171, 193),
    ("a100-all-reduce", 8): (136, 197, 222),
    ("a100-gather", 2): (96, 136, 158),
    ("a100-gather", 8): (114, 173, 209),
}


@pytest.mark.parametrize(("name", "ranks"), sorted(PUBLISHED_BUS_GB_S))
def test_collectives_follow_the_published_bandwidths(name: str, ranks: int) -> None:
    for size_mib, gb_s in zip((16, 64, 512), PUBLISHED_BUS_GB_S[name, ranks], strict=True):
        assert bus_gb_s(name, size_mib * MIB, ranks) == pytest.approx(gb_s, rel=0.1)


@pytest.mark.parametrize(("part", "ranks", "microseconds"), [("h100", 2, 5.5), ("h100", 8, 11), ("a100", 8, 15)])
def test_a_small_gather_waits_for_its_hops(part: str, ranks: int, microseconds: float) -> None:
    """nccl-tests at 4 KiB."""
    seconds = float(collective_s(4096, ranks, ranks - 1, 1, collective_curves()[f"{part}-gather"]))
    assert seconds * 1e6 == pytest.approx(microseconds, rel=0.15)


@given(name=collectives, size_bytes=st.floats(1e3, 1e11), ranks=st.integers(2, 8), hops=st.floats(0, 500))
def test_collectives_take_longer_with_bytes_and_hops(name: str, size_bytes: float, ranks: int, hops: float) -> None:
    curve, crossings = collective_curves()[name], crossings_of(name)
    here = float(collective_s(size_bytes, ranks, hops, crossings, curve))
    assert float(collective_s(1.1 * size_bytes, ranks, hops, crossings, curve)) > here
    assert float(collective_s(size_bytes, ranks, hops + 1, crossings, curve)) >= here
    bus = curve.bus_bytes_per_s * float(pair_rate(ranks, curve.pair_loss))
    least = crossings * (ranks - 1) / ranks * size_bytes / bus
    assert here > least
    assert float(collective_s(1e15, ranks, 0, crossings, curve)) == pytest.approx(least * 1e15 / size_bytes, rel=1e-4)
    assert float(collective_s(size_bytes, 1, 0, crossings, curve)) == 0.0


def test_sharp_adds_up_in_the_switch() -> None:
    """Each rank sends its buffer once where a ring sends it twice: at most twice the rate, in practice about 480 over
    365 GB/s (nccl-tests, aiconfigurator)."""
    curves = collective_curves()
    ring, sharp = curves["h100-all-reduce"], curves["h100-all-reduce-sharp"]
    assert sharp.bus_bytes_per_s / ring.bus_bytes_per_s == pytest.approx(480 / 365, rel=0.05)
    ring_s = float(collective_s(512 * MIB, 8, 7, 2, ring))
    assert float(collective_s(512 * MIB, 8, 0, 2, sharp)) < ring_s


@pytest.mark.parametrize("name", sorted(collective_curves()))
def test_no_ring_beats_its_line(name: str) -> None:
    """Only a switch that adds up can show more bus bandwidth than the links have."""
    gpu = load_gpu(PARTS[name.split("-")[0]])
    limit = (2 if "sharp" in name else 1) * gpu.link_bandwidth_bytes_per_s
    assert collective_curves()[name].bus_bytes_per_s < limit


def test_trees_climb_with_the_logarithm_of_nodes() -> None:
    """Sanders, Speck and Traeff 2009; nothing to climb in one node. A message of many chunks waits longer a level."""
    curve = tree_curves()["all-reduce"]
    assert tree_s(1e6, 1, 1e-5, curve) == 0
    assert tree_s(1e6, 64, 1e-5, curve) == pytest.approx(3 * float(tree_s(1e6, 4, 1e-5, curve)))
    assert tree_s(1e9, 4, 1e-5, curve) > tree_s(1e4, 4, 1e-5, curve) > 0
