"""How much of a step's time stands on what: shares of measured, interpolated, published and guessed kernels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Literal

from sim.kernels.measured import NOT_MEASURED, Footing, MeasuredStep

Basis = Literal["measured", "interpolated", "published", "guessed"]

BASES: Mapping[Footing, Basis] = {"measured": "measured", "scaled": "interpolated", "interpolated": "interpolated"}

BLOCK_PARTS = ("matmul", "attention", "elementwise", "recompute", "bubble")
"""Parts of a step that are blocks running, or a stage waiting for blocks."""
COMMUNICATION = ("tensor_parallel", "context_parallel", "pipeline", "data_parallel")
UNTIMED = ("host", "other")
"""Fixed times and the wait for the slowest GPU, which no benchmark of kernels shows."""


@dataclass(frozen=True, kw_only=True)
class KernelShares:
    """Shares of a step's time by what they stand on; they add up to one."""

    measured: float
    """Shapes that a profile holds."""
    interpolated: float
    """Shapes between those, parts of them added up, or a profile of another GPU."""
    published: float
    """Kernels whose published timings the constants start from, on this part or one of its family."""
    guessed: float
    """The rest: the update by its counted bytes, fixed times, the wait for the slowest GPU."""

    def text(self) -> str:
        """In one line, leaving out what is not there."""
        shares = {f.name: getattr(self, f.name) for f in fields(self)}
        return ", ".join(f"{100 * share:.0f} % {name}" for name, share in shares.items() if share >= 0.005)


def part_bases(measured: MeasuredStep = NOT_MEASURED, *, timed_part: bool = True) -> dict[str, Basis]:
    """What the seconds of each part of a step (as `StepTimes`) stand on; `timed_part` says whether kernels of the
    GPU's own family were published."""
    tables: Basis = "published" if timed_part else "guessed"
    block = BASES.get(measured.block.footing, tables)
    return {
        **dict.fromkeys(BLOCK_PARTS, block),
        **dict.fromkeys(COMMUNICATION, tables),
        "head": BASES.get(measured.head.footing, tables),
        "optimizer": BASES.get(measured.update.footing, "guessed"),
        **dict.fromkeys(UNTIMED, "guessed"),
    }


def kernel_shares(
    parts_s: Mapping[str, float], measured: MeasuredStep = NOT_MEASURED, *, timed_part: bool = True
) -> KernelShares:
    """Divide the parts of a step by what their seconds stand on (`part_bases`).

    Raises:
        KeyError: a part of a step of which this module does not know what it stands on.
    """
    bases = part_bases(measured, timed_part=timed_part)
    shares: dict[Basis, float] = {"measured": 0.0, "interpolated": 0.0, "published": 0.0, "guessed": 0.0}
    total = sum(parts_s.values())
    for name, seconds in parts_s.items():
        shares[bases[name]] += seconds / total
    return KernelShares(**shares)


def mean_shares(steps: Sequence[KernelShares]) -> KernelShares:
    """The mean over some steps, each counting alike."""
    return KernelShares(**{f.name: fmean(getattr(step, f.name) for step in steps) for f in fields(KernelShares)})
