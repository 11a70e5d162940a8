"""Which layout: the best of all that there are, and why the others lose."""

from planner.search.losses import LossReason
from planner.search.ranking import (
    RankedLayout,
    SearchResult,
    fastest_layout,
    kept_fastest,
    kept_search,
    search_layouts,
)
from planner.search.space import LayoutSpace

__all__ = [
    "LayoutSpace",
    "LossReason",
    "RankedLayout",
    "SearchResult",
    "fastest_layout",
    "kept_fastest",
    "kept_search",
    "search_layouts",
]
