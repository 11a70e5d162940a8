"""Plans and what is drawn from them on demand, kept while they are asked for again.

Two people who ask the same share the answer. What is kept is frozen, so nobody can change another's.
"""

from dataclasses import replace

import streamlit as st

from planner.plan import Plan, make_plan
from planner.plan_file import PlanRequest, parse_plan_request
from planner.report.formats import write_report
from planner.report.plan_text import plan_file_text
from planner.report.spec import Spec
from planner.report.theme import DARK, LIGHT
from planner.search import SearchResult
from planner.sensitivity import Swing, tornado
from planner.uncertainty import Uncertainty, sample_plan
from planner.validation import Validation
from profiler.profile import Profile
from sim.estimate import StepEstimate
from sim.schedule import Timeline

LAYOUTS = 40
"""Layouts of a search that are listed; the nearest misses come on top."""


def plan_of(request: PlanRequest) -> Plan:
    """The plan of a request.

    Raises:
        InputError: see `planner.plan.make_plan`.
    """
    return _plan(plan_file_text(request))


@st.cache_resource(max_entries=128, show_spinner=False)
def _plan(text: str) -> Plan:
    return make_plan(parse_plan_request(text, source="the plan"))


@st.cache_data(max_entries=24, show_spinner="Drawing the report …")
def report_of(texts: tuple[str, ...], kind: str) -> bytes:
    """The report of some plan files' texts, side by side, in one of `planner.report.formats.FORMATS`."""
    return write_report([_plan(text) for text in texts], kind)


@st.cache_resource(show_spinner="Predicting the published runs …")
def validation() -> Validation:
    """The step model against every published run."""
    from planner.runs import published_runs
    from planner.validation import validate_runs

    return validate_runs(published_runs())


def samples_of(plan: Plan) -> Uncertainty:
    """Every outcome of a plan as a distribution."""
    return _samples(plan_file_text(plan.request))


@st.cache_resource(max_entries=64, show_spinner=False)
def _samples(text: str) -> Uncertainty:
    return sample_plan(_plan(text))


def swings_of(plan: Plan) -> dict[str, tuple[Swing, ...]]:
    """What moves each outcome, widest first."""
    return _swings(plan_file_text(plan.request))


@st.cache_resource(max_entries=64, show_spinner=False)
def _swings(text: str) -> dict[str, tuple[Swing, ...]]:
    return tornado(_plan(text))


def search_of(request: PlanRequest) -> SearchResult:
    """The ranked layouts of a plan's main phase.

    Raises:
        InputError: see `planner.search.search_layouts`.
    """
    return _search(_step_text(request))


def _step_text(request: PlanRequest) -> str:
    """What a step follows from, as a plan file: neither money, place nor failures are in it."""
    bare = PlanRequest(model=request.model, tokens=request.tokens)
    kept = replace(bare, cluster=request.cluster, training=request.training, phases=request.phases)
    return plan_file_text(kept)


@st.cache_resource(max_entries=32, show_spinner="Comparing every layout …")
def _search(text: str) -> SearchResult:
    from planner.search.request import search_request

    return search_request(parse_plan_request(text, source="the plan"), LAYOUTS)


def timeline_of(plan: Plan) -> Timeline:
    """One step of the main phase, event by event.

    Raises:
        InputError: a layout that cannot be built.
    """
    return _timeline(_step_text(plan.request), plan)


@st.cache_resource(max_entries=16, show_spinner="Running one step event by event …")
def _timeline(text: str, _plan: Plan) -> Timeline:
    from planner.step_timeline import phase_work
    from sim.schedule import simulate_step

    return simulate_step(phase_work(_plan.request, _plan.cluster, _plan.main_phase))


def timeline_chart_of(plan: Plan, *, dark: bool) -> Spec:
    """The chart of `timeline_of`."""
    return _timeline_chart(_step_text(plan.request), dark, plan)


@st.cache_data(max_entries=32, show_spinner=False)
def _timeline_chart(text: str, dark: bool, _plan: Plan) -> Spec:
    from planner.timeline_chart import timeline_chart

    return timeline_chart(timeline_of(_plan), DARK if dark else LIGHT, "container")


def step_with(plan: Plan, profile: Profile) -> StepEstimate:
    """The plan's main step with the kernels of another profile.

    Raises:
        InputError: a layout that cannot be built.
    """
    from sim.estimate import estimate_step
    from sim.stacks import load_stack

    phase = plan.main_phase
    return estimate_step(
        architecture=plan.architecture,
        cluster=plan.cluster,
        layout=phase.step.layout,
        stack=load_stack(plan.request.training.stack),
        seq_len=phase.seq_len,
        global_batch=phase.global_batch,
        precision=plan.request.training.precision,
        profile=profile,
    )


@st.cache_resource(max_entries=16, show_spinner=False)
def roofline_of(gpu: str, model: str) -> Profile:
    """What a profile of a GPU would hold, computed."""
    from profiler.architecture import load_architecture
    from sim.hardware import load_gpu
    from sim.roofline import roofline_profile

    return roofline_profile(load_gpu(gpu), [load_architecture(model)])
