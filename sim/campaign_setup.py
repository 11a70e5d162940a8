"""What a campaign is asked to do, on what, and what theory expects of it."""

import math
from dataclasses import dataclass, field
from functools import cached_property

from profiler.files import InputError
from profiler.units import DAY_S, HOUR_S
from sim.checkpoints import Cadence, CheckpointPolicy
from sim.energy import SitePower
from sim.hardware import Cluster
from sim.reliability import Reliability

_LEAST_SHARE = 1e-3
"""A run that trains less than this share of its time is refused."""


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
class CampaignSetup:
    """Everything that a campaign depends on but chance.

    Raises:
        InputError: no phases, a count or time out of range, storage too slow for the checkpoint interval, or
        a run
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
    repair_crews: int | None = None
    """How many nodes can be under repair at once; `None` for any number."""
    planned_maintenance_per_day: float = 47 / 54
    """Planned interruptions: 47 in the 54 days of arXiv:2407.21783 Table 5."""
    maintenance_s: float = 600.0
    """Standstill of one planned interruption before its restart. Assumed: no duration is published."""
    gpu_wait_power_w: float | None = None
    """Power of a GPU during checkpoints, detection and restart; `None` for its idle power."""

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError("a campaign needs at least one phase.")
        if self.parameters < 1:
            raise InputError(f"parameters is {self.parameters}; at least 1 is needed.")
        if self.repair_crews is not None and self.repair_crews < 1:
            raise InputError(f"repair_crews is {self.repair_crews}; at least 1 is needed, or none for any number.")
        for key in ("spare_nodes", "planned_maintenance_per_day", "maintenance_s", "gpu_wait_power_w"):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{key} is {value}; a finite number, 0 or more, is needed.")
        _refuse_endless(self)

    @cached_property
    def mtbf_s(self) -> float:
        """Mean time between unexpected interruptions."""
        return self.reliability.mtbf_s(self.cluster)

    @cached_property
    def restart_s(self) -> float:
        """Duration of one restart."""
        return self.reliability.restart_s(self.cluster.gpus)

    @cached_property
    def cadence(self) -> Cadence:
        """The rhythm of checkpoints."""
        longest_step_s = max(phase.step_time_s for phase in self.phases)
        cadence = self.checkpoints.cadence(self.cluster, self.parameters, self.mtbf_s, shortest_s=longest_step_s)
        work_s = sum(phase.training_s for phase in self.phases)
        return Cadence(interval_s=min(cadence.interval_s, work_s), cost_s=cadence.cost_s, lag_s=cadence.lag_s)


def _refuse_endless(setup: CampaignSetup) -> None:
    """Raise `InputError` where failures come faster than the run can recover from them."""
    mtbf_s, restart_s = setup.mtbf_s, setup.restart_s
    down_s = restart_s + setup.reliability.mean_detection_s
    run = f"this run on {setup.cluster.gpus:,} GPUs never finishes"
    if mtbf_s <= down_s:
        raise InputError(
            f"{run}: it is interrupted every {mtbf_s / 60:.3g} min on average, and each time needs "
            f"{down_s / 60:.3g} min to detect the failure and restart; use fewer GPUs, more reliable "
            "ones or a faster restart."
        )
    if renewal_ettr(setup) < _LEAST_SHARE:
        raise InputError(
            f"{run}: it is interrupted every {mtbf_s / 60:.3g} min on average, too often for "
            f"checkpoints every {setup.cadence.interval_s / 60:.3g} min that take "
            f"{setup.cadence.cost_s / 60:.3g} min; checkpoint more often or faster."
        )
    planned_s = setup.planned_maintenance_per_day * (setup.maintenance_s + restart_s)
    if planned_s >= DAY_S:
        raise InputError(
            f"{run}: {setup.planned_maintenance_per_day:g} planned interruptions a day take "
            f"{planned_s / HOUR_S:.3g} h."
        )


def expected_ettr(setup: CampaignSetup) -> float:
    """Expected effective training time ratio, first order in the failure rate.

    arXiv:2410.21680: E[ETTR] = (1 − N r_f (u0 + Δt / 2)) / (1 + w / Δt), with N r_f the failure rate of the
    job, u0 the time to detect and restart, Δt the checkpoint interval and w what a checkpoint holds up.
    Where interruptions are planned the result is multiplied by the share of time that they leave. Waiting
    for spares is not in it. Never below 0.
    """
    cadence = setup.cadence
    u0_s = setup.restart_s + setup.reliability.mean_detection_s
    failing = 1 - (u0_s + cadence.interval_s / 2) / setup.mtbf_s
    planned = setup.planned_maintenance_per_day * (setup.maintenance_s + setup.restart_s) / DAY_S
    return max(failing, 0.0) / (1 + cadence.cost_s / cadence.interval_s) * (1 - planned)


def renewal_ettr(setup: CampaignSetup) -> float:
    """Exact ETTR of a long run with exponential failures that are detected at once, unplanned ones only.

    Daly (2006), doi:10.1016/j.future.2004.11.016, complete cost function: τ / (M e^(R/M) (e^((τ+δ)/M) − 1)).
    Detection is counted with the restart R, waiting for spares is not.
    """
    cadence, mtbf_s = setup.cadence, setup.mtbf_s
    if math.isinf(mtbf_s):
        return cadence.interval_s / cadence.cycle_s
    down = (setup.restart_s + setup.reliability.mean_detection_s) / mtbf_s
    cycle = min(cadence.cycle_s / mtbf_s, 500.0)
    return cadence.interval_s / mtbf_s * math.exp(-down) / math.expm1(cycle)
