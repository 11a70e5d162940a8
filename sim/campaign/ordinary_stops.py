"""Ordinary interruptions of a job that restarts as a whole."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.campaign.failures import memory_copy_lost
from sim.campaign.ordinary import Ints, Ordinary, Spares, Struck, down_rows, fill, first_true
from sim.campaign.record import LOST, STOPS, TRAINING, Floats

if TYPE_CHECKING:
    from sim.campaign.job import Job


_SPANS = [0, 1, 5, 6]
"""Columns of the books for when a row begins and ends, and the work done then."""


class _Stops(NamedTuple):
    """Stops of the job, one after the other; failures that strike while one is found and drained belong to it."""

    at: Ints
    """Which failure each begins with."""
    begins: NDArray[np.bool_]
    """Whether it strikes in training; otherwise in the restart before it."""
    end_s: Floats
    """When the restart ends, or is struck."""
    needed: Ints
    """Nodes to be replaced."""
    of: Ints
    """Which stop each of the failures belongs to."""


class _Stretches(NamedTuple):
    """Training up to each stop that strikes it: what of it is on storage, what is safe, what was reached."""

    start_s: Floats
    stored_at_s: Floats
    kept_at_s: Floats
    stored_s: Floats
    """Training, as the next."""
    reached_s: Floats
    work_s: Floats
    """Work done before each, and after the last."""


class OrdinaryStops(Ordinary):
    """Outages of the whole job, many at a time: failures in training, detection, drain and restart."""

    _run: "Job"

    def _possible(self) -> bool:
        return not self._run.missing

    def _take(self, struck: Struck) -> None:
        job = self._run
        stops = self._stops(struck)
        count = self._ordinary(struck, stops)
        if not count:
            return
        known = int(stops.at[count])
        struck, of = struck.first(known), stops.of[:known]
        stops = _Stops(stops.at[:count], stops.begins[:count], stops.end_s[:count], stops.needed[:count], of)
        needing = stops.needed > 0
        spares = self._replaced(struck, stops)
        # stops without a loss do not look whether nodes came back
        left = np.append(job.spares, spares.left)
        after, before = left[np.cumsum(needing)], left[np.cumsum(needing) - needing]
        done = self._stretches(struck.of(stops.at[stops.begins]), stops)
        rows, stored = self._rows(struck, stops, done)
        job.ledger.extend(rows, self._records(struck, stops, done, after, before), stored)
        self._settle(spares)
        if done.stored_s.any():
            last = int(np.flatnonzero(done.stored_s)[-1])
            job.stored_s = float(done.work_s[last] + done.stored_s[last] * self._now_speed)
        job.count += known
        job.failures.skip(known)
        job.now_s, job.done_s = float(stops.end_s[-1]), float(done.work_s[-1])

    def _stops(self, struck: Struck) -> _Stops:
        """The stops as they are if all are ordinary."""
        job, time_s, count = self._run, struck.time_s, len(struck.time_s)
        drained_s = struck.drained_s
        # of those that strike while one is found and drained none begins a stop
        following = np.maximum(np.searchsorted(time_s, drained_s), np.arange(1, count + 1)).tolist()
        chain, at = [], 0
        while at < count:
            chain.append(at)
            at = following[at]
        heads = np.array(chain)
        needed = np.add.reduceat(struck.nodes, heads)
        ready_s = drained_s[heads] + np.where(needed <= job.hot, job.warm_s, job.cold_s)
        next_s = np.append(time_s[heads[1:]], np.inf)
        trains = next_s >= ready_s
        of = np.repeat(np.arange(len(heads)), np.diff(np.append(heads, count)))
        return _Stops(heads, np.append(True, trains[:-1]), np.minimum(ready_s, next_s), needed, of)

    def _ordinary(self, struck: Struck, stops: _Stops) -> int:
        """How many of the stops are ordinary; they end with the job training."""
        short = self._replaced(struck, stops).left < 0
        needing = np.flatnonzero(stops.needed)
        first = int(needing[first_true(short)]) if short.any() else len(stops.at)
        first = min(first, self._copies_gone(struck, stops), len(stops.at) - 1)
        # back to the last one that begins an outage: what is not ordinary begins with it
        return first - first_true(stops.begins[first::-1])

    def _replaced(self, struck: Struck, stops: _Stops) -> Spares:
        """The spares after each stop that needs some."""
        needing = stops.needed > 0
        loses = np.flatnonzero(needing[stops.of])
        group = (np.cumsum(needing) - 1)[stops.of[loses]]
        return self._spares(struck.drained_s[stops.at[needing]], group, struck.of(loses))

    def _copies_gone(self, struck: Struck, stops: _Stops) -> int:
        """The first stop with a failure that takes all copies in memory of a share; their number where none does."""
        job, copies = self._run, self._run.copies
        if not job.memory:
            return len(stops.at)
        lost = np.cumsum(struck.nodes) - struck.nodes
        outage = np.cumsum(stops.begins)[stops.of] - 1
        before = lost - lost[stops.at[stops.begins]][outage]
        for i in np.flatnonzero((struck.nodes >= copies) | (struck.nodes > 0) & (before >= copies - 1)).tolist():
            cause, mark = job.causes[struck.cause[i]], float(struck.mark[i])
            if memory_copy_lost(cause, copies, job.nodes, int(before[i]), mark):
                return int(stops.of[i])
        return len(stops.at)

    def _stretches(self, fails: Struck, stops: _Stops) -> _Stretches:
        """The training that each of these failures strikes: `sim.campaign.checkpoints.Cadence` over arrays."""
        job, cadence, cycle_s = self._run, self._run.cadence, self._run.cadence.cycle_s
        ready_s = stops.end_s[np.append(stops.begins[1:], True)]
        start_s = np.append(job.now_s, ready_s[:-1])
        elapsed_s = fails.time_s - start_s
        kept = _cycles(elapsed_s - cadence.lag_s, cycle_s)
        written = _cycles(elapsed_s - cadence.stored_lag_s, cycle_s)
        stored = self._stored(kept, written) if job.memory else np.zeros_like(kept)
        cycles = _cycles(elapsed_s, cycle_s)
        within_s = np.maximum(elapsed_s - cycles * cycle_s, 0.0)
        reached_s = cycles * cadence.interval_s + np.minimum(within_s, cadence.interval_s)
        kept_s, stored_s = kept * cadence.interval_s, stored * cadence.interval_s
        return _Stretches(
            start_s=start_s,
            stored_at_s=np.minimum(start_s + stored * cycle_s, fails.time_s),
            kept_at_s=np.minimum(start_s + kept * cycle_s, fails.time_s),
            stored_s=stored_s,
            reached_s=np.maximum(reached_s, kept_s),
            work_s=np.cumsum(np.append(job.done_s, kept_s * self._now_speed)),
        )

    def _stored(self, kept: Floats, written: Floats) -> Floats:
        """Of the checkpoints kept, the last on storage, where every n-th goes; so many could be `written` by then.

        Counts on with those that the job took since one went there.
        """
        carried, every = self._run.carried, self._run.cadence.every
        stored = [0.0] * len(kept)
        if every:
            counts = (column.astype(np.int64).tolist() for column in (kept, written))
            for i, (safe, ready) in enumerate(zip(*counts, strict=True)):
                stored[i] = last = max((carried + ready) // every * every - carried, 0)
                carried = min(safe - last if last else carried + safe, every - 1)
            self._run.carried = carried
        return np.array(stored)

    def _rows(self, struck: Struck, stops: _Stops, done: _Stretches) -> tuple[Floats, int]:
        """The books' rows, and how many of them there are up to the last training that is on storage."""
        job, speed = self._run, self._now_speed
        base_s, kept_s = done.work_s[:-1], done.work_s[1:]
        stored_s, reached_s = base_s + done.stored_s * speed, base_s + done.reached_s * speed
        now_s = struck.time_s[stops.at[stops.begins]]
        train = np.empty((len(now_s), 3, 7))
        train[:, 0, _SPANS] = np.column_stack((done.start_s, done.stored_at_s, base_s, stored_s))
        train[:, 1, _SPANS] = np.column_stack((done.stored_at_s, done.kept_at_s, stored_s, kept_s))
        train[:, 2, _SPANS] = np.column_stack((done.kept_at_s, now_s, kept_s, reached_s))
        train[:, :, 2] = TRAINING, TRAINING, LOST
        train[:, :, 3], train[:, :, 4] = job.share, job.pace
        rows = np.zeros((len(stops.at), 6, 7))
        rows[stops.begins, :3] = train
        rows[:, 3:] = down_rows(struck.of(stops.at), stops.end_s, kept_s[np.cumsum(stops.begins) - 1])
        on_storage = np.zeros((len(stops.at), 6), dtype=np.bool_)
        on_storage[stops.begins, 0] = done.stored_s > 0
        there = rows[:, :, 1] > rows[:, :, 0]
        rows, on_storage = rows[there], on_storage[there]
        return rows, len(rows) - first_true(on_storage[::-1]) if job.memory else len(rows)

    def _records(self, struck: Struck, stops: _Stops, done: _Stretches, after: Ints, before: Ints) -> Floats:
        """The interruptions, `STOPS` of each failure; those found while the job is down cost nothing of their own."""
        head = struck.of(stops.at)
        vain_s = np.where(head.silent, head.detection_s, 0.0)
        lost_s = vain_s.copy()
        lost_s[stops.begins] += head.time_s[stops.begins] - done.kept_at_s
        found = {
            "time_s": struck.time_s,
            "cause": struck.cause,
            "nodes_lost": struck.nodes,
            "spares_left": before[stops.of],
        }
        whole = {
            "lost_s": lost_s,
            "detection_s": head.detection_s - vain_s,
            "drain_s": head.drain_s,
            "restart_s": stops.end_s - head.drained_s,
            "spares_left": after,
            "replicas": np.full(len(lost_s), self._run.share),
            "warm": stops.needed <= self._run.hot,
        }
        records = np.zeros((len(struck.time_s), len(STOPS)))
        fill(records, slice(None), found)
        fill(records, stops.at, whole)
        return records


def _cycles(elapsed_s: Floats, cycle_s: float) -> Floats:
    """Whole cycles in each of these times."""
    cycles: Floats = np.floor(np.maximum(elapsed_s / cycle_s, 0.0))
    return cycles
