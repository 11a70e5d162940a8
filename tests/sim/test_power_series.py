"""Power by the hour: never above the site's highest draw, and its integral is the energy."""

from dataclasses import replace

import numpy as np
import pytest

from profiler.units import DAY_S
from sim.campaign import Campaign, simulate_campaign
from sim.campaign.record import Table
from sim.site.energy import PARTS
from tests.sim.campaigns import setup

DRAWN_W = 3232.504


@pytest.fixture(name="simulated", scope="module")
def _simulated() -> Campaign:
    return simulate_campaign(setup(1.0), 1)


@pytest.mark.parametrize("rounding_s", [0.0, 5.6e-9, 1e-3, 1.0, 1800.0])
def test_a_sliver_at_the_end_draws_no_more_than_the_site_does(simulated: Campaign, rounding_s: float) -> None:
    duration_s = DAY_S + rounding_s
    edges = np.linspace(0.0, duration_s, 98)  # uneven against the hours, so that the energies must be interpolated
    names = simulated.timeline.names
    rows = np.zeros((97, len(names)))
    rows[:, names.index("start_s")], rows[:, names.index("end_s")] = edges[:-1], edges[1:]
    watts_by_part = np.zeros((97, len(PARTS)))
    watts_by_part[:, 0] = DRAWN_W
    run = replace(
        simulated,
        duration_s=duration_s,
        timeline=Table(names, rows),
        site_w=Table(PARTS, watts_by_part),
        energy_j={"gpu": DRAWN_W * duration_s},
        peak_site_power_w=DRAWN_W,
    )
    starts_s, watts = run.power_series()
    lengths_s = np.diff(np.append(starts_s, duration_s))
    assert watts.max() <= DRAWN_W * (1 + 1e-9)
    assert float(watts @ lengths_s) == pytest.approx(run.total_energy_j, rel=1e-9)
