"""The sheet of one plan in the workbook: prices to change, and the formulas that follow from them.

A line of a cost is written as what it is in the price that it follows: GPU-hours times rent, hardware times its
price, interest on what is bought. The cells hold the plan's own numbers until a price is changed, and then every
total, the bill and the tonnes of the plan follow. What follows no price on the sheet stays as planned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from planner.campaign.planned import site_pue
from planner.money.costs import CostBreakdown, CostLine
from planner.money.ownership import Keeping
from planner.plan import Plan
from planner.plan_file import SiteRequest
from planner.report.tables import month_table
from profiler.units import DAY_S, JOULES_PER_KWH

Levels = tuple[float, float, float]
NOTHING: Levels = (0.0, 0.0, 0.0)
ROUNDING = 1e-9
"""A relative difference that is none."""
LEVELS = ("Low", "Expected", "High")

FOLLOWS = {
    "Rent of GPUs": "rent",
    "Rest of the term": "rent",
    "Servers: value lost": "server",
    "Interconnect: value lost": "server",
    "Colocation": "colocation",
    "Building: value lost": "building",
    "Sale below value": "sale",
    "Financing": "interest",
    "Electricity": "bill",
    "Research staff": "staff",
}
"""The price that a line of a cost follows, by the line's name; others are fixed."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """Something that a person may change: low, expected and high as planned."""

    key: str
    label: str
    unit: str
    levels: Levels
    source: str
    number_format: str = "#,##0.00##"
    same_as: str = ""
    """The key of the price that it is until somebody puts a number of its own in its place."""
    stands: bool = False
    """Whether it is told but not to be changed, since more follows it than the sheet knows; the source says what."""


@dataclass(frozen=True, kw_only=True)
class Working:
    """One line of a cost in what it follows, each at low, expected and high.

    A price: quantity x price + rest. `interest`: (quantity x server price + rest) x interest. `sale`: quantity x
    server price + rest. `bill`: quantity x electricity bills of training and of idle days. `staff`: quantity x all
    other lines. Empty: rest.
    """

    line: CostLine
    follows: str
    quantity: Levels
    rest: Levels

    @property
    def levels(self) -> Levels:
        """As planned [USD]."""
        return (self.line.low, self.line.expected, self.line.high)


def site_energy_kwh(plan: Plan) -> tuple[float, float]:
    """What the machines draw, and what the meter reads [kWh]."""
    parts = plan.campaign.energy_j
    whole = plan.campaign.total_energy_j
    return (whole - parts["cooling"]) / JOULES_PER_KWH, whole / JOULES_PER_KWH


def plan_prices(plan: Plan) -> tuple[Price, ...]:
    """What may be changed on the plan's sheet."""
    return (*_site_prices(plan), *_cluster_prices(plan))


def _site_prices(plan: Plan) -> Iterator[Price]:
    bill, tariff, request = plan.bill, plan.prices.tariff, plan.request
    machines_kwh, meter_kwh = site_energy_kwh(plan)
    intensity = plan.carbon.location_based_tco2e * 1000 / meter_kwh
    cited = f"{tariff.label}; {tariff.source}"
    yield _same("energy", "Electricity, mean over the hours", "USD per kWh", bill.energy_usd / bill.energy_kwh, cited)
    yield _same("demand", "Demand charge", "USD per kW and month", tariff.demand_usd_per_kw_month, cited)
    yield _same("fixed", "Fixed charge", "USD per month", tariff.fixed_usd_per_month, cited)
    if has_standing(plan):
        yield _standing_price(plan)
    pue = _settled(meter_kwh / machines_kwh, site_pue(request.site))
    why = _why_pue_stands(request.site)
    source = " ".join(part for part in ("the plan, over the hours of the run.", why) if part).rstrip(".")
    yield replace(_same("pue", "PUE, mean over the run", "kWh per kWh", pue, source), stands=bool(why))
    settled = _settled(intensity, plan.grid.intensity_kg_per_kwh)
    yield _same("intensity", "Grid, carbon intensity", "kgCO2e per kWh", settled, plan.grid.source)


def _why_pue_stands(site: SiteRequest) -> str:
    """Why another PUE takes another plan; empty where the energy alone follows it."""
    if site.power_windows or site.power_limit_mw is not None:
        return (
            "Not to be changed here: power windows and limits hold at the meter, so that with another PUE the GPUs "
            "run slower or faster and the days differ. Plan again with site.pue."
        )
    if site.climate:
        return (
            "Not to be changed here: it follows the weather of the run's hours, and site.pue is the mean of a year. "
            "Plan again with site.pue."
        )
    return ""


def _standing_price(plan: Plan) -> Price:
    """What energy costs before and after training, the mean of its hours; a flat price is that of training."""
    bill, idle, tariff = plan.bill, plan.standing_bill, plan.prices.tariff
    usd_per_kwh = _settled(idle.energy_usd / idle.energy_kwh, bill.energy_usd / bill.energy_kwh)
    cited = f"mean over the hours idle; {tariff.label}; {tariff.source}"
    price = _same("standing", "Electricity before and after training", "USD per kWh", usd_per_kwh, cited)
    return replace(price, same_as="energy") if tariff.flat else price


def _cluster_prices(plan: Plan) -> Iterator[Price]:
    rental, owned = plan.prices.rental, plan.prices.ownership
    if rental is not None:
        price = rental.price_usd_per_gpu_hour
        yield Price(
            key="rent",
            label="Rent of a GPU",
            unit="USD per GPU-hour",
            levels=_levels(price.levels),
            source=price.cited,
        )
    if owned is None:
        return
    housed = {
        "colocation": ("colocation", "Colocation, a kW of it", "USD per kW and month", owned.colocation, "#,##0.00"),
        "building": ("building", "Building, a kW of it", "USD per kW", owned.building, "#,##0"),
    }
    for key, label, unit, found, form in (
        ("server", "Server, a GPU's share", "USD per GPU", owned.server_usd_per_gpu, "#,##0"),
        ("interest", "Interest", "a year", owned.financing, "0.0%"),
        housed[plan.request.money.housing],
    ):
        yield Price(
            key=key,
            label=label,
            unit=unit,
            levels=_levels(found.levels),
            source=found.cited,
            number_format=form,
        )


def _same(key: str, label: str, unit: str, value: float, source: str) -> Price:
    """A price without a range."""
    form = "0.000" if key in ("pue", "intensity") else "#,##0.00##"
    return Price(key=key, label=label, unit=unit, levels=(value,) * 3, source=source, number_format=form)


def _settled(found: float, stated: float) -> float:
    """The stated number where the one found over the hours is the same but for rounding."""
    return stated if abs(found - stated) <= ROUNDING * abs(stated) else found


def _levels(values: tuple[float, ...]) -> Levels:
    low, expected, high = values
    return (low, expected, high)


def peaks_kw(plan: Plan) -> float:
    """The highest hours of all calendar months, added up: what a demand charge is paid on."""
    rate = plan.prices.tariff.demand_usd_per_kw_month
    if rate:
        return plan.bill.demand_usd / rate
    return float(month_table(plan)["Peak [MW]"].sum()) * 1000


def has_standing(plan: Plan) -> bool:
    """Whether there is electricity of an owned cluster before or after training."""
    return plan.own is not None and plan.standing_bill.energy_kwh > 0


def standing_charges(plan: Plan) -> tuple[float, float]:
    """Of months that training does not pay for: their highest idle hours added up [kW], and how many there are."""
    each = replace(plan.prices.tariff, demand_usd_per_kw_month=1.0, fixed_usd_per_month=1.0)
    due = plan.charges.standing_bill(replace(plan.prices, tariff=each), plan.campaign.duration_s / DAY_S)
    return due.demand_usd, due.fixed_usd


def workings(plan: Plan, cost: CostBreakdown) -> tuple[Working, ...]:
    """The lines of a cost in the prices that they follow."""
    prices = {price.key: price.levels for price in plan_prices(plan)}
    return tuple(_working(plan, cost, line, prices) for line in cost.lines)


def _working(plan: Plan, cost: CostBreakdown, line: CostLine, prices: dict[str, Levels]) -> Working:
    follows = FOLLOWS.get(_bare(line.name), "")
    usd = (line.low, line.expected, line.high)
    if follows == "staff":
        others = CostBreakdown(lines=cost.lines[: cost.lines.index(line)])  # those above, of which it is a share
        return Working(
            line=line, follows=follows, quantity=_over(usd, (others.low, others.expected, others.high)), rest=NOTHING
        )
    if follows == "bill":
        return Working(line=line, follows=follows, quantity=(_owned_share(plan, line),) * 3, rest=NOTHING)
    if follows in ("interest", "sale") and _positive(prices, "server", "interest"):
        base = _over(usd, prices["interest"]) if follows == "interest" else usd
        quantity = _per_server_price(plan, line, follows)
        return Working(line=line, follows=follows, quantity=quantity, rest=_rest(base, quantity, prices["server"]))
    if _positive(prices, follows):
        return Working(line=line, follows=follows, quantity=_over(usd, prices[follows]), rest=NOTHING)
    return Working(line=line, follows="", quantity=NOTHING, rest=usd)


def _per_server_price(plan: Plan, line: CostLine, follows: str) -> Levels:
    """What interest, or the discount of a sale, is due on for each USD that a GPU's share of a server costs."""
    owned, money = plan.prices.ownership, plan.request.money
    assert owned is not None  # a line of ownership has its price
    keeping = Keeping(depreciation=money.depreciation, resale_share=money.resale_share)
    days, loss = plan.billed_days, owned.value_loss.expected
    if follows == "interest":
        due = float(keeping.held_years(loss, days))
    else:
        due = (1 - keeping.resale_share) * (1 - float(keeping.lost(loss, days)))
    gpus = _owned_share(plan, line) * plan.charges.gpus
    return _levels(tuple(gpus / (1 - share) * due for share in owned.interconnect_share.levels))


def _positive(prices: dict[str, Levels], *keys: str) -> bool:
    return all(key in prices and all(prices[key]) for key in keys)


def _over(usd: Levels, by: Levels) -> Levels:
    return _levels(tuple(a / b for a, b in zip(usd, by, strict=True)))


def _rest(usd: Levels, quantity: Levels, price: Levels) -> Levels:
    """What quantity x price leaves of an amount; nothing where it is rounding."""
    left = [u - q * p for u, q, p in zip(usd, quantity, price, strict=True)]
    return _levels(tuple(0.0 if abs(r) <= ROUNDING * abs(u) else r for r, u in zip(left, usd, strict=True)))


def _bare(name: str) -> str:
    """The line's name without the half of a mixed cluster that it belongs to."""
    half, colon, rest = name.partition(": ")
    return rest[:1].upper() + rest[1:] if colon and half in ("Rented", "Owned") else name


def _owned_share(plan: Plan, line: CostLine) -> float:
    return plan.charges.owned_share if line.name.startswith("Owned: ") else 1.0
