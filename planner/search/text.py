"""Searches and comparisons of clusters as people read them in the terminal, and as scripts do."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from planner.decide.pareto import ClusterComparison, Contender
from planner.phase_notes import BUSY_NETWORK, MEMORY_ERROR, busy_network, of_what_there_is
from planner.positions import context_notes
from planner.quantities import counted, energy, money, significant
from planner.search.ranking import SearchResult
from planner.search.space import LayoutSpace
from planner.terminal import console
from profiler.units import GIB, TERA
from sim.calibration import unfitted_note
from sim.hardware import Gpu


def search_dict(result: SearchResult) -> dict[str, object]:
    """A search as scripts read it: `evaluated`, `seconds`, `layouts` best first, `losses` of the others."""
    layouts = []
    for ranked in result.layouts:
        row = asdict(ranked)
        layouts.append({**row.pop("layout"), "label": ranked.layout.label, **row})
    space = result.space
    return {
        "model": space.architecture.name,
        "gpu": space.cluster.gpu.name,
        "gpus": space.cluster.gpus,
        "fabric": space.cluster.fabric.name,
        "stack": space.stack.name,
        "precision": space.precision,
        "seq_len": space.seq_len,
        "global_batch": space.global_batch,
        "mfu_peak_tflops": _mfu_peak_tflops(space),
        "evaluated": result.evaluated,
        "fitting": result.fitting,
        "seconds": result.seconds,
        "layouts": layouts,
        "losses": [asdict(loss) for loss in result.losses],
        "only": space.only.stated,
        "notes": search_notes(result),
    }


def _mfu_peak_tflops(space: LayoutSpace) -> float:
    return space.cluster.gpu.peak_flops(space.precision) / TERA


def print_search(result: SearchResult, screen: Console | None = None) -> None:
    """The ranking as a table, and why the others lose."""
    screen = screen or console()
    whole = _ranking_table(result, apart=True)
    screen.print(whole if _fits(whole, screen) else _ranking_table(result, apart=False))
    screen.print(_loss_table(result))
    for note in search_notes(result):
        screen.print(f"Note: {note}.", markup=False)
    _print_unfitted([result.space.cluster.gpu], screen)


def search_notes(result: SearchResult) -> list[str]:
    """What to know of a ranking."""
    space, best = result.space, result.best
    notes = [result.stated_note] if result.stated_note else []
    if best.memory_fit == "tight":
        peak = of_what_there_is(best.memory_gib * GIB, space.cluster.gpu.memory_bytes)
        notes.append(f"memory is tight in the first: {peak} ({MEMORY_ERROR})")
    if any(r.memory_fit == "tight" and not r.fits for r in result.layouts):
        notes.append(f"what may fit is over by less than the model's error, and a plan may state it ({MEMORY_ERROR})")
    if best.network_share > BUSY_NETWORK:
        notes.append(f"in the first, {busy_network(best.network_share)}")
    return [*notes, *context_notes(space.seq_len, space.architecture)]


def _print_unfitted(gpus: Sequence[Gpu], screen: Console) -> None:
    for note in filter(None, map(unfitted_note, gpus)):
        screen.print(f"Note: {note}.", markup=False)


MOST_COLUMNS = 1000
"""A table is measured on a page of so many."""


def _fits(table: Table, screen: Console) -> bool:
    """Whether no cell has to be broken."""
    page = screen.options.update(width=MOST_COLUMNS)
    return Measurement.get(screen, page, table).maximum <= screen.width


def _ranking_table(result: SearchResult, *, apart: bool) -> Table:
    """Layouts with their figures; what holds each back in a column of its own, or below its layout."""
    space = result.space
    within = f", {space.allowed.text}" if space.allowed.text else ""
    within += f", only {space.only.text}" if space.only.stated else ""
    table = Table(
        title=f"{escape(space.architecture.name)} on {space.cluster.gpus:,} x {space.cluster.gpu.label}, network "
        f"{escape(space.cluster.fabric.label)}, {space.stack.name}, {space.precision}, "
        f"{counted(space.global_batch, 'sequence')} of {space.seq_len:,} tokens a step{within}: "
        f"{result.evaluated:,} layouts in {result.seconds:.2f} s, {result.fitting:,} fit; "
        f"MFU of {_mfu_peak_tflops(space):,.0f} TFLOP/s",
        title_justify="left",
    )
    against = ("against the fastest",) if apart else ()
    for column in ("layout", "step", "MFU", "memory", "GPU\npower", "energy\na step", *against):
        table.add_column(column, justify="left" if column in ("layout", *against) else "right")
    for r in result.layouts:
        below = f"\n{r.reason}" if r.reason and not apart else ""
        table.add_row(
            f"{r.layout.label}{below}",
            f"{significant(r.step_time_s)} s",
            f"{r.mfu:.1%}",
            f"{r.memory_gib:.1f} GiB",
            f"{r.gpu_power_w:.0f} W",
            energy(r.energy_kwh_per_step / 1000),
            *((r.reason,) if apart else ()),
            style="" if r.fits else "dim",
        )
    return table


def _loss_table(result: SearchResult) -> Table:
    free = result.space.allowed.free
    title = "Why the others lose" if free else "Why the others lose, with nothing held back"
    table = Table(title=title, title_justify="left")
    for column in ("reason", "layouts", "nearest"):
        table.add_column(column, justify="left" if column == "reason" else "right")
    for loss in result.losses:
        table.add_row(loss.reason, f"{loss.layouts:,}", loss.miss)
    return table


def comparison_dict(comparison: ClusterComparison) -> dict[str, object]:
    """A comparison as scripts read it: `front` with fewest days first, `beaten` with by whom, `impossible`,
    `interrupted`, which Ctrl-C came before, and `notes`."""
    return {
        "front": [asdict(c) for c in comparison.front],
        "beaten": [{**asdict(c), "beaten_by": by} for c, by in comparison.beaten],
        "impossible": [{"cluster": name, "why": why} for name, why in comparison.impossible],
        "interrupted": list(comparison.interrupted),
        "notes": list(comparison.notes),
    }


def print_comparison(comparison: ClusterComparison, *, front_only: bool, screen: Console | None = None) -> None:
    """One row a cluster: the front, then what it beats unless only the front is asked for; what has no room beside
    its figures stands below."""
    screen = screen or console()
    rows = [(c, "on the front") for c in comparison.front]
    rows += () if front_only else [(c, f"beaten by {by}") for c, by in comparison.beaten]
    said = ("layout",) if front_only else ("layout", "standing")
    whole = _comparison_table(comparison, rows, said)
    fits = _fits(whole, screen)
    screen.print(whole if fits else _comparison_table(comparison, rows, ()))
    for c, standing in () if fits else rows:
        screen.print(f"{c.name}: {c.layout}{'' if front_only else f'; {standing}'}", markup=False)
    for name, why in comparison.impossible:
        screen.print(f"{name}: {why}", style="dim", markup=False)
    for note in comparison.notes:
        screen.print(f"Note: {note}.", markup=False)
    if comparison.interrupted:
        screen.print(f"Not looked at: {'; '.join(comparison.interrupted)}.", markup=False)


FIGURES = ("cluster", "days", "cost", "electricity", "emissions", "MFU")


def _comparison_table(
    comparison: ClusterComparison, rows: Sequence[tuple[Contender, str]], said: Sequence[str]
) -> Table:
    """Clusters with their figures and with `said` beside them: nothing, the layout, or how each stands too."""
    title = f"Fewest days, dollars, MWh and tonnes: {comparison.headline}; MFU of the precision's dense peak"
    table = Table(title=title, title_justify="left")
    for column in (*FIGURES, *said):
        table.add_column(column, justify="left" if column in ("cluster", *said) else "right")
    for c, standing in rows:
        beside = (c.layout, standing)[: len(said)]
        table.add_row(*_cells(c), *beside, style="" if c in comparison.front else "dim")
    return table


def _cells(c: Contender) -> tuple[str, ...]:
    return (
        c.name,
        significant(c.days),
        money(c.cost_usd),
        energy(c.energy_mwh),
        f"{significant(c.emissions_tco2e)} tCO2e",
        f"{c.mfu:.1%}",
    )
