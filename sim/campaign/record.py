"""What a simulated campaign leaves behind: its interruptions, its segments and the totals they add up to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.files import InputError
from profiler.units import HOUR_S
from sim.site.energy import PARTS

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

ACTIVITIES = (
    "training",
    "checkpointing",
    "lost_work",
    "stragglers",
    "fewer_replicas",
    "pauses",
    "detection",
    "drain",
    "restart",
    "waiting_for_repair",
    "maintenance",
    "curtailment",
)
"""Where the seconds of a campaign go; they add up to its duration. Of the time in which steps run, `stragglers`,
`fewer_replicas` and `pauses` are what it took longer than on the whole, undisturbed cluster, and `curtailment` what a
power window took, by slowing or standing."""

TRAINING, LOST = ACTIVITIES.index("training"), ACTIVITIES.index("lost_work")

PLANNED = "Planned maintenance"
"""The cause of an interruption that was planned."""

REJOIN = "Replicas rejoin"
"""The cause of a stop that the job chose, to take repaired nodes back."""

TIMELINE = (
    "start_s",
    "end_s",
    "activity",
    "phase",
    "replicas",
    "tokens",
    "checkpointing_s",
    "straggler_s",
    "fewer_replicas_s",
    "pause_s",
    "curtailed_s",
)
"""Columns of `Campaign.timeline`; activity and phase are indices."""

STOPPED = ("lost_s", "detection_s", "drain_s", "maintenance_s", "wait_s", "restart_s")
"""What an interruption takes, in the order of `Interruption`."""

STOPS = ("time_s", "cause", *STOPPED, "nodes_lost", "spares_left", "replicas", "warm")
"""Columns of `Campaign.stops`; cause is an index."""


class Table:
    """Rows of numbers under named columns; compares, pickles and goes through JSON."""

    def __init__(self, names: tuple[str, ...], data: Floats) -> None:
        self.names, self.data = names, data

    def column(self, name: str) -> Floats:
        """One column."""
        return self.data[:, self.names.index(name)]

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self.names == other.names and np.array_equal(self.data, other.data)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Any) -> Any:
        """As an object of lists, one per column."""
        from pydantic import PlainSerializer, PlainValidator

        read = PlainValidator(lambda value: value if isinstance(value, cls) else cls.from_lists(value))
        return handler.generate_schema(Annotated[Any, read, PlainSerializer(cls.to_lists)])

    def to_lists(self) -> dict[str, list[float]]:
        """Columns by name."""
        return dict(zip(self.names, self.data.T.tolist(), strict=True))

    @classmethod
    def from_lists(cls, columns: Mapping[str, list[float]]) -> "Table":
        """The same back."""
        return cls(tuple(columns), np.array(list(columns.values()), dtype=np.float64).T.copy())


class Interruption(NamedTuple):
    """One stop of the job and what it cost, in seconds.

    After `time_s` come detection, drain, maintenance, wait and restart, in this order; the work lost lies before it,
    or until it was noticed where the failure was silent.
    """

    time_s: float
    cause: str
    lost_s: float
    """Time since the last checkpoint that the failure left, to be trained again."""
    detection_s: float
    drain_s: float
    maintenance_s: float
    wait_s: float
    """For a repaired node, the spares being used up."""
    restart_s: float
    nodes_lost: int
    spares_left: int
    """Good spare nodes after the replacement."""
    replicas: float
    """Share of the data-parallel replicas that train on."""
    warm: bool
    """Whether the restart was a warm one."""

    @property
    def took_s(self) -> float:
        """Seconds that it took in all, the work lost included."""
        return float(sum(getattr(self, name) for name in STOPPED))

    @property
    def planned(self) -> bool:
        """Whether it was planned maintenance or chosen by the job."""
        return self.cause in (PLANNED, REJOIN)


class Segment(NamedTuple):
    """A stretch of time with one activity; each begins where the one before ends.

    `training` segments hold their checkpoints; `site_power_w` is the mean over the segment.
    """

    start_s: float
    end_s: float
    activity: str
    phase: str
    site_power_w: float
    tokens: float
    """Trained and kept."""
    checkpointing_s: float
    """Held up by checkpoints within the segment."""
    straggler_s: float
    fewer_replicas_s: float
    pause_s: float
    replicas: float
    """Share of the data-parallel replicas that run; 0 while the job is down."""
    curtailed_s: float
    """Lost to a power window."""


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """The months of one simulated run. Times are from its start; tokens, time and energy add up exactly."""

    seed: int
    gpus: int
    duration_s: float
    tokens: float
    steps: int
    seconds: Mapping[str, float]
    """By activity (`ACTIVITIES`)."""
    phases: tuple[str, ...]
    causes: tuple[str, ...]
    timeline: Table
    """Columns `TIMELINE`, a row per segment."""
    stops: Table
    """Columns `STOPS`, a row per interruption."""
    state_parts_w: tuple[tuple[float, ...], ...]
    """Watts at the meter by power state (`state_names`) and part (`sim.site.energy.PARTS`)."""
    energy_j: Mapping[str, float]
    """By part (`sim.site.energy.PARTS`)."""
    peak_site_power_w: float
    site_w: Table | None = None
    """Watts by segment (columns: `sim.site.energy.PARTS`) where each hour of the site is its own; otherwise they
    follow from the power states."""

    @property
    def state_names(self) -> tuple[str, ...]:
        """The power states: each phase, held up by a checkpoint, the job waiting, the cluster idle."""
        return (*self.phases, "checkpoint", "wait", "idle")

    @cached_property
    def state_s(self) -> Floats:
        """Seconds that each segment draws each power state, segments × states; a mix where replicas are missing."""
        return state_seconds(self.timeline, len(self.phases))

    @cached_property
    def watts(self) -> Floats:
        """Mean watts over each segment at the meter, segments × parts (`sim.site.energy.PARTS`)."""
        if self.site_w is not None:
            return self.site_w.data
        lengths_s = self.timeline.column("end_s") - self.timeline.column("start_s")
        found: Floats = self.state_s @ np.array(self.state_parts_w) / lengths_s[:, None]
        return found

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """What happened, stretch by stretch."""
        column = self.timeline.column
        columns = zip(
            column("start_s").tolist(),
            column("end_s").tolist(),
            [ACTIVITIES[i] for i in column("activity").astype(int)],
            [self.phases[i] for i in column("phase").astype(int)],
            self.watts.sum(axis=1).tolist(),
            column("tokens").tolist(),
            column("checkpointing_s").tolist(),
            column("straggler_s").tolist(),
            column("fewer_replicas_s").tolist(),
            column("pause_s").tolist(),
            column("replicas").tolist(),
            column("curtailed_s").tolist(),
            strict=True,
        )
        return tuple(map(Segment._make, columns))

    @cached_property
    def interruptions(self) -> tuple[Interruption, ...]:
        """Every stop, in order of time."""
        return tuple(
            Interruption._make((time, self.causes[int(cause)], *rest, int(nodes), int(spares), replicas, bool(warm)))
            for time, cause, *rest, nodes, spares, replicas, warm in self.stops.data.tolist()
        )

    @property
    def ettr(self) -> float:
        """Effective training time ratio: training that was kept over all time."""
        return self.seconds["training"] / self.duration_s

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of the job's own GPUs, spares not counted."""
        return self.gpus * self.duration_s / HOUR_S

    @property
    def total_energy_j(self) -> float:
        """At the site's meter."""
        return sum(self.energy_j.values())

    @property
    def mean_site_power_w(self) -> float:
        """At the site's meter, over the whole campaign."""
        return self.total_energy_j / self.duration_s

    @cached_property
    def planned(self) -> NDArray[np.bool_]:
        """Of each row of `stops` whether it was planned or chosen by the job."""
        chosen = [i for i, name in enumerate(self.causes) if name in (PLANNED, REJOIN)]
        return np.isin(self.stops.column("cause"), chosen)

    @property
    def unexpected_interruptions(self) -> int:
        """Interruptions that were neither planned nor chosen."""
        return int((~self.planned).sum())

    def powered(self, state_parts_w: tuple[tuple[float, ...], ...]) -> "Campaign":
        """The same months with other watts in each power state, every hour being alike: time is not touched."""
        parts_w, in_state_s = np.array(state_parts_w), self.state_s.sum(axis=0)
        return replace(
            self,
            state_parts_w=state_parts_w,
            energy_j=dict(zip(PARTS, (in_state_s @ parts_w).tolist(), strict=True)),
            peak_site_power_w=float(parts_w.sum(axis=1)[in_state_s > 0].max()),
        )

    def progress(self) -> tuple[Floats, Floats]:
        """Times [s] and the tokens trained and kept until then, straight lines between them."""
        times_s = np.append(0.0, self.timeline.column("end_s"))
        return times_s, np.append(0.0, np.cumsum(self.timeline.column("tokens")))

    def power_series(self, step_s: float = HOUR_S) -> tuple[Floats, Floats]:
        """Starts [s] of intervals of `step_s` and the mean site power [W] in each.

        The last interval ends with the campaign. Power times length adds up to the energy.
        """
        if not step_s > 0:
            raise InputError(f"step_s is {step_s}; a time above 0 is needed.")
        ends_s = self.timeline.column("end_s")
        used_j = np.cumsum(self.watts.sum(axis=1) * (ends_s - self.timeline.column("start_s")))
        # a sliver at the end, left by rounding, joins the interval before: its mean would be rounding alone
        sliver_s = min(1e-6 * self.duration_s, step_s / 2)
        edges_s = np.append(np.arange(0.0, self.duration_s - sliver_s, step_s), self.duration_s)
        energy_j = np.interp(edges_s, np.append(0.0, ends_s), np.append(0.0, used_j))
        return edges_s[:-1], np.diff(energy_j) / np.diff(edges_s)

    def to_frame(self) -> "pd.DataFrame":
        """The segments, one row each."""
        import pandas as pd

        return pd.DataFrame(self.segments, columns=list(Segment._fields))


def state_seconds(timeline: Table, phases: int) -> Floats:
    """Seconds that each segment draws each power state, segments × (phases, checkpoint, wait, idle).

    While steps run, what checkpoints hold up is drawn as checkpoint, waiting for a straggler and pauses as wait, and
    the GPUs of missing replicas are idle.
    """
    column, rows = timeline.column, np.arange(len(timeline))
    activity, lengths_s = column("activity").astype(int), column("end_s") - column("start_s")
    held_s = column("checkpointing_s")
    waiting_s, missing_s = column("straggler_s") + column("pause_s"), column("fewer_replicas_s")
    waits = np.isin(activity, [ACTIVITIES.index(name) for name in ("detection", "drain", "restart")])
    trains = (activity == TRAINING) | (activity == LOST)
    state = np.where(trains, column("phase").astype(int), np.where(waits, phases + 1, phases + 2))
    state_s = np.zeros((len(timeline), phases + 3))
    state_s[rows, state] = np.maximum(lengths_s - held_s - waiting_s - missing_s, 0.0)
    state_s[:, phases] += held_s
    state_s[:, phases + 1] += waiting_s
    state_s[:, phases + 2] += missing_s
    return state_s
