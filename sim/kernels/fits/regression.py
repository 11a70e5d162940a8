"""Fitting a curve to timings: robust least squares on the logarithm of the time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from profiler.files import InputError
from sim.kernels.tables import Evidence

Array = NDArray[np.float64]
VANISHING = 1e-4
"""Share of its start below which a number counts as zero: the fit moves logarithms."""
SOFT = 0.03
"""Scatter of one timing about its curve beyond which it counts less (soft L1)."""


@dataclass(frozen=True)
class Parameter:
    """One positive number to fit: where to start and between which bounds; a `low` of zero lets it vanish."""

    start: float
    low: float
    high: float


NONE = Parameter(0.0, 0.0, 0.0)
"""A number that these timings say nothing of: zero."""


def fitted(
    model: Callable[..., Array], seconds: Array, parameters: Mapping[str, Parameter], timed: str
) -> tuple[dict[str, float], Evidence]:
    """The parameters under which `model(**parameters)` is nearest to `seconds`, and how near."""
    names = [name for name, parameter in parameters.items() if parameter != NONE]
    absent = {name: 0.0 for name, parameter in parameters.items() if parameter == NONE}
    start = np.array([parameters[name].start for name in names])
    low = np.array([max(parameters[name].low, VANISHING * parameters[name].start) for name in names])
    high = np.array([parameters[name].high for name in names])

    def misses(z: Array) -> Array:
        return np.log(model(**absent, **dict(zip(names, start * np.exp(z), strict=True))) / seconds)

    bounds = (np.log(low / start), np.log(high / start))
    solution = least_squares(misses, np.zeros(len(names)), bounds=bounds, loss="soft_l1", f_scale=SOFT)
    errors = np.abs(misses(solution.x))
    evidence = Evidence(
        timed=timed,
        points=len(seconds),
        error_median=float(np.median(errors)),
        error_p90=float(np.quantile(errors, 0.9)),
    )
    found = solution.x
    vanished = (low == VANISHING * start) & (found < np.log(2 * VANISHING))
    values = np.where(vanished, 0.0, start * np.exp(found))
    return {**absent, **dict(zip(names, values.tolist(), strict=True))}, evidence


def read(folder: Path, name: str) -> pd.DataFrame:
    """One file of raw timings."""
    path = folder / f"{name}_measured.csv"
    if not path.exists():
        raise InputError(f"{path}: not there; give the folder that holds the published timings.")
    return pd.read_csv(path, comment="#", low_memory=False)
