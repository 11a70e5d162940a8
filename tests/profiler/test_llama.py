"""The model computes what Llama 3.1 computes, with the collectives it says it does."""

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from profiler.architecture import load_architecture
from profiler.files import InputError
from profiler.llama import (
    AttentionBackend,
    causal_attention,
    context_parallel_attention,
    refuse_unsupported,
    rope_frequencies,
)
from profiler.sharding import rank_share, tensor_parallel_degrees
from tests.profiler.ranks import environment


def _cases(*words: str) -> list[dict[str, Any]]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.profiler.parity_worker", *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def _assert_equal_to_transformers(case: dict[str, Any]) -> None:
    # transformers' RMSNorm and rotary tables are fp32 even in fp64, which sets these bounds
    assert case["loss"] < 1e-8, case
    assert case["gradient"] < 1e-6, case


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_every_way_to_run_equals_transformers_with_the_collectives_it_says(ranks: int) -> None:
    """Loss and every gradient, for each layout × recompute × kernel, eager and compiled, on real ranks."""
    cases = _cases(str(ranks))
    eager = {(c["layout"], c["recompute"], c["backend"]) for c in cases if not c["compiler"]}
    assert len(eager) == 2 * 3 * 2
    assert any(case["compiler"] and case["recompute"] == "full" for case in cases)
    for case in cases:
        _assert_equal_to_transformers(case)
        once = 5 if case["layout"] == "reference" else 2
        # torch stops recomputing once the last saved tensor is back, so the final all-reduce is not repeated
        repeated = 1 if case["recompute"] == "full" else 0
        assert (case["forward"], case["backward"]) == ((2, once + repeated) if ranks > 1 else (0, 0)), case


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_machine_code_equals_transformers() -> None:
    (case,) = _cases("inductor")
    assert case["compiler"] == "inductor"
    _assert_equal_to_transformers(case)


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


@pytest.mark.parametrize("backend", ["flash", "math"])
def test_the_first_context_parallel_rank_attends_as_the_whole_sequence_does(backend: AttentionBackend) -> None:
    """Its queries are the first and the last of 2·CP chunks; outputs and their gradients are those of one device."""
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator, "dtype": torch.float64}
    q = torch.randn(2, 64, 4, 8, **draw)
    k, v = (torch.randn(2, 64, 2, 8, **draw).requires_grad_() for _ in range(2))
    chunk = 64 // 8  # CP 4
    mine = torch.cat((q[:, :chunk], q[:, -chunk:]), dim=1)
    whole = causal_attention(q, k, v, "math")
    wanted = torch.cat((whole[:, :chunk], whole[:, -chunk:]), dim=1)
    found = context_parallel_attention(mine, k, v, backend)
    assert torch.allclose(found, wanted, atol=1e-12)
    gradients = torch.autograd.grad(found.square().sum(), (k, v))
    expected = torch.autograd.grad(wanted.square().sum(), (k, v))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(gradients, expected, strict=True))


@given(cp=st.integers(2, 16), chunk=st.integers(1, 64))
def test_balanced_chunks_see_half_of_queries_times_keys_on_every_rank(cp: int, chunk: int) -> None:
    """arXiv:2407.21783 section 3.3.2: rank i holds chunks i and 2·CP - 1 - i; half leaves out half the diagonal."""
    mask = torch.ones(2 * cp * chunk, 2 * cp * chunk).tril()
    rows = mask.sum(dim=1).reshape(2 * cp, chunk).sum(dim=1)
    for rank in range(cp):
        seen = float(rows[rank] + rows[2 * cp - 1 - rank])
        assert seen == (2 * chunk) * (2 * cp * chunk) / 2 + chunk


def test_other_families_are_refused() -> None:
    import dataclasses

    gpt = dataclasses.replace(load_architecture("llama3.1-8b"), name="gpt", norm="layernorm")
    with pytest.raises(InputError, match="gpt cannot be measured"):
        refuse_unsupported(gpt)
