"""Only the replica that failed restarts: the others stand for a moment, train on, and take it back when it is ready.

As in FT-HSDP (arXiv:2602.00277). Nothing is rolled back, for the replicas that are left hold the state; checkpoints
go on and hold up training evenly.
"""

import math
from heapq import heappop, heappush

from sim.campaign.ordinary_stalls import OrdinaryStalls
from sim.campaign.run import Run, Stop
from sim.campaign.setup import CampaignSetup


class ReplicaJob(Run):
    """A job that trains with the replicas there are.

    Failures strike the replicas that train. Those during a stall extend it, those during planned maintenance are
    found at its end.
    """

    def __init__(self, setup: CampaignSetup, seed: int) -> None:
        super().__init__(setup, seed)
        self.replicas = setup.replicas
        self.per_node = setup.replicas / setup.cluster.nodes
        self.restart_s = setup.replica_restart_s
        self.warm_s = self.restart_s * setup.reliability.warm_restart_share
        self.away = 0
        """Replicas that do not train."""
        self.back: list[tuple[float, int]] = []
        """When replicas are ready again, and how many: a heap."""
        self.short: list[list[int]] = []
        """Replicas without spares: nodes they lack and how many they are, the first first."""
        self.steady = (1 - self.cadence.held_share) / (1 + setup.pause_share)

    def _work(self) -> None:
        ordinary = OrdinaryStalls(self, self.steady)
        while self.done_s < self.work_s:
            ordinary.take()
            while self.away == self.replicas:
                self._wait()
            share = self._share()
            speed = share * self.pace * self.steady
            end_s = self.now_s + (self.work_s - self.done_s) / speed
            at_s = min(self.failures.next_s, self.planned_at_s, self.stragglers.next_s, self.found_s, end_s)
            at_s = max(at_s, self.now_s)
            if self.short:
                self._meet(at_s)
            back = bool(self.back) and self.back[0][0] <= at_s
            at_s = max(self.back[0][0], self.now_s) if back else at_s
            done = not back and at_s == end_s
            done_s = self.work_s if done else self.done_s + (at_s - self.now_s) * speed
            self.ledger.train(self.now_s, at_s, self.done_s, done_s, share, self.pace, kept=True)
            self.now_s, self.done_s = at_s, done_s
            if back:
                self.away -= heappop(self.back)[1]
            elif not done:
                self._happen()

    def _share(self) -> float:
        return 1 - self.away / self.replicas

    def _wait(self) -> None:
        """No replica is left: wait for the first to be ready again."""
        while not self.back:
            self._repaired(self.shop.next_good())
        back_s, count = heappop(self.back)
        back_s = max(back_s, self.now_s)
        self._stand(back_s - self.now_s)
        self.ledger.down(self.now_s, back_s, "waiting_for_repair", self.done_s)
        self.now_s = back_s
        self.away -= count

    def _happen(self) -> None:
        """What is due now: a failure, planned maintenance, a node that turns slow or is found to be."""
        if self.failures.next_s <= self.now_s:
            self._fail()
        elif self.planned_at_s <= self.now_s:
            self._plan()
        elif self.stragglers.next_s <= self.now_s:
            self._turn_slow()
        else:
            for node in self._take_found():
                stop = self._new_stop(node.cause)
                stop.nodes_lost = 1
                self._stall([(stop, node.repair_s)])

    def _struck(self) -> tuple[Stop, float] | None:
        """Take the failure that strikes next, with its repair time; none where the node is not in service."""
        self.now_s = self.failures.next_s
        failure = self.failures.take()
        if failure.lemon < 0 and failure.mark >= self._share():
            return None
        cause = self.causes[failure.cause]
        stop = self._new_stop(failure.cause)
        stop.nodes_lost, stop.silent = min(cause.nodes_lost, self.setup.cluster.nodes), cause.silent
        stop.detection_s, stop.drain_s = cause.detection_s, cause.drain_s
        return stop, failure.repair * cause.repair_s

    def _fail(self) -> None:
        struck = self._struck()
        if struck:
            self._stall([struck])

    def _stall(self, struck: list[tuple[Stop, float]]) -> None:
        """All replicas stand until the last failure is found and cut off; failures meanwhile extend it."""
        stall_s, (stop, _) = self.setup.replica_stall_s, struck[0]
        self._down(stop.detection_s, "lost_work" if stop.silent else "detection")
        self._down(stop.drain_s, "drain")
        begun_s, end_s = self.now_s, self.now_s + stall_s
        stop.restart_s = stall_s
        if stop.silent:
            stop.lost_s, stop.detection_s = stop.detection_s, 0.0
        while self.failures.next_s < end_s:
            another = self._struck()
            if another:
                more = another[0]
                until_s = max(end_s, more.time_s + more.detection_s + more.drain_s + stall_s)
                more.detection_s = more.drain_s = 0.0
                more.restart_s, end_s = until_s - end_s, until_s
                struck.append(another)
        self.now_s = end_s
        self.ledger.down(begun_s, end_s, "restart", self.done_s)
        self._meet(self.now_s)
        for stop, repair_s in struck:
            self._leave(stop, repair_s)
        for stop, _ in struck:
            self._close(stop, self._share())

    def _down(self, seconds: float, activity: str) -> None:
        self.ledger.down(self.now_s, self.now_s + seconds, activity, self.done_s)
        self.now_s += seconds

    def hit_by(self, nodes: int) -> int:
        """Replicas that lose a node when so many fail at one stroke: neighbours, and at least one."""
        return max(math.ceil(nodes * self.per_node - 1e-9), 1)

    def _leave(self, stop: Stop, repair_s: float) -> None:
        """The replicas hit leave the job, take spares and restart."""
        hit = min(self.hit_by(stop.nodes_lost), self.replicas - self.away)
        self.away += hit
        for _ in range(stop.nodes_lost):
            self.shop.send(self.now_s, repair_s)
        taken = min(self.spares, stop.nodes_lost)
        self.spares -= taken
        stop.warm = stop.nodes_lost <= self.setup.hot_spare_nodes
        if taken < stop.nodes_lost:
            self.short.append([stop.nodes_lost - taken, hit])
        else:
            heappush(self.back, (self.now_s + (self.warm_s if stop.warm else self.restart_s), hit))

    def _repaired(self, at_s: float) -> None:
        if not self.short:
            super()._repaired(at_s)
            return
        self.short[0][0] -= 1
        if not self.short[0][0]:
            heappush(self.back, (at_s + self.restart_s, self.short.pop(0)[1]))

    def _plan(self) -> None:
        """Planned maintenance of the whole job; failures meanwhile are found at its end."""
        stop = self._new_stop(self.planned_code)
        self._maintain(stop)
        stop.restart_s = self.setup.restart_s
        self._down(stop.maintenance_s, "maintenance")
        self._down(stop.restart_s, "restart")
        self._close(stop, self._share())
        end_s, struck = self.now_s, []
        while self.failures.next_s < end_s:
            found = self._struck()
            if found:
                found[0].detection_s = found[0].drain_s = 0.0
                struck.append(found)
        self.now_s = end_s
        self._meet(self.now_s)
        for late, repair_s in struck:
            self._leave(late, repair_s)
            self._close(late, self._share())
