"""What every run has, whatever restarts after a failure: a clock, failures, spares and the repair shop."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from profiler.files import InputError
from profiler.units import DAY_S
from sim.campaign.failures import FailureProcess, StragglerProcess
from sim.campaign.ledger import Ledger
from sim.campaign.record import PLANNED, REJOIN, Campaign
from sim.campaign.repair_shop import RepairShop
from sim.campaign.setup import CampaignSetup

MAX_INTERRUPTIONS = 1_000_000
"""A simulation that passes it is given up."""


@dataclass(slots=True)
class Stop:
    """An interruption while it happens; fields as in `Interruption`."""

    time_s: float
    cause: int
    lost_s: float = 0.0
    detection_s: float = 0.0
    drain_s: float = 0.0
    maintenance_s: float = 0.0
    wait_s: float = 0.0
    restart_s: float = 0.0
    nodes_lost: int = 0
    warm: bool = False
    silent: bool = False


@dataclass(slots=True)
class Slow:
    """A node that slows the job down and is not found yet."""

    found_s: float
    slowdown: float
    repair_s: float
    cause: int


class Run(ABC):
    """One run on one cluster.

    Its clock, `now_s`, jumps from interruption to interruption by arithmetic; the repair shop's follows wherever
    spares are counted.
    """

    def __init__(self, setup: CampaignSetup, seed: int) -> None:
        self.setup, self.seed = setup, seed
        self.spares = setup.spare_nodes
        self.shop = RepairShop(setup.repair_crews)
        self.causes = setup.reliability.causes
        rate_nodes = setup.cluster.gpus / setup.reliability.gpus_per_node
        self.failures = FailureProcess(setup.reliability, setup.mtbf_s, seed, nodes=setup.cluster.nodes)
        self.stragglers = StragglerProcess(setup.reliability.stragglers, rate_nodes, seed)
        self.slow: list[Slow] = []
        self.found_s = math.inf
        """When the first of the slow nodes is found."""
        self.pace = 1.0
        """Speed that slow nodes leave to the job."""
        per_day = setup.planned_maintenance_per_day
        self.planned_every_s = DAY_S / per_day if per_day else math.inf
        self.planned_at_s = self.planned_every_s
        self.cadence = setup.cadence
        self.ledger = Ledger(setup)
        self.work_s = self.ledger.work_s
        self.now_s = self.done_s = 0.0
        self.planned_code = self.ledger.causes.index(PLANNED)
        self.rejoin_code = self.ledger.causes.index(REJOIN)
        self.count = 0

    def finished(self) -> Campaign:
        """The campaign, run to its last token."""
        self._work()
        return self.ledger.campaign(self.seed)

    @abstractmethod
    def _work(self) -> None:
        """Train, fail and recover until the last token is done."""

    @property
    def room(self) -> int:
        """Interruptions left before the run is given up."""
        return MAX_INTERRUPTIONS - self.count

    def _new_stop(self, cause: int) -> Stop:
        self.count += 1
        if self.count > MAX_INTERRUPTIONS:
            raise InputError(
                f"this run was given up after {MAX_INTERRUPTIONS:,} interruptions with "
                f"{self.done_s / self.work_s:.1%} of its tokens trained; it needs fewer GPUs, more reliable ones, or "
                "more spares."
            )
        return Stop(self.now_s, cause)

    def _close(self, stop: Stop, replicas: float) -> None:
        """The stop is over; write it down."""
        self.ledger.stops += (
            stop.time_s,
            stop.cause,
            stop.lost_s,
            stop.detection_s,
            stop.drain_s,
            stop.maintenance_s,
            stop.wait_s,
            stop.restart_s,
            stop.nodes_lost,
            self.spares,
            replicas,
            stop.warm,
        )

    def _meet(self, until_s: float) -> None:
        """Take back what was repaired until then."""
        for at_s in self.shop.good_by(until_s):
            self._repaired(at_s)

    def _repaired(self, _: float) -> None:
        """A node is good again."""
        self.spares += 1

    def _turn_slow(self) -> None:
        """A node begins to hold up the job."""
        at_s, kind = self.stragglers.next_s, self.stragglers.take()
        code = len(self.causes) + self.setup.reliability.stragglers.index(kind)
        self.slow.append(Slow(at_s + kind.found_after_s, kind.slowdown, kind.repair_s, code))
        self._set_pace()

    def _take_found(self) -> list[Slow]:
        """The slow nodes that are found by now; they leave the job."""
        if self.found_s > self.now_s:
            return []
        found = [node for node in self.slow if node.found_s <= self.now_s]
        self.slow = [node for node in self.slow if node.found_s > self.now_s]
        self._set_pace()
        return found

    def _stand(self, seconds: float) -> None:
        """No node works for so long: none fails, turns slow or is found to be."""
        self.failures.stop_clock(seconds)
        self.stragglers.next_s += seconds
        for node in self.slow:
            node.found_s += seconds
        self.found_s += seconds

    def _set_pace(self) -> None:
        self.pace = 1 - max((node.slowdown for node in self.slow), default=0.0)
        self.found_s = min((node.found_s for node in self.slow), default=math.inf)

    def _maintain(self, stop: Stop) -> None:
        """Do the maintenance that is due; what was missed meanwhile is not made up for."""
        stop.maintenance_s = self.setup.maintenance_s
        missed = math.floor((self.now_s + stop.maintenance_s - self.planned_at_s) / self.planned_every_s)
        self.planned_at_s += (max(missed, 0) + 1) * self.planned_every_s
