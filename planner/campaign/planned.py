"""The campaign that a plan asks for: its machine, its phases and everything that may befall them, before chance."""

import math
from dataclasses import replace
from datetime import datetime

from planner.campaign.recovery import plan_checkpoints, plan_pauses, plan_reliability
from planner.money.charges import Charges
from planner.money.spot import with_spot
from planner.phases import PlannedPhase, plan_phases
from planner.plan_file import ClusterRequest, PlanRequest, SiteRequest
from planner.plan_profile import plan_profile
from planner.power_limit import limit_power
from planner.refusal import of_the_plan
from profiler.architecture import ModelArchitecture, load_architecture
from profiler.files import InputError
from profiler.profile import Profile
from profiler.units import DAY_S, YEAR_DAYS
from sim.allowed_power import AllowedPower, allowed_power
from sim.campaign import CampaignSetup
from sim.campaign.setup import enough_spares
from sim.hardware import Cluster, build_cluster, load_gpu, load_node
from sim.measured_gpu import measured_gpu
from sim.site.climate import load_climate
from sim.site.conditions import PowerWindow, SiteConditions
from sim.site.energy import SitePower
from sim.stacks.stack import load_stack

USUAL_PUE = 1.09
"""Site power over machine power where nothing is said: Google's fleet (company report)."""

LONGEST_DAYS = 36_525.0
"""A century; a longer run is a mistake."""

SPARE_SHARE = 0.01
"""Spare nodes over the job's nodes where nothing is said, more where these would often be too few; OPT-175B kept 4 to
18 hosts beside 124."""

SHORTEST_CHECKPOINT_INTERVAL_S = 300.0
"""Assumed: nobody writes a checkpoint more often than every five minutes, even where the optimum of Young and
Daly for asynchronous ones is seconds; the store is shared with the data."""


def plan_campaign(request: PlanRequest) -> CampaignSetup:
    """The campaign that a plan simulates, before chance.

    Raises:
        InputError: see `planner.plan.make_plan`.
    """
    architecture, cluster = load_architecture(request.model), plan_cluster(request, plan_profile(request))
    return campaign_setup(request, architecture, cluster, request_phases(request))


@of_the_plan()
def request_phases(request: PlanRequest) -> tuple[PlannedPhase, ...]:
    """The phases of a plan that says everything itself; see `planned_phases`."""
    profile = plan_profile(request)
    return planned_phases(request, load_architecture(request.model), plan_cluster(request, profile), profile)


def plan_cluster(request: PlanRequest, profile: Profile | None) -> Cluster:
    """The machine that a plan asks for, its GPUs with the watts that the plan's profile measured."""
    c = request.cluster
    cluster = build_cluster(
        c.gpu, c.gpus, node=c.node, gpus_per_node=c.gpus_per_node, fabric=c.fabric, storage=c.storage
    )
    return replace(cluster, gpu=measured_gpu(cluster.gpu, profile))


def used_of_a_node(cluster: ClusterRequest) -> int:
    """How many of a node's GPUs train."""
    return cluster.gpus_per_node or load_node(cluster.node or load_gpu(cluster.gpu).node).gpus_per_node


def planned_phases(
    request: PlanRequest, architecture: ModelArchitecture, cluster: Cluster, profile: Profile | None
) -> tuple[PlannedPhase, ...]:
    """Each phase with its layout and its step, within the power that the plan allows.

    Raises:
        InputError: see `planner.phases.plan_phases` and `planner.power_limit.limit_power`.
    """
    stack, allowed = load_stack(request.training.stack), plan_power(request, cluster)
    phases = plan_phases(request, architecture, cluster, stack, profile, allowed)
    site, spares = _site(request), spare_nodes(request, cluster)
    return tuple(limit_power(phase, request.site, cluster, site, spares) for phase in phases)


def plan_power(request: PlanRequest, cluster: Cluster) -> AllowedPower:
    """What the GPUs of a plan may draw: its cap on each, and what its site's limit leaves them."""
    cap_w, limit_mw = request.site.gpu_power_cap_w, request.site.power_limit_mw
    limit_w = None if limit_mw is None else limit_mw * 1e6
    return allowed_power(cap_w, limit_w, cluster, _site(request), spare_nodes(request, cluster))


def site_pue(site: SiteRequest) -> float:
    """The PUE that a plan takes: the stated one, or `USUAL_PUE`."""
    return USUAL_PUE if site.pue is None else site.pue


def _site(request: PlanRequest) -> SitePower:
    return SitePower(pue=site_pue(request.site), above_node_share=request.site.above_node_share)


def campaign_setup(
    request: PlanRequest, architecture: ModelArchitecture, cluster: Cluster, phases: tuple[PlannedPhase, ...]
) -> CampaignSetup:
    """The campaign to simulate.

    Raises:
        InputError: more than a lifetime of steps, or see `CampaignSetup`.
    """
    spares = spare_nodes(request, cluster)
    days = math.fsum(phase.training_s for phase in phases) / DAY_S
    if days > LONGEST_DAYS:
        raise InputError(
            f"this run takes {days / YEAR_DAYS:.3g} years of steps; more or faster GPUs, or fewer tokens, are needed."
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
        effective_time_ratio=request.stated.effective_time_ratio,
    )
    owned = Charges(setup=setup, money=request.money).owned_share if request.money.mode == "mixed" else 0.0
    setup = replace(setup, reliability=with_spot(setup.reliability, request.money, cluster, 1 - owned))
    if (
        request.reliability.checkpoint_interval_s is None
        and not setup.checkpoints.in_memory
        and setup.cadence.interval_s < SHORTEST_CHECKPOINT_INTERVAL_S
    ):
        policy = replace(setup.checkpoints, interval_s=SHORTEST_CHECKPOINT_INTERVAL_S)
        setup = replace(setup, checkpoints=policy)
    return setup


def spare_nodes(request: PlanRequest, cluster: Cluster) -> int:
    """Spare nodes as stated; else a share of the nodes, or more where the job would often wait for a repair."""
    stated = request.cluster.spare_nodes
    if stated is not None or cluster.nodes == 1:
        return stated or 0
    few, asked = math.ceil(SPARE_SHARE * cluster.nodes), request.reliability
    waits = asked.recovery == "job" and asked.without_spares == "wait" and request.stated.effective_time_ratio is None
    away = plan_reliability(asked).nodes_in_repair(cluster) if waits else 0.0
    return max(few, enough_spares(away))


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
    """The campaign's start, local time."""
    return datetime.fromisoformat(request.start)
