"""What a software stack does for context parallelism: counted in its code, as bytes and as what can hide.

A ring passes keys and values on while it works on those that it has (arXiv:2310.01889); each rank holds two halves of
blocks so that all have as much of the causal triangle to do, and merges the partial outputs of every step by their
log-sum-exps. Others gather all keys and values first.
"""

from dataclasses import dataclass
from typing import Literal

from sim.stacks.kernel_habits import Passes


@dataclass(frozen=True, kw_only=True)
class ContextHabits:
    """The habits of one training framework; the defaults are Transformer Engine's ring of sends and receives."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    source: str = "Transformer Engine (attention/dot_product_attention/context_parallel.py 015d225)"
    gathers_first: bool = False
    """True where all keys and values are gathered before attention begins: nothing hides, and nothing is merged."""
    gradient_bytes: Literal[2, 4] = 2
    """Bytes of a number of the keys' and values' gradients as they are passed on."""
    sends_home: bool = False
    """True where these gradients are sent once more after the last step, when nothing is left to hide behind."""
    merge: Passes = (2.25, 3.0)
    """Passes over memory, forward and backward, to merge the partial results of one step of the ring: 16-bit numbers
    per element of the attention's output. Transformer Engine corrects whole outputs or half of them in place, three
    passes of each, and adds up the gradients of queries and of its own keys and values."""
