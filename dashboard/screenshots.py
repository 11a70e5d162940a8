"""Pictures of every page, light, dark and narrow: `python -m dashboard.screenshots`.

Needs the development tools (playwright) and Debian's Chromium. The pictures stand in docs/screenshots, their colours
reduced to a palette so that each is small.
"""

import argparse
import io
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from dashboard.launch import command

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
"""Chromium as a tool: no window, and no word to anybody."""

SAVED = "saved=name%3DNorway%26grid%3DNOR&saved=name%3DOwned%26mode%3Down"
PAGES = {
    "plan": "",
    "time": "duration?timeline=True&deadline=2026-04-15",
    "money": "money",
    "power": "power",
    "layouts": "layouts",
    "matters": "matters?x_failures=1.5&x_rent_price=0.75",
    "compare": f"compare?{SAVED}",
    "profile": "profile",
    "trust": "trust",
}
"""Pages by the name of their pictures, each with an address that shows it at work."""

LOOKS: dict[str, tuple[int, Literal["light", "dark"]]] = {
    "light": (1360, "light"),
    "dark": (1360, "dark"),
    "narrow": (390, "light"),
}
"""Width [px] and colour scheme."""

PATIENCE_MS = 60_000
MOST_PIXELS = 2800
"""Height of a picture; what lies below is cut off."""
COLOURS = 64
LARGEST_BYTES = 150_000


@contextmanager
def served(log: Path) -> Iterator[str]:
    """A dashboard of one's own and its address; it ends with the block."""
    with serving(log) as (address, _):
        yield address


@contextmanager
def serving(log: Path) -> Iterator[tuple[str, int]]:
    """The same, and the number of its process."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = int(probe.getsockname()[1])
    with log.open("wb") as out, subprocess.Popen(command(port), stdout=out, stderr=out) as server:  # noqa: S603
        try:
            _wait_until_up(f"http://localhost:{port}")
            yield f"http://localhost:{port}", server.pid
        finally:
            server.terminate()


def _wait_until_up(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):  # noqa: S310
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"no dashboard at {address}")


def settled(page: Any) -> None:
    """Wait until a page has said its answer, and all of it is drawn."""
    page.locator(".hp-answer").first.wait_for(timeout=PATIENCE_MS)
    page.get_by_text("Plan from a file").wait_for(state="attached", timeout=PATIENCE_MS)
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSpinner], .stale-element')",
        timeout=PATIENCE_MS,
    )
    page.wait_for_timeout(900)


def _height(page: Any) -> int:
    """Pixels that the page needs, once it no longer grows."""
    inner = "document.querySelector('[data-testid=stMainBlockContainer]')?.scrollHeight ?? 900"
    before, now = -1, int(page.evaluate(inner))
    while now != before:
        page.wait_for_timeout(1500)
        before, now = now, int(page.evaluate(inner))
    return now


def take(page: Any) -> bytes:
    """The whole page as PNG, at most `MOST_PIXELS` high."""
    whole = min(max(_height(page) + 20, 900), MOST_PIXELS)
    page.set_viewport_size({"width": page.viewport_size["width"], "height": whole})
    page.wait_for_timeout(700)
    return bytes(page.screenshot())


def reduced(png: bytes) -> bytes:
    """The same picture in a palette, with fewer colours until it is small."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    colours = COLOURS
    while True:
        out = io.BytesIO()
        # one round of k-means, else large plain areas take the colour of a small thing near theirs
        small = picture.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        small.save(out, "PNG", optimize=True)
        if out.tell() <= LARGEST_BYTES or colours <= 8:
            return out.getvalue()
        colours //= 2


def main() -> None:
    """Take every picture, or those of one look or page."""
    parser = argparse.ArgumentParser(prog="python -m dashboard.screenshots", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    parser.add_argument("--look", choices=LOOKS, action="append")
    parser.add_argument("--page", choices=PAGES, action="append")
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chosen.out.mkdir(parents=True, exist_ok=True)
    with served(chosen.out / "server.log") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for look in chosen.look or LOOKS:
            width, scheme = LOOKS[look]
            for name in chosen.page or PAGES:
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page.goto(f"{address}/{PAGES[name]}")
                settled(page)
                path = chosen.out / f"{name}-{look}.png"
                path.write_bytes(reduced(take(page)))
                sys.stderr.write(f"{path} {path.stat().st_size / 1000:.0f} kB\n")
                page.close()
        browser.close()
    (chosen.out / "server.log").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
