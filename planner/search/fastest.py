"""The fastest layouts of a space that fit, found without timing most of it."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from planner.search.leaders import Leaders
from planner.search.space import NONE, Columns, LayoutSpace, entries, select
from sim.case import Array
from sim.memory import memory_use
from sim.pipeline.times import ROUNDING
from sim.sharding import FSDP, ZERO1, ZERO2
from sim.step import least_s, step_times

SPREADS = 512
STAGED = 3072
SHARED = 512
"""Spreads, layouts and layouts with all their shardings that are bounded or evaluated at once."""


def find_fastest(space: LayoutSpace, keep: int) -> tuple[Leaders, int]:
    """The `keep` fastest layouts that fit, of equals the one of least memory first, and how many there are in all.

    Branch and bound: spreads over the GPUs are taken in the order of what each takes at least with any pipeline,
    their layouts in the order of what each takes at least whatever its ranks share out (`sim.step.least_s`), and
    those that can fit are evaluated with all their shardings, until the next cannot be among the fastest any more.
    So the answer is the same as if all were evaluated.
    """
    fastest, spreads = Leaders(keep), space.spreads()
    if not spreads["tp"].size:
        return fastest, 0
    columns, there = space.staged(spreads)
    count = space.count(spreads, there)
    bound_s = _least_s(space, {**columns, "recompute": np.zeros(1)}, there).min(axis=(0, 1))
    for here in _in_order(bound_s, fastest, SPREADS):
        columns, there = space.staged(select(spreads, here))
        staged_s = _least_s(space, columns, there)
        for at in _in_order(staged_s.ravel(), fastest, STAGED):
            _offer(space, entries(columns, staged_s.shape, at), staged_s.flat[at], fastest)
    return fastest, count


def _least_s(space: LayoutSpace, columns: Columns, there: NDArray[np.bool_]) -> Array:
    """Seconds that each layout takes at least, whatever its ranks share out; infinite where there is none."""
    alone = {"sharding": np.full(1, float(NONE)), "shard_degree": np.ones(1)}
    return np.where(there, least_s(space.case(columns | alone)), np.inf)


def _in_order(bound_s: Array, fastest: Leaders, at_once: int) -> Iterator[NDArray[np.intp]]:
    """The places of those bounds that can still be among the fastest when their turn comes, the least first."""
    left = np.flatnonzero(bound_s < np.inf)
    while (left := left[bound_s[left] * (1 - ROUNDING) <= fastest.worst]).size:
        if left.size > at_once:
            left = left[np.argpartition(bound_s[left], at_once)]
        here, left = left[:at_once], left[at_once:]
        yield here[np.argsort(bound_s[here])]


def _offer(space: LayoutSpace, columns: Columns, bound_s: Array, fastest: Leaders) -> None:
    """Let those of some layouts compete that fit under any sharding, the lowest bounds first."""
    can = np.flatnonzero(_least_bytes(space, columns) <= space.cluster.gpu.memory_bytes)
    for start in range(0, can.size, SHARED):
        here = can[start : start + SHARED]
        here = here[bound_s[here] * (1 - ROUNDING) <= fastest.worst]
        if not here.size:
            break
        shared = space.shared(select(columns, here))
        memory_bytes = np.broadcast_to(memory_use(space.case(shared)).total, shared["tp"].shape)
        fits = memory_bytes <= space.cluster.gpu.memory_bytes
        if fits.any():
            some = select(shared, fits)
            seconds = np.broadcast_to(step_times(space.case(some), fastest.worst).total, some["tp"].shape)
            fastest.offer(seconds, some, tie=memory_bytes[fits])


def _least_bytes(space: LayoutSpace, columns: Columns) -> Array:
    """Bytes that each layout needs at least: of the shardings over all its ranks, over which they keep least."""
    leanest = np.array([ZERO1, ZERO2, FSDP], dtype=np.float64)[:, None]
    shared = {"sharding": leanest, "shard_degree": columns["dp"] * columns["cp"]}
    return np.asarray(memory_use(space.case(columns | shared)).total.min(axis=0))
