"""A campaign whose effective time ratio is known: the same failures, and what they take stretched or shrunk to it."""

from dataclasses import replace

import numpy as np

from profiler.files import InputError
from sim.campaign.hours import HELD, segment_activities
from sim.campaign.record import ACTIVITIES, STOPPED, TRAINING, Campaign, Floats, Table


def at_effective_ratio(campaign: Campaign, ratio: float) -> Campaign:
    """The campaign with training that was kept making up `ratio` of its time.

    How often nodes fail is the record's. Everything but training that was kept (lost work, checkpoints, standstills)
    takes one factor longer or shorter; with training T and all else L it is k = T (1 / ratio - 1) / L, so that the
    duration is T / ratio. Power in each state stays as it is.

    Args:
        campaign: as simulated, on a clock on which every hour is alike.
        ratio: above 0, at most 1.

    Raises:
        InputError: a ratio below 1 of a campaign that does nothing but train.
    """
    old = campaign.timeline
    trained_s = segment_activities(old)[:, TRAINING]
    lengths_s = old.column("end_s") - old.column("start_s")
    beside_s = np.maximum(lengths_s - trained_s, 0.0)
    lost_s = float(trained_s.sum()) * (1 / ratio - 1)
    if lost_s and not beside_s.sum():
        raise InputError(
            f"effective_time_ratio is {ratio:g}, and this campaign does nothing but train: it is too short to save "
            "itself, fail or be maintained; leave the ratio out."
        )
    factor = lost_s / float(beside_s.sum()) if lost_s else 0.0
    ends_s = np.cumsum(trained_s + factor * beside_s)
    timeline = _timeline(old, ends_s, factor)
    stretched = replace(
        campaign,
        timeline=timeline,
        stops=_stops(campaign, ends_s, factor),
        duration_s=float(ends_s[-1]),
        seconds=dict(zip(ACTIVITIES, segment_activities(timeline).sum(axis=0).tolist(), strict=True)),
    )
    return stretched.powered(campaign.state_parts_w)


def _timeline(old: Table, ends_s: Floats, factor: float) -> Table:
    """The segments with their new ends; those that are left without any length are left out."""
    starts_s = np.append(0.0, ends_s[:-1])
    made = {"start_s": starts_s, "end_s": ends_s, **{name: factor * old.column(name) for name in HELD}}
    data = np.column_stack([made.get(name, old.column(name)) for name in old.names])
    return Table(old.names, data[ends_s > starts_s])


def _stops(campaign: Campaign, ends_s: Floats, factor: float) -> Table:
    """The interruptions at their new moments."""
    old = campaign.stops
    data = old.data.copy()
    before_s = np.append(0.0, campaign.timeline.column("end_s"))
    data[:, old.names.index("time_s")] = np.interp(old.column("time_s"), before_s, np.append(0.0, ends_s))
    for name in STOPPED:
        data[:, old.names.index(name)] *= factor
    return Table(old.names, data)
