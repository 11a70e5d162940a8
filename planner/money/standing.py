"""The electricity of a cluster that stands idle before its campaign and after it, billed with the campaign's."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from planner.money.tariffs import Array, Bill, Tariff, whole_hour


@dataclass(frozen=True, kw_only=True)
class Standing:
    """When a cluster stands idle, by hours from the first step, and what it draws at the meter then [kW]."""

    start: datetime
    """Of the campaign."""
    before_h: float
    training_h: float
    after_h: float
    idle_kw: float

    @property
    def kwh(self) -> float:
        """All that is drawn idle."""
        return self.idle_kw * (self.before_h + self.after_h)

    def bill(self, tariff: Tariff) -> Bill:
        """What it adds to the bill of the campaign.

        Energy: each hour at its own price. Demand and fixed charges: those of calendar months in which the campaign
        takes no step. In a month in which it does, its own bill has them already, since it draws more in an hour than
        an idle cluster; of a month that it reaches for less than an hour the rest of that hour is added.

        Raises:
            InputError: a start that is not a whole hour.
        """
        before, end = math.ceil(self.before_h), math.ceil(self.training_h + self.after_h)
        first, hours = whole_hour(self.start) - timedelta(hours=before), np.arange(-before, end, dtype=np.float64)
        trained = _shares(hours, 0.0, self.training_h)
        idle = _shares(hours, -self.before_h, 0.0) + _shares(hours, self.training_h, self.training_h + self.after_h)
        times = (np.datetime64(first, "h") + np.arange(len(hours))).astype("datetime64[M]")
        months, begins = np.unique(times, return_index=True)
        if not idle.any():
            months, begins = months[:0], begins[:0]
        energy_usd = np.add.reduceat(self.idle_kw * idle * tariff.usd_per_kwh(first, len(hours)), begins)
        most_idle, most_trained = (np.maximum.reduceat(share, begins) for share in (idle, trained))
        demand_usd = tariff.demand_usd_per_kw_month * self.idle_kw * np.minimum(most_idle, 1 - most_trained)
        fixed_usd = tariff.fixed_usd_per_month * ((most_idle > 0) & (most_trained == 0))
        due_usd = energy_usd + demand_usd + fixed_usd
        return Bill(
            tariff=tariff.name,
            energy_kwh=self.kwh,
            energy_usd=float(energy_usd.sum()),
            demand_usd=float(demand_usd.sum()),
            fixed_usd=float(fixed_usd.sum()),
            usd_by_month={str(months[i]): float(due_usd[i]) for i in np.flatnonzero(most_idle)},
        )


def _shares(hours: Array, begin_h: float, end_h: float) -> Array:
    """The share of each hour that lies between two moments."""
    found: Array = np.clip(np.minimum(hours + 1, end_h) - np.maximum(hours, begin_h), 0.0, 1.0)
    return found
