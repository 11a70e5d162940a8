"""What a profile says of a GPU beside its times: the watts that it draws, idle and by what it does."""

from collections.abc import Iterable, Mapping
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
    kinds: Mapping[str, Workload] = {
        "matmul_power_w": "matmul",
        "attention_power_w": "attention",
        "memory_power_w": "copy",
    }
    rows = {name: row for name, kind in kinds.items() if (row := _metered(profile.layers, kind)) is not None}
    watts: dict[str, Any] = {name: row.power_mean_w for name, row in rows.items()}
    sources = {name: f"{source_of(profile)}{row.power_source}" for name, row in rows.items()}
    if profile.provenance.idle_power_w:
        watts["idle_power_w"] = profile.provenance.idle_power_w
        sources["idle_power_w"] = f"{source_of(profile)}at rest"
    return replace(gpu, **watts, sources={**gpu.sources, **sources})


def source_of(profile: Profile) -> str:
    """How what a GPU's `sources` say of a profile's watts begins."""
    return f"profile {profile.name}: "


def _metered(rows: Iterable[LayerRow], workload: Workload) -> LayerRow | None:
    """A workload's largest row over a window long enough for an energy; `None` where there is none."""
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
    return max(timed, key=lambda row: (row.forward_flops + row.backward_flops, row.forward_bytes))
