"""A profile of one GPU taken over to another of the same architecture, by a stated rule.

The H100 and the H200 have the same multiprocessors and other memory. What a row computes takes as long on either at
equal clocks, and longer where the target's power limit is lower, by its clocks (`sim.clocks`). What its kernels take
for memory traffic, the share that the step model counts by their bytes, goes with the bandwidth. Host launches and
collectives over equal links stay. A row that the target's memory cannot hold says so.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from profiler.architecture import ModelArchitecture
from profiler.files import InputError
from profiler.points import point_of
from profiler.profile import LayerRow, Profile, Provenance
from profiler.units import GIB
from sim.clocks import speed_at_power
from sim.hardware import Gpu
from sim.power import activity_power_w
from sim.profile_rows import PassSeconds, row_seconds

ALIKE = 0.01
"""Relative difference of two peaks, or links, that are the same."""


def scaled_profile(
    profile: Profile, source: Gpu, target: Gpu, architectures: Mapping[str, ModelArchitecture]
) -> Profile:
    """What `profile`, measured on `source`, lets expect of `target`; rows of models that are not given are left out.

    Raises:
        InputError: a profile that was not measured, or a target of another architecture.
    """
    _check(profile, source, target)
    known = [row for row in profile.layers if not row.model or row.model in architectures]
    left_out = len(profile.layers) - len(known)
    roomier = target.memory_bytes > source.memory_bytes
    full = sum(row.status == "oom" for row in known) if roomier else 0
    known = [row for row in known if not (roomier and row.status == "oom")]
    same_links = _alike(source.link_bandwidth_bytes_per_s, target.link_bandwidth_bytes_per_s)
    rows = tuple(_scaled(row, source, target, architectures.get(row.model)) for row in known)
    collectives = tuple(replace(row, origin="scaled") for row in profile.collectives) if same_links else ()
    notes = [
        *profile.provenance.notes,
        *([f"rows of models that are not in the catalogue, left out: {left_out}"] if left_out else []),
        *([f"rows that did not fit in less memory, left out: {full}"] if full else []),
        *(["collectives left out: other links"] if profile.collectives and not same_links else []),
    ]
    return Profile(
        name=f"{target.name}-scaled-from-{profile.name}",
        provenance=replace(_provenance(profile, source, target), notes=tuple(notes)),
        layers=rows,
        collectives=collectives,
    )


def _check(profile: Profile, source: Gpu, target: Gpu) -> None:
    came = profile.provenance
    if came.origin != "measured":
        first = f": scale {came.scaled_from} instead" if came.scaled_from else ""
        raise InputError(f"profile '{profile.name}' is {came.origin}, not measured{first}.")
    if source.name == target.name:
        raise InputError(f"profile '{profile.name}' is of {target.name} already.")
    if not source.kernels or source.kernels[0] != target.kernels[:1]:  # h100 and h200, or a100
        raise InputError(
            f"{target.label} has other multiprocessors than {source.label}: its kernels are not those of profile "
            f"'{profile.name}'."
        )
    if not _alike(source.peak_bf16_flops, target.peak_bf16_flops):
        raise InputError(
            f"{target.label} computes at {target.peak_bf16_flops / 1e12:.0f} TFLOP/s and {source.label} at "
            f"{source.peak_bf16_flops / 1e12:.0f}; only what has the same peak is scaled."
        )


def _alike(one: float, other: float) -> bool:
    return abs(one / other - 1) <= ALIKE


def _provenance(profile: Profile, source: Gpu, target: Gpu) -> Provenance:
    came, slower = profile.provenance, _bandwidth_ratio(source, target)
    clocks = _clock_ratio(target, activity_power_w(source, "matmul"))
    rule = (
        f"Scaled from {profile.name} ({came.device}): time for memory traffic times {slower:.3g} "
        f"({source.memory_bandwidth_bytes_per_s / 1e12:g} over {target.memory_bandwidth_bytes_per_s / 1e12:g} TB/s), "
    )
    computing = (
        f"time to compute by the clocks at {target.tdp_w:.0f} W." if clocks > 1 else "time to compute as measured."
    )

    return replace(
        came,
        device=target.label,
        gpu=target.name,
        origin="scaled",
        method=rule + computing,
        scaled_from=profile.name,
        power_limit_w=_at_most(came.power_limit_w, target.tdp_w),
        idle_power_w=None,
        memory_bytes=target.memory_bytes,
        memory_clock_mhz=None,
        peak_matmul_flops=_times(came.peak_matmul_flops, 1 / clocks),
        peak_fp8_matmul_flops=_times(came.peak_fp8_matmul_flops, 1 / clocks),
        copy_bytes_per_s=_times(came.copy_bytes_per_s, 1 / slower),
    )


def _bandwidth_ratio(source: Gpu, target: Gpu) -> float:
    return source.memory_bandwidth_bytes_per_s / target.memory_bandwidth_bytes_per_s


def _clock_ratio(target: Gpu, drawn_w: float) -> float:
    """By how much computing that drew `drawn_w` takes longer under the target's power limit."""
    if drawn_w <= target.tdp_w:
        return 1.0
    return 1 / float(speed_at_power(np.array(target.tdp_w / drawn_w)))


def _scaled(row: LayerRow, source: Gpu, target: Gpu, architecture: ModelArchitecture | None) -> LayerRow:
    """One row on the target. Watts stay, under the target's limit; energy goes with them and the time."""
    if row.peak_bytes is not None and row.peak_bytes > target.memory_bytes:
        needs = f"took {row.peak_bytes / GIB:.0f} GiB; {target.label} has {target.memory_gib:.0f}"
        return LayerRow(**asdict(point_of(row)), origin="scaled", status="oom", message=needs)
    found = row_seconds(row, source, architecture)
    if row.status != "ok" or found is None:
        return replace(row, origin="scaled")
    ahead = _ratio(row, row.forward_s, found[0], source, target)
    behind = _ratio(row, row.backward_s, found[1], source, target)
    return replace(
        row,
        origin="scaled",
        message=f"forward times {ahead:.3f}" + (f", backward times {behind:.3f}" if row.backward_s else ""),
        forward_s=_times(row.forward_s, ahead),
        forward_p10_s=_times(row.forward_p10_s, ahead),
        forward_p90_s=_times(row.forward_p90_s, ahead),
        backward_s=_times(row.backward_s, behind),
        backward_p10_s=_times(row.backward_p10_s, behind),
        backward_p90_s=_times(row.backward_p90_s, behind),
        power_source=f"scaled from: {row.power_source}" if row.power_source else "",
        power_mean_w=_at_most(row.power_mean_w, target.tdp_w),
        power_p95_w=_at_most(row.power_p95_w, target.tdp_w),
        energy_j=_energy_j(row, ahead, behind, target.tdp_w),
        sm_clock_mhz=None,
        temperature_c=None,
        throttle_reasons="",
    )


def _ratio(row: LayerRow, measured_s: float | None, model: PassSeconds, source: Gpu, target: Gpu) -> float:
    """Seconds of a pass on the target over those on the source: what was measured is divided into computing and
    memory traffic as the step model divides it."""
    if not measured_s or not model.total_s:
        return 1.0
    memory = model.memory_s / model.total_s
    drawn_w = row.power_mean_w or activity_power_w(source, "matmul")
    return (1 - memory) * _clock_ratio(target, drawn_w) + memory * _bandwidth_ratio(source, target)


def _energy_j(row: LayerRow, ahead: float, behind: float, limit_w: float) -> float | None:
    """Energy of both passes: as measured, times how much longer they take and how much less is drawn."""
    if row.energy_j is None or not row.power_mean_w or row.forward_s is None:
        return None
    before_s = row.forward_s + (row.backward_s or 0.0)
    after_s = row.forward_s * ahead + (row.backward_s or 0.0) * behind
    return row.energy_j * after_s / before_s * min(limit_w / row.power_mean_w, 1.0)


def _times(value: float | None, ratio: float) -> float | None:
    return None if value is None else value * ratio


def _at_most(value: float | None, limit: float) -> float | None:
    return None if value is None else min(value, limit)
