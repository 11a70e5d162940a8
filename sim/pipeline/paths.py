"""The longest path through GPipe and 1F1B, over arrays with one entry per pipeline of two or more stages.

Names as in the literature: n stages, m micro-batches, v chunks a stage; F forward, B backward (gradient of the
input), W gradient of the weights. A path climbs the stages with forwards, descends with backwards and stays at a
stage with the operations that it computes in turn. Every candidate below is a path, so none is longer than the
schedule really takes; tests hold the longest of them against the event simulation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ops:
    """Seconds of one micro-batch in one chunk: forward, backward, weight gradient."""

    f: Array
    b: Array
    w: Array

    @property
    def t(self) -> Array:
        """All three."""
        return self.f + self.b + self.w

    @property
    def fb(self) -> Array:
        """Forward and backward alone."""
        return self.f + self.b


@dataclass(frozen=True)
class Pipeline:
    """Pipelines of one schedule: all chunks between the first and the last are alike."""

    n: Array
    v: Array
    m: Array
    first: Ops
    middle: Ops
    last: Ops
    deferred: Array
    """Weight gradient per micro-batch that the last stage works off after its last backward."""
    p: Array
    """Time between the end of an operation and the begin of the one in the next stage that it feeds."""
    held: Array
    """What a send adds to the operation before it; the chunks hold it already."""

    def at(self, here: NDArray[np.intp]) -> "Pipeline":
        """Some of the pipelines."""
        first, middle, last = (Ops(x.f[here], x.b[here], x.w[here]) for x in (self.first, self.middle, self.last))
        rest = self.deferred[here], self.p[here], self.held[here]
        return Pipeline(self.n[here], self.v[here], self.m[here], first, middle, last, *rest)


def longest(paths: Iterable[Array]) -> Array:
    """The longest of some paths."""
    return reduce(np.maximum, paths)


def gain(detour: Array) -> Array:
    """What a detour adds to a path that takes it only where it is longer."""
    return np.maximum(detour, 0.0)


def where(possible: "NDArray[np.bool_]", path: Array) -> Array:
    """The path where there is one."""
    return np.where(possible, path, 0.0)


def gpipe(c: Pipeline) -> Array:
    """All forwards, then all backwards: two flow shops of identical jobs, each as long as one job through all stages
    and the others at the slowest."""
    between = c.n - 2
    slowest = [np.maximum(a, where(between > 0, b)) for a, b in _ends(c)]
    up = c.first.f + between * c.middle.f + c.last.f + (c.m - 1) * slowest[0] + (c.n - 1) * c.p
    down = c.first.b + c.first.w + between * (c.middle.b + c.middle.w) + c.last.b + c.last.w
    down = down + (c.m - 1) * slowest[1] + (c.n - 1) * c.p
    at_last = up + c.m * (c.last.b + c.last.w + c.deferred)
    return np.maximum(up + down, at_last)


def _ends(c: Pipeline) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    first, middle, last = ((x.f, x.b + x.w) for x in (c.first, c.middle, c.last))
    return (np.maximum(first[0], last[0]), middle[0]), (np.maximum(first[1], last[1]), middle[1])


def whole(c: Pipeline) -> tuple[Ops, Ops, Ops]:
    """First, middle and last chunk where the backward computes the weight gradient too."""
    first, middle, last = (Ops(x.f, x.b + x.w, np.zeros_like(x.w)) for x in (c.first, c.middle, c.last))
    return first, middle, last


Paths = tuple[list[Array], list[Array]]
"""Paths to the end, and those of them that the last stage's last backward is on."""


def one_f_one_b(c: Pipeline) -> Array:
    """1F1B, one chunk a stage.

    Stage s runs n - 1 - s forwards ahead. Counting a forward of micro-batch i at stage s as beat i + s, a climb and
    a turn from backward to forward each cost a beat and all else none, so that a path of m + n - 1 forwards and as
    many backwards is the longest when it has the slowest stage in it most often, or, where sends are slow, climbs
    most often (`c.p` twice for each climb).
    """
    first, middle, _ = whole(c)
    groups = [_always_at_last(c), _mostly_between(c), _zigzag(c), _mostly_at_first(c)]
    through_last = longest(path for _, paths in groups for path in paths)
    down = (c.n - 1) * c.p + (c.n - 2) * middle.b + first.b
    deferred = np.where(c.deferred > 0, through_last - down + c.m * c.deferred, 0.0)
    return longest([through_last, deferred, *(path for paths, _ in groups for path in paths)])


def _always_at_last(c: Pipeline) -> Paths:
    """At the last stage all the time, or away from it and back."""
    n, m, p = c.n, c.m, c.p
    first, middle, last = whole(c)
    between = n - 2
    slower = 2 * p + np.where(between > 0, middle.t, first.t) - last.t
    turns = np.ceil((m - 1) / n)
    away = (m - 1 - turns) * slower + np.where(between > 0, (m - 1) // n * (first.t - middle.t), 0.0)
    short = (m - 1 - np.ceil((m - 1) / (n - 1))) * slower  # not down to the first stage
    path = first.t + between * middle.t + m * last.t + 2 * (n - 1) * p
    path = path + gain(np.maximum(away, where(between > 0, short)))
    return [path], [path]


def _mostly_between(c: Pipeline) -> Paths:
    """At the stages between, by way of the last at the begin and the end, or with a forward (backward) more."""
    n, m, p = c.n, c.m, c.p
    first, middle, last = whole(c)
    between, possible, roomy = n - 2, (n > 2) & (m > 1), m > 2
    way = last.t + 2 * p
    begin, end = gain(way - middle.f), gain(way - middle.b)
    climbs = gain(m - 2 - np.ceil((m - 2) / np.maximum(between, 1)))
    base = first.t + (m + n - 3) * middle.t + 2 * (between + climbs) * p
    path = base + np.where(roomy, begin + end, np.maximum(begin, end))
    then_last = base + np.where(roomy, begin, 0.0) + way - middle.b
    return [where(possible, path)], [where(possible, then_last)]


def _zigzag(c: Pipeline) -> Paths:
    """Up and down all the time: with the last stage in every turn but not the first, or the other way round."""
    n, m, p = c.n, c.m, c.p
    first, middle, last = whole(c)
    possible = (n > 2) & (m > 2)
    way = last.t + 2 * p
    alike = first.t + (m + n - 2) * middle.t
    turns = np.ceil((m - 1) / (n - 1))
    with_last = alike + (turns + 1) * (last.t - middle.t) + 2 * p * (n + m - 2 - turns)
    turns = np.ceil((m - 2) / (n - 1))
    with_first = alike + turns * (first.t - middle.t) + 2 * (last.t - middle.t) + 2 * p * (n + m - 2 - turns)
    with_first = with_first + gain(middle.f - way)
    path = where(possible, with_first + gain(middle.b - way))
    return [path], [where(possible, with_last), where(possible, with_first)]


def _mostly_at_first(c: Pipeline) -> Paths:
    """At the first stage, by way of the last (or the one before it) at the begin and the end."""
    n, m, p = c.n, c.m, c.p
    first, middle, last = whole(c)
    roomy = (n > 2) & (m > 2)
    way = last.t + 2 * p
    others = (n - 2) * middle.t + last.t + 2 * (n - 1) * p
    ahead = np.minimum(n - 1, m - 1)
    begin = gain(others + where(roomy, gain(middle.f - way)) - ahead * first.f)
    end = gain(others + where(roomy, gain(middle.b - way)) - ahead * first.b)
    both = m >= ahead + 2
    path = m * first.t + np.where(both, begin + end, np.maximum(begin, end))
    then_last = m * first.t + np.where(both, begin, 0.0) + others - ahead * first.b
    return [path], [then_last]


def interleaved(c: Pipeline) -> Array:
    """Interleaved 1F1B, v chunks a stage, micro-batches in groups (`sim.schedule.order.rounds`).

    As for 1F1B, but stage s runs (v - 1) groups and 2 (n - 1 - s) forwards ahead: a climb costs two beats, so that
    sends hide between the first and the last group; a lap of one micro-batch through a chunk of every stage, or a
    group at one stage, passes while the pipeline fills and drains. Of two stages these hold where all chunks but the
    last are alike and an even number of micro-batches, four at least, comes through (else `sim.pipeline.two_stages`).
    """
    n, v, m, p = c.n, c.v, c.m, c.p
    first, middle, last = whole(c)
    between, climb = n - 2, (n - 1) * p
    groups = np.maximum(m // n, 1)
    group, group_last = np.ceil(m / groups), np.floor(m / groups)

    lap_f = np.maximum(n * (middle.f + p), group * middle.f)
    lap_b = np.maximum(n * (middle.b + p), group_last * middle.b)
    rise, fall = first.f + between * middle.f + climb, first.b + between * middle.b + climb
    up = np.maximum(rise + (v - 1) * lap_f, group * first.f + (v - 2) * lap_f + (n - 1) * middle.f + climb)
    down_last = fall + (v - 1) * lap_b  # the last stage's last backward in it
    down = np.maximum(down_last, group_last * first.b + (v - 2) * lap_b + (n - 1) * middle.b + climb)

    at_last = up + m * last.t + (v - 1) * ((m - group) * middle.f + (m - group_last) * middle.b)

    # at the stage before the last one
    way = last.t + 2 * p
    base = up + down - 2 * p + (m * v - 3) * middle.t - (v - 1) * (group * middle.f + group_last * middle.b)
    # of two stages neither has only chunks from between: a path dodges the first and the last chunk, group by group
    base = base - np.where(n == 2, (groups - 1) * (2 * middle.f - first.f + middle.b - 2 * p), 0.0)
    at_middle = where(m > 2, base + np.maximum(2 * middle.f, way) + np.maximum(2 * middle.b, way))
    few = where(m <= 3, up + (m - 1) * np.maximum(middle.f, middle.b) + last.t + down)

    at_first, at_first_then_last = _interleaved_at_first(c, up, down, down_last, group, group_last)
    through_last = longest((at_last + down_last, at_middle - down + down_last, at_first_then_last))
    deferred = np.where(c.deferred > 0, through_last - fall + m * c.deferred, 0.0)
    return longest((at_last + down, at_middle, few, at_first, deferred))


def _interleaved_at_first(
    c: Pipeline, up: Array, down: Array, down_last: Array, group: Array, group_last: Array
) -> tuple[Array, Array]:
    """The path at the first stage, and the one that the last stage's last backward is on."""
    n, v, m = c.n, c.v, c.m
    first, middle, last = whole(c)
    passes = m * v
    ahead = np.minimum((v - 1) * group + 2 * (n - 1), passes - 1)
    ahead_b = np.minimum((v - 1) * group_last + 2 * (n - 1), passes - 1)
    of_first = group + np.clip(ahead + 1 - v * group, 0.0, m - group)
    of_first_b = group_last + np.clip(ahead_b + 1 - v * group_last, 0.0, m - group_last)
    skipped = (of_first - 1) * first.f + (ahead + 1 - of_first) * middle.f
    skipped_b = (of_first_b - 1) * first.b + (ahead_b + 1 - of_first_b) * middle.b
    climb = (n - 1) * c.p
    begin = gain(up - first.f + last.t + (n - 2) * middle.b + climb - skipped)
    tail = last.t + (n - 2) * middle.f + climb - first.b - skipped_b
    end = gain(down + tail)
    work = m * (first.t + (v - 1) * middle.t)
    both = passes >= ahead + 2
    path = work + np.where(both, begin + end, np.maximum(begin, end))
    return path, work + np.where(both, begin, 0.0) + down_last + tail
