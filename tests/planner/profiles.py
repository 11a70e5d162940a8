"""A plan of FairScale's layers, and profiles by hand that it can stand on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from profiler.profile import LayerRow, Profile, Provenance, Workload

PLAN: Mapping[str, Any] = {
    "model": "llama3.1-8b",
    "tokens": "200B",
    "cluster": {"gpus": 64},
    "training": {
        "stack": "fairscale-eager",
        "global_batch": 512,
        "layout": {"tp": 2, "sharding": "zero1", "recompute": "full"},
    },
}
BLOCK = LayerRow(
    workload="block",
    model="llama3.1-8b",
    origin="measured",
    tp=2,
    seq_len=8192,
    attention_backend="flash",
    forward_s=6e-3,
    backward_s=14e-3,
)
H100 = Provenance(device="NVIDIA H100 80GB HBM3", gpu="h100-sxm", origin="measured", method="by hand")


def metered(workload: Workload, power_w: float, **more: Any) -> LayerRow:
    said = {"origin": "measured", "forward_s": 1e-3, "power_mean_w": power_w, "energy_j": 1e-3 * power_w}
    return LayerRow(workload=workload, model="", **{**said, **more})


def taken(*rows: LayerRow, **provenance: Any) -> Profile:
    return Profile(name="mine", provenance=replace(H100, **provenance), layers=rows)
