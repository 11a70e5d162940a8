"""One look for every chart: colours, type and grid, light and dark.

The colours of things differ in lightness as well as in hue (Okabe and Ito's set, muted), so that they stay
apart for colour-blind readers and in grey print; every mark carries its label as well.
"""

from dataclasses import dataclass, fields
from typing import Any

FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colour of each thing. The same name is the same thing on every page."""

    ink: str
    muted: str
    """Axis text and notes."""
    line: str
    """Grid and domain lines."""
    paper: str
    accent: str
    """The answer: rent, progress, training."""
    soft: str
    """The accent's range or band."""
    own: str
    compute: str
    communication: str
    waiting: str
    memory: str
    """Kernels bound by memory, checkpoints, the optimizer."""
    lost: str
    gpu: str
    host: str
    network: str
    cooling: str

    def colours(self) -> dict[str, str]:
        """Every colour by its name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


LIGHT = Theme(
    ink="#1a2430",
    muted="#5a6775",
    line="#dde2e8",
    paper="#ffffff",
    accent="#0b62a8",
    soft="#b9d4ea",
    own="#11806a",
    compute="#1565ab",
    communication="#c96a12",
    waiting="#8995a3",
    memory="#7a58a6",
    lost="#b5383f",
    gpu="#17609f",
    host="#2d8f80",
    network="#cc7a29",
    cooling="#79b4dc",
)

DARK = Theme(
    ink="#e9eef3",
    muted="#a3b0bd",
    line="#303a46",
    paper="#151b23",
    accent="#6cb4ee",
    soft="#27506f",
    own="#4cc3a8",
    compute="#5aa7e3",
    communication="#f0a04b",
    waiting="#8793a1",
    memory="#b79be0",
    lost="#f0787c",
    gpu="#5ea9e2",
    host="#54bfae",
    network="#eda95c",
    cooling="#a9d3ee",
)


def config(theme: Theme) -> dict[str, Any]:
    """The Vega-Lite configuration of the look."""
    text = {"font": FONT, "color": theme.ink}
    return {
        "background": theme.paper,
        "font": FONT,
        "view": {"stroke": None},
        "aria": False,  # the chart's description stands for its marks
        "padding": {"left": 4, "right": 12, "top": 4, "bottom": 4},
        "title": {
            "anchor": "start",
            "frame": "bounds",
            "color": theme.ink,
            "font": FONT,
            "subtitleFont": FONT,
            "fontSize": 14,
            "fontWeight": 600,
            "subtitleColor": theme.muted,
            "subtitleFontSize": 12,
            "subtitlePadding": 4,
            "offset": 12,
        },
        "axis": {
            "labelColor": theme.muted,
            "titleColor": theme.muted,
            "titleFontWeight": "normal",
            "labelFont": FONT,
            "titleFont": FONT,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "gridColor": theme.line,
            "domainColor": theme.line,
            "tickColor": theme.line,
            "labelOverlap": False,
            "titlePadding": 8,
        },
        "text": {**text, "fontSize": 12},
    }
