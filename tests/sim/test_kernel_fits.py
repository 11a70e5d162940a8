"""The fit of the kernel tables finds again what synthetic timings were made with."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from profiler.files import InputError, parse_toml, validated
from sim.hardware import load_gpu
from sim.kernels.collectives import CollectiveCurve, TreeCurve, collective_s, tree_s
from sim.kernels.collectives import collective_curves as collective_curves_that_ship
from sim.kernels.elementwise import elementwise_curves
from sim.kernels.fits.__main__ import SOURCES, toml_text
from sim.kernels.fits.collectives import PARTS, collective_curves, tree_curves
from sim.kernels.fits.matmul import CHOSEN, matmul_curves
from sim.kernels.fits.regression import Parameter, fitted, read
from sim.kernels.tables import TABLES, Evidence

EVIDENCE = Evidence(timed="made up", points=1, error_median=0, error_p90=0)
SIZES = (1024, 2048, 4096, 8192, 16384)


def test_one_wild_timing_does_not_pull() -> None:
    x = np.linspace(1, 10, 40)
    seconds = 2 + 3 * x
    seconds[7] *= 5
    values, evidence = fitted(
        lambda a, b: a + b * x, seconds, {"a": Parameter(1, 0, 10), "b": Parameter(1, 0, 10)}, "made up"
    )
    assert values == pytest.approx({"a": 2, "b": 3}, rel=0.01)
    assert evidence.points == 40
    assert evidence.error_median < 0.005


def test_products_are_found_again(tmp_path: Path) -> None:
    """A depth of 200 and rows of 60, at .8 of the peak, falling to .7 at the power limit, half way at 2 ms."""
    rows = []
    for _, gpu, part, dtype, libraries in CHOSEN:
        peak = load_gpu(gpu).peak_flops("fp8" if dtype.startswith("fp8") else "bf16")
        for m, n, k in product(SIZES, SIZES, SIZES):
            seconds = 0.0
            for _ in range(50):  # the rate hangs on the time and the time on the rate
                rate = peak * (0.7 + 0.1 / (1 + (seconds / 2e-3) ** 2))
                seconds = 2 * m * n * k / rate * (1 + 200 / k + 60 / m) + 4e-6
            rows.append((part, dtype, m, n, k, 1e6 * seconds, libraries[0], "random", "fwd"))
    columns = ["gpu", "dtype", "m", "n", "k", "time_us", "impl", "weights", "pass"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "gemm_measured.csv", index=False)
    curves, _ = matmul_curves(tmp_path)
    for curve in curves.values():
        assert (curve.depth, curve.rows) == pytest.approx((200, 60), rel=0.02)
        assert curve.columns < 1
        assert curve.overhead_s == pytest.approx(4e-6, rel=0.02)
        assert (curve.burst, curve.sustained) == pytest.approx((0.8, 0.7), rel=0.005)


COLLECTIVE_COLUMNS = ["gpu", "op", "ranks", "nodes", "bytes", "time_us", "src", "fabric", "note"]


def test_collectives_are_found_again(tmp_path: Path) -> None:
    true = CollectiveCurve(
        base_s=6e-6, hop_s=1e-6, large_s=20e-6, change_bytes=5e6, bus_bytes_per_s=340e9, pair_loss=0.2,
        evidence=EVIDENCE,
    )  # fmt: skip

    def time_us(op: str, n: int, size: float) -> float:
        return 1e6 * float(collective_s(size, n, n - 1, 2 if op == "all_reduce" else 1, true))

    rows = [
        (part, op, n, 1, size, time_us(op, n, size), "C1", "NVSwitch", "NCCL -n")
        for part, op, n in product(sum(PARTS.values(), ()), ("all_reduce", "all_gather", "reduce_scatter"), (2, 4, 8))
        for size in (4096 * 2**i for i in range(18))
    ]
    pd.DataFrame(rows, columns=COLLECTIVE_COLUMNS).to_csv(tmp_path / "collectives_measured.csv", index=False)
    curves = collective_curves(tmp_path)
    for name in ("h100-all-reduce", "h100-gather", "a100-all-reduce", "a100-gather"):
        found = curves[name]
        assert found.evidence.error_p90 < 0.01
        assert found.bus_bytes_per_s == pytest.approx(340e9, rel=0.02)
        assert (found.base_s, found.hop_s) == pytest.approx((6e-6, 1e-6), rel=0.05)
        assert found.pair_loss == pytest.approx(0.2, abs=0.03)


def test_trees_are_found_again(tmp_path: Path) -> None:
    true = TreeCurve(level=3, large_level=7, change_bytes=4e6, line_share=0.9, evidence=EVIDENCE)
    inside = collective_curves_that_ship()["h100-all-reduce"]

    def time_us(nodes: int, size: float) -> float:
        moving_s = 2 * (8 * nodes - 1) / (8 * nodes) * size / 360e9
        return 1e6 * float(inside.base_s + 7 * inside.hop_s + tree_s(size, nodes, 10e-6, true) + moving_s)

    rows = [
        ("H100", "all_reduce", 8 * nodes, nodes, size, time_us(nodes, size), "C6", "IB", "")
        for nodes in (4, 32, 512)
        for size in (2.0**i for i in range(20, 35))
    ]
    pd.DataFrame(rows, columns=COLLECTIVE_COLUMNS).to_csv(tmp_path / "collectives_measured.csv", index=False)
    found = tree_curves(tmp_path, inside)["all-reduce"]
    assert found.evidence.error_p90 < 0.01
    assert (found.level, found.large_level, found.line_share) == pytest.approx((3, 7, 0.9), rel=0.03)


def test_tables_say_where_they_come_from() -> None:
    assert {path.stem for path in TABLES.glob("*.toml")} == set(SOURCES)
    for name in SOURCES:
        table = parse_toml((TABLES / f"{name}.toml").read_text(), source=name)
        assert table["sources"] == SOURCES[name]
        for curve in table["curves"].values():
            evidence = validated(curve["evidence"], Evidence, source=name)
            assert evidence.points >= 6
            assert evidence.error_median <= evidence.error_p90 < 0.25
    assert "ml-engineering" not in str(SOURCES)  # share-alike timings would need a file of their own


def test_a_table_is_written_as_it_is_read() -> None:
    table = toml_text("elementwise", elementwise_curves())
    assert table == (TABLES / "elementwise.toml").read_text()


def test_a_folder_without_timings_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gemm_measured\.csv: not there; give the folder"):
        read(tmp_path, "gemm")
