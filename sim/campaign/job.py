"""The whole job restarts: it trains, saves itself, fails, goes back to the last checkpoint that the failure left."""

import math

from sim.campaign.failures import memory_copy_lost
from sim.campaign.ordinary_stops import OrdinaryStops
from sim.campaign.record import LOST, TRAINING
from sim.campaign.run import Run, Stop
from sim.campaign.setup import CampaignSetup


class Job(Run):
    """A job that trains until something stops it, recovers, trains on.

    Failures strike while nodes work: in training, checkpoints, detection, maintenance and restart, not while the job
    waits for a repair. One found while the job is down costs no detection of its own; one during a restart costs its
    own detection and the restart begins again.
    """

    def __init__(self, setup: CampaignSetup, seed: int) -> None:
        super().__init__(setup, seed)
        self.stored_s = 0.0
        """Work that is on storage; without copies in memory it is `done_s`."""
        self.carried = 0
        """Checkpoints taken since the last that went to storage."""
        self.memory = setup.checkpoints.in_memory
        self.copies = setup.checkpoints.copies
        self.nodes = setup.cluster.nodes
        self.hot = setup.hot_spare_nodes
        self.cold_s, self.warm_s = setup.restart_s, setup.warm_restart_s
        self.lost: list[float] = []
        """Repair times of nodes that left the job and were not sent to repair yet."""
        self.outage_nodes = 0
        """Nodes lost since the job trained last."""
        self.missing = 0
        """Nodes that the job does without."""
        self.share = 1.0
        """Of the data-parallel replicas, those that run."""
        self.rejoin_s = math.inf
        """When the job stops to take repaired nodes back."""
        self.unpaused = 1 / (1 + setup.pause_share)

    def _work(self) -> None:
        ordinary = OrdinaryStops(self, self.unpaused)
        while self.done_s < self.work_s:
            ordinary.take()
            self._train()

    def _train(self) -> None:
        """Train until the last token is safe or something stops the job; then recover."""
        self.start_s, self.outage_nodes = self.now_s, 0
        while self.stragglers.next_s <= self.now_s:
            self._turn_slow()
        self.pieces = [(0.0, self.done_s, self.share, self.pace)]
        while True:
            at_s, target_s, fails = self._ahead()
            if self.missing and self.rejoin_s == math.inf:
                until_s = min(at_s, self.stragglers.next_s)
                back_s = self._watch(until_s)
                if back_s < until_s:
                    self.rejoin_s = back_s
                    continue
            if at_s < self.stragglers.next_s:
                break
            trained_s = self.cadence.trained_s(self.stragglers.next_s - self.start_s)
            self._turn_slow()
            self.pieces.append((trained_s, self._work_at(trained_s), self.share, self.pace))
        stop: Stop | None = self._fail(target_s) if fails else self._save(at_s, target_s)
        while stop is not None:
            self._diagnose(stop)
            if self.lost or self.missing:
                self._replace_nodes(stop)
            else:
                stop.warm = stop.cause < self.planned_code
            stop = self._restart(stop)

    def _ahead(self) -> tuple[float, float, bool]:
        """When the next thing happens if no node turns slow: the training time aimed at, and whether it fails."""
        cadence, start_s, fail_s = self.cadence, self.start_s, self.failures.next_s
        from_s, work_s, share, pace = self.pieces[-1]
        target_s = from_s + (self.work_s - work_s) / (share * pace * self.unpaused)
        due_s = min(self.planned_at_s, self.found_s, self.rejoin_s)
        if fail_s < due_s and fail_s < start_s + target_s:
            return fail_s, target_s, True
        saved_s = start_s + cadence.saved_s(target_s)
        if due_s < saved_s:
            target_s = min(cadence.trained_s(max(due_s - start_s, 0.0)), target_s)
            saved_s = start_s + cadence.saved_s(target_s)
        return (fail_s, target_s, True) if fail_s < saved_s else (saved_s, target_s, False)

    def _watch(self, until_s: float) -> float:
        """When repaired nodes make up another replica, `until_s` at the latest."""
        for at_s in self.shop.good_by(until_s):
            self._repaired(at_s)
            if self._share_without(self.missing - self.spares) > self.share:
                return at_s
        return until_s

    def _work_at(self, trained_s: float) -> float:
        """Work done after so much training in this stretch."""
        for from_s, work_s, share, pace in reversed(self.pieces):
            if trained_s >= from_s:
                return work_s + (trained_s - from_s) * share * pace * self.unpaused
        raise AssertionError("the first piece begins at 0")

    def _write(self, from_s: float, to_s: float, start_s: float, end_s: float, *, kept: bool) -> None:
        """Write down training from one training time of this stretch to another, a row for each pace."""
        if len(self.pieces) == 1:
            _, base_s, share, pace = self.pieces[0]
            speed = share * pace * self.unpaused
            self.ledger.train(start_s, end_s, base_s + from_s * speed, base_s + to_s * speed, share, pace, kept=kept)
            return
        cadence, ends = self.cadence, [*(piece[0] for piece in self.pieces[1:]), math.inf]
        for (begin_s, _, share, pace), until_s in zip(self.pieces, ends, strict=True):
            if until_s <= from_s:
                continue
            last = until_s >= to_s
            piece_end_s = to_s if last else until_s
            time_s = end_s if last else self.start_s + until_s + int(until_s / cadence.interval_s) * cadence.cost_s
            time_s = min(max(time_s, start_s), end_s)
            works_s = self._work_at(max(from_s, begin_s)), self._work_at(piece_end_s)
            self.ledger.train(start_s, time_s, *works_s, share, pace, kept=kept)
            start_s = time_s
            if last:
                break

    def _save(self, at_s: float, target_s: float) -> Stop | None:
        """Stop with everything saved, for what is due or because all is done (None)."""
        self._write(0.0, target_s, self.start_s, at_s, kept=True)
        self.ledger.stored()
        self.carried = 0
        self.now_s, begun_s = at_s, self.done_s
        self.done_s = self.stored_s = self._work_at(target_s)
        if self.work_s - self.done_s <= 1e-12 * self.work_s and at_s > self.start_s:
            self.done_s = self.work_s
            return None
        assert self.done_s >= begun_s
        due_s = min(self.planned_at_s, self.found_s, self.rejoin_s)
        if due_s == self.planned_at_s:
            return self._new_stop(self.planned_code)
        if due_s == self.rejoin_s:
            return self._new_stop(self.rejoin_code)
        return self._new_stop(min(self.slow, key=lambda node: node.found_s).cause)

    def _fail(self, target_s: float) -> Stop:
        """A failure strikes in training: keep what is safe, lose the rest."""
        cadence, now_s = self.cadence, self.failures.next_s
        self.now_s, elapsed_s = now_s, now_s - self.start_s
        stop, memory_lost = self._struck()
        kept = cadence.safe_after(elapsed_s, target_s)
        reached_s = cadence.trained_s(elapsed_s)
        reached_s = reached_s if reached_s < target_s else target_s
        stored = 0
        if self.memory:
            stored = cadence.stored_after(elapsed_s, target_s, self.carried)
            kept = stored if memory_lost else kept
            # one that was taken but not written in time leaves its turn to the next
            self.carried = min(kept - stored if stored else self.carried + kept, max(cadence.every - 1, 0))
            if stored:
                self._keep(0, stored)
                self.ledger.stored()
                self.stored_s = self._work_at(stored * cadence.interval_s)
            elif memory_lost:
                stop.lost_s = self.ledger.undo()
                self.carried = 0
        kept_s, kept_at_s = kept * cadence.interval_s, self.start_s + kept * cadence.cycle_s
        kept_at_s = kept_at_s if kept_at_s < now_s else now_s
        reached_s = reached_s if reached_s > kept_s else kept_s
        stop.lost_s += now_s - kept_at_s
        if len(self.pieces) == 1 and not stored:  # almost always
            _, base_s, share, pace = self.pieces[0]
            speed = share * pace * self.unpaused
            self.done_s = base_s + kept_s * speed
            rows = self.ledger.rows
            if kept_s:
                rows += (self.start_s, kept_at_s, TRAINING, share, pace, base_s, self.done_s)
            if kept_at_s < now_s:
                rows += (kept_at_s, now_s, LOST, share, pace, self.done_s, base_s + reached_s * speed)
        else:
            self._keep(stored, kept)
            self._write(kept_s, reached_s, kept_at_s, now_s, kept=False)
            self.done_s = self._work_at(kept_s)
        if memory_lost and not kept:
            self.done_s = self.stored_s
        return stop

    def _keep(self, first: int, last: int) -> None:
        """Write down training from one checkpoint of this stretch to another."""
        if last > first:
            cadence = self.cadence
            times_s = (min(self.start_s + n * cadence.cycle_s, self.now_s) for n in (first, last))
            self._write(first * cadence.interval_s, last * cadence.interval_s, *times_s, kept=True)

    def _struck(self, *, detected: bool = False) -> tuple[Stop, bool]:
        """Take the failure that strikes now; says whether copies in memory are gone."""
        _, code, mark, repair, _ = self.failures.take()
        cause = self.causes[code]
        stop = self._new_stop(code)
        nodes, gone = cause.nodes_lost, False
        if nodes:
            if self.memory and (self.outage_nodes or nodes > 1 or self.copies == 1):
                gone = memory_copy_lost(cause, self.copies, self.nodes, self.outage_nodes, mark)
            stop.nodes_lost = nodes = nodes if nodes < self.nodes else self.nodes
            self.outage_nodes += nodes
            self.lost += [repair * cause.repair_s] * nodes
        if not detected:
            stop.detection_s, stop.drain_s, stop.silent = cause.detection_s, cause.drain_s, cause.silent
        return stop, gone

    def _diagnose(self, stop: Stop) -> None:
        """Find out what failed, drain it, and do the maintenance that is due."""
        if stop.silent:
            self._stay(stop.detection_s, "lost_work")
            stop.lost_s, stop.detection_s = stop.lost_s + stop.detection_s, 0.0
        elif stop.detection_s:
            self._stay(stop.detection_s, "detection")
        if self.found_s <= self.now_s:
            found = self._take_found()
            stop.nodes_lost += len(found)
            self.lost += [node.repair_s for node in found]
        if stop.drain_s:
            self._stay(stop.drain_s, "drain")
        if self.now_s >= self.planned_at_s:
            self._maintain(stop)
            self._stay(stop.maintenance_s, "maintenance")

    def _stay(self, seconds: float, activity: str) -> None:
        """Stay down; what fails meanwhile is found at the end."""
        start_s, end_s = self.now_s, self.now_s + seconds
        self.ledger.down(start_s, end_s, activity, self.done_s)
        while self.failures.next_s < end_s:
            self.now_s = self.failures.next_s
            stop, gone = self._struck(detected=True)
            self._forget(stop, gone)
            self._close(stop, 0.0)
        self.now_s = end_s

    def _forget(self, stop: Stop, gone: bool) -> None:
        """Copies in memory went with nodes that failed while the job was down: go back to storage."""
        if gone and self.stored_s < self.done_s:
            stop.lost_s += self.ledger.undo()
            self.done_s, self.carried = self.stored_s, 0

    def _replace_nodes(self, stop: Stop) -> None:
        """Send lost nodes to repair and take spares; without enough, go on with fewer replicas or wait."""
        start_s, needed = self.now_s, len(self.lost) + self.missing
        self.rejoin_s = math.inf
        self._meet(start_s)
        stop.warm = needed <= self.hot and needed <= self.spares and not self.missing
        stop.warm = stop.warm and stop.cause < self.planned_code
        for repair_s in self.lost:
            self.shop.send(start_s, repair_s)
        self.lost.clear()
        while self.spares < needed and not self._enough(needed):
            self.now_s = max(self.now_s, self.shop.next_good())
            self.spares += 1
        taken = needed if needed < self.spares else self.spares
        self.spares -= taken
        if self.missing or taken < needed:
            self.missing = needed - taken
            self.share = self._share_without(self.missing)
        if self.now_s > start_s:
            stop.wait_s = self.now_s - start_s
            self._stand(stop.wait_s)
            self.ledger.down(start_s, self.now_s, "waiting_for_repair", self.done_s)

    def _enough(self, needed: int) -> bool:
        """Whether the job can go on when so many nodes have to be replaced."""
        short = needed - self.spares
        return short <= 0 or (self.setup.fewer_replicas and self._share_without(short) > 0)

    def _share_without(self, nodes: int) -> float:
        """Share of the replicas that can be made up of the job's nodes without so many."""
        replicas = self.setup.replicas
        return math.floor(max(self.nodes - max(nodes, 0), 0) * replicas / self.nodes + 1e-9) / replicas

    def _restart(self, stop: Stop) -> Stop | None:
        """Restart; returns the failure that strikes meanwhile, if one does."""
        start_s = self.now_s
        end_s = start_s + (self.warm_s if stop.warm else self.cold_s)
        fails = self.failures.next_s < end_s
        self.now_s = self.failures.next_s if fails else end_s
        stop.restart_s = self.now_s - start_s
        self.ledger.down(start_s, self.now_s, "restart", self.done_s)
        self._close(stop, self.share)
        if not fails:
            return None
        struck, gone = self._struck()
        self._forget(struck, gone)
        return struck
