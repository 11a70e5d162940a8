"""A campaign put onto a site's clock: the same steps and failures, in the site's hours, at the site's power.

A campaign is simulated on a clock on which every hour is alike; failures keep their place between its steps, so a
slowed hour has fewer of them.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from profiler.files import InputError
from profiler.units import HOUR_S
from sim.campaign.hours import segment_activities
from sim.campaign.record import ACTIVITIES, STOPPED, Campaign, Table
from sim.campaign.setup import CampaignSetup
from sim.site.climate import DAY_HOURS, YEAR_HOURS
from sim.site.clock import COOLING, GPU, OFF, PAUSED, RESTARTS, RUNS, SAVES, Powers, lay, powers, stretches
from sim.site.conditions import Hours, SiteConditions
from sim.site.energy import PARTS

Array = NDArray[np.float64]

_LONGEST = 50
"""A campaign that windows stretch by more than this, and a year, is refused."""


def under_conditions(campaign: Campaign, setup: CampaignSetup, conditions: SiteConditions) -> Campaign:
    """The campaign as it goes at a site: the same steps and failures, in the site's hours, at the site's power.

    Raises:
        InputError: so little power is allowed that the run never finishes.
    """
    line = campaign.timeline
    lengths_s = line.column("end_s") - line.column("start_s")
    shares = campaign.state_s / lengths_s[:, None]
    save_s, restart_s = setup.cadence.cost_s + setup.cadence.lag_s, setup.restart_s
    count = math.ceil(1.3 * campaign.duration_s / HOUR_S) + DAY_HOURS
    most = _LONGEST * count + YEAR_HOURS
    while True:
        hours = conditions.hours(count, setup.site.pue)
        power = powers(hours, np.array(campaign.state_parts_w), len(setup.phases))
        laid = lay(lengths_s, shares, power.pace, stretches(power.off, save_s, restart_s))
        if laid is not None:
            return _Rebuilt(campaign, power, hours, shares, np.array(laid)).campaign()
        if count == most:
            raise InputError(
                f"this run never finishes: its power windows leave it so little that {count / YEAR_HOURS:.0f} years "
                "are not enough; allow more megawatts, or fewer hours of them."
            )
        count = min(2 * count, most)


class _Rebuilt:
    """A campaign's tables and totals from its segments as laid."""

    def __init__(self, campaign: Campaign, power: Powers, hours: Hours, shares: Array, laid: Array) -> None:
        self.before, self.power, self.hours = campaign, power, hours
        self.segment, self.hour, self.mode = (laid[:, i].astype(np.int64) for i in (0, 3, 4))
        self.start_s, self.end_s, self.done_s = laid[:, 1], laid[:, 2], laid[:, 5]
        self.length_s = self.end_s - self.start_s
        self.state_s = self._state_s(shares)

    def _state_s(self, shares: Array) -> Array:
        """Seconds in each power state; (stretches, states). A site that is off is in none."""
        names = self.before.state_names
        with np.errstate(divide="ignore", invalid="ignore"):
            running = self.done_s[:, None] * shares[self.segment] / self.power.pace[self.hour]
        found: Array = np.where((self.mode == RUNS)[:, None], np.nan_to_num(running, posinf=0.0), 0.0)
        for mode, state in (
            (PAUSED, self.power.idle),
            (SAVES, names.index("checkpoint")),
            (RESTARTS, names.index("wait")),
        ):
            found[self.mode == mode, state] = self.length_s[self.mode == mode]
        return found

    def campaign(self) -> Campaign:
        """The campaign anew."""
        watts = self._watts()
        timeline = self._timeline()
        totals_w = self.power.total_w[self.hour]
        return replace(
            self.before,
            timeline=timeline,
            stops=self._stops(),
            duration_s=float(self.end_s[-1]),
            seconds=dict(zip(ACTIVITIES, segment_activities(timeline).sum(axis=0).tolist(), strict=True)),
            site_w=Table(PARTS, watts),
            energy_j=dict(zip(PARTS, (watts * self.length_s[:, None]).sum(axis=0).tolist(), strict=True)),
            peak_site_power_w=float(totals_w[self.state_s > 0].max()),
        )

    def _watts(self) -> Array:
        """Mean watts by part; (stretches, parts)."""
        joules = self.state_s @ self.power.parts_w
        joules[:, GPU] = (self.state_s * self.power.gpu_w[self.hour]).sum(axis=1)
        joules[:, COOLING] = (self.power.pue[self.hour] - 1) * joules.sum(axis=1)
        watts: Array = joules / self.length_s[:, None]
        # what saves or restarts beside a switched-off hour is never above what its own hour allows
        total_w = watts.sum(axis=1)
        watts *= np.minimum(1.0, self.hours.allowed_w[self.hour] / np.maximum(total_w, 1e-9))[:, None]
        return watts

    def _timeline(self) -> Table:
        """The timeline's columns; what a segment held is shared out by the work done in each stretch."""
        old = self.before.timeline
        lengths_s = old.column("end_s") - old.column("start_s")
        share = self.done_s / lengths_s[self.segment]
        curtailed_s = (self.state_s * (1 - self.power.clocks[self.hour])).sum(axis=1)
        stands = (self.mode == PAUSED) | (self.mode == OFF)
        made = {
            "start_s": self.start_s,
            "end_s": self.end_s,
            "activity": self._activity(old.column("activity")[self.segment]),
            "phase": old.column("phase")[self.segment],
            "replicas": np.where(self.mode == RUNS, old.column("replicas")[self.segment], 0.0),
            "curtailed_s": np.where(self.mode == RUNS, curtailed_s, np.where(stands, self.length_s, 0.0)),
        }
        columns = [made[name] if name in made else old.column(name)[self.segment] * share for name in old.names]
        return Table(old.names, np.column_stack(columns))

    def _activity(self, running: Array) -> Array:
        """Index of what each stretch is spent on."""
        standing = {
            PAUSED: "curtailment",
            OFF: "curtailment",
            SAVES: "checkpointing",
            RESTARTS: "restart",
        }
        found = running.copy()
        for mode, activity in standing.items():
            found[self.mode == mode] = ACTIVITIES.index(activity)
        return found

    def _stops(self) -> Table:
        """The interruptions at the site's times, with the durations that they have there."""
        old = self.before.stops
        data = old.data.copy()
        at = {name: i for i, name in enumerate(old.names)}
        time_s = old.column("time_s")
        data[:, at["time_s"]] = now_s = self._at(time_s)
        data[:, at["lost_s"]] = now_s - self._at(time_s - old.column("lost_s"))
        for name in STOPPED[1:]:  # what follows the stop
            time_s = time_s + old.column(name)
            before_s, now_s = now_s, self._at(time_s)
            data[:, at[name]] = now_s - before_s
        return Table(old.names, data)

    def _at(self, time_s: Array) -> Array:
        """Where moments of the undisturbed clock come to lie on the site's."""
        runs = self.done_s > 0
        done_s = np.cumsum(self.done_s[runs])
        found = np.minimum(np.searchsorted(done_s, time_s), len(done_s) - 1)
        stretch = (self.length_s[runs] / self.done_s[runs])[found]
        moments: Array = self.end_s[runs][found] - (done_s[found] - time_s) * stretch
        return moments
