"""One profiling run: measure point after point within a budget, and keep every row the moment it exists."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from profiler.budget import MEASURING_SHARE, windows_s
from profiler.collectives import key_of, measure_collectives
from profiler.files import InputError
from profiler.measure import DeviceLost, failed_row, measure
from profiler.points import Point, Request, point_of, points
from profiler.power import DISAGREEMENT, PowerMeter
from profiler.profile import CollectiveRow, LayerRow, Profile, Provenance, read_profile
from profiler.provenance import describe, open_meter, with_ceilings
from profiler.rollcall import Failure, RollCall
from profiler.workloads import Bench
from profiler.world import World, use_tensor_parallel

T = TypeVar("T")

SHORTEST_WINDOW_S = {"cuda": 1.0, "cpu": 0.1}
"""A GPU shows its sustained clocks only after its power limit has set in, some tenths of a second."""
IDLE_SHARE = 0.1
"""Most of the budget that measuring idle power may take."""
COLLECTIVES_SHARE = 0.2
"""Part of the budget for collectives, where there are ranks to measure them between."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """What a run tells while it goes; by default nothing."""

    on_plan: Callable[[int, int], None] = lambda done, total: None
    """Points already measured, and points in all."""
    on_point: Callable[[str, float], None] = lambda label, remaining_s: None
    """What is measured now, and about how many seconds the run will still take."""
    on_row: Callable[[LayerRow | CollectiveRow], None] = lambda row: None
    on_lost: Callable[[str], None] = lambda reason: None
    """Another rank failed alone: called from another thread, this one is stuck and must be ended."""


def run(request: Request, world: World, out: Path, budget_s: float, *, resume: bool, tell: Listener) -> int:
    """Measure what `request` asks for until `budget_s` seconds are spent; return how many points are left.

    The profile is in `out`, whole after every row, so an interruption loses only the point being measured.

    Raises:
        InputError: ranks or degrees that do not fit, or `resume` on a profile of another device or software.
        RankLost, DeviceLost: nothing further can be measured by these processes; what was is in `out`.
    """
    deadline = time.perf_counter() + budget_s
    if world.ranks > 1:
        for tp in request.tensor_parallel:
            use_tensor_parallel(tp)
    meter = open_meter(world.device)
    fresh = Profile(name=out.stem, provenance=describe(world, meter))
    begun = _resumed(out, fresh) if resume and out.exists() else fresh
    recorder = Recorder(_at_rest(begun, meter, budget_s), out, world.leads)
    bench = Bench(architectures=request.architectures, world=world, meter=meter)
    _measure_collectives(recorder, world, COLLECTIVES_SHARE * budget_s, tell)
    return _Run(request, recorder, bench, deadline, tell).measure_points()


class Recorder:
    """A growing profile and its file."""

    def __init__(self, profile: Profile, path: Path, writes: bool) -> None:
        self.profile = profile
        self._path = path
        self._writes = writes

    def add(self, row: LayerRow | CollectiveRow) -> None:
        """Keep a row, in place of an earlier one of the same point, and write the file."""
        if isinstance(row, CollectiveRow):
            kept = [r for r in self.profile.collectives if key_of(r) != key_of(row)]
            self._keep(replace(self.profile, collectives=(*kept, row)))
            return
        layers = (*(r for r in self.profile.layers if point_of(r) != point_of(row)), row)
        provenance = _with_note(with_ceilings(self.profile.provenance, layers), _meter_note(row))
        self._keep(replace(self.profile, layers=layers, provenance=provenance))

    def note(self, sentence: str) -> None:
        """Add a sentence to the provenance."""
        self._keep(replace(self.profile, provenance=_with_note(self.profile.provenance, sentence)))

    def _keep(self, profile: Profile) -> None:
        self.profile = profile
        if self._writes:
            profile.write(self._path)


def _meter_note(row: LayerRow) -> str:
    limit = f"{100 * DISAGREEMENT:.0f} %"
    return f"power meters differ by more than {limit} on {point_of(row).label()}" if not row.meters_agree else ""


def _with_note(provenance: Provenance, sentence: str) -> Provenance:
    if not sentence or sentence in provenance.notes:
        return provenance
    return replace(provenance, notes=(*provenance.notes, sentence))


def _at_rest(profile: Profile, meter: PowerMeter, budget_s: float) -> Profile:
    """With the idle power, where it is not known yet and measuring it leaves the budget to the rows."""
    known = profile.provenance.idle_power_w is not None
    if known or meter.window_s is None or meter.window_s > IDLE_SHARE * budget_s:
        return profile
    return replace(profile, provenance=replace(profile.provenance, idle_power_w=meter.idle_power_w()))


def _resumed(path: Path, fresh: Profile) -> Profile:
    """The profile in `path` if this machine and software took it, ready for more rows."""
    earlier = read_profile(path)
    for key in ("device", "driver", "torch", "fairscale", "ranks", "power_limit_w"):
        before, now = getattr(earlier.provenance, key), getattr(fresh.provenance, key)
        same = _branch(before) == _branch(now) if key == "driver" else before == now
        if not same:
            raise InputError(f"{path}: cannot be resumed here: its {key} is '{before}', this run's is '{now}'.")
    driver = fresh.provenance.driver
    other = f"resumed with driver {driver}" if driver != earlier.provenance.driver else ""
    return replace(earlier, provenance=_with_note(earlier.provenance, other))


def _branch(driver: str) -> str:
    """A driver's branch, 580 of 580.159.03: its patches do not change how fast kernels run."""
    return driver.split(".")[0]


def _measure_collectives(recorder: Recorder, world: World, budget_s: float, tell: Listener) -> None:
    done = {key_of(row) for row in recorder.profile.collectives} if world.leads else set()
    known = _from_leader(done, world)
    for found in measure_collectives(
        world, budget_s=budget_s, done=known, report=lambda label: tell.on_point(label, budget_s)
    ):
        if isinstance(found, str):
            recorder.note(found)
        else:
            recorder.add(found)
            tell.on_row(found)


def _from_leader(value: T, world: World) -> T:
    """Rank 0's value on every rank."""
    if world.ranks == 1:
        return value
    import torch.distributed as dist

    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


class _Run:
    """The points of one run on this rank."""

    def __init__(self, request: Request, recorder: Recorder, bench: Bench, deadline: float, tell: Listener) -> None:
        self._recorder = recorder
        self._bench = bench
        self._deadline = deadline
        self._tell = tell
        self._wanted = points(request)
        self._todo: list[Point] = _from_leader(self._unmeasured(), bench.world)

    def _unmeasured(self) -> list[Point]:
        """What no row holds yet, then what failed before: a point that ends runs must not stand before others."""
        rows = {point_of(row): row.status for row in self._recorder.profile.layers}
        new = [point for point in self._wanted if point not in rows]
        return new + [point for point in self._wanted if rows.get(point) == "error"]

    def measure_points(self) -> int:
        """Measure until the deadline; return how many points are left."""
        world, todo = self._bench.world, self._todo
        self._tell.on_plan(len(self._wanted) - len(todo), len(self._wanted))
        windows = _from_leader(self._windows_s(), world)
        roll_call = RollCall(world, self._on_lost)
        for i, point in enumerate(todo):
            remaining_s = world.agree(self._deadline - time.perf_counter())
            if remaining_s <= 0:
                roll_call.close()
                return len(todo) - i
            planned_s = sum(windows[p] for p in todo[i:]) / MEASURING_SHARE
            self._tell.on_point(point.label(), min(remaining_s, planned_s))
            try:
                row = measure(point, self._bench, windows[point])
            except DeviceLost as error:
                self._keep(failed_row(point, self._bench, str(error)))
                roll_call.settle(i, f"{point.label()}: {error}")
                raise
            self._keep(row)
            if row.status != "ok":
                roll_call.settle(i, f"{point.label()}: {row.message}")
        roll_call.close()
        return 0

    def _windows_s(self) -> dict[Point, float]:
        world = self._bench.world
        return windows_s(
            self._todo,
            world.agree(self._deadline - time.perf_counter()),
            shortest_s=SHORTEST_WINDOW_S[world.device.type],
            energy_window_s=self._bench.meter.window_s,
        )

    def _keep(self, row: LayerRow) -> None:
        self._recorder.add(row)
        self._tell.on_row(row)

    def _on_lost(self, failure: Failure) -> None:
        if failure.number is not None:
            self._keep(failed_row(self._todo[failure.number], self._bench, str(failure)[:300]))
        self._tell.on_lost(str(failure))
