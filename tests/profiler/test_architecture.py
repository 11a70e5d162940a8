"""Shapes into parameters, FLOPs and bytes, against the published counts and another implementation."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.runs.rows import PUBLISHED_RUNS, read_runs
from planner.runs.training_run import TrainingRun
from profiler.architecture import ModelArchitecture, available_models, kept_elements, load_architecture
from profiler.files import InputError

GPT3 = ModelArchitecture(
    name="gpt3-175b", layers=96, hidden=12288, ffn=4 * 12288, heads=96, kv_heads=96, vocab=50257, source="test",
    gated_mlp=False, tied_embeddings=True, learned_positions=2048, norm="layernorm", biases=True, context=2048,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters", "per_layer"),
    [
        ("llama3.1-8b", 8_030_261_248, 218_112_000),
        ("llama3.1-70b", 70_553_706_496, 855_654_400),
        ("llama3.1-405b", 405_853_388_800, 3_187_703_808),
    ],
)
def test_parameter_counts_of_the_published_weights(name: str, parameters: int, per_layer: int) -> None:
    """Totals of the published safetensors indices; per layer by hand: 2d² + 2dk + 3df + 2d."""
    model = load_architecture(name)
    assert model.parameters == parameters
    assert model.layer_parameters == per_layer
    outside = 2 * 128_256 * model.hidden + model.hidden
    assert model.parameters == model.layers * per_layer + outside


def test_gpt3_by_its_paper() -> None:
    """arXiv:2005.14165 table 2.1: 175.0 B parameters; arXiv:2104.04473 eq. 2: 12 l h² (1 + 13/12h + (V+s)/12lh)."""
    a = GPT3
    by_formula = 12 * 96 * 12288**2 * (1 + 13 / (12 * 12288) + (50257 + 2048) / (12 * 96 * 12288))
    assert a.parameters == pytest.approx(175e9, rel=0.005)
    assert a.parameters == pytest.approx(by_formula, rel=1e-6)


def test_transformers_counts_the_same_parameters() -> None:
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    small = replace(
        load_architecture("llama3.1-8b"), layers=3, hidden=192, ffn=640, heads=6, kv_heads=2, head_dim=32, vocab=1000
    )
    for tied in (False, True):
        a = replace(small, tied_embeddings=tied)
        config = LlamaConfig(
            hidden_size=a.hidden, intermediate_size=a.ffn, num_hidden_layers=a.layers, num_attention_heads=a.heads,
            num_key_value_heads=a.kv_heads, head_dim=a.head_dim, vocab_size=a.vocab, tie_word_embeddings=tied,
        )  # fmt: skip
        with torch.device("meta"):
            model = LlamaForCausalLM(config)
        if tied:  # on the meta device the two are only declared to be one
            model.lm_head.weight = model.model.embed_tokens.weight
        assert a.parameters == sum(p.numel() for p in model.parameters())


def test_flops_per_token_of_both_conventions_are_those_of_every_published_row() -> None:
    """The columns are GFLOP to three decimals, computed apart from herdplan; no row is exempt."""
    with PUBLISHED_RUNS.open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    compared = 0
    for run in read_runs(PUBLISHED_RUNS):
        row = rows[run.id]
        if not isinstance(run, TrainingRun) or not row["flop_per_token_noncausal"]:
            continue
        for convention, column in (("noncausal", "flop_per_token_noncausal"), ("causal", "flop_per_token_causal")):
            ours = run.architecture.flops_per_token(run.seq_len, convention) / 1e9  # type: ignore[arg-type]
            assert ours == pytest.approx(float(row[column]), rel=1e-5, abs=6e-4), run.id
        compared += 1
    assert compared >= 400


@given(layers=st.integers(1, 200), heads=st.integers(1, 128), seq_len=st.integers(1, 2**20))
def test_a_causal_mask_halves_the_attention_and_nothing_else(layers: int, heads: int, seq_len: int) -> None:
    a = replace(GPT3, layers=layers, heads=heads, kv_heads=heads)
    attention = a.attention_flops_per_token(seq_len, "noncausal")
    assert a.flops_per_token(seq_len, "noncausal") - a.flops_per_token(seq_len, "causal") == pytest.approx(
        attention / 2
    )
    # PaLM, arXiv:2204.02311 appendix B: 6 N + 12 L H Q T
    assert attention == pytest.approx(12 * layers * heads * 128 * seq_len)


def test_activations_of_a_gpt_block_are_korthikantis_less_dropout() -> None:
    """arXiv:2205.05198 eq. 1: 34 s b h bytes, of which 2 are dropout masks, beside the scores."""

    def kept_bytes(tp: int, over_sequence: int) -> float:
        a = GPT3
        return 2.0 * kept_elements(a.hidden, a.attention_width, a.kv_width, a.ffn, 2, tp, over_sequence)

    assert kept_bytes(1, 1) == 32 * GPT3.hidden
    # eq. 4: sequence parallelism divides all of it; eq. 2: without it 8 (10 less masks) stay whole
    assert kept_bytes(8, 8) == 32 * GPT3.hidden / 8
    assert kept_bytes(8, 1) == (8 + 24 / 8) * GPT3.hidden


def test_a_model_can_be_added_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nsource = "me"\nlayers = 2\nhidden = 8\nffn = 16\nheads = 4\nkv_heads = 2\n'
        "head_dim = 2\nvocab = 10\n"
    )
    # by hand: q and o 64 each, k and v 32 each, three of 128, two norms of 8; tables of 80 twice, a norm of 8
    assert load_architecture(str(path)).parameters == 2 * (64 * 2 + 32 * 2 + 3 * 128 + 2 * 8) + 2 * 80 + 8


GOOD = {"name": '"m"', "source": '"s"', "layers": 2, "hidden": 8, "ffn": 16, "heads": 4, "kv_heads": 2, "vocab": 10}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kv_heads": 3}, "kv_heads 3 must divide heads 4"),
        ({"layers": 0}, "key 'layers' is 0"),
        ({"layers": 2.5}, "key 'layers' is 2.5"),
        ({"layers": '"many"'}, "key 'layers' is 'many'"),
        ({"hiden": 8}, "key 'hiden' is not known"),
        ({"layers": None}, "key 'layers' is missing"),
        ({"norm_eps": "nan"}, "key 'norm_eps' is nan"),
        ({"layers": "="}, "not readable as TOML"),
        ({"layers": "[" * 3000 + "]" * 3000}, "not readable as TOML"),
        ({"layers": "9" * 5000}, "not readable as TOML"),
    ],
)
def test_a_bad_model_file_is_one_sentence(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("\n".join(f"{k} = {v}" for k, v in {**GOOD, **change}.items() if v is not None))
    with pytest.raises(InputError) as error:
        load_architecture(str(path))
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_model_names_the_known() -> None:
    with pytest.raises(InputError, match=r"did you mean 'llama3\.1-70b'"):
        load_architecture("llama-3.1-70b")
    assert available_models() == ("llama3.1-405b", "llama3.1-70b", "llama3.1-8b")
