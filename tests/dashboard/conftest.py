"""A started app: in process for pages, and a served one for the browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.pages import PAGES as APP_PAGES

APP = Path(__file__).parents[2] / "dashboard" / "app.py"

PAGES = tuple(name for name, _, _ in APP_PAGES)


@pytest.fixture(autouse=True, scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kept drawings go to a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("drawings")))
        yield


@pytest.fixture
def start() -> Callable[..., AppTest]:
    """Start the app with an address's parameters and on a page."""

    def started(page: str = "overview", **parameters: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        for key, value in parameters.items():
            app.query_params[key] = value
        app.run()
        return app if page == "overview" else app.switch_page(f"app_pages/{page}.py").run()

    return started


def texts(app: AppTest) -> str:
    """Everything the page says in its own HTML."""
    return "\n".join(element.proto.body for element in app.get("html"))
