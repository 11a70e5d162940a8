"""How a time is measured: CUDA events on a GPU, the host's clock on a CPU; warm-up, then quantiles."""

import math
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

MIN_REPETITIONS = 5
MAX_REPETITIONS = 200_000
STABLE_WITHIN = 0.05
"""Warm-up ends when three successive repetitions agree this closely."""
WARM_UP_SHARE = 0.2
"""Least warm-up, as a share of the window: clocks and power take a second or two to settle."""
GPU_WARM_UP_S = 0.5
"""Least warm-up on a GPU, which runs faster in a burst than its power limit lets it go on."""
WARM_UP_MAX_REPETITIONS = 50
SHORT = 0.03
"""Share of the window by which repetitions may fall short of it."""
TRIAL_SHARE = 0.05
"""Part of the window in which repetitions follow each other without waiting, to plan how many fill it."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Quantiles of one phase's repetitions, in seconds."""

    median_s: float
    p10_s: float
    p90_s: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one window of repetitions gave."""

    forward: Spread
    backward: Spread | None
    repetitions: int
    window_s: float
    """Wall time of the whole window, from one device synchronise to the next."""


@dataclass(frozen=True, kw_only=True)
class Runnable:
    """A prepared workload. `forward(i)` runs repetition i on the i-th of its rotating inputs."""

    forward: Callable[[int], Any]
    backward: Callable[[Any], None] | None = None
    """Runs the backward pass of what `forward` returned."""
    reset: Callable[[], None] = lambda: None
    """Runs between repetitions, outside the timed phases: drops gradients, waits."""
    calls: int = 1
    """How many times `forward` does the thing measured; times are divided by it."""


class Clock(Protocol):
    """Marks points in the device's work and says the seconds between them."""

    def mark(self) -> Any:
        """Note this point of the device's queue."""

    def seconds(self, start: Any, end: Any) -> float:
        """Seconds between two marks; call `synchronise` first."""

    def synchronise(self) -> None:
        """Wait until the device has done everything asked."""


class HostClock:
    """`time.perf_counter`, for work that runs on this CPU."""

    def mark(self) -> float:
        """Now."""
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        """Difference of two marks."""
        return end - start

    def synchronise(self) -> None:
        """Nothing to wait for: CPU work is done when the call returns."""


class CudaClock:
    """CUDA events on the current stream: the GPU's own time, no wait between repetitions."""

    def mark(self) -> Any:
        """Record an event."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """Elapsed time between two recorded events."""
        return float(start.elapsed_time(end)) / 1e3

    def synchronise(self) -> None:
        """Wait for the GPU."""
        torch.cuda.synchronize()


def clock_for(device: torch.device) -> Clock:
    """The clock that measures work on `device`."""
    return CudaClock() if device.type == "cuda" else HostClock()


def time_runnable(
    runnable: Runnable,
    clock: Clock,
    window_s: float,
    *,
    watching: Callable[[], AbstractContextManager[object]],
    agree: Callable[[float], float] = lambda value: value,
    warm_up_s: float = 0.0,
) -> Timing:
    """Warm up until stable, then time repetitions for about `window_s` seconds (at least five of them).

    Args:
        runnable: what to repeat.
        clock: how to time it.
        window_s: length of the measured window [s].
        watching: entered around the measured window only, both ends synchronised (the power meter).
        agree: makes ranks that run together take the same decisions, by the largest of their values.
        warm_up_s: least warm-up, where a share of the window would be less [s].
    """
    single_s = _warm_up(runnable, clock, window_s, max(warm_up_s, WARM_UP_SHARE * window_s), agree)
    expected_s = _seconds_in_a_row(runnable, clock, TRIAL_SHARE * window_s / single_s, agree)
    repetitions = min(max(math.ceil(window_s / expected_s), MIN_REPETITIONS), MAX_REPETITIONS)
    with watching():
        started = time.perf_counter()
        laps = [_repeat(runnable, clock, i) for i in range(repetitions)]
        clock.synchronise()
        elapsed_s = time.perf_counter() - started
        short = 1 - agree(elapsed_s) / window_s  # they may run faster than in the trial, and a meter needs it all
        if short > SHORT:
            more = min(math.ceil(repetitions * short / (1 - short)), MAX_REPETITIONS - repetitions)
            laps += [_repeat(runnable, clock, repetitions + i) for i in range(more)]
            clock.synchronise()
            elapsed_s = time.perf_counter() - started
    forward = [clock.seconds(start, middle) / runnable.calls for start, middle, _ in laps]
    backward = [clock.seconds(middle, end) for _, middle, end in laps]
    return Timing(
        forward=_spread(forward),
        backward=_spread(backward) if runnable.backward else None,
        repetitions=len(laps),
        window_s=elapsed_s,
    )


def _repeat(runnable: Runnable, clock: Clock, i: int) -> tuple[Any, Any, Any]:
    start = clock.mark()
    output = runnable.forward(i)
    middle = clock.mark()
    end = middle
    if runnable.backward is not None:
        runnable.backward(output)
        end = clock.mark()
    runnable.reset()
    return start, middle, end


def _warm_up(
    runnable: Runnable, clock: Clock, window_s: float, least_s: float, agree: Callable[[float], float]
) -> float:
    """Repeat until three repetitions agree and the device is warm; return the seconds of one."""
    recent: list[float] = []
    spent_s = 0.0
    for i in range(MAX_REPETITIONS):
        clock.synchronise()
        started = time.perf_counter()
        _repeat(runnable, clock, i)
        clock.synchronise()
        took_s = max(agree(time.perf_counter() - started), 1e-9)
        recent = [*recent[-2:], took_s]
        spent_s += took_s if i else 0.0  # the first may have compiled, while the device cooled
        stable = len(recent) == 3 and max(recent) - min(recent) <= STABLE_WITHIN * min(recent)
        settled = stable or i + 1 >= WARM_UP_MAX_REPETITIONS or spent_s > window_s
        if settled and len(recent) == 3 and spent_s >= least_s:
            break
    return statistics.median(recent)


def _seconds_in_a_row(runnable: Runnable, clock: Clock, repetitions: float, agree: Callable[[float], float]) -> float:
    """Seconds of one repetition where none waits for the device, as in the measured window."""
    count = min(max(math.ceil(repetitions), MIN_REPETITIONS), MAX_REPETITIONS)
    started = time.perf_counter()
    for i in range(count):
        _repeat(runnable, clock, i)
    clock.synchronise()
    return max(agree((time.perf_counter() - started) / count), 1e-9)


def _spread(seconds: list[float]) -> Spread:
    ordered = sorted(seconds)
    deciles = statistics.quantiles(ordered, n=10, method="inclusive")
    return Spread(median_s=statistics.median(ordered), p10_s=deciles[0], p90_s=deciles[-1])
