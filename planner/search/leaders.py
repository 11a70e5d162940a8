"""The best few of millions of layouts, block by block."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from planner.search.space import COLUMNS, Columns, entries
from sim.case import Array


@dataclass
class Leaders:
    """The `keep` layouts of least score among all that were offered, in whatever order they came."""

    keep: int
    rows: Array = field(default_factory=lambda: np.empty((0, len(COLUMNS))))
    """`COLUMNS` of each, the least score first; of equal scores the least tie, then in the order of the columns."""
    scores: Array = field(default_factory=lambda: np.empty(0))
    ties: Array = field(default_factory=lambda: np.empty(0))

    @property
    def worst(self) -> float:
        """The score that a layout must not exceed to be among them."""
        return float(self.scores[-1]) if self.scores.size == self.keep else math.inf

    def offer(
        self, score: Array, columns: Columns, among: NDArray[np.bool_] | None = None, tie: Array | float = 0.0
    ) -> None:
        """Let the layouts of a block compete, or those `among` them; of equals the one of least `tie` comes first."""
        good = score <= self.worst if among is None else (score <= self.worst) & among
        chosen = np.flatnonzero(good)
        if chosen.size == 0:
            return
        scores, ties = score[good], np.broadcast_to(tie, score.shape)[good]
        if chosen.size > self.keep:
            enough = scores <= np.partition(scores, self.keep - 1)[self.keep - 1]
            chosen, scores, ties = chosen[enough], scores[enough], ties[enough]
        some = entries(columns, score.shape, chosen)
        found = np.stack([some[name] for name in COLUMNS], axis=1)
        rows, scores = np.concatenate([self.rows, found]), np.concatenate([self.scores, scores])
        ties = np.concatenate([self.ties, ties])
        order = np.lexsort((*rows.T[::-1], ties, scores))[: self.keep]
        self.rows, self.scores, self.ties = rows[order], scores[order], ties[order]
