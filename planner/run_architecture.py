"""The model of a runs file's row: as stated, and what it leaves out as in the family of models that it is of."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from planner.cells import Cells
from profiler.architecture import ModelArchitecture

OPEN = ("gated_mlp", "ffn", "kv_heads", "vocab")
"""Columns that a family fills."""
EXACT, ROUNDED = 0.01, 0.05
"""How far a count of parameters is off by its own rounding: stated in billions, or part of a model's name."""
RARER, UNNAMED = 0.3, 3.0
"""How many such roundings each later family or shape, and a family of another name, must be nearer by."""


@dataclass(frozen=True)
class Family:
    """Models of one kind."""

    names: str
    """Pattern of the names that mean it."""
    gated: bool
    shapes: tuple[tuple[float, int], ...]
    """Width of the MLP over the hidden size, rounded to 256, and key/value heads (0: as many as heads), the likelier
    first."""
    vocab: int
    source: str


FAMILIES = (
    Family(r"llama-?3|llama 3", True, ((3.5, 8), (3.25, 8)), 128_256, "arXiv:2407.21783 table 3"),
    Family(r"llama", True, ((8 / 3, 0), (3.5, 8), (8 / 3, 8)), 32_000, "arXiv:2302.13971, 2307.09288"),
    Family(r"gpt|opt|pythia|neox|turing", False, ((4.0, 0),), 51_200, "arXiv:2005.14165, 2104.04473"),
    Family(r"mistral", True, ((3.5, 8),), 32_000, "arXiv:2310.06825"),
    Family(r"mpt", False, ((4.0, 0),), 50_368, "llm-foundry scripts/train/yamls/pretrain"),
    Family(r"bloom", False, ((4.0, 0),), 250_880, "arXiv:2211.05100 table 3"),
    Family(r"nemotron", False, ((4.0, 8), (4.0, 0)), 256_000, "arXiv:2402.16819, 2406.11704"),
    Family(r"qwen", True, ((5.4, 8), (5.29, 4), (3.61, 8)), 152_064, "arXiv:2412.15115 table 1 and checkpoints"),
    Family(r"olmo", True, ((8 / 3, 0), (5.4, 8), (4.0, 0)), 100_352, "arXiv:2501.00656 and OLMo-core"),
)
"""The likelier first where neither name nor number of parameters tells."""


def read_architecture(c: Cells) -> ModelArchitecture:
    """The model as a row states it. What it leaves out of `OPEN` is as in the family that fits best what it states:
    the model's name, and the number of parameters if it counts them or the name does.

    Raises:
        InputError: a needed cell is empty or unreadable, or no shape is possible.
    """
    parameters, doubt = _counted(c)
    name = c.text("model").lower()

    def strangeness(candidate: tuple[int, int, ModelArchitecture]) -> float:
        rank, shape, architecture = candidate
        off = abs(architecture.parameters / parameters - 1) / doubt if parameters else 0.0
        named = any(re.search(family.names, name) for family in FAMILIES)
        other = named and not re.search(FAMILIES[rank].names, name)
        return off + RARER * (rank + shape) + (UNNAMED if other else 0.0)

    rank, _, found = min(_candidates(c), key=strangeness)
    for column in OPEN:
        if not c.text(column):
            like = FAMILIES[rank].source
            c.notes.append(f"{column} not stated: {int(getattr(found, column))} (as in {like})")
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


def _candidates(c: Cells) -> Iterator[tuple[int, int, ModelArchitecture]]:
    """Every model that a row may mean, with its family's place and its shape's; what is stated stays."""
    hidden, heads = c.count("hidden"), c.count("heads")
    gated = c.flag("gated_mlp", True) if c.text("gated_mlp") else None
    if gated is None and c.number("ffn") == 4 * hidden:
        gated = False  # a gated MLP is seldom that wide
    for rank, family in enumerate(FAMILIES):
        if gated in (None, family.gated):
            vocab = c.count("vocab", family.vocab)
            for shape, (width, groups) in enumerate(family.shapes):
                ffn = c.count("ffn", round(width * hidden / 256) * 256)
                kv_heads = c.count("kv_heads", groups if groups and heads % groups == 0 else heads)
                yield rank, shape, _shaped(c, family.gated, kv_heads, ffn, vocab)


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
