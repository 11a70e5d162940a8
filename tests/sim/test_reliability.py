"""Failure rates, restart times and the catalogue against what was published."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from profiler.files import InputError
from sim.campaign.failures import FailureProcess
from sim.campaign.reliability import Reliability, load_reliability, reliability_names
from sim.hardware import build_cluster
from tests.sim.campaigns import at_rate

HOUR = 3600.0
LLAMA = load_reliability("llama3-405b")


def test_llama_causes_are_those_of_table_5() -> None:
    assert len(LLAMA.causes) == 18
    counts = {cause.name: cause.rate_per_node_day * 54 * 2048 for cause in LLAMA.causes}
    assert sum(counts.values()) == pytest.approx(419)
    assert counts["Faulty GPU"] == pytest.approx(148)
    assert counts["GPU HBM3 Memory"] == pytest.approx(72)
    assert counts["Network Switch/Cable"] == pytest.approx(35)
    assert LLAMA.mtbf_s(build_cluster("h100-sxm", 16384)) / HOUR == pytest.approx(3.09, abs=0.01)


@pytest.mark.parametrize(
    ("name", "rate"), [("llama3-405b", 3.79), ("rsc-1", 6.50), ("rsc-2", 2.34), ("meta-32k", 2.3)]
)
def test_overall_rates(name: str, rate: float) -> None:
    assert load_reliability(name).failures_per_1000_node_days == pytest.approx(rate, abs=0.002)


def test_meta_32k_shares() -> None:
    fleet = load_reliability("meta-32k")
    shares = {cause.name: cause.rate_per_node_day / 2.3e-3 for cause in fleet.causes}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert shares["GPU HBM3 Memory"] == pytest.approx(0.229, abs=1e-3)
    assert shares["Silent Data Corruption"] == pytest.approx(0.055, abs=1e-3)


@pytest.mark.parametrize(("gpus", "hours"), [(8, 47.7 * 24), (1024, 7.9), (16384, 1.8), (131072, 0.23)])
def test_mtbf_by_scale(gpus: int, hours: float) -> None:
    """arXiv:2410.21680: 47.7 days at 8 GPUs and 7.9 h at 1,024 measured; 16 k and 131 k projected."""
    mtbf_h = load_reliability("rsc-1").mtbf_s(build_cluster("a100-80gb", gpus)) / HOUR
    assert mtbf_h == pytest.approx(hours, rel=0.03)


@pytest.mark.parametrize(
    ("gpus", "seconds"), [(16000, 200), (22000, 300), (64000, 600), (98000, 900), (8, 200), (43000, 450)]
)
def test_restart_times_as_published(gpus: int, seconds: float) -> None:
    assert LLAMA.restart_s(gpus) == pytest.approx(seconds)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_restart_time_never_falls_with_size(a: int, b: int) -> None:
    assert LLAMA.restart_s(min(a, b)) <= LLAMA.restart_s(max(a, b))


@given(st.floats(0, 1000))
def test_a_rate_is_that_of_its_causes(rate: float) -> None:
    scaled = at_rate(LLAMA, rate)
    assert scaled.failures_per_1000_node_days == pytest.approx(rate)
    assert scaled.interruptions_per_s(1000) == pytest.approx(rate / 86400)
    if rate > 1e-6:
        assert scaled.mean_detection_s == pytest.approx(LLAMA.mean_detection_s)


def test_rates_follow_gpus_whatever_the_node() -> None:
    """A rack of 72 GPUs fails as often as nine nodes of eight."""
    eights, racks = build_cluster("h100-sxm", 144), build_cluster("gb200", 144)
    assert LLAMA.mtbf_s(eights) == pytest.approx(LLAMA.mtbf_s(racks))


def test_without_failures_the_mtbf_is_infinite() -> None:
    assert math.isinf(at_rate(LLAMA, 0.0).mtbf_s(build_cluster("h100-sxm", 8)))
    assert at_rate(LLAMA, 0.0).mean_detection_s == 0


def test_failure_process_is_poisson_with_the_causes_weights() -> None:
    process = FailureProcess(LLAMA, 100.0, seed=1)
    times, names = [], []
    for _ in range(20_000):
        times.append(process.next_s)
        names.append(LLAMA.causes[process.take().cause].name)
    gaps = np.diff([0.0, *times])
    assert stats.kstest(gaps, "expon", args=(0, 100.0)).pvalue > 0.01
    observed = [names.count(cause.name) for cause in LLAMA.causes]
    weights = np.array([cause.rate_per_node_day for cause in LLAMA.causes])
    assert stats.chisquare(observed, weights / weights.sum() * len(names)).pvalue > 0.01


@pytest.mark.parametrize("name", reliability_names())
def test_every_number_has_a_source(name: str) -> None:
    fleet = load_reliability(name)
    assert {"rates", "restart", "detection_s", "repair_s", "nodes_lost"} <= set(fleet.sources)
    assert all(cause.source for cause in fleet.causes)
    assert all((cause.repair_s > 0) == (cause.nodes_lost > 0) for cause in fleet.causes)


def test_unknown_name_says_what_was_meant() -> None:
    with pytest.raises(InputError, match="did you mean 'llama3-405b'"):
        load_reliability("llama-405b")


def test_bad_files_name_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('name = "x"\nlabel = "x"\nobserved_node_days = -1.0\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"fleet\.toml: key 'observed_node_days'"):
        load_reliability(str(path))


@pytest.mark.parametrize(("gpus", "times"), [((), ()), ((1.0,), (1.0, 2.0)), ((2.0, 1.0), (1.0, 2.0))])
def test_bad_restart_tables(gpus: tuple[float, ...], times: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="restart_gpus"):
        Reliability(name="x", label="x", causes=(), restart_gpus=gpus, restart_times_s=times)
