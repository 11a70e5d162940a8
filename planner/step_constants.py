"""The calibrated constants that a plan's step depends on, each with its unit."""

import math
from collections.abc import Iterator, Mapping

from planner.phases import PlannedPhase
from planner.plan import Plan, step_again
from planner.quantities import percent, significant
from profiler.units import TERA
from sim.calibration import Constant, load_calibration

NUDGE = 1.01
"""Factor by which a constant is raised and lowered to see whether the step follows."""

NOISE = 1e-12
"""Share of the step below which a change is rounding."""


def used_constants(plan: Plan, phase: PlannedPhase) -> dict[str, Constant]:
    """The constants that move the predicted step of a phase of the plan when they are nudged, by name.

    Asked of the step model itself, which knows which of them the GPU, stack and layout read.
    """
    found = load_calibration()
    values = found.values()

    def under(constants: Mapping[str, float]) -> float:
        return step_again(plan, phase, profile=plan.profile, calibration=constants).step_time_s

    step_s = under(values)

    def moves(name: str) -> bool:
        nudged = (under({**values, name: values[name] * factor}) for factor in (NUDGE, 1 / NUDGE))
        return any(abs(seconds / step_s - 1) > NOISE for seconds in nudged)

    return {name: constant for name, constant in found.constants.items() if moves(name)}


def constant_text(name: str, constant: Constant) -> str:
    """`71.2 % (expected 73.7 %)`: the value and what was expected of it, in the constant's unit."""
    return f"{_with_unit(name, constant, constant.value)} (expected {_with_unit(name, constant, constant.prior)})"


def _with_unit(name: str, constant: Constant, value: float) -> str:
    if name.endswith("_s"):
        return _short_time(value)
    if name.startswith("attention_"):
        return f"{significant(value / TERA)} TFLOP/s"
    if "passes" in name:
        return f"{significant(value)} passes"
    share = name.endswith(("_share", "_share_a100", "_spread")) or "_exposed" in name
    return percent(value) if share or "share of" in constant.meaning else f"× {significant(value)}"


def _short_time(seconds: float) -> str:
    """`3.03e-06` → `3.03 µs`."""
    if seconds <= 0:
        return "0 s"
    power = min(max(-math.floor(math.log10(seconds) / 3), 0), 3)
    return f"{significant(seconds * 1000**power)} {('s', 'ms', 'µs', 'ns')[power]}"


def meanings() -> dict[str, str]:
    """What each constant means, by name; one that is 'the same' as the one before it in the file says as what."""
    return dict(_whole_meanings())


def _whole_meanings() -> Iterator[tuple[str, str]]:
    before = ""
    for name, constant in load_calibration().constants.items():
        same = constant.meaning.startswith("The same ") and before
        before = before if same else constant.meaning
        yield name, f"{constant.meaning} as: {before}" if same else constant.meaning
