"""The derived kernel tables of the catalogue: curves fitted to published timings, each beside its source.

`python -m sim.kernels.fits FOLDER` makes them from the raw timings; no raw timing ships.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from profiler.files import parse_toml, read_text, validated
from profiler.units import Amount, Count
from sim.hardware import CATALOGUE

TABLES = CATALOGUE / "kernels"

Values = NDArray[np.float64] | float
"""A number, or one per step."""

Curve = TypeVar("Curve")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a curve was fitted to and how well it describes it."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    timed: str
    """Part, library and release that were timed."""
    points: Count
    """Published timings that the fit saw."""
    error_median: Amount
    """Absolute error of the time over those points, as a ratio."""
    error_p90: Amount


def load_curves(name: str, kind: type[Curve]) -> Mapping[str, Curve]:
    """The curves of one table by name.

    Raises:
        InputError: a file of the catalogue that is damaged; names the curve and the key.
    """
    path = TABLES / f"{name}.toml"
    curves = parse_toml(read_text(path), source=str(path))["curves"]
    return {key: validated(values, kind, source=f"{path}, curve {key}") for key, values in curves.items()}


def family_of(kernels: str) -> str:
    """The timed part whose curves stand for a GPU of the catalogue (its `kernels`): A100, H200, else the H100."""
    return kernels if kernels in ("a100", "h200") else "h100"
