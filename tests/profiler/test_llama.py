"""The model computes what Llama 3.1 computes, with the collectives it says it does."""

import json
from functools import cache
from typing import Any

import pytest
import torch

from profiler.architecture import load_architecture
from profiler.files import InputError
from profiler.llama import refuse_unsupported, rope_frequencies
from profiler.sharding import rank_share, tensor_parallel_degrees
from tests.profiler.ranks import run_ranks


@cache
def parity(ranks: int) -> list[dict[str, Any]]:
    """Every layout × recompute × attention kernel against transformers, on `ranks` real ranks."""
    compiled = ["compiled"] if ranks == 1 else []
    output = run_ranks(ranks, "-m", "tests.profiler.parity_worker", *compiled)
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("ranks", [1, 2])
def test_loss_and_gradients_equal_transformers(ranks: int) -> None:
    cases = parity(ranks)
    assert len(cases) == 12 + (ranks == 1)  # compiled once, on one rank
    for case in cases:
        # transformers' RMSNorm and rotary tables are fp32 even in fp64, which sets these bounds
        assert case["loss"] < 1e-8, case
        assert case["gradient"] < 1e-6, case


def test_collective_layouts_differ_in_backward_all_reduces() -> None:
    for case in parity(2):
        once = 5 if case["layout"] == "reference" else 2
        # torch stops recomputing once the last saved tensor is back, so the final all-reduce is not repeated
        repeated = 1 if case["recompute"] == "full" else 0
        assert (case["forward"], case["backward"]) == (2, once + repeated), case


def test_world_of_one_reduces_nothing() -> None:
    assert all(case["forward"] == case["backward"] == 0 for case in parity(1))


def test_rope_scaling_keeps_short_wavelengths_and_divides_long_ones() -> None:
    architecture = load_architecture("llama3.1-8b")
    plain = rope_frequencies(128, architecture.rope_theta, None)
    scaled = rope_frequencies(128, architecture.rope_theta, architecture.rope_scaling)
    wavelengths = 2 * torch.pi / plain
    ratio = plain / scaled
    assert torch.equal(ratio[wavelengths < 8192 / 4], torch.ones_like(ratio[wavelengths < 8192 / 4]))
    assert torch.allclose(ratio[wavelengths > 8192], torch.tensor(8.0, dtype=torch.float64))
    assert bool((ratio.diff() >= -1e-12).all())


@pytest.mark.parametrize("name", ["llama3.1-8b", "llama3.1-70b", "llama3.1-405b"])
def test_shares_add_up_to_the_layer(name: str) -> None:
    whole = load_architecture(name)
    assert tensor_parallel_degrees(whole) == (1, 2, 4, 8)
    for tp in (1, 2, 4, 8):
        share = rank_share(whole, tp)
        assert share.layer_matmul_parameters * tp == whole.layer_matmul_parameters
        assert share.vocab * tp == whole.vocab
        assert (share.hidden, share.head_dim) == (whole.hidden, whole.head_dim)


@pytest.mark.parametrize(("tp", "nearest"), [(3, "2 or 4"), (16, "8"), (7, "4 or 8")])
def test_a_degree_that_does_not_fit_names_the_nearest(tp: int, nearest: str) -> None:
    with pytest.raises(InputError, match=rf"nearest valid: {nearest}\."):
        rank_share(load_architecture("llama3.1-8b"), tp)


def test_other_families_are_refused() -> None:
    import dataclasses

    gpt = dataclasses.replace(load_architecture("llama3.1-8b"), name="gpt", norm="layernorm")
    with pytest.raises(InputError, match="gpt cannot be measured"):
        refuse_unsupported(gpt)
