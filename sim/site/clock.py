"""A site's clock: hours that are hot, capped or closed stretch whatever is laid onto them.

What a site does in an hour follows from what is allowed: work that fits goes at its own pace, training that does not
is slowed by its clocks, and what still does not fit waits; where not even waiting fits, the site is switched off.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.units import HOUR_S
from sim.clocks import speed_at_power
from sim.site.conditions import Hours
from sim.site.energy import PARTS

Array = NDArray[np.float64]

GPU, COOLING = PARTS.index("gpu"), PARTS.index("cooling")

RUNS, PAUSED, SAVES, OFF, RESTARTS = range(5)
"""What a site does with an hour or a part of one."""

_NOTHING_S = 1e-7
"""Shorter stretches are rounding."""


class Stretch(NamedTuple):
    """A part of the site's time, from one change to the next."""

    start_s: float
    end_s: float
    hour: int
    mode: int


@dataclass(frozen=True, kw_only=True)
class Powers:
    """Watts and pace of each power state in each hour."""

    parts_w: Array
    """Without cooling, by state and part; (states, parts)."""
    gpu_w: Array
    """GPUs as far as they are allowed; (hours, states)."""
    pace: Array
    """Speed over that of an undisturbed hour, 0 where the state does not fit; (hours, states)."""
    clocks: Array
    """The part of it that a cap costs; (hours, states)."""
    pue: Array
    idle: int
    """The state that draws least; closed hours are spent in it."""
    off: NDArray[np.bool_]
    """Hours in which not even that is allowed."""

    @property
    def total_w(self) -> Array:
        """At the meter; (hours, states)."""
        rest_w = self.parts_w.sum(axis=1) - self.parts_w[:, GPU]
        total: Array = self.pue[:, None] * (self.gpu_w + rest_w)
        return total


def powers(hours: Hours, state_parts_w: Array, training: int) -> Powers:
    """What each state draws, and how fast it goes, in each hour.

    Args:
        hours: PUE, speed and what is allowed.
        state_parts_w: watts by state and part on the undisturbed clock; cooling is worked out anew.
        training: how many states, the first ones, are training and can be slowed.
    """
    parts_w = state_parts_w.copy()
    parts_w[:, COOLING] = 0.0
    gpu_w, rest_w = parts_w[:, GPU], parts_w.sum(axis=1) - parts_w[:, GPU]
    allowed_w = (hours.allowed_w / hours.pue)[:, None] - rest_w
    with np.errstate(invalid="ignore"):
        clocks = np.where(allowed_w >= gpu_w, 1.0, 0.0)
        slowed = speed_at_power(np.clip(allowed_w[:, :training] / gpu_w[:training], 0.0, 1.0))
    clocks[:, :training] = np.where(clocks[:, :training] == 1, 1.0, slowed)
    pace = clocks.copy()
    pace[:, :training] *= hours.speed[:, None]
    idle = int(parts_w.sum(axis=1).argmin())
    return Powers(
        parts_w=parts_w,
        gpu_w=np.where(clocks > 0, np.minimum(gpu_w, allowed_w), 0.0),
        pace=pace,
        clocks=clocks,
        pue=hours.pue,
        idle=idle,
        off=hours.allowed_w < hours.pue * parts_w[idle].sum(),
    )


def stretches(off: NDArray[np.bool_], save_s: float, restart_s: float) -> Iterator[Stretch]:
    """The hours one by one; before the site is switched off the job saves itself, afterwards it restarts."""
    restarted_s = 0.0
    for hour, (now_off, next_off) in enumerate(zip(off.tolist(), [*off.tolist()[1:], False], strict=True)):
        start_s, end_s = hour * HOUR_S, (hour + 1) * HOUR_S
        if now_off:
            yield Stretch(start_s, end_s, hour, OFF)
            restarted_s = end_s + restart_s
            continue
        if start_s < restarted_s:
            until_s = min(restarted_s, end_s)
            yield Stretch(start_s, until_s, hour, RESTARTS)
            start_s = until_s
        saving_s = max(end_s - save_s, start_s) if next_off else end_s
        if saving_s > start_s:
            yield Stretch(start_s, saving_s, hour, RUNS)
        if saving_s < end_s:
            yield Stretch(saving_s, end_s, hour, SAVES)


class Laid(NamedTuple):
    """A part of a segment on the site's clock."""

    segment: int
    start_s: float
    end_s: float
    hour: int
    mode: int
    done_s: float
    """Seconds of the undisturbed clock."""


def lay(lengths_s: Array, shares: Array, pace: Array, site: Iterator[Stretch]) -> list[Laid] | None:
    """Lay segments onto the site's time, in order; `None` where that ends before they do.

    Args:
        lengths_s: of the segments on the undisturbed clock.
        shares: of each state in a segment's time; (segments, states).
        pace: (hours, states).
        site: the site's time.
    """
    laid: list[Laid] = []
    with np.errstate(divide="ignore"):
        stretched = (1 / pace).tolist()
    now = next(site)
    now_s = 0.0
    for segment, (length_s, row) in enumerate(zip(lengths_s.tolist(), shares.tolist(), strict=True)):
        mix = [(state, share) for state, share in enumerate(row) if share > 0]
        left_s = length_s
        while left_s > _NOTHING_S:
            if now.end_s - now_s <= _NOTHING_S:
                following = next(site, None)
                if following is None:
                    return None
                now = following
            mode, stretch = now.mode, 0.0
            if mode == RUNS:
                here = stretched[now.hour]
                for state, share in mix:
                    stretch += share * here[state]
                if stretch == math.inf:
                    mode = PAUSED
            room_s = now.end_s - now_s
            if mode == RUNS and left_s * stretch <= room_s:
                end_s, done_s = now_s + left_s * stretch, left_s
            else:
                end_s, done_s = now.end_s, room_s / stretch if mode == RUNS else 0.0
            laid.append(Laid(segment, now_s, end_s, now.hour, mode, done_s))
            left_s -= done_s
            now_s = end_s
    return laid
