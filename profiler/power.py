"""How power and energy are measured over a window of work. What cannot be read is `None` with the reason.

The energy counter is the primary meter: its difference over the window. Power sampled meanwhile from a thread
is the cross-check, and takes over where the counter does not exist or stands still. A GPU updates its counter
about every 100 ms and its instant power sees a quarter of the time (arXiv:2312.02741), so windows shorter than a
sensor needs are refused and a disagreement between the two is reported.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from profiler.profile import DISAGREEING

SAMPLES_PER_S = 25.0
WINDOW_MARGIN = 1.05
"""Windows are planned this much longer than a sensor needs, since repetitions may turn out quicker."""
DISAGREEMENT = 0.10
"""Relative difference of the two meters above which the reading says so."""


class NotMeasured(Exception):  # noqa: N818  (a finding, reported as such, not a fault)
    """Power cannot be read; the message is the reason a person reads."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at the device; `None` is not readable here."""

    time_s: float
    power_w: float | None = None
    sm_clock_mhz: float | None = None
    temperature_c: float | None = None
    throttle_reasons: frozenset[str] = frozenset()


class Sensor(Protocol):
    """One device's meters. Methods raise `NotMeasured` when the device no longer answers at all."""

    name: str
    least_window_s: float
    """Shortest window over which its readings mean something [s]."""

    def energy_j(self) -> float | None:
        """Joules since some fixed moment, or None without a counter."""

    def sample(self) -> Sample:
        """Power, clock, temperature and throttling now."""


@dataclass(frozen=True, kw_only=True)
class PowerReading:
    """Power and energy over one window; `None` is not measured, never zero."""

    source: str
    """Which meter, over how long, how far the other one was; or why nothing was measured."""
    energy_j: float | None = None
    mean_w: float | None = None
    p95_w: float | None = None
    window_s: float | None = None
    sm_clock_mhz: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    disagreement: float | None = None
    """Mean of the sampled power over that of the energy counter, minus one; None without both."""


@dataclass
class PowerMeter:
    """Watches one device through its sensor, or explains why it cannot."""

    sensor: Sensor | None
    reason: str = ""
    """Why there is no sensor."""
    last: PowerReading = field(init=False)

    def __post_init__(self) -> None:
        self.last = self._nothing(self.reason)

    @property
    def window_s(self) -> float | None:
        """Length of window to plan for this meter [s]; None where there is none to lengthen windows for."""
        return None if self.sensor is None else WINDOW_MARGIN * self.sensor.least_window_s

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Measure while the body runs; the reading is in `last` afterwards. No meter's failure is raised."""
        self.last = self._nothing(self.reason)
        if self.sensor is None:
            yield
            return
        sampler = _Sampler(self.sensor)
        try:
            before_j = self.sensor.energy_j()
        except NotMeasured as error:
            self._lose(error)
            yield
            return
        started = time.perf_counter()
        with sampler:
            yield
        window_s = time.perf_counter() - started
        try:
            sampler.check()
            after_j = self.sensor.energy_j()
        except NotMeasured as error:
            self._lose(error)
            return
        self.last = read_window(self.sensor, before_j, after_j, sampler.samples, started, window_s)

    def idle_power_w(self) -> float | None:
        """Mean power over one window while this process does nothing [W]; None where it cannot be measured."""
        if self.window_s is None:
            return None
        with self.watch():
            time.sleep(self.window_s)
        return self.last.mean_w

    def _lose(self, error: NotMeasured) -> None:
        # A device that fell off the bus does not come back within a run: stop asking, keep the reason.
        self.sensor, self.reason = None, str(error)
        self.last = self._nothing(self.reason)

    @staticmethod
    def _nothing(reason: str) -> PowerReading:
        return PowerReading(source=f"not measured: {reason}" if reason else "not measured")


class _Sampler:
    """A thread that samples while the `with` body runs."""

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)
        self._error: NotMeasured | None = None
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what stopped the sampling."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            try:
                self.samples.append(self._sensor.sample())
            except NotMeasured as error:
                self._error = error
                return
            if self._stop.wait(1.0 / SAMPLES_PER_S):
                return


def read_window(
    sensor: Sensor,
    before_j: float | None,
    after_j: float | None,
    samples: list[Sample],
    started_s: float,
    window_s: float,
) -> PowerReading:
    """Turn a counter's two ends and the samples between into one reading.

    Args:
        sensor: whose readings they are.
        before_j, after_j: the energy counter at both ends [J].
        samples: in order of time, on `time.perf_counter`'s clock.
        started_s, window_s: begin and length of the window [s].
    """
    name = sensor.name
    powers = [(s.time_s, s.power_w) for s in samples if s.power_w is not None]
    reading = _state(name, samples, [power for _, power in powers], window_s)
    if window_s < sensor.least_window_s:
        short = f"not measured: windows under {sensor.least_window_s:g} s are too short for {name}"
        return replace(reading, source=short, p95_w=None)
    sampled_w = _time_weighted_mean(powers, started_s, started_s + window_s)
    counted_j = None if before_j is None or after_j is None else after_j - before_j
    where = f"{name} over {window_s:.3g} s"
    if counted_j is not None and counted_j > 0:
        counted = replace(reading, energy_j=counted_j, mean_w=counted_j / window_s)
        return _cross_check(counted, sampled_w, where, len(powers))
    if sampled_w is None:
        return replace(reading, source=f"not measured: {name} gave neither energy nor power")
    why = "it has no energy counter" if counted_j is None else "its energy counter did not advance"
    return replace(
        reading,
        energy_j=sampled_w * window_s,
        mean_w=sampled_w,
        source=f"{where}: power sampled {len(powers)} times, as {why}",
    )


def _cross_check(reading: PowerReading, sampled_w: float | None, where: str, count: int) -> PowerReading:
    if sampled_w is None or not reading.mean_w:
        return replace(reading, source=f"{where}: energy counter, no cross-check")
    off = sampled_w / reading.mean_w - 1.0
    verdict = f"{DISAGREEING}: " if abs(off) > DISAGREEMENT else ""
    source = f"{verdict}{where}: energy counter; {count} power samples {100 * off:+.1f} %"
    return replace(reading, source=source, disagreement=off)


def _state(name: str, samples: list[Sample], powers: list[float], window_s: float) -> PowerReading:
    clocks = [s.sm_clock_mhz for s in samples if s.sm_clock_mhz is not None]
    temperatures = [s.temperature_c for s in samples if s.temperature_c is not None]
    return PowerReading(
        source=name,
        window_s=window_s,
        p95_w=statistics.quantiles(powers, n=20, method="inclusive")[-1] if len(powers) > 1 else None,
        sm_clock_mhz=statistics.fmean(clocks) if clocks else None,
        temperature_c=max(temperatures) if temperatures else None,
        throttle_reasons=tuple(sorted(frozenset().union(*(s.throttle_reasons for s in samples)))),
    )


def _time_weighted_mean(powers: list[tuple[float, float]], start_s: float, end_s: float) -> float | None:
    """Trapezoids between samples; the first and last value hold out to the window's ends."""
    if not powers:
        return None
    points = [(start_s, powers[0][1]), *powers, (end_s, powers[-1][1])]
    area = sum((b - a) * (x + y) / 2 for (a, x), (b, y) in pairwise(points))
    return area / (points[-1][0] - points[0][0])


class RaplSensor:
    """A CPU's package energy counters, through Linux's powercap files.

    Counts whole packages: everything that runs on them, not this process alone.
    """

    name = "RAPL (whole CPU packages)"
    least_window_s = 1.0
    """A thousand updates of its counter (Intel SDM vol. 3B, section 15.10: about 1 ms)."""

    def __init__(self, root: Path = Path("/sys/class/powercap")) -> None:
        self._counters = [zone / "energy_uj" for zone in sorted(root.glob("intel-rapl:[0-9]*"))]
        self._counters = [path for path in self._counters if path.parent.name.count(":") == 1]
        if not self._counters:
            raise NotMeasured("this CPU offers no RAPL energy counter")
        self._ranges_j = [_microjoules(path.with_name("max_energy_range_uj")) for path in self._counters]
        self._last_j = [_microjoules(path) for path in self._counters]
        self._total_j = 0.0
        self._lock = threading.Lock()

    def energy_j(self) -> float:
        """Joules of all packages since this sensor was made; counts on when a register wraps."""
        with self._lock:
            now_j = [_microjoules(path) for path in self._counters]
            pairs = zip(now_j, self._last_j, self._ranges_j, strict=True)
            self._total_j += sum(now - last + (span if now < last else 0.0) for now, last, span in pairs)
            self._last_j = now_j
            return self._total_j

    def sample(self) -> Sample:
        """RAPL has no power reading; looking at the counter often keeps a wrap from being missed."""
        self.energy_j()
        return Sample(time_s=time.perf_counter())


def _microjoules(path: Path) -> float:
    try:
        return int(path.read_text()) * 1e-6
    except PermissionError:
        raise NotMeasured("RAPL's energy counter is readable by root only on this machine") from None
    except (OSError, ValueError) as error:
        raise NotMeasured(f"RAPL's energy counter cannot be read ({error})") from None
