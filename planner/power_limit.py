"""The power that a plan allows: a cap on each GPU, and what a site's limit makes of it."""

from dataclasses import replace

from planner.phases import PlannedPhase
from planner.plan_file import SiteRequest
from profiler.files import InputError
from sim.hardware import Cluster, Gpu
from sim.power import capped_parts_s, capped_power_w, least_cap_w, most_w
from sim.site.energy import SitePower


def limit_power(
    phase: PlannedPhase, asked: SiteRequest, cluster: Cluster, site: SitePower, spare_nodes: int
) -> PlannedPhase:
    """A phase within the plan's cap on GPUs and limit of the site; the same phase where neither binds.

    The layout is the one that is best without a limit.

    Raises:
        InputError: a cap that no such GPU can be given, or a limit that this cluster cannot keep while it trains.
    """
    caps = [cap for cap in (asked.gpu_power_cap_w,) if cap is not None]
    if asked.power_limit_mw is not None:
        caps.append(cap_for_site(phase, asked.power_limit_mw * 1e6, cluster, site, spare_nodes))
    return hold(phase, min(caps), cluster) if caps else phase


def cap_notes(asked: SiteRequest, gpu: Gpu) -> tuple[str, ...]:
    """What to say of a cap that holds nothing back; a comparison of GPUs may have one for all."""
    cap_w = asked.gpu_power_cap_w
    if cap_w is None or cap_w <= gpu.tdp_w:
        return ()
    return (f"gpu_power_cap_w is {cap_w:g}, and {gpu.label} draws {gpu.tdp_w:.0f} W at most: it caps nothing",)


def hold(phase: PlannedPhase, cap_w: float, cluster: Cluster) -> PlannedPhase:
    """A phase on GPUs held to `cap_w` [W]; what a stated step takes longer than predicted GPUs wait, at any clocks.

    Raises:
        InputError: a cap that no such GPU can be given.
    """
    gpu, step = cluster.gpu, phase.step
    parts_s = capped_parts_s(gpu, step.parts_s, cap_w)
    if parts_s == dict(step.parts_s):
        return phase
    slowdown = sum(parts_s.values()) / sum(step.parts_s.values())
    gpu_power_w = capped_power_w(gpu, parts_s, cap_w)
    slowed = replace(
        step,
        step_time_s=step.step_time_s * slowdown,
        parts_s=parts_s,
        gpu_power_w=gpu_power_w,
        origin="scaled" if step.origin == "measured" else step.origin,  # by its clocks
        node_power_w=step.node_power_w + cluster.gpus_per_node * (gpu_power_w - step.gpu_power_w),
    )
    working_s = min(step.step_time_s, phase.step_time_s)
    return replace(phase, step=slowed, step_time_s=phase.step_time_s + working_s * (slowdown - 1))


def cap_for_site(phase: PlannedPhase, limit_w: float, cluster: Cluster, site: SitePower, spare_nodes: int) -> float:
    """The highest cap at which the site stays within its limit while this phase trains [W]."""

    def meter_w(cap_w: float) -> float:
        power_w = hold(phase, cap_w, cluster).gpu_power_w
        return site.site_power_w(cluster, power_w, busy=True, spare_nodes=spare_nodes)

    low, high = least_cap_w(cluster.gpu), cluster.gpu.tdp_w
    if meter_w(high) <= limit_w:
        return high
    if meter_w(low) > limit_w:
        raise InputError(
            f"power_limit_mw is {limit_w / 1e6:g}; {cluster.gpus:,} GPUs held to {low:.0f} W each still draw "
            f"{meter_w(low) / 1e6:.4g} MW at the meter, so fewer GPUs or more power are needed."
        )
    return most_w(lambda cap_w: meter_w(cap_w) <= limit_w, low, high)
