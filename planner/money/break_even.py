"""Renting a cluster against buying it: what each has cost after so many days of use, and from when buying is less."""

from dataclasses import dataclass, field, replace
from functools import cached_property

from planner.market.prices import Level
from planner.money.costs import Rental
from planner.money.ownership import Keeping, Ownership, ownership_items
from profiler.units import YEAR_DAYS

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
    term_days: float = 0.0
    """Of a term that is paid to its end however long the use; after it rent goes on day by day, as a plan's does."""

    def rent_usd(self, days: float) -> float:
        """What renting has cost, or will in any case, after `days` of use [USD]."""
        return 24 * max(days, self.term_days) * self.rented_gpus * self.rental.price_usd_per_gpu_hour.expected

    def buy_usd(self, days: float) -> float:
        """What buying has cost after `days` of use [USD]; after none, the hardware and a building of its own."""
        keeping = replace(self.keeping, resale_share=1.0, storage_tb=0.0)
        electricity_usd = self.electricity_usd_per_day * days
        items = ownership_items(self.ownership, self.owned_gpus, days, electricity_usd, keeping)
        return float(sum((item.bought or item.usd)(EXPECTED) for item in items))

    @cached_property
    def break_even_days(self) -> float | None:
        """Days of use after which buying has cost less than renting for good, 0 where it does from the first day on;
        `None` if not in ten years."""
        if self._saved_usd(LONGEST_USE_DAYS) <= 0:
            return None
        return 0.0 if self._saved_usd(self._worst_day) > 0 else self._between(self._worst_day, LONGEST_USE_DAYS)

    @cached_property
    def short_use_days(self) -> float | None:
        """Days of use up to which buying costs less too, a whole term being paid for them; `None` if for none."""
        if self._saved_usd(0.0) <= 0 or self._saved_usd(self._worst_day) > 0:
            return None
        return self._between(self._worst_day, 0.0)

    @cached_property
    def _worst_day(self) -> float:
        """The days of use for which buying saves least: what it saves is convex in the days."""
        low, high = 0.0, LONGEST_USE_DAYS
        while high - low > 1e-6:
            third = (high - low) / 3
            worse_early = self._saved_usd(low + third) <= self._saved_usd(high - third)
            low, high = (low, high - third) if worse_early else (low + third, high)
        return low

    def _between(self, costs: float, saves: float) -> float:
        """Where buying begins to save, between days of use for which it does not and some for which it does."""
        while abs(saves - costs) > 1e-6:
            middle = (costs + saves) / 2
            costs, saves = (middle, saves) if self._saved_usd(middle) <= 0 else (costs, middle)
        return saves

    def _saved_usd(self, days: float) -> float:
        return self.rent_usd(days) - self.buy_usd(days)
