"""Watts of one step from what its seconds are spent on."""

import numpy as np

from sim.case import Array
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


def step_power_w(gpu: Gpu, times: StepTimes) -> Array:
    """Mean watts of one GPU over each step: its phases' watts weighted by their seconds.

    A GPU is never taken above its power limit or below its idle power.
    """
    matmul = times.matmul + times.head
    memory = times.elementwise + times.optimizer
    communication = times.tensor_parallel + times.context_parallel + times.pipeline + times.data_parallel
    again = times.recompute
    waiting = np.maximum(times.total - matmul - times.attention - memory - communication - again, 0)
    joules = gpu.tdp_w * (
        MATMUL_SHARE * (matmul + again)
        + ATTENTION_SHARE * times.attention
        + MEMORY_SHARE * memory
        + COMMUNICATION_SHARE * communication
        + WAITING_SHARE * waiting
    )
    return np.clip(joules / times.total, gpu.idle_power_w, gpu.tdp_w)
