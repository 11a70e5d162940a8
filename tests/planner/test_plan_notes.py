"""What a plan says beside its numbers of the cluster that it stands on."""

from pathlib import Path
from typing import Any

import pytest

from planner.plan import make_plan
from planner.plan_file import plan_request
from sim.hardware import load_gpu, names
from tests.sim.nodes import own_node


def rating_notes(gpu: str, node: str = "", **site: Any) -> list[str]:
    price = {"price_usd_per_gpu_hour": 2}
    cluster = {"gpu": gpu, "gpus": 72 if gpu == "gb200" else 32, "node": node}
    data = {"model": "llama3.1-8b", "tokens": "1B", "cluster": cluster, "site": site, "money": price}
    data["training"] = {"global_batch": 144, "seq_len": 2048}
    return [note for note in make_plan(plan_request(data, source="test")).notes if "is rated for" in note]


@pytest.mark.parametrize("gpu", names("gpus"))
def test_every_gpu_is_within_the_rating_of_its_own_node(gpu: str) -> None:
    assert load_gpu(gpu).node
    assert not rating_notes(gpu)


def test_a_node_that_is_not_rated_for_its_gpus_is_said_to_be_none(tmp_path: Path) -> None:
    """8 x 1,000 W and a host of 2.4 kW in the 8.6 kW of a Grand Teton whose file names no GPUs; held to 700 W they
    are within it."""
    node = own_node(tmp_path, "grand-teton", "gpus = ")
    [note] = rating_notes("b200-sxm", str(node))
    assert note.startswith(
        "8 x B200 SXM 180 GB and their host draw up to 10.4 kW, more than the 8.6 kW that Grand Teton"
    )
    assert not rating_notes("b200-sxm", str(node), gpu_power_cap_w=700)
    assert not rating_notes("h200-sxm", str(node))


def test_water_cooled_nodes_have_the_sites_pue_until_one_is_stated() -> None:
    def notes(node: str, **site: float) -> list[str]:
        data = {"model": "llama3.1-8b", "tokens": "1B", "cluster": {"gpus": 32, "node": node}, "site": site}
        return [note for note in make_plan(plan_request(data, source="test")).notes if "whatever cools" in note]

    assert len(notes("hgx-h100-water")) == 1
    assert not notes("hgx-h100-water", pue=1.03, wue_l_per_kwh=0.0)
    assert not notes("hgx-h100")
