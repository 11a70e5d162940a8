"""Watts of one step from what its seconds are spent on."""

from collections.abc import Mapping

import numpy as np

from profiler.files import InputError
from sim.case import Array
from sim.clocks import LEAST_SHARE, speed_at_power
from sim.hardware import Gpu
from sim.step import StepTimes

# Shares of the power limit by what the GPU does. Matmul, attention and memory-bound: 90th percentile of each
# class on an H200 at 700 W (NVML, aiconfigurator, Apache-2.0): 693, 687 and 645 W.
MATMUL_SHARE = 693 / 700
ATTENTION_SHARE = 687 / 700
MEMORY_SHARE = 645 / 700
# No published reading per class: a collective keeps NVLink, memory and a few SMs busy; a waiting GPU holds its
# clocks up. Assumed, and stated as such in every plan.
COMMUNICATION_SHARE = 0.55
WAITING_SHARE = 0.25


PART_SHARES: Mapping[str, float] = {
    "matmul": MATMUL_SHARE,
    "head": MATMUL_SHARE,
    "recompute": MATMUL_SHARE,
    "attention": ATTENTION_SHARE,
    "elementwise": MEMORY_SHARE,
    "optimizer": MEMORY_SHARE,
    "tensor_parallel": COMMUNICATION_SHARE,
    "context_parallel": COMMUNICATION_SHARE,
    "pipeline": COMMUNICATION_SHARE,
    "data_parallel": COMMUNICATION_SHARE,
}
"""Shares of the power limit by part of a step (`StepTimes`); in the other parts a GPU waits."""

COMPUTE = ("matmul", "head", "recompute", "attention", "elementwise")
"""What a pipeline stage computes, and others wait for in a bubble."""


def step_power_w(gpu: Gpu, times: StepTimes) -> Array:
    """Mean watts of one GPU over each step: its parts' watts weighted by their seconds.

    A GPU is never taken above its power limit or below its idle power.
    """
    working_s, joules = np.zeros(1), np.zeros(1)
    for part, share in PART_SHARES.items():
        working_s = working_s + getattr(times, part)
        joules = joules + gpu.tdp_w * share * getattr(times, part)
    joules = joules + gpu.tdp_w * WAITING_SHARE * np.maximum(times.total - working_s, 0)
    return np.clip(joules / times.total, gpu.idle_power_w, gpu.tdp_w)


def least_cap_w(gpu: Gpu) -> float:
    """The lowest power limit that a GPU can be given [W]."""
    return LEAST_SHARE * gpu.tdp_w


def capped_parts_s(gpu: Gpu, parts_s: Mapping[str, float], cap_w: float) -> dict[str, float]:
    """Seconds of each part of a step on GPUs held to `cap_w` [W].

    A part that draws more than the cap is slowed by its clocks (`sim.clocks`), the others keep their time; a bubble
    is waiting for other stages' compute and grows with it. That slower compute hides more communication is not
    counted.

    Raises:
        InputError: a cap that no GPU of this kind can be given.
    """
    if not cap_w >= least_cap_w(gpu):
        raise InputError(
            f"gpu_power_cap_w is {cap_w:g}; {gpu.label} can be held to {least_cap_w(gpu):.0f} W at the least "
            f"({LEAST_SHARE:.0%} of its {gpu.tdp_w:.0f} W)."
        )
    slowed = {part: seconds * _slowdown(gpu, part, cap_w) for part, seconds in parts_s.items()}
    before_s, after_s = (sum(parts.get(part, 0.0) for part in COMPUTE) for parts in (parts_s, slowed))
    if before_s and "bubble" in slowed:
        slowed["bubble"] = parts_s["bubble"] * (after_s / before_s)
    return slowed


def capped_power_w(gpu: Gpu, parts_s: Mapping[str, float], cap_w: float) -> float:
    """Mean watts over a step whose parts take `parts_s` on GPUs held to `cap_w`."""
    joules = sum(seconds * min(_part_w(gpu, part), cap_w) for part, seconds in parts_s.items())
    return min(max(joules / sum(parts_s.values()), gpu.idle_power_w), gpu.tdp_w)


def _part_w(gpu: Gpu, part: str) -> float:
    return gpu.tdp_w * PART_SHARES.get(part, WAITING_SHARE)


def _slowdown(gpu: Gpu, part: str, cap_w: float) -> float:
    if _part_w(gpu, part) <= cap_w:
        return 1.0
    return 1 / float(speed_at_power(np.array(cap_w / _part_w(gpu, part))))
