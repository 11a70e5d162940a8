"""Power as a choice: a plan keeps its cap and its site's limit, and lower ones only take longer."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.campaign.planned import plan_campaign, request_phases
from planner.decide.power_cap import CapSweep, sweep_caps, sweep_limits
from planner.phases import PlannedPhase
from planner.plan import make_plan
from planner.plan_file import PlanRequest, SiteRequest, plan_request
from planner.power_limit import hold, limit_power
from profiler.files import InputError

SMALL: dict[str, Any] = {
    "model": "llama3.1-70b",
    "tokens": "1T",
    "replicas": 2,
    "cluster": {"gpus": 512},
    "training": {"layout": {"tp": 8, "pp": 4, "vp": 5, "sharding": "zero1"}},
}


def asked(site: dict[str, Any] | None = None, **money: Any) -> PlanRequest:
    return plan_request({**SMALL, "site": site or {}, "money": money}, source="test")


@cache
def free() -> PlannedPhase:
    [phase] = request_phases(asked())
    return phase


SETUP = plan_campaign(asked())


@settings(deadline=None)
@given(one=st.floats(210, 750), other=st.floats(210, 750))
def test_a_lower_cap_never_trains_faster_or_draws_more(one: float, other: float) -> None:
    slow, fast = (hold(free(), cap, SETUP.cluster) for cap in sorted((one, other)))
    assert slow.step_time_s >= fast.step_time_s >= free().step_time_s
    assert slow.step.gpu_power_w <= fast.step.gpu_power_w * (1 + 1e-12)
    assert slow.step.node_power_w - 8 * slow.step.gpu_power_w == pytest.approx(
        free().step.node_power_w - 8 * free().step.gpu_power_w
    )
    assert sum(slow.step.parts_s.values()) == pytest.approx(slow.step.step_time_s)


def test_of_a_stated_step_a_cap_slows_what_is_worked_and_not_what_is_waited() -> None:
    """A step that takes longer than predicted waits the rest, at any clocks; a quicker one is slowed as a whole."""
    held = hold(free(), 500.0, SETUP.cluster)
    added_s = held.step_time_s - free().step_time_s
    slow, quick = replace(free(), step_time_s=10.0), replace(free(), step_time_s=0.5 * free().step_time_s)
    assert hold(slow, 500.0, SETUP.cluster).step_time_s == pytest.approx(10.0 + added_s)
    assert hold(quick, 500.0, SETUP.cluster).step_time_s == pytest.approx(0.5 * held.step_time_s)


def test_a_capped_plan_takes_longer_and_peaks_lower() -> None:
    full, capped = make_plan(asked()), make_plan(asked({"gpu_power_cap_w": 500}))
    assert capped.campaign.duration_s > full.campaign.duration_s
    assert capped.peak_power_mw < full.peak_power_mw
    assert capped.main_phase.step.gpu_power_w < 500
    assert capped.mfu < full.mfu
    assert make_plan(asked({"gpu_power_cap_w": "700 W"})).campaign == full.campaign
    assert not any("caps nothing" in note for note in capped.notes)


def test_a_cap_above_what_the_gpu_draws_is_said_to_cap_nothing() -> None:
    full, capped = make_plan(asked()), make_plan(asked({"gpu_power_cap_w": 1000}))
    assert capped.campaign == full.campaign
    [note] = set(capped.notes) - set(full.notes)
    assert note == "gpu_power_cap_w is 1000, and H100 SXM 80 GB draws 700 W at most: it caps nothing"


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.75, 1.1))
def test_the_highest_cap_within_the_sites_limit_is_taken(share: float) -> None:
    def meter_w(phase: PlannedPhase) -> float:
        return SETUP.site.site_power_w(
            SETUP.cluster, phase.step.gpu_power_w, busy=True, spare_nodes=SETUP.spare_nodes
        )

    limit_w = share * meter_w(free())
    site = SiteRequest(power_limit_mw=limit_w / 1e6)
    held = limit_power(free(), site, SETUP.cluster, SETUP.site, SETUP.spare_nodes)
    assert meter_w(held) <= limit_w * (1 + 1e-12)
    if share < 1:
        assert meter_w(held) == pytest.approx(limit_w, rel=1e-6)  # nothing is given away
    else:
        assert held == free()


def test_a_plan_stays_within_its_sites_limit_at_every_moment() -> None:
    full = make_plan(asked())
    limit_mw = 0.85 * full.peak_power_mw
    kept = make_plan(asked({"power_limit_mw": limit_mw}))
    assert kept.peak_power_mw <= limit_mw * (1 + 1e-9)
    assert kept.campaign.duration_s > full.campaign.duration_s
    hot = make_plan(asked({"power_limit_mw": limit_mw, "climate": "phoenix"}))
    assert hot.peak_power_mw <= limit_mw * (1 + 1e-9)


def test_a_limit_that_cannot_be_kept_says_what_the_least_is() -> None:
    with pytest.raises(InputError, match=r"power_limit_mw is 0.1; 512 GPUs held to 210 W each still draw 0\.\d+ MW"):
        make_plan(asked({"power_limit_mw": "100 kW"}))
    with pytest.raises(InputError, match=r"gpu_power_cap_w is 100; .* can be held to 210 W"):
        make_plan(asked({"gpu_power_cap_w": 100}))


# The cap that is best


def test_caps_trade_time_for_power_and_the_best_is_the_best() -> None:
    sweep = sweep_caps(asked(mode="own"), caps_w=(300, 400, 500, 600))
    caps = [option.cap_w for option in sweep.options]
    assert caps == [300, 400, 500, 600, 700]
    days = [option.days for option in sweep.options]
    assert days == sorted(days, reverse=True)
    assert [o.peak_mw for o in sweep.options] == sorted(o.peak_mw for o in sweep.options)
    assert sweep.best.cost_usd == min(option.cost_usd for option in sweep.options)
    assert sweep.uncapped.slowdown == 1
    for option in sweep.options:
        assert option.energy_mwh <= option.peak_mw * option.days * 24


def test_where_power_is_dear_and_hardware_cheap_a_cap_costs_less_than_where_hardware_is_dear() -> None:
    """Money goes with energy on one side and with time on the other; a cap adds less to energy than to time."""
    power = sweep_caps(asked({"electricity_usd_per_kwh": 5.0}, mode="own", server_usd_per_gpu=1.0), caps_w=(500,))
    hardware = sweep_caps(asked(mode="own", server_usd_per_gpu=200_000), caps_w=(500,))

    def grew(sweep: CapSweep, figure: str) -> float:
        capped, full = sweep.options
        return float(getattr(capped, figure) / getattr(full, figure))

    assert hardware.best is hardware.uncapped
    assert grew(hardware, "cost_usd") == pytest.approx(grew(hardware, "days"), rel=0.02)
    assert grew(power, "cost_usd") == pytest.approx(grew(power, "energy_mwh"), rel=0.02)
    assert grew(power, "cost_usd") < grew(hardware, "cost_usd")


def test_rent_is_cheapest_without_a_cap() -> None:
    sweep = sweep_caps(asked(mode="rent"), caps_w=(400, 550))
    assert sweep.best is sweep.uncapped
    assert sweep_caps(asked(), goal="time", caps_w=(400,)).best is not sweep.options[0]


def test_the_best_cap_keeps_the_sites_limit() -> None:
    full = make_plan(asked())
    limited = asked({"power_limit_mw": 0.85 * full.peak_power_mw}, mode="rent")
    sweep = sweep_caps(limited, caps_w=(300, 400, 500, 600))
    assert sweep.best.keeps_limit
    assert not sweep.uncapped.keeps_limit
    better = [option for option in sweep.options if option.cap_w > sweep.best.cap_w]
    assert not any(option.keeps_limit for option in better)
    hopeless = sweep_caps(asked({"power_limit_mw": 0.01}), caps_w=(300,))
    with pytest.raises(InputError, match="no cap keeps power_limit_mw: at 300 W a GPU the site draws"):
        hopeless.to_dict()


def test_limits_of_the_site_are_kept_and_each_has_its_cap() -> None:
    full = make_plan(asked(mode="own"))
    limits = (0.8 * full.peak_power_mw, 0.9 * full.peak_power_mw)
    sweep = sweep_limits(asked(mode="own"), limits)
    for option, limit in zip(sweep.options, limits, strict=False):
        assert option.peak_mw == pytest.approx(limit, rel=1e-6)
        by_cap = make_plan(asked({"power_limit_mw": limit}, mode="own"))
        assert option.slowdown == pytest.approx(by_cap.main_phase.step_time_s / full.main_phase.step_time_s)
    assert sweep.uncapped.cap_w == 700
    assert sweep.uncapped.peak_mw == pytest.approx(full.peak_power_mw)
    with pytest.raises(InputError, match=r"power_limit_mw is 0\.01"):
        sweep_limits(asked(), (0.01,))
    some = sweep_limits(asked(mode="own"), (0.01, *limits))
    assert some.options == sweep.options
    assert [why.partition(";")[0] for why in some.impossible] == ["power_limit_mw is 0.01"]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="goal 'money' is not known"):
        sweep_caps(asked(), goal="money")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="can be held to 210 W at the least"):
        sweep_caps(asked(), caps_w=(100,))
