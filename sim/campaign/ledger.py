"""The books of a campaign while it runs: rows as they happen, and the finished record."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.campaign.record import (
    ACTIVITIES,
    LOST,
    PLANNED,
    REJOIN,
    STOPS,
    TIMELINE,
    TRAINING,
    Campaign,
    Floats,
    Table,
)

if TYPE_CHECKING:
    from sim.campaign.setup import CampaignSetup

CODES = {name: float(i) for i, name in enumerate(ACTIVITIES)}
_ROW = 7
"""Numbers in a row."""


class Ledger:
    """What happened when, row by row, and the totals at the end.

    Work is counted in seconds of undisturbed training on the whole cluster.
    """

    def __init__(self, setup: "CampaignSetup") -> None:
        self.setup = setup
        self.bounds_s = np.cumsum([0.0, *(phase.training_s for phase in setup.phases)])
        self.work_s = float(self.bounds_s[-1])
        self.causes = (
            *(cause.name for cause in setup.reliability.causes),
            *(straggler.name for straggler in setup.reliability.stragglers),
            PLANNED,
            REJOIN,
        )
        self.rows: list[float] = []
        """Of each row start, end, activity, replicas, pace, work from and work to: a flat list is quickest."""
        self.stops: list[float] = []
        """Of each interruption `STOPS`."""
        self._closed: list[Floats] = []
        """Rows before those of `rows`; nothing undoes them."""
        self._stops: list[Floats] = []
        """Interruptions that were written down many at a time."""
        self._open = 0
        """First number of the rows whose training is not on storage yet."""

    def down(self, start_s: float, end_s: float, activity: str, work_s: float) -> None:
        """The job does not train."""
        if end_s > start_s:
            self.rows += (start_s, end_s, CODES[activity], 0.0, 1.0, work_s, work_s)

    def train(
        self, start_s: float, end_s: float, from_s: float, to_s: float, replicas: float, pace: float, *, kept: bool
    ) -> None:
        """The work from `from_s` to `to_s` was done; time beyond what it takes went into checkpoints."""
        if end_s > start_s:
            code = TRAINING if kept else LOST
            self.rows += (start_s, end_s, code, replicas, pace, from_s, to_s)

    def extend(self, rows: Floats, stops: Floats, stored: int) -> None:
        """Many rows and interruptions at once; the training of the first `stored` rows is on storage."""
        if stored:
            self._closed += [_table(self.rows, _ROW), rows[:stored]]
            self.rows = []
            self._open = 0
        self.rows += rows[stored:].ravel().tolist()
        self._stops.append(stops)

    def stored(self) -> None:
        """All training up to here is on storage."""
        self._open = len(self.rows)

    def undo(self) -> float:
        """Training since the last `stored` is lost after all; returns its seconds."""
        rows, lost_s = self.rows, 0.0
        for i in range(self._open, len(rows), _ROW):
            if rows[i + 2] == TRAINING:
                rows[i + 2] = LOST
                lost_s += rows[i + 1] - rows[i]
        self._open = len(rows)
        return lost_s

    def campaign(self, seed: int) -> Campaign:
        """The finished record."""
        setup = self.setup
        timeline = self._timeline()
        stops = np.concatenate([*self._stops, _table(self.stops, len(STOPS))])
        stops = stops[np.argsort(stops[:, 0], kind="stable")]
        books = Campaign(
            seed=seed,
            gpus=setup.cluster.gpus,
            duration_s=float(timeline.column("end_s")[-1]),
            tokens=sum(phase.tokens for phase in setup.phases),
            steps=sum(phase.steps for phase in setup.phases),
            seconds=_seconds(timeline),
            phases=tuple(phase.name for phase in setup.phases),
            causes=self.causes,
            timeline=timeline,
            stops=Table(STOPS, stops),
            state_parts_w=(),
            energy_j={},
            peak_site_power_w=0.0,
        )
        return books.powered(setup.state_parts_w)

    def _timeline(self) -> Table:
        rows = self._by_phase(np.concatenate([*self._closed, _table(self.rows, _ROW)]))
        start_s, end_s, activity, replicas, pace, from_s, to_s = rows.T
        work_s, lengths_s = to_s - from_s, end_s - start_s
        share = np.where(replicas > 0, replicas, 1.0)
        unpaused_s = work_s / (share * pace)
        trained_s = unpaused_s * (1 + self.setup.pause_share)
        phase = self._phase((from_s + to_s) / 2)
        tokens_per_s = np.array([p.tokens_per_step / p.step_time_s for p in self.setup.phases])
        columns = {
            "start_s": start_s,
            "end_s": end_s,
            "activity": activity,
            "phase": phase,
            "replicas": replicas,
            "tokens": np.where(activity == TRAINING, work_s * tokens_per_s[phase], 0.0),
            "checkpointing_s": np.where(work_s > 0, np.maximum(lengths_s - trained_s, 0.0), 0.0),
            "straggler_s": unpaused_s * share * (1 - pace),
            "fewer_replicas_s": unpaused_s * (1 - share),
            "pause_s": trained_s - unpaused_s,
            "curtailed_s": np.zeros(len(rows)),
        }
        return Table(TIMELINE, np.array([columns[name] for name in TIMELINE], dtype=np.float64).T)

    def _phase(self, work_s: Floats) -> NDArray[np.int_]:
        """The phase that a moment of work belongs to; at a boundary the earlier one."""
        found = np.searchsorted(self.bounds_s, work_s, side="left") - 1
        return np.clip(found, 0, len(self.bounds_s) - 2)

    def _by_phase(self, rows: Floats) -> Floats:
        """Rows cut where phases change; checkpoints are shared out in proportion, which is right to one."""
        middles_s = self.bounds_s[1:-1]
        first = np.searchsorted(middles_s, rows[:, 5], side="right")
        last = np.searchsorted(middles_s, rows[:, 6], side="left")
        crossing = np.flatnonzero(last > first)
        if not len(crossing):
            return rows
        pieces: list[Floats] = []
        done = 0
        for i in crossing.tolist():
            start_s, end_s, *same, from_s, to_s = rows[i]
            works_s = np.array([from_s, *middles_s[first[i] : last[i]], to_s])
            times_s = start_s + (works_s - from_s) / (to_s - from_s) * (end_s - start_s)
            times_s[-1] = end_s
            cut = np.column_stack(
                [times_s[:-1], times_s[1:], np.tile(same, (len(works_s) - 1, 1)), works_s[:-1], works_s[1:]]
            )
            pieces += [rows[done:i], cut[cut[:, 1] > cut[:, 0]]]
            done = i + 1
        return np.concatenate([*pieces, rows[done:]])


def _table(numbers: list[float], columns: int) -> Floats:
    return np.fromiter(numbers, np.float64, len(numbers)).reshape(-1, columns)


def _seconds(timeline: Table) -> dict[str, float]:
    """Seconds by activity; what slowed down lost work is lost with it."""
    column, activity = timeline.column, timeline.column("activity").astype(int)
    lengths_s = column("end_s") - column("start_s")
    totals_s = np.bincount(activity, lengths_s, minlength=len(ACTIVITIES)).tolist()
    seconds: dict[str, float] = dict(zip(ACTIVITIES, totals_s, strict=True))
    kept = activity == TRAINING
    for name, part in (
        ("checkpointing", "checkpointing_s"),
        ("stragglers", "straggler_s"),
        ("fewer_replicas", "fewer_replicas_s"),
        ("pauses", "pause_s"),
    ):
        seconds[name] = float(column(part)[kept].sum())
        seconds["training"] -= seconds[name]
    return seconds
