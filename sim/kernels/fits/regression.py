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
SOFT = 0.03
"""Scatter of one timing about its curve beyond which it counts less (soft L1)."""


@dataclass(frozen=True)
class Parameter:
    """One number to fit: where to start and between which bounds."""

    start: float
    low: float
    high: float


NONE = Parameter(0.0, -1e-30, 1e-30)
"""A number that these timings cannot tell from zero."""


def fitted(
    model: Callable[..., Array], seconds: Array, parameters: Mapping[str, Parameter], timed: str
) -> tuple[dict[str, float], Evidence]:
    """The parameters under which `model(**parameters)` is nearest to `seconds`, and how near."""
    names = list(parameters)
    start = np.array([parameters[name].start for name in names])

    def misses(z: Array) -> Array:
        return np.log(model(**dict(zip(names, z, strict=True))) / seconds)

    solution = least_squares(
        misses,
        start,
        bounds=([parameters[n].low for n in names], [parameters[n].high for n in names]),
        loss="soft_l1",
        f_scale=SOFT,
        x_scale=np.maximum(np.abs(start), 1e-12),
    )
    errors = np.abs(misses(solution.x))
    evidence = Evidence(
        timed=timed,
        points=len(seconds),
        error_median=float(np.median(errors)),
        error_p90=float(np.quantile(errors, 0.9)),
    )
    return dict(zip(names, solution.x.tolist(), strict=True)), evidence


def read(folder: Path, name: str) -> pd.DataFrame:
    """One file of raw timings."""
    path = folder / f"{name}_measured.csv"
    if not path.exists():
        raise InputError(f"{path}: not there; give the folder that holds the published timings.")
    return pd.read_csv(path, comment="#", low_memory=False)
