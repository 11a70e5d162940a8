"""The physical floor of a step: no program on this machine can be faster.

Whichever is longer: the model's own FLOPs at the measured matmul ceiling, or the bytes that must cross the
memory bus at its full bandwidth. Nothing communicated, nothing recomputed, nobody waits.
"""

from dataclasses import replace

import numpy as np

from sim.case import BF16, Array, StepCase
from sim.sharding import optimizer_s, rank_parameters, stage_layers


def compute_floor_s(case: StepCase) -> Array:
    """Seconds of one step's causal model FLOPs on all GPUs at the measured matmul ceiling.

    Six FLOPs per matmul parameter and token, and half of attention's 12·L·s·width (arXiv:2204.02311 appendix B).
    """
    matmul = 6 * (case.layers * case.layer_matmul_parameters + case.hidden * case.vocab)
    attention = 6 * case.layers * case.seq_len * case.attention_width
    return np.asarray(case.tokens * (matmul + attention) / (case.gpus * case.ceiling_flops))


def memory_floor_s(case: StepCase) -> Array:
    """Seconds to read the weights once forward and once backward for every micro-batch, and to update them."""
    as_can_be = {"splits_vocabulary": np.ones(1), "splits_head": np.ones(1), "whole_tensors": np.zeros(1)}
    split = replace(case, **as_can_be)
    parameters = rank_parameters(split, stage_layers(case)[0])
    weights = 2 * BF16 * parameters * np.maximum(case.micro_batches, 1)
    update = optimizer_s(case, parameters) * case.memory_bytes_per_s  # bytes
    return np.asarray((weights + update) / case.memory_peak_bytes_per_s)


def floor_s(case: StepCase) -> Array:
    """The longer of the two."""
    return np.maximum(compute_floor_s(case), memory_floor_s(case))
