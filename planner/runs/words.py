"""What the words of a runs file's cells mean, in whichever spelling: recompute, sharding, precision."""

import re
from collections.abc import Sequence
from typing import TypeVar

from profiler.files import InputError, nearest
from profiler.profile import Recompute
from sim.hardware import TrainingPrecision
from sim.layout import Sharding

T = TypeVar("T", bound=str)
Words = Sequence[tuple[str, T]]
"""Patterns and what they mean, the first that is found."""

AGAIN = r"(?:recomput\w*|re-comput\w*|remat\w*|(?:activation |gradient )?checkpoint(?:ing|s)?|ac)\b"
"""Names of running the forward pass again."""

PARTS = r"selective|\battn\b|attention|\bop(?:s|erators?)?\b|\bmlp\b|save_|minimal|partial"
RECOMPUTES: Words[Recompute] = (
    (rf"^(?:no|off|0|false|disabled?|not used|without)\b|^none\b|\bno(?:ne)? (?:\w+ )?{AGAIN}", "none"),
    (rf"{PARTS}|\blayers? \d|every \w+ (?:layer|block)", "selective"),
    (r"^(?:1|yes|true|on|enabled?)$|\bfull|(?:every|all) (?:layer|block)|uniform|^block", "full"),
    (AGAIN, "full"),
)

MODE = rf"\b{AGAIN}(?: mode| policy)?[:= ]+"
OF_FLAGS: Words[Recompute] = (
    (rf"\bno (?:\w+ )?{AGAIN}|{MODE}(?:no|none|off)\b", "none"),
    (rf"\bselective\b[\w ]*{AGAIN}|{MODE}selective|autodiffcheckpoint|remat[: _=]+(?!full)", "selective"),
    (rf"\bfull (?:activation |gradient )?{AGAIN}|{MODE}full|--checkpoint-activations", "full"),
)
"""The same within a row's flags, where it has to be said whose mode it is."""

SHARDINGS: Words[Sharding] = (
    (r"^(?:none|no|no[_ -]?shard|replicated?)$", "none"),
    (r"hybrid|hsdp|mics", "hsdp"),
    (r"shard_?grad_?op|zero[-_ ]*(?:stage[-_ ]*)?2|^stage[-_ ]*2", "zero2"),
    (r"zero[-_ ]*(?:stage[-_ ]*)?1|^stage[-_ ]*1|dist\w*[-_ ]opt\w*|optimi[sz]er[- ]stat\w*", "zero1"),
    (r"fsdp|full[_ -]?shard|fully[_ -]?sharded|zero[-_ ]*(?:stage[-_ ]*)?3|^stage[-_ ]*3", "fsdp"),
    (r"^d?dp$|^data[- ]parallel|zero[-_ ]*(?:stage[-_ ]*)?0|distributed ?data ?parallel", "ddp"),
)

PRECISIONS: Words[TrainingPrecision] = (
    (r"(?:fp|float)[-_ ]?8|f8|e4m3", "fp8"),
    (r"bf(?:loat)?[-_ ]?16", "bf16"),
    (r"(?:fp|float)[-_ ]?16|^half", "fp16"),
)


def read_word(column: str, text: str, words: Words[T]) -> T:
    """What a cell's text in lower case means: one of the meanings by its own name, or by what it is called elsewhere.

    Raises:
        InputError: no word of it is known.
    """
    allowed = sorted({meaning for _, meaning in words})
    exact = next((meaning for meaning in allowed if meaning == text), None)
    found = exact or meant(text, words)
    if found is None:
        raise InputError(f"{column} '{text[:40]}' is not known; {nearest(text, allowed)}")
    return found


def meant(text: str, words: Words[T]) -> T | None:
    """What a text in lower case means; `None` where no word of it is known."""
    return next((meaning for pattern, meaning in words if re.search(pattern, text)), None)
