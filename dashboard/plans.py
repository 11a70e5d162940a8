"""Plans on demand, kept while they are asked for again. Two people who ask the same share the answer."""

import streamlit as st

from planner.plan import Plan, make_plan
from planner.plan_file import PlanRequest, parse_plan_request
from planner.report.html import render_html
from planner.report.plan_text import plan_file_text
from planner.validation import Validation


def plan_of(request: PlanRequest) -> Plan:
    """The plan of a request.

    Raises:
        InputError: see `planner.plan.make_plan`.
    """
    return _plan(plan_file_text(request))


@st.cache_data(max_entries=64, show_spinner="Planning …")
def _plan(text: str) -> Plan:
    return make_plan(parse_plan_request(text, source="the plan"))


@st.cache_data(max_entries=16, show_spinner="Drawing the report …")
def report_of(text: str) -> str:
    """The HTML report of a plan file's text."""
    return render_html([_plan(text)])


@st.cache_data(show_spinner="Predicting the published runs …")
def validation() -> Validation:
    """The step model against every published run."""
    from planner.runs import published_runs
    from planner.validation import validate_runs

    return validate_runs(published_runs())
