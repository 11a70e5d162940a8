"""What a profile says of a GPU beside its times: the watts that it draws, idle and by what it does."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from profiler.profile import LayerRow, Profile, Workload
from sim.hardware import Gpu

MATMUL_PRECISIONS = ("bf16", "fp16", "fp8")
"""Those in which matrix units train; an fp32 product draws what no step does."""


def measured_gpu(gpu: Gpu, profile: Profile | None) -> Gpu:
    """The GPU with the watts of a profile in place of its catalogue's, each as far as it was measured.

    Of several measurements of one kind the one that computes (or moves) most stands for it: the longest windows are
    the steadiest, and the largest shapes nearest to training.
    """
    if profile is None:
        return gpu
    found = {
        "idle_power_w": profile.provenance.idle_power_w,
        "matmul_power_w": _power_w(profile.layers, "matmul"),
        "attention_power_w": _power_w(profile.layers, "attention"),
        "memory_power_w": _power_w(profile.layers, "copy"),
    }
    measured: dict[str, Any] = {name: watts for name, watts in found.items() if watts}
    return replace(gpu, **measured, sources={**gpu.sources, **dict.fromkeys(measured, watts_source(profile))})


def watts_source(profile: Profile) -> str:
    """What a GPU's `sources` say of the watts that a profile gave."""
    return f"profile {profile.name}: {profile.provenance.method}"


def _power_w(rows: Iterable[LayerRow], workload: Workload) -> float | None:
    """Mean watts of a workload's largest row over a window long enough for an energy; `None` where there is none."""
    timed = [
        row
        for row in rows
        if row.workload == workload
        and row.status == "ok"
        and row.origin != "roofline"
        and row.power_mean_w
        and row.energy_j
        and row.meters_agree
        and (workload == "copy" or row.precision in MATMUL_PRECISIONS)
    ]
    if not timed:
        return None
    return max(timed, key=lambda row: (row.forward_flops + row.backward_flops, row.forward_bytes)).power_mean_w
