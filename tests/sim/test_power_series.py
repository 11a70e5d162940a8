"""Power by the hour: never above the site's highest draw, and its integral is the energy."""

from itertools import pairwise

import numpy as np
import pytest

from profiler.units import DAY_S
from sim.campaign import Campaign, Segment

DRAWN_W = 3232.504


@pytest.mark.parametrize("rounding_s", [0.0, 5.6e-9, 1e-3, 1.0, 1800.0])
def test_a_sliver_at_the_end_draws_no_more_than_the_site_does(rounding_s: float) -> None:
    duration_s = DAY_S + rounding_s
    parts = np.linspace(0.0, duration_s, 98)  # uneven against the hours, so that the energies must be interpolated
    segments = tuple(
        Segment(
            start_s=float(start),
            end_s=float(end),
            activity="training",
            phase="only",
            site_power_w=DRAWN_W,
            tokens=1.0,
            checkpointing_s=0.0,
        )
        for start, end in pairwise(parts)
    )
    run = Campaign(
        seed=0,
        gpus=4,
        duration_s=duration_s,
        tokens=97.0,
        steps=97,
        seconds={"training": duration_s},
        interruptions=(),
        segments=segments,
        energy_j={"gpu": DRAWN_W * duration_s},
        peak_site_power_w=DRAWN_W,
    )
    starts_s, watts = run.power_series()
    lengths_s = np.diff(np.append(starts_s, duration_s))
    assert watts.max() <= DRAWN_W * (1 + 1e-9)
    assert float(watts @ lengths_s) == pytest.approx(run.total_energy_j, rel=1e-9)
