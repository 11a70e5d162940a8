"""The document of a report, from its plans."""

from collections.abc import Sequence

from planner.plan import Plan
from planner.report import words
from planner.report.board import board
from planner.report.details import part
from planner.report.document import Document

TITLE = "How long, how much, how many megawatt-hours"

CLOSING = "A plan is a forecast: read the intervals, and the assumptions that are only assumed, before you sign."


def document(plans: Sequence[Plan], date: str = "") -> Document:
    """Everything that a report of these plans says.

    Raises:
        ValueError: no plan.
    """
    if not plans:
        raise ValueError("a report needs at least one plan.")
    return Document(
        names=", ".join(plan.name for plan in plans),
        title=TITLE,
        date=date,
        version=plans[0].provenance["herdplan"],
        board=board(plans),
        parts=tuple(part(plan, f"plan-{number}") for number, plan in enumerate(plans, 1)),
        kinds=words.KINDS,
        closing=CLOSING,
    )
