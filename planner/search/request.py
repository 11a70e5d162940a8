"""A search as a person asks for it: the main phase of a plan, its layout left open."""

from planner.campaign.planned import plan_cluster, plan_power
from planner.phases import asked_phases, layout_space
from planner.plan_file import PlanRequest
from planner.plan_profile import plan_profile
from planner.refusal import of_the_plan
from planner.search.ranking import SearchResult, kept_search
from profiler.architecture import load_architecture
from profiler.profile import Profile
from sim.stacks.stack import load_stack


@of_the_plan()
def search_request(request: PlanRequest, keep: int, profile: Profile | None = None) -> SearchResult:
    """Rank the layouts of the phase that holds most tokens, and count why the others lose.

    `profile` is as `planner.plan.make_plan` takes it.

    Raises:
        InputError: as `planner.search.search_layouts`, or an unknown name.
    """
    architecture = load_architecture(request.model)
    phase = max(asked_phases(request, architecture), key=lambda phase: phase.tokens)
    cluster = plan_cluster(request, plan_profile(request, profile))
    stack, allowed = load_stack(request.training.stack), plan_power(request, cluster)
    space = layout_space(phase, request, architecture, cluster, stack, allowed)
    return kept_search(space, keep)
