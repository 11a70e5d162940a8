"""Predicted against observed: the error of the step model on published runs, overall, by regime and by source."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from planner.kept import kept
from planner.runs.estimate import Prediction, estimate_runs
from planner.runs.rows import later_runs
from planner.runs.training_run import TrainingRun, UnreadableRun
from profiler.files import InputError, read_toml
from sim.calibration import load_calibration
from sim.kernels.shares import KernelShares, mean_shares

MISSES = Path(__file__).parent / "misses.toml"

COMPUTING = ("matmul", "attention", "elementwise", "head", "recompute")
"""Parts of a step in which its GPUs compute."""
TOO_FEW = 3
"""Groups smaller than this have a median but no meaningful 90th percentile."""


@dataclass(frozen=True, kw_only=True)
class ErrorSummary:
    """Absolute step-time errors of a group of runs, in percent, and their signed median."""

    runs: int
    median_pct: float
    p90_pct: float | None
    bias_pct: float


@dataclass(frozen=True, kw_only=True)
class Misses:
    """Why runs are missed, as far as that is known: run id and one sentence."""

    __pydantic_config__ = {"extra": "forbid"}

    misses: Mapping[str, str]


@cache
def known_misses() -> Mapping[str, str]:
    """The reasons that ship."""
    return read_toml(MISSES, Misses).misses


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One run, predicted and observed."""

    run: TrainingRun
    prediction: Prediction
    observed_step_time_s: float

    @property
    def error_pct(self) -> float:
        """Signed error of the step time, percent of the observed."""
        return 100 * ((self.prediction.step_time_s or 0.0) / self.observed_step_time_s - 1)

    @property
    def band_s(self) -> tuple[float, float] | None:
        """Predicted seconds from the best to the worst layout; `None` where the run states all of its own."""
        low, high = self.prediction.step_time_low_s, self.prediction.step_time_high_s
        return (low, high) if self.run.other_layouts and low and high else None

    @property
    def why(self) -> str:
        """What is known of the miss; else the largest part of the predicted step in which no block computes."""
        known = known_misses().get(self.run.id)
        if known:
            return known
        waits = {name: s for name, s in self.prediction.parts_s.items() if name not in COMPUTING}
        name, seconds = max(waits.items(), key=lambda item: item[1])
        share = seconds / sum(self.prediction.parts_s.values())
        return f"not known; largest beside computing: {name.replace('_', ' ')}, {100 * share:.0f} %"


@dataclass(frozen=True, kw_only=True)
class Validation:
    """All comparisons and their summaries."""

    comparisons: tuple[Comparison, ...]
    overall: ErrorSummary
    by_precision: Mapping[str, ErrorSummary]
    by_regime: Mapping[str, ErrorSummary]
    by_source: Mapping[str, ErrorSummary]
    memory: ErrorSummary | None
    """Peak memory where it is stated."""
    passed_over: tuple[str, ...] = ()
    """Rows that could not be compared, each with why."""

    @property
    def worst(self) -> list[Comparison]:
        """The twenty largest misses, worst first."""
        return sorted(self.comparisons, key=lambda c: -abs(c.error_pct))[:20]

    @property
    def unstated_layouts(self) -> list[Comparison]:
        """The runs that do not say how many virtual stages they had, or which micro-batch."""
        return [c for c in self.comparisons if c.band_s]

    @property
    def kernel_shares(self) -> KernelShares:
        """What the predicted time stands on, mean over the runs."""
        return mean_shares([c.prediction.kernel_shares for c in self.comparisons if c.prediction.kernel_shares])

    def to_dict(self) -> dict[str, object]:
        """The form that scripts read."""
        return {
            "overall": asdict(self.overall),
            "by_precision": {k: asdict(v) for k, v in self.by_precision.items()},
            "by_regime": {k: asdict(v) for k, v in self.by_regime.items()},
            "by_source": {k: asdict(v) for k, v in self.by_source.items()},
            "peak_memory": None if self.memory is None else asdict(self.memory),
            "kernel_shares": asdict(self.kernel_shares),
            "passed_over": list(self.passed_over),
            "runs": [
                {
                    "id": c.run.id,
                    "source": c.run.source_id,
                    "regime": c.run.regime,
                    "observed_step_time_s": c.observed_step_time_s,
                    "pred_step_time_s": c.prediction.step_time_s,
                    "error_pct": c.error_pct,
                    "notes": list(c.run.notes),
                }
                for c in self.comparisons
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """Errors on runs that the constants were not fitted to: what a new run can expect."""

    left_out_median_pct: float
    """Of each source, with the constants fitted to the others."""
    left_out_p90_pct: float
    later: ErrorSummary
    """Of those gathered after the fit."""


@kept(1)
def later_validation() -> Validation:
    """The step model against the runs that were gathered after it was fitted."""
    return validate_runs(later_runs())


def unseen_errors() -> Unseen:
    """Those of the constants that ship."""
    calibration = load_calibration()
    return Unseen(
        left_out_median_pct=100 * calibration.left_out_median,
        left_out_p90_pct=100 * calibration.left_out_p90,
        later=later_validation().overall,
    )


def validate_runs(rows: Sequence[TrainingRun | UnreadableRun]) -> Validation:
    """Compare every run that states a step time or throughput with its prediction.

    Raises:
        InputError: no run states either.
    """
    runs = [row for row in rows if isinstance(row, TrainingRun)]
    observed = [(run, run.observed_step_time_s) for run in runs]
    stated = [(run, seconds) for run, seconds in observed if seconds]
    if not stated:
        raise InputError("no run states a step time or a throughput to compare with.")
    passed_over = [
        f"{row.id}: {row.note if isinstance(row, UnreadableRun) else 'states neither a time nor a throughput.'}"
        for row in rows
        if isinstance(row, UnreadableRun) or not row.observed_step_time_s
    ]
    predictions = estimate_runs([run for run, _ in stated])
    comparisons = [
        Comparison(run=run, prediction=prediction, observed_step_time_s=seconds)
        for (run, seconds), prediction in zip(stated, predictions, strict=True)
    ]
    memory = [
        100 * (c.prediction.peak_mem_gib / c.run.observed_peak_mem_gib - 1)
        for c in comparisons
        if c.run.observed_peak_mem_gib and c.prediction.peak_mem_gib
    ]
    return Validation(
        comparisons=tuple(comparisons),
        overall=summarise([c.error_pct for c in comparisons]),
        by_precision=_grouped(comparisons, lambda c: "fp8" if c.run.precision == "fp8" else "16-bit"),
        by_regime=_grouped(comparisons, lambda c: c.run.regime or "not stated"),
        by_source=_grouped(comparisons, lambda c: c.run.source_id or "not stated"),
        memory=summarise(memory) if memory else None,
        passed_over=tuple(passed_over),
    )


def _grouped(comparisons: Sequence[Comparison], key: Callable[[Comparison], str]) -> dict[str, ErrorSummary]:
    groups: dict[str, list[float]] = defaultdict(list)
    for comparison in comparisons:
        groups[key(comparison)].append(comparison.error_pct)
    return {name: summarise(errors) for name, errors in sorted(groups.items())}


def summarise(errors_pct: Sequence[float]) -> ErrorSummary:
    """Median and 90th percentile of the absolute errors, and the signed median."""
    errors = np.asarray(errors_pct)
    return ErrorSummary(
        runs=errors.size,
        median_pct=float(np.median(np.abs(errors))),
        p90_pct=float(np.quantile(np.abs(errors), 0.9)) if errors.size >= TOO_FEW else None,
        bias_pct=float(np.median(errors)),
    )
