"""Only the replica that failed restarts: the others stand for a moment, train on, and take it back when it is ready.

As in FT-HSDP (arXiv:2602.00277). Nothing is rolled back, for the replicas that are left hold the state; checkpoints
go on and hold up training evenly.
"""

import math
from heapq import heappop, heappush

from sim.campaign_run import Events, Run, Stop
from sim.campaign_setup import CampaignSetup


class ReplicaJob(Run):
    """One process that trains with the replicas there are.

    Failures strike at any time but during planned maintenance, when they are found at its end. Those during a stall
    extend it.
    """

    def __init__(self, setup: CampaignSetup, seed: int) -> None:
        super().__init__(setup, seed)
        self.replicas = setup.replicas
        self.per_node = setup.replicas / setup.cluster.nodes
        self.restart_s = setup.replica_restart_s
        self.away = 0
        """Replicas that do not train."""
        self.back: list[tuple[float, int]] = []
        """When replicas are ready again, and how many: a heap."""
        self.short: list[list[int]] = []
        """Replicas without spares: nodes they lack and how many they are, the first first."""
        self.steady = (1 - self.cadence.held_share) / (1 + setup.pause_share)

    def _work(self) -> Events:
        while self.done_s < self.work_s:
            share = max(1 - self.away / self.replicas, 0.0)
            speed = share * self.pace * self.steady
            end_s = self.now_s + (self.work_s - self.done_s) / speed if speed else math.inf
            at_s = min(self.failures.next_s, self.planned_at_s, self.stragglers.next_s, self.found_s, end_s)
            at_s = max(at_s, self.now_s)
            if self.short:
                yield self.env.timeout(max(at_s - self.env.now, 0.0))
            back = bool(self.back) and self.back[0][0] <= at_s
            at_s = max(self.back[0][0], self.now_s) if back else at_s
            self._advance(at_s, share, speed, done=not back and at_s == end_s)
            if back:
                self.away -= heappop(self.back)[1]
            elif at_s != end_s:
                yield from self._happen()

    def _advance(self, at_s: float, share: float, speed: float, *, done: bool) -> None:
        done_s = self.work_s if done else self.done_s + (at_s - self.now_s) * speed
        if share:
            self.ledger.train(self.now_s, at_s, self.done_s, done_s, share, self.pace, kept=True)
        else:
            self.ledger.down(self.now_s, at_s, "waiting_for_repair", self.done_s)
        self.now_s, self.done_s = at_s, done_s

    def _happen(self) -> Events:
        """What is due now: a failure, planned maintenance, a node that turns slow or is found to be."""
        if self.failures.next_s <= self.now_s:
            yield from self._fail()
        elif self.planned_at_s <= self.now_s:
            yield from self._plan()
        elif self.stragglers.next_s <= self.now_s:
            self._turn_slow()
        else:
            for node in self._take_found():
                stop = self._new_stop(node.cause)
                stop.nodes_lost = 1
                yield from self._stall([(stop, node.repair_s)])

    def _struck(self) -> tuple[Stop, float]:
        """Take the failure that strikes next; with its repair time."""
        self.now_s = self.failures.next_s
        failure = self.failures.take()
        cause = self.causes[failure.cause]
        stop = self._new_stop(failure.cause)
        stop.nodes_lost, stop.silent = min(cause.nodes_lost, self.setup.cluster.nodes), cause.silent
        stop.detection_s, stop.drain_s = cause.detection_s, cause.drain_s
        return stop, failure.repair * cause.repair_s

    def _fail(self) -> Events:
        yield from self._stall([self._struck()])

    def _stall(self, struck: list[tuple[Stop, float]]) -> Events:
        """All replicas stand until the last failure is found and cut off; failures meanwhile extend it."""
        stall_s, (stop, _) = self.setup.replica_stall_s, struck[0]
        self._down(stop.detection_s, "lost_work" if stop.silent else "detection")
        self._down(stop.drain_s, "drain")
        begun_s, end_s = self.now_s, self.now_s + stall_s
        stop.restart_s = stall_s
        if stop.silent:
            stop.lost_s, stop.detection_s = stop.detection_s, 0.0
        while self.failures.next_s < end_s:
            more, repair_s = self._struck()
            until_s = max(end_s, more.time_s + more.detection_s + more.drain_s + stall_s)
            more.detection_s = more.drain_s = 0.0
            more.restart_s, end_s = until_s - end_s, until_s
            struck.append((more, repair_s))
        self.now_s = end_s
        self.ledger.down(begun_s, end_s, "restart", self.done_s)
        yield from self._meet()
        for stop, repair_s in struck:
            self._leave(stop, repair_s)
        share = max(1 - self.away / self.replicas, 0.0)
        for stop, _ in struck:
            self._close(stop, share)

    def _down(self, seconds: float, activity: str) -> None:
        self.ledger.down(self.now_s, self.now_s + seconds, activity, self.done_s)
        self.now_s += seconds

    def _leave(self, stop: Stop, repair_s: float) -> None:
        """The replicas hit leave the job, take spares and restart."""
        hit = max(math.ceil(stop.nodes_lost * self.per_node - 1e-9), 1)
        hit = min(hit, max(self.replicas - self.away, 1))
        self.away += hit
        for _ in range(stop.nodes_lost):
            self._send_to_repair(repair_s)
        taken = min(self.spares, stop.nodes_lost)
        self.spares -= taken
        stop.warm = stop.nodes_lost <= self.setup.hot_spare_nodes
        if taken < stop.nodes_lost:
            self.short.append([stop.nodes_lost - taken, hit])
        else:
            seconds = self.restart_s * (self.setup.reliability.warm_restart_share if stop.warm else 1.0)
            heappush(self.back, (self.now_s + seconds, hit))

    def _repaired(self, _: object = None) -> None:
        if not self.short:
            super()._repaired()
            return
        self.short[0][0] -= 1
        if not self.short[0][0]:
            heappush(self.back, (self.env.now + self.restart_s, self.short.pop(0)[1]))

    def _plan(self) -> Events:
        """Planned maintenance of the whole job; failures meanwhile are found at its end."""
        stop = self._new_stop(self.planned_code)
        self._maintain(stop)
        stop.restart_s = self.setup.restart_s
        self._down(stop.maintenance_s, "maintenance")
        self._down(stop.restart_s, "restart")
        self._close(stop, max(1 - self.away / self.replicas, 0.0))
        end_s, struck = self.now_s, []
        while self.failures.next_s < end_s:
            found, repair_s = self._struck()
            found.detection_s = found.drain_s = 0.0
            struck.append((found, repair_s))
        self.now_s = end_s
        yield from self._meet()
        for found, repair_s in struck:
            self._leave(found, repair_s)
            self._close(found, max(1 - self.away / self.replicas, 0.0))
