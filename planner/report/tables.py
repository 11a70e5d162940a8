"""The numbers behind each chart, as tables with the unit in the column's name."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from planner.campaign.planned import first_moment
from planner.decide.sensitivity import Swing
from planner.plan import Plan
from profiler.units import DAY_S, GIB, HOUR_S, JOULES_PER_MWH
from sim.campaign.record import ACTIVITIES as ALL_ACTIVITIES

STEP_PARTS = {
    "matmul": ("Matrix products", "compute"),
    "attention": ("Attention", "compute"),
    "elementwise": ("Elementwise", "memory"),
    "head": ("Output head and loss", "compute"),
    "recompute": ("Recompute", "compute"),
    "tensor_parallel": ("Tensor-parallel traffic", "communication"),
    "context_parallel": ("Context-parallel traffic", "communication"),
    "pipeline": ("Pipeline traffic", "communication"),
    "data_parallel": ("Data-parallel traffic", "communication"),
    "bubble": ("Pipeline bubble", "waiting"),
    "optimizer": ("Optimizer", "memory"),
    "host": ("Host launches", "waiting"),
    "other": ("Fixed time, slowest GPU", "waiting"),
}
"""Parts of a step by their label and the thing that gives their colour."""

MEMORY_KINDS = {
    "weights": ("Weights", "compute"),
    "gradients": ("Gradients", "communication"),
    "optimizer": ("Optimizer state", "memory"),
    "activations": ("Activations", "own"),
    "logits": ("Logits", "lost"),
    "buffers": ("Buffers and slack", "waiting"),
}

ACTIVITIES = {
    "training": ("Training", "accent"),
    "checkpointing": ("Held up by checkpoints", "memory"),
    "lost_work": ("Work lost and done again", "lost"),
    "detection": ("Noticing the failure", "communication"),
    "restart": ("Restarting", "cooling"),
    "waiting_for_repair": ("Waiting for repair", "waiting"),
    "maintenance": ("Standing for maintenance", "soft"),
    "stragglers": ("Slowed by stragglers", "host"),
    "fewer_replicas": ("Running on fewer replicas", "own"),
    "pauses": ("Evaluation and other pauses", "waiting"),
    "drain": ("Taking nodes out", "memory"),
    "curtailment": ("Slowed or paused for power", "ink"),
}
"""Activities by their label and the thing that gives their colour; those of one interruption differ."""

ENERGY_PARTS = {
    "gpu": ("GPUs", "gpu"),
    "host": ("Hosts, fans, conversion", "host"),
    "network": ("Network", "network"),
    "storage": ("Storage and management", "memory"),
    "cooling": ("Cooling and distribution", "cooling"),
}

MOST_POINTS = 220
"""Points of a line in a chart: more than that cannot be told apart on a page."""


def _cascade(values: dict[str, tuple[str, str, float]], column: str) -> pd.DataFrame:
    """Rows of a bar unrolled: each begins where the one before ends. Nothing is left out but zeros."""
    rows, start = [], 0.0
    total = sum(value for _, _, value in values.values())
    for label, colour, value in values.values():
        if value > 0:
            rows.append((label, value, value / total * 100, start, start + value, colour))
            start += value
    return pd.DataFrame(rows, columns=["Part", column, "Share [%]", "start", "end", "colour"])


def step_table(plan: Plan) -> pd.DataFrame:
    """One optimizer step of the main phase, part by part [s]."""
    parts = plan.main_phase.step.parts_s
    known = {key: (*STEP_PARTS.get(key, (key.replace("_", " "), "waiting")), value) for key, value in parts.items()}
    return _cascade(known, "Seconds")


def memory_table(plan: Plan) -> pd.DataFrame:
    """Memory of the fullest GPU of the main phase by kind [GiB]."""
    kinds = plan.main_phase.step.memory_bytes
    known = {key: (*MEMORY_KINDS.get(key, (key, "waiting")), value / GIB) for key, value in kinds.items()}
    return _cascade(known, "GiB")


def time_table(plan: Plan) -> pd.DataFrame:
    """Where the days of the campaign went."""
    duration_s = plan.campaign.duration_s
    rows = [
        (*ACTIVITIES.get(key, (key.replace("_", " "), "waiting")), value / DAY_S, value / duration_s * 100)
        for key, value in plan.campaign.seconds.items()
    ]
    frame = pd.DataFrame(rows, columns=["Activity", "colour", "Days", "Share [%]"])
    return frame[["Activity", "Days", "Share [%]", "colour"]]


def energy_part_table(plan: Plan) -> pd.DataFrame:
    """Energy at the site's meter by part [MWh]."""
    total = plan.campaign.total_energy_j
    rows = [
        (*ENERGY_PARTS.get(key, (key.replace("_", " "), "waiting")), value / JOULES_PER_MWH, value / total * 100)
        for key, value in plan.campaign.energy_j.items()
    ]
    return pd.DataFrame(rows, columns=["Part", "colour", "MWh", "Share [%]"])[["Part", "MWh", "Share [%]", "colour"]]


def month_table(plan: Plan) -> pd.DataFrame:
    """Energy at the site's meter by calendar month [MWh], and the energy of its highest hour [MW]."""
    times_s, watts = plan.campaign.power_series(HOUR_S)
    mwh = watts * np.diff(times_s, append=plan.campaign.duration_s) / JOULES_PER_MWH
    start = np.datetime64(first_moment(plan.request).replace(tzinfo=None), "s")
    months = (start + times_s.astype("timedelta64[s]")).astype("datetime64[M]")
    named, first = np.unique(months, return_index=True)
    sums, highest = np.add.reduceat(mwh, first), np.maximum.reduceat(mwh, first)
    return pd.DataFrame({"Month": named.astype(str), "MWh": sums, "Peak [MW]": highest})


def cost_table(plan: Plan) -> pd.DataFrame:
    """Rent and ownership for the days of this run [USD]."""
    rows = [
        (label, cost.low, cost.expected, cost.high, colour)
        for label, cost, colour in (("Rent", plan.rent, "accent"), ("Own", plan.own, "own"))
        if cost is not None
    ]
    return pd.DataFrame(rows, columns=["Way", "Low [USD]", "Expected [USD]", "High [USD]", "colour"])


def progress_table(plan: Plan) -> pd.DataFrame:
    """Share of the tokens trained and kept through time."""
    times_s, tokens = plan.campaign.progress()
    at_s = np.linspace(0.0, plan.campaign.duration_s, MOST_POINTS)
    done = np.interp(at_s, times_s, tokens) / plan.campaign.tokens * 100
    return pd.DataFrame({"Day": at_s / DAY_S, "Tokens [%]": done})


def power_table(plan: Plan, *, most_points: int = MOST_POINTS) -> pd.DataFrame:
    """Site power through the whole campaign: the mean, lowest and highest hour of each interval [MW]."""
    times_s, watts = plan.campaign.power_series(HOUR_S)
    hours = max(-(-len(watts) // most_points), 1)
    frame = pd.DataFrame({"bin": [i // hours for i in range(len(watts))], "Day": times_s / DAY_S, "MW": watts / 1e6})
    grouped = frame.groupby("bin")
    return pd.DataFrame(
        {
            "Day": grouped["Day"].first(),
            "MW, mean": grouped["MW"].mean(),
            "MW, lowest hour": grouped["MW"].min(),
            "MW, highest hour": grouped["MW"].max(),
        }
    ).reset_index(drop=True)


def first_week_table(plan: Plan) -> pd.DataFrame:
    """Site power of the first seven days, hour by hour [MW]."""
    times_s, watts = plan.campaign.power_series(HOUR_S)
    hours = min(7 * 24, len(watts))
    return pd.DataFrame({"Day": times_s[:hours] / DAY_S, "MW": watts[:hours] / 1e6})


def failure_table(plan: Plan) -> pd.DataFrame:
    """Site power around the first unplanned interruption, segment by segment [MW]; empty where there is none."""
    stop = next((stop for stop in plan.campaign.interruptions if not stop.planned), None)
    columns = ["Minute", "MW", "Activity"]
    if stop is None:
        return pd.DataFrame(columns=columns)
    from_s, until_s = stop.time_s - 600, stop.time_s + stop.took_s - stop.lost_s + 1200
    line, megawatts = plan.campaign.timeline, plan.campaign.watts.sum(axis=1) / 1e6
    begin_s, end_s = np.maximum(line.column("start_s"), from_s), np.minimum(line.column("end_s"), until_s)
    near = np.flatnonzero(end_s > begin_s)
    names = [ALL_ACTIVITIES[int(code)] for code in line.column("activity")[near]]
    labels = [ACTIVITIES.get(name, (name.replace("_", " "),))[0] for name in names]
    minutes = (np.column_stack([begin_s[near], end_s[near]]) - stop.time_s) / 60
    values = (minutes.ravel(), np.repeat(megawatts[near], 2), np.repeat(labels, 2))
    return pd.DataFrame(dict(zip(columns, values, strict=True)))


def interruption_table(plan: Plan, *, most: int | None = None) -> pd.DataFrame:
    """Interruptions and what each cost [minutes]; `most` keeps one per so many equal intervals, for a chart."""
    rows = [
        (s.time_s / DAY_S, s.cause, "planned" if s.planned else "unplanned", s.lost_s / 60, s.detection_s / 60,
         s.restart_s / 60)
        for s in plan.campaign.interruptions
    ]  # fmt: skip
    columns = ["Day", "Cause", "Kind", "Lost [min]", "Noticing [min]", "Restart [min]"]
    frame = pd.DataFrame(rows, columns=columns)
    if most is None or len(frame) <= most:
        return frame
    cell = (frame["Day"] / (plan.campaign.duration_s / DAY_S) * most).astype(int)
    return frame[~pd.DataFrame({"cell": cell, "kind": frame["Kind"]}).duplicated()]


def cause_table(plan: Plan) -> pd.DataFrame:
    """What stopped training: how often, and the hours from the last safe checkpoint to going on, most first."""
    rows = [(stop.cause, stop.took_s) for stop in plan.campaign.interruptions]
    frame = pd.DataFrame(rows, columns=["Cause", "Hours"])
    grouped = frame.assign(Hours=frame["Hours"] / HOUR_S).groupby("Cause", sort=True)["Hours"]
    found = pd.DataFrame({"Times": grouped.count(), "Hours in all": grouped.sum()}).reset_index()
    return found.sort_values("Hours in all", ascending=False, kind="stable", ignore_index=True)


def cash_month_table(plan: Plan) -> pd.DataFrame:
    """Payments by calendar month and in all by then [USD]; what comes back is negative."""
    from planner.money.cashflow import cash_flow

    usd = cash_flow(plan).by_month_usd
    frame = pd.DataFrame({"Month": list(usd), "USD": list(usd.values())})
    return frame.assign(**{"In all by then [USD]": frame["USD"].cumsum()})


def cash_line_table(plan: Plan) -> pd.DataFrame:
    """Payments by calendar month and line of the cost [USD]."""
    from planner.money.cashflow import cash_flow

    rows = [(row["month"], row["line"], row["usd"]) for row in cash_flow(plan).rows()]
    return pd.DataFrame(rows, columns=["Month", "Line", "USD"])


def swing_table(plan: Plan) -> pd.DataFrame:
    """How far the site's power jumps, up or down [MW], and how fast at least [MW/s]; sizes, without a sign."""
    from sim.campaign.swings import swings

    rows = [
        (s.name, s.times, s.mean_w / 1e6, abs(s.largest_w) / 1e6, abs(s.ramp_w_per_s) / 1e6)
        for s in swings(plan.campaign, plan.setup)
    ]
    return pd.DataFrame(rows, columns=["Swing", "Times", "Mean size [MW]", "Largest size [MW]", "At least [MW/s]"])


def tornado_table(swings: Sequence[Swing], unit: str = "USD") -> pd.DataFrame:
    """An outcome in its unit with each assumption alone at its 5th and 95th percentile, widest first."""
    rows = [(s.label, s.at_p5, s.at_p95, s.source) for s in swings]
    return pd.DataFrame(rows, columns=["Assumption", f"At its 5 % [{unit}]", f"At its 95 % [{unit}]", "Source"])
