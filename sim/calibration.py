"""The calibrated constants: few, physical, shared by every run, fitted once over the open published runs.

`planner/calibrate.py` fits them and writes `sim/catalogue/calibration.toml`; each stands beside the value
that independent kernel measurements led us to expect.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from profiler.files import read_toml
from profiler.units import Amount, Positive
from sim.hardware import CATALOGUE, Gpu

CALIBRATION = CATALOGUE / "calibration.toml"


@dataclass(frozen=True, kw_only=True)
class Constant:
    """One calibrated number: its value, what was expected of it and how firmly, and what it means."""

    value: Amount
    prior: Amount
    spread: Positive
    """One standard deviation of the prior, as a ratio of it: how far the fit may move it at what cost."""
    meaning: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """All calibrated constants by name, and what they were fitted on."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    fitted_on: str
    left_out_p90: Positive
    """90th percentile of the absolute step-time error when each source is left out of its own fit."""
    left_out_median: Positive
    later_p90: Positive
    """90th percentile of the absolute step-time error of runs that were gathered after the fit."""
    other_part_p90: Positive
    """90th percentile of the absolute step-time error of the A100's runs with the H100's efficiencies on the A100's
    datasheet: what may be expected of a part on which no run was fitted."""
    part_left_out_p90: Mapping[str, Positive] = field(default_factory=dict)
    """The same of runs on a part whose rate alone was fitted (`Gpu.fitted`), each source left out of that fit."""
    left_out_by_source: Mapping[str, Positive] = field(default_factory=dict)
    """Median absolute error of each source, as a ratio, with constants fitted on all the others."""
    constants: Mapping[str, Constant] = field(default_factory=dict)

    @property
    def unseen_p90(self) -> float:
        """What nine in ten runs that the fit did not see are missed by less than: of sources left out of it or of
        runs gathered after it, whichever is more."""
        return max(self.left_out_p90, self.later_p90)

    def values(self) -> dict[str, float]:
        """Name → value."""
        return {name: constant.value for name, constant in self.constants.items()}


def unfitted_note(gpu: Gpu) -> str:
    """A sentence without its full stop where `gpu` is one on which no run was fitted, or no more than the rate of its
    products was; nothing otherwise."""
    if gpu.kernels:
        return ""
    if gpu.fitted:
        fitted = f"on {gpu.label} the rate of products was fitted to published runs"
        return f"{fitted} and attention follows it; all else is the H100's"
    return f"no published run on {gpu.label} was fitted: the H100's efficiencies on its datasheet are assumed"


@cache
def load_calibration() -> Calibration:
    """The calibration that ships."""
    return read_toml(CALIBRATION, Calibration)
