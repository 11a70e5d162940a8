"""The dashboard in a real browser: it loads cleanly, follows the address, and hands out files that open."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from dashboard.pages import PAGES
from dashboard.screenshots import CHROMIUM, QUIET, served, settled

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PATIENCE_MS = 40_000

PATHS = ("", *(name for name, _, _ in PAGES[1:]))

AXE = Path(__file__).parent / "axe" / "axe.min.js"
"""axe-core 4.14.1 by Deque Systems (MPL 2.0), as npm has it."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served dashboard."""
    with served(tmp_path_factory.mktemp("server") / "log.txt") as url:
        yield url


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


CUT_OFF = """[...document.querySelectorAll("[class*='st-key-chart-']")]
    .filter(box => [box, ...box.querySelectorAll('canvas, svg')].some(
        e => e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > innerWidth))
    .map(box => box.className)"""
"""Charts of which a part lies outside of their box or of the screen."""


def _findings(page: Page) -> list[str]:
    """Serious findings of axe-core, but those inside what Streamlit itself draws."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary'][:160]}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
        if "hp-" in json.dumps([node["html"], node["target"]])
    ]


def test_every_page_loads_without_errors_or_requests_to_elsewhere(browser: Browser, address: str) -> None:
    page, wrong = _opened(browser, address)
    drawn = page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")
    expect(drawn.first).to_be_visible(timeout=PATIENCE_MS)
    for _, name, _ in PAGES[1:]:
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("link", name=name)).to_have_attribute("aria-current", "page", timeout=PATIENCE_MS)
        if name != "Compare":
            expect(drawn.first).to_be_visible(timeout=PATIENCE_MS)
        expect(page.locator(".hp-answer").first).to_be_visible(timeout=PATIENCE_MS)
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


def test_back_and_forward_walk_through_what_was_chosen(browser: Browser, address: str) -> None:
    """On a page and over pages; a change that follows on another is none of it."""
    page, wrong = _opened(browser, address)
    gpus = page.locator("input[aria-label=GPUs]")

    def asks(number: str) -> None:
        gpus.fill(number)
        gpus.press("Enter")
        expect(page.locator(".hp-answer").first).to_contain_text(f"{int(number):,} H100", timeout=PATIENCE_MS)

    asks("12288")
    asks("8192")
    page.get_by_role("link", name="Money").click()
    expect(page).to_have_url(re.compile(r"/money\?gpus_405b=8192$"), timeout=PATIENCE_MS)
    expect(gpus).to_have_value("8192")
    said = page.locator(".hp-answer").first
    page.go_back()
    page.wait_for_timeout(1500)
    if page.url.endswith("/money"):  # the link's own address, before the page told what is chosen
        expect(gpus).to_have_value("8192")
        page.go_back()
    for number, step in (("8192", page.go_back), ("12288", page.go_forward), ("8192", None)):
        expect(page).to_have_url(re.compile(rf"/\?gpus_405b={number}$"), timeout=PATIENCE_MS)
        expect(gpus).to_have_value(number, timeout=PATIENCE_MS)
        expect(said).to_contain_text(f"Training Llama 3.1 405B on {int(number):,} H100", timeout=PATIENCE_MS)
        if step is not None:
            step()
    assert wrong == []
    page.close()


def test_a_click_that_ends_a_change_does_not_undo_it(browser: Browser, address: str) -> None:
    """It comes with the address of before the change."""
    page, _ = _opened(browser, f"{address}/?model=8b")
    gpus = page.locator("input[aria-label=GPUs]")
    gpus.fill("512")
    page.get_by_text("Table", exact=True).first.click()
    expect(page.locator(".hp-answer").first).to_contain_text("512 H100", timeout=PATIENCE_MS)
    expect(page.locator("[data-testid=stDataFrame]").first).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_text("Assumptions", exact=True).first.click()
    page.wait_for_timeout(1000)
    expect(gpus).to_have_value("512")
    expect(page).to_have_url(re.compile("gpus_8b=512"))
    page.close()


def test_a_slider_answers_by_keyboard(browser: Browser, address: str) -> None:
    page, _ = _opened(browser, f"{address}/matters?model=8b")
    cost = page.locator(".hp-card", has_text="Cost")
    expect(cost).to_contain_text("as planned", timeout=PATIENCE_MS)
    page.get_by_role("slider", name="Rent").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(cost).to_contain_text("+", timeout=PATIENCE_MS)
    expect(page).to_have_url(f"{address}/matters?model=8b&x_rent_price=1.1", timeout=PATIENCE_MS)
    page.close()


def test_a_click_on_a_layout_plans_with_it(browser: Browser, address: str) -> None:
    page, _ = _opened(browser, f"{address}/layouts?model=8b")
    settled(page)
    rows = page.locator("[data-testid=stDataFrame] .dvn-scroller").first
    rows.click(position={"x": 16, "y": 90})
    expect(page.get_by_text("Undo the layout picked")).to_be_visible(timeout=PATIENCE_MS)
    expect(page).to_have_url(re.compile("layout_8b=tp"), timeout=PATIENCE_MS)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_does_not_scroll_sideways_and_axe_finds_nothing_serious(
    browser: Browser, address: str, scheme: str
) -> None:
    paths = PATHS if scheme == "light" else ("", "trust")
    for path in paths:
        page, wrong = _opened(browser, f"{address}/{path}", width=390, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        settled(page)
        assert (path, page.evaluate(CUT_OFF)) == (path, [])
        assert (path, _findings(page)) == (path, [])
        assert (path, wrong) == (path, [])
        page.close()


def test_charts_have_words_for_those_who_cannot_see_them(browser: Browser, address: str) -> None:
    page, _ = _opened(browser, f"{address}/money?model=8b")
    settled(page)
    charts = page.locator("[data-testid=stVegaLiteChart]")
    for at in range(charts.count()):
        labels = charts.nth(at).evaluate(
            "e => [e, ...e.querySelectorAll('*')].map(x => x.getAttribute('aria-label') || '').filter(t => t)"
        )
        assert max(map(len, labels), default=0) > 20
    page.close()


def test_every_assumption_is_read_beside_the_page(browser: Browser, address: str) -> None:
    """In a box over the page, on a phone without scrolling sideways."""
    page, wrong = _opened(browser, address, width=390)
    page.locator("[data-testid=stExpandSidebarButton]").click()
    page.get_by_text("Assumptions", exact=True).first.click()
    settled(page)  # a click on what is about to be drawn anew is lost
    page.get_by_text("All of them, with their sources").click()
    box = page.locator("[role=dialog]")
    expect(box.get_by_text("Grid intensity")).to_be_visible(timeout=PATIENCE_MS)
    assert box.locator(".hp-scroll").evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    page.keyboard.press("Escape")
    expect(box).not_to_be_visible()
    assert wrong == []
    page.close()


def test_the_report_downloads_and_opens_offline(browser: Browser, address: str, tmp_path: Path) -> None:
    page, _ = _opened(browser, f"{address}/?model=8b")
    settled(page)
    saved = _downloaded(page, "HTML page", tmp_path / "report.html")
    spreadsheet = _downloaded(page, "Excel workbook", tmp_path / "report.xlsx")
    page.close()
    report = browser.new_page(viewport={"width": 390, "height": 800})
    asked: list[str] = []
    report.on("request", lambda request: asked.append(request.url))
    report.goto(saved.as_uri())
    assert asked == [saved.as_uri()]
    assert report.locator("svg").count() >= 8
    assert report.evaluate("document.documentElement.scrollWidth") <= 390
    report.close()
    from openpyxl import load_workbook

    assert len(load_workbook(spreadsheet).sheetnames) >= 2


def _downloaded(page: Page, button: str, path: Path) -> Path:
    with page.expect_download(timeout=PATIENCE_MS) as waiting:
        page.get_by_role("button", name=button).click()
    waiting.value.save_as(path)
    return path


def test_a_bad_upload_is_explained(browser: Browser, address: str) -> None:
    page, _ = _opened(browser, address)
    page.get_by_text("Plan from a file").click()
    file = {"name": "bad.toml", "mimeType": "application/toml", "buffer": b"model = <script>"}
    page.locator("input[type=file]").first.set_input_files(file)  # type: ignore[arg-type]
    expect(page.get_by_text("bad.toml: not readable as TOML")).to_be_visible(timeout=PATIENCE_MS)
    page.close()


def test_long_work_can_be_stopped(browser: Browser, address: str) -> None:
    page, _ = _opened(browser, f"{address}/duration?model=405b")
    page.get_by_role("button", name="Simulate 50 campaigns").click()
    main = page.get_by_test_id("stMainBlockContainer")  # Streamlit's header has a Stop of its own while a page runs
    stop = main.get_by_role("button", name="Stop", exact=True)
    stopped = main.get_by_text("Stopped").or_(main.get_by_text("Every campaign"))
    expect(stop.or_(stopped).first).to_be_visible(timeout=PATIENCE_MS)
    with suppress(PlaywrightError):  # a quick machine is done before the click arrives
        stop.click(timeout=2000)
    expect(stopped.first).to_be_visible(timeout=PATIENCE_MS)
    page.close()
