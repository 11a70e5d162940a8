"""The Plan: what a training run takes in months, dollars and megawatt-hours, and how we know.

`make_plan` is the one entry point; the command line, the dashboard and the reports only show its result.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from planner.assumption import Assumption
from planner.assumptions import list_assumptions
from planner.campaign.metering import campaign_bill, campaign_water, hourly_kwh
from planner.campaign.planned import campaign_setup, first_moment, plan_cluster, planned_phases
from planner.campaign.typical import typical_campaign
from planner.carbon import CarbonAccount, Grid, account, load_grid, tdp_accounting
from planner.comparisons import Comparison, as_much_as, emitted_as_much_as, water_as_much_as
from planner.model_card import ModelCard, card_of_plan, explain_card
from planner.money.break_even import RentOrBuy
from planner.money.charges import Charges
from planner.money.costs import CostBreakdown
from planner.money.pricing import Prices, load_prices
from planner.money.tariffs import Bill
from planner.phase_notes import fitted_on, step_error_p90
from planner.phases import PlannedPhase
from planner.plan_file import PlanRequest
from planner.plan_notes import plan_notes
from planner.plan_profile import plan_profile, profile_text
from planner.refusal import of_the_plan
from planner.water import WaterAccount
from profiler.architecture import ModelArchitecture, load_architecture
from profiler.files import InputError
from profiler.profile import Profile
from profiler.units import DAY_S, JOULES_PER_KWH, JOULES_PER_MWH, MONTH_DAYS, TERA
from sim.campaign import Campaign, CampaignSetup
from sim.estimate import StepEstimate, estimate_step
from sim.hardware import Cluster
from sim.stacks.stack import load_stack

if TYPE_CHECKING:
    from planner.uncertainty import Response, Uncertainty


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
    said: tuple[str, ...]
    """What a person should know beside the numbers; `notes` adds what the intervals say."""

    @cached_property
    def response(self) -> "Response":
        """The outcomes as a function of factors on the assumptions."""
        from planner.uncertainty import Response

        return Response(self)

    @cached_property
    def uncertainty(self) -> "Uncertainty":
        """Every outcome (`planner.uncertainty.OUTCOMES`) as a distribution over all priors."""
        from planner.uncertainty import sample_plan

        return sample_plan(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know beside the numbers, each once."""
        return (*self.said, *self.uncertainty.notes)

    @cached_property
    def intervals(self) -> Mapping[str, Interval]:
        """The 90 % interval of each outcome, around this plan."""
        found = self.uncertainty.outcomes
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
    def unused_term_usd(self) -> float:
        """What the rest of a term costs that is in no line, unless something else uses it."""
        return self.charges.unused_term_usd(self.prices, self.campaign.duration_s / DAY_S)

    @property
    def charges(self) -> Charges:
        """Which GPUs are paid for, and how long."""
        return Charges(setup=self.setup, money=self.request.money)

    @cached_property
    def standing_bill(self) -> Bill:
        """The electricity of the cluster idle before and after training; `bill` is that of training alone."""
        return self.charges.standing_bill(self.prices, self.campaign.duration_s / DAY_S)

    @property
    def whole_bill(self) -> Bill:
        """Both together."""
        return self.bill.beside(self.standing_bill)

    @cached_property
    def rent_or_buy(self) -> RentOrBuy | None:
        """Renting against buying for any days of use; `None` where one has no price."""
        usd_per_day = self.bill.steady_usd_per_day(self.campaign.duration_s / DAY_S)
        return self.charges.rent_or_buy(self.prices, usd_per_day)

    @property
    def break_even_days(self) -> float | None:
        """Days of use after which buying has cost less than renting, if in ten years and both have a price."""
        return None if self.rent_or_buy is None else self.rent_or_buy.break_even_days

    @property
    def billed_days(self) -> float:
        """Preparation, the campaign and what follows: the days that the GPUs are paid for."""
        return self.charges.days(self.campaign.duration_s / DAY_S)

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
        return self.model_flops / self.training_s / self.cluster.gpus / TERA

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation while steps run, against `mfu_peak_tflops`, non-causal."""
        return self.tflops_per_gpu / self.mfu_peak_tflops

    @property
    def mfu_peak_tflops(self) -> float:
        """A GPU's dense peak in the precision that is trained in."""
        return self.main_phase.step.peak_flops / TERA

    @property
    def card_explanation(self) -> str:
        """How the model card's GPU-hours compare with this plan's; empty where there is no card."""
        if self.card is None:
            return ""
        return explain_card(
            self.card, gpu_hours=self.gpu_hours.expected, flops=self.model_flops, tflops_per_gpu=self.tflops_per_gpu
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
            "unused_term_usd": self.unused_term_usd,
            "cost_lines": [line.to_dict() for line in cost.lines],
            "break_even_days": self.break_even_days,
            "electricity_usd": self.bill.total_usd,
            "standing_electricity_usd": self.standing_bill.total_usd,
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
            "mfu_peak_tflops": self.mfu_peak_tflops,
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


@of_the_plan()
def make_plan(request: PlanRequest, profile: Profile | None = None) -> Plan:
    """Plan a training run.

    `profile` is the one that the plan names as its GPU's, where it was read already, as from an upload.

    Raises:
        InputError: an unknown model or part, a layout that cannot be built or does not fit, a run that would
            never finish, or a price that is not to be had.
    """
    architecture = load_architecture(request.model)
    profile = plan_profile(request, profile)
    cluster = plan_cluster(request, profile)
    phases = planned_phases(request, architecture, cluster, profile)
    setup = campaign_setup(request, architecture, cluster, phases)
    typical = typical_campaign(setup, request.seed, request.replicas)
    campaign = typical.campaign
    error = step_error_p90(phases, cluster.gpu)
    days = campaign.duration_s / DAY_S
    prices = load_prices(request, cluster)
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
        replica_days=tuple(seconds / DAY_S for seconds in typical.durations_s),
        prices=prices,
        rent=charges.rent(prices, days),
        own=charges.own(prices, days, electricity.total_usd),
        mixed=charges.asked(prices, days, electricity.total_usd) if request.money.mode == "mixed" else None,
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
        card=card_of_plan(architecture, request.tokens, cluster.gpu),
        step_error_p90=error,
        profile=profile,
        assumptions=list_assumptions(request, architecture, cluster, phases, setup, prices, grid, profile, error),
        provenance=_provenance(cluster, phases, profile, request),
        said=(*plan_notes(request, setup, grid, phases, profile, error), *charges.term_notes(prices, days)),
    )


def step_again(
    plan: Plan,
    phase: PlannedPhase,
    *,
    profile: Profile | None = None,
    calibration: Mapping[str, float] | None = None,
) -> StepEstimate:
    """A phase's predicted step with the kernels of a profile, or under other constants.

    Raises:
        InputError: a layout that cannot be built.
    """
    return estimate_step(
        architecture=plan.architecture,
        cluster=plan.cluster,
        layout=phase.step.layout,
        stack=load_stack(plan.request.training.stack),
        seq_len=phase.seq_len,
        global_batch=phase.global_batch,
        precision=plan.request.training.precision,
        profile=profile,
        calibration=calibration,
    )


def _provenance(
    cluster: Cluster, phases: tuple[PlannedPhase, ...], profile: Profile | None, request: PlanRequest
) -> dict[str, str]:
    from importlib.metadata import version

    origins = sorted({phase.origin for phase in phases})
    return {
        "herdplan": version("herdplan"),
        "profile": profile_text(profile) if profile else f"none measured for {cluster.gpu.label}: roofline",
        "step_times": ", ".join(origins),
        "calibration": fitted_on(phases, cluster.gpu),
        "stack": request.training.stack,
        "failures": request.reliability.record,
        "seed": str(request.seed),
        "replicas": str(request.replicas),
    }
