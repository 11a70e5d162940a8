"""What a person should know of a plan beside its numbers, each once."""

from planner.carbon import Grid
from planner.money.pricing import tariff_notes
from planner.money.spot import spot_notes
from planner.phases import PlannedPhase, memory_notes, network_notes, unfitted_notes
from planner.plan_file import PlanRequest
from planner.plan_profile import profile_notes
from planner.power_limit import cap_notes
from planner.water import site_only
from profiler.profile import Profile
from sim.campaign import CampaignSetup


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
