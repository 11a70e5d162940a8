"""Searches and comparisons of clusters as people read them in the terminal, and as scripts do."""

from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from planner.pareto import ClusterComparison, Contender
from planner.quantities import energy, money, significant
from planner.search.ranking import SearchResult
from planner.terminal import console


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
        "stack": space.stack.name,
        "precision": space.precision,
        "seq_len": space.seq_len,
        "global_batch": space.global_batch,
        "evaluated": result.evaluated,
        "fitting": result.fitting,
        "seconds": result.seconds,
        "layouts": layouts,
        "losses": [asdict(loss) for loss in result.losses],
    }


def print_search(result: SearchResult) -> None:
    """The ranking as a table, and why the others lose."""
    space = result.space
    table = Table(
        title=f"{escape(space.architecture.name)} on {space.cluster.gpus:,} x {space.cluster.gpu.label}, "
        f"{space.stack.name}, {space.precision}, {space.global_batch:,} sequences of {space.seq_len:,} tokens a "
        f"step: {result.evaluated:,} layouts in {result.seconds:.2f} s, {result.fitting:,} fit",
        title_justify="left",
    )
    for column in ("layout", "step", "MFU", "memory", "GPU power", "energy a step", ""):
        table.add_column(column, justify="left" if column in ("layout", "") else "right")
    for r in result.layouts:
        table.add_row(
            r.layout.label,
            f"{significant(r.step_time_s)} s",
            f"{r.mfu:.1%}",
            f"{r.memory_gib:.0f} GiB",
            f"{r.gpu_power_w:.0f} W",
            energy(r.energy_kwh_per_step / 1000),
            r.reason,
            style="" if r.fits else "dim",
        )
    screen = console()
    screen.print(table)
    screen.print(_loss_table(result))


def _loss_table(result: SearchResult) -> Table:
    table = Table(title="Why the others lose", title_justify="left")
    for column in ("reason", "layouts", "nearest"):
        table.add_column(column, justify="left" if column == "reason" else "right")
    for loss in result.losses:
        nearest = f"{significant(loss.nearest, 2)} {loss.unit}"
        table.add_row(loss.reason, f"{loss.layouts:,}", nearest + (" slower" if loss.unit == "%" else " over"))
    return table


def comparison_dict(comparison: ClusterComparison) -> dict[str, object]:
    """A comparison as scripts read it: `front` with fewest days first, `beaten` with by whom, `impossible`, and
    `interrupted`, which Ctrl-C came before."""
    return {
        "front": [asdict(c) for c in comparison.front],
        "beaten": [{**asdict(c), "beaten_by": by} for c, by in comparison.beaten],
        "impossible": [{"cluster": name, "why": why} for name, why in comparison.impossible],
        "interrupted": list(comparison.interrupted),
    }


def print_comparison(comparison: ClusterComparison, *, front_only: bool) -> None:
    """One row a cluster: the front, then what it beats unless only the front is asked for."""
    table = Table(
        title=f"Fewest days, dollars, MWh and tonnes: {comparison.headline}",
        title_justify="left",
    )
    for column in ("cluster", "days", "cost", "electricity", "emissions", "MFU", "layout", ""):
        table.add_column(column, justify="left" if column in ("cluster", "layout", "") else "right")
    for contender in comparison.front:
        table.add_row(*_cells(contender), "")
    for contender, by in () if front_only else comparison.beaten:
        table.add_row(*_cells(contender), f"beaten by {by}", style="dim")
    screen = console()
    screen.print(table)
    for name, why in comparison.impossible:
        screen.print(f"{name}: {why}", style="dim", markup=False)
    if comparison.interrupted:
        screen.print(f"Not looked at: {'; '.join(comparison.interrupted)}.", markup=False)


def _cells(c: Contender) -> tuple[str, ...]:
    return (
        c.name,
        significant(c.days),
        money(c.cost_usd),
        energy(c.energy_mwh),
        f"{significant(c.emissions_tco2e)} tCO2e",
        f"{c.mfu:.1%}",
        c.layout,
    )
