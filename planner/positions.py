"""How long a sequence may be: what a model's learned positions end at, and what its context was made for."""

from profiler.architecture import ModelArchitecture
from profiler.files import InputError

USUAL_SEQ_LEN = 8192
"""Tokens of a sequence where nothing is said, as in Llama 3's pre-training (arXiv:2407.21783)."""


def usual_seq_len(architecture: ModelArchitecture) -> int:
    """The usual length, or all positions of a model that has fewer."""
    return min(USUAL_SEQ_LEN, architecture.positions)


def check_positions(seq_len: int, architecture: ModelArchitecture) -> None:
    """Refuse a sequence that runs over the end of a learned table.

    Raises:
        InputError: names the length given and the longest one.
    """
    table = architecture.learned_positions
    if table and seq_len > table:
        has = f"{architecture.name} has learned_positions {table}"
        raise InputError(f"seq_len is {seq_len}, but {has}; {table} at most is allowed.")


def context_notes(seq_len: int, architecture: ModelArchitecture) -> tuple[str, ...]:
    """A word where a sequence is longer than the context that the model states."""
    if seq_len <= architecture.positions:
        return ()
    return (f"seq_len {seq_len:,} is beyond the context of {architecture.name}, {architecture.positions:,} tokens",)
