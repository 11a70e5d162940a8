"""The model of a runs file's row: as stated, and what it leaves out as its number of parameters and habit have it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from planner.cells import Cells
from profiler.architecture import ModelArchitecture
from profiler.files import InputError

GATED_WIDTHS = (8 / 3, 3.5, 3.25, 4.0)
"""Width of a gated MLP over the hidden size: Llama and Llama 2, Llama 3 8B and 70B, Llama 3 405B, some others."""
VOCABULARIES = (32_000, 50_304, 51_200, 128_256, 131_072, 151_936, 256_000, 250_880)
"""Llama 2, GPT-2 rounded up (nanoGPT, Megatron-LM), Llama 3, Mistral Nemo, Qwen 2, Gemma and Nemotron, BLOOM."""
PLAIN_VOCABULARY = 51_200
"""The usual one of a model whose MLP is not gated."""
OPEN = ("gated_mlp", "ffn", "kv_heads", "vocab")
"""Columns that a count of parameters can fill."""
EXACT, ROUNDED = 0.01, 0.05
"""How far a count of parameters is off by its own rounding: stated in billions, or part of a model's name."""


@dataclass(frozen=True)
class _Candidate:
    architecture: ModelArchitecture
    unusual: int
    """Choices in which it departs from the first that comes to mind."""


def read_architecture(c: Cells) -> ModelArchitecture:
    """The model as a row states it. What it leaves out of `OPEN` is taken so that the parameters add up, if it counts
    them or its name does, and as usual where that does not decide.

    Raises:
        InputError: a needed cell is empty or unreadable, or no shape is possible.
    """
    candidates = list(_candidates(c))
    if not candidates:
        raise InputError(f"kv_heads {c.count('kv_heads')} must divide heads {c.count('heads')}.")
    parameters, doubt = _counted(c)

    def strangeness(candidate: _Candidate) -> float:
        off = abs(candidate.architecture.parameters / parameters - 1) / doubt if parameters else 0.0
        return off + candidate.unusual

    found = min(candidates, key=strangeness).architecture
    _note(c, found, "the parameters add up so" if parameters else "usual for such a model")
    return found


def _counted(c: Cells) -> tuple[float | None, float]:
    """Parameters that a row, or its model's name, counts, and how far that may be off."""
    stated = c.number("params_b")
    if stated:
        return stated * 1e9, EXACT
    named = re.search(r"(\d+(?:\.\d+)?)\s*([bm])\b", c.text("model").lower())
    if named:
        return float(named[1]) * (1e9 if named[2] == "b" else 1e6), ROUNDED
    return None, ROUNDED


def _candidates(c: Cells) -> Iterator[_Candidate]:
    """Every model that a row may mean."""
    hidden, heads = c.count("hidden"), c.count("heads")
    groups = _stated(c, "kv_heads") or [k for k in dict.fromkeys((heads, 8, 4, 2, 1)) if heads % k == 0]
    for (g, gated), (k, kv_heads) in product(enumerate(_gates(c)), enumerate(groups)):
        widths = [round(x * hidden / 256) * 256 for x in GATED_WIDTHS] if gated else [4 * hidden]
        usual_first = VOCABULARIES if gated else sorted(VOCABULARIES, key=lambda v: v != PLAIN_VOCABULARY)
        choices = product(enumerate(_stated(c, "ffn") or widths), enumerate(_stated(c, "vocab") or usual_first))
        for (f, ffn), (v, vocab) in choices:
            if heads % kv_heads == 0:
                unusual = sum(choice > 0 for choice in (g, k, f, v))
                yield _Candidate(_shaped(c, gated, kv_heads, ffn, vocab), unusual)


def _gates(c: Cells) -> list[bool]:
    """Whether the MLP may be gated, the likelier first: one of four times the hidden size is seldom."""
    if c.text("gated_mlp"):
        return [c.flag("gated_mlp", True)]
    plain = c.number("ffn") == 4 * c.count("hidden")
    return [not plain, plain]


def _stated(c: Cells, name: str) -> list[int]:
    return [c.count(name)] if c.text(name) else []


def _shaped(c: Cells, gated: bool, kv_heads: int, ffn: int, vocab: int) -> ModelArchitecture:
    hidden, heads = c.count("hidden"), c.count("heads")
    return ModelArchitecture(
        name=c.text("model") or "unnamed",
        source="runs file",
        layers=c.count("layers"),
        hidden=hidden,
        ffn=ffn,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=c.count("head_dim", max(hidden // heads, 1)),
        vocab=vocab,
        gated_mlp=gated,
        tied_embeddings=c.flag("tied_embeddings", not gated),
        norm="rmsnorm" if gated else "layernorm",
        biases=not gated,
        context=c.count("seq_len"),
    )


def _note(c: Cells, found: ModelArchitecture, why: str) -> None:
    for name in OPEN:
        if not c.text(name):
            value = getattr(found, name)
            c.notes.append(f"{name} not stated: {int(value) if name == 'gated_mlp' else value} ({why})")
