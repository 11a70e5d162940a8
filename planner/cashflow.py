"""When the money of a plan is paid: its cost, month by month."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from planner.costs import CostBreakdown, CostLine
from planner.plan import Plan
from planner.planned_campaign import first_moment
from profiler.units import DAY_S


@dataclass(frozen=True, kw_only=True)
class CashFlow:
    """Payments by calendar month (YYYY-MM) and cost line [USD]; what comes back is negative."""

    payments_usd: Mapping[str, Mapping[str, float]]

    @property
    def by_month_usd(self) -> dict[str, float]:
        """All lines together."""
        return {month: math.fsum(lines.values()) for month, lines in self.payments_usd.items()}

    @property
    def total_usd(self) -> float:
        """The cost."""
        return math.fsum(self.by_month_usd.values())

    @property
    def most_tied_up_usd(self) -> float:
        """The most that has been paid and has not come back, what comes back being the last of its month."""
        paid, most = 0.0, 0.0
        for lines in self.payments_usd.values():
            paid += math.fsum(usd for usd in lines.values() if usd > 0)
            most = max(most, paid)
            paid += math.fsum(usd for usd in lines.values() if usd < 0)
        return most

    def rows(self) -> list[dict[str, object]]:
        """One row for each month and line that is paid in it."""
        return [
            {"month": month, "line": name, "usd": usd}
            for month, lines in self.payments_usd.items()
            for name, usd in lines.items()
            if usd
        ]


def cash_flow(plan: Plan, cost: CostBreakdown | None = None) -> CashFlow:
    """The payments of a plan's cost as expected (or of another of its costs); they add up to it.

    From the first day of preparation to the last that is paid for: what is bought is paid on the first day, and what
    it is still worth comes back on the last; electricity is paid with the bills, everything else day by day.
    """
    money = plan.request.money
    first = first_moment(plan.request) - timedelta(days=money.preparation_days)
    days = plan.charges.days(plan.campaign.duration_s / DAY_S)
    calendar = days_by_month(first, days)
    payments: dict[str, dict[str, float]] = {month: {} for month in calendar}
    months = list(calendar)
    for line in (cost or plan.cost).lines:
        if line.bought_usd:
            payments[months[0]][bought_name(line)] = line.bought_usd
            payments[months[-1]][kept_name(line)] = line.expected - line.bought_usd
            continue
        for month, usd in _payments(line, calendar, plan.bill.usd_by_month).items():
            payments.setdefault(month, {})[line.name] = usd
    return CashFlow(payments_usd=dict(sorted(payments.items())))


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


def _payments(line: CostLine, calendar: Mapping[str, float], billed: Mapping[str, float]) -> dict[str, float]:
    """One line's payments by month; they add up to what is expected of it."""
    months = list(calendar)
    if line.paid == "at the end":
        return {months[-1]: line.expected}
    shares = billed if line.paid == "as billed" and math.fsum(billed.values()) else calendar
    whole = math.fsum(shares.values())
    if not whole:
        return {months[0]: line.expected}
    return {month: line.expected * share / whole for month, share in shares.items()}
