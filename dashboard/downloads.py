"""Buttons that hand out a plan as a file: the plan itself, and the reports."""

from collections.abc import Callable, Sequence

import streamlit as st

from dashboard.plans import Asked, asked_of, report_of
from planner.plan import Plan
from planner.report.formats import FORMATS
from planner.report.plan_text import plan_file_text

ICONS = {"html": "public", "pdf": "picture_as_pdf", "xlsx": "table_chart", "md": "article", "json": "data_object"}


def downloads(plans: Sequence[Plan], name: str) -> None:
    """The buttons for some plans in one document; `name` is the file's, without its ending."""
    asked = tuple(asked_of(plan) for plan in plans)
    with st.container(horizontal=True, key="downloads"):
        if len(plans) == 1:
            text = plan_file_text(plans[0].request)
            st.download_button("Plan file", text, f"{name}.toml", "application/toml", icon=":material/download:")
        for kind, form in FORMATS.items():
            st.download_button(form.label, _made(asked, kind), f"{name}.{kind}", form.mime, key=f"download-{kind}",
                               icon=f":material/{ICONS.get(kind, 'download')}:", on_click="ignore")  # fmt: skip


def _made(asked: tuple[Asked, ...], kind: str) -> Callable[[], bytes]:
    """The report, drawn when its button is pressed."""
    return lambda: report_of(asked, kind)
