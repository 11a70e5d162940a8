"""What a campaign is charged for: which GPUs, for how long, rented or owned."""

from dataclasses import dataclass

from planner.costs import CostBreakdown, ownership_cost, rental_cost
from planner.plan_file import MoneyRequest
from planner.pricing import Prices
from sim.campaign import CampaignSetup


@dataclass(frozen=True, kw_only=True)
class Charges:
    """The GPUs and days that a bill is for, as a function of the days that training takes."""

    setup: CampaignSetup
    money: MoneyRequest

    @property
    def gpus(self) -> int:
        """GPUs of whole nodes, the spare ones too."""
        return (self.setup.cluster.nodes + self.setup.spare_nodes) * self.setup.cluster.node.gpus_per_node

    def days(self, training_days: float) -> float:
        """Preparation and training."""
        return training_days + self.money.preparation_days

    def gpu_hours(self, training_days: float) -> float:
        """What rent is paid for; of a node that is not filled, the GPUs used."""
        cluster = self.setup.cluster
        rented = self.gpus if cluster.nodes > 1 else cluster.gpus
        return self.days(training_days) * 24 * max(rented, cluster.gpus)

    def rent(self, prices: Prices, training_days: float) -> CostBreakdown | None:
        """The rent; `None` without a price."""
        return rental_cost(prices.rental, self.gpu_hours(training_days)) if prices.rental else None

    def own(self, prices: Prices, training_days: float, electricity_usd: float) -> CostBreakdown | None:
        """What owning costs; `None` without a price."""
        if prices.ownership is None:
            return None
        return ownership_cost(prices.ownership, self.gpus, self.days(training_days), electricity_usd)

    def asked(self, prices: Prices, training_days: float, electricity_usd: float) -> CostBreakdown | None:
        """Rent or ownership, whichever the plan asks for."""
        if self.money.mode == "rent":
            return self.rent(prices, training_days)
        return self.own(prices, training_days, electricity_usd)
