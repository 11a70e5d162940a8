"""The list of every assumption, on the page that it belongs to and beside any other."""

from html import escape

import streamlit as st

from dashboard import ui
from planner.assumption import Assumption
from planner.plan import Plan
from planner.report import words

DIALOG = "Every assumption of this plan"
OVER = "shown_over"
"""Key of what the list over a page shows."""


def assumption_list(rows: tuple[Assumption, ...], key: str) -> None:
    """Each with its value, how it is known and where it comes from, what the plan gives last; by how it is known, if
    wished. `key` is unique on a page."""
    counts = words.kind_counts(rows)
    kinds = st.pills("Show", list(counts), selection_mode="multi", format_func=lambda k: f"{counts[k]} {k}",
                     label_visibility="collapsed", key=key)  # fmt: skip
    body = "".join(
        f"<tr><td>{escape(row.what)}</td><td>{escape(row.value)}</td>"
        f"<td><span class='hp-kind {row.kind}'>{row.kind}</span></td><td>{escape(row.source)}</td></tr>"
        for row in sorted(rows, key=lambda row: row.kind == "given")
        if not kinds or row.kind in kinds
    )
    head = "<tr><th>What</th><th>Value</th><th>Known how</th><th>Source</th></tr>"
    st.html(f"<div {ui.SCROLLS}><table class='wide stacks'><thead>{head}</thead><tbody>{body}</tbody></table></div>")
    ui.note(". ".join(f"{kind.capitalize()}: {words.KINDS[kind]}" for kind in counts) + ".")


@st.dialog(DIALOG, width="large")
def show_assumptions(plan: Plan) -> None:
    """The list over the page, which stays as it is."""
    assumption_list(plan.assumptions, OVER)


def show_all() -> None:
    """Let the list over the page show all again, before it is opened."""
    st.session_state.pop(OVER, None)
