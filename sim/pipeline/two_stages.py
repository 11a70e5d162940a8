"""How long two interleaved stages take, where their outer chunks are shorter than others or rounds are uneven.

Longer pipelines have few paths that can be the longest (`sim.pipeline.paths`). Two stages have more: neither holds
only chunks from between, and a path may dodge the short ones round by round. So their operations are worked through
one by one, for all layouts of as many chunks and micro-batches at once. From eight micro-batches on each further
round of two adds as much as the one before it, as max-plus linear systems do once their first rounds are through
(Baccelli et al., Synchronization and Linearity, 1992, chapter 3), so that no more need to be.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.pipeline.paths import Array, Pipeline, whole
from sim.schedule.order import Kind, PipelineShape

ROUND = 2
STEADY = 8
"""Micro-batches (or one more, if odd) from which on every round adds the same; tests hold it against the events."""
AT_ONCE = 4096
"""Pipelines worked through together: every operation of each is kept."""


class Step(NamedTuple):
    """One operation of the two stages, after all that it waits for."""

    kind: Kind
    chunk: int
    """0: the first of the model, 1: one between, 2: the last."""
    before: int
    """The step before it on its stage; -1 where there is none."""
    fed_by: int
    """The step of the other stage whose result it needs; -1 where it needs none."""


def lacking(c: Pipeline) -> NDArray[np.bool_]:
    """Interleaved 1F1B of two stages whose longest path may be none of `sim.pipeline.paths.interleaved`."""
    uneven = (c.first.f != c.middle.f) | (c.first.b + c.first.w != c.middle.b + c.middle.w)
    odd = (c.m % ROUND == 1) | (c.m <= ROUND)
    found: NDArray[np.bool_] = (c.n == ROUND) & (c.v > 1) & (uneven | odd) & (c.m == np.floor(c.m))
    return found


def two_stages(c: Pipeline) -> Array:
    """Seconds of pipelines of two interleaved stages and whole micro-batches."""
    found = np.empty_like(c.m)
    worked = np.minimum(c.m, STEADY + c.m % ROUND)
    for v, m in sorted(set(zip(c.v.tolist(), worked.tolist(), strict=True))):
        alike = np.flatnonzero((c.v == v) & (worked == m))
        for start in range(0, alike.size, AT_ONCE):
            here = alike[start : start + AT_ONCE]
            found[here] = _two_stages(c.at(here), int(v), int(m))
    return found


def _two_stages(c: Pipeline, v: int, worked: int) -> Array:
    """The same with `v` chunks each, of whose micro-batches `worked` are worked through."""
    ends = _worked_through(c, v, worked)
    if np.any(c.m > worked):
        ends = ends + (c.m - worked) / ROUND * (ends - _worked_through(c, v, worked - ROUND))
    return np.asarray(np.maximum(ends[0], ends[1] + c.m * c.deferred))


def _worked_through(c: Pipeline, v: int, m: int) -> Array:
    """When the first and the second stage are through with `m` micro-batches, in two rows."""
    steps, last = _steps(v, m)
    parts = whole(c)
    seconds = {kind: [getattr(ops, kind.lower()) for ops in parts] for kind in ("F", "B")}
    ends: list[Array] = []
    for kind, chunk, before, fed_by in steps:
        begin = ends[before] if before >= 0 else np.zeros_like(c.p)
        if fed_by >= 0:
            begin = np.maximum(begin, ends[fed_by] + c.p)
        ends.append(begin + seconds[kind][chunk])
    return np.stack([ends[i] for i in last])


@cache
def _steps(v: int, m: int) -> tuple[tuple[Step, ...], tuple[int, int]]:
    """All operations in an order in which each comes after those that it waits for, and the last of each stage."""
    shape = PipelineShape(schedule="1f1b", stages=2, chunks=v, micro_batches=m)
    orders = [list(reversed(shape.order(stage))) for stage in (0, 1)]
    steps: list[Step] = []
    number: dict[tuple[Kind, int, int], int] = {}
    last = [-1, -1]
    while any(orders):
        for stage, left in enumerate(orders):
            while left:
                kind, micro_batch, chunk = left[-1]
                place = shape.place(stage, chunk)
                needs = (kind, micro_batch, place + (1 if kind == "B" else -1))
                outer = place == (0 if kind == "F" else shape.depth - 1)
                if not outer and needs not in number:
                    break
                left.pop()
                number[kind, micro_batch, place] = len(steps)
                which = 0 if place == 0 else 2 if place == shape.depth - 1 else 1
                steps.append(Step(kind, which, last[stage], -1 if outer else number[needs]))
                last[stage] = len(steps) - 1
    return tuple(steps), (last[0], last[1])
