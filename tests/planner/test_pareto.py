"""Clusters against each other: the front is what no other beats, and each row is the plan one would get."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import planner.decide.pareto
from planner.cli import app
from planner.decide.notes import cluster_notes
from planner.decide.pareto import ClusterComparison, Contender, compare, compare_clusters, dominates
from planner.machine import on_cluster
from planner.market.prices import recent
from planner.plan import make_plan
from planner.plan_file import PlanRequest, plan_request
from planner.report.layout_charts import cluster_table
from planner.report.plan_text import plan_file_text
from profiler.files import InputError

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE, EXAMPLE_405B = str(EXAMPLES / "llama3.1-8b.toml"), str(EXAMPLES / "llama3.1-405b.toml")


def contender(name: str, days: float, usd: float, mwh: float, tonnes: float) -> Contender:
    return Contender(
        gpu=name,
        gpus=8,
        layout="",
        tokens_per_step=4e6,
        days=days,
        cost_usd=usd,
        energy_mwh=mwh,
        emissions_tco2e=tonnes,
        mfu=0.4,
    )


def request(**settings_: object) -> PlanRequest:
    base = {"model": "llama3.1-8b", "tokens": "200B", "cluster.gpus": 64, **settings_}
    return plan_request({}, list(base.items()), source="here")


few = st.integers(1, 4).map(float)
clusters = st.lists(st.tuples(few, few, few, few), min_size=1, max_size=12).map(
    lambda rows: [contender(f"gpu-{i}", *row) for i, row in enumerate(rows)]
)


def is_beaten(c: Contender, by: Contender) -> bool:
    """Pareto dominance, spelt out."""
    pairs = list(zip(by.objectives, c.objectives, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@given(found=clusters)
def test_nothing_on_the_front_is_beaten_and_everything_else_is_by_one_on_it(found: list[Contender]) -> None:
    result = compare(found)
    assert result.front
    assert not any(is_beaten(a, b) for a in result.front for b in found)
    on_front = {c.name: c for c in result.front}
    for loser, by in result.beaten:
        assert is_beaten(loser, on_front[by])
    everyone = [*result.front, *(c for c, _ in result.beaten)]
    assert sorted(c.name for c in everyone) == sorted(c.name for c in found)


@given(found=clusters, seed=st.integers(0, 99))
def test_the_front_is_the_same_in_any_order(found: list[Contender], seed: int) -> None:
    shuffled = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
    assert compare(shuffled) == compare(found)


@given(found=clusters, worse=st.tuples(few, few, few, few))
def test_one_more_that_is_worse_than_all_changes_no_front(found: list[Contender], worse: tuple[float, ...]) -> None:
    most = [max(c.objectives[k] for c in found) + worse[k] for k in range(4)]
    result = compare([*found, contender("worst", *most)])
    assert result.front == compare(found).front
    assert "8 x worst" in [c.name for c, _ in result.beaten]


def test_equals_do_not_beat_each_other() -> None:
    a = np.array([1.0, 2.0])
    assert not dominates(a, a)
    assert dominates(a, np.array([1.0, 2.5]))
    assert not dominates(a, np.array([0.5, 2.5]))


@pytest.fixture(scope="module")
def compared() -> ClusterComparison:
    return compare_clusters(request(), ["h100-sxm", "h200-sxm"], [64, 32, 64])


def test_each_row_is_the_plan_of_that_cluster(compared: ClusterComparison) -> None:
    rows = [*compared.front, *(c for c, _ in compared.beaten)]
    assert sorted((c.gpu, c.gpus) for c in rows) == [(gpu, n) for gpu in ("h100-sxm", "h200-sxm") for n in (32, 64)]
    for row in rows:
        plan = make_plan(request(**{"cluster.gpu": row.gpu, "cluster.gpus": row.gpus}))
        assert row.days == plan.days.expected
        assert row.cost_usd == plan.cost.expected
        assert row.energy_mwh == plan.energy_mwh.expected
        assert row.emissions_tco2e == plan.carbon.location_based_tco2e
        assert row.layout == plan.main_phase.step.layout.label


def test_a_table_of_clusters_names_each_and_who_beats_it(compared: ClusterComparison) -> None:
    table = cluster_table(compared)
    named = {f"{gpus:,} × {gpu}" for gpu, gpus in zip(table["GPU"], table["GPUs"], strict=True)}
    assert set(table["GPU"]) == {"H100 SXM 80 GB", "H200 SXM 141 GB"}
    assert table["Beaten by"].eq("none").sum() == len(compared.front)
    assert set(table["Beaten by"]) <= {"none", *named}


def test_what_was_stated_for_one_cluster_is_not_held_against_another() -> None:
    stated = request(**{"training.layout.tp": 8, "training.layout.recompute": "full", "stated.tflops_per_gpu": 100})
    assert compare_clusters(stated, ["h100-sxm"], [64]) == compare_clusters(request(), ["h100-sxm"], [64])


def test_another_gpu_does_not_come_in_the_node_of_the_plans(tmp_path: Path) -> None:
    """A Grand Teton's host, rating and network are not a DGX B200's; the GPU of the plan's file keeps its own."""
    hosted = request(**{"cluster.node": "grand-teton"})
    [b200] = compare_clusters(hosted, ["b200-sxm"], [64]).front
    [h100] = compare_clusters(hosted, ["h100-sxm"], [64]).front
    assert [b200] == list(compare_clusters(request(), ["b200-sxm"], [64]).front)
    assert [h100] != list(compare_clusters(request(), ["h100-sxm"], [64]).front)
    file = tmp_path / "plan.toml"
    file.write_text(plan_file_text(hosted))
    data = json.loads(herdplan(str(file), "--gpu", "b200-sxm,h100-sxm", "--gpus", "64", "--json", "-").stdout)
    rows = {row["gpu"]: row["energy_mwh"] for row in [*data["front"], *data["beaten"]]}
    assert rows == {"b200-sxm": b200.energy_mwh, "h100-sxm": h100.energy_mwh}


def test_gpus_of_one_node_are_compared_in_it_in_whatever_order_they_are_named() -> None:
    """A board that holds H100s and H200s is theirs; a B200 comes in its usual node, and that is said."""
    named = ["h200-sxm", "h100-sxm", "b200-sxm"]
    board = {"cluster.node": "hgx-h100-water", "cluster.gpu": "h100-sxm"}
    forth, back = (
        compare_clusters(request(**{**board, "cluster.gpu": first}), gpus, [64])
        for first, gpus in (("h100-sxm", named), ("b200-sxm", named[::-1]))
    )
    assert {c.gpu: c.objectives for c, *_ in rows(forth)} == {c.gpu: c.objectives for c, *_ in rows(back)}
    assert forth.notes == back.notes
    assert "node 'hgx-h100-water' does not name b200-sxm among its GPUs: planned in the usual one" in forth.notes
    air = {c.gpu: c.days for c, *_ in rows(compare_clusters(request(), named, [64]))}
    water = {c.gpu: c.days for c, *_ in rows(forth)}
    assert water["b200-sxm"] == air["b200-sxm"]
    assert water["h200-sxm"] != air["h200-sxm"]


def test_rents_that_come_from_other_vendors_are_not_left_unsaid() -> None:
    """An H200 is rented out by few of those that rent out H100s, and cheaper by the medians alone; each that has both
    asks more for it."""
    said = [cluster_notes(request(), gpus) for gpus in (["h100-sxm", "h200-sxm"], ["h200-sxm", "h100-sxm"])]
    assert said[0] == said[1]
    [note] = said[0]
    h100, h200 = ({q.vendor: q.usd for q in recent(gpu, "on-demand")} for gpu in ("h100-sxm", "h200-sxm"))
    both = h100.keys() & h200.keys()
    assert np.median(list(h200.values())) < np.median(list(h100.values()))
    assert all(h200[vendor] > h100[vendor] and vendor in note for vendor in both)
    assert f"{100 * (max(h200[v] / h100[v] for v in both) - 1):.0f} % more for h200-sxm" in note
    for stated in ({"money.vendor": "Nebius"}, {"money.price_usd_per_gpu_hour": 2.0}, {"money.mode": "own"}):
        assert cluster_notes(request(**stated), ["h100-sxm", "h200-sxm"]) == ()


def rows(comparison: ClusterComparison) -> list[tuple[Contender, str]]:
    return [*((c, "") for c in comparison.front), *comparison.beaten]


def test_gpus_left_idle_are_those_of_nodes_that_hold_as_many() -> None:
    """Of a rack's 72 train 64; a node of eight trains whole."""
    rack = request(**{"cluster.gpu": "gb200", "cluster.gpus_per_node": 64, "money.price_usd_per_gpu_hour": 3})
    found = compare_clusters(rack, ["gb200", "h100-sxm"], [64])
    assert not found.impossible
    alone = request(**{"cluster.gpu": "h100-sxm", "money.price_usd_per_gpu_hour": 3})
    assert compare_clusters(alone, ["h100-sxm"], [64]).front[0] in [*found.front, *(c for c, _ in found.beaten)]


def test_clusters_that_train_in_other_steps_are_said_to() -> None:
    """Where no batch is stated, 4,096 GPUs take one four times that of 2,048."""
    words = (*MANY[:4], "--gpus", "2048,4096", "--tokens", "200B")
    said = " ".join(herdplan(*words).stdout.split())
    assert "steps are of 4.19 M to 16.8 M tokens" in said
    alike = " ".join(herdplan(*words, "--global-batch", "1024").stdout.split())
    assert "tokens, by the number of GPUs" not in alike


def test_two_processes_compare_what_one_does(compared: ClusterComparison) -> None:
    told: list[int] = []
    shared = compare_clusters(request(), ["h100-sxm", "h200-sxm"], [32, 64], workers=2, done=told.append)
    assert shared == compared
    assert told == [1, 2, 3, 4]


def test_what_was_planned_before_ctrl_c_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(function: Any, tasks: Sequence[PlanRequest], **_: object) -> list[Any]:
        return [function(task) for task in tasks[:1]]

    monkeypatch.setattr(planner.decide.pareto, "fan_out", interrupted)
    result = compare_clusters(request(), ["h100-sxm"], [32, 64])
    assert [c.gpus for c in result.front] == [32]
    assert (result.impossible, result.interrupted) == ((), ("64 x h100-sxm",))
    assert result.headline == "interrupted; one cluster planned so far"


def test_ctrl_c_is_no_verdict_and_names_what_was_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("planner.progress.progress", lambda *_: nullcontext(tell))
    result = herdplan(*MANY, "--json", str(tmp_path / "found.json"))
    assert result.exit_code == 130
    assert result.stderr == "Stopped: 2 of 4 clusters were looked at; what follows is theirs.\n"
    assert "interrupted; of 2 clusters planned so far" in result.stdout
    assert result.stdout.endswith("Not looked at: 32 x h200-sxm; 64 x h200-sxm.\n")
    data = json.loads((tmp_path / "found.json").read_text())
    assert data["interrupted"] == ["32 x h200-sxm", "64 x h200-sxm"]
    assert data["impossible"] == []
    assert {row["gpu"] for row in [*data["front"], *data["beaten"]]} == {"h100-sxm"}


def test_ctrl_c_before_any_cluster_that_can_run_it_does_not_say_that_none_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planner.decide.pareto, "fan_out", lambda function, tasks, **_: [function(tasks[0])])
    with pytest.raises(KeyboardInterrupt):
        compare_clusters(request(**{"model": "llama3.1-70b"}), ["h100-sxm"], [8, 256])


def test_a_cluster_that_cannot_run_it_says_why_and_the_others_are_compared() -> None:
    result = compare_clusters(request(**{"model": "llama3.1-70b", "tokens": "10B"}), ["h100-sxm"], [8, 10, 256])
    assert [c.gpus for c in result.front] == [256]
    assert [name for name, _ in result.impossible] == ["8 x h100-sxm", "10 x h100-sxm"]
    assert "does not fit" in result.impossible[0][1]
    assert "whole number" in result.impossible[1][1]


@pytest.mark.parametrize(
    ("gpus", "counts", "says"),
    [
        (["h100-sxm", "h100sxm"], [64], "gpu 'h100sxm' is not in the catalogue"),
        (["h100-sxm"], [0], "gpus"),
        (["h100-sxm"], [100, 101], "nearest whole number is 96"),
    ],
)
def test_nothing_to_compare_is_one_sentence(gpus: list[str], counts: list[int], says: str) -> None:
    with pytest.raises(InputError) as error:
        compare_clusters(request(), gpus, counts)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=8)
@given(doublings=st.tuples(st.integers(3, 11), st.integers(3, 11)), tflops=st.sampled_from([300, 400]))
def test_more_gpus_at_equal_efficiency_never_finish_later(doublings: tuple[int, int], tflops: int) -> None:
    """The same throughput of each GPU and the same effective time: days go as one over the GPUs."""

    def days(gpus: int) -> float:
        stated = {"stated.tflops_per_gpu": tflops, "stated.effective_time_ratio": 0.95, "tokens": "1T"}
        layout = {"training.layout.sharding": "fsdp", "training.layout.recompute": "full"}
        same = {"training.global_batch": 2048, "cluster.spare_nodes": 4, "replicas": 1}
        return make_plan(request(**{"cluster.gpus": gpus, **stated, **layout, **same})).days.expected

    few_gpus, many_gpus = 2 ** min(doublings), 2 ** max(doublings)
    assert days(many_gpus) <= days(few_gpus)


# On the command line


def herdplan(*words: str) -> Any:
    return CliRunner().invoke(app, ["search", *words])


MANY = ("--model", "llama3.1-8b", "--gpu", "h100-sxm,h200-sxm", "--gpus", "32,64", "--tokens", "200B")


def test_the_command_compares_clusters(compared: ClusterComparison) -> None:
    everything = herdplan(*MANY)
    assert everything.exit_code == 0, everything.output
    front = herdplan(*MANY, "--pareto")
    for c in compared.front:
        assert c.name in everything.stdout
        assert c.name in front.stdout
    for c, by in compared.beaten:
        assert c.name in everything.stdout
        assert f"beaten by {by}" in everything.stdout
    assert "beaten by " not in front.stdout.replace("beaten by none", "")
    data = json.loads(herdplan(*MANY, "--json", "-").stdout)
    assert [(row["gpu"], row["gpus"], row["days"]) for row in data["front"]] == [
        (c.gpu, c.gpus, c.days) for c in compared.front
    ]
    assert [row["beaten_by"] for row in data["beaten"]] == [by for _, by in compared.beaten]


def test_the_command_takes_a_plan_file() -> None:
    one = json.loads(herdplan(EXAMPLE, "--json", "-").stdout)
    assert one["layouts"][0]["fits"]
    assert sum(loss["layouts"] for loss in one["losses"]) <= one["evaluated"] - 1
    several = json.loads(herdplan(EXAMPLE, "--gpus", "512,1024", "--json", "-").stdout)
    assert {row["gpus"] for row in [*several["front"], *several["beaten"]]} == {512, 1024}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*MANY[:6],), "give --tokens"),
        (("--model", "llama3.1-8b", "--gpus", "8"), "--gpu"),
        ((*MANY[:4], "--gpus", "many"), "gpus is 'many'"),
        ((*MANY[:4], "--gpus", "8,,16"), "gpus is '8,,16'"),
        ((EXAMPLE_405B, "--seq-len", "4096"), "have their own lengths and batches"),
        ((*MANY, "--gpu", "h100-sxm,b17"), "gpu 'b17' is not in the catalogue"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], says: str) -> None:
    result = herdplan(*words)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_the_headline_counts_as_people_do() -> None:
    best, slower = contender("a", 1, 1, 1, 1), contender("b", 2, 2, 2, 2)
    traded = contender("c", 3, 0.5, 1, 1)
    assert compare([best]).headline == "one cluster, and none to beat it"
    assert compare([best, slower]).headline == "1 of 2 clusters is beaten by none"
    assert compare([best, slower, traded]).headline == "2 of 3 clusters are beaten by none"


def test_a_comparison_leaves_the_request_alone() -> None:
    asked = request()
    before = replace(asked)
    compare_clusters(asked, ["h100-sxm"], [32])
    assert asked == before


def test_racks_that_no_power_of_two_fills_train_their_even_part_in_any_order() -> None:
    """64 of 72, as a plan that says so; whole racks where the number is theirs; never of another GPU's nodes."""
    overrides = [("cluster.gpus_per_node", 64), ("money.price_usd_per_gpu_hour", 3.0), ("replicas", 1)]
    data = {"model": "llama3.1-8b", "tokens": 1e12}
    plain = plan_request(data, overrides[1:], source="here")
    said = plan_request(data, [("cluster.gpu", "gb200"), *overrides], source="here")
    for request in (plain, plan_request(data, overrides, source="here"), said):
        for gpus in (["h100-sxm", "gb200"], ["gb200", "h100-sxm"]):
            found = compare_clusters(request, gpus, [512])
            assert not found.impossible
            clusters = {c.gpu: c for c in (*found.front, *(c for c, _ in found.beaten))}
            assert (clusters["gb200"].gpus_per_node, clusters["h100-sxm"].gpus_per_node) == (64, None)
            alone = make_plan(
                plan_request(data, [*overrides, ("cluster.gpu", "gb200"), ("cluster.gpus", 512)], source="x")
            )
            assert clusters["gb200"].days == alone.days.expected
            assert clusters["gb200"].cost_usd == alone.cost.expected
    assert on_cluster(plain.cluster, "gb200", 576).gpus_per_node is None
    assert on_cluster(plain.cluster, "gb200", 32).gpus_per_node is None
