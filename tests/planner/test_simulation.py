"""Replicas of a plan: the same with any workers, told as distributions, priced as the plan prices itself."""

import json
import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.campaign.simulation import DISTRIBUTED, Simulation, simulate_plan
from planner.campaign.text import distribution_lines, explained, interrupted_line, median_line, summary_line
from planner.money.tariffs import load_tariff
from planner.plan import make_plan
from planner.plan_file import PlanRequest, parse_plan_request, read_plan_request
from planner.quantities import significant
from profiler.files import InputError
from tests.sim.campaigns import at_rate

EXAMPLE = Path(__file__).parents[2] / "examples" / "llama3.1-8b.toml"
SHORT = read_plan_request(EXAMPLE, [("tokens", "15T"), ("cluster.gpus", 1024)])


@pytest.fixture(scope="module")
def ten() -> Simulation:
    return simulate_plan(SHORT, seed=7, replicas=10)


def test_two_workers_give_the_bytes_of_one(ten: Simulation) -> None:
    two = simulate_plan(SHORT, seed=7, replicas=10, workers=2)
    assert json.dumps(two.to_dict(), default=float) == json.dumps(ten.to_dict(), default=float)


def test_the_first_replicas_are_the_same_however_many_are_asked_for(ten: Simulation) -> None:
    assert simulate_plan(SHORT, seed=7, replicas=3).replicas == ten.replicas[:3]


def test_a_replica_costs_what_the_plan_of_its_campaign_costs() -> None:
    """A plan of one replica is that replica: days, money, energy and carbon agree."""
    request = replace(SHORT, replicas=1, seed=5)
    plan = make_plan(request)
    [replica] = simulate_plan(request, seed=5, replicas=1).replicas
    assert replica.training_days == pytest.approx(plan.campaign.duration_s / 86_400)
    assert replica.cost_usd == pytest.approx(plan.cost.expected)
    assert replica.electricity_usd == pytest.approx(plan.bill.total_usd)
    assert replica.energy_mwh == pytest.approx(plan.campaign.total_energy_j / 3.6e9)
    assert replica.emissions_tco2e == pytest.approx(plan.carbon.location_based_tco2e)
    assert sum(replica.energy_by_part_mwh.values()) == pytest.approx(replica.energy_mwh)
    assert sum(replica.time_by_activity_s.values()) == pytest.approx(replica.training_days * 86_400)


def test_distributions_are_those_of_the_replicas(ten: Simulation) -> None:
    found = ten.to_dict()
    for figure in DISTRIBUTED:
        values = np.array([getattr(one, figure) for one in ten.replicas])
        assert found[figure]["median"] == pytest.approx(np.median(values))
        assert found[figure]["mean"] == pytest.approx(values.mean())
        assert found[figure]["p5"] == pytest.approx(np.quantile(values, 0.05))
        assert found[figure]["p95"] == pytest.approx(np.quantile(values, 0.95))
        assert (found[figure]["lowest"], found[figure]["highest"]) == (values.min(), values.max())
    assert found["finish"]["lowest"] <= found["finish"]["median"] <= found["finish"]["highest"]
    assert len(found["campaigns"]) == found["replicas"] == found["replicas_asked"] == 10


def test_the_median_campaign_is_one_of_the_replicas(ten: Simulation) -> None:
    days = ten.median.duration_s / 86_400
    assert days in [one.training_days for one in ten.replicas]
    assert sum(one.training_days < days for one in ten.replicas) == 4


def test_the_explanation_names_where_the_time_went(ten: Simulation) -> None:
    text = explained(ten.median, ten.scenario.setup)
    assert f"{ten.median.ettr:.1%} trained what was kept" in text
    for label, activity in (("restarting", "restart"), ("work lost and done again", "lost_work")):
        assert f"{ten.median.seconds[activity] / ten.median.duration_s:.2%}" in next(
            line for line in text.splitlines() if label in line
        )
    assert "Training stops: -" in text
    counts = [line.split(" x")[0].split()[-1] for line in text.splitlines() if " x " in line and "MW" not in line]
    counted = sum(int(count.replace(",", "")) for count in counts)
    assert counted == len(ten.median.interruptions)
    assert "nine of ten replicas" in summary_line(ten)


def test_the_table_of_replicas_has_each_figures_middle_and_ends(ten: Simulation) -> None:
    lines = distribution_lines(ten)
    days = ten.distribution("training_days")
    assert lines[1].split() == ["days", *(significant(days[name]) for name in ("median", "p5", "p95"))]
    assert len(lines) == 1 + len(DISTRIBUTED)
    assert len(distribution_lines(replace(ten, replicas=ten.replicas[:1]))) == 1  # and no table


def test_the_headline_says_the_tables_medians_and_that_they_are(ten: Simulation) -> None:
    said = summary_line(ten)
    assert "medians of 10 replicas" in said
    table = {line[:28].strip(): line[28:].strip().split("  ")[0] for line in distribution_lines(ten)[1:]}
    assert ten.distribution("ettr")["mean"] != pytest.approx(ten.distribution("ettr")["median"], abs=5e-5)
    for label in ("days", "effective time", "electricity", "cost"):
        assert table[label] in said, label
    assert "median length" in median_line(ten)


def test_a_run_of_minutes_does_not_take_no_days() -> None:
    short = simulate_plan(read_plan_request(EXAMPLE, [("tokens", "4B"), ("cluster.gpus", 1024)]), seed=1, replicas=2)
    table = distribution_lines(short)
    for text in (summary_line(short).partition("replicas: ")[2], table[1].partition("days")[2]):
        assert float(text.split()[0]) == pytest.approx(short.distribution("training_days")["median"], rel=5e-3)


def test_of_one_replica_nothing_is_a_median(ten: Simulation) -> None:
    alone = replace(ten, replicas=ten.replicas[:1])
    assert "median" not in summary_line(alone) + median_line(alone)


def test_what_ctrl_c_left_is_said(ten: Simulation) -> None:
    assert interrupted_line(ten) == ""
    cut = replace(ten, replicas=ten.replicas[:4])
    assert interrupted_line(cut) == "Stopped: 4 of 10 replicas are done; what follows is theirs."
    assert cut.to_dict()["replicas"] == 4


def windowed(**window: object) -> PlanRequest:
    keys = "\n".join(f"{key} = {json.dumps(value)}" for key, value in window.items())
    text = f"{EXAMPLE.read_text()}\n[[site.power_windows]]\n{keys}\n"
    return parse_plan_request(text, [("tokens", "15T"), ("cluster.gpus", 1024)], source="plan")


def test_a_power_window_of_a_plan_is_kept_and_paid_for(ten: Simulation) -> None:
    full_mw = ten.replicas[0].peak_power_mw
    request = windowed(allowed_w=f"{0.7 * full_mw} MW")
    capped = simulate_plan(request, seed=7, replicas=10)
    for one, free in zip(capped.replicas, ten.replicas, strict=True):
        assert one.peak_power_mw <= 0.7 * full_mw * (1 + 1e-9)
        assert one.training_days > free.training_days
        assert one.time_by_activity_s["curtailment"] > 0
        gpu_mwh = one.energy_by_part_mwh["gpu"], free.energy_by_part_mwh["gpu"]
        assert gpu_mwh[0] < gpu_mwh[1]  # power above idle falls by more than the speed; hosts run longer
        assert one.tokens == free.tokens
    plan = make_plan(replace(request, replicas=1))
    assert plan.peak_power_mw <= 0.7 * full_mw * (1 + 1e-9)
    assert plan.energy_mwh.expected == pytest.approx(plan.campaign.total_energy_j / 3.6e9)


def test_a_hot_place_pays_for_its_summer() -> None:
    days = [("start", "2026-07-01"), ("site.climate", "phoenix"), ("tokens", "400B"), ("cluster.gpus", 512)]
    hot = simulate_plan(read_plan_request(EXAMPLE, days), seed=7, replicas=1)
    cold = simulate_plan(read_plan_request(EXAMPLE, [*days, ("start", "2026-01-02")]), seed=7, replicas=1)
    assert hot.replicas[0].energy_mwh > 1.02 * cold.replicas[0].energy_mwh
    assert hot.replicas[0].electricity_usd > cold.replicas[0].electricity_usd


def test_hourly_prices_meet_every_joule_in_its_hour() -> None:
    """The bill under hourly prices is the integral of price times power over the segments, cut at whole hours."""
    request = replace(windowed(allowed_w="0.9 MW", from_hour=15, to_hour=21), replicas=1)
    request = replace(request, site=replace(request.site, tariff="tou-example", climate="phoenix"))
    plan, tariff = make_plan(request), load_tariff("tou-example")
    start = datetime.fromisoformat(request.start)
    cost_usd = 0.0
    for segment in plan.campaign.segments:
        begin_s = segment.start_s
        while begin_s < segment.end_s:
            end_s = min(segment.end_s, (begin_s // 3600 + 1) * 3600)
            [price] = tariff.usd_per_kwh(start + timedelta(hours=begin_s // 3600), 1)
            cost_usd += segment.site_power_w * (end_s - begin_s) / 3.6e6 * price
            begin_s = end_s
    assert plan.bill.energy_usd == pytest.approx(cost_usd, rel=1e-9)


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ({"allowed_w": "lots"}, "allowed_w' is 'lots'; a number with its unit, such as '30 MW'"),
        ({"allowed_w": -1}, "allowed_w' is -1"),
        ({"allowed_w": 1, "from_hour": 25}, "from_hour' is 25"),
        ({"allowed_w": 1, "months": [0]}, "months"),
        ({"allowed_w": 1, "first_date": "soon"}, "first_date is 'soon'"),
        ({"allowed_w": 1, "first_date": "2026-03-01", "last_date": "2026-02-01"}, "before first_date 2026-03-01"),
        ({"allowed_mw": 1}, "power_windows.0.allowed_w' is missing"),
    ],
)
def test_a_window_that_cannot_be_is_one_sentence(window: dict[str, object], says: str) -> None:
    with pytest.raises(InputError) as error:
        windowed(**window)
    assert says in str(error.value)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    from planner.campaign.simulation import _quantile

    ordered = sorted(values)
    assert _quantile(ordered, share) == pytest.approx(float(np.quantile(ordered, share)), rel=1e-9, abs=1e-6)


def test_a_plan_without_failures_says_so() -> None:
    request = read_plan_request(EXAMPLE, [("tokens", "40B"), ("cluster.gpus", 8)])
    result = simulate_plan(request, seed=1, replicas=1)
    calm = replace(
        result,
        scenario=replace(
            result.scenario,
            setup=replace(result.scenario.setup, reliability=at_rate(result.scenario.setup.reliability, 0.0)),
        ),
    )
    assert math.isinf(calm.scenario.setup.mtbf_s)
    assert calm.to_dict()["mtbf_h"] is None
    assert "no failures" in summary_line(calm)
