"""Ordinary interruptions of a job of which only the replica that failed restarts."""

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.campaign.ordinary import Ints, Ordinary, Spares, Struck, down_rows, fill, first_true
from sim.campaign.record import STOPS, TRAINING, Floats

if TYPE_CHECKING:
    from sim.campaign.replica_job import ReplicaJob

_GUESSES = 8
"""How often it is guessed anew which failures strike replicas that are away."""


class _Stalls(NamedTuple):
    """Times that all replicas stand: a failure and those that strike until they go on."""

    at: Ints
    """Which failure each begins with."""
    of: Ints
    """Which stall each failure belongs to."""
    start_s: Floats
    end_s: Floats
    longer_s: Floats
    """What each failure adds to its stall's restart."""
    away: Ints
    """Replicas that do not train when each begins."""
    gone: Ints
    """Replicas that left before each and, at the end, all that did: those away at the block's start included."""
    back_s: Floats
    """When replicas are ready again, in order."""
    returned: Ints
    """How many replicas are after so many of `back_s`."""

    def away_at(self, time_s: Floats, stall: Ints, side: Literal["left", "right"] = "right") -> Ints:
        """Replicas that do not train at moments of training before each of these stalls.

        One that is back at that very moment trains, or with `side` "left" does not.
        """
        away: Ints = self.gone[stall] - self.returned[np.searchsorted(self.back_s, time_s, side=side)]
        return away


class OrdinaryStalls(Ordinary):
    """Stalls of all replicas, many at a time."""

    _run: "ReplicaJob"

    def __init__(self, run: "ReplicaJob", speed: float) -> None:
        super().__init__(run, speed)
        self._hits = np.array([run.hit_by(int(nodes)) for nodes in self._nodes], dtype=np.int64)

    def _possible(self) -> bool:
        return not self._run.short and self._run.away < self._run.replicas

    def _take(self, struck: Struck) -> None:
        job = self._run
        strikes = self._striking(struck)
        if not strikes.any():
            return
        hitting = struck.of(np.flatnonzero(strikes))
        stalls = self._stalls(hitting)
        spares = self._spares(stalls.end_s, stalls.of, hitting)
        full = (spares.left < 0) | (stalls.away + np.diff(stalls.gone) >= job.replicas)
        # a stall is known to its end where a failure comes after it
        full |= stalls.end_s > struck.time_s[len(strikes) - 1]
        count = first_true(full)
        if count:
            end_s = float(stalls.end_s[count - 1])
            last = int(np.flatnonzero(strikes)[np.searchsorted(stalls.of, count) - 1])
            known = max(int(np.searchsorted(struck.time_s[: len(strikes)], end_s)), last + 1)
            self._happen(struck.first(known), strikes[:known], end_s)

    def _happen(self, struck: Struck, strikes: NDArray[np.bool_], end_s: float) -> None:
        """All these are ordinary: write them down, and leave the job as it is after them."""
        job = self._run
        hitting = struck.of(np.flatnonzero(strikes))
        stalls = self._stalls(hitting)
        spares = self._spares(stalls.end_s, stalls.of, hitting)
        rows, done_s = self._rows(struck.time_s[~strikes], hitting, stalls)
        job.ledger.extend(rows, self._records(hitting, stalls, spares), len(rows))
        self._settle(spares)
        job.count += len(hitting.time_s)
        job.failures.skip(len(struck.time_s))
        job.now_s, job.done_s = end_s, done_s
        still = stalls.back_s >= stalls.start_s[-1]
        returns = zip(stalls.back_s[still].tolist(), np.diff(stalls.returned)[still].tolist(), strict=True)
        job.back, job.away = list(returns), int(stalls.away[-1] + stalls.gone[-1] - stalls.gone[-2])

    def _striking(self, struck: Struck) -> NDArray[np.bool_]:
        """Which failures strike a replica that trains, as far as that is certain.

        It depends on the failures before. A guess is right up to where it contradicts itself, the next one beyond.
        """
        strikes, known = np.ones(len(struck.time_s), dtype=np.bool_), 0
        for _ in range(_GUESSES):
            if not strikes.any():
                break
            stalls = self._stalls(struck.of(np.flatnonzero(strikes)))
            before = np.searchsorted(stalls.start_s, struck.time_s, side="right")
            stall = np.maximum(before - 1, 0)
            stands = (before > 0) & ((struck.time_s < stalls.end_s[stall]) | (struck.time_s == stalls.start_s[stall]))
            away = np.where(stands, stalls.away[stall], stalls.away_at(struck.time_s, before))
            right = struck.mark < 1 - away / self._run.replicas
            known = first_true(right != strikes)
            if known == len(strikes):
                break
            strikes = right
        return strikes[:known]

    def _stalls(self, hitting: Struck) -> _Stalls:
        """The stalls that these failures make. They overlap as customers of a queue with any number of servers."""
        job, time_s = self._run, hitting.time_s
        clear_s = np.maximum.accumulate(hitting.drained_s + job.setup.replica_stall_s)
        begins = np.append(True, time_s[1:] >= clear_s[:-1])
        at, of = np.flatnonzero(begins), np.cumsum(begins) - 1
        end_s = clear_s[np.append(begins[1:], True)]
        longer_s = np.where(begins, job.setup.replica_stall_s, np.diff(clear_s, prepend=0.0))
        hits = self._hits[hitting.cause]
        restart_s = np.where(hitting.nodes <= job.setup.hot_spare_nodes, job.warm_s, job.restart_s)
        back_s = np.concatenate([[back_s for back_s, _ in job.back], end_s[of] + restart_s])
        order = np.argsort(back_s, kind="stable")
        count = np.concatenate([[count for _, count in job.back], hits])[order].astype(np.int64)
        gone = job.away + np.append(0, np.cumsum(np.bincount(of, hits))).astype(np.int64)
        stalls = _Stalls(
            at=at,
            of=of,
            start_s=time_s[at],
            end_s=end_s,
            longer_s=longer_s,
            away=at,
            gone=gone,
            back_s=back_s[order],
            returned=np.append(0, np.cumsum(count)),
        )
        # none is back from a stall when it begins, even if all of it takes no time
        return stalls._replace(away=stalls.away_at(stalls.start_s, np.arange(len(at)), side="left"))

    def _rows(self, idle_s: Floats, hitting: Struck, stalls: _Stalls) -> tuple[Floats, float]:
        """The books' rows, and the work done at their end.

        A row of training ends where a replica comes back and, at `idle_s`, where a failure strikes one that is away.
        """
        job = self._run
        starts_s = np.append(job.now_s, stalls.end_s[:-1])
        from_s = np.sort(np.concatenate([starts_s, stalls.back_s, idle_s]))
        stall = np.searchsorted(starts_s, from_s, side="right") - 1
        trains = (stall >= 0) & (from_s < stalls.start_s[stall])
        from_s, stall = from_s[trains], stall[trains]
        to_s = np.minimum(np.append(from_s[1:], np.inf), stalls.start_s[stall])
        share = 1 - stalls.away_at(from_s, stall) / job.replicas
        work_s = np.cumsum(np.append(job.done_s, (to_s - from_s) * (share * job.pace * self._speed)))
        train = np.empty((len(from_s), 7))
        train[:, 0], train[:, 1], train[:, 2], train[:, 3] = from_s, to_s, TRAINING, share
        train[:, 4], train[:, 5], train[:, 6] = job.pace, work_s[:-1], work_s[1:]
        done_s = work_s[np.searchsorted(stall, np.arange(len(stalls.at)), side="right")]
        down = down_rows(hitting.of(stalls.at), stalls.end_s, done_s).reshape(-1, 7)
        rows = np.concatenate([train, down])
        rows = rows[rows[:, 1] > rows[:, 0]]
        return rows[np.argsort(rows[:, 0])], float(work_s[-1])

    def _records(self, hitting: Struck, stalls: _Stalls, spares: Spares) -> Floats:
        """The interruptions, `STOPS` of each; those that strike a stall cost what they make it longer."""
        job = self._run
        begins = np.zeros(len(hitting.time_s), dtype=np.bool_)
        begins[stalls.at] = True
        found_s = np.where(begins, hitting.detection_s, 0.0)
        left = stalls.away + np.diff(stalls.gone)
        columns = {
            "time_s": hitting.time_s,
            "cause": hitting.cause,
            "lost_s": np.where(hitting.silent, found_s, 0.0),
            "detection_s": np.where(hitting.silent, 0.0, found_s),
            "drain_s": np.where(begins, hitting.drain_s, 0.0),
            "restart_s": stalls.longer_s,
            "nodes_lost": hitting.nodes,
            "spares_left": spares.left[stalls.of],
            "replicas": (1 - left / job.replicas)[stalls.of],
            "warm": hitting.nodes <= job.setup.hot_spare_nodes,
        }
        records = np.zeros((len(begins), len(STOPS)))
        fill(records, slice(None), columns)
        return records
