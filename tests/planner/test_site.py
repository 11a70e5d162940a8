"""Where and when: the same campaign elsewhere and later, ranked by what is published there."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner.cli import app
from planner.decide.places import rank_places
from planner.decide.starts import rank_starts
from planner.money.tariffs import load_tariff
from planner.plan import make_plan
from planner.plan_file import PlanRequest, plan_request
from profiler.files import InputError

SMALL: dict[str, Any] = {
    "model": "llama3.1-8b",
    "tokens": "500B",
    "replicas": 3,
    "cluster": {"gpus": 64},
    "training": {"layout": {"tp": 1, "sharding": "fsdp"}},
}


def asked(site: dict[str, Any] | None = None, **money: Any) -> PlanRequest:
    return plan_request({**SMALL, "site": site or {}, "money": money}, source="test")


def again(request: PlanRequest, settings: tuple[str, ...]) -> PlanRequest:
    """The plan that a place's settings make."""
    site = dict(setting.removeprefix("site.").split("=") for setting in settings)
    return asked(site, mode=request.money.mode)


@pytest.mark.parametrize("goal", ["cost", "carbon", "water"])
def test_places_are_ranked_and_the_best_is_what_a_plan_there_says(goal: str) -> None:
    request = asked(mode="own")
    ranking = rank_places(request, goal)  # type: ignore[arg-type]
    figure = {"cost": "cost_usd", "carbon": "emissions_t", "water": "water_m3"}[goal]
    values = [getattr(option, figure) for option in ranking.options]
    assert values == sorted(values)
    for option in (ranking.best, ranking.options[len(ranking.options) // 2]):
        plan = make_plan(again(request, option.settings))
        told = {
            "cost": plan.cost.expected,
            "carbon": plan.carbon.location_based_tco2e,
            "water": plan.water.total_m3,
        }[goal]
        assert getattr(option, figure) == pytest.approx(told)


def test_the_plans_own_place_is_the_plan() -> None:
    request = asked({"tariff": "tou-example", "grid": "gcp:europe-north1"}, mode="own", preparation_days=5)
    here, plan = rank_places(request).here, make_plan(request)
    assert here.cost_usd == pytest.approx(plan.cost.expected)
    assert here.electricity_usd == pytest.approx(plan.bill.total_usd)
    assert here.emissions_t == pytest.approx(plan.carbon.location_based_tco2e)
    assert here.water_m3 == pytest.approx(plan.water.total_m3)


def test_cheaper_electricity_is_a_cheaper_place() -> None:
    ranking = rank_places(asked(mode="own"))
    prices = [load_tariff(option.name).energy_usd_per_kwh for option in ranking.options]
    assert prices == sorted(prices)


def test_rented_gpus_are_ranked_by_vendors_offers() -> None:
    ranking = rank_places(asked(mode="rent"))
    best = ranking.best
    assert best.settings == ("money.vendor=Verda",)  # 2.29 USD per GPU-hour on demand
    plan = make_plan(asked(mode="rent", vendor="Verda"))
    assert best.cost_usd == pytest.approx(plan.cost.expected)


def test_a_site_abroad_at_the_default_price_is_told() -> None:
    assert any("site.tariff=NOR" in note for note in make_plan(asked({"grid": "Norway"})).notes)
    assert not any("site.tariff" in note for note in make_plan(asked({"grid": "NOR", "tariff": "NOR"})).notes)
    assert not any("site.tariff" in note for note in make_plan(asked()).notes)


def test_a_grid_too_small_for_the_site_is_left_out() -> None:
    large = plan_request({**SMALL, "cluster": {"gpus": 8192}, "training": {"layout": None}}, source="test")
    names = {option.name for option in rank_places(large, "carbon").options}
    assert "CAF" not in names  # 0.14 TWh a year
    assert "NOR" in names
    assert "CAF" in {option.name for option in rank_places(asked(), "carbon").options}


# When


def test_a_day_later_is_the_plan_of_that_day() -> None:
    request = asked({"tariff": "tou-example"}, mode="own")
    ranking = rank_starts(request, within_days=210, every_days=70)
    assert [option.start for option in ranking.options] == ["2026-01-05", "2026-03-16", "2026-05-25", "2026-08-03"]
    for option in ranking.options:
        plan = make_plan(plan_request({**SMALL, "start": option.start, "site": {"tariff": "tou-example"},
                                       "money": {"mode": "own"}}, source="test"))  # fmt: skip
        assert option.cost_usd == pytest.approx(plan.cost.expected)
        assert option.emissions_t == pytest.approx(plan.carbon.location_based_tco2e)
    assert ranking.best.start == "2026-01-05"  # the example's dear afternoons are in summer


def test_the_cleanest_first_day_is_the_one_whose_hours_are_clean(tmp_path: Path) -> None:
    # clean from 1 July to 31 August, dirty otherwise
    path = tmp_path / "grid.csv"
    july, september = 181 * 24, 243 * 24
    path.write_text("g_per_kwh\n" + "".join(f"{50 if july <= i < september else 500}\n" for i in range(8760)))
    ranking = rank_starts(asked({"grid": str(path)}), "carbon", every_days=1)
    assert ranking.best.start >= "2026-07-01"
    assert ranking.best.finish <= "2026-09-01"
    assert ranking.best.emissions_t == pytest.approx(0.05 * ranking.best.energy_mwh)
    assert ranking.planned.emissions_t == pytest.approx(0.5 * ranking.planned.energy_mwh)


def test_where_nothing_changes_with_the_day_that_is_said() -> None:
    assert "rent has the electricity in its price" in rank_starts(asked(), within_days=30).why_alike
    assert "the tariff is the same at every hour" in rank_starts(asked(mode="own"), within_days=30).why_alike
    assert "intensity is the same" in rank_starts(asked(), "carbon", within_days=30).why_alike


def test_in_a_climate_each_day_is_simulated_anew() -> None:
    request = asked({"climate": "phoenix"}, mode="own")
    ranking = rank_starts(request, "carbon", within_days=200, every_days=100)
    summer = make_plan(plan_request({**SMALL, "start": ranking.options[-1].start, "money": {"mode": "own"},
                                     "site": {"climate": "phoenix"}}, source="test"))  # fmt: skip
    assert ranking.options[-1].energy_mwh == pytest.approx(summer.energy_mwh.expected, rel=1e-6)
    assert ranking.options[-1].energy_mwh > ranking.planned.energy_mwh  # July in Phoenix


# Commands


@pytest.fixture
def plan_file(tmp_path: Path) -> str:
    path = tmp_path / "plan.toml"
    path.write_text(
        'model = "llama3.1-8b"\ntokens = "200B"\nreplicas = 1\n[cluster]\ngpus = 64\n[training.layout]\n'
        'tp = 1\nsharding = "fsdp"\n[money]\nmode = "own"\n[site]\ntariff = "tou-example"\n'
    )
    return str(path)


@pytest.mark.parametrize(
    ("command", "key", "word"),
    [
        (["place"], "options", "as planned"),
        (["place", "--for", "water", "--keep", "3"], "here", "best place for water"),
        (["when", "--within-days", "60"], "best_start", "first day"),
        (["when", "--within-days", "60", "--for", "carbon"], "why_alike", "every first day is alike"),
        (["cap", "--watts", "500"], "best_cap_w", "best for cost"),
        (["cap", "--site-mw", "0.06"], "best_cap_w", "best for cost"),
        (["money"], "payments", "Payments, owned"),
    ],
)
def test_commands_print_and_write_json(
    plan_file: str, command: list[str], key: str, word: str, tmp_path: Path
) -> None:
    target = tmp_path / "out.json"
    done = CliRunner().invoke(app, [command[0], plan_file, *command[1:], "--json", str(target)])
    assert done.exit_code == 0, done.output
    assert word in done.stdout
    assert key in json.loads(target.read_text())


def test_the_payments_are_written_as_csv(plan_file: str, tmp_path: Path) -> None:
    target = tmp_path / "payments.csv"
    done = CliRunner().invoke(app, ["money", plan_file, "--csv", str(target), "--json", "-"])
    assert done.exit_code == 0, done.output
    assert target.read_text().startswith("month,line,usd\n")
    assert json.loads(done.stdout)["costs"]["owned"]


OFFERS = ("--set", "money.mode=rent", "--set", "cluster.gpu=h200-sxm")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["place", "--for", "fun"], "goal 'fun' is not known"),
        (["when", "--every-days", "0"], "every_days is 0"),
        (["cap", "--watts", "cold"], "--watts is 'cold'"),
        (["cap", "--watts", "-5"], "--watts is '-5'"),
        (["cap", "--site-mw", "-3"], "a number above 0"),
        (
            ["place", *OFFERS, "--set", "money.commitment=1-year"],
            "no vendor publishes a rent of H200 SXM 141 GB with money.commitment 1-year; take money.commitment on-d",
        ),
        (["cap", "--watts", "500", "--site-mw", "1"], "cannot be given together"),
        (["money", "--set", "money.mode=gift"], "money.mode"),
        (["money", "--set", "site.tariff=none.csv"], "none.csv"),
    ],
)
def test_bad_input_is_one_sentence(plan_file: str, command: list[str], said: str) -> None:
    done = CliRunner().invoke(app, [command[0], plan_file, *command[1:]])
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="within_days is -1"):
        rank_starts(asked(), within_days=-1)
