"""Checkpoints: how big, how long, how often, and what is safe at any moment.

References:
    J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17 (9), 1974.
    J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future
    Generation Computer Systems 22 (3), 2006, doi:10.1016/j.future.2004.11.016.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from profiler.files import InputError
from profiler.units import Positive
from sim.hardware import Cluster

_WHOLE = 1e-9
"""A count this close below a whole number is that number (rounding of a quotient)."""


def young_daly_interval_s(cost_s: float, mtbf_s: float) -> float:
    """Training time between checkpoints that makes a run shortest [s].

    Daly (2006) eq. 37: sqrt(2 δ M) (1 + (δ / 2M)^½ / 3 + (δ / 2M) / 9) − δ where δ < 2M, else M. Its first
    term is Young's. δ is the time that a checkpoint holds up training, M the mean time between failures.

    >>> round(young_daly_interval_s(300.0, 24 * 3600.0) / 60)
    117
    """
    if cost_s >= 2 * mtbf_s:
        return mtbf_s
    if math.isinf(mtbf_s):
        return math.inf
    ratio = cost_s / (2 * mtbf_s)
    return math.sqrt(2 * cost_s * mtbf_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost_s


@dataclass(frozen=True, kw_only=True)
class CheckpointPolicy:
    """How a run saves itself.

    A synchronous checkpoint holds training until it is on shared storage. An asynchronous one holds it only
    while the state is copied to host memory, and counts as safe once it has been written from there.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    kind: Literal["synchronous", "asynchronous"] = "synchronous"
    interval_s: Positive | None = None
    """Training time between checkpoints; `None` for Young/Daly."""
    bytes_per_parameter: Positive = 14.0
    """Saved per parameter: bf16 weight, fp32 master copy and two fp32 Adam moments (2 + 4 + 4 + 4)."""
    host_copy_bytes_per_s: Positive = 25e9
    """From one GPU to its host, for asynchronous checkpoints. Assumed: four fifths of PCI Express 4.0 x16
    (31.5 GB/s), which slower hosts have; PCI Express 5.0 doubles it."""

    def size_bytes(self, parameters: int) -> float:
        """One checkpoint [bytes]."""
        return parameters * self.bytes_per_parameter

    def write_time_s(self, cluster: Cluster, parameters: int) -> float:
        """From the first byte to the last on shared storage [s]: the slower of the store and what all nodes
        push."""
        storage = cluster.storage
        rate = min(storage.write_bytes_per_s, cluster.nodes * storage.node_write_bytes_per_s)
        return self.size_bytes(parameters) / rate

    def cost_s(self, cluster: Cluster, parameters: int) -> float:
        """How long one checkpoint holds up training [s]."""
        if self.kind == "synchronous":
            return self.write_time_s(cluster, parameters)
        return self.size_bytes(parameters) / (cluster.gpus * self.host_copy_bytes_per_s)

    def cadence(self, cluster: Cluster, parameters: int, mtbf_s: float, *, shortest_s: float = 0.0) -> "Cadence":
        """The rhythm of checkpoints of a run that is interrupted every `mtbf_s` seconds on average.

        `shortest_s` is the least training time between two (one step). Young/Daly intervals are never
        shorter than storage can follow.

        Raises:
            InputError: a fixed interval in which an asynchronous checkpoint cannot be written.
        """
        cost_s = self.cost_s(cluster, parameters)
        written_s = max(self.write_time_s(cluster, parameters), cost_s)
        lag_s = written_s - cost_s
        if self.interval_s is None:
            optimum_s = young_daly_interval_s(cost_s, mtbf_s)
            interval_s = max(optimum_s, shortest_s, lag_s)
        elif self.interval_s < lag_s:
            raise InputError(
                f"checkpoints every {self.interval_s:g} s cannot be kept up: writing one of "
                f"{self.size_bytes(parameters) / 1e12:.3g} TB takes {written_s:.3g} s on "
                f"{cluster.storage.label}; allow a longer interval or faster storage."
            )
        else:
            interval_s = max(self.interval_s, shortest_s)
        return Cadence(interval_s=interval_s, cost_s=cost_s, lag_s=lag_s)


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """Train `interval_s`, hold for `cost_s`, repeat; a checkpoint is safe `lag_s` after the hold.

    Times are counted from the start of an undisturbed stretch, whose last checkpoint is taken at its end.
    """

    interval_s: float
    cost_s: float
    lag_s: float = 0.0

    @cached_property
    def cycle_s(self) -> float:
        """From one checkpoint to the next."""
        return self.interval_s + self.cost_s

    def checkpoints(self, training_s: float) -> int:
        """How many a stretch of `training_s` takes, the one at its end included; none for an empty one."""
        if training_s <= 0:
            return 0
        return max(math.ceil(training_s / self.interval_s - _WHOLE), 1)

    def saved_s(self, training_s: float) -> float:
        """When `training_s` of training are done and safe."""
        taken = self.checkpoints(training_s)
        return training_s + taken * self.cost_s + self.lag_s if taken else 0.0

    def trained_s(self, elapsed_s: float) -> float:
        """How much training `elapsed_s` hold, safe or not."""
        cycles = int(elapsed_s / self.cycle_s)
        within_s = elapsed_s - cycles * self.cycle_s
        return cycles * self.interval_s + min(max(within_s, 0.0), self.interval_s)

    def safe_after(self, elapsed_s: float, training_s: float) -> int:
        """How many checkpoints are safe `elapsed_s` into a stretch of `training_s` that was not finished."""
        safe = int(max(elapsed_s - self.lag_s, 0.0) / self.cycle_s)
        if (safe + 1) * self.interval_s < training_s:
            return safe
        return max(min(safe, self.checkpoints(training_s) - 1), 0)
