"""Sequences and positions: none is planned that a model's learned table does not hold."""

from pathlib import Path

import pytest

from planner.plan import make_plan
from planner.plan_file import PlanRequest, plan_request
from planner.search.request import search_request
from profiler.files import InputError
from tests.planner.rows import run

GPT = """\
name = "gpt"
source = "a test"
layers = 24
hidden = 2048
ffn = 8192
heads = 16
kv_heads = 16
vocab = 50257
gated_mlp = false
tied_embeddings = true
"""


def asked(folder: Path, model: str, **training: object) -> PlanRequest:
    (folder / "gpt.toml").write_text(GPT + model)
    plan = {"model": str(folder / "gpt.toml"), "tokens": "100B", "cluster": {"gpus": 64}, "training": training}
    return plan_request(plan, source="test")


@pytest.mark.parametrize("make", [make_plan, lambda request: search_request(request, 1)])
def test_no_position_beyond_a_learned_table_is_planned_or_searched(tmp_path: Path, make: object) -> None:
    assert callable(make)
    with pytest.raises(InputError, match=r"seq_len is 4096, but gpt has learned_positions 2048; 2048 at most"):
        make(asked(tmp_path, "learned_positions = 2048", seq_len=4096))


@pytest.mark.parametrize("model", ["learned_positions = 2048", "context = 2048"])
def test_nothing_said_is_no_longer_than_the_model_s_positions(tmp_path: Path, model: str) -> None:
    assert search_request(asked(tmp_path, model), 1).space.seq_len == 2048
    plan = make_plan(asked(tmp_path, model))
    assert plan.main_phase.seq_len == 2048
    assert "context" not in "; ".join(plan.notes)


def test_a_sequence_beyond_the_context_is_planned_with_a_word(tmp_path: Path) -> None:
    notes = make_plan(asked(tmp_path, "context = 2048", seq_len=4096)).notes
    assert "seq_len 4,096 is beyond the context of gpt, 2,048 tokens" in notes


def test_a_run_that_was_made_is_predicted_whatever_its_context(tmp_path: Path) -> None:
    shape = dict.fromkeys(("layers", "hidden", "ffn", "heads", "kv_heads", "vocab", "gated_mlp"), "")
    made = run(tmp_path, model="Llama-3.1-8B", seq_len="262144", cp="8", **shape)
    assert any("beyond the context of llama3.1-8b" in note for note in made.notes)
