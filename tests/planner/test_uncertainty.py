"""How sure: the response gives the plan back, agrees with the simulated campaign, and moves the way physics does."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.campaign.planned import site_pue
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request, read_plan_request
from planner.priors import NORMAL, Prior, catalogue, normals, plan_priors
from planner.uncertainty import OUTCOMES, Quantiles, sample_plan
from profiler.files import InputError
from sim.campaign import simulate_replicas
from tests.sim.campaigns import at_rate

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL: Mapping[str, Any] = {
    "model": "llama3.1-8b",
    "tokens": "2T",
    "cluster": {"gpus": 512},
    "training": {"global_batch": 512, "layout": {"tp": 2, "sharding": "zero1"}},
}


@cache
def small(*overrides: tuple[str, Any]) -> Plan:
    return make_plan(plan_request(SMALL, overrides, source="test"))


@cache
def example(name: str, mode: str = "rent") -> Plan:
    return make_plan(read_plan_request(EXAMPLES / f"llama3.1-{name}.toml", [("money.mode", mode)]))


PLANS = pytest.mark.parametrize(("name", "mode"), [("8b", "rent"), ("405b", "rent"), ("405b", "own")])


@PLANS
def test_with_every_factor_one_the_response_is_the_plan(name: str, mode: str) -> None:
    plan = example(name, mode)
    assert plan.response.at_plan() == pytest.approx(
        {
            "days": plan.campaign.duration_s / 86_400,
            "gpu_hours": plan.campaign.gpu_hours,
            "cost_usd": plan.cost.expected,
            "energy_mwh": plan.campaign.total_energy_j / 3.6e9,
            "tco2e": plan.carbon.location_based_tco2e,
            "peak_mw": plan.peak_power_mw,
        },
        rel=1e-9,
    )


@PLANS
def test_intervals_hold_the_plan_and_their_order(name: str, mode: str) -> None:
    plan = example(name, mode)
    assert set(plan.intervals) == set(OUTCOMES)
    for interval in plan.intervals.values():
        assert 0 < interval.low < interval.expected < interval.high
    found = sample_plan(plan)
    for outcome, q in found.outcomes.items():
        assert q.p5 < q.p50 < q.p95
        assert np.mean(found.drawn[outcome] <= q.p50) == pytest.approx(0.5, abs=0.002)
    assert float(np.ptp(found.drawn["gpu_hours"] / found.drawn["days"])) == pytest.approx(0, abs=1e-6)


def test_the_intervals_stand_in_what_scripts_read() -> None:
    data: dict[str, Any] = small().to_dict()
    for key, outcome in (("training_days", "days"), ("cost_usd", "cost_usd"), ("energy_mwh", "energy_mwh"),
                         ("emissions_tco2e", "tco2e")):  # fmt: skip
        interval = small().intervals[outcome]
        assert data[f"{key}_interval"] == [interval.low, interval.high]


@pytest.mark.parametrize("size", ["many interruptions", "few interruptions"])
def test_the_spread_of_chance_alone_is_that_of_simulated_replicas(size: str) -> None:
    """Against campaigns simulated with other seeds; of a few interruptions one may wait a day for a spare."""
    plan = example("405b") if size == "many interruptions" else small()
    days = np.array([c.duration_s / 86_400 for c in simulate_replicas(plan.setup, 7, 150)])
    certain = {name: (1.0, 1.0) for name, prior in plan_priors(plan).items() if name != "chance" and prior.unsure}
    alone = sample_plan(plan, changes=certain).drawn["days"]
    assert float(alone.std()) == pytest.approx(float(days.std()), rel=0.3)
    error = 1.2533 * float(days.std()) * (1 / 100 + 1 / 150) ** 0.5  # standard error of two medians
    assert float(np.median(alone)) == pytest.approx(
        float(np.median(days)), abs=3 * error + 0.002 * float(days.mean())
    )


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_rate_of_failures_acts_as_in_a_campaign_simulated_with_it(factor: float) -> None:
    """First order in the share lost: half and twice the failures of the published record."""
    plan = example("405b")
    record = plan.setup.reliability
    scaled = replace(plan.setup, reliability=at_rate(record, record.failures_per_1000_node_days * factor))
    scaled = replace(scaled, checkpoints=replace(scaled.checkpoints, interval_s=plan.setup.cadence.interval_s))
    simulated = np.mean([c.duration_s / 86_400 for c in simulate_replicas(scaled, 3, 20)])
    base = np.mean([c.duration_s / 86_400 for c in simulate_replicas(plan.setup, 3, 20)])
    response = plan.response.outcomes({"failures": np.array([factor])})["days"][0]
    assert response / plan.days.expected == pytest.approx(float(simulated / base), rel=0.005)


def test_the_time_to_restart_acts_as_in_a_campaign_simulated_with_it() -> None:
    plan = example("405b")
    record = plan.setup.reliability
    slower = replace(record, restart_times_s=tuple(2 * s for s in record.restart_times_s))
    doubled = replace(plan.setup, reliability=slower)
    simulated, base = (
        np.mean([c.duration_s for c in simulate_replicas(setup, 3, 20)]) for setup in (doubled, plan.setup)
    )
    response = plan.response.outcomes({"restart_time": np.array([2.0])})["days"][0]
    assert response / plan.days.expected == pytest.approx(float(simulated / base), rel=0.005)
    assert response > plan.days.expected * 1.01


def test_each_factor_moves_what_it_should_by_as_much_as_it_should() -> None:
    plan = example("405b", "own")
    base = plan.response.at_plan()

    def ratios(**factors: float) -> dict[str, float]:
        found = plan.response.outcomes({name: np.array([factor]) for name, factor in factors.items()})
        return {name: float(values[0]) / base[name] for name, values in found.items()}

    same = dict.fromkeys(OUTCOMES, 1.0)
    assert ratios(grid_intensity=2.0) == pytest.approx(same | {"tco2e": 2.0})
    slower, hotter = ratios(step_time=1.1), ratios(node_power=1.1)
    for name in ("days", "gpu_hours", "energy_mwh", "tco2e"):
        assert slower[name] == pytest.approx(1.1), name
    for name in ("energy_mwh", "tco2e", "peak_mw"):
        assert hotter[name] == pytest.approx(1.1), name
    assert slower["peak_mw"] == hotter["days"] == pytest.approx(1)
    pue = site_pue(plan.request.site)
    assert ratios(cooling=3.0)["energy_mwh"] == pytest.approx((1 + 3 * (pue - 1)) / pue)
    joules = plan.campaign.energy_j
    share = (joules["network"] + joules["storage"]) / (joules["gpu"] + joules["host"])
    assert ratios(above_node_share=2.0)["energy_mwh"] == pytest.approx((1 + 2 * share) / (1 + share))
    electricity = plan.bill.total_usd / plan.cost.expected
    assert ratios(electricity_price=2.0) == pytest.approx(same | {"cost_usd": 1 + electricity})


FACTORS = st.floats(0.5, 2.0)
RENTED = ["tokens", "step_time", "failures", "restart_time", "detection_time", "node_power", "above_node_share",
          "cooling", "grid_intensity", "rent_price"]  # fmt: skip


@pytest.mark.parametrize("limit_mw", [0.45, 0.6, 1.5])
def test_a_sites_limit_holds_in_every_sample_and_costs_time_instead(limit_mw: float) -> None:
    free, held = small(), small(("site.power_limit_mw", limit_mw))
    found, without = sample_plan(held).drawn, sample_plan(free).drawn
    assert found["peak_mw"].max() <= max(limit_mw, held.peak_power_mw) * (1 + 1e-9)
    assert (found["energy_mwh"] <= found["peak_mw"] * found["days"] * 24 * (1 + 1e-9)).all()
    thirsty = {"node_power": np.array([1.0, 1.1, 1.3])}
    days = held.response.outcomes(thirsty)["days"]
    binds = held.peak_power_mw * thirsty["node_power"] > limit_mw
    assert (np.diff(days)[binds[1:]] > 0).all()
    assert days[0] == held.response.at_plan()["days"]
    if limit_mw >= without["peak_mw"].max():
        assert found["days"] == pytest.approx(without["days"])


def test_a_rented_plan_has_these_assumptions() -> None:
    assert set(plan_priors(small())) == {*RENTED, "chance"}


@settings(max_examples=30)
@given(st.sampled_from(RENTED), FACTORS, FACTORS)
def test_more_of_anything_never_takes_less(name: str, a: float, b: float) -> None:
    low, high = sorted((a, b))
    found = small().response.outcomes({name: np.array([low, high])})
    for values in found.values():
        assert values[0] <= values[-1] * (1 + 1e-12)


PRIORS = ["rent_price", "failures", "tokens", "restart_time", "step_time"]


@settings(max_examples=30)
@given(st.floats(0.2, 1), st.floats(1, 5), st.floats(0.2, 1), st.floats(1, 3), st.sampled_from(PRIORS))
def test_wider_priors_widen_intervals(low: float, high: float, lower: float, higher: float, name: str) -> None:
    """A lower low end lowers every sample or leaves it, and so each quantile; a higher high end raises them."""

    def cost(*ends: float) -> Quantiles:
        return sample_plan(small(), changes={name: (ends[0], ends[1])}, samples=200).outcomes["cost_usd"]

    assert cost(low * lower, high).p5 <= cost(low, high).p5 * (1 + 1e-12)
    assert cost(low, high * higher).p95 >= cost(low, high).p95 * (1 - 1e-12)


@settings(max_examples=15)
@given(st.floats(0.2, 0.9), st.floats(1.1, 5), st.floats(1.2, 3), st.sampled_from(["rent_price", "tokens"]))
def test_a_prior_stretched_at_both_ends_stretches_the_interval(low: float, high: float, by: float, name: str) -> None:
    narrow, wide = (
        sample_plan(small(), changes={name: (low**k, high**k)}, samples=400).outcomes["cost_usd"] for k in (1, by)
    )
    assert wide.p95 / wide.p5 >= narrow.p95 / narrow.p5 * 0.99  # 400 samples


@settings(max_examples=8)
@given(st.floats(0.5, 10), st.floats(1, 3))
def test_a_cheaper_price_never_costs_more_in_any_sample(price: float, dearer: float) -> None:
    """Common random numbers: the same luck meets both plans."""
    cheap, dear = (small(("money.price_usd_per_gpu_hour", p)) for p in (price, price * dearer))
    assert np.all(sample_plan(cheap).drawn["cost_usd"] <= sample_plan(dear).drawn["cost_usd"] * (1 + 1e-12))


def test_samples_of_a_prior_have_its_percentiles_and_its_median_is_one() -> None:
    z = normals("a name", 4000, 1)
    assert float(z.mean()) == pytest.approx(0, abs=0.01)
    assert float(z.std()) == pytest.approx(1, abs=0.01)
    for prior in catalogue().values():
        factors = prior.factors(z)
        ends = np.quantile(factors, ((1 - prior.coverage) / 2, 0.5, (1 + prior.coverage) / 2))
        assert ends == pytest.approx([prior.low, 1.0, prior.high], rel=0.05)


@given(st.integers(2, 300), st.integers(0, 2**31))
def test_a_latin_hypercube_has_one_sample_in_each_stratum(samples: int, seed: int) -> None:
    shares = sorted(NORMAL.cdf(z) for z in normals("x", samples, seed).tolist())
    assert [int(share * samples) for share in shares] == list(range(samples))


def test_the_same_seed_is_the_same_and_another_is_not() -> None:
    assert sample_plan(small(), seed=3).outcomes == sample_plan(small(), seed=3).outcomes
    assert sample_plan(small(), seed=3).outcomes != sample_plan(small(), seed=4).outcomes


def test_what_the_person_states_has_no_spread() -> None:
    stated = {
        "stated.tflops_per_gpu": "step_time",
        "stated.effective_time_ratio": "failures",
        "money.price_usd_per_gpu_hour": "rent_price",
    }
    values = (400.0, 0.97, 2.0)
    for (key, name), value in zip(stated.items(), values, strict=True):
        assert plan_priors(small())[name].unsure
        assert not plan_priors(small((key, value)))[name].unsure
    path = EXAMPLES / "llama3.1-405b.toml"
    told = [("stated.tflops_per_gpu", 400.0), ("stated.effective_time_ratio", 0.9)]
    days = make_plan(read_plan_request(path, told)).days
    assert days.high / days.low < 1.05  # chance alone


def test_a_given_pue_is_surer_than_the_default() -> None:
    default, given_pue = (plan_priors(small(*o))["cooling"] for o in ((), (("site.pue", 1.2),)))
    assert given_pue.high < default.high
    usual = small(("site.pue", site_pue(small().request.site)))  # the same number, but somebody knows it
    assert plan_priors(usual)["cooling"] == given_pue
    assert usual.energy_mwh.expected == small().energy_mwh.expected


def test_every_prior_has_a_source_and_owning_has_one_for_each_price() -> None:
    priors = plan_priors(example("405b", "own"))
    assert {"server_usd_per_gpu", "interconnect_share", "value_loss", "financing", "electricity_price"} <= set(priors)
    assert "rent_price" not in priors
    for name, prior in {**catalogue(), **priors}.items():
        assert prior.source, name
        assert prior.low <= 1 <= prior.high


@pytest.mark.parametrize(
    ("changes", "samples", "says"),
    [
        ({"luck": (0.5, 2.0)}, 100, "prior 'luck' is none of this plan; allowed: "),
        ({"tokens": (1.1, 2.0)}, 100, "factors with 1 between them"),
        ({"tokens": (0.0, 2.0)}, 100, "factors with 1 between them"),
        ({"tokens": (0.5, float("inf"))}, 100, "factors with 1 between them"),
        ({}, 3, "at least 20"),
    ],
)
def test_what_cannot_be_sampled_is_one_sentence(
    changes: dict[str, tuple[float, float]], samples: int, says: str
) -> None:
    with pytest.raises(InputError) as error:
        sample_plan(small(), changes=changes, samples=samples)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_prior_without_one_between_its_ends_is_refused() -> None:
    with pytest.raises(InputError, match="1 must lie between"):
        Prior(label="x", low=1.5, high=2.0, kind="assumed", source="x")


def test_a_cluster_part_owned_has_priors_of_rent_and_of_ownership() -> None:
    plan = small(("money.mode", "mixed"), ("money.owned_gpus", 256))
    assert plan.response.at_plan()["cost_usd"] == pytest.approx(plan.cost.expected)
    assert {"rent_price", "server_usd_per_gpu"} <= set(plan_priors(plan))
    widths = {name: plan_priors(plan)[name].high for name in ("rent_price", "server_usd_per_gpu")}
    found = plan.response.outcomes({name: np.array([high]) for name, high in widths.items()})
    assert found["cost_usd"][0] > plan.cost.expected


@pytest.mark.parametrize("mode", ["rent", "own"])
def test_people_who_develop_the_model_are_as_unsure_as_published_where_they_are_counted(mode: str) -> None:
    plan, without = (small(("money.mode", mode), ("money.research_staff", staff)) for staff in (True, False))
    assert "staff_share" not in plan_priors(without)
    prior = plan_priors(plan)["staff_share"]
    assert (prior.low, prior.high) == pytest.approx((0.29 / 0.39, 0.49 / 0.39))
    cost, bare = plan.uncertainty.outcomes["cost_usd"], without.uncertainty.outcomes["cost_usd"]
    assert cost.plan == pytest.approx(bare.plan / (1 - 0.39))
    assert cost.p95 / cost.p5 > bare.p95 / bare.p5


def test_runs_that_may_never_end_say_so() -> None:
    """405B on 98,304 GPUs: with a slow restart and many failures nothing of the time is left. On 16,384 it is."""
    big = {"model": "llama3.1-405b", "tokens": "15.6T", "cluster": {"gpus": 98_304}, "replicas": 1}
    plan = make_plan(plan_request(big, source="test"))
    found = plan.uncertainty
    assert 0.01 < found.endless < 0.5
    assert found.endless == pytest.approx(np.mean(found.drawn["days"] > 30 * plan.days.expected), abs=0.02)
    assert any("samples failures take all the time" in note for note in plan.notes)
    small = make_plan(plan_request({**big, "cluster": {"gpus": 16_384}}, source="test"))
    assert small.uncertainty.endless < 0.01
    assert not any("failures take all the time" in note for note in small.notes)


def test_idle_electricity_goes_with_the_price_and_the_power_like_the_rest() -> None:
    """Of an owned cluster all electricity is this share of the cost: the price moves all of it, and nothing else."""
    waits: dict[str, Any] = {"money.preparation_days": 100.0, "money.idle_days": 100.0}
    plan = small(("money.mode", "own"), *waits.items())
    assert plan.standing_bill.total_usd > plan.bill.total_usd
    usd = plan.bill.total_usd + plan.standing_bill.total_usd
    for name in ("electricity_price", "node_power"):
        dearer = plan.response.outcomes({name: np.array([1.0, 1.3])})["cost_usd"]
        moved = dearer[1] - dearer[0]
        assert dearer[0] == pytest.approx(plan.cost.expected)
        if name == "electricity_price":
            assert moved == pytest.approx(0.3 * usd)
        assert 0.2 * usd < moved <= 0.3 * usd * (1 + 1e-9)


@pytest.mark.parametrize("ending", ["toml", "csv"])
def test_a_tariff_of_ones_own_is_exact_and_said_to_be_given(tmp_path: Path, ending: str) -> None:
    tariff = tmp_path / f"mine.{ending}"
    flat = 'name = "mine"\nlabel = "mine"\nenergy_usd_per_kwh = 0.05\nsource = "a quote"\ndate = "2026"\n'
    tariff.write_text(flat if ending == "toml" else "usd_per_kwh\n" + "0.05\n" * 8760)
    mine, published = (small(("money.mode", "own"), ("site.tariff", name)) for name in (str(tariff), "FIN"))
    kinds = [{row.what: row.kind for row in plan.assumptions}["Electricity"] for plan in (mine, published)]
    assert kinds == ["given", "published"]
    assert not plan_priors(mine)["electricity_price"].unsure
    assert plan_priors(published)["electricity_price"].unsure


def test_only_what_a_plan_states_is_said_to_be_given() -> None:
    told = (("money.depreciation", "write-off"), ("money.resale_share", 0.6), ("money.housing", "building"))
    silent, says = small(("money.mode", "own")), small(("money.mode", "own"), *told)
    for what in ("Depreciation", "After the run", "Housing"):
        assert {row.what: row.kind for row in silent.assumptions}[what] != "given"
        assert {row.what: row.kind for row in says.assumptions}[what] == "given"
