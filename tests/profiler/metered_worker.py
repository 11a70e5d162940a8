"""The profiler's command line on this CPU, its power read from a GPU's meters through the real pynvml."""

import profiler.session
from profiler.cli import main
from profiler.nvml import NvmlSensor
from profiler.power import PowerMeter
from tests.profiler.power_worker import LEAST_WINDOW_S


def open_meter(_device: object) -> PowerMeter:
    sensor = NvmlSensor()
    sensor.least_window_s = LEAST_WINDOW_S / 5
    return PowerMeter(sensor)


profiler.session.open_meter = open_meter

if __name__ == "__main__":
    main()
