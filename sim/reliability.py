"""How often a job is interrupted, why, and how long it takes to notice, to restart and to repair.

Rates are per node-day of eight GPUs, as they are published, and scale with the size of the job (superposed
Poisson processes). That holds for large jobs; small ones fail more often than the rule says: arXiv:2410.21680
measured 7.9 h between failures at 1,024 GPUs against 28.8 h by the rule.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from profiler.files import InputError, nearest, read_toml
from profiler.units import DAY_S, Amount, Count, Positive
from sim.hardware import CATALOGUE, Cluster


@dataclass(frozen=True, kw_only=True)
class FailureCause:
    """One reason why jobs stop."""

    name: str
    category: str
    rate_per_node_day: float
    detection_s: float
    """From the fault to the decision to restart, the job hanging meanwhile."""
    node_lost: bool
    """The node leaves the job and a spare takes its place."""
    repair_s: float
    """From leaving the job to being a good spare; 0 where no node is lost."""
    source: str


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Failure causes of a fleet and its restart time by scale.

    Raises:
        InputError: a restart table that is empty, uneven or not in rising order of GPUs.
    """

    name: str
    label: str
    causes: tuple[FailureCause, ...]
    restart_gpus: tuple[float, ...]
    restart_times_s: tuple[float, ...]
    """Restart time at each of `restart_gpus`."""
    gpus_per_node: int = 8
    """The node that the rates are per."""
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        gpus = self.restart_gpus
        if not gpus or len(gpus) != len(self.restart_times_s):
            raise InputError(f"{self.name}: restart_gpus and restart_times_s need the same number of values.")
        if any(a >= b for a, b in pairwise(gpus)):
            raise InputError(f"{self.name}: restart_gpus must rise from one value to the next.")

    @property
    def failures_per_1000_node_days(self) -> float:
        """All causes together."""
        return 1000 * sum(cause.rate_per_node_day for cause in self.causes)

    @property
    def mean_detection_s(self) -> float:
        """Detection time averaged over interruptions."""
        rate = sum(cause.rate_per_node_day for cause in self.causes)
        if not rate:
            return 0.0
        return sum(cause.rate_per_node_day * cause.detection_s for cause in self.causes) / rate

    def interruptions_per_s(self, nodes: float) -> float:
        """Unexpected interruptions of a job on `nodes` nodes of `gpus_per_node` GPUs [1/s]."""
        return nodes * sum(cause.rate_per_node_day for cause in self.causes) / DAY_S

    def mtbf_s(self, cluster: Cluster) -> float:
        """Mean time between unexpected interruptions of a job that fills `cluster` [s]; infinite without
        causes."""
        rate = self.interruptions_per_s(cluster.gpus / self.gpus_per_node)
        return 1 / rate if rate else math.inf

    def restart_s(self, gpus: int) -> float:
        """Time from the decision to restart to the first new step [s].

        Linear between published scales; below the smallest its time is kept, above the largest the last
        slope.
        """
        sizes, times = self.restart_gpus, self.restart_times_s
        if gpus <= sizes[0] or len(sizes) == 1:
            return times[0]
        upper = next((i for i, size in enumerate(sizes) if gpus <= size), len(sizes) - 1)
        slope = (times[upper] - times[upper - 1]) / (sizes[upper] - sizes[upper - 1])
        return times[upper - 1] + slope * (gpus - sizes[upper - 1])

    def scaled(self, failures_per_1000_node_days: float) -> "Reliability":
        """The same mix of causes at another overall rate."""
        if not failures_per_1000_node_days >= 0:
            raise InputError(f"failures per 1,000 node-days is {failures_per_1000_node_days}; 0 or more is needed.")
        if not self.causes:
            raise InputError(f"{self.name} has no failure causes to scale.")
        factor = failures_per_1000_node_days / self.failures_per_1000_node_days
        causes = tuple(replace(c, rate_per_node_day=c.rate_per_node_day * factor) for c in self.causes)
        return replace(self, causes=causes)


class FailureProcess:
    """The superposed Poisson process of all nodes and causes: when the next failure strikes, and why.

    Drawn a block at a time from numpy's PCG64, so that one seed gives one history.
    """

    _BLOCK = 256

    def __init__(self, reliability: Reliability, mtbf_s: float, seed: int) -> None:
        self._causes = reliability.causes
        self._mtbf_s = mtbf_s
        self._rng = np.random.default_rng(seed)
        self._drawn: list[tuple[float, int]] = []
        self._cause = 0
        self.next_s = math.inf
        """When the next failure strikes, in seconds from the start."""
        if math.isfinite(mtbf_s):
            rates = np.array([cause.rate_per_node_day for cause in self._causes])
            self._bounds = np.cumsum(rates / rates.sum())[:-1]
            self.next_s = 0.0
            self._advance()

    def take(self) -> FailureCause:
        """The cause of the failure at `next_s`; moves on to the next one."""
        cause = self._causes[self._cause]
        self._advance()
        return cause

    def stop_clock(self, seconds: float) -> None:
        """Put off the next failure: nothing could fail for so long (exponential gaps have no memory)."""
        self.next_s += seconds

    def _advance(self) -> None:
        if not self._drawn:
            gaps_s = self._rng.exponential(self._mtbf_s, self._BLOCK)
            causes = np.searchsorted(self._bounds, self._rng.random(self._BLOCK), side="right")
            self._drawn = list(zip(gaps_s.tolist(), causes.tolist(), strict=True))[::-1]
        gap_s, self._cause = self._drawn.pop()
        self.next_s += gap_s


@dataclass(frozen=True, kw_only=True)
class _CauseEntry:
    """A cause as its file has it: how many interruptions were counted in the file's node-days."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    category: str
    count: Positive
    detection_s: Amount
    node_lost: bool
    repair_s: Amount = 0.0
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class _ReliabilityFile:
    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    label: str
    observed_node_days: Positive
    causes: tuple[_CauseEntry, ...]
    restart_gpus: tuple[Positive, ...]
    restart_times_s: tuple[Amount, ...]
    gpus_per_node: Count = 8
    sources: Mapping[str, str]


def reliability_names() -> tuple[str, ...]:
    """What the catalogue holds."""
    return tuple(sorted(path.stem for path in (CATALOGUE / "reliability").glob("*.toml")))


@cache
def load_reliability(name: str) -> Reliability:
    """A fleet's reliability by its catalogue name or a TOML file; raises `InputError` when there is none."""
    path = Path(name)
    if not name.endswith(".toml"):
        if name not in reliability_names():
            allowed = nearest(name, reliability_names())
            raise InputError(f"reliability '{name}' is not in the catalogue; {allowed} (or a .toml file).")
        path = CATALOGUE / "reliability" / f"{name}.toml"
    entry = read_toml(path, _ReliabilityFile)
    return Reliability(
        name=entry.name,
        label=entry.label,
        causes=tuple(_cause(cause, entry) for cause in entry.causes),
        restart_gpus=entry.restart_gpus,
        restart_times_s=entry.restart_times_s,
        gpus_per_node=entry.gpus_per_node,
        sources=entry.sources,
    )


def _cause(entry: _CauseEntry, file: _ReliabilityFile) -> FailureCause:
    return FailureCause(
        name=entry.name,
        category=entry.category,
        rate_per_node_day=entry.count / file.observed_node_days,
        detection_s=entry.detection_s,
        node_lost=entry.node_lost,
        repair_s=entry.repair_s if entry.node_lost else 0.0,
        source=entry.source or file.sources.get("rates", ""),
    )
