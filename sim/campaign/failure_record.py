"""How often a job is interrupted, why, and how long it takes to notice, to restart and to repair.

Rates are per node-day of eight GPUs, as they are published. Those of large jobs scale with the job's size; small
jobs fail more often than that rule says (`job_size_factors`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from profiler.files import InputError
from profiler.units import DAY_S, Amount, Positive, Share
from sim.hardware import Cluster


@dataclass(frozen=True, kw_only=True)
class FailureCause:
    """One reason why jobs stop."""

    name: str
    category: str
    rate_per_node_day: float
    detection_s: float
    """From the fault to the decision to restart: the job hangs, or with `silent` trains in vain."""
    nodes_lost: int
    """Nodes that leave the job at one stroke and are replaced by spares; several below a switch or a power feed."""
    repair_s: float
    """From leaving the job to being a good spare, on average; 0 where no node is lost."""
    source: str
    drain_s: float = 0.0
    """From the decision until the lost nodes are out of the job: logs saved, processes ended, nodes cordoned."""
    silent: bool = False
    """The job trains on with wrong numbers until the fault is noticed, and nothing since is worth keeping."""


@dataclass(frozen=True, kw_only=True)
class Straggler:
    """Nodes that fail slow: the whole job keeps their pace until they are found and replaced."""

    name: str
    rate_per_node_day: float
    slowdown: float
    """Share of the job's speed that one such node costs, below 1; two together cost no more than the slower."""
    found_after_s: float
    repair_s: float
    source: str


@dataclass(frozen=True, kw_only=True)
class InfantMortality:
    """Failures of new machines: the rate begins `1 + extra_rate` times the settled one, and the extra fades as
    exp(−t / `fading_days`). Time counts from the start of the campaign."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    extra_rate: Amount
    fading_days: Positive
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class LemonNodes:
    """Repeat offenders: a few nodes that fail far more often than the others until they are recognised."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    share: Share
    """Of the job's nodes."""
    extra_rate: Amount
    """Failures of one of them beyond an ordinary node's, in units of an ordinary node's rate."""
    found_share: Share
    """Chance that a failure unmasks the node: it is cured or retired. Otherwise it comes back as it was."""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Failure causes of a fleet, their rhythm, and its restart time by scale.

    Raises:
        InputError: a restart table that is empty, uneven or not in rising order of GPUs; a share out of range.
    """

    name: str
    label: str
    causes: tuple[FailureCause, ...]
    restart_gpus: tuple[float, ...]
    restart_times_s: tuple[float, ...]
    """Cold restart at each of `restart_gpus`."""
    warm_restart_share: float = 1.0
    """A warm restart (same processes and nodes, or a hot spare that is part of the job) over a cold one."""
    gpus_per_node: int = 8
    """The node that the rates are per."""
    gaps_shape: float = 1.0
    """Weibull shape of the times between failures of the job; 1 is exponential, below 1 failures come in bursts.
    Their mean is the same."""
    repair_times: Literal["fixed", "exponential"] = "fixed"
    stragglers: tuple[Straggler, ...] = ()
    infant_mortality: InfantMortality | None = None
    lemon_nodes: LemonNodes | None = None
    job_gpus: tuple[float, ...] = ()
    job_size_factors: tuple[float, ...] = ()
    """How much more often a job of so many GPUs fails per node-day than `causes` say."""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_table(self.name, "restart_gpus", self.restart_gpus, "restart_times_s", self.restart_times_s)
        if not self.restart_gpus:
            raise InputError(f"{self.name}: restart_gpus is empty; at least one size is needed.")
        _check_table(self.name, "job_gpus", self.job_gpus, "job_size_factors", self.job_size_factors)
        if not 0.1 <= self.gaps_shape <= 10:
            raise InputError(f"{self.name}: gaps_shape is {self.gaps_shape}; 0.1 to 10 is allowed.")
        if not 0 <= self.warm_restart_share <= 1:
            raise InputError(f"{self.name}: warm_restart_share is {self.warm_restart_share}; 0 to 1 is allowed.")
        for straggler in self.stragglers:
            if not 0 <= straggler.slowdown < 1:
                raise InputError(f"{self.name}: slowdown of '{straggler.name}' is {straggler.slowdown}; below 1.")

    @property
    def rate_per_node_day(self) -> float:
        """All causes together."""
        return math.fsum(cause.rate_per_node_day for cause in self.causes)

    @property
    def failures_per_1000_node_days(self) -> float:
        """All causes together."""
        return 1000 * self.rate_per_node_day

    @property
    def mean_detection_s(self) -> float:
        """Detection and drain averaged over interruptions."""
        return self.mean(lambda cause: cause.detection_s + cause.drain_s)

    def interruptions_per_s(self, nodes: float) -> float:
        """Unexpected interruptions of a job on `nodes` nodes of `gpus_per_node` GPUs, scaled from the fleet [1/s]."""
        return nodes * self.rate_per_node_day / DAY_S

    def job_size_factor(self, gpus: int) -> float:
        """How much more often a job of `gpus` fails than the fleet's rate says.

        Between published sizes the logarithm is linear in that of the GPUs; beyond them the last value holds.
        """
        if not self.job_gpus:
            return 1.0
        return math.exp(
            _between(math.log(gpus), [*map(math.log, self.job_gpus)], [*map(math.log, self.job_size_factors)])
        )

    def mtbf_s(self, cluster: Cluster) -> float:
        """Mean time between unexpected interruptions of a job that fills `cluster` [s]; infinite without causes.

        The settled fleet's: infant mortality, lemon nodes and stragglers come on top.
        """
        rate = self.interruptions_per_s(cluster.gpus / self.gpus_per_node) * self.job_size_factor(cluster.gpus)
        return 1 / rate if rate else math.inf

    def nodes_in_repair(self, cluster: Cluster) -> float:
        """Nodes under repair on average, by Little's law: those that leave in a second times the seconds of each."""
        return self.mean(lambda cause: cause.nodes_lost * cause.repair_s) / self.mtbf_s(cluster)

    def mean(self, of: Callable[[FailureCause], float]) -> float:
        """The mean of something over failures as often as they come; 0 where there are none."""
        rate = self.rate_per_node_day
        return math.fsum(cause.rate_per_node_day * of(cause) for cause in self.causes) / rate if rate else 0.0

    def restart_s(self, gpus: int, *, warm: bool = False) -> float:
        """Time from the decision to restart to the first new step [s].

        Linear between published scales; below the smallest its time is kept, above the largest the last slope.
        """
        sizes, times = self.restart_gpus, self.restart_times_s
        cold_s = _between(float(gpus), sizes, times)
        if gpus > sizes[-1] and len(sizes) > 1:
            cold_s += (times[-1] - times[-2]) / (sizes[-1] - sizes[-2]) * (gpus - sizes[-1])
        return cold_s * (self.warm_restart_share if warm else 1.0)

    def detected_within(self, longest_s: float) -> "Reliability":
        """The same causes, none noticed later than `longest_s`."""
        causes = tuple(replace(cause, detection_s=min(cause.detection_s, longest_s)) for cause in self.causes)
        return replace(self, causes=causes)

    def restarting_in(self, seconds: float) -> "Reliability":
        """The same fleet with one cold restart time at every scale."""
        return replace(self, restart_gpus=(1.0,), restart_times_s=(seconds,))


def _check_table(name: str, x_key: str, x: tuple[float, ...], y_key: str, y: tuple[float, ...]) -> None:
    if len(x) != len(y):
        raise InputError(f"{name}: {x_key} and {y_key} need the same number of values.")
    if any(a >= b for a, b in pairwise(x)):
        raise InputError(f"{name}: {x_key} must rise from one value to the next.")


def _between(x: float, xs: tuple[float, ...] | list[float], ys: tuple[float, ...] | list[float]) -> float:
    """Linear between the points, constant beyond them."""
    if x <= xs[0]:
        return ys[0]
    for (x0, x1), (y0, y1) in zip(pairwise(xs), pairwise(ys), strict=True):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return ys[-1]
