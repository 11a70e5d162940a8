"""Hours of a campaign: each bin is exact, and every column adds up to the whole."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.files import InputError
from sim.campaign import CampaignSetup, Phase, simulate_campaign
from sim.campaign.hours import hour_series, segment_activities
from sim.campaign.record import ACTIVITIES, STOPS, TIMELINE, Campaign, Table
from sim.campaign.reliability import load_reliability
from sim.hardware import build_cluster
from sim.site.energy import PARTS

SETUP = CampaignSetup(
    cluster=build_cluster("h100-sxm", 8192),
    parameters=70_000_000_000,
    phases=(
        Phase(name="short", tokens=5e10, tokens_per_step=4e6, step_time_s=4.0, gpu_power_w=600.0),
        Phase(name="long", tokens=2e11, tokens_per_step=8e6, step_time_s=9.0, gpu_power_w=550.0),
    ),
    reliability=load_reliability("llama3-405b"),
    spare_nodes=10,
)


def drawn(lengths_s: list[int], watts: list[int]) -> Campaign:
    """A campaign of one training segment after another, each with its own power in every part."""
    ends = np.cumsum(lengths_s).astype(float)
    columns = {name: np.zeros(len(ends)) for name in TIMELINE}
    columns |= {"start_s": ends - lengths_s, "end_s": ends, "tokens": np.array(lengths_s, dtype=float)}
    parts_w = np.outer(watts, np.arange(1, len(PARTS) + 1)).astype(float)
    energy_j = (parts_w * np.array(lengths_s)[:, None]).sum(axis=0)
    return Campaign(
        seed=0, gpus=8, duration_s=ends[-1], tokens=ends[-1], steps=1, seconds={"training": ends[-1]},
        phases=("only",), causes=(), timeline=Table(TIMELINE, np.column_stack(list(columns.values()))),
        stops=Table(STOPS, np.empty((0, len(STOPS)))), state_parts_w=((0.0,) * len(PARTS),) * 4,
        energy_j=dict(zip(PARTS, energy_j.tolist(), strict=True)), peak_site_power_w=float(15 * max(watts)),
        site_w=Table(PARTS, parts_w),
    )  # fmt: skip


def joules_between(lengths_s: list[int], watts: list[int], start: Fraction, end: Fraction) -> Fraction:
    """The energy of one part's unit watts in an interval, in whole fractions."""
    total, begin = Fraction(0), Fraction(0)
    for length, watt in zip(lengths_s, watts, strict=True):
        until = begin + length
        total += max(min(until, end) - max(begin, start), Fraction(0)) * watt
        begin = until
    return total


@given(
    intervals=st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 10**7)), min_size=1, max_size=40),
    step_s=st.sampled_from([3600, 900, 86_400, 1234]),
)
def test_every_bin_is_exact(intervals: list[tuple[int, int]], step_s: int) -> None:
    lengths_s, watts = [length for length, _ in intervals], [watt for _, watt in intervals]
    found = hour_series(drawn(lengths_s, watts), step_s)
    total_s = sum(lengths_s)
    assert found.length_s.sum() == pytest.approx(total_s, rel=1e-12)
    scale = max(watts) * step_s + 1
    for i, (start, length) in enumerate(zip(found.start_s.tolist(), found.length_s.tolist(), strict=True)):
        exact = joules_between(lengths_s, watts, Fraction(start), Fraction(start) + Fraction(length))
        for part, joules in enumerate(found.energy_j[i].tolist(), start=1):
            assert joules == pytest.approx(float(exact * part), rel=1e-9, abs=1e-9 * scale)
        assert found.tokens[i] == pytest.approx(length, abs=1e-6)


@given(seed=st.integers(0, 1000), step_s=st.floats(600, 100_000))
@settings(max_examples=20)
def test_hours_of_a_simulated_campaign_add_up(seed: int, step_s: float) -> None:
    run = simulate_campaign(SETUP, seed)
    found = hour_series(run, step_s)
    assert found.energy_j.sum(axis=0) == pytest.approx(list(run.energy_j.values()), rel=1e-9)
    assert found.energy_j.sum() == pytest.approx(run.total_energy_j, rel=1e-9)
    assert found.tokens.sum() == pytest.approx(run.tokens, rel=1e-9)
    assert found.activity_s.sum(axis=1) == pytest.approx(found.length_s, abs=1e-3)
    assert found.activity_s.sum(axis=0) == pytest.approx([run.seconds[name] for name in ACTIVITIES], abs=1e-2)
    assert (found.power_w <= run.peak_site_power_w * (1 + 1e-9)).all()
    starts_s, watts = run.power_series(step_s)
    assert found.start_s == pytest.approx(starts_s)
    assert found.power_w == pytest.approx(watts, rel=1e-9)
    assert segment_activities(run.timeline).sum(axis=0) == pytest.approx(found.activity_s.sum(axis=0), abs=1e-3)


def test_a_step_above_zero_is_needed() -> None:
    with pytest.raises(InputError, match="step_s is 0"):
        hour_series(drawn([10], [1]), 0)
