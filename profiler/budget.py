"""How long each point of a run is measured, so that the budget goes to what is worth most. No torch here."""

from collections.abc import Sequence

from profiler.points import Point

MEASURING_SHARE = 0.6
"""Part of the budget planned for measured windows; warm-up, compilation and building take the rest."""
ENERGY_SHARE = 0.7
"""Most of that part which windows long enough for an energy meter may take."""
LONGEST_TIME_WINDOW_S = 3.0
_ENERGY_WORKLOADS = ("matmul", "copy", "block", "attention", "optimizer", "head_loss")
"""Where a step's energy goes, the most telling first: the first two draw the most that compute and memory can."""
_WEIGHT = {"block": 5.0, "matmul": 3.0, "head_loss": 2.0, "launch": 0.2}
"""Share of the time by workload, against 1 for the others."""


def windows_s(
    todo: Sequence[Point], budget_s: float, *, shortest_s: float, energy_window_s: float | None
) -> dict[Point, float]:
    """Seconds to measure each point of `todo`, which is in the order of value.

    Args:
        todo: what is left to measure.
        budget_s: what is left of the budget [s].
        shortest_s: least window in which the device shows its sustained speed [s].
        energy_window_s: least window that the energy meter needs [s], None without one. One point of each kind that
            matters for energy gets it, then others of these while the budget allows; the rest is timed only.
    """
    measuring_s = MEASURING_SHARE * budget_s
    long: dict[Point, float] = {}
    if energy_window_s is not None:
        affordable = int(ENERGY_SHARE * measuring_s / energy_window_s)
        long = dict.fromkeys(_by_energy(todo)[:affordable], energy_window_s)
    weights = {point: _WEIGHT.get(point.workload, 1.0) for point in todo if point not in long}
    each_s = (measuring_s - sum(long.values())) / max(sum(weights.values()), 1.0)
    timed = {p: min(max(w * each_s, shortest_s), LONGEST_TIME_WINDOW_S) for p, w in weights.items()}
    return {point: long[point] if point in long else timed[point] for point in todo}


def _by_energy(todo: Sequence[Point]) -> list[Point]:
    """The points that matter for energy: the first of each kind, then all others, kind by kind."""
    kinds = [[point for point in todo if point.workload == kind] for kind in _ENERGY_WORKLOADS]
    return [point for kind in kinds for point in kind[:1]] + [point for kind in kinds for point in kind[1:]]
