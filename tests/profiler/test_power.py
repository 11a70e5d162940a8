"""Power through a C library that stands in for NVIDIA's, loaded by the real pynvml; RAPL through real files."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.power import NotMeasured, PowerMeter, RaplSensor, Sample, read_window
from profiler.profile import read_profile
from tests.profiler.ranks import environment

WINDOW_S = 2.0
GPUS = (
    "constant",
    "ramp",
    "stuck counter",
    "no counter",
    "unreadable counter",
    "no meters",
    "old driver",
    "meters apart",
    "lost",
    "divided",
    "no permission",
    "no driver",
)


@pytest.fixture(scope="module")
def nvml_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stand-in for NVIDIA's library lies."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the stand-in with")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("fake_nvml.c")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", library, source], check=True)
    return folder


@pytest.fixture(scope="module")
def gpus(nvml_folder: Path) -> dict[str, dict[str, Any]]:
    """What a window of two seconds and a short one read on every kind of GPU; all watched at once."""
    started = {gpu: _watch(FAKE_NVML=gpu, LD_LIBRARY_PATH=str(nvml_folder)) for gpu in GPUS}
    started["no library"] = _watch(LD_LIBRARY_PATH=str(nvml_folder / "empty"))
    return {gpu: _result(process) for gpu, process in started.items()}


def _watch(**variables: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.profiler.power_worker", str(WINDOW_S), "0.3"]
    return subprocess.Popen(command, env=environment(**variables), stdout=subprocess.PIPE, text=True)


def _result(process: "subprocess.Popen[str]") -> dict[str, Any]:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(output)
    return result


class Meter:
    """A sensor's name and least window, for windows that are made up."""

    name = "meter"
    least_window_s = 1.0

    def energy_j(self) -> float | None:
        return None

    def sample(self) -> Sample:
        return Sample(time_s=0.0)


METER = Meter()
Gpus = dict[str, dict[str, Any]]
ONE_STEP = 1.1 * 0.1 / WINDOW_S
"""The counter moves every 100 ms, so a window can miss or gain one step."""


def test_constant_power_is_read_from_the_counter_and_confirmed(gpus: Gpus) -> None:
    reading = gpus["constant"]["readings"][0]
    assert reading["energy_j"] == pytest.approx(300 * WINDOW_S, rel=ONE_STEP)
    assert reading["mean_w"] * reading["window_s"] == pytest.approx(reading["energy_j"])
    assert reading["p95_w"] == pytest.approx(300)
    assert abs(reading["disagreement"]) < 0.1
    assert reading["source"].startswith("NVML over 2")
    assert "energy counter" in reading["source"]
    samples = int(re.search(r"(\d+) power samples", reading["source"])[1])
    assert 20 * 0.8 * WINDOW_S <= samples <= 50 * WINDOW_S


def test_state_of_the_gpu_is_recorded(gpus: Gpus) -> None:
    reading, facts = gpus["constant"]["readings"][0], gpus["constant"]["facts"]
    assert reading["sm_clock_mhz"] == 1500
    assert reading["temperature_c"] == 61
    assert reading["throttle_reasons"] == ["power cap"]
    assert facts["enforced_power_limit_w"] == 700
    assert facts["driver"] == "570.1"


def test_a_ramp_has_its_mean_in_the_middle_and_its_95th_percentile_near_the_top(gpus: Gpus) -> None:
    reading = gpus["ramp"]["readings"][0]
    rise_w = 100 * WINDOW_S
    assert abs(reading["disagreement"]) < 0.12
    above_mean = reading["p95_w"] - reading["mean_w"]
    assert above_mean == pytest.approx(0.45 * rise_w, abs=0.15 * rise_w)


@pytest.mark.parametrize(
    ("gpu", "why"),
    [
        ("stuck counter", "did not advance"),
        ("no counter", "no energy counter"),
        ("unreadable counter", "no energy counter"),
    ],
)
def test_without_a_working_counter_sampled_power_takes_over(gpus: Gpus, gpu: str, why: str) -> None:
    reading = gpus[gpu]["readings"][0]
    assert reading["energy_j"] == pytest.approx(300 * reading["window_s"], rel=0.01)
    assert why in reading["source"]
    assert reading["disagreement"] is None


def test_an_old_driver_gives_averaged_power(gpus: Gpus) -> None:
    assert gpus["old driver"]["readings"][0]["p95_w"] == pytest.approx(300)


def test_meters_that_disagree_say_so_and_the_counter_wins(gpus: Gpus) -> None:
    reading = gpus["meters apart"]["readings"][0]
    assert reading["source"].startswith("METERS DISAGREE")
    assert reading["disagreement"] == pytest.approx(-0.2, abs=0.1)
    assert reading["energy_j"] == pytest.approx(300 * WINDOW_S, rel=ONE_STEP)


def test_a_short_window_is_not_measured(gpus: Gpus) -> None:
    reading = gpus["constant"]["readings"][1]
    assert reading["energy_j"] is reading["mean_w"] is reading["p95_w"] is None
    assert "too short" in reading["source"]


def test_no_meters_at_all_is_not_measured_rather_than_zero(gpus: Gpus) -> None:
    reading = gpus["no meters"]["readings"][0]
    assert reading["energy_j"] is reading["mean_w"] is None
    assert reading["source"].startswith("not measured")


def test_a_gpu_that_falls_off_the_bus_ends_measuring_not_the_run(gpus: Gpus) -> None:
    found = gpus["lost"]
    assert not found["measures"]
    for reading in found["readings"]:
        assert reading["energy_j"] is reading["mean_w"] is None
        assert reading["source"] == "not measured: the GPU fell off the bus"


@pytest.mark.parametrize(
    ("gpu", "why"),
    [
        ("no permission", "may not read"),
        ("no driver", "not loaded"),
        ("no library", "was not found"),
        ("divided", "divided into MIG instances"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(gpus: Gpus, gpu: str, why: str) -> None:
    assert why in gpus[gpu]["refused"]


def test_a_meter_without_a_sensor_lets_the_work_run() -> None:
    meter = PowerMeter(None, "no GPU here")
    with meter.watch():
        ran = True
    assert ran
    assert meter.last.source == "not measured: no GPU here"
    assert meter.idle_power_w() is None


def test_the_work_keeps_its_own_exceptions() -> None:
    with pytest.raises(KeyError), PowerMeter(None).watch():
        raise KeyError


@given(
    times=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=20, unique=True),
    power_w=st.floats(1.0, 1000.0),
)
def test_constant_power_has_its_mean_whenever_it_is_sampled(times: list[float], power_w: float) -> None:
    samples = [Sample(time_s=time_s, power_w=power_w) for time_s in sorted(times)]
    reading = read_window(METER, None, None, samples, 0.0, 10.0)
    assert reading.mean_w == pytest.approx(power_w)
    assert reading.energy_j == pytest.approx(10.0 * power_w)


@given(before_j=st.floats(0.0, 1e9), energy_j=st.floats(1.0, 1e6), window_s=st.floats(1.0, 100.0))
def test_energy_is_the_counters_difference(before_j: float, energy_j: float, window_s: float) -> None:
    reading = read_window(METER, before_j, before_j + energy_j, [], 0.0, window_s)
    assert reading.energy_j == pytest.approx(energy_j, rel=1e-4)
    assert reading.mean_w == pytest.approx(energy_j / window_s, rel=1e-4)


def _zone(root: Path, name: str, microjoules: int, span: int = 1_000_000) -> Path:
    zone = root / name
    zone.mkdir()
    (zone / "energy_uj").write_text(str(microjoules))
    (zone / "max_energy_range_uj").write_text(str(span))
    return zone / "energy_uj"


def test_rapl_adds_packages_and_counts_on_when_a_register_wraps(tmp_path: Path) -> None:
    first, second = _zone(tmp_path, "intel-rapl:0", 900_000), _zone(tmp_path, "intel-rapl:1", 0)
    _zone(tmp_path, "intel-rapl:0:0", 5)  # cores within package 0: already in it
    sensor = RaplSensor(tmp_path)
    first.write_text("100000")  # wrapped at 1 J: 0.2 J
    second.write_text("300000")
    assert sensor.energy_j() == pytest.approx(0.5)
    assert sensor.energy_j() == pytest.approx(0.5)


def test_rapl_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="no RAPL"):
        RaplSensor(tmp_path)


def test_rapl_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    counter = _zone(tmp_path, "intel-rapl:0", 0)
    counter.write_text("nonsense")
    with pytest.raises(NotMeasured, match="cannot be read"):
        RaplSensor(tmp_path)


def test_a_profile_with_a_gpus_readings_is_written_read_back_and_resumed(
    nvml_folder: Path, tmp_path: Path, tiny_file: Path
) -> None:
    """NVML's clocks and temperatures are whole numbers, and a profile's digest tells 45 from 45.0."""
    out = tmp_path / "gpu.json"
    words = (
        *("run", "--device", "cpu", "--precision", "fp32", "--seq-len", "32", "--model", str(tiny_file), "--tp", "1"),
        *("--context-len", "none", "--out", str(out), "--budget-minutes"),
    )
    variables = environment(FAKE_NVML="constant", LD_LIBRARY_PATH=str(nvml_folder), OMP_NUM_THREADS="1")
    for budget in (("0.05",), ("0.03", "--resume")):
        command = [sys.executable, "-m", "tests.profiler.metered_worker", *words, *budget]
        ran = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        profile = read_profile(out)
        metered = [row for row in profile.layers if row.energy_j]
        assert metered
        assert {row.temperature_c for row in metered} == {61.0}
        assert {row.sm_clock_mhz for row in metered} == {1500.0}
    assert profile.provenance.idle_power_w == pytest.approx(300, rel=0.1)
    assert profile.provenance.sm_clock_max_mhz == 1980.0
