"""Failure records as files: counts by cause over observed node-days, with a source for every number."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from profiler.files import InputError, nearest, read_toml
from profiler.units import Amount, Count, Positive, Share
from sim.campaign.failure_record import FailureCause, InfantMortality, LemonNodes, Reliability, Straggler
from sim.hardware import CATALOGUE

__all__ = [
    "FailureCause",
    "InfantMortality",
    "LemonNodes",
    "Reliability",
    "Straggler",
    "load_reliability",
    "reliability_names",
]

CLOSED = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class _CauseEntry:
    """A cause as its file has it: how many interruptions were counted in the file's node-days."""

    __pydantic_config__ = CLOSED

    name: str
    category: str
    count: Positive
    detection_s: Amount
    nodes_lost: Annotated[int, Ge(0)]
    repair_s: Amount = 0.0
    drain_s: Amount = 0.0
    silent: bool = False
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class _StragglerEntry:
    """Slow nodes as their file has them."""

    __pydantic_config__ = CLOSED

    name: str
    per_1000_node_days: Amount
    slowdown: Annotated[float, Ge(0), Lt(1)]
    found_after_s: Amount
    repair_s: Amount
    source: str


@dataclass(frozen=True, kw_only=True)
class _ReliabilityFile:
    __pydantic_config__ = CLOSED

    name: str
    label: str
    observed_node_days: Positive
    causes: tuple[_CauseEntry, ...]
    restart_gpus: tuple[Positive, ...]
    restart_times_s: tuple[Amount, ...]
    warm_restart_share: Share = 1.0
    gpus_per_node: Count = 8
    gaps_shape: Positive = 1.0
    repair_times: Literal["fixed", "exponential"] = "fixed"
    job_gpus: tuple[Positive, ...] = ()
    job_size_factors: tuple[Positive, ...] = ()
    stragglers: tuple[_StragglerEntry, ...] = ()
    infant_mortality: InfantMortality | None = None
    lemon_nodes: LemonNodes | None = None
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
            raise InputError(f"record '{name}' is not in the catalogue; {allowed} (or a .toml file).")
        path = CATALOGUE / "reliability" / f"{name}.toml"
    entry = read_toml(path, _ReliabilityFile)
    return Reliability(
        name=entry.name,
        label=entry.label,
        causes=tuple(_cause(cause, entry) for cause in entry.causes),
        restart_gpus=entry.restart_gpus,
        restart_times_s=entry.restart_times_s,
        warm_restart_share=entry.warm_restart_share,
        gpus_per_node=entry.gpus_per_node,
        gaps_shape=entry.gaps_shape,
        repair_times=entry.repair_times,
        stragglers=tuple(map(_straggler, entry.stragglers)),
        infant_mortality=entry.infant_mortality,
        lemon_nodes=entry.lemon_nodes,
        job_gpus=entry.job_gpus,
        job_size_factors=entry.job_size_factors,
        sources=entry.sources,
    )


def _cause(entry: _CauseEntry, file: _ReliabilityFile) -> FailureCause:
    return FailureCause(
        name=entry.name,
        category=entry.category,
        rate_per_node_day=entry.count / file.observed_node_days,
        detection_s=entry.detection_s,
        nodes_lost=entry.nodes_lost,
        repair_s=entry.repair_s if entry.nodes_lost else 0.0,
        drain_s=entry.drain_s,
        silent=entry.silent,
        source=entry.source or file.sources.get("rates", ""),
    )


def _straggler(entry: _StragglerEntry) -> Straggler:
    return Straggler(
        name=entry.name,
        rate_per_node_day=entry.per_1000_node_days / 1000,
        slowdown=entry.slowdown,
        found_after_s=entry.found_after_s,
        repair_s=entry.repair_s,
        source=entry.source,
    )
