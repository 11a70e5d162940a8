"""What the profiler's own sampling costs the work it watches. Aim: less than 1 %.

Run with `pytest benchmarks/test_profiler.py -p benchmark`; no seconds are asserted. Rounds with and without the meter
alternate, so that a machine which others use slows both alike. A third kind, again without the meter, shows how far
apart two medians are here that should not differ.
"""

import ctypes
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from profiler.nvml import NvmlSensor
from profiler.power import SAMPLES_PER_S, PowerMeter

ROUNDS = 40
ROUND_S = 0.4
STAND_IN = Path(__file__).parents[1] / "tests" / "profiler" / "fake_nvml.c"


@pytest.fixture
def sensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NvmlSensor:
    """The real pynvml over the tests' stand-in for NVIDIA's library: all of the sampling but the driver."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the stand-in with")
    library = tmp_path / "libnvidia-ml.so.1"
    command = [compiler, "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", library, STAND_IN]
    subprocess.run(command, check=True)
    ctypes.CDLL(str(library))  # pynvml then finds this one by its name
    monkeypatch.setenv("FAKE_NVML", "constant")
    return NvmlSensor()


def _work() -> Callable[[], float]:
    """Launch-bound eager steps on one thread, which suffer most from a thread that wants the interpreter."""
    import torch

    torch.set_num_threads(1)
    x, w = torch.randn(64, 64), torch.randn(64, 64)

    def one_round() -> float:
        began, done = time.process_time(), time.perf_counter() + ROUND_S
        steps = 0
        while time.perf_counter() < done:
            for _ in range(50):
                torch.nn.functional.silu(x @ w)
            steps += 50
        return (time.process_time() - began) / steps  # the sampling thread's work included

    return one_round


def test_sampling_costs_the_workload_less_than_one_percent(benchmark: BenchmarkFixture, sensor: NvmlSensor) -> None:
    meter, one_round = PowerMeter(sensor), _work()
    seconds: dict[str, list[float]] = {"alone": [], "watched": [], "control": []}

    def one_of_each() -> None:
        turn = len(seconds["alone"]) % 3  # none always comes first
        for kind in (list(seconds) * 2)[turn : turn + 3]:
            with meter.watch() if kind == "watched" else nullcontext():
                seconds[kind].append(one_round())

    benchmark.pedantic(one_of_each, rounds=ROUNDS, warmup_rounds=1)
    median_s = {kind: statistics.median(values) for kind, values in seconds.items()}
    cost, noise = (median_s[kind] / median_s["alone"] - 1 for kind in ("watched", "control"))
    benchmark.extra_info["sampling_cost"] = f"{100 * cost:+.2f} %"
    print(f"\nsampling costs the work {100 * cost:+.2f} %; no sampling, {100 * noise:+.2f} % (ratios of medians)")


def test_one_sample_at_25_a_second(benchmark: BenchmarkFixture, sensor: NvmlSensor) -> None:
    """The same from the other end: processor time of one look at the GPU, times how often it is taken."""
    benchmark(sensor.sample)
    share = statistics.median(benchmark.stats.stats.data) * SAMPLES_PER_S
    benchmark.extra_info["share_of_one_core"] = f"{100 * share:.2f} %"
    print(f"\nsampling takes {100 * share:.2f} % of one core")
