"""One measured point as a row of the profile; what fails becomes a row that says how."""

import gc
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch

from profiler.device_workloads import LAUNCHES, SEED
from profiler.memory import MemoryUse, memory_meter, memory_of_pass
from profiler.points import Point, work_of
from profiler.power import PowerReading
from profiler.profile import LayerRow
from profiler.timing import GPU_WARM_UP_S, Clock, HostClock, Runnable, Timing, clock_for, time_runnable
from profiler.workloads import Bench, prepare
from profiler.world import use_tensor_parallel


class DeviceLost(Exception):  # noqa: N818  (what happened, not a fault of this program)
    """The device answers nothing any more: no further point can be measured by this process."""


def measure(point: Point, bench: Bench, window_s: float) -> LayerRow:
    """Measure one point for about `window_s` seconds.

    Raises:
        DeviceLost: an error after which the GPU runs nothing any more.
    """
    row, message, oom = None, "", False
    try:
        row = _measure(point, bench, window_s)
    except Exception as error:
        oom = is_out_of_memory(error)
        message = " ".join(str(error).split())[:300] or type(error).__name__
    if row is None:  # only now are the failed frames, and what they held, gone
        _check_alive(bench.world.device, message)
        row = failed_row(point, bench, message, oom=oom)
    release(point, bench.world.device)
    return row


def failed_row(point: Point, bench: Bench, message: str, *, oom: bool = False) -> LayerRow:
    """The row of a point that could not be measured."""
    work = asdict(work_of(point, bench.architecture(point)))
    status = "oom" if oom else "error"
    return LayerRow(**asdict(point), **work, origin="measured", status=status, message=message)  # type: ignore[arg-type]


def _measure(point: Point, bench: Bench, window_s: float) -> LayerRow:
    use_tensor_parallel(point.tp if bench.world.ranks > 1 else 1)
    # launches are the host's work, whatever the device
    clock = HostClock() if point.workload == "launch" else clock_for(bench.world.device)
    found = observe(
        lambda: prepare(point, bench), bench, window_s, clock=clock, compiled=point.execution == "compiled"
    )
    return LayerRow(
        **asdict(point),
        **asdict(work_of(point, bench.architecture(point))),
        **_times(found.timing),
        **_memory(found),
        **_power(found, LAUNCHES if point.workload == "launch" else 1),
        origin="measured",
    )


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Time, memory and power of one workload."""

    timing: Timing
    memory: MemoryUse | None
    power: PowerReading

    @property
    def energy_j(self) -> float | None:
        """Energy of one repetition [J]."""
        return None if self.power.energy_j is None else self.power.energy_j / self.timing.repetitions


def observe(
    build: Callable[[], Runnable], bench: Bench, window_s: float, *, clock: Clock, compiled: bool
) -> Observation:
    """Build a workload, repeat it for about `window_s` seconds, then once more for its memory."""
    device = bench.world.device
    torch.manual_seed(SEED + bench.world.rank)
    memory = memory_meter(device, compiled=compiled)
    with memory.building() if memory else nullcontext():
        runnable = build()
    timing = time_runnable(
        runnable,
        clock,
        window_s,
        watching=bench.meter.watch,
        agree=bench.world.agree,
        warm_up_s=GPU_WARM_UP_S if device.type == "cuda" else 0.0,
    )
    use = memory_of_pass(runnable, memory) if memory else None
    return Observation(timing=timing, memory=use, power=bench.meter.last)


def _times(timing: Timing) -> dict[str, Any]:
    backward = timing.backward
    return {
        "forward_s": timing.forward.median_s,
        "forward_p10_s": timing.forward.p10_s,
        "forward_p90_s": timing.forward.p90_s,
        "backward_s": backward.median_s if backward else None,
        "backward_p10_s": backward.p10_s if backward else None,
        "backward_p90_s": backward.p90_s if backward else None,
        "repetitions": timing.repetitions,
    }


def _memory(found: Observation) -> dict[str, Any]:
    use = found.memory
    if use is None:
        return {}
    kept = use.kept_bytes if found.timing.backward is not None else None
    return {"resident_bytes": use.resident_bytes, "kept_bytes": kept, "peak_bytes": use.peak_bytes}


def _power(found: Observation, calls: int) -> dict[str, Any]:
    """Power of the window, and the energy of one call (forward with its backward)."""
    reading = found.power
    return {
        "power_mean_w": reading.mean_w,
        "power_p95_w": reading.p95_w,
        "energy_j": None if found.energy_j is None else found.energy_j / calls,
        "power_source": reading.source,
        "sm_clock_mhz": reading.sm_clock_mhz,
        "temperature_c": reading.temperature_c,
        "throttle_reasons": ", ".join(reading.throttle_reasons),
    }


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device's or the host's memory did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error).lower()  # torch's CPU allocator, the driver, and libraries that allocate beside torch's
    return any(sign in words for sign in ("can't allocate memory", "out of memory", "cublas_status_alloc_failed"))


def release(point: Point, device: torch.device) -> None:
    """Give back what a point held, so that the next one finds the device empty."""
    if point.execution == "compiled":
        torch.compiler.reset()  # this point's compiled shapes would count against the next one's limit
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _check_alive(device: torch.device, message: str) -> None:
    """After an illegal access every later call on this GPU fails too: find out before the next point does."""
    if device.type != "cuda":
        return
    try:
        torch.cuda.synchronize(device)
        alive = math.isfinite(torch.ones(1, device=device).item())
    except RuntimeError:
        alive = False
    if not alive:
        raise DeviceLost(f"the GPU stopped answering: {message}")
