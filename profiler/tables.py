"""Profiles and findings as a person reads them in a terminal."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from profiler.collective_fit import fit_latency_and_bandwidth
from profiler.doctor import Finding
from profiler.points import point_of
from profiler.profile import CollectiveRow, LayerRow, Profile, Provenance
from profiler.selfcheck import ENERGY_GOAL, MEMORY_GOAL, TIME_GOAL, SelfCheck
from profiler.units import GIB, GIGA, TERA

NOT_MEASURED = "–"


def console() -> Console:
    """The terminal, or 120 columns where the output goes to a file or pipe."""
    found = Console()
    return found if found.is_terminal else Console(width=120)


def seconds(value: float | None) -> str:
    """A duration with a unit that keeps three digits readable."""
    if value is None:
        return NOT_MEASURED
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}" if value < 1000 * scale else f"{value / scale:.0f} {unit}"
    return f"{value / 1e-9:.3g} ns"


def row_line(row: LayerRow) -> Text:
    """One line as a row is measured."""
    label = f"{point_of(row).label():<46} "
    if row.status != "ok":
        return Text(f"{label}{row.status}: {row.message}", style="yellow")
    times = f"forward {seconds(row.forward_s):>9}"
    times += f"  backward {seconds(row.backward_s):>9}" if row.backward_s else " " * 20
    power = f"  {row.power_mean_w:.0f} W" if row.power_mean_w is not None else ""
    return Text(f"{label}{times}  {row.repetitions:>5}×{power}")


def collective_line(row: CollectiveRow) -> Text:
    """One line as a collective is measured."""
    label = f"{row.op} {row.size_bytes:,} B, {row.ranks} ranks"
    speed = f"{row.bus_bandwidth_bytes_per_s / GIGA:.3g} GB/s bus"
    return Text(f"{label:<34} {seconds(row.time_s):>9}  {speed}")


def print_findings(findings: Iterable[Finding]) -> None:
    """The doctor's table."""
    table = Table("", "what", "here", box=None, pad_edge=False, header_style="bold")
    for finding in findings:
        mark = Text("yes", style="green") if finding.works else Text("no", style="yellow")
        table.add_row(mark, finding.name, Text(finding.detail))
    console().print(table)


def print_profile(profile: Profile) -> None:
    """Provenance, layer rows with their distance from the measured ceilings, collectives with their fit."""
    screen = console()
    for line in _provenance_lines(profile):
        screen.print(Text(line))
    screen.print(_layer_table(profile))
    if use := _use_table(profile):
        screen.print(use)
    for row in profile.layers:
        if row.status != "ok":
            screen.print(row_line(row))
    for reason in sorted({row.power_source for row in profile.layers if row.energy_j is None and row.power_source}):
        screen.print(Text(f"power {reason}"))
    if profile.collectives:
        screen.print(collective_table(profile.collectives))


def _provenance_lines(profile: Profile) -> list[str]:
    p = profile.provenance
    versions = (("driver", p.driver), ("CUDA", p.cuda), ("torch", p.torch), ("fairscale", p.fairscale))
    ceilings = (
        f"matmul {p.peak_matmul_flops / TERA:.4g} TFLOP/s" if p.peak_matmul_flops else "",
        f"fp8 matmul {p.peak_fp8_matmul_flops / TERA:.4g} TFLOP/s" if p.peak_fp8_matmul_flops else "",
        f"copy {p.copy_bytes_per_s / GIGA:.4g} GB/s" if p.copy_bytes_per_s else "",
        f"power limit {p.power_limit_w:.0f} W" if p.power_limit_w else "",
        f"idle {p.idle_power_w:.0f} W" if p.idle_power_w else "",
    )
    taken = f"{p.origin} {'for' if p.origin == 'scaled' else 'on'} {p.device}, {p.taken_at}"
    return [
        f"{profile.name}: {taken}, {p.ranks} rank{'s' if p.ranks > 1 else ''}",
        ", ".join(f"{name} {version}" for name, version in versions if version),
        *([p.method] if p.origin == "scaled" else []),
        "ceilings: " + (", ".join(c for c in ceilings if c) or "not measured"),
        *p.notes,
    ]


def _layer_table(profile: Profile) -> Table:
    table = _rows_table("forward", "backward", "TFLOP/s", "GB/s", "of roofline")
    for row in profile.layers:
        if row.status == "ok":
            cells = (seconds(row.forward_s), seconds(row.backward_s), *_rates(row, profile.provenance))
            table.add_row(point_of(row).label(), *cells)
    return table


def _use_table(profile: Profile) -> Table | None:
    """Memory, power and energy of the rows of which any was measured."""
    used = [row for row in profile.layers if row.status == "ok" and (row.peak_bytes or row.energy_j is not None)]
    table = _rows_table("peak GiB", "W", "J")
    for row in used:
        cells = (_number(row.peak_bytes, GIB), _number(row.power_mean_w), _number(row.energy_j))
        table.add_row(point_of(row).label(), *cells)
    return table if used else None


def _rows_table(*headings: str) -> Table:
    table = Table("workload", box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _number(value: float | None, unit: float = 1.0, name: str = "") -> str:
    return NOT_MEASURED if value is None else f"{_short(value / unit)} {name}".rstrip()


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}" if value >= 1e-3 else f"{value:.4f}"


def _rates(row: LayerRow, provenance: Provenance) -> tuple[str, ...]:
    """FLOP rate, byte rate and share of the roofline; both passes together."""
    total_s = (row.forward_s or 0.0) + (row.backward_s or 0.0)
    flops = row.forward_flops + row.backward_flops
    moved = row.forward_bytes + row.backward_bytes
    share = roofline_share(row, provenance)
    return (
        _short(flops / total_s / TERA) if flops and total_s else NOT_MEASURED,
        _short(moved / total_s / GIGA) if moved and total_s else NOT_MEASURED,
        f"{100 * share:.0f} %" if share is not None else NOT_MEASURED,
    )


def _matmul_ceiling(row: LayerRow, provenance: Provenance) -> float | None:
    """The measured matmul ceiling at a row's precision [FLOP/s]."""
    return provenance.peak_fp8_matmul_flops if row.precision == "fp8" else provenance.peak_matmul_flops


def roofline_share(row: LayerRow, provenance: Provenance) -> float | None:
    """Least time that the measured ceilings allow over the time taken, forward and backward together.

    The least time of a pass is the larger of its FLOPs over the matmul ceiling and its bytes over the copy
    ceiling.
    """
    peak, speed = _matmul_ceiling(row, provenance), provenance.copy_bytes_per_s
    total_s = (row.forward_s or 0.0) + (row.backward_s or 0.0)
    if not peak or not speed or not total_s or not row.forward_bytes:
        return None
    least_s = max(row.forward_flops / peak, row.forward_bytes / speed)
    if row.backward_s:
        least_s += max(row.backward_flops / peak, row.backward_bytes / speed)
    return least_s / total_s


def collective_table(rows: Sequence[CollectiveRow]) -> Table:
    """Latency and bus bandwidth fitted for each operation on each group of ranks."""
    table = Table("collective", "ranks", "scope", "sizes", box=None, pad_edge=False, header_style="bold")
    for heading in ("latency", "bus GB/s fitted", "best bus GB/s"):
        table.add_column(heading, justify="right")
    groups: dict[tuple[str, int, str], list[CollectiveRow]] = defaultdict(list)
    for row in rows:
        groups[row.op, row.ranks, row.scope].append(row)
    for (op, ranks, scope), group in groups.items():
        fit = fit_latency_and_bandwidth(group)
        best = max(row.bus_bandwidth_bytes_per_s for row in group)
        fitted = (seconds(fit[0]), f"{fit[1] / GIGA:.3g}") if fit else (NOT_MEASURED, NOT_MEASURED)
        sizes = f"{min(r.size_bytes for r in group):,} to {max(r.size_bytes for r in group):,} B"
        table.add_row(op, str(ranks), scope, sizes, *fitted, f"{best / GIGA:.3g}")
    return table


def print_comparison(before: Profile, after: Profile) -> None:
    """The points that both profiles hold, and how much longer or hungrier the second is."""
    screen = console()
    screen.print(Text(f"before: {before.name} on {before.provenance.device}"))
    screen.print(Text(f"after:  {after.name} on {after.provenance.device}"))
    earlier = {point_of(row): row for row in before.layers if row.status == "ok"}
    pairs = [(earlier[point_of(r)], r) for r in after.layers if r.status == "ok" and point_of(r) in earlier]
    if not pairs:
        screen.print("They share no measured point.")
        return
    table = Table("workload", box=None, pad_edge=False, header_style="bold")
    for heading in ("before", "after", "time", "power"):
        table.add_column(heading, justify="right")
    for old, new in pairs:
        old_s, new_s = _total_s(old), _total_s(new)
        change = (_change(old_s, new_s), _change(old.power_mean_w, new.power_mean_w))
        table.add_row(point_of(new).label(), seconds(old_s), seconds(new_s), *change)
    screen.print(table)
    alone = len(before.layers) + len(after.layers) - 2 * len(pairs)
    if alone:
        screen.print(f"{alone} rows have no counterpart.")


def _total_s(row: LayerRow) -> float | None:
    return None if row.forward_s is None else row.forward_s + (row.backward_s or 0.0)


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None or not before:
        return NOT_MEASURED
    return f"{100 * (after / before - 1):+.1f} %"


def print_selfcheck(found: SelfCheck) -> None:
    """The step as predicted from its parts, as it ran, and how far apart they are."""
    screen, trial = console(), found.trial
    words = trial.point.label().removeprefix("block ")
    screen.print(f"{trial.architecture.name}, {trial.layers} layers, {words}, on {found.device}", highlight=False)
    table = Table("", box=None, pad_edge=False, header_style="bold")
    for heading in ("sum of parts", "whole step", "error", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    errors, sum_, whole = found.errors(), found.predicted, found.measured
    for name, key in (("forward", "forward_s"), ("backward and update", "backward_and_update_s"), ("step", "step_s")):
        goal = f"{100 * TIME_GOAL:.0f} %" if key == "step_s" else ""
        table.add_row(name, seconds(getattr(sum_, key)), seconds(getattr(whole, key)), _percent(errors[key]), goal)
    peaks = (_number(sum_.peak_bytes, GIB, "GiB"), _number(whole.peak_bytes, GIB, "GiB"))
    table.add_row("peak memory", *peaks, _percent(errors["peak_bytes"]), f"{100 * MEMORY_GOAL:.0f} %")
    energies = (_number(sum_.energy_j, 1.0, "J"), _number(whole.energy_j, 1.0, "J"))
    table.add_row("energy", *energies, _percent(errors["energy_j"]), f"{100 * ENERGY_GOAL:.0f} %")
    screen.print(table)
    screen.print(f"{found.repetitions} steps; goals are for a quiet GPU.", highlight=False)
    screen.print(Text(f"memory: {found.memory_source}"))
    screen.print(Text(f"energy: {found.power_source}"))


def _percent(error: float | None) -> str:
    return NOT_MEASURED if error is None else f"{100 * error:+.1f} %"
