"""What a campaign is charged for: which GPUs, for how long, rented or owned."""

from dataclasses import dataclass, replace

import numpy as np

from planner.market.prices import Level, Value
from planner.money.break_even import RentOrBuy
from planner.money.costs import (
    CostBreakdown,
    Items,
    Paid,
    broken_down,
    egress_item,
    rent_item,
    staff_item,
    storage_item,
    unused_days,
    unused_term_item,
)
from planner.money.ownership import Keeping, ownership_items
from planner.money.pricing import Prices
from planner.money.standing import Standing
from planner.money.tariffs import Bill
from planner.plan_file import MoneyRequest
from planner.quantities import money as money_text
from profiler.files import InputError
from sim.campaign import CampaignSetup

TOKEN_BYTES = 4
"""A token of the training data: a 32-bit integer, vocabularies being larger than 65,536."""
CHECKPOINTS_KEPT = 10
"""Assumed."""
WEIGHT_BYTES = 2
"""Of a parameter, as weights are published: 16 bits."""
TB = 1e12
UNUSED: tuple[Paid, ...] = ("after the run", "out of what comes back")
"""How that of a cost is paid in which nobody trains."""


@dataclass(frozen=True, kw_only=True)
class Charges:
    """The GPUs and days that a bill is for, as a function of the days that training takes."""

    setup: CampaignSetup
    money: MoneyRequest

    @property
    def gpus(self) -> int:
        """GPUs of whole nodes, the spare ones and those left idle too."""
        return (self.setup.cluster.nodes + self.setup.spare_nodes) * self.setup.cluster.node.gpus_installed

    @property
    def owned_share(self) -> float:
        """Share of the GPUs that a mixed cluster owns.

        Raises:
            InputError: more are owned than there are.
        """
        if self.money.owned_gpus > self.gpus:
            raise InputError(
                f"owned_gpus is {self.money.owned_gpus}; the cluster has {self.gpus:,} GPUs, spares included."
            )
        return self.money.owned_gpus / self.gpus

    @property
    def storage_tb(self) -> float:
        """Data and checkpoints [TB]."""
        if self.money.storage_tb is not None:
            return self.money.storage_tb
        tokens = sum(phase.tokens for phase in self.setup.phases)
        state_bytes = self.setup.checkpoints.bytes_per_parameter * self.setup.parameters
        return (TOKEN_BYTES * tokens + CHECKPOINTS_KEPT * state_bytes) / TB

    @property
    def egress_tb(self) -> float:
        """What leaves the cloud in the end [TB]."""
        stated = self.money.egress_tb
        return WEIGHT_BYTES * self.setup.parameters / TB if stated is None else stated

    @property
    def standing_days(self) -> float:
        """Paid for without a step: preparation, and what follows the last one."""
        return self.money.preparation_days + self.money.idle_days

    def days(self, training_days: float) -> float:
        """Preparation, training and what follows."""
        return training_days + self.standing_days

    def gpu_hours(self, training_days: float) -> float:
        """What rent is paid for; of a node that is not filled, the GPUs used."""
        return self.days(training_days) * 24 * self.rented_gpus

    @property
    def rented_gpus(self) -> int:
        """GPUs of whole nodes where there are several or some are left idle, the spare ones too; of one node that is
        not filled, the GPUs used."""
        cluster = self.setup.cluster
        return self.gpus if cluster.nodes > 1 or cluster.idle_gpus else cluster.gpus

    def rent(self, prices: Prices, training_days: float) -> CostBreakdown | None:
        """The rent of the GPUs, with storage and egress; `None` without a price."""
        return _broken_down(_staffed(self._rent(prices, training_days), prices))

    def own(self, prices: Prices, training_days: float, electricity_usd: float) -> CostBreakdown | None:
        """What owning the GPUs costs; `None` without a price."""
        standing_usd = self.standing_bill(prices, training_days).total_usd
        return _broken_down(_staffed(self._own(prices, training_days, electricity_usd, standing_usd), prices))

    def rent_or_buy(self, prices: Prices, electricity_usd_per_day: float) -> RentOrBuy | None:
        """Renting the GPUs against buying them for any days of use; `None` where one has no price."""
        if prices.rental is None or prices.ownership is None:
            return None
        return RentOrBuy(
            rental=prices.rental,
            rented_gpus=self.rented_gpus,
            ownership=prices.ownership,
            owned_gpus=self.gpus,
            electricity_usd_per_day=electricity_usd_per_day,
            keeping=self.keeping(),
            term_days=float(unused_days(prices.rental, 0.0)) if self.money.pay_whole_term else 0.0,
        )

    def asked(self, prices: Prices, training_days: float, electricity_usd: float) -> CostBreakdown | None:
        """Rent, ownership or some of both, whichever the plan asks for; `None` where a price is missing."""
        standing_usd = self.standing_bill(prices, training_days).total_usd
        return _broken_down(self.asked_items(prices, training_days, electricity_usd, standing_usd))

    def asked_items(
        self, prices: Prices, training_days: Value, electricity_usd: Value, standing_usd: Value
    ) -> Items | None:
        """The same item by item, for one outcome or for many at once, `standing_usd` being for idle electricity."""
        return _staffed(self._asked(prices, training_days, electricity_usd, standing_usd), prices)

    def _asked(
        self, prices: Prices, training_days: Value, electricity_usd: Value, standing_usd: Value
    ) -> Items | None:
        """What is asked for, without the people who develop the model."""
        if self.money.mode == "rent":
            return self._rent(prices, training_days)
        if self.money.mode == "own":
            return self._own(prices, training_days, electricity_usd, standing_usd)
        share = self.owned_share
        rented = self._rent(prices, training_days, share=1 - share)
        owned = self._own(prices, training_days, electricity_usd, standing_usd, share=share)
        if rented is None or owned is None:
            return None
        return (*_named("Rented", rented), *_named("Owned", owned))

    def _rent(self, prices: Prices, training_days: Value, *, share: float = 1.0) -> Items | None:
        """Renting a share of the GPUs."""
        if prices.rental is None:
            return None
        days, gpus = training_days + self.standing_days, share * self.rented_gpus
        items = [rent_item(prices.rental, days * 24 * gpus)]
        if self.money.pay_whole_term and np.any(days):
            rest = unused_term_item(prices.rental, gpus, days)
            items += [rest] if rest else []
        if self.storage_tb:
            items.append(storage_item(share * self.storage_tb, days))
        if self.egress_tb:
            items.append(egress_item(share * self.egress_tb))
        return tuple(items)

    def _own(
        self,
        prices: Prices,
        training_days: Value,
        electricity_usd: Value,
        standing_usd: Value,
        *,
        share: float = 1.0,
    ) -> Items | None:
        """Owning a share of the GPUs."""
        if prices.ownership is None:
            return None
        return ownership_items(
            prices.ownership,
            share * self.gpus,
            training_days + self.standing_days,
            share * electricity_usd,
            self.keeping(share),
            share * standing_usd,
        )

    @property
    def idle_kw(self) -> float:
        """What the whole cluster draws at the meter while nothing runs on it."""
        cluster, setup = self.setup.cluster, self.setup
        idle_w = setup.site.site_power_w(cluster, cluster.gpu.idle_power_w, busy=False, spare_nodes=setup.spare_nodes)
        return idle_w / 1000

    def standing_bill(self, prices: Prices, training_days: float) -> Bill:
        """The electricity of the cluster before its first and after its last step, beside the bill of training."""
        standing = Standing(
            start=prices.start,
            before_h=24 * self.money.preparation_days,
            training_h=24 * training_days,
            after_h=24 * self.money.idle_days,
            idle_kw=self.idle_kw,
        )
        return standing.bill(prices.tariff)

    def unused_term_usd(self, prices: Prices, training_days: float) -> float:
        """What the rest of a term costs that the run does not last for, where it is in no line [USD]; else none."""
        money = self.money
        if prices.rental is None or money.mode == "own" or money.pay_whole_term:
            return 0.0
        share = 1 - self.owned_share if money.mode == "mixed" else 1.0
        rest = unused_term_item(prices.rental, share * self.rented_gpus, self.days(training_days))
        return 0.0 if rest is None else float(rest.usd(Level()))

    def term_notes(self, prices: Prices, training_days: float) -> tuple[str, ...]:
        """What to say of the price of a term that the run does not last for, where its rest is in no line."""
        usd = self.unused_term_usd(prices, training_days)
        if prices.rental is None or not usd:
            return ()
        left_days = float(unused_days(prices.rental, self.days(training_days)))
        return (
            f"the rent is that of a {self.money.commitment} term, of which this run leaves {left_days:,.0f} days: "
            f"unless something else uses them, they cost {money_text(usd)} more, which money.pay_whole_term=true "
            "counts",
        )

    def keeping(self, share: float = 1.0) -> Keeping:
        """How a share of the cluster is kept, if it is owned."""
        money = self.money
        return Keeping(
            housing=money.housing,
            depreciation=money.depreciation,
            resale_share=money.resale_share,
            storage_tb=share * self.storage_tb,
            operators=share * money.operators,
        )


def _broken_down(items: Items | None) -> CostBreakdown | None:
    return None if items is None else broken_down(items)


def _staffed(items: Items | None, prices: Prices) -> Items | None:
    """With the people who develop the model, where they are counted: their share of what the run takes, not of the
    unused rest of a term, nor of what a sale loses."""
    if items is None or prices.staff_share is None:
        return items
    used, other = ([item for item in items if (item.paid in UNUSED) is after] for after in (False, True))
    return (*used, staff_item(tuple(used), prices.staff_share, tuple(other)), *other)


def _named(prefix: str, items: Items) -> Items:
    return tuple(replace(item, name=f"{prefix}: {item.name[0].lower()}{item.name[1:]}") for item in items)
