"""When the money of a plan is paid: its cost, month by month."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from planner.campaign.planned import first_moment
from planner.money.costs import CostLine, Paid, unused_days
from planner.plan import Plan


@dataclass(frozen=True, kw_only=True)
class CashFlow:
    """Payments by calendar month (YYYY-MM) and cost line [USD]; what comes back is negative."""

    payments_usd: Mapping[str, Mapping[str, float]]
    coming_back: frozenset[str] = frozenset()
    """Lines of what comes back, and of what it is less by: value kept, and what a sale brings below it."""

    @property
    def by_month_usd(self) -> dict[str, float]:
        """All lines together."""
        return {month: math.fsum(lines.values()) for month, lines in self.payments_usd.items()}

    @property
    def back_by_month_usd(self) -> dict[str, float]:
        """What comes back of what was bought, less what a sale brings below it; above 0."""
        return {
            month: -math.fsum(usd for name, usd in lines.items() if name in self.coming_back)
            for month, lines in self.payments_usd.items()
        }

    @property
    def total_usd(self) -> float:
        """The cost."""
        return math.fsum(self.by_month_usd.values())

    @property
    def most_tied_up_usd(self) -> float:
        """The most that has been paid and has not come back, what comes back being the last of its month."""
        paid, most = 0.0, 0.0
        for lines in self.payments_usd.values():
            out = math.fsum(usd for name, usd in lines.items() if usd > 0 and name not in self.coming_back)
            most = max(most, paid + out)
            paid += math.fsum(lines.values())
        return most

    def rows(self) -> list[dict[str, object]]:
        """One row for each month and line that is paid in it."""
        return [
            {"month": month, "line": name, "usd": usd}
            for month, lines in self.payments_usd.items()
            for name, usd in lines.items()
            if usd
        ]


def cash_flow(plan: Plan) -> CashFlow:
    """The payments of a plan's cost as expected; they add up to it.

    From the first day of preparation to the last that is paid for: what is bought is paid on the first day, and what
    it is still worth, or what a sale brings of that, comes back on the last; electricity is paid with its bills, all
    else by the day. The rest of a term follows after the run.
    """
    first = first_moment(plan.request) - timedelta(days=plan.request.money.preparation_days)
    months = list(days_by_month(first, plan.billed_days))
    shares = _shares(plan, first)
    payments: dict[str, dict[str, float]] = {month: {} for month in months}
    coming_back: set[str] = set()
    for line in plan.cost.lines:
        if line.bought_usd:
            payments[months[0]][bought_name(line)] = line.bought_usd
            payments[months[-1]][kept_name(line)] = line.expected - line.bought_usd
            coming_back.add(kept_name(line))
            continue
        if line.paid == "out of what comes back":
            coming_back.add(line.name)
        for month, usd in _spread(line.expected, shares[line.paid]).items():
            if usd:
                payments.setdefault(month, {})[line.name] = usd
    return CashFlow(payments_usd=dict(sorted(payments.items())), coming_back=frozenset(coming_back))


def cash_flow_csv(flow: CashFlow) -> str:
    """The payments as CSV, one row for each month and line."""
    import csv
    import io

    page = io.StringIO()
    writer = csv.DictWriter(page, fieldnames=("month", "line", "usd"), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flow.rows())
    return page.getvalue()


def days_by_month(first: datetime, days: float) -> dict[str, float]:
    """How many of `days` days from `first` lie in each calendar month, in order; the first month even for none."""
    end = first + timedelta(days=days)
    found: dict[str, float] = {}
    moment = first
    while moment < end or not found:
        following = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=first.tzinfo)
        found[f"{moment:%Y-%m}"] = (min(following, end) - moment) / timedelta(days=1)
        moment = following
    return found


def bought_name(line: CostLine) -> str:
    """What is bought is called so on the first day."""
    return line.name.replace("value lost", "bought")


def kept_name(line: CostLine) -> str:
    """And so on the last."""
    return line.name.replace("value lost", "value kept")


def _shares(plan: Plan, first: datetime) -> dict[Paid, Mapping[str, float]]:
    """What is paid in each month of all that is paid in one way, in any unit."""
    days = plan.billed_days
    through = days_by_month(first, days)
    left_days = 0.0 if plan.prices.rental is None else float(unused_days(plan.prices.rental, days))
    last = {list(through)[-1]: 1.0}
    return {
        "evenly": through,
        "as billed": plan.whole_bill.usd_by_month,
        "at the end": last,
        "out of what comes back": last,
        "after the run": days_by_month(first + timedelta(days=days), left_days),
    }


def _spread(usd: float, shares: Mapping[str, float]) -> dict[str, float]:
    """An amount by month, in proportion; in the first where there is nothing to go by."""
    whole = math.fsum(shares.values())
    if not whole:
        return {next(iter(shares)): usd}
    return {month: usd * share / whole for month, share in shares.items()}
