"""Power allowed: search, step and plan know of the cap and the limit, and take what is best within them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.plan import make_plan
from planner.plan_file import PlanRequest, plan_request
from planner.search.ranking import fastest_layout, held_times
from planner.search.request import search_request
from planner.step_timeline import plan_timeline
from profiler.files import InputError
from sim.allowed_power import AllowedPower, allowed_power
from sim.hardware import build_cluster, load_gpu
from sim.memory import memory_use
from sim.power import capped_parts_s, capped_power_w
from sim.schedule.noise import Noise
from sim.site.energy import SitePower
from sim.step import step_times
from tests.planner.searches import SMALL, layouts, space

PARTS = {"matmul": 3.0, "attention": 0.5, "tensor_parallel": 0.8, "bubble": 0.4, "optimizer": 0.1, "other": 0.3}
H100 = load_gpu("h100-sxm")


def asked(**site: Any) -> PlanRequest:
    data = {"model": "llama3.1-70b", "tokens": "100B", "replicas": 1, "cluster": {"gpus": 512}, "site": site}
    return plan_request(data, source="test")


@settings(deadline=None)
@given(st.floats(220, 700), st.floats(250, 700))
def test_a_step_keeps_its_cap_and_its_mean_and_no_higher_cap_would(cap_w: float, mean_w: float) -> None:
    found = AllowedPower(cap_w=cap_w, mean_w=mean_w).held(H100, PARTS)
    assert found
    assert found.gpu_power_w <= min(cap_w, mean_w) * (1 + 1e-9)
    capped = capped_parts_s(H100, PARTS, cap_w)
    if capped_power_w(H100, capped, cap_w) <= mean_w:
        assert found.parts_s == capped
    else:
        assert found.gpu_power_w == pytest.approx(mean_w)
        assert sum(found.parts_s.values()) > sum(capped.values())


@given(st.floats(0.1, 1.5), st.integers(0, 8))
def test_the_mean_that_a_sites_limit_leaves_a_gpu_takes_the_whole_limit(limit_mw: float, spares: int) -> None:
    cluster, site = build_cluster("h100-sxm", 512), SitePower(pue=1.3)
    mean_w = allowed_power(None, limit_mw * 1e6, cluster, site, spares).mean_w
    if math.isinf(mean_w):
        assert site.site_power_w(cluster, H100.tdp_w, busy=True, spare_nodes=spares) <= limit_mw * 1e6
    elif mean_w > H100.idle_power_w:
        assert site.site_power_w(cluster, mean_w, busy=True, spare_nodes=spares) == pytest.approx(limit_mw * 1e6)


@pytest.mark.parametrize("site", [{"gpu_power_cap_w": 400}, {"power_limit_mw": 0.42}, {"gpu_power_cap_w": 900}])
def test_search_step_and_plan_say_the_same_of_a_step_within_its_power(site: dict[str, float]) -> None:
    plan, found = make_plan(asked(**site)).main_phase, search_request(asked(**site), 5)
    assert found.best.layout == plan.step.layout
    assert found.best.step_time_s == pytest.approx(plan.step_time_s, rel=1e-6)
    assert found.best.gpu_power_w == pytest.approx(plan.gpu_power_w, rel=1e-6)
    assert [one.step_time_s for one in found.layouts if one.fits] == sorted(
        one.step_time_s for one in found.layouts if one.fits
    )
    timeline = plan_timeline(asked(**site), None, Noise())
    assert timeline.apart_s == pytest.approx(plan.step_time_s, rel=0.03)


@settings(max_examples=15, deadline=None)
@given(st.floats(215, 690), st.sampled_from([4, 8, 16]))
def test_the_layout_taken_within_a_cap_is_the_best_of_all(cap_w: float, gpus: int) -> None:
    where = replace(space(SMALL, gpus, batch=32), allowed=AllowedPower(cap_w=cap_w))
    every = layouts(where)
    fits = np.broadcast_to(memory_use(where.case(every)).total <= where.cluster.gpu.memory_bytes, len(every))
    held_s = held_times(where, step_times(where.case(every)), len(every))[0].total
    best = held_times(where, step_times(where.case([fastest_layout(where)[0]])), 1)[0].total[0]
    assert best == pytest.approx(held_s[fits].min(), rel=1e-9)


def test_what_no_cap_keeps_is_one_sentence() -> None:
    with pytest.raises(InputError, match="no cap holds 512 x H100 SXM 80 GB to the site's power_limit_mw"):
        search_request(asked(power_limit_mw=0.1), 5)
    with pytest.raises(InputError, match="gpu_power_cap_w is 200; H100 SXM 80 GB can be held to 210 W"):
        search_request(asked(gpu_power_cap_w=200), 5)
