"""A search as a person asks for it: the main phase of a plan, its layout left open."""

from planner.phases import asked_phases
from planner.plan_file import PlanRequest
from planner.refusal import of_the_plan
from planner.search.ranking import SearchResult, kept_search
from planner.search.space import LayoutSpace
from profiler.architecture import load_architecture
from sim.hardware import build_cluster
from sim.stacks import load_stack


@of_the_plan()
def search_request(request: PlanRequest, keep: int) -> SearchResult:
    """Rank the layouts of the phase that holds most tokens, and count why the others lose.

    Raises:
        InputError: as `planner.search.search_layouts`, or an unknown name.
    """
    c = request.cluster
    phase = max(asked_phases(request), key=lambda phase: phase.tokens)
    space = LayoutSpace(
        architecture=load_architecture(request.model),
        cluster=build_cluster(c.gpu, c.gpus, node=c.node, fabric=c.fabric, storage=c.storage),
        stack=load_stack(request.training.stack),
        seq_len=phase.seq_len,
        global_batch=phase.global_batch,
        precision=request.training.precision,
    )
    return kept_search(space, keep)
