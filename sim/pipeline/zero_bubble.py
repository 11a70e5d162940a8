"""The longest path through the zero-bubble schedules; names and method as in `sim/pipeline/paths.py`.

ZB-H1 and ZB-H2: arXiv:2401.10241. ZB-V: arXiv:2405.15362. Here W, the gradient of the weights, is an operation of its
own that nothing waits for. From 2 n micro-batches on (ZB-V: and four blocks a chunk), as they are meant to run, it is
within 1 % of the event simulation; below that it may fall short of it by 3 % (ZB-V: 5 %).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sim.pipeline.paths import Array, Ops, Pipeline, gain, longest, where


@dataclass(frozen=True)
class _Stage:
    """One stage of a zero-bubble pipeline, by its number."""

    c: Pipeline
    s: Array

    @cached_property
    def ops(self) -> Ops:
        c, s = self.c, self.s
        at = [(s == 0, c.first), (s == c.n - 1, c.last)]
        pick = {
            name: np.select([here for here, _ in at], [getattr(x, name) for _, x in at], getattr(c.middle, name))
            for name in ("f", "b", "w")
        }
        return Ops(**pick)

    @cached_property
    def begin(self) -> Array:
        """When its first forward can begin."""
        return np.where(self.s > 0, self.c.first.f + (self.s - 1) * self.c.middle.f + self.s * self.c.p, 0.0)

    def above(self, name: str) -> Array:
        """Forwards (or backwards) of all stages after it."""
        c = self.c
        behind: Array = c.n - 1 - self.s
        between = np.where(self.s > 0, behind - 1, c.n - 2)
        total: Array = where(behind > 0, between * getattr(c.middle, name) + getattr(c.last, name))
        return total

    def below(self, name: str, end: "_Stage") -> Array:
        """Forwards (or backwards) of the stages from `end` up to the one before it."""
        hops = self.s - end.s
        to_first = (end.s == 0) & (hops > 0)
        total: Array = (hops - to_first) * getattr(self.c.middle, name) + to_first * getattr(self.c.first, name)
        return total


def zero_bubble(c: Pipeline, q: int) -> Array:
    """ZB-H1 (q = 1) and ZB-H2 (q = 2): stage s runs q (n - 1 - s) forwards ahead and delays its W by q s backwards.

    A path dwells at stage s, reached from below or by way of the last stage, leaves it with a backward and ends with
    the rest of the work of a stage e at or below it. ZB-H2 counts each stage from its own begin.
    """
    n, m, p = c.n, c.m, c.p
    top = n - 1
    zero = np.zeros_like(n)
    last = _Stage(c, top)
    stages = [last, *(_Stage(c, s) for s in (np.maximum(top - 1, 0), np.minimum(1.0, top), zero))]
    stages.append(_Stage(c, np.maximum(top - (m - 1) // q, 0)))
    ends = [_Stage(c, s) for s in (zero, np.minimum(1.0, top), np.maximum(top - 1, 0), np.minimum((m - 1) // q, top))]
    way = c.last.fb + 2 * p
    early = (n > 2) & (m - 1 > q)  # room to turn one stage before the last, a few micro-batches apart
    begin = np.where(early, gain(q * np.maximum(c.middle.f, c.first.f) - way), 0.0)
    paths: list[Array] = []
    for at in stages:
        s, ops = at.s, at.ops
        behind = top - s
        ahead = np.minimum(q * behind, m - 1)
        by_last = at.above("f") + at.above("b") + 2 * behind * p
        by_last_or_not = by_last + np.where(behind > 0, begin, 0.0)
        reached = at.begin + np.where(m - 1 > ahead, gain(by_last_or_not - ahead * ops.f), 0.0)
        for end in (*ends, at):
            paths += [where(end.s <= s, path) for path in _left(c, q, at, end, reached)]
        # the last forward goes up once more
        forwards = reached + m * ops.f + gain(m - 1 - ahead) * ops.b + gain(m - 1 - ahead - q * s) * ops.w
        detour = forwards + at.above("f") + behind * p + c.last.b
        for end in (*ends, last):
            closing = detour + last.below("b", end) + (top - end.s) * p - _own(q, end)
            paths.append(where(behind > 0, closing + np.minimum(m, q * end.s + 1) * end.ops.w))
            weights = m - gain(m - 1 - q - q * end.s)
            turned = closing - way + q * end.ops.b + weights * end.ops.w
            paths.append(where((behind > 1) & early & (end.s < top), turned))
        all_ahead = at.begin + ops.f + by_last + m * (ops.b + ops.w) - _own(q, at)
        paths.append(where((behind > 0) & (m - 1 <= ahead), all_ahead))
    return longest([*paths, *_up_and_down(c, q, last, ends[0])])


def _own(q: int, end: _Stage) -> Array:
    """What is not counted: a ZB-H2 stage's time before its own begin."""
    return end.begin if q == 2 else np.zeros_like(end.s)


def _left(c: Pipeline, q: int, at: _Stage, end: _Stage, reached: Array) -> Iterable[Array]:
    """Paths that leave stage `at` with one of its last backwards j and do the rest of stage `end`."""
    n, m, p = c.n, c.m, c.p
    s, ops, rest = at.s, at.ops, end.ops
    behind = n - 1 - s
    ahead = np.minimum(q * behind, m - 1)
    earliest = np.clip(np.maximum(q * end.s, m - 1 - q * (n - 1 - end.s)), 0, m - 1)
    for j in (m - 1, earliest, np.maximum(earliest, m - 1 - q * behind)):
        left = reached + np.minimum(m, j + ahead + 1) * ops.f + (j + 1) * ops.b + gain(j - q * s) * ops.w
        left = left + at.below("b", end) + (s - end.s) * p + (m - 1 - j) * rest.b
        weights = gain(j - q * end.s)
        yield left + (m - weights) * rest.w - _own(q, end)
        on_to_first = left + (gain(m - 1 - q) - weights) * rest.w + p + c.first.b + c.first.w
        yield where((end.s == 1) & (s > 1), on_to_first)


def _up_and_down(c: Pipeline, q: int, last: _Stage, first: _Stage) -> Iterable[Array]:
    """Before the last stage's first W, down a few stages and up again: longer where sends or those are slow."""
    n, m, p = c.n, c.m, c.p
    beats = np.minimum(m - 1, q * (n - 1))
    faster = c.middle.fb - c.last.fb
    one_down = (beats - 1) * faster + 2 * p - (q - 1) * c.middle.fb  # a climb costs q beats
    ways = [((beats - 1) * (faster + 2 * p) if q == 1 else one_down, (beats > q) & (n > 2))]
    if q == 1:
        all_down = c.first.t + (n - 2) * c.middle.fb + 2 * (n - 1) * p - (n - 1) * c.last.fb - c.last.w
        ways.append((all_down, m > n))
    for more, possible in ways:
        left = last.begin + m * c.last.fb + gain(m - 1 - q * (n - 1)) * c.last.w + more
        yield where(possible, left + np.minimum(m, q * (n - 1) + 1) * c.last.w - _own(q, last))
        yield where(possible, left + last.below("b", first) + (n - 1) * p + c.first.w)


def zb_v(c: Pipeline) -> Array:
    """ZB-V: stage 0 holds the first chunk and the last, stage n - 1 the two at the turn of the V.

    A path dwells at stage 0, at stage 1 or at the turn, reached at once or by way of the V, and ends there, or down
    the V. Each stage counts from its own begin. Laid out for 2 n - 1 micro-batches or more.
    """
    n, m, p = c.n, c.m, c.p
    first, middle, last = c.first, c.middle, c.last
    top = n - 1
    group = np.minimum(m, n)
    many = m > n
    forth = first.f + 2 * top * (middle.f + p) - c.held  # through the V, up to the head; nothing is sent at its turn
    back = 2 * top * (middle.b + p) - c.held + first.b
    home = group * (first.b + first.w) + last.w
    home_by_turn = back + first.w

    # at stage 0
    work = m * (first.t + last.t)
    ahead = np.minimum(2 * n - 1, m) * first.f
    reached = np.maximum(ahead, forth) - ahead
    before = np.minimum(2 * n, m) * first.f + group * last.t
    turned = np.maximum(reached, forth + last.fb + back - first.b - before)
    paths = [
        turned + work,
        where(many, turned + work - home + home_by_turn),
        reached + work - home + np.maximum(home, home_by_turn),
    ]
    for stage in (1.0, top):  # to the head's last backward at stage 0, then the rest of a later stage's
        begin = first.f + (stage - 1) * middle.f + stage * p
        rest = stage * (middle.b + p) + (n - stage) * (middle.b + middle.w) + 2 * stage * middle.w
        paths.append(where(m >= 2 * n - 1, turned + work - home + rest - begin))
    paths += [*_zb_v_at_turn(c, forth, home, home_by_turn), *_zb_v_before_turn(c, forth), *_zb_v_at_second(c, forth)]
    return longest(paths)


def _zb_v_at_turn(c: Pipeline, forth: Array, home: Array, home_by_turn: Array) -> Iterable[Array]:
    """Paths that dwell at stage n - 1, where neither the forward up nor the backward down is sent on."""
    n, m, p = c.n, c.m, c.p
    first, middle, last = c.first, c.middle, c.last
    top = n - 1
    group = np.minimum(m, n)
    rest = np.minimum(gain(m - n), top)  # backwards whose W waits
    rise, fall = first.f + (n - 2) * middle.f + top * p, (n - 2) * middle.b + first.b + top * p
    turn = np.maximum(last.fb, where((n > 2) & (m >= 2 * n), 2 * (middle.f - p)))  # at stage 0, or before it
    via = forth + turn + (n - 2) * middle.b + top * p - group * (2 * middle.f - c.held)
    for reached, possible in ((rise, m > 0), (via, m > n)):
        done = reached + 2 * m * (middle.t - c.held)
        yield done - rise
        yield done - (2 * rest + 1) * middle.w + fall + first.w + 2 * gain(rest - 1) * p
        forwards = done - group * (2 * (middle.b + middle.w) - c.held)
        up = forwards + (n - 2) * middle.f + last.fb + top * p
        yield where(possible, up + home)
        yield where(possible, up + home_by_turn)
        # out to stage 1, back to the turn, down
        out = forwards + (n - 2) * (middle.f + 3 * p) + 2 * n * middle.b + middle.w - c.held
        out_possible = possible & (n > 2) & (rest > 0)
        yield where(out_possible, out + 3 * middle.w - first.f - p)
        yield where(out_possible, out + p + first.b + first.w)
        yield where(out_possible, out - (n - 2) * (middle.b + p) + (2 * rest + 1) * middle.w - rise)


def _zb_v_before_turn(c: Pipeline, forth: Array) -> Iterable[Array]:
    """Paths that dwell at stage n - 2, which sends all that it computes."""
    n, m, p = c.n, c.m, c.p
    first, middle = c.first, c.middle
    possible = (n > 2) & (m >= 2 * n - 1)
    rise, fall = first.f + (n - 3) * middle.f + (n - 2) * p, (n - 3) * middle.b + first.b + (n - 2) * p
    via = forth + c.last.fb + (n - 3) * middle.b + (n - 2) * p - 2 * n * middle.f
    for reached in (rise, via):
        done = reached + 2 * m * middle.t
        yield where(possible, done - rise)
        yield where(possible, done - (2 * n - 3) * middle.w + fall + first.w)


def _zb_v_at_second(c: Pipeline, forth: Array) -> Iterable[Array]:
    """Paths that dwell at stage 1, entered at once or after a group at stage 0, and end by way of the turn."""
    n, m, p = c.n, c.m, c.p
    first, middle, last = c.first, c.middle, c.last
    possible = (n > 2) & (m >= 2 * n - 1)
    begin = first.f + p
    work = 2 * m * middle.t
    entered = begin + gain(2 * (n - 2) * p - c.held) + work
    group = forth + (n - 1) * last.fb + (n - 2) * last.w + p
    by_group = group + work - (3 * n - 2) * middle.f - (n - 2) * (middle.b + middle.w)
    for done in (entered, by_group):
        yield where(possible, done - begin)
        left = done - (n - 1) * (middle.b + middle.w) - 2 * middle.w
        turned = left + (2 * n - 3) * middle.b + 2 * (n - 2) * p - c.held
        yield where(possible, turned + 3 * middle.w - begin)
        yield where(possible, turned + p + first.b + first.w)
