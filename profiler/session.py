"""One profiling run: measure point after point within a budget, and keep every row the moment it exists."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from profiler.collectives import key_of, measure_collectives
from profiler.files import InputError
from profiler.points import MEASURING_SHARE, Point, Request, point_of, points, windows_s
from profiler.power import DISAGREEMENT
from profiler.profile import CollectiveRow, LayerRow, Profile, Provenance, read_profile
from profiler.provenance import describe, open_meter, with_ceilings
from profiler.workloads import Bench, measure
from profiler.world import World, use_tensor_parallel

T = TypeVar("T")

WITH_POWER_WINDOW_S = 10.0
"""Longest window where energy is measured: a hundred steps of a GPU's counter."""
TIME_ONLY_WINDOW_S = 3.0
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


def run(request: Request, world: World, out: Path, budget_s: float, *, resume: bool, tell: Listener) -> int:
    """Measure what `request` asks for until `budget_s` seconds are spent; return how many points are left.

    The profile is in `out`, whole after every row, so an interruption loses only the point being measured.

    Raises:
        InputError: ranks or degrees that do not fit, or `resume` on a profile of another device or software.
    """
    deadline = time.perf_counter() + budget_s
    if world.ranks > 1:
        for tp in request.tensor_parallel:
            use_tensor_parallel(tp)
    meter = open_meter(world.device)
    fresh = Profile(name=out.stem, provenance=describe(world, meter))
    recorder = Recorder(_resumed(out, fresh) if resume and out.exists() else fresh, out, world.leads)
    bench = Bench(architecture=request.architecture, world=world, meter=meter)
    _measure_collectives(recorder, world, COLLECTIVES_SHARE * budget_s, tell)
    longest_s = WITH_POWER_WINDOW_S if meter.measures else TIME_ONLY_WINDOW_S
    return _measure_points(request, recorder, bench, deadline, longest_s, tell)


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
    disagrees = row.power_source.startswith("METERS DISAGREE")
    limit = f"{100 * DISAGREEMENT:.0f} %"
    return f"power meters differ by more than {limit} on {point_of(row).label()}" if disagrees else ""


def _with_note(provenance: Provenance, sentence: str) -> Provenance:
    if not sentence or sentence in provenance.notes:
        return provenance
    return replace(provenance, notes=(*provenance.notes, sentence))


def _resumed(path: Path, fresh: Profile) -> Profile:
    """The profile in `path` if this machine and software took it, ready for more rows."""
    earlier = read_profile(path)
    for key in ("device", "driver", "torch", "fairscale", "ranks", "power_limit_w"):
        before, now = getattr(earlier.provenance, key), getattr(fresh.provenance, key)
        if before != now:
            raise InputError(f"{path}: cannot be resumed here: its {key} is '{before}', this run's is '{now}'.")
    return earlier


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


def _measure_points(
    request: Request, recorder: Recorder, bench: Bench, deadline: float, longest_s: float, tell: Listener
) -> int:
    wanted = points(request)
    done = {point_of(row) for row in recorder.profile.layers if row.status != "error"}
    todo: list[Point] = _from_leader([point for point in wanted if point not in done], bench.world)
    tell.on_plan(len(wanted) - len(todo), len(wanted))
    for i, point in enumerate(todo):
        remaining_s = bench.world.agree(deadline - time.perf_counter())
        if remaining_s <= 0:
            return len(todo) - i
        windows = windows_s(todo[i:], remaining_s, longest_s)
        tell.on_point(point.label(), min(remaining_s, sum(windows.values()) / MEASURING_SHARE))
        row = measure(point, bench, windows[point])
        recorder.add(row)
        tell.on_row(row)
    return 0
