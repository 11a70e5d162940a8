"""What slows single operations of a step: a slow GPU, and jitter."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from profiler.files import InputError


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much longer operations take than undisturbed.

    Raises:
        InputError: a straggler that would be faster than the others, or negative jitter.
    """

    jitter: float = 0.0
    """Each operation takes exp(jitter·|z|) times as long, z standard normal: a kernel is held up, never sped up.
    The mean is about 1 + 0.8·jitter."""
    stragglers: Mapping[int, float] = field(default_factory=dict)
    """Factor by stage; all operations of the stage take that many times as long."""
    seed: int = 1
    """Same seed, same step, on any machine."""

    def __post_init__(self) -> None:
        if not 0 <= self.jitter <= 1:
            raise InputError(f"jitter is {self.jitter:g}; 0 (none) to 1 is possible, and 0.02 is plenty.")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; 0 or more is needed.")
        for stage, factor in self.stragglers.items():
            if not (1 <= factor < math.inf):
                raise InputError(
                    f"straggler {stage}={factor:g} is no slowdown; give a factor of 1 or more, such as 1.1."
                )

    def slowdowns(self, stage: int) -> Iterator[float]:
        """The factors of a stage's operations, in its order; each stage has its own stream of random numbers."""
        factor = self.stragglers.get(stage, 1.0)
        if not self.jitter:
            while True:
                yield factor
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(stage,))))
        while True:
            for z in generator.standard_normal(256):
                # rounded, since exp differs in its last bit from one C library to the next
                yield factor * round(math.exp(self.jitter * abs(float(z))), 12)
