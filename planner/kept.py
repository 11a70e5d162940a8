"""What planning works out once and keeps: the stages of a plan, each by exactly what its answer follows from.

A stage is a pure function of frozen arguments: the search of a layout, the estimate of a step, the simulated
campaigns. Another price or another place finds them as they were, so a plan with one thing changed takes what that
change takes. Answers are shared by whoever asks the same, and the oldest of too many are given up.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_FORGET: list[Callable[[], None]] = []


def kept(most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a pure function of hashable arguments so that its last `most` answers are kept; errors are not."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        remembering: Any = lru_cache(maxsize=most)(function)
        _FORGET.append(remembering.cache_clear)

        @wraps(function)
        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            answer: T = remembering(*args, **kwargs)
            return answer

        return asked

    return decorate


def forget() -> None:
    """Drop everything that is kept; what is asked next is worked out anew."""
    for clear in _FORGET:
        clear()
