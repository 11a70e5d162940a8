"""Watch a GPU twice through the real pynvml and print both readings as JSON."""

import json
import sys
import time
from dataclasses import asdict

from profiler.nvml import NvmlSensor
from profiler.power import NotMeasured, PowerMeter

LEAST_WINDOW_S = 1.0
"""The stand-in needs no ten seconds, and neither do the tests."""


def main() -> None:
    windows = [float(word) for word in sys.argv[1:]]
    try:
        sensor = NvmlSensor()
    except NotMeasured as error:
        print(json.dumps({"refused": str(error)}))
        return
    sensor.least_window_s = LEAST_WINDOW_S
    meter = PowerMeter(sensor)
    facts = asdict(sensor.facts())
    readings = []
    for seconds in windows:
        with meter.watch():
            time.sleep(seconds)
        readings.append(asdict(meter.last))
    print(json.dumps({"facts": facts, "readings": readings, "measures": meter.window_s is not None}))


if __name__ == "__main__":
    main()
