"""What a person should know of a plan beside its numbers, each once."""

from planner.carbon import Grid
from planner.money.pricing import tariff_notes
from planner.money.spot import spot_notes
from planner.phase_notes import memory_notes, network_notes, unfitted_notes
from planner.phases import PlannedPhase
from planner.plan_file import PlanRequest
from planner.plan_profile import profile_notes
from planner.power_limit import cap_notes
from planner.water import site_only
from profiler.profile import Profile
from sim.campaign import CampaignSetup
from sim.hardware import Cluster


def plan_notes(
    request: PlanRequest,
    setup: CampaignSetup,
    grid: Grid,
    phases: tuple[PlannedPhase, ...],
    profile: Profile | None,
    error: float,
) -> tuple[str, ...]:
    """What a person should know beside the numbers, each once."""
    found = (
        *unfitted_notes(phases, setup.cluster.gpu, error),
        *profile_notes(request, profile, phases),
        *setup.notes,
        *_idle_gpu_notes(setup.cluster),
        *_rating_notes(setup.cluster, request.site.gpu_power_cap_w),
        *_cooling_notes(request, setup.cluster),
        *request.money.notes,
        *tariff_notes(request, grid),
        *spot_notes(request),
        *((f"water is counted {site_only(grid)}",) if site_only(grid) else ()),
        *cap_notes(request.site, setup.cluster.gpu),
        *(note for phase in phases for note in phase.notes),
        *memory_notes(phases),
        *network_notes(phases),
    )
    return tuple(dict.fromkeys(found))


def _cooling_notes(request: PlanRequest, cluster: Cluster) -> tuple[str, ...]:
    """A word where what a node is cooled with would change the site, which a plan takes as it is elsewhere."""
    if not cluster.node.clock_gain or None not in (request.site.pue, request.site.wue_l_per_kwh):
        return ()
    site = "PUE and water are the site's as anywhere, whatever cools its nodes"
    return (f"{site}: site.pue and site.wue_l_per_kwh state those of {cluster.node.label}",)


def _idle_gpu_notes(cluster: Cluster) -> tuple[str, ...]:
    """A word where nodes hold GPUs that the job leaves out."""
    node = cluster.node
    if not cluster.idle_gpus:
        return ()
    left = f"{cluster.idle_gpus:,} GPUs, {node.idle_gpus} of the {node.gpus_installed} in each node"
    return (f"{left}, stay idle: they are paid for and draw their idle power, and take no failed one's place",)


def _rating_notes(cluster: Cluster, cap_w: float | None) -> tuple[str, ...]:
    """A word where a node is not built for its GPUs: under load they and their host draw more than its rating."""
    node, gpu = cluster.node, cluster.gpu
    draw_w = node.gpus_per_node * min(gpu.tdp_w, cap_w or gpu.tdp_w) + node.host_load_power_w
    if draw_w <= node.rated_power_w:
        return ()
    return (
        f"{node.gpus_per_node} x {gpu.label} and their host draw up to {draw_w / 1e3:.1f} kW, more than the "
        f"{node.rated_power_w / 1e3:.1f} kW that {node.label} is rated for: cluster.node may be another GPU's",
    )
