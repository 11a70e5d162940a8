"""Fit the kernel tables of the catalogue to published timings.

    python -m sim.kernels.fits FOLDER    read the raw timings in FOLDER (CSV), write sim/catalogue/kernels/

The raw timings belong to their authors and do not ship; what ships is a handful of numbers a curve.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from profiler.files import write_atomic
from sim.kernels.fits.attention import attention_curves
from sim.kernels.fits.collectives import collective_curves, tree_curves
from sim.kernels.fits.elementwise import elementwise_curves
from sim.kernels.fits.matmul import matmul_curves
from sim.kernels.tables import TABLES

COLLECTOR = (
    "ai-dynamo/aiconfigurator commit 095f58a51c4ca8e61b66ec108d86f223f8d559ce (Apache-2.0, NVIDIA), "
    "aic-core/src/aiconfigurator_core/systems/data"
)
SOURCES: Mapping[str, Mapping[str, str]] = {
    "matmul": {
        "timings": COLLECTOR + ", gemm: random data, CUDA graphs, m, n and k from 1,024 up",
        "caution": "fp8 timings quantise the 16-bit input anew each time. On the A100 the overhead holds the idle "
        "multiprocessors of small products too. The largest products ran in a loop at the power limit.",
    },
    "attention": {
        "timings": "Figures of Dao-AILab/flash-attention commit 0251105 (BSD-3) and of FlashAttention-3 "
        "(arXiv:2407.08608): 512 to 16,384 tokens, 16,384 in all, 2,048 wide, heads of 64 and 128",
        "fill": "DebarghaG/estimate-train-time commit 1ac4d5e (MIT): FlashAttention-2 on GH200 and A100, 4 to 80 "
        "heads; FlashAttention-3: " + COLLECTOR + ", context_attention",
        "caution": "Backward with a causal mask is timed for FlashAttention-2 only; the others are assumed to pay "
        "for the mask what they pay forward. cuDNN's fill is assumed to be FlashAttention-2's.",
    },
    "elementwise": {
        "vllm": "microsoft/vidur commit 7d47513363ec447a741ac5e47241580b47724fbf (MIT), data/profiling/compute",
        "others": "linkedin/Liger-Kernel commit ead96b618e5c67bddc6a6e9bcb99bfe6b5ab661c (BSD-2-Clause), "
        "benchmark/data: eager stands for the plain PyTorch code it compares with",
        "caution": "loss is forward and backward together, residual additions forward only",
    },
    "collectives": {
        "timings": COLLECTOR + ", nccl: nccl-tests out of place, 4 KiB to 512 MiB, 2, 4 and 8 GPUs of one node",
    },
    "collectives-nodes": {
        "timings": "arXiv:2411.13055 (figure of all-reduce bus bandwidth on 4 to 512 nodes of H100) and NVIDIA, GTC "
        "2024 S62129 (NVLSTree, to 1,024 nodes): 1 MiB to 16 GiB, read by eye to 5 GB/s",
        "caution": "No sweep of an all-gather across nodes was published: its ring is taken to wait at every node "
        "for one way of a level of the tree.",
    },
}


def toml_text(name: str, curves: Mapping[str, Any]) -> str:
    """One table as the TOML that ships: four significant digits, and no time below a nanosecond."""
    lines = ["# Written by `python -m sim.kernels.fits`: curves fitted to published timings.", "[sources]"]
    lines += [f"{key} = {json.dumps(text)}" for key, text in SOURCES[name].items()]
    for curve_name, curve in curves.items():
        values = asdict(curve)
        evidence = values.pop("evidence")
        shown = {key: 0 if key.endswith("_s") and value < 1e-9 else value for key, value in values.items()}
        lines += ["", f"[curves.{curve_name}]", *(f"{key} = {value:.4g}" for key, value in shown.items())]
        lines += [f"[curves.{curve_name}.evidence]", f"timed = {json.dumps(evidence.pop('timed'))}"]
        lines += [f"{key} = {value:.4g}" for key, value in evidence.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Fit every table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the raw timings are")
    folder = parser.parse_args().folder
    matmul, medians = matmul_curves(folder)
    collectives = collective_curves(folder)
    tables: Mapping[str, Mapping[str, Any]] = {
        "matmul": matmul,
        "attention": attention_curves(folder),
        "elementwise": elementwise_curves(folder),
        "collectives": collectives,
        "collectives-nodes": tree_curves(folder, collectives["h100-all-reduce"]),
    }
    for name, curves in tables.items():
        write_atomic(TABLES / f"{name}.toml", toml_text(name, curves))
        for curve_name, curve in curves.items():
            e = curve.evidence
            print(
                f"{name:26s} {curve_name:26s} {e.points:5d} points, error {e.error_median:.1%}, p90 {e.error_p90:.1%}"
            )
    header = "# Medians of the products' share of the dense peak in octaves of m, n and k; source: matmul.toml\n"
    write_atomic(TABLES / "matmul-medians.csv", header + medians.to_csv(index=False, float_format="%.4g"))


if __name__ == "__main__":
    main()
