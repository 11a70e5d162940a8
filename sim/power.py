"""Watts of one step from what its seconds are spent on."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from profiler.files import InputError
from sim.case import Array
from sim.clocks import LEAST_SHARE, speed_at_power
from sim.hardware import Gpu
from sim.kernels.shares import COMMUNICATION
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

HALVINGS = 50
"""That find watts to far below a milliwatt."""

Activity = Literal["matmul", "attention", "memory", "communication", "waiting"]
"""What a GPU does, as far as its watts tell."""

ACTIVITIES: Mapping[str, Activity] = {
    "matmul": "matmul",
    "head": "matmul",
    "recompute": "matmul",
    "attention": "attention",
    "elementwise": "memory",
    "optimizer": "memory",
    **dict.fromkeys(COMMUNICATION, "communication"),
}
"""What a GPU does in each part of a step (`StepTimes`); in the other parts it waits."""

COMPUTE = ("matmul", "head", "recompute", "attention", "elementwise")
"""What a pipeline stage computes, and others wait for in a bubble."""


def activity_power_w(gpu: Gpu, activity: Activity) -> float:
    """Watts that a GPU draws in an activity: as measured on it, or the share of its limit that another part draws."""
    stated: Mapping[Activity, tuple[float | None, float]] = {
        "matmul": (gpu.matmul_power_w, MATMUL_SHARE),
        "attention": (gpu.attention_power_w, ATTENTION_SHARE),
        "memory": (gpu.memory_power_w, MEMORY_SHARE),
        "communication": (None, COMMUNICATION_SHARE),
        "waiting": (None, WAITING_SHARE),
    }
    measured_w, share = stated[activity]
    drawn_w = gpu.tdp_w * share if measured_w is None else measured_w
    return max(drawn_w, gpu.idle_power_w)


def step_power_w(gpu: Gpu, times: StepTimes) -> Array:
    """Mean watts of one GPU over each step: its parts' watts weighted by their seconds.

    A GPU is never taken above its power limit or below its idle power.
    """
    working_s, joules = np.zeros(1), np.zeros(1)
    for part, activity in ACTIVITIES.items():
        working_s = working_s + getattr(times, part)
        joules = joules + activity_power_w(gpu, activity) * getattr(times, part)
    joules = joules + activity_power_w(gpu, "waiting") * np.maximum(times.total - working_s, 0)
    return np.clip(joules / times.total, gpu.idle_power_w, gpu.tdp_w)


def least_cap_w(gpu: Gpu) -> float:
    """The lowest power limit that a GPU can be given [W]."""
    return LEAST_SHARE * gpu.tdp_w


def most_w(keeps: Callable[[float], bool], low_w: float, high_w: float) -> float:
    """The most watts between `low_w`, which keep a limit, and `high_w`, which do not."""
    for _ in range(HALVINGS):
        middle_w = (low_w + high_w) / 2
        low_w, high_w = (middle_w, high_w) if keeps(middle_w) else (low_w, middle_w)
    return low_w


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
    return activity_power_w(gpu, ACTIVITIES.get(part, "waiting"))


def _slowdown(gpu: Gpu, part: str, cap_w: float) -> float:
    if _part_w(gpu, part) <= cap_w:
        return 1.0
    return 1 / float(speed_at_power(np.array(cap_w / _part_w(gpu, part))))
