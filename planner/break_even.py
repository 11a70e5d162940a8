"""After how many days of use owning has cost less than renting."""

from dataclasses import replace

from planner.costs import YEAR_DAYS, Rental, total_usd
from planner.market import amount
from planner.market.prices import Level
from planner.ownership import Keeping, Ownership, ownership_items

LONGEST_USE_DAYS = 10 * YEAR_DAYS
"""A break-even beyond ten years of use is none."""


EXPECTED = Level()


def break_even_days(
    rental: Rental,
    ownership: Ownership,
    gpus: int,
    electricity_usd_per_day: float,
    *,
    resale: bool = False,
    keeping: Keeping | None = None,
) -> float | None:
    """Days of use after which owning has cost less than renting, as expected; `None` if not in ten years.

    Without `resale` everything bought is written off whole, with interest on the value that it would still have; with
    it the hardware keeps its value of the day, and the answer is 0 where owning is cheaper from the first day. What
    is neither GPUs nor their site (storage, people who develop the model) is left out on both sides.
    """
    keeping = replace(keeping or Keeping(), storage_tb=0.0, research_staff=False)
    amount("gpus", gpus)
    amount("electricity_usd_per_day", electricity_usd_per_day)
    rent_usd_per_day = 24 * gpus * rental.price_usd_per_gpu_hour.expected

    def saved(days: float) -> float:
        items = ownership_items(ownership, gpus, days, electricity_usd_per_day * days, keeping)
        kept_usd = float(total_usd(items, EXPECTED))
        if resale:
            return rent_usd_per_day * days - kept_usd
        bought = [(item.bought(EXPECTED), item.usd(EXPECTED)) for item in items if item.bought]
        remains = sum(float(paid - lost) for paid, lost in bought)
        return rent_usd_per_day * days - kept_usd - remains

    if saved(LONGEST_USE_DAYS) <= 0:
        return None
    if resale and saved(1.0) > 0:
        return 0.0
    below, above = 0.0, LONGEST_USE_DAYS  # saved() is convex, so it crosses zero once
    while above - below > 1e-6:
        middle = (below + above) / 2
        below, above = (middle, above) if saved(middle) <= 0 else (below, middle)
    return above
