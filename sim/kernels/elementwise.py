"""What share of the memory bandwidth elementwise kernels reach: fitted to published timings.

A kernel that moves B bytes takes overhead + B/(share·bandwidth). Bytes are the least there are: each input read
once, each output written once. The calibration's `memory_share` and the bytes of losses in
`sim.stacks.kernel_habits` stand on these. Sources and errors stand in sim/catalogue/kernels/elementwise.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from profiler.units import Amount, Positive
from sim.kernels.tables import Evidence, Values, load_curves


@dataclass(frozen=True, kw_only=True)
class ElementwiseCurve:
    """One operation as one library runs it on one part."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    share: Positive
    """Of the datasheet's bandwidth; above one where data stay in the L2 cache between kernels."""
    overhead_s: Amount
    evidence: Evidence


def elementwise_s(moved_bytes: Values, bandwidth_bytes_per_s: Values, share: float, overhead_s: float) -> Values:
    """Seconds of one kernel that moves `moved_bytes`."""
    return overhead_s + moved_bytes / (share * bandwidth_bytes_per_s)


@cache
def elementwise_curves() -> Mapping[str, ElementwiseCurve]:
    """All curves by part, operation and library, as `h100-loss-liger`."""
    return load_curves("elementwise", ElementwiseCurve)
