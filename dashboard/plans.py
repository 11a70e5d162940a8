"""Plans and what is drawn from them on demand, kept while they are asked for again; no session is needed.

Two people who ask the same share the answer. What is kept is frozen, so nobody can change another's.
"""

from planner.kept import kept
from planner.plan import Plan, make_plan
from planner.plan_file import PlanRequest
from planner.report.formats import write_report
from planner.report.spec import Spec
from planner.report.theme import DARK, LIGHT
from planner.runs.rows import published_runs
from planner.search import SearchResult
from planner.search.request import search_request
from planner.step_timeline import phase_work
from planner.timeline_chart import timeline_chart
from planner.validation import Validation, validate_runs
from profiler.architecture import load_architecture
from profiler.profile import Profile
from sim.hardware import load_gpu
from sim.roofline import roofline_profile
from sim.schedule.events import Timeline, simulate_step
from sim.schedule.work import StepWork

LAYOUTS = 40
"""Layouts of a search that are listed; the nearest misses come on top."""

Asked = tuple[PlanRequest, Profile | None]
"""A request, with the profile that it names where a person uploaded one."""

plan_of = kept(128)(make_plan)
"""The plan of a request."""

_step_of = kept(16)(simulate_step)


@kept(24)
def report_of(asked: tuple[Asked, ...], kind: str) -> bytes:
    """The report of some plans side by side, in one of `planner.report.formats.FORMATS`."""
    return write_report([plan_of(*one) for one in asked], kind)


def asked_of(plan: Plan) -> Asked:
    """What a plan was made from."""
    return plan.request, plan.profile if plan.request.cluster.profile else None


@kept(1)
def validation() -> Validation:
    """The step model against every published run."""
    return validate_runs(published_runs())


def search_of(plan: Plan) -> SearchResult:
    """The ranked layouts of a plan's main phase.

    Raises:
        InputError: see `planner.search.search_layouts`.
    """
    request, profile = asked_of(plan)
    return search_request(request, LAYOUTS, profile)


def timeline_of(plan: Plan) -> Timeline:
    """One step of the main phase, event by event.

    Raises:
        InputError: a layout that cannot be built.
    """
    return _step_of(_work_of(plan))


def timeline_chart_of(plan: Plan, *, dark: bool) -> Spec:
    """The chart of `timeline_of`."""
    return _timeline_chart(_work_of(plan), dark)


def _work_of(plan: Plan) -> StepWork:
    return phase_work(plan.request, plan.cluster, plan.main_phase, plan.profile)


@kept(32)
def _timeline_chart(work: StepWork, dark: bool) -> Spec:
    found = _step_of(work)
    apart_s = _step_of(work, shared_links=False).total_s if work.shared_links else found.total_s
    return timeline_chart(found, DARK if dark else LIGHT, "container", apart_s=apart_s)


@kept(16)
def roofline_of(gpu: str, model: str) -> Profile:
    """What a profile of a GPU would hold, computed."""
    return roofline_profile(load_gpu(gpu), [load_architecture(model)])
