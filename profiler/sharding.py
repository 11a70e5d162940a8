"""One tensor-parallel rank's share of a model, and which degrees a model allows. No torch here."""

import math
from dataclasses import replace

from profiler.architecture import ModelArchitecture
from profiler.files import InputError


def tensor_parallel_degrees(architecture: ModelArchitecture) -> tuple[int, ...]:
    """Every tensor-parallel degree that this model's heads, FFN and vocabulary allow, ascending."""
    common = math.gcd(architecture.heads, architecture.kv_heads, architecture.ffn, architecture.vocab)
    return tuple(degree for degree in range(1, common + 1) if common % degree == 0)


def rank_share(architecture: ModelArchitecture, tp: int) -> ModelArchitecture:
    """One rank's share of every tensor-parallel layer, as a model of its own for a world of one.

    Heads, key/value heads, FFN and vocabulary divide by `tp`; hidden size, head size and norms stay.

    Raises:
        InputError: `tp` does not divide one of them; names the nearest degrees that do.
    """
    valid = tensor_parallel_degrees(architecture)
    if tp not in valid:
        below = max((degree for degree in valid if degree < tp), default=None)
        above = min((degree for degree in valid if degree > tp), default=None)
        close = " or ".join(str(degree) for degree in (below, above) if degree is not None)
        raise InputError(
            f"tensor-parallel degree {tp} does not fit {architecture.name}: it must divide "
            f"{architecture.heads} heads, {architecture.kv_heads} key/value heads, FFN {architecture.ffn} "
            f"and vocabulary {architecture.vocab}; nearest valid: {close}."
        )
    return replace(
        architecture,
        heads=architecture.heads // tp,
        kv_heads=architecture.kv_heads // tp,
        ffn=architecture.ffn // tp,
        vocab=architecture.vocab // tp,
    )
