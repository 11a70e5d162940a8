"""How times are taken: quantiles, repetitions, what is inside the watched window and what is not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest

import profiler.timing
from profiler.timing import MIN_REPETITIONS, HostClock, Runnable, time_runnable


class ScriptedClock:
    """A device on which the i-th repetition takes the time the test says."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def mark(self) -> float:
        return self.now_s

    def seconds(self, start: float, end: float) -> float:
        return end - start

    def synchronise(self) -> None:
        pass


def test_times_are_those_of_the_work() -> None:
    """Against the work's own watch, since a busy machine sleeps longer than it is told."""
    took: dict[str, list[float]] = {"forward": [], "backward": []}

    def sleep(name: str, seconds: float) -> None:
        began = time.perf_counter()
        time.sleep(seconds)
        took[name].append(time.perf_counter() - began)

    runnable = Runnable(forward=lambda _: sleep("forward", 0.004), backward=lambda _: sleep("backward", 0.008))
    timing = time_runnable(runnable, HostClock(), 0.1, watching=nullcontext)
    assert timing.backward is not None
    for name, spread in (("forward", timing.forward), ("backward", timing.backward)):
        assert spread.median_s == pytest.approx(median(took[name][-timing.repetitions :]), rel=0.2)
        assert spread.p10_s <= spread.median_s <= spread.p90_s
    assert timing.window_s >= timing.repetitions * 0.012
    assert timing.repetitions >= MIN_REPETITIONS


def test_median_and_deciles_of_a_known_spread() -> None:
    clock = ScriptedClock()

    def forward(i: int) -> None:
        clock.now_s += 1.0 + (i % 5)  # 1, 2, 3, 4, 5 s

    timing = time_runnable(Runnable(forward=forward), clock, 1e-9, watching=nullcontext)
    assert timing.backward is None
    assert timing.repetitions == MIN_REPETITIONS
    assert timing.forward.median_s == 3.0
    assert (timing.forward.p10_s, timing.forward.p90_s) == pytest.approx((1.4, 4.6))


def test_many_calls_in_one_repetition_are_divided() -> None:
    clock = ScriptedClock()

    def forward(_: int) -> None:
        clock.now_s += 10.0

    timing = time_runnable(Runnable(forward=forward, calls=100), clock, 1e-9, watching=nullcontext)
    assert timing.forward.median_s == pytest.approx(0.1)


def test_the_meter_sees_the_measured_repetitions_only() -> None:
    calls: list[str] = []

    @contextmanager
    def watching() -> Iterator[None]:
        calls.append("on")
        yield
        calls.append("off")

    runnable = Runnable(forward=lambda _: calls.append("work"), reset=lambda: calls.append("reset"))
    timing = time_runnable(runnable, HostClock(), 1e-9, watching=watching)
    watched = calls[calls.index("on") + 1 : calls.index("off")]
    assert watched == ["work", "reset"] * timing.repetitions
    assert calls.index("on") >= 6  # three warm-ups at least
    assert calls[-1] == "off"


def test_inputs_rotate() -> None:
    seen: list[Any] = []
    time_runnable(Runnable(forward=seen.append), HostClock(), 1e-9, watching=nullcontext)
    assert seen[-MIN_REPETITIONS:] == list(range(len(seen[-MIN_REPETITIONS:])))


class Stopped:
    """A clock that only work moves on: nothing else on the machine does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(profiler.timing, "time", SimpleNamespace(perf_counter=lambda: self.now_s))

    def work(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Stopped:
    return Stopped(monkeypatch)


def test_ranks_that_agree_on_a_slow_repetition_repeat_less(stopped: Stopped) -> None:
    def work(_: int) -> None:
        stopped.work(0.001)

    def forwards(agree: Any) -> int:
        return time_runnable(Runnable(forward=work), HostClock(), 0.1, watching=nullcontext, agree=agree).repetitions

    assert forwards(lambda value: 10 * value) == pytest.approx(10, abs=2)
    assert forwards(lambda value: value) == pytest.approx(100, abs=2)


@pytest.mark.parametrize("quicker", [1.15, 10])
def test_work_that_runs_faster_than_planned_fills_the_window_all_the_same(quicker: float, stopped: Stopped) -> None:
    """A meter that needs the window gives nothing over one that ends early: repetitions get quicker once watched."""
    watched: list[float] = []

    def forward(_: int) -> None:
        stopped.work(0.01 / quicker if watched else 0.01)

    @contextmanager
    def watching() -> Iterator[None]:
        watched.append(stopped.now_s)
        yield

    timing = time_runnable(Runnable(forward=forward), HostClock(), 0.2, watching=watching)
    assert timing.window_s > 0.95 * 0.2


def test_a_first_repetition_that_compiles_is_no_warm_up() -> None:
    """While it compiles the device cools; the seconds that warm it come after."""
    began: list[float] = []
    watched: list[float] = []

    def forward(_: int) -> None:
        began.append(time.perf_counter())
        time.sleep(0.3 if len(began) == 1 else 0.005)

    @contextmanager
    def watching() -> Iterator[None]:
        watched.append(time.perf_counter())
        yield

    time_runnable(Runnable(forward=forward), HostClock(), 0.05, watching=watching, warm_up_s=0.2)
    assert watched[0] - began[1] > 0.2
