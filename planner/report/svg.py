"""Charts as inline SVG whose colours follow the page's light or dark style."""

import hashlib
import json
import os
from html import escape
from pathlib import Path
from typing import Any

from planner.report.document import clean
from planner.report.spec import Spec
from planner.report.theme import LIGHT
from profiler.files import InputError, write_atomic

MOST_CACHED = 400
"""Drawings kept from earlier reports."""


def inline_svg(chart: Spec) -> str:
    """The chart, drawn with the light theme's colours turned into CSS variables (`--ink`, `--accent`, …).

    Drawing takes tens of milliseconds for a chart and half a second before the first, so a drawing is kept and
    found again by its exact specification.
    """
    svg = _kept(json.dumps(_clean(chart), sort_keys=True))
    for name, colour in LIGHT.colours().items():
        svg = svg.replace(f'"{colour}"', f'"var(--{name})"')
    label = escape(clean(chart["description"]), quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def plain_svg(chart: Spec) -> str:
    """The chart as a file of its own, on the light theme's paper."""
    return _kept(json.dumps({"background": LIGHT.paper, **_clean(chart)}, sort_keys=True))


def _clean(value: Any) -> Any:
    """The chart without characters that no picture can hold: the drawing library ends the program at one of them."""
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    return clean(value) if isinstance(value, str) else value


def _kept(specification: str) -> str:
    from importlib.metadata import version

    key = f"{version('vl-convert-python')} {specification}"
    path = _folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.svg"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        svg = _draw(specification)
    try:
        write_atomic(path, svg)
        _tidy(path.parent)
    except (InputError, OSError):
        pass  # a home that cannot be written costs time, nothing else
    return svg


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "herdplan" / "charts"


def _tidy(folder: Path) -> None:
    drawings = sorted(folder.glob("*.svg"), key=lambda path: path.stat().st_mtime)
    for path in drawings[:-MOST_CACHED]:
        path.unlink(missing_ok=True)


def _draw(specification: str) -> str:
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(specification)
    return svg
