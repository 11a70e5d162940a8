"""What serves the dashboard: Streamlit's server, whose page is told where that is.

Streamlit's page, opened at `/money`, first looks for its server beneath that address and only then beside it, which
leaves two refused requests in the browser's console each time.
"""

from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from dashboard.pages import PAGES

INDEX = Path(st.__file__).parent / "static" / "index.html"
TOLD = "<head><script>window.__streamlit = {BACKEND_BASE_URL: new URL('.', location.href).href}</script>"
"""The server stands beside every page, beneath whatever path a proxy may put before both."""


def _page(_: Request) -> HTMLResponse:
    html = INDEX.read_text(encoding="utf-8").replace("<head>", TOLD, 1)
    return HTMLResponse(html, headers={"Cache-Control": "no-cache"})


app = st.App(
    Path(__file__).with_name("app.py"),
    routes=[Route(path, _page) for path in ("/", *(f"/{name}" for name, _, _ in PAGES[1:]))],
)
