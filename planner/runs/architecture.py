"""The model of a runs file's row: as stated, and what it leaves out as in the family of models that it is of."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from planner.runs.cells import Cells
from profiler.architecture import ModelArchitecture, available_models, load_architecture
from profiler.files import InputError, nearest

OPEN = ("gated_mlp", "ffn", "kv_heads", "vocab")
"""Columns that a family fills."""
SHAPE = ("layers", "hidden", "heads", *OPEN)
EXACT, ROUNDED = 0.01, 0.05
"""How far a count of parameters is off by its rounding (assumed): stated in billions, or part of a model's name."""
RARER = 0.3
"""How many such roundings each later family or shape must be nearer by (assumed)."""
FOREIGN = 0.3
"""A count that no shape comes as near to is another model's: that of which the row's has fewer layers (assumed)."""
ODD = 0.1
"""Parameters that are further off than this are worth a word."""


@dataclass(frozen=True)
class Family:
    """Models of one kind."""

    label: str
    names: str
    """Pattern of the names that mean it."""
    gated: bool
    shapes: tuple[tuple[float, int], ...]
    """Width of the MLP over the hidden size, rounded up to 256, and key/value heads (0: as many as heads), the
    likelier first."""
    vocab: int
    source: str
    tied: bool = False
    biased: bool = False


FAMILIES = (
    Family(
        "Llama 3",
        r"llama(?![- ]?[12](?!\d*\.?\d*b))",
        True,
        ((3.5, 8), (3.25, 8), (4.0, 8)),
        128_256,
        "arXiv:2407.21783",
    ),
    Family(
        "Llama 2",
        r"llama(?![- ]?3(?!\d*\.?\d*b))",
        True,
        ((8 / 3, 0), (3.5, 8), (8 / 3, 8)),
        32_000,
        "arXiv:2302.13971, 2307.09288",
    ),
    Family("GPT-3", r"gpt|opt|pythia|neox|turing", False, ((4.0, 0),), 51_200, "arXiv:2005.14165", True, True),
    Family("Mistral", r"mistral", True, ((3.5, 8),), 32_000, "arXiv:2310.06825"),
    Family("MPT", r"mpt", False, ((4.0, 0),), 50_368, "llm-foundry scripts/train/yamls/pretrain", True, True),
    Family("BLOOM", r"bloom", False, ((4.0, 0),), 250_880, "arXiv:2211.05100", True, True),
    Family("Nemotron-4", r"nemotron", False, ((4.0, 8), (4.0, 0)), 256_000, "arXiv:2402.16819, 2406.11704"),
    Family("Qwen 2.5", r"qwen", True, ((5.4, 8), (37 / 7, 4), (2.7, 8), (3.61, 8)), 152_064, "arXiv:2412.15115"),
    Family("OLMo 2", r"olmo", True, ((8 / 3, 0), (5.4, 8), (4.0, 0)), 100_352, "arXiv:2501.00656"),
)
"""The likelier first where neither name nor number of parameters tells."""


def read_architecture(c: Cells) -> ModelArchitecture:
    """The model as a row states it. What it leaves out of `OPEN` is as in the family of its name, in that of its
    families and shapes that comes nearest to the number of parameters which the row, or the name, counts.

    Raises:
        InputError: a needed cell is empty or unreadable, or no shape is possible.
    """
    known = _of_catalogue(c)
    if known is not None:
        return known
    parameters, doubt = _counted(c)
    candidates = list(_candidates(c))
    foreign = parameters and min(abs(a.parameters / parameters - 1) for _, _, a in candidates) > FOREIGN

    def strangeness(candidate: tuple[int, int, ModelArchitecture]) -> float:
        rank, shape, architecture = candidate
        off = abs(architecture.parameters / parameters - 1) / doubt if parameters and not foreign else 0.0
        return off + RARER * (rank + shape)

    rank, _, found = min(candidates, key=strangeness)
    _note(c, FAMILIES[rank], found, parameters)
    return found


def _of_catalogue(c: Cells) -> ModelArchitecture | None:
    """The shipped model of the row's name, where the row says nothing of its shape."""
    if any(c.text(name) for name in SHAPE):
        return None
    wanted = _plain(c.text("model"))
    name = next((name for name in available_models() if _plain(name) == wanted), None)
    if name is None and wanted:
        said = f"model '{c.text('model')[:40]}' is not in the catalogue, and layers, hidden and heads are empty"
        raise InputError(f"{said}; {nearest(c.text('model'), available_models())}")
    if name is None:
        return None
    c.notes.append(f"model as {name} in the catalogue")
    return load_architecture(name)


def _plain(name: str) -> str:
    """A model's name without its owner, its tuning and punctuation."""
    return re.sub(r"[^a-z0-9]|instruct$|base$", "", name.lower().rsplit("/", 1)[-1])


def _note(c: Cells, family: Family, found: ModelArchitecture, parameters: float | None) -> None:
    open_columns = [name for name in OPEN if not c.text(name)]
    if open_columns:
        taken = ", ".join(f"{name} {int(getattr(found, name))}" for name in open_columns)
        c.notes.append(f"not stated, as in {family.label} ({family.source}): {taken}")
    if open_columns and parameters and abs(found.parameters / parameters - 1) > ODD:
        c.notes.append(f"that adds up to {found.parameters / 1e9:.3g} B parameters, not {parameters / 1e9:.3g} B")


def _counted(c: Cells) -> tuple[float | None, float]:
    """Parameters that a row, or its model's name, counts, and how far that may be off."""
    stated = c.positive("params_b")
    if stated is not None:
        return stated * 1e9, EXACT
    named = re.search(r"(\d+(?:\.\d+)?)\s*([bm])\b", c.text("model").lower())
    if named and float(named[1]) > 0:
        return float(named[1]) * (1e9 if named[2] == "b" else 1e6), ROUNDED
    return None, ROUNDED


def _families(c: Cells) -> list[int]:
    """Places of the families that a row may be of: those of its model's name, with the kind of MLP that it states."""
    name = c.text("model").lower()
    gated = c.flag("gated_mlp", True) if c.text("gated_mlp") else None
    named = [i for i, family in enumerate(FAMILIES) if re.search(family.names, name)]
    if gated is None and not named and c.number("ffn") == 4 * c.count("hidden"):
        gated = False  # a gated MLP is seldom that wide
    of_kind = [i for i, family in enumerate(FAMILIES) if gated in (None, family.gated)]
    return [i for i in named if i in of_kind] or of_kind


def _candidates(c: Cells) -> Iterator[tuple[int, int, ModelArchitecture]]:
    """Every model that a row may mean, with its family's place and its shape's; what is stated stays."""
    hidden, heads = c.count("hidden"), c.count("heads")
    for rank in _families(c):
        family = FAMILIES[rank]
        for shape, (width, groups) in enumerate(family.shapes):
            ffn = c.count("ffn", 256 * math.ceil(width * hidden / 256 - 1e-9))
            kv_heads = c.count("kv_heads", groups if groups and heads % groups == 0 else heads)
            yield rank, shape, _shaped(c, family, kv_heads, ffn)


def _shaped(c: Cells, family: Family, kv_heads: int, ffn: int) -> ModelArchitecture:
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
        vocab=c.count("vocab", family.vocab),
        gated_mlp=family.gated,
        tied_embeddings=c.flag("tied_embeddings", family.tied),
        norm="rmsnorm" if family.gated else "layernorm",
        biases=family.biased,
        context=c.count("seq_len"),
    )
