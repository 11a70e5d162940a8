"""A profile's rows beside what the step model computes for them: point by point, and by part."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from profiler.architecture import ModelArchitecture, load_architecture
from profiler.files import InputError
from profiler.points import point_of
from profiler.profile import LayerRow, Profile
from sim.hardware import load_gpu
from sim.profile_rows import row_seconds


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One row: seconds measured and expected, both passes together."""

    workload: str
    model: str
    execution: str
    label: str
    measured_s: float
    expected_s: float

    @property
    def difference(self) -> float:
        """Measured over expected, less one."""
        return self.measured_s / self.expected_s - 1


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """All rows of one part, run one way."""

    part: str
    rows: int
    median: float
    """Of the differences, as are the next two."""
    low: float
    """10th percentile."""
    high: float
    """90th percentile."""


def compare_kernels(profile: Profile) -> tuple[ComparedRow, ...]:
    """Every row of the profile that the step model has seconds for.

    Raises:
        InputError: a profile of no GPU in the catalogue, computed itself, or without any such row.
    """
    came = profile.provenance
    if not came.gpu:
        raise InputError(f"profile '{profile.name}' is of {came.device}, of which no kernels are published.")
    if came.origin == "roofline":
        raise InputError(f"profile '{profile.name}' was computed by the very model it would be held against.")
    gpu = load_gpu(came.gpu)
    found: list[ComparedRow] = []
    for row in profile.layers:
        if row.status != "ok" or row.forward_s is None or row.collective_layout:
            continue
        expected = row_seconds(row, gpu, known_architecture(row.model))
        if expected is None or not expected[0].total_s:
            continue
        expected_s = expected[0].total_s + (expected[1].total_s if row.backward_s else 0.0)
        found.append(_compared(row, expected_s))
    if not found:
        raise InputError(f"profile '{profile.name}' holds no row that the step model has seconds for.")
    return tuple(found)


def _compared(row: LayerRow, expected_s: float) -> ComparedRow:
    return ComparedRow(
        workload=row.workload,
        model=row.model,
        execution=row.execution if row.model else "",
        label=point_of(row).label(),
        measured_s=(row.forward_s or 0.0) + (row.backward_s or 0.0),
        expected_s=expected_s,
    )


@cache
def known_architecture(model: str) -> ModelArchitecture | None:
    """A model of the catalogue by its name; `None` for any other."""
    try:
        return load_architecture(model) if model and not model.endswith(".toml") else None
    except InputError:
        return None


def by_part(rows: Sequence[ComparedRow]) -> tuple[PartSummary, ...]:
    """The differences by workload and way of running, in the order of the profile."""
    groups: Mapping[str, list[float]] = defaultdict(list)
    for row in rows:
        groups[f"{row.workload} {row.execution}".rstrip()].append(row.difference)
    return tuple(
        PartSummary(
            part=part,
            rows=len(found),
            median=float(np.median(found)),
            low=float(np.quantile(found, 0.1)),
            high=float(np.quantile(found, 0.9)),
        )
        for part, found in groups.items()
    )


def comparison_dict(profile: Profile, rows: Sequence[ComparedRow]) -> dict[str, object]:
    """As scripts read it; differences are measured over expected, less one."""
    return {
        "profile": profile.name,
        "device": profile.provenance.device,
        "parts": [asdict(part) for part in by_part(rows)],
        "rows": [{**asdict(row), "difference": row.difference} for row in rows],
    }
