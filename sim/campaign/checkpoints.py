"""Checkpoints: how big, how long, how often, and what is safe at any moment.

References:
    J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17 (9), 1974.
    J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future
    Generation Computer Systems 22 (3), 2006, doi:10.1016/j.future.2004.11.016.
    Z. Wang et al., "GEMINI: Fast Failure Recovery in Distributed Training with In-Memory Checkpoints", SOSP 2023,
    doi:10.1145/3600006.3613145.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from profiler.files import InputError
from profiler.units import HOUR_S, Count, Positive
from sim.hardware import Cluster

_WHOLE = 1e-9
"""A count this close below a whole number is that number (rounding of a quotient)."""

LONGEST_DURABLE_INTERVAL_S = 3 * HOUR_S
"""Beside copies in memory, a checkpoint goes to storage at least every three hours, as in GEMINI's evaluation."""

CheckpointKind = Literal["synchronous", "asynchronous", "in_memory", "multi_level"]


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


def optimal_interval_s(cost_s: float, mtbf_s: float) -> float:
    """The interval that makes Daly's complete cost function least [s]; `young_daly_interval_s` is its series.

    Its derivative vanishes where (1 − τ/M) exp((τ + δ)/M) = 1, solved by bisection.
    """
    if math.isinf(mtbf_s):
        return math.inf
    low, high = 0.0, 1.0
    for _ in range(80):
        x = (low + high) / 2
        low, high = (x, high) if math.log1p(-x) + x + cost_s / mtbf_s > 0 else (low, x)
    return (low + high) / 2 * mtbf_s


@dataclass(frozen=True, kw_only=True)
class CheckpointPolicy:
    """How a run saves itself.

    A synchronous checkpoint holds training until it is on shared storage. An asynchronous one holds it only while the
    state is copied to host memory, and counts as safe once it has been written from there. One in memory is copied to
    its own host and to the memory of others, over the part of the network that training leaves free; a node that
    fails takes its memory with it. Multi-level: copies in memory, and every so often an asynchronous one to storage.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    kind: CheckpointKind = "synchronous"
    interval_s: Positive | None = None
    """Training time between checkpoints; `None` for the one that `rule` finds."""
    rule: Literal["young_daly", "optimal"] = "young_daly"
    durable_interval_s: Positive | None = None
    """Multi-level: training time between those to storage; `None` for what `rule` finds, three hours at most."""
    copies: Count = 2
    """In memory: nodes that hold each share of the state, its own included. GEMINI keeps two."""
    bytes_per_parameter: Positive = 14.0
    """Saved per parameter: bf16 weight, fp32 master copy and two fp32 Adam moments (2 + 4 + 4 + 4)."""
    host_copy_bytes_per_s: Positive = 25e9
    """From one GPU to its host, for all but synchronous checkpoints. Assumed: four fifths of PCI Express 4.0 x16
    (31.5 GB/s), which slower hosts have; PCI Express 5.0 doubles it."""
    storage_share: Positive = 1.0
    """Of the store's bandwidth, what others leave to this run's checkpoints."""
    network_share: Positive = 0.1
    """Of each GPU's line rate, what training leaves for copies to other hosts. Assumed; GEMINI finds idle spans
    enough to hide them in."""

    def __post_init__(self) -> None:
        for key in ("storage_share", "network_share"):
            if getattr(self, key) > 1:
                raise InputError(f"{key} is {getattr(self, key):g}; a share of 1 is everything.")

    @property
    def in_memory(self) -> bool:
        """Whether copies are kept in the memory of hosts."""
        return self.kind in ("in_memory", "multi_level")

    def size_bytes(self, parameters: int) -> float:
        """One checkpoint [bytes]."""
        return parameters * self.bytes_per_parameter

    def write_time_s(self, cluster: Cluster, parameters: int) -> float:
        """From the first byte to the last on shared storage [s]: the slower of the store and what all nodes
        push."""
        storage = cluster.storage
        rate = min(
            storage.write_bytes_per_s * self.storage_share,
            cluster.nodes * storage.node_write_bytes_per_s,
        )
        return self.size_bytes(parameters) / rate

    def host_copy_s(self, cluster: Cluster, parameters: int) -> float:
        """From all GPUs to their hosts [s]."""
        return self.size_bytes(parameters) / (cluster.gpus * self.host_copy_bytes_per_s)

    def replication_s(self, cluster: Cluster, parameters: int) -> float:
        """From each host to the others that hold its share [s]."""
        per_gpu = self.size_bytes(parameters) / cluster.gpus
        return per_gpu * (self.copies - 1) / (cluster.fabric.bandwidth_bytes_per_s * self.network_share)

    def cost_s(self, cluster: Cluster, parameters: int) -> float:
        """How long one checkpoint holds up training [s]."""
        if self.kind == "synchronous":
            return self.write_time_s(cluster, parameters)
        return self.host_copy_s(cluster, parameters)

    def cadence(
        self,
        cluster: Cluster,
        parameters: int,
        mtbf_s: float,
        *,
        durable_mtbf_s: float = math.inf,
        shortest_s: float = 0.0,
    ) -> "Cadence":
        """The rhythm of checkpoints of a run that is interrupted every `mtbf_s` seconds on average.

        `durable_mtbf_s` is the mean time between failures that copies in memory do not survive, `shortest_s` the
        least training time between two checkpoints (one step). Intervals that are found are never shorter than
        storage or network can follow.

        Raises:
            InputError: an interval that storage cannot keep up with; more copies in memory than nodes.
        """
        cost_s = self.cost_s(cluster, parameters)
        write_s = max(self.write_time_s(cluster, parameters), cost_s)
        if not self.in_memory:
            interval_s = self._interval_s(self.interval_s, cost_s, mtbf_s, max(shortest_s, write_s - cost_s))
            self._check(interval_s, write_s, cluster, parameters)
            return Cadence(interval_s=interval_s, cost_s=cost_s, lag_s=write_s - cost_s)
        if self.copies > cluster.nodes:
            raise InputError(f"copies is {self.copies}; {cluster.nodes} nodes can hold so many at most.")
        lag_s = self.replication_s(cluster, parameters)
        interval_s = self._interval_s(self.interval_s, cost_s, mtbf_s, max(shortest_s, lag_s))
        cadence = Cadence(interval_s=interval_s, cost_s=cost_s, lag_s=lag_s, every=0, durable_lag_s=write_s)
        if self.kind == "in_memory":
            return cadence
        durable_s = self._interval_s(self.durable_interval_s, cost_s, durable_mtbf_s, max(interval_s, write_s))
        if self.durable_interval_s is None:
            durable_s = max(min(durable_s, LONGEST_DURABLE_INTERVAL_S), write_s)
        interval_s = min(interval_s, durable_s)
        self._check(durable_s, write_s, cluster, parameters)
        every = max(round(durable_s / interval_s), math.ceil(write_s / interval_s - _WHOLE), 1)
        return Cadence(interval_s=interval_s, cost_s=cost_s, lag_s=lag_s, every=every, durable_lag_s=write_s)

    def _interval_s(self, stated_s: float | None, cost_s: float, mtbf_s: float, least_s: float) -> float:
        if stated_s is not None:
            return stated_s
        find = young_daly_interval_s if self.rule == "young_daly" else optimal_interval_s
        return max(find(cost_s, mtbf_s), least_s)

    def _check(self, interval_s: float, write_s: float, cluster: Cluster, parameters: int) -> None:
        if self.interval_s is None and self.durable_interval_s is None:
            return
        if interval_s < write_s * (1 - _WHOLE):
            raise InputError(
                f"checkpoints every {interval_s:g} s cannot be kept up: writing one of "
                f"{self.size_bytes(parameters) / 1e12:.3g} TB takes {write_s:.3g} s on "
                f"{cluster.storage.label}; take an interval of at least {write_s:.3g} s or faster storage."
            )


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """Train `interval_s`, hold for `cost_s`, repeat; a checkpoint is safe `lag_s` after the hold.

    Every `every`th is durable too, `durable_lag_s` after its hold; 0 for none but the last of a stretch. Where
    checkpoints go to storage at once, all are, with the same lag. Times are counted from the start of an undisturbed
    stretch, whose last checkpoint is taken at its end and is durable.
    """

    interval_s: float
    cost_s: float
    lag_s: float = 0.0
    every: int = 1
    durable_lag_s: float | None = None

    @cached_property
    def cycle_s(self) -> float:
        """From one checkpoint to the next."""
        return self.interval_s + self.cost_s

    @cached_property
    def stored_lag_s(self) -> float:
        """From the hold to safe on storage."""
        return self.lag_s if self.durable_lag_s is None else self.durable_lag_s

    @cached_property
    def held_share(self) -> float:
        """Part of a stretch that checkpoints hold up."""
        return self.cost_s / self.cycle_s

    def checkpoints(self, training_s: float) -> int:
        """How many a stretch of `training_s` takes, the one at its end included; none for an empty one."""
        if training_s <= 0:
            return 0
        return max(math.ceil(training_s / self.interval_s - _WHOLE), 1)

    def saved_s(self, training_s: float) -> float:
        """When `training_s` of training are done and stored."""
        taken = self.checkpoints(training_s)
        return training_s + taken * self.cost_s + self.stored_lag_s if taken else 0.0

    def trained_s(self, elapsed_s: float) -> float:
        """How much training `elapsed_s` hold, safe or not."""
        cycles = int(elapsed_s / self.cycle_s)
        within_s = elapsed_s - cycles * self.cycle_s
        if within_s >= self.interval_s:
            return (cycles + 1) * self.interval_s
        return cycles * self.interval_s + (within_s if within_s > 0 else 0.0)

    def safe_after(self, elapsed_s: float, training_s: float) -> int:
        """How many checkpoints are safe `elapsed_s` into a stretch of `training_s` that was not finished."""
        safe = int((elapsed_s - self.lag_s) / self.cycle_s) if elapsed_s > self.lag_s else 0
        return safe if (safe + 1) * self.interval_s < training_s else self._unfinished(safe, training_s)

    def stored_after(self, elapsed_s: float, training_s: float, carried: int = 0) -> int:
        """The last of them that is on storage; `carried` were taken since one was, before the stretch."""
        if not self.every or elapsed_s <= self.stored_lag_s:
            return 0
        taken = int((elapsed_s - self.stored_lag_s) / self.cycle_s)
        if carried + taken < self.every:
            return 0
        taken = self._unfinished(taken, training_s)
        return max((carried + taken) // self.every * self.every - carried, 0)

    def _unfinished(self, safe: int, training_s: float) -> int:
        """So many at most that the last one of the stretch is not among them."""
        return max(min(safe, self.checkpoints(training_s) - 1), 0)
