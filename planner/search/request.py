"""A search as a person asks for it: the main phase of a plan, its layout left open."""

from dataclasses import replace
from functools import partial, reduce

import numpy as np

from planner.campaign.planned import plan_cluster, plan_power, used_of_a_node
from planner.layout_choice import LayoutChoice
from planner.phases import asked_phases, layout_space, stated_layout
from planner.plan_file import PlanRequest
from planner.plan_profile import plan_profile
from planner.quantities import percent, significant
from planner.refusal import of_the_plan
from planner.search.losses import EQUAL_PCT
from planner.search.ranking import SearchResult, kept_search, rank
from planner.search.space import LayoutSpace, nearest_of
from profiler.architecture import load_architecture
from profiler.files import InputError
from profiler.profile import Profile
from sim.hardware import whole_nodes
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
    result = kept_search(space, keep)
    choice = phase.layout or request.training.layout
    return replace(result, stated_note=_stated_note(choice, result)) if choice else result


def _stated_note(choice: LayoutChoice, result: SearchResult) -> str:
    """How the layout that a plan states does beside the best."""
    space = result.space
    try:
        layout = stated_layout(choice, space.cluster, space.stack)
    except InputError as error:
        return f"the layout that the plan states cannot be built here: {error}"
    own = rank(space, [result.best.layout, layout])[1]
    gain = result.best.step_time_s / own.step_time_s - 1
    against = own.reason or ("the best" if layout == result.best.layout else "as fast as the best")
    if gain > EQUAL_PCT / 100 and own.fits:
        held = f"only {space.only.text}" if space.only.stated else "the layouts that a search tries"
        against = f"{percent(gain)} faster than the best of {held}"
    return f"the layout that the plan states, {layout.label}, takes {significant(own.step_time_s)} s ({against})"


@of_the_plan()
def nearest_gpus(request: PlanRequest) -> int:
    """The number of GPUs nearest to the one asked for that stand in whole nodes and that a layout of every phase
    divides; where there is none at all, the nearest in whole nodes.

    Whether a layout fits in memory is not looked at.

    Raises:
        InputError: an unknown name, or sequences longer than the model has learned positions.
    """
    asked = request.cluster
    per_node = used_of_a_node(asked)
    whole = asked.gpus if asked.gpus < per_node else whole_nodes(asked.gpus, per_node)
    request = replace(request, cluster=replace(asked, gpus=whole))
    architecture, stack = load_architecture(request.model), load_stack(request.training.stack)
    cluster = plan_cluster(request, None)
    steps = {(phase.seq_len, phase.global_batch) for phase in asked_phases(request, architecture)}
    only = request.training.only
    space = partial(LayoutSpace, architecture=architecture, cluster=cluster, stack=stack, only=only)
    divided = [space(seq_len=seq_len, global_batch=batch).divided_gpus() for seq_len, batch in steps]
    common = reduce(np.intersect1d, divided)
    return nearest_of(common, whole) if common.size else whole
