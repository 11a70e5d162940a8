"""The prices of a plan are those of its own parts and its own place."""

from pathlib import Path
from typing import Any

import pytest

from planner.carbon import grids
from planner.market.prices import assumptions
from planner.money.pricing import tariff_notes
from planner.money.tariffs import names
from planner.plan import Plan, make_plan
from planner.plan_file import PlanRequest, plan_request
from profiler.files import InputError
from profiler.units import DAY_S, MONTH_DAYS

CATALOGUE = Path(__file__).parents[2] / "sim" / "catalogue"


def request(**changes: Any) -> PlanRequest:
    data = {
        "model": "llama3.1-8b",
        "tokens": "100B",
        "replicas": 1,
        "cluster": {"gpus": 16},
        "training": {"layout": {"tp": 1, "sharding": "fsdp"}},
    }
    return plan_request(data, list(changes.items()), source="test")


def planned(**changes: Any) -> Plan:
    return make_plan(request(**changes))


def own_part(folder: Path, kind: str, name: str, **changes: Any) -> str:
    """A file of one's own: a catalogue part under another name, with some numbers changed."""
    changed = {"name": '"of-my-own"', **changes}
    lines = (CATALOGUE / kind / f"{name}.toml").read_text().partition("[sources]")[0].splitlines()
    kept = [line for line in lines if line.partition(" = ")[0] not in changed]
    path = folder / f"{kind}.toml"
    path.write_text("\n".join((*kept, *(f"{key} = {value}" for key, value in changed.items()))))
    return str(path)


@pytest.mark.parametrize(("node", "rated_kw"), [("grand-teton", 8.6), ("hgx-h100", 10.2), ("of my own", 23.0)])
def test_colocation_is_of_the_plans_own_nodes(tmp_path: Path, node: str, rated_kw: float) -> None:
    if node == "of my own":
        node = own_part(tmp_path, "nodes", "hgx-h100", rated_power_w=23_000.0)
    plan = planned(**{"cluster.node": node, "money.mode": "own"})
    [line] = [line for line in plan.cost.lines if line.name == "Colocation"]
    nodes = plan.cluster.nodes + plan.setup.spare_nodes
    months = plan.campaign.duration_s / DAY_S / MONTH_DAYS
    assert line.expected == pytest.approx(nodes * rated_kw * assumptions().colocation.expected * months)


def test_a_gpu_of_ones_own_is_rented_and_owned_at_stated_prices(tmp_path: Path) -> None:
    gpu = own_part(tmp_path, "gpus", "h100-sxm")
    prices = {"money.server_usd_per_gpu": 30_000.0, "money.price_usd_per_gpu_hour": 2.5}
    for mode in ("own", "rent"):
        mine, known = (planned(**prices, **{"cluster.gpu": name, "money.mode": mode}) for name in (gpu, "h100-sxm"))
        assert mine.cost.expected / mine.days.expected == pytest.approx(known.cost.expected / known.days.expected)
        assert mine.rent
        assert mine.own


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("own", r"no purchase price of 'of-my-own' is published.* set money.server_usd_per_gpu to your own"),
        ("rent", r"no on-demand price of 'of-my-own' is published.* set money.price_usd_per_gpu_hour to your own"),
    ],
)
def test_a_gpu_of_ones_own_without_a_price_says_which_key_takes_it(tmp_path: Path, mode: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        planned(**{"cluster.gpu": own_part(tmp_path, "gpus", "h100-sxm"), "money.mode": mode})


def test_a_grid_abroad_at_the_price_of_the_united_states_says_what_sets_its_own() -> None:
    for grid in grids():
        found = tariff_notes(request(**{"site.grid": grid.name}), grid)
        if grid.iso3 == "USA":
            assert found == ()
            continue
        [note] = found
        assert grid.label in note
        key, value = ("site.tariff", grid.iso3) if grid.iso3 in names() else ("site.electricity_usd_per_kwh", 0.05)
        assert key in note
        assert tariff_notes(request(**{"site.grid": grid.name, key: value}), grid) == ()


def test_a_plan_says_so() -> None:
    [note] = [note for note in planned(**{"site.grid": "Iceland"}).notes if "priced as in the United States" in note]
    assert "site.electricity_usd_per_kwh" in note
