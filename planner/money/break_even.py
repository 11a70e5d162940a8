"""Renting a cluster against buying it: what each has cost after so many days of use, and from when buying is less."""

from dataclasses import dataclass, field, replace
from functools import cached_property

from planner.market.prices import Level
from planner.money.costs import YEAR_DAYS, Rental
from planner.money.ownership import Keeping, Ownership, ownership_items

LONGEST_USE_DAYS = 10 * YEAR_DAYS
"""A break-even beyond ten years of use is none."""

EXPECTED = Level()


@dataclass(frozen=True, kw_only=True)
class RentOrBuy:
    """The same cluster rented, or bought and written off whole, all prices as expected.

    What is bought is paid for on the first day and nothing of it comes back, so that what a sale would bring is of no
    account; interest is on the value that it would still have. What is neither GPUs nor their site (storage, people
    who develop the model) is left out on both sides.
    """

    rental: Rental
    rented_gpus: int
    ownership: Ownership
    owned_gpus: int
    electricity_usd_per_day: float
    """Of the owned cluster in steady use; below 0 where prices are."""
    keeping: Keeping = field(default_factory=Keeping)

    def rent_usd(self, days: float) -> float:
        """What renting has cost after `days` of use [USD]."""
        return 24 * days * self.rented_gpus * self.rental.price_usd_per_gpu_hour.expected

    def buy_usd(self, days: float) -> float:
        """What buying has cost after `days` of use [USD]; after none, the hardware and a building of its own."""
        keeping = replace(self.keeping, resale_share=1.0, storage_tb=0.0)
        electricity_usd = self.electricity_usd_per_day * days
        items = ownership_items(self.ownership, self.owned_gpus, days, electricity_usd, keeping)
        return float(sum((item.bought or item.usd)(EXPECTED) for item in items))

    @cached_property
    def break_even_days(self) -> float | None:
        """Days of use after which buying has cost less than renting; `None` if not in ten years."""
        if self._saved_usd(LONGEST_USE_DAYS) <= 0:
            return None
        below, above = 0.0, LONGEST_USE_DAYS  # what buying saves is convex in the days, so it crosses zero once
        while above - below > 1e-6:
            middle = (below + above) / 2
            below, above = (middle, above) if self._saved_usd(middle) <= 0 else (below, middle)
        return above

    def _saved_usd(self, days: float) -> float:
        return self.rent_usd(days) - self.buy_usd(days)
