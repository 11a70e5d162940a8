"""What planning works out once and keeps: the stages of a plan, each by exactly what its answer follows from.

A stage is a pure function of frozen arguments: the search of a layout, the estimate of a step, the simulated
campaigns. Another price or another place finds them as they were, so a plan with one thing changed takes what that
change takes. Answers are shared by whoever asks the same, and the oldest of too many are given up.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_FORGET: list[Callable[[], None]] = []


def kept(most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a pure function of hashable arguments so that its last `most` answers are kept; errors are not.

    Several threads that ask the same at once wait for the first of them.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        answers: Any = lru_cache(maxsize=most)(lambda *_, **__: _Answer[T]())
        _FORGET.append(answers.cache_clear)

        @wraps(function)
        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            answer: _Answer[T] = answers(*args, **kwargs)
            return answer.found(lambda: function(*args, **kwargs))

        return asked

    return decorate


def forget() -> None:
    """Drop everything that is kept; what is asked next is worked out anew."""
    for clear in _FORGET:
        clear()


class _Answer(Generic[T]):
    """An answer that whoever comes first works out."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: list[T] = []

    def found(self, work: Callable[[], T]) -> T:
        """The answer, worked out if it is not there yet; an error leaves it so."""
        with self._lock:
            if not self._found:
                self._found.append(work())
            return self._found[0]
