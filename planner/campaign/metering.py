"""What a simulated campaign draws hour by hour, and the bill and the water that follow."""

import numpy as np

from planner.campaign.planned import first_moment
from planner.carbon import Grid
from planner.money.pricing import Prices
from planner.money.tariffs import Array, Bill, bill
from planner.plan_file import PlanRequest
from planner.water import WaterAccount, water
from profiler.units import JOULES_PER_KWH
from sim.campaign import Campaign


def campaign_bill(request: PlanRequest, campaign: Campaign, prices: Prices) -> Bill:
    """The electricity bill of a simulated campaign, hour by hour.

    Raises:
        InputError: a first day that is none.
    """
    return bill(prices.tariff, first_moment(request), hourly_kwh(campaign))


def hourly_kwh(campaign: Campaign) -> Array:
    """What the site's meter reads in each hour of a campaign [kWh], shape (hours,)."""
    starts_s, watts = campaign.power_series()
    found: Array = watts * np.diff(np.append(starts_s, campaign.duration_s)) / JOULES_PER_KWH
    return found


def campaign_water(request: PlanRequest, campaign: Campaign, grid: Grid) -> WaterAccount:
    """The water of a simulated campaign."""
    site_kwh = campaign.total_energy_j / JOULES_PER_KWH
    it_kwh = site_kwh - campaign.energy_j["cooling"] / JOULES_PER_KWH
    return water(it_kwh, site_kwh, grid, request.site.wue_l_per_kwh)
