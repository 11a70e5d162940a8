"""When failures strike and why: one superposed process of all nodes and causes, drawn in blocks.

Everything comes from numpy's PCG64, so that one seed gives one history on any machine.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.units import DAY_S
from sim.campaign.failure_record import FailureCause, InfantMortality, LemonNodes, Reliability, Straggler


class Failure(NamedTuple):
    """One failure: when on the job's running clock, why, and the chances drawn with it."""

    clock_s: float
    cause: int
    """Index into the record's causes."""
    mark: float
    """Uniform on [0, 1): decides what is left to chance."""
    repair: float
    """Repair time over the cause's mean."""
    lemon: int
    """Which lemon node failed; −1 for an ordinary one."""


class Failures(NamedTuple):
    """Failures one after the other: arrays of the same length, fields as in `Failure`."""

    time_s: NDArray[np.float64]
    """On the job's running clock; as `FailureProcess.ahead` gives them, from the start."""
    cause: NDArray[np.int64]
    mark: NDArray[np.float64]
    repair: NDArray[np.float64]
    lemon: NDArray[np.int64]


class FailureProcess:
    """The superposed process of all nodes and causes.

    Gaps are exponential or Weibull of the same mean. Infant mortality bends time: failures come when the integrated
    rate t + a τ (1 − exp(−t/τ)) has grown by a gap. Lemon nodes add their rate while all are there; failures of one
    that was found or is under repair are dropped (thinning), which is exact for exponential gaps.
    """

    _BLOCK = 256

    def __init__(self, reliability: Reliability, mtbf_s: float, seed: int, *, nodes: int = 0) -> None:
        self.causes = reliability.causes
        self._reliability = reliability
        self._rng = np.random.default_rng(seed)
        self._block: Failures
        """Of the failures drawn, those that are struck now."""
        self._pending: list[Failure] = []
        """What is left of it, the last one first."""
        self._later: list[Failures] = []
        """Blocks drawn beyond it."""
        self._lemon_share = 0.0
        self._drawn_gaps = 0.0
        """Integrated rate up to the last failure drawn, in settled mean gaps."""
        self._stopped_s = 0.0
        self.next_s = math.inf
        """When the next failure strikes, in seconds from the start."""
        if math.isfinite(mtbf_s):
            self._lemons = reliability.lemon_nodes or LemonNodes(share=0, extra_rate=0, found_share=1)
            count = round(self._lemons.share * nodes)
            self._lemon_share = count * self._lemons.extra_rate / (nodes or 1)
            self._away_until_s = [0.0] * count
            self._mean_s = mtbf_s / (1 + self._lemon_share)
            rates = np.array([cause.rate_per_node_day for cause in self.causes])
            hardware = rates * [cause.nodes_lost == 1 for cause in self.causes]
            self._bounds = np.cumsum(rates / rates.sum())[:-1]
            self._lemon_bounds = np.cumsum(hardware / hardware.sum())[:-1] if hardware.any() else self._bounds
            self._advance()

    def take(self) -> Failure:
        """The failure at `next_s`; moves on to the next one."""
        failure = self._pending.pop()
        if self._lemon_share and failure.lemon >= 0:
            found = failure.mark < self._lemons.found_share
            away_s = math.inf if found else failure.repair * self.causes[failure.cause].repair_s
            self._away_until_s[failure.lemon] = failure.clock_s + away_s
        if self._pending and not self._lemon_share:  # the usual case, short
            self.next_s = self._pending[-1][0] + self._stopped_s
        else:
            self._advance()
        return failure

    def stop_clock(self, seconds: float) -> None:
        """Nothing fails for so long: the job stands and waits."""
        self._stopped_s += seconds
        self.next_s += seconds

    @property
    def foreseeable(self) -> bool:
        """Whether what strikes later is the same whatever strikes now: there are failures, and no lemon nodes."""
        return not self._lemon_share and math.isfinite(self.next_s)

    def ahead(self, until_s: float, most: int) -> Failures:
        """Failures from `next_s` on, until then and `most` at most, to look at: `skip` takes them.

        Their times are in seconds from the start, as `next_s` is. Only where the process is `foreseeable`.
        """
        first = len(self._block.time_s) - len(self._pending)
        blocks = [Failures._make(column[first:] for column in self._block), *self._later]
        while blocks[-1].time_s[-1] + self._stopped_s < until_s and sum(len(b.time_s) for b in blocks) < most:
            self._later.append(self._draw())
            blocks.append(self._later[-1])
        found = Failures._make(map(np.concatenate, zip(*blocks, strict=True)))
        time_s = found.time_s + self._stopped_s
        count = min(int(np.searchsorted(time_s, until_s)), most)
        return Failures._make(column[:count] for column in found._replace(time_s=time_s))

    def skip(self, count: int) -> None:
        """Take so many of the failures that `ahead` showed."""
        while count >= len(self._pending):
            count -= len(self._pending)
            self._next_block()
        if count:
            del self._pending[-count:]
        self.next_s = self._pending[-1][0] + self._stopped_s

    def _advance(self) -> None:
        while True:
            if not self._pending:
                self._next_block()
            failure = self._pending[-1]
            if not self._lemon_share or failure.lemon < 0 or failure.clock_s >= self._away_until_s[failure.lemon]:
                break
            self._pending.pop()
        self.next_s = failure[0] + self._stopped_s

    def _next_block(self) -> None:
        self._block = self._later.pop(0) if self._later else self._draw()
        rows = zip(*(column[::-1].tolist() for column in self._block), strict=True)
        self._pending = list(map(partial(tuple.__new__, Failure), rows))  # as Failure._make, without a call in Python

    def _draw(self) -> Failures:
        """The next block of failures."""
        rng, size, shape = self._rng, self._BLOCK, self._reliability.gaps_shape
        gaps = rng.exponential(1.0, size)
        if shape != 1:
            gaps = gaps ** (1 / shape) / math.gamma(1 + 1 / shape)
        integrated = self._drawn_gaps + np.cumsum(gaps)
        self._drawn_gaps = float(integrated[-1])
        clock_s = _bent(integrated * self._mean_s, self._reliability.infant_mortality)
        marks = rng.random(size)
        repairs = rng.exponential(1.0, size) if self._reliability.repair_times == "exponential" else np.ones(size)
        chance = rng.random(size)
        cause = np.searchsorted(self._bounds, chance, side="right")
        lemon = np.full(size, -1)
        if self._lemon_share:
            which = rng.random(size) * (1 + self._lemon_share) / self._lemon_share * len(self._away_until_s)
            lemon = np.where(which < len(self._away_until_s), which.astype(np.int64), -1)
            of_lemon = np.searchsorted(self._lemon_bounds, chance, side="right")
            cause = np.where(lemon >= 0, of_lemon, cause)
        return Failures(clock_s, cause, marks, repairs, lemon)


def _bent(settled_s: NDArray[np.float64], infant: InfantMortality | None) -> NDArray[np.float64]:
    """Solve t + a τ (1 − exp(−t/τ)) = `settled_s`; Newton from below never overshoots."""
    if infant is None or not infant.extra_rate:
        return settled_s
    tau_s, extra = infant.fading_days * DAY_S, infant.extra_rate
    t_s = np.maximum(settled_s - extra * tau_s, settled_s / (1 + extra))
    for _ in range(60):
        fading = np.exp(-t_s / tau_s)
        step_s = (settled_s - t_s - extra * tau_s * (1 - fading)) / (1 + extra * fading)
        t_s = t_s + step_s
        if not (np.abs(step_s) > 1e-9 * settled_s).any():
            break
    return t_s


class StragglerProcess:
    """When nodes turn slow, all kinds superposed; one seed, one history."""

    _BLOCK = 64

    def __init__(self, stragglers: tuple[Straggler, ...], nodes: float, seed: int) -> None:
        self._kinds = stragglers
        rates = np.array([kind.rate_per_node_day for kind in stragglers]) * nodes / DAY_S
        self._rate_per_s = float(rates.sum())
        self.next_s = math.inf
        """When the next node turns slow."""
        if self._rate_per_s:
            self._rng = np.random.default_rng([seed, 1])
            self._bounds = np.cumsum(rates / self._rate_per_s)[:-1]
            self._pending: list[tuple[float, int]] = []
            self.next_s = 0.0
            self._advance()

    def take(self) -> Straggler:
        """The kind of the one at `next_s`; moves on to the next."""
        kind = self._kinds[self._kind]
        self._advance()
        return kind

    def _advance(self) -> None:
        if not self._pending:
            gaps_s = self._rng.exponential(1 / self._rate_per_s, self._BLOCK)
            kinds = np.searchsorted(self._bounds, self._rng.random(self._BLOCK), side="right")
            self._pending = list(zip(gaps_s.tolist(), kinds.tolist(), strict=True))[::-1]
        gap_s, self._kind = self._pending.pop()
        self.next_s += gap_s


def memory_copy_lost(failed: FailureCause, copies: int, nodes: int, lost_before: int, mark: float) -> bool:
    """Whether a failure destroys a checkpoint in the memory of the job's hosts.

    Each node's share is held by `copies` nodes: its own and its neighbours in a group, as GEMINI places them (SOSP
    2023, doi:10.1145/3600006.3613145). Nodes lost at one stroke are neighbours, so `copies` of them take a share with
    them. Nodes lost one after the other (`lost_before` of them since the last restart) make up a group by chance:
    C(lost_before, copies − 1) / C(nodes − 1, copies − 1), compared with the uniform `mark`.
    """
    if failed.nodes_lost >= copies:
        return True
    if not failed.nodes_lost or lost_before < copies - 1 or nodes < copies:
        return False
    return mark < math.comb(min(lost_before, nodes - 1), copies - 1) / math.comb(nodes - 1, copies - 1)
