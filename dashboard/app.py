"""The dashboard: `herdplan dashboard`. It reads Plans and computes nothing of its own."""

import streamlit as st
from streamlit.runtime.scriptrunner import RerunException

from dashboard import state, ui
from dashboard.pages import PAGES
from dashboard.sidebar import sidebar

st.set_page_config(page_title="herdplan", page_icon=ui.icon(), layout="wide")
state.restore()
state.hold()
ui.style()
page = st.navigation(
    [
        st.Page(f"app_pages/{name}.py", title=title, icon=f":material/{icon}:", url_path=name, default=not at)
        for at, (name, title, icon) in enumerate(PAGES)
    ]
)
sidebar()
state.tell()
if state.unread():
    ui.problem(state.unread())
try:
    page.run()
except RerunException:
    raise
except BaseException:
    state.settle()
    raise
state.settle()
