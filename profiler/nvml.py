"""An NVIDIA GPU's meters through NVML (nvidia-ml-py's `pynvml`), with every failure as one sentence."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from profiler.power import NotMeasured, Sample

T = TypeVar("T")

_THROTTLES = {
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
    0x100: "display clocks",
}
"""nvmlClocksEventReason bits (nvml.h); idle (0x1) is no throttling."""


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """What NVML says of a GPU once; `None` where it will not."""

    name: str
    driver: str
    enforced_power_limit_w: float | None
    sm_clock_max_mhz: float | None
    memory_clock_mhz: float | None


class NvmlSensor:
    """One GPU's energy counter, instant power, clock, temperature and throttle reasons."""

    name = "NVML"
    least_window_s = 10.0
    """A hundred steps of the energy counter, and time for the averaged readings to follow."""

    def __init__(self, index: int = 0, uuid: str | None = None) -> None:
        """Open the GPU with this `uuid` ("GPU-…"), or this index where none is given.

        CUDA can number GPUs otherwise than NVML does, so a UUID is safer.

        Raises:
            NotMeasured: no library, no driver, no permission, no such GPU, or one divided into MIG instances,
                whose meters count them all.
        """
        self._nvml = _load()
        nvml = self._nvml
        try:
            nvml.nvmlInit()
            if uuid is None:
                self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
            else:
                self._handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        except nvml.NVMLError as error:
            raise NotMeasured(_explain(nvml, error)) from None
        mode = self._optional(lambda: nvml.nvmlDeviceGetMigMode(self._handle))
        if mode is not None and mode[0] == nvml.NVML_DEVICE_MIG_ENABLE:
            raise NotMeasured("this GPU is divided into MIG instances, and its meters count all of them together")

    def energy_j(self) -> float | None:
        """Joules since the driver loaded. Unit of NVML: mJ."""
        millijoules = self._optional(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None if millijoules is None else millijoules * 1e-3

    def sample(self) -> Sample:
        """Instant power where the driver has it, else averaged power; clock, temperature, throttling."""
        nvml, handle = self._nvml, self._handle
        return Sample(
            time_s=time.perf_counter(),
            power_w=self._power_w(),
            sm_clock_mhz=self._number(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            temperature_c=self._number(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            throttle_reasons=self._throttle_reasons(),
        )

    def facts(self) -> GpuFacts:
        """Name, driver, enforced power limit and clocks."""
        nvml, handle = self._nvml, self._handle
        limit_mw = self._optional(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        return GpuFacts(
            name=self._optional(lambda: str(nvml.nvmlDeviceGetName(handle))) or "",
            driver=self._optional(lambda: str(nvml.nvmlSystemGetDriverVersion())) or "",
            enforced_power_limit_w=None if limit_mw is None else limit_mw * 1e-3,
            sm_clock_max_mhz=self._number(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_clock_mhz=self._number(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
        )

    def _power_w(self) -> float | None:
        """Field 186 (instant power), else nvmlDeviceGetPowerUsage (a 1 s average on newer GPUs). Unit: mW."""
        fields = self._optional(
            lambda: self._nvml.nvmlDeviceGetFieldValues(self._handle, [self._nvml.NVML_FI_DEV_POWER_INSTANT])
        )
        if fields is not None and fields[0].nvmlReturn == self._nvml.NVML_SUCCESS:
            return float(fields[0].value.uiVal) * 1e-3
        milliwatts = self._optional(lambda: self._nvml.nvmlDeviceGetPowerUsage(self._handle))
        return None if milliwatts is None else milliwatts * 1e-3

    def _throttle_reasons(self) -> frozenset[str]:
        mask = self._optional(lambda: self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle))
        if mask is None:  # drivers before 535 know it by its old name
            mask = self._optional(lambda: self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle))
        return frozenset(word for bit, word in _THROTTLES.items() if mask is not None and mask & bit)

    def _number(self, read: Callable[[], float]) -> float | None:
        """As `_optional`; NVML's whole numbers are ints."""
        value = self._optional(read)
        return None if value is None else float(value)

    def _optional(self, read: Callable[[], T]) -> T | None:
        """Read, or None where this GPU or user cannot; a GPU that is gone raises `NotMeasured`."""
        nvml = self._nvml
        gone = (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_UNINITIALIZED, nvml.NVML_ERROR_RESET_REQUIRED)
        try:
            return read()
        except nvml.NVMLError as error:
            if error.value in gone:
                raise NotMeasured(_explain(nvml, error)) from None
            return None


def gpu_count() -> int:
    """GPUs that NVML sees. Raises `NotMeasured` as `NvmlSensor` does."""
    nvml = _load()
    try:
        nvml.nvmlInit()
        return int(nvml.nvmlDeviceGetCount())
    except nvml.NVMLError as error:
        raise NotMeasured(_explain(nvml, error)) from None


def _load() -> ModuleType:
    try:
        import pynvml
    except ImportError:
        raise NotMeasured(
            "the Python package nvidia-ml-py is not installed (pip install 'herdplan[profiler]')"
        ) from None
    module: ModuleType = pynvml
    return module


def _explain(nvml: ModuleType, error: Exception) -> str:
    sentences = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver: libnvidia-ml.so.1 was not found",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not loaded",
        nvml.NVML_ERROR_NO_PERMISSION: "this user may not read the GPU's meters",
        nvml.NVML_ERROR_GPU_IS_LOST: "the GPU fell off the bus",
        nvml.NVML_ERROR_NOT_FOUND: "NVML does not see this GPU",
        nvml.NVML_ERROR_INVALID_ARGUMENT: "NVML does not see this GPU",
    }
    return sentences.get(getattr(error, "value", None), f"NVML said: {error}")
