"""The dashboard in a real browser: it loads cleanly, follows the address, and hands out files that open."""

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dashboard.launch import command

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 30_000


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(address: str) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"no dashboard at {address}")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served dashboard."""
    port = _free_port()
    log = (tmp_path_factory.mktemp("server") / "log.txt").open("wb")
    with log, subprocess.Popen(command(port), stdout=log, stderr=log) as server:
        try:
            _wait_until_up(f"http://localhost:{port}")
            yield f"http://localhost:{port}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


def _opened(browser: Browser, url: str, *, width: int = 1400, scheme: str = "light") -> tuple[Page, list[str]]:
    """A page that has answered, and what went wrong on the way: console errors and requests to elsewhere."""
    dark = "dark" if scheme == "dark" else "light"
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=dark)  # type: ignore[arg-type]
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((url[:20], "data:", "blob:")) else wrong.append(r.url))
    page.goto(url)
    expect(page.locator(".hp-answer").first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("Plan from a file")).to_be_attached(timeout=PATIENCE_MS)
    return page, wrong


def test_loads_without_errors_or_requests_to_elsewhere(browser: Browser, address: str) -> None:
    page, wrong = _opened(browser, address)
    expect(
        page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first
    ).to_be_visible(timeout=PATIENCE_MS)
    for name in ("Time", "Money", "Power & carbon", "Can I trust it?"):
        page.get_by_role("link", name=name).click()
        expect(page.get_by_role("link", name=name)).to_have_attribute("aria-current", "page", timeout=PATIENCE_MS)
        expect(page.locator("[data-testid=stVegaLiteChart]").first).to_be_visible(timeout=PATIENCE_MS)
        assert page.locator("[data-testid=stException]").count() == 0
    assert wrong == []
    page.close()


def test_an_address_restores_a_state_and_a_change_writes_it(browser: Browser, address: str) -> None:
    page, _ = _opened(browser, f"{address}/?model=70b&gpus_70b=2048&gpu=h200-sxm")
    sentence = page.locator(".hp-answer").first
    expect(sentence).to_contain_text("Llama 3.1 70B on 2,048 H200", timeout=PATIENCE_MS)
    gpus = page.get_by_label("GPUs", exact=True)
    gpus.fill("4096")
    gpus.press("Enter")
    expect(sentence).to_contain_text("4,096 H200", timeout=PATIENCE_MS)
    expect(page).to_have_url(f"{address}/?model=70b&gpu=h200-sxm", timeout=PATIENCE_MS)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_does_not_scroll_sideways(browser: Browser, address: str, scheme: str) -> None:
    for path in ("", "time", "money", "power", "trust"):
        page, _ = _opened(browser, f"{address}/{path}", width=390, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.close()


def test_the_report_downloads_and_opens_offline(browser: Browser, address: str, tmp_path: Path) -> None:
    page, _ = _opened(browser, address)
    with page.expect_download(timeout=PATIENCE_MS) as waiting:
        page.get_by_role("button", name="HTML report").click()
    saved = tmp_path / "report.html"
    waiting.value.save_as(saved)
    page.close()
    report = browser.new_page(viewport={"width": 390, "height": 800})
    asked: list[str] = []
    report.on("request", lambda request: asked.append(request.url))
    report.goto(saved.as_uri())
    assert asked == [saved.as_uri()]
    assert report.locator("svg").count() >= 8
    assert report.evaluate("document.documentElement.scrollWidth") <= 390
    report.close()


def test_a_bad_upload_is_explained(browser: Browser, address: str) -> None:
    page, _ = _opened(browser, address)
    page.get_by_text("Plan from a file").click()
    file = {"name": "bad.toml", "mimeType": "application/toml", "buffer": b"model = <script>"}
    page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type]
    expect(page.get_by_text("bad.toml: not readable as TOML")).to_be_visible(timeout=PATIENCE_MS)
    page.close()
