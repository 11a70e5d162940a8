"""When failures strike: distributions, renewal counts, early failures and repeat offenders against theory."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.campaign.failures import FailureProcess, StragglerProcess, memory_copy_lost
from sim.campaign.reliability import FailureCause, InfantMortality, LemonNodes, Straggler
from tests.sim.campaigns import DAY, fleet

MTBF = 1000.0


def strikes(process: FailureProcess, until_s: float) -> list[float]:
    """Times of all failures until then."""
    times = []
    while process.next_s < until_s:
        times.append(process.next_s)
        process.take()
    return times


@pytest.mark.parametrize("shape", [0.7, 0.8, 1.0, 1.5])
def test_gaps_are_weibull_with_the_mean_asked_for(shape: float) -> None:
    """Schroeder and Gibson (DSN 2006) find shapes of 0.7 to 0.8 between failures of a system."""
    times = strikes(FailureProcess(fleet(MTBF, 8, gaps_shape=shape), MTBF, seed=3), 5000 * MTBF)
    scale = MTBF / math.gamma(1 + 1 / shape)
    assert stats.kstest(np.diff(times), "weibull_min", args=(shape, 0, scale)).pvalue > 0.01


@pytest.mark.parametrize("shape", [0.7, 1.0, 1.5])
def test_renewal_counts(shape: float) -> None:
    """Cox, Renewal Theory (1962): over a long time t counts have mean t/μ + (σ²/μ² − 1)/2 and variance t σ²/μ³."""
    record, runs, gaps = fleet(MTBF, 8, gaps_shape=shape), 400, 200
    counts = [len(strikes(FailureProcess(record, MTBF, seed), gaps * MTBF)) for seed in range(runs)]
    squared = math.gamma(1 + 2 / shape) / math.gamma(1 + 1 / shape) ** 2 - 1
    assert np.mean(counts) == pytest.approx(gaps + (squared - 1) / 2, abs=4 * math.sqrt(gaps * squared / runs))
    assert np.var(counts) == pytest.approx(gaps * squared, rel=0.3)


@given(extra=st.floats(0.1, 20), days=st.floats(0.1, 100), until=st.floats(0.01, 300))
def test_early_failures_fade_as_the_integral_says(extra: float, days: float, until: float) -> None:
    """The number until t grows as t + a τ (1 − exp(−t/τ)): the same draws, counted on a bent clock."""
    infant = InfantMortality(extra_rate=extra, fading_days=days)
    settled = strikes(FailureProcess(fleet(DAY, 8), DAY, 5), (until + extra * days) * 1.01 * DAY)
    early = strikes(FailureProcess(fleet(DAY, 8, infant_mortality=infant), DAY, 5), until * DAY)
    bent = [t + extra * days * DAY * (1 - math.exp(-t / days / DAY)) for t in early]
    assert bent == pytest.approx(settled[: len(bent)], rel=1e-6)
    integrated = (until + extra * days * (1 - math.exp(-until / days))) * DAY
    assert len(early) == sum(t < integrated for t in settled)


@pytest.mark.parametrize("found_share", [1.0, 0.5, 0.2])
def test_lemon_nodes_fail_until_they_are_found(found_share: float) -> None:
    """Each lemon fails 1 / found_share times on average (geometric), beside the ordinary failures."""
    lemons = LemonNodes(share=0.1, extra_rate=50.0, found_share=found_share)
    nodes, until_s, totals = 1000, 600 * MTBF, []
    record = fleet(MTBF, 8000, cause={"nodes_lost": 1, "repair_s": 100.0}, lemon_nodes=lemons)
    for seed in range(20):
        process = FailureProcess(record, MTBF, seed, nodes=nodes)
        by_lemons = 0
        while process.next_s < until_s:
            by_lemons += process.take().lemon >= 0
        totals.append(by_lemons)
    assert np.mean(totals) == pytest.approx(100 / found_share, rel=0.05)


def test_the_clock_can_be_stopped() -> None:
    process = FailureProcess(fleet(MTBF, 8), MTBF, seed=1)
    first_s = process.next_s
    process.stop_clock(500.0)
    assert process.next_s == pytest.approx(first_s + 500.0)
    process.take()
    again = FailureProcess(fleet(MTBF, 8), MTBF, seed=1)
    again.take()
    assert process.next_s == pytest.approx(again.next_s + 500.0)


def test_stragglers_come_at_their_rate() -> None:
    slow = Straggler(name="slow", rate_per_node_day=0.01, slowdown=0.1, found_after_s=1, repair_s=1, source="test")
    process, count = StragglerProcess((slow,), 100.0, seed=2), 0
    while process.next_s < 10_000 * DAY:
        assert process.take() is slow
        count += 1
    assert count == pytest.approx(10_000, abs=4 * 100)


@pytest.mark.parametrize(("copies", "nodes"), [(2, 16), (2, 8), (3, 9)])
def test_copies_in_memory_are_lost_as_gemini_counts(copies: int, nodes: int) -> None:
    """GEMINI places groups of as many nodes as copies; of all ways to lose so many nodes at random, those that take a
    whole group away: counted one by one. (Two copies on 16 nodes survive the loss of two in 93.3 % of cases.)"""
    groups = [set(range(first, first + copies)) for first in range(0, nodes, copies)]
    ways = [set(lost) for lost in combinations(range(nodes), copies)]
    fatal = sum(any(group <= lost for group in groups) for lost in ways) / len(ways)
    one = FailureCause(
        name="x", category="x", rate_per_node_day=1, detection_s=0, nodes_lost=1, repair_s=1, source="test"
    )
    assert not memory_copy_lost(one, copies, nodes, copies - 1, fatal * 1.001)
    assert memory_copy_lost(one, copies, nodes, copies - 1, fatal * 0.999)
    assert not memory_copy_lost(one, copies, nodes, 0, 0.0) or copies == 1
