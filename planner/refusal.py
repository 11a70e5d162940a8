"""What a plan asks for and cannot be, told apart from mistakes elsewhere so that its file can be named."""

from collections.abc import Iterator
from contextlib import contextmanager

from profiler.files import InputError


class PlanError(InputError):
    """A plan that was read cannot be made; whoever knows its file puts the name before the sentence."""


@contextmanager
def of_the_plan() -> Iterator[None]:
    """Whatever is refused in here, or in a function that this decorates, is refused of the plan."""
    try:
        yield
    except InputError as error:
        raise PlanError(str(error)) from None
