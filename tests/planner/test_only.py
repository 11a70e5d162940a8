"""A search held to some layouts, and what it says of memory that is nearly full or of a layout that is stated."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from planner.campaign.planned import request_phases
from planner.cli import app
from planner.layout_choice import Only
from planner.plan_file import plan_request
from planner.search.fastest import find_fastest
from planner.search.ranking import rank
from planner.search.request import search_request
from planner.search.text import search_notes
from profiler.files import InputError
from sim.layout import ParallelLayout
from tests.planner.searches import SMALL, STACKS, layouts, run, space

PARTS = {
    "tp": [1, 2, 4],
    "cp": [1, 2],
    "pp": [1, 2, 3],
    "dp": [1, 4, 8],
    "vp": [1, 3],
    "schedule": ["1f1b", "zb-h1", "zb-v"],
    "micro_batch": [1, 2],
    "sharding": ["ddp", "zero1", "fsdp", "hsdp", "none"],
    "recompute": ["none", "selective", "full"],
}


def test_every_part_of_a_layout_that_may_be_held_is_tried_here() -> None:
    assert list(PARTS) == [field.name for field in fields(Only)]


@settings(max_examples=60)
@given(
    stack=st.sampled_from(STACKS),
    gpus=st.sampled_from([1, 8, 24]),
    held=st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in PARTS.items()}),
)
def test_a_held_search_looks_at_those_layouts_of_the_free_one(stack: str, gpus: int, held: dict[str, object]) -> None:
    free = space(SMALL, gpus, stack, batch=48, seq_len=4096)
    some = replace(free, only=Only(**held))  # type: ignore[arg-type]
    allowed = [x for x in layouts(free) if all(getattr(x, name) == value for name, value in held.items())]
    assert sorted(map(repr, layouts(some))) == sorted(map(repr, allowed))
    fastest, count = find_fastest(some, 1)
    assert count == len(allowed)
    if fastest.rows.size:
        found = some.layout(fastest.rows[0])
        times = [r.step_time_s for r in rank(free, allowed) if r.fits]
        assert rank(free, [found])[0].step_time_s == pytest.approx(min(times), rel=1e-12)


def asked(gpus: int = 64, **training: object) -> dict[str, object]:
    return {"model": "llama3.1-8b", "tokens": "1T", "cluster": {"gpus": gpus}, "training": training}


@pytest.mark.parametrize(
    ("only", "says"),
    [
        ({"tp": 3}, r"training\.only\.tp is 3, and no layout of .* has that; the nearest there are: 1, 2, 4\."),
        ({"pp": 40}, r"training\.only\.pp is 40, .* the nearest there are: 8, 16, 32"),
        ({"pp": 40, "tp": 16}, r"pp is 40, .* has that beside tp 16; allowed is 1, 2, 4\."),
        ({"pp": 40, "tp": 3}, r"tp is 3, .* has that; the nearest there are: 1, 2, 4\."),
        ({"schedule": "zb-v"}, r"schedule is zb-v, .*; allowed is 1f1b"),
        ({"sharding": "none", "dp": 8}, "has dp 8, sharding none at once"),
        ({"tp": 8, "dp": 64}, r"dp is 64, .* has that beside tp 8; the nearest there are: 2, 4, 8\."),
        ({"dp": 64, "recompute": "full", "sharding": "ddp", "micro_batch": 8}, "the leanest of .* leave more open"),
    ],
)
def test_what_no_layout_has_is_named_with_what_there_is(only: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        search_request(plan_request(asked(only=only), source="here"), 5)


def test_a_plan_searches_what_it_is_held_to() -> None:
    (free,) = request_phases(plan_request(asked(), source="here"))
    (held,) = request_phases(plan_request(asked(only={"tp": 4, "recompute": "full"}), source="here"))
    assert (held.step.layout.tp, held.step.layout.recompute) == (4, "full")
    assert held.step_time_s > free.step_time_s
    assert 0 < held.searched < free.searched


def test_a_stated_layout_stands_beside_what_others_are_held_to() -> None:
    phases = [{"name": name, "tokens": "500B", "seq_len": 8192, "global_batch": 512} for name in ("first", "then")]
    phases[0] = {**phases[0], "layout": {"tp": 2, "recompute": "full"}}
    stated, held = request_phases(plan_request({**asked(only={"tp": 4}), "phases": phases}, source="here"))
    assert (stated.step.layout.tp, held.step.layout.tp) == (2, 4)
    assert [any("which stands" in note for note in one.notes) for one in (stated, held)] == [True, False]


def test_a_search_does_not_pass_over_what_is_set_of_a_layout() -> None:
    command = ["search", "--model", "llama3.1-8b", "--gpu", "h100-sxm", "--gpus", "64"]
    found = CliRunner().invoke(app, [*command, "--set", "training.layout.tp=4"])
    assert found.exit_code != 0
    assert "such as --only tp=8" in found.output + found.stderr
    strange = CliRunner().invoke(app, [*command, "--only", "shard_degree=2"])
    assert "--only knows no 'shard_degree'; allowed: cp, dp, micro_batch" in strange.output + strange.stderr
    twice = CliRunner().invoke(app, [*command, "--only", "tp=4", "--only", "tp=8"])
    assert "--only is given twice" in twice.output + twice.stderr
    assert "only tp 4" in CliRunner().invoke(app, [*command, "--only", "tp=4"]).output


def test_a_search_says_how_the_stated_layout_does() -> None:
    """As fast as it is alone; what cannot be built here is said, and the others are ranked all the same."""
    found = search_request(plan_request(asked(layout={"tp": 8, "recompute": "full"}), source="here"), 3)
    own = rank(found.space, [found.best.layout, ParallelLayout(tp=8, dp=8, recompute="full", sharding="zero1")])[1]
    assert search_notes(found)[0].startswith("the layout that the plan states, TP8 DP8")
    assert own.reason in search_notes(found)[0]
    other = search_request(plan_request(asked(layout={"tp": 3}), source="here"), 3)
    assert "cannot be built here: tp 3" in search_notes(other)[0]
    assert replace(other, stated_note="", seconds=0) == replace(found, stated_note="", seconds=0)
    assert not search_request(plan_request(asked(), source="here"), 3).stated_note
    data = asked(layout={"tp": 1, "sharding": "zero1", "micro_batch": 1}, only={"recompute": "full"})
    faster = search_request(plan_request(data, source="here"), 3)
    assert "% faster than the best of only recompute full" in search_notes(faster)[0]


def test_what_misses_by_less_than_the_memory_models_error_may_fit() -> None:
    """Meta's own layout on 8,192 H100s (arXiv:2407.21783, table 4) among them."""
    where = space("llama3.1-405b", 8192, batch=2048)
    (published,) = rank(where, [ParallelLayout(tp=8, pp=16, vp=8, dp=64, sharding="zero2")])
    assert published.memory_fit in ("fits", "tight")
    found = run(where, keep=20)
    for r in found.layouts:
        assert r.memory_fit == (
            "does not fit" if r.memory_gib > 80 * 1.15 else "fits" if r.memory_gib < 68 else "tight"
        )
        assert r.reason.startswith("may fit: ") == (r.memory_fit == "tight" and not r.fits)
    assert any(not r.fits and r.memory_fit == "tight" for r in found.layouts)
    assert any("what may fit is over" in note for note in search_notes(found))
