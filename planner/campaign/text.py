"""A simulated campaign in words: where the time went, what stopped it, how its power swings."""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from planner.quantities import energy, human, money, percent, power, significant
from planner.water import site_only
from profiler.units import JOULES_PER_MWH, duration
from sim.campaign import Campaign
from sim.campaign.setup import CampaignSetup
from sim.campaign.swings import Swing, swings

if TYPE_CHECKING:
    from planner.campaign.simulation import Simulation

ACTIVITY_NAMES = {
    "training": "training that was kept",
    "checkpointing": "held up by checkpoints",
    "lost_work": "work lost and done again",
    "stragglers": "slowed by stragglers",
    "fewer_replicas": "running on fewer replicas",
    "pauses": "evaluation and other pauses",
    "detection": "noticing the failure",
    "drain": "taking nodes out",
    "restart": "restarting",
    "waiting_for_repair": "waiting for repair",
    "maintenance": "planned maintenance",
    "curtailment": "slowed or paused for power",
}

MOST_CAUSES = 5

FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "training_days": ("days", significant),
    "ettr": ("effective time", lambda x: percent(x, 2)),
    "goodput_tokens_per_s": ("tokens per second kept", lambda x: human(x)),
    "unexpected_interruptions": ("failures", lambda x: f"{x:,.0f}"),
    "energy_mwh": ("electricity", energy),
    "peak_power_mw": ("highest power", power),
    "electricity_usd": ("electricity bill", money),
    "cost_usd": ("cost", money),
    "emissions_tco2e": ("emissions", lambda x: f"{significant(x)} t"),
    "water_m3": ("water", lambda x: f"{significant(x)} m³"),
}
"""What is told of the replicas: a label, and how a person reads the figure."""


def time_lines(campaign: Campaign) -> list[str]:
    """Where the time went, most first; what took none is left out."""
    ranked = sorted(campaign.seconds.items(), key=lambda item: (item[0] != "training", -item[1]))
    return [
        f"  {ACTIVITY_NAMES[name]:<28}{duration(seconds):>10}{seconds / campaign.duration_s:>9.2%}"
        for name, seconds in ranked
        if seconds > 0
    ]


def cause_lines(campaign: Campaign) -> list[str]:
    """What stopped training, most time first: how often, and what it cost from the last checkpoint to going on."""
    stops, causes = campaign.stops, campaign.causes
    cause = stops.column("cause").astype(np.int64)
    spent_s = sum(stops.column(name) for name in stops.names if name.endswith("_s") and name != "time_s")
    counts, cost_s = (np.bincount(cause, each, minlength=len(causes)) for each in (None, spent_s))
    ranked = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-cost_s[code], causes[code]))

    def line(label: str, codes: list[int]) -> str:
        return f"  {label:<40}{counts[codes].sum():>8,} x{duration(cost_s[codes].sum()):>10}"

    rest = ranked[MOST_CAUSES:]
    lines = [line(causes[code], [code]) for code in ranked[:MOST_CAUSES]]
    return [*lines, line(f"{len(rest)} other causes", rest)] if rest else lines


def swing_lines(found: Iterable[Swing]) -> list[str]:
    """How the site's power jumps."""
    return [
        f"  {swing.name}: {'+' if swing.largest_w > 0 else ''}{power(swing.largest_w / 1e6)}, {swing.times:,} x, "
        f"at least {power(abs(swing.ramp_w_per_s) / 1e6, digits=2)}/s"
        for swing in found
    ]


def explained(campaign: Campaign, setup: CampaignSetup) -> str:
    """The campaign in words and figures, a paragraph each for time, stops, power and what to know of its setup."""
    stops = campaign.stops
    lost_s = campaign.duration_s - campaign.seconds["training"]
    each = f", {duration(lost_s / len(stops))} for each of its {len(stops):,} interruptions" if len(stops) else ""
    mean, peak = (power(w / 1e6) for w in (campaign.mean_site_power_w, campaign.peak_site_power_w))
    used = energy(campaign.total_energy_j / JOULES_PER_MWH)
    paragraphs: list[Sequence[str]] = [
        (
            f"Of {duration(campaign.duration_s)}, {campaign.ettr:.1%} trained what was kept; "
            f"{duration(lost_s)} went elsewhere{each}:",
            *time_lines(campaign),
        )
    ]
    if len(stops):
        paragraphs.append(
            ("What stopped it, with the time from the last safe checkpoint on:", *cause_lines(campaign))
        )
    paragraphs.append(
        (
            f"The site drew {mean} on average and {peak} at most, {used} in all:",
            *swing_lines(swings(campaign, setup)),
        )
    )
    paragraphs += [(f"Note: {note}.",) for note in setup.notes]
    return "\n\n".join("\n".join(lines) for lines in paragraphs)


def summary_line(simulation: "Simulation") -> str:
    """All replicas in one sentence: the medians of the table of several, as they stand there."""
    days, mtbf_s = simulation.distribution("training_days"), simulation.scenario.setup.mtbf_s
    several = len(simulation.replicas) > 1
    of = f", medians of {len(simulation.replicas)} replicas" if several else ""
    spread = f" ({significant(days['p5'])} to {significant(days['p95'])} in nine of ten replicas)" if several else ""
    ettr, used, cost_usd = (
        FIGURES[figure][1](simulation.distribution(figure)["median"]) for figure in ("ettr", "energy_mwh", "cost_usd")
    )
    cost = "" if math.isnan(simulation.distribution("cost_usd")["median"]) else f", {cost_usd}"
    often = f", a failure every {duration(mtbf_s)}" if math.isfinite(mtbf_s) else ", no failures"
    done = simulation.scenario.start + timedelta(days=days["median"])
    return (
        f"{simulation.scenario.name}{of}: {significant(days['median'])} days{spread}, done {done:%Y-%m-%d}, "
        f"effective time {ettr}, {used}{cost}{often}."
    )


def distribution_lines(simulation: "Simulation") -> list[str]:
    """The replicas' figures, median and nine in ten; of one replica, that a plan may have another."""
    if len(simulation.replicas) < 2:
        planned = simulation.scenario.request.replicas
        return [f"One replica; herdplan plan takes that of median length of {planned}."] if planned > 1 else []
    lines = [f"  {'over ' + str(len(simulation.replicas)) + ' replicas':<26}{'median':>12}{'5 %':>12}{'95 %':>12}"]
    for figure, (label, shown) in FIGURES.items():
        found = simulation.distribution(figure)
        if not math.isnan(found["mean"]):
            cells = "".join(f"{shown(found[name]):>12}" for name in ("median", "p5", "p95"))
            lines.append(f"  {label:<26}{cells}")
    left_out = site_only(simulation.scenario.grid)
    return [*lines, f"  Water is counted {left_out}."] if left_out else lines


def median_line(simulation: "Simulation") -> str:
    """Whose campaign it is that is explained, where there are several; empty where there is one."""
    return "The replica of median length, in detail.\n" if len(simulation.replicas) > 1 else ""


def interrupted_line(simulation: "Simulation") -> str:
    """What is kept where Ctrl-C came first; empty where it did not."""
    found = len(simulation.replicas)
    if found == simulation.asked:
        return ""
    return f"Stopped: {found} of {simulation.asked} replicas are done; what follows is theirs."
