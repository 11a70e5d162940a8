"""What matters most: Sobol indices against an analytic function, and the tornado against the response."""

import math
from functools import cache

import numpy as np
import pytest

from planner.decide.sensitivity import SobolIndex, sobol, sobol_indices, to_dict, tornado
from planner.decide.text import print_uncertainty
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request
from planner.priors import Array
from planner.uncertainty import OUTCOMES, sample_plan
from profiler.files import InputError


@cache
def plan() -> Plan:
    small = {
        "model": "llama3.1-8b",
        "tokens": "2T",
        "cluster": {"gpus": 512, "spare_nodes": 8},  # so that no campaign waits for a repair
        "training": {"layout": {"tp": 2}},
    }
    return make_plan(plan_request(small, source="test"))


def test_sobol_indices_of_the_ishigami_function() -> None:
    """Ishigami and Homma (1990), a = 7, b = 0.1: S1 = 0.3139, 0.4424, 0; ST = 0.5576, 0.4424, 0.2437."""
    a, b = 7.0, 0.1

    def ishigami(shares: Array) -> dict[str, Array]:
        x1, x2, x3 = (math.pi * (2 * shares - 1)).T
        return {"y": np.sin(x1) + a * np.sin(x2) ** 2 + b * x3**4 * np.sin(x1)}

    found = sobol_indices(ishigami, ["x1", "x2", "x3"], base_samples=4096, seed=1)["y"]
    variance = a**2 / 8 + b * math.pi**4 / 5 + b**2 * math.pi**8 / 18 + 0.5
    first = [(0.5 * (1 + b * math.pi**4 / 5) ** 2) / variance, a**2 / 8 / variance, 0.0]
    interaction = 8 * b**2 * math.pi**8 / 225 / variance
    total = [first[0] + interaction, first[1], interaction]
    assert [found[x][0] for x in ("x1", "x2", "x3")] == pytest.approx(first, abs=0.02)
    assert [found[x][2] for x in ("x1", "x2", "x3")] == pytest.approx(total, abs=0.02)


def test_what_never_varies_has_no_indices() -> None:
    found = sobol_indices(lambda s: {"y": s[:, 0], "z": 0 * s[:, 0] + 3}, ["a", "b"], base_samples=64, seed=1)
    assert set(found) == {"y"}
    assert found["y"]["a"][0] == pytest.approx(1, abs=0.1)
    assert found["y"]["b"][2] == pytest.approx(0, abs=1e-9)


def test_the_widest_swing_comes_first_and_its_ends_are_percentiles_of_that_prior_alone() -> None:
    swings = tornado(plan())
    assert set(swings) == set(OUTCOMES)
    for found in swings.values():
        widths = [swing.width for swing in found]
        assert widths == sorted(widths, reverse=True)
        assert all(width > 0 for width in widths)
    assert swings["cost_usd"][0].prior == "rent_price"
    assert swings["days"][0].prior == "step_time"
    assert {swing.prior for swing in swings["peak_mw"]} == {"node_power", "above_node_share", "cooling"}
    error = plan().step_error_p90
    assert swings["days"][0].at_p95 == pytest.approx(plan().days.expected * (1 + error), rel=1e-3)
    assert swings["days"][0].at_p5 == pytest.approx(plan().days.expected / (1 + error), rel=1e-3)


def test_no_one_prior_alone_swings_further_than_all_together() -> None:
    together = sample_plan(plan()).outcomes
    for outcome, swings in tornado(plan()).items():
        assert swings[0].width <= (together[outcome].p95 - together[outcome].p5) * 1.05


def test_sobol_indices_of_a_plan_agree_with_its_tornado() -> None:
    indices = sobol(plan(), base_samples=256)
    for outcome, prior in (("cost_usd", "rent_price"), ("days", "step_time")):
        assert indices[outcome][0].prior == prior
        assert 0.6 < indices[outcome][0].total < 1.2
    assert sum(i.first for i in indices["days"]) == pytest.approx(1, abs=0.2)
    assert indices == sobol(plan(), base_samples=256)
    data = to_dict(tornado(plan()), indices)
    assert set(data) == {"tornado", "sobol"}


def test_a_share_that_rounds_to_nothing_has_no_sign(capsys: pytest.CaptureFixture[str]) -> None:
    near = SobolIndex(prior="x", label="x", first=-0.001, first_confidence=0.01, total=-0.004, total_confidence=0.01)
    print_uncertainty(sample_plan(plan(), samples=20), tornado(plan()), {"days": [near]}, "days")
    [row] = [line for line in capsys.readouterr().out.splitlines() if "0.01" in line]
    assert row.count("0.00 ± 0.01") == 2
    assert "-0.00" not in row


def test_a_number_of_samples_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(InputError, match="power of two"):
        sobol(plan(), base_samples=100)
