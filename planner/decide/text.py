"""What a person reads of uncertainty, goals, explanations, comparisons and runs in progress, in the terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from planner.decide.diff import PlanDiff
from planner.decide.goals import SHOWN, GoalResult
from planner.decide.sensitivity import SobolIndex, Swing
from planner.explain import Taken
from planner.plan import Plan
from planner.quantities import counted, human, power, significant
from planner.terminal import console
from planner.tracking import Tracking
from planner.uncertainty import OUTCOMES, Uncertainty
from planner.why import Reason
from profiler.units import HOUR_S

BAR = 24
"""Characters of the longest bar of a tornado."""
NARROW = 120
"""Columns below which a sentence stands under its row and not beside it."""


def print_uncertainty(
    found: Uncertainty,
    swings: Mapping[str, Sequence[Swing]],
    indices: Mapping[str, Sequence[SobolIndex]],
    outcome: str,
) -> None:
    """The intervals, then what moves one outcome most."""
    screen = console()
    table = Table(title=f"{escape(found.name)}: how sure", title_justify="left", title_style="bold")
    for column in ("", "plan", "5 %", "50 %", "95 %"):
        table.add_column(column, justify="right" if column else "left")
    for name, quantiles in found.outcomes.items():
        q = quantiles
        table.add_row(escape(OUTCOMES[name]), *(human(x) for x in (q.plan, q.p5, q.p50, q.p95)))
    screen.print(table)
    unsure = sum(prior.unsure for prior in found.priors.values())
    screen.print(f"{found.samples:,} samples of {unsure} assumptions, seed {found.seed}.", style="dim")
    for note in found.notes:
        screen.print(f"Note: {note}.", markup=False)
    apart = screen.width < NARROW
    screen.print(_tornado(swings[outcome], outcome, sources=not apart))
    for swing in swings[outcome] if apart else ():
        screen.print(f"{swing.label}: {swing.source}", style="dim", markup=False)
    if indices:
        screen.print(_sobol(indices.get(outcome, ()), outcome))


def _tornado(swings: Sequence[Swing], outcome: str, *, sources: bool) -> Table:
    table = Table(title=escape(f"What moves {OUTCOMES[outcome]} most"), title_justify="left", title_style="bold")
    for column in ("", "at 5 %", "at 95 %", " ", *(("source",) if sources else ())):
        table.add_column(column, justify="right" if column.startswith("at") else "left", overflow="fold")
    for swing in swings:
        bar = "█" * max(round(BAR * swing.width / swings[0].width), 1)
        source = (escape(swing.source),) if sources else ()
        table.add_row(swing.label, human(swing.at_p5), human(swing.at_p95), bar, *source)
    return table


def _sobol(indices: Sequence[SobolIndex], outcome: str) -> Table:
    title = f"Shares of the variance of {OUTCOMES[outcome]} (Sobol indices, ± 95 %)"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for column in ("", "alone", "with interactions"):
        table.add_column(column, justify="right" if column else "left")
    for i in indices:
        table.add_row(
            i.label, f"{i.first:z.2f} ± {i.first_confidence:.2f}", f"{i.total:z.2f} ± {i.total_confidence:.2f}"
        )
    return table


def print_goal(result: GoalResult) -> None:
    """The plan that keeps the limits, or what must give."""
    screen = console()
    refused = sum(bool(c.refused) for c in result.candidates)
    tried = f"{len(result.candidates)} clusters tried" + (f", {refused} of them cannot run it" if refused else "")
    if result.plan is None:
        none = "None of them" if result.stopped else "No plan"
        screen.print(f"{none} keeps these limits ({tried}).", style="bold")
        for shortfall in result.shortfalls:
            said = shortfall.sentence
            screen.print(f"  {said[0].upper()}{said[1:]}.", markup=False)
        _print_notes(result, screen)
        return
    plan, kept, so_far = result.plan, "", " so far" if result.stopped else ""
    if result.sure is not None:
        kept = f", each limit kept with a probability of {result.sure:.0%}"
    screen.print(
        f"The {result.prefer}{so_far}: {plan.cluster.gpus:,} x {plan.cluster.gpu.label} ({tried}{kept}).",
        style="bold",
        markup=False,
    )
    found = {"days": plan.days.expected, "cost_usd": plan.cost.expected, "peak_mw": plan.peak_power_mw}
    found["tco2e"] = plan.carbon.location_based_tco2e
    for limit in result.limits:
        show = SHOWN[limit.outcome]
        said = limit.said[0].upper() + limit.said[1:]
        screen.print(f"  {said}: {show(found[limit.outcome])} of {show(limit.most)} allowed", markup=False)
    if result.prefer != "fastest" and "days" not in {limit.outcome for limit in result.limits}:
        screen.print(f"No date was asked for, and small clusters are the {result.prefer}: add --by.", style="dim")
    if not plan.request.phases and plan.request.training.global_batch is None:
        batch = human(plan.main_phase.tokens_per_step)
        screen.print(
            f"No batch was asked for: steps grow with the cluster, here to {batch} tokens; "
            "state training.global_batch to try all clusters with one.",
            style="dim",
        )
    _print_notes(result, screen)


def _print_notes(result: GoalResult, screen: Console) -> None:
    for note in result.notes:
        screen.print(f"Note: {note}.", markup=False)


def print_taken(rows: Sequence[Taken], plan: Plan) -> None:
    """Every key with its value, then every assumption with its source."""
    screen = console()
    keys = [(row.key, row.value, "given" if row.given else "default", row.doc) for row in rows]
    _print_rows(screen, f"{plan.name}: keys", ("key", "value", "from", ""), keys)
    stands_on = [(a.what, a.value, a.kind, a.source) for a in plan.assumptions]
    _print_rows(screen, "What the plan stands on", ("", "value", "kind", "source"), stands_on)
    screen.print("Follow a number: herdplan explain PLAN --why cost_usd", style="dim")


def _print_rows(
    screen: Console, title: str, columns: Sequence[str], rows: Sequence[tuple[str, str, str, str]]
) -> None:
    """A table of four columns; on a narrow screen each row as two lines, the last column below the others."""
    if screen.width < NARROW:
        screen.print(title, style="bold", markup=False)
        for name, value, kind, said in rows:
            screen.print(f"{name} = {value} ({kind})", style="dim" if kind == "default" else "", markup=False)
            screen.print(Padding(Text(said, style="dim"), (0, 0, 0, 4)))
        return
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row), style="dim" if row[2] == "default" else "")
    screen.print(table)


def print_why(reason: Reason) -> None:
    """The tree of one number; what was shown once is not shown again."""
    console().print(_tree(reason, None, set()))


def _tree(reason: Reason, parent: Tree | None, shown: set[str]) -> Tree:
    line = Text.assemble((f"{reason.what}: ", "bold"), reason.value)
    if reason.source:
        line.append(f"  {reason.kind}: {reason.source}", style="dim")
    elif reason.how:
        line.append(f"  {reason.how}", style="dim")
    again = bool(reason.parts) and reason.what in shown
    if again:
        line.append(" (see above)", style="dim")
    branch = Tree(line) if parent is None else parent.add(line)
    if not again:
        shown.add(reason.what)
        for part in reason.parts:
            _tree(part, branch, shown)
    return branch


def print_diff(diff: PlanDiff, screen: Console | None = None) -> None:
    """Results side by side, then each change with what it does alone, then the assumptions that differ."""
    screen = screen or console()
    if diff.empty:
        screen.print("The two plans are the same.")
        return
    table = Table(title="Results", title_justify="left", title_style="bold")
    for column in ("", *diff.names, "change"):
        table.add_column(escape(column), justify="right" if column else "left", overflow="fold")
    for name, before in diff.before.items():
        after = diff.after[name]
        table.add_row(name, _number(before), _number(after), _percent(before, after))
    screen.print(table)
    _print_changes(screen, diff)
    if diff.assumptions:
        rows = Table(title="Assumptions that differ", title_justify="left", title_style="bold")
        for column in ("", *diff.names):
            rows.add_column(escape(column), overflow="fold")
        for row in diff.assumptions:
            rows.add_row(escape(row.what), escape(row.before), escape(row.after))
        screen.print(rows)


def _print_changes(screen: Console, diff: PlanDiff) -> None:
    """One row a change: what it alone does to the first plan; below them those that cannot be made alone, and why."""
    shown = {"days": "days", "cost_usd": "cost", "energy_mwh": "energy", "tco2e": "tCO2e", "mfu": "MFU"}
    table = Table(title="Each change alone", title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    for column in shown.values():
        table.add_column(column, justify="right", no_wrap=True)
    for change in diff.changes:
        if change.results is not None:
            effects = (_percent(diff.before[name], change.results[name]) for name in shown)
            said = f"{', '.join(change.keys)}\n{change.before} → {change.after}"
            table.add_row(escape(said), *effects)
    if table.row_count:
        screen.print(table)
    for change in diff.changes:
        if change.results is None:
            screen.print(f"{', '.join(change.keys)} not alone: {change.refused}", markup=False)


def print_tracking(t: Tracking) -> None:
    """Where the run stands, what the gap is made of, and the forecast."""
    screen = console()
    screen.print(f"{t.name}: {t.verdict}", style="bold", markup=False)
    still = t.standstill
    stopped, paused, lost = (significant(x / HOUR_S) for x in (still.stopped_s, still.paused_s, still.lost_s))
    screen.print(
        f"After {significant(t.elapsed_days)} days: {human(t.tokens)} tokens, {human(t.planned_tokens)} planned. "
        f"Steps run at {t.speed:.1%} of the planned speed. {counted(still.stops, 'interruption')} held it up for "
        f"{stopped} h, {counted(still.pauses, 'pause')} for {paused} h; {lost} h of steps were done again."
    )
    table = Table(title="Behind the plan", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("days", justify="right")
    for name, part in t.gap_parts_days.items():
        table.add_row(name.replace("_", " ").capitalize(), f"{part:+z.2f}")
    table.add_row("Together", f"{t.gap_days:+z.2f}", style="bold")
    screen.print(table)
    low, middle, high = (f"{moment:%Y-%m-%d}" for moment in t.finish)
    screen.print(
        f"Finish: {middle} (90 % between {low} and {high}), planned {t.planned_finish:%Y-%m-%d}; "
        f"{significant(t.days[1])} days of {significant(t.planned_days)} planned."
    )
    if t.power_mw is not None and t.energy_mwh is not None:
        screen.print(
            f"Power: {power(t.power_mw)}, {power(t.planned_power_mw)} planned; "
            f"{human(t.energy_mwh)} MWh in all at this power."
        )
    for note in t.notes:
        screen.print(f"Note: {note}.", style="dim", markup=False)


def _number(value: float) -> str:
    return human(value) if value >= 1 else significant(value)


def _percent(before: float, after: float) -> str:
    return "same" if before == after else f"{(after / before - 1) * 100:+.2f} %" if before else "new"
