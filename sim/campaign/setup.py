"""What a campaign is asked to do, and on what."""

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from profiler.files import InputError
from profiler.units import DAY_S, Positive, duration, significant
from sim.campaign.checkpoints import Cadence, CheckpointPolicy
from sim.campaign.failure_record import FailureCause, Reliability
from sim.campaign.theory import above_poisson, expected_replica_ettr, poisson_reach, renewal_ettr, stored_share
from sim.hardware import Cluster
from sim.site.conditions import SiteConditions
from sim.site.energy import SitePower

LEAST_SHARE = 0.01
"""A run that trains less than this share of its time is refused: it would take a hundred times as long."""

SHORT_SHARE = 0.05
"""A setup with too few spares for more than this share of the time is told of."""

Recovery = Literal["job", "replica"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with one batch size and sequence length."""

    name: str
    tokens: float
    tokens_per_step: float
    step_time_s: float
    gpu_power_w: float
    """Mean power of one GPU over a step."""

    def __post_init__(self) -> None:
        for key in ("tokens", "tokens_per_step", "step_time_s", "gpu_power_w"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"phase '{self.name}': {key} is {value}; a finite number above 0 is needed.")

    @property
    def training_s(self) -> float:
        """Undisturbed training time; a last, partly filled step takes its share of a step."""
        return self.tokens / self.tokens_per_step * self.step_time_s

    @property
    def steps(self) -> int:
        """Optimizer steps, the last one perhaps partly filled."""
        return math.ceil(self.tokens / self.tokens_per_step - 1e-9)


@dataclass(frozen=True, kw_only=True)
class Pause:
    """A regular standstill of training with the job up: an evaluation, a change of data."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    every_s: Positive
    """Training time between two."""
    pause_s: Positive


@dataclass(frozen=True, kw_only=True)
class CampaignSetup:
    """Everything that a campaign depends on but chance.

    Raises:
        InputError: no phases, a count or time out of range, storage too slow for the checkpoint interval, or a run
            that would never finish.
    """

    cluster: Cluster
    parameters: int
    phases: tuple[Phase, ...]
    reliability: Reliability
    checkpoints: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    site: SitePower = field(default_factory=SitePower)
    spare_nodes: int = 0
    """Powered, idle nodes beside the job's own."""
    hot_spare_nodes: int = 0
    """How many of the spare nodes already run as part of the job: with one of them a restart is warm. Filled up from
    the others meanwhile."""
    repair_crews: int | None = None
    """How many nodes can be under repair at once; `None` for any number."""
    planned_maintenance_per_day: float = 47 / 54
    """Planned interruptions: 47 in the 54 days of arXiv:2407.21783 Table 5."""
    maintenance_s: float = 600.0
    """Standstill of one planned interruption before its restart. Assumed: no duration is published."""
    pauses: tuple[Pause, ...] = ()
    """Shared out evenly over training, which is right to one pause."""
    replicas: int = 1
    """Data-parallel replicas of the model in the job."""
    fewer_replicas: bool = False
    """Without a spare, whether the job goes on with the replicas that are whole; otherwise it waits for a repair."""
    recovery: Recovery = "job"
    """What restarts after a failure: the whole job from a checkpoint, or the replica that failed, while the others
    stand for `replica_stall_s`, go on, and hand it their state when it is back (FT-HSDP, arXiv:2602.00277)."""
    replica_stall_s: float = 180.0
    """Three minutes near 100,000 GPUs (arXiv:2602.00277), where restarting the job takes ten."""
    gpu_wait_power_w: float | None = None
    """Power of a GPU during checkpoints, detection and restart; `None` for its idle power."""
    conditions: SiteConditions | None = None
    """What changes with the hour at the site; `None` where every hour is alike."""
    effective_time_ratio: float | None = None
    """Share of the time that trains what is kept, where it is known; what failures, checkpoints and standstills take
    is stretched or shrunk to it (`sim.campaign.stated`). Hours of less power come on top."""

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError("a campaign needs at least one phase.")
        if self.parameters < 1:
            raise InputError(f"parameters is {self.parameters}; at least 1 is needed.")
        if self.repair_crews is not None and self.repair_crews < 1:
            raise InputError(f"repair_crews is {self.repair_crews}; at least 1 is needed, or none for any number.")
        for key in (
            "spare_nodes",
            "hot_spare_nodes",
            "planned_maintenance_per_day",
            "maintenance_s",
            "replica_stall_s",
            "gpu_wait_power_w",
        ):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{key} is {value}; a finite number, 0 or more, is needed.")
        if self.effective_time_ratio is not None and not 0 < self.effective_time_ratio <= 1:
            raise InputError(f"effective_time_ratio is {self.effective_time_ratio}; above 0 up to 1 is needed.")
        if self.hot_spare_nodes > self.spare_nodes:
            raise InputError(
                f"hot_spare_nodes is {self.hot_spare_nodes}; they are among the {self.spare_nodes} spare nodes."
            )
        if not 1 <= self.replicas <= self.cluster.gpus:
            raise InputError(f"replicas is {self.replicas}; 1 to {self.cluster.gpus:,}, the GPUs, is allowed.")
        if self.replicas == 1 and (self.recovery == "replica" or self.fewer_replicas):
            raise InputError("replicas is 1; going on without a replica needs at least 2.")
        _refuse_endless(self)

    @cached_property
    def mtbf_s(self) -> float:
        """Mean time between unexpected interruptions."""
        return self.reliability.mtbf_s(self.cluster)

    @cached_property
    def restart_s(self) -> float:
        """Duration of one cold restart."""
        return self.reliability.restart_s(self.cluster.gpus)

    @cached_property
    def warm_restart_s(self) -> float:
        """Duration of one warm restart: no node changes, or hot spares take the places."""
        return self.reliability.restart_s(self.cluster.gpus, warm=True)

    @cached_property
    def replica_restart_s(self) -> float:
        """Duration of the cold restart of one replica alone, as of a job of its size."""
        return self.reliability.restart_s(math.ceil(self.cluster.gpus / self.replicas))

    @cached_property
    def state_parts_w(self) -> tuple[tuple[float, ...], ...]:
        """Watts at the meter by power state (`Campaign.state_names`) and part (`sim.site.energy.PARTS`)."""
        idle_w = self.cluster.gpu.idle_power_w
        wait_w = idle_w if self.gpu_wait_power_w is None else self.gpu_wait_power_w
        busy = [(phase.gpu_power_w, True) for phase in self.phases]
        states = [*busy, (wait_w, True), (wait_w, False), (idle_w, False)]
        parts = [self.site.parts_w(self.cluster, w, busy=on, spare_nodes=self.spare_nodes) for w, on in states]
        return tuple(tuple(part.by_part().values()) for part in parts)

    def restart_after_s(self, cause: FailureCause) -> float:
        """Duration of the restart after a failure, all spares being there."""
        return self.warm_restart_s if cause.nodes_lost <= self.hot_spare_nodes else self.restart_s

    @cached_property
    def mean_down_s(self) -> float:
        """Mean time from a failure to the first new step, waiting for repair not counted."""
        return self.reliability.mean(self.down_s)

    def down_s(self, cause: FailureCause) -> float:
        """Time from a failure to the first new step, waiting for repair not counted."""
        found_s = cause.detection_s + (cause.drain_s if cause.nodes_lost else 0.0)
        return found_s + (self.replica_stall_s if self.recovery == "replica" else self.restart_after_s(cause))

    @cached_property
    def pause_share(self) -> float:
        """Pauses over training time."""
        return math.fsum(pause.pause_s / pause.every_s for pause in self.pauses)

    @cached_property
    def storage_failures_share(self) -> float:
        """Share of failures that copies in memory do not survive."""
        return self.reliability.mean(lambda cause: float(cause.nodes_lost >= self.checkpoints.copies))

    @cached_property
    def cadence(self) -> Cadence:
        """The rhythm of checkpoints."""
        longest_step_s = max(phase.step_time_s for phase in self.phases)
        lost = self.storage_failures_share
        found = self.checkpoints.cadence(
            self.cluster,
            self.parameters,
            self.mtbf_s,
            durable_mtbf_s=self.mtbf_s / lost if lost else math.inf,
            shortest_s=longest_step_s,
        )
        work_s = math.fsum(phase.training_s for phase in self.phases)
        return Cadence(
            interval_s=min(found.interval_s, work_s),
            cost_s=found.cost_s,
            lag_s=found.lag_s,
            every=found.every,
            durable_lag_s=found.durable_lag_s,
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of this setup before its results, one sentence each."""
        if self.recovery == "replica" or self.fewer_replicas or self.effective_time_ratio is not None:
            return ()
        lost_per_day = self.reliability.mean(lambda cause: float(cause.nodes_lost)) * DAY_S / self.mtbf_s
        away = self.reliability.nodes_in_repair(self.cluster)
        crews, fail = self.repair_crews, _failing(lost_per_day)
        others = min(self.replicas, self.cluster.nodes) > 1  # a node that fails leaves a replica elsewhere whole
        fewer = " or let the job run on fewer replicas" if others else ""
        if lost_per_day and not self.spare_nodes:
            repair_s = max(cause.repair_s for cause in self.reliability.causes)
            return (
                f"There are no spare nodes: {fail}, and the job stands up to {duration(repair_s)} for each until it "
                f"is repaired; keep {max(enough_spares(away), 1)} spare_nodes{fewer}",
            )
        if crews is not None and away > crews:
            return (
                f"The repair crews cannot keep up: {fail}, and {crews} of them mend "
                f"{significant(lost_per_day * crews / away, 2)} a day, so the job stands and waits once the "
                f"{self.spare_nodes} spare nodes are gone; take more repair_crews{fewer}",
            )
        short = above_poisson(self.spare_nodes, away)
        if short > SHORT_SHARE:
            return (
                f"There are too few spare nodes: {fail}, and {significant(away, 2)} are under repair on average, "
                f"more than the {self.spare_nodes} there are for {short:.0%} of the time; the job stands and waits "
                f"then; keep {enough_spares(away)} spare_nodes{fewer}",
            )
        return ()


def _failing(nodes_per_day: float) -> str:
    """How often nodes fail, as people say it."""
    if 0 < nodes_per_day < 1:
        return f"a node fails about every {duration(DAY_S / nodes_per_day)}"
    return f"about {significant(nodes_per_day, 2)} nodes a day fail"


def enough_spares(away: float) -> int:
    """The fewest spare nodes that are seldom too few, `away` being under repair on average."""
    counts = range(math.floor(away), math.ceil(away + poisson_reach(away)) + 1)
    return counts[bisect_left(counts, -SHORT_SHARE, key=lambda n: -above_poisson(n, away))]


def _refuse_endless(setup: CampaignSetup) -> None:
    """Raise `InputError` where failures come faster than the run can recover from them."""
    mtbf_s, down_s = setup.mtbf_s, setup.mean_down_s
    run = f"this run on {setup.cluster.gpus:,} GPUs never finishes"
    often = f"it is interrupted every {duration(mtbf_s)} on average"
    whole = setup.recovery == "job"
    if whole and mtbf_s <= down_s:
        raise InputError(
            f"{run}: {often}, and each time needs {duration(down_s)} to detect the failure and restart all GPUs; "
            "use fewer or more reliable GPUs, a faster restart (restart_s, hot_spare_nodes) or recovery by replica."
        )
    if whole and renewal_ettr(setup) < LEAST_SHARE:
        raise InputError(
            f"{run}: {often}, too often for checkpoints every {duration(setup.cadence.interval_s)} that hold up "
            f"training for {duration(setup.cadence.cost_s)}; checkpoint more often or faster, or keep copies in "
            "memory."
        )
    if whole and stored_share(setup) < LEAST_SHARE:
        raise InputError(
            f"{run}: every {duration(setup.mtbf_s / setup.storage_failures_share)} on average a failure takes "
            f"all {setup.checkpoints.copies} copies in memory, and nothing is on storage but at planned "
            "maintenance; take multi_level checkpoints or more copies."
        )
    if not whole and expected_replica_ettr(setup) < LEAST_SHARE:
        raise InputError(
            f"{run}: {often}, and each time all replicas stand for {duration(down_s)} or wait for the one that "
            "failed; detect failures sooner, or shorten replica_stall_s and the restart."
        )
    planned_s = setup.planned_maintenance_per_day * (setup.maintenance_s + setup.restart_s)
    if planned_s >= DAY_S:
        raise InputError(
            f"{run}: {setup.planned_maintenance_per_day:g} planned interruptions a day take {duration(planned_s)}."
        )
