"""How fast a GPU trains at less power: clocks follow what is allowed."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

IDLE_SHARE = 0.11
"""Idle power over that of training: 72 to 85 W (arXiv:2604.07345, two public logs) over 693 W in matrix products."""

POWER_EXPONENT = 1.67
"""Power above idle goes with this power of the speed; between what three sources give. An H100 of 500 W instead of
700 W multiplies matrices at 0.81 of the rate in published runs (`matmul_h100_500w` over `matmul_h100` of
sim/catalogue/calibration.toml; exponent 1.9), one held to 600 W takes 10 to 15 % longer for a step by a vendor's
account (1.38), and the curve that Perseus (arXiv:2312.06902) measured on other GPUs gives 1.6."""

LEAST_SHARE = 0.3
"""No power limit goes lower: 200 W of 700 W on an H100 (nvidia-smi)."""


def speed_at_power(power_share: Array) -> Array:
    """Training speed over full speed where a GPU draws `power_share` of its full training power.

    0 where no clock draws so little. The whole step is slowed, which overstates it where communication is exposed.

    >>> [round(float(s), 2) for s in speed_at_power(np.array([1.0, 0.85, 0.7, 0.2]))]
    [1.0, 0.9, 0.78, 0.0]
    """
    above_idle = np.maximum(power_share - IDLE_SHARE, 0.0) / (1 - IDLE_SHARE)
    found: Array = np.where(power_share >= LEAST_SHARE, above_idle ** (1 / POWER_EXPONENT), 0.0)
    return found
