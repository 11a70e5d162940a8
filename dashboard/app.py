"""The dashboard: `herdplan dashboard`. It reads Plans and computes nothing of its own."""

import streamlit as st

from dashboard import state, ui
from dashboard.sidebar import sidebar

st.set_page_config(page_title="herdplan", page_icon=ui.icon(), layout="wide")
state.restore()
state.hold()
ui.style()
page = st.navigation(
    [
        st.Page("app_pages/overview.py", title="Plan", icon=":material/flag:", default=True),
        st.Page("app_pages/duration.py", title="Time", icon=":material/schedule:", url_path="time"),
        st.Page("app_pages/money.py", title="Money", icon=":material/payments:", url_path="money"),
        st.Page("app_pages/power.py", title="Power & carbon", icon=":material/bolt:", url_path="power"),
        st.Page("app_pages/trust.py", title="Can I trust it?", icon=":material/verified:", url_path="trust"),
    ]
)
sidebar()
state.tell()
if st.session_state.unread:
    unread = ", ".join(sorted(st.session_state.unread))
    ui.problem(f"The address says something of {unread} that cannot be; its default is used.")
page.run()
