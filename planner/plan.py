"""The Plan: what a training run takes in months, dollars and megawatt-hours, and how we know.

`make_plan` is the one entry point; the command line, the dashboard and the reports only show its result.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from planner.assumptions import Assumption, list_assumptions
from planner.break_even import break_even_days
from planner.carbon import CarbonAccount, Grid, account, load_grid, tdp_accounting
from planner.charges import Charges
from planner.comparisons import Comparison, as_much_as, emitted_as_much_as, water_as_much_as
from planner.costs import CostBreakdown
from planner.model_card import ModelCard, explain_card, load_model_card
from planner.phases import PlannedPhase, plan_phases
from planner.plan_file import PlanRequest
from planner.power_limit import limit_power
from planner.pricing import Prices, load_prices
from planner.recovery import plan_checkpoints, plan_pauses, plan_reliability
from planner.spot import with_spot
from planner.tariffs import LONGEST_DAYS, Array, Bill, bill
from planner.water import WaterAccount, water
from profiler.architecture import ModelArchitecture, load_architecture
from profiler.files import InputError
from profiler.profile import Profile
from profiler.units import DAY_S, JOULES_PER_KWH, JOULES_PER_MWH, MONTH_DAYS
from sim.calibration import load_calibration
from sim.campaign import Campaign, CampaignSetup, expected_ettr, simulate_replicas
from sim.climate import load_climate
from sim.energy import SitePower
from sim.hardware import Cluster, build_cluster
from sim.hours import hour_series
from sim.roofline import load_profile
from sim.site import PowerWindow, SiteConditions
from sim.stacks import load_stack

if TYPE_CHECKING:
    from planner.uncertainty import Response

SPARE_SHARE = 0.01
"""Spare nodes over the job's nodes where nothing is said; OPT-175B kept 4 to 18 hosts beside 124."""

SHORTEST_CHECKPOINT_INTERVAL_S = 300.0
"""Assumed: nobody writes a checkpoint more often than every five minutes, even where the optimum of Young and
Daly for asynchronous ones is seconds; the store is shared with the data."""


LATEST_START = 2999
"""Later first days are mistakes, and leave the calendar no room for the run."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure with its 90 % interval."""

    low: float
    expected: float
    high: float

    def scaled(self, factor: float) -> "Interval":
        """All three times a factor."""
        return Interval(low=self.low * factor, expected=self.expected * factor, high=self.high * factor)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a person reads about one training run. Money in USD, carbon in tCO2e."""

    request: PlanRequest
    name: str
    architecture: ModelArchitecture
    cluster: Cluster
    phases: tuple[PlannedPhase, ...]
    campaign: Campaign
    """The replica of median length: days, energy and the power curve are its own."""
    setup: CampaignSetup
    """What was simulated."""
    replica_days: tuple[float, ...]
    prices: Prices
    rent: CostBreakdown | None
    own: CostBreakdown | None
    mixed: CostBreakdown | None
    """`owned_gpus` owned and the others rented; `None` unless asked for."""
    break_even_days: float | None
    bill: Bill
    grid: Grid
    carbon: CarbonAccount
    water: WaterAccount
    comparison: Comparison
    card: ModelCard | None
    step_error_p90: float
    profile: Profile | None
    assumptions: tuple[Assumption, ...]
    provenance: Mapping[str, str]
    notes: tuple[str, ...]

    @cached_property
    def response(self) -> "Response":
        """The outcomes as a function of factors on the assumptions."""
        from planner.uncertainty import Response

        return Response(self)

    @cached_property
    def intervals(self) -> Mapping[str, Interval]:
        """The 90 % interval of each outcome (`planner.uncertainty.OUTCOMES`) over all priors, around this plan."""
        from planner.uncertainty import sample_plan

        found = sample_plan(self).outcomes
        return {name: Interval(low=q.p5, expected=q.plan, high=q.p95) for name, q in found.items()}

    @property
    def days(self) -> Interval:
        """Days from the first step to the last."""
        return self.intervals["days"]

    @property
    def gpu_hours(self) -> Interval:
        """Of the job's own GPUs, spares not counted."""
        return self.intervals["gpu_hours"]

    @property
    def energy_mwh(self) -> Interval:
        """At the site's meter."""
        return self.intervals["energy_mwh"]

    @property
    def cost(self) -> CostBreakdown:
        """Rent, ownership or some of both, as asked."""
        chosen = {"rent": self.rent, "own": self.own, "mixed": self.mixed}[self.request.money.mode]
        if chosen is None:
            raise InputError(
                f"no price of {self.cluster.gpu.label} is known for money.mode {self.request.money.mode}."
            )
        return chosen

    @property
    def paid(self) -> str:
        """How the GPUs are had, as a word."""
        return {"rent": "rented", "own": "owned", "mixed": "part owned"}[self.request.money.mode]

    @property
    def charges(self) -> Charges:
        """Which GPUs are paid for, and how long."""
        return Charges(setup=self.setup, money=self.request.money)

    @property
    def billed_gpu_hours(self) -> float:
        """Spare nodes and preparation included: what rent is paid for."""
        return self.charges.gpu_hours(self.campaign.duration_s / DAY_S)

    @property
    def months(self) -> Interval:
        """Calendar months of 30.44 days."""
        return self.days.scaled(1 / MONTH_DAYS)

    @property
    def main_phase(self) -> PlannedPhase:
        """The phase that holds most tokens."""
        return max(self.phases, key=lambda phase: phase.tokens)

    @property
    def model_flops(self) -> float:
        """Non-causal model FLOPs of the whole campaign."""
        return math.fsum(p.architecture_flops_per_token * p.tokens for p in self.phases)

    @property
    def training_s(self) -> float:
        """Seconds of productive steps."""
        return math.fsum(p.training_s for p in self.phases)

    @property
    def tflops_per_gpu(self) -> float:
        """Model TFLOP/s per GPU while steps run, non-causal."""
        return self.model_flops / self.training_s / self.cluster.gpus / 1e12

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation while steps run, against the dense peak of the precision, non-causal."""
        return self.tflops_per_gpu * 1e12 / self.main_phase.step.peak_flops

    @property
    def card_explanation(self) -> str:
        """How the model card's GPU-hours compare with this plan's; empty where there is no card."""
        if self.card is None:
            return ""
        return explain_card(
            self.card,
            gpu_hours=self.gpu_hours.expected,
            flops=self.model_flops,
            tflops_per_gpu=self.tflops_per_gpu,
        )

    @property
    def peak_power_mw(self) -> float:
        """The site's highest draw."""
        return self.campaign.peak_site_power_w / 1e6

    def to_dict(self) -> dict[str, object]:
        """The stable form that scripts read; units stand in the keys."""
        cost = self.cost
        return {
            "name": self.name,
            "model": self.architecture.name,
            "gpu": self.cluster.gpu.name,
            "gpus": self.cluster.gpus,
            "tokens": self.request.tokens,
            "training_days": self.days.expected,
            "training_days_interval": [self.days.low, self.days.high],
            "training_months": self.months.expected,
            "gpu_hours": self.gpu_hours.expected,
            "billed_gpu_hours": self.billed_gpu_hours,
            "cost_usd": {"low": cost.low, "expected": cost.expected, "high": cost.high},
            "cost_usd_interval": [self.intervals["cost_usd"].low, self.intervals["cost_usd"].high],
            "cost_mode": self.request.money.mode,
            "rent_usd": _levels(self.rent),
            "own_usd": _levels(self.own),
            "cost_lines": [line.to_dict() for line in cost.lines],
            "break_even_days": self.break_even_days,
            "electricity_usd": self.bill.total_usd,
            "energy_mwh": self.energy_mwh.expected,
            "energy_mwh_interval": [self.energy_mwh.low, self.energy_mwh.high],
            "energy_by_part_mwh": {k: v / JOULES_PER_MWH for k, v in self.campaign.energy_j.items()},
            "energy_comparison": self.comparison.sentence,
            "peak_power_mw": self.peak_power_mw,
            "mean_power_mw": self.campaign.mean_site_power_w / 1e6,
            "emissions_tco2e": self.carbon.location_based_tco2e,
            "emissions_tco2e_interval": [self.intervals["tco2e"].low, self.intervals["tco2e"].high],
            "emissions_market_tco2e": self.carbon.market_based_tco2e,
            "embodied_tco2e": self.carbon.embodied_tco2e,
            "emissions_comparison": emitted_as_much_as(self.carbon.location_based_tco2e).sentence,
            "water": self.water.to_dict(),
            "water_comparison": water_as_much_as(self.water.total_m3).sentence,
            "emissions_tdp_accounting_tco2e": self.tdp_accounting_tco2e,
            "mfu": self.mfu,
            "mfu_convention": "non-causal attention, dense peak of the precision used",
            "tflops_per_gpu": self.tflops_per_gpu,
            "ettr": self.campaign.ettr,
            "step_time_s": self.main_phase.step_time_s,
            "step_parts_s": dict(self.main_phase.step.parts_s),
            "memory_gib": self.main_phase.step.peak_memory_bytes / 2**30,
            "interruptions": len(self.campaign.interruptions),
            "time_by_activity_s": dict(self.campaign.seconds),
            "phases": [phase.to_dict() for phase in self.phases],
            "model_card": None
            if self.card is None
            else {"gpu_hours": self.card.gpu_hours, "tco2e": self.card.tco2e, "explanation": self.card_explanation},
            "assumptions": [a.to_dict() for a in self.assumptions],
            "provenance": dict(self.provenance),
            "notes": list(self.notes),
        }

    @property
    def tdp_accounting_tco2e(self) -> float:
        """The plan's own GPU-hours counted the model card's way: TDP alone and the card's one grid factor."""
        return tdp_accounting(self.gpu_hours.expected, self.cluster.gpu.tdp_w)


def _levels(cost: CostBreakdown | None) -> dict[str, float] | None:
    return None if cost is None else {"low": cost.low, "expected": cost.expected, "high": cost.high}


def make_plan(request: PlanRequest) -> Plan:
    """Plan a training run.

    Raises:
        InputError: an unknown model or part, a layout that cannot be built or does not fit, a run that would
            never finish, or a price that is not to be had.
    """
    architecture = load_architecture(request.model)
    cluster = _cluster(request)
    profile = load_profile(cluster.gpu)
    phases = _phases(request, architecture, cluster, profile)
    setup = _setup(request, architecture, cluster, phases)
    replicas = simulate_replicas(setup, request.seed, request.replicas)
    campaign = sorted(replicas, key=lambda c: c.duration_s)[len(replicas) // 2]
    error = load_calibration().left_out_p90
    days = campaign.duration_s / DAY_S
    prices = load_prices(request, cluster.gpu)
    electricity = campaign_bill(request, campaign, prices)
    charges = Charges(setup=setup, money=request.money)
    grid = load_grid(request.site.grid).over(first_moment(request), hourly_kwh(campaign))
    energy_kwh = campaign.total_energy_j / JOULES_PER_KWH
    return Plan(
        request=request,
        name=request.name or f"{architecture.name} on {cluster.gpus:,} x {cluster.gpu.label}",
        architecture=architecture,
        cluster=cluster,
        phases=phases,
        campaign=campaign,
        setup=setup,
        replica_days=tuple(c.duration_s / DAY_S for c in replicas),
        prices=prices,
        rent=charges.rent(prices, days),
        own=charges.own(prices, days, electricity.total_usd),
        mixed=charges.asked(prices, days, electricity.total_usd) if request.money.mode == "mixed" else None,
        break_even_days=_break_even(prices, charges.gpus, electricity.total_usd / days),
        bill=electricity,
        grid=grid,
        carbon=account(
            energy_kwh,
            grid,
            gpus=charges.gpus,
            embodied_kg_per_gpu=cluster.gpu.embodied_kgco2e,
            days=days,
            contracted_share=request.site.clean_share,
        ),
        water=campaign_water(request, campaign, grid),
        comparison=as_much_as(campaign.total_energy_j / JOULES_PER_MWH),
        card=load_model_card(architecture),
        step_error_p90=error,
        profile=profile,
        assumptions=list_assumptions(request, architecture, cluster, phases, setup, prices, grid, error),
        provenance=_provenance(cluster, phases, profile, request),
        notes=tuple(dict.fromkeys((*setup.notes, *(note for phase in phases for note in phase.notes)))),
    )


def plan_campaign(request: PlanRequest) -> CampaignSetup:
    """The campaign that a plan simulates, before chance.

    Raises:
        InputError: as `make_plan`.
    """
    architecture, cluster = load_architecture(request.model), _cluster(request)
    return _setup(request, architecture, cluster, planned_phases(request))


def planned_phases(request: PlanRequest) -> tuple[PlannedPhase, ...]:
    """The phases of a plan, each with its layout and its step within the power that is allowed.

    Raises:
        InputError: as `make_plan`.
    """
    architecture, cluster = load_architecture(request.model), _cluster(request)
    return _phases(request, architecture, cluster, load_profile(cluster.gpu))


def _cluster(request: PlanRequest) -> Cluster:
    c = request.cluster
    return build_cluster(c.gpu, c.gpus, node=c.node, fabric=c.fabric, storage=c.storage)


def _phases(
    request: PlanRequest, architecture: ModelArchitecture, cluster: Cluster, profile: Profile | None
) -> tuple[PlannedPhase, ...]:
    """The phases within the power that the plan allows."""
    phases = plan_phases(request, architecture, cluster, load_stack(request.training.stack), profile)
    site, spares = _site(request), _spare_nodes(request, cluster)
    return tuple(limit_power(phase, request.site, cluster, site, spares) for phase in phases)


def _site(request: PlanRequest) -> SitePower:
    return SitePower(pue=request.site.pue, above_node_share=request.site.above_node_share)


def _setup(
    request: PlanRequest, architecture: ModelArchitecture, cluster: Cluster, phases: tuple[PlannedPhase, ...]
) -> CampaignSetup:
    """The campaign to simulate; a stated effective time ratio scales the failure record until it is expected."""
    spares = _spare_nodes(request, cluster)
    days = math.fsum(phase.training_s for phase in phases) / DAY_S
    if days > LONGEST_DAYS:
        raise InputError(
            f"this run takes {days / 365.25:.3g} years of steps; more or faster GPUs, or fewer tokens, are needed."
        )
    setup = CampaignSetup(
        cluster=cluster,
        parameters=architecture.parameters,
        phases=tuple(phase.campaign_phase() for phase in phases),
        reliability=plan_reliability(request.reliability),
        checkpoints=plan_checkpoints(request.reliability),
        recovery=request.reliability.recovery,
        replica_stall_s=request.reliability.replica_stall_s,
        replicas=max(phases, key=lambda phase: phase.tokens).step.layout.dp,
        fewer_replicas=request.reliability.without_spares == "fewer_replicas",
        hot_spare_nodes=request.reliability.hot_spare_nodes,
        repair_crews=request.reliability.repair_crews,
        planned_maintenance_per_day=request.reliability.planned_maintenance_per_day,
        maintenance_s=request.reliability.maintenance_s,
        pauses=plan_pauses(request.reliability),
        site=_site(request),
        spare_nodes=spares,
        conditions=_conditions(request),
    )
    if (
        request.reliability.checkpoint_interval_s is None
        and not setup.checkpoints.in_memory
        and setup.cadence.interval_s < SHORTEST_CHECKPOINT_INTERVAL_S
    ):
        policy = replace(setup.checkpoints, interval_s=SHORTEST_CHECKPOINT_INTERVAL_S)
        setup = replace(setup, checkpoints=policy)
    ratio = request.stated.effective_time_ratio
    setup = setup if ratio is None else _with_ettr(setup, ratio)
    owned = Charges(setup=setup, money=request.money).owned_share if request.money.mode == "mixed" else 0.0
    return replace(setup, reliability=with_spot(setup.reliability, request.money, 1 - owned))


def _spare_nodes(request: PlanRequest, cluster: Cluster) -> int:
    stated = request.cluster.spare_nodes
    return math.ceil(SPARE_SHARE * cluster.nodes) if stated is None and cluster.nodes > 1 else stated or 0


def _conditions(request: PlanRequest) -> SiteConditions | None:
    """What changes with the hour at the site; `None` where nothing does."""
    site = request.site
    if not site.climate and not site.power_windows:
        return None
    return SiteConditions(
        start=first_moment(request),
        climate=load_climate(site.climate) if site.climate else None,
        windows=(*(asked.window() for asked in site.power_windows), *_standing_limit(request)),
    )


def _standing_limit(request: PlanRequest) -> tuple[PowerWindow, ...]:
    """The site's limit at every hour: a hot hour's PUE may need more than the mean that GPUs are capped for."""
    limit_mw = request.site.power_limit_mw
    return () if limit_mw is None else (PowerWindow(label="power limit", allowed_w=limit_mw * 1e6),)


def first_moment(request: PlanRequest) -> datetime:
    """The campaign's start, local time.

    Raises:
        InputError: no date, or one that leaves the calendar no room.
    """
    try:
        start = datetime.fromisoformat(request.start)
    except ValueError:
        raise InputError(f"start is '{request.start}'; a date such as 2026-01-05 is needed.") from None
    if start.year > LATEST_START:
        raise InputError(f"start is '{request.start}'; a year up to {LATEST_START} is needed.")
    return start


def _with_ettr(setup: CampaignSetup, ratio: float) -> CampaignSetup:
    """Scale the failure rate until the expected effective time ratio is the stated one."""

    def at(rate: float) -> CampaignSetup:
        return replace(setup, reliability=setup.reliability.scaled(rate))

    most = expected_ettr(at(1e-6))
    if ratio > most:
        raise InputError(
            f"effective_time_ratio is {ratio}; with these checkpoints and planned maintenance it cannot exceed "
            f"{most:.3f} even without failures."
        )
    low, high = 1e-6, 1.0
    while expected_ettr(at(high)) > ratio:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_ettr(at(middle)) > ratio else (low, middle)
    return at((low + high) / 2)


def campaign_bill(request: PlanRequest, campaign: Campaign, prices: Prices) -> Bill:
    """The electricity bill of a simulated campaign, hour by hour.

    Raises:
        InputError: a first day that is none.
    """
    return bill(prices.tariff, first_moment(request), hourly_kwh(campaign).tolist())


def hourly_kwh(campaign: Campaign) -> Array:
    """What the site's meter reads in each hour of a campaign [kWh], shape (hours,)."""
    found: Array = hour_series(campaign).energy_j.sum(axis=1) / JOULES_PER_KWH
    return found


def campaign_water(request: PlanRequest, campaign: Campaign, grid: Grid) -> WaterAccount:
    """The water of a simulated campaign."""
    site_kwh = campaign.total_energy_j / JOULES_PER_KWH
    it_kwh = site_kwh - campaign.energy_j["cooling"] / JOULES_PER_KWH
    return water(it_kwh, site_kwh, grid, request.site.wue_l_per_kwh)


def _break_even(prices: Prices, gpus: int, electricity_usd_per_day: float) -> float | None:
    if prices.rental is None or prices.ownership is None:
        return None
    return break_even_days(prices.rental, prices.ownership, gpus, electricity_usd_per_day)


def _provenance(
    cluster: Cluster, phases: tuple[PlannedPhase, ...], profile: Profile | None, request: PlanRequest
) -> dict[str, str]:
    from importlib.metadata import version

    origins = sorted({phase.origin for phase in phases})
    return {
        "herdplan": version("herdplan"),
        "profile": profile.name if profile else f"none measured for {cluster.gpu.label}: calibrated roofline",
        "step_times": ", ".join(origins),
        "calibration": load_calibration().fitted_on,
        "stack": request.training.stack,
        "failures": request.reliability.record,
        "seed": str(request.seed),
        "replicas": str(request.replicas),
    }
