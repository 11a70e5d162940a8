"""The HTML report: one file that opens without a network, the answer first, then how we know it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from planner.plan import Plan
from planner.report.contents import document
from planner.report.document import clean
from planner.report.theme import DARK, LIGHT, Theme

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent


def render_html(plans: Sequence[Plan], *, date: str | None = None) -> str:
    """One self-contained HTML file for some plans side by side. The same plans give the same bytes.

    Args:
        plans: at least one.
        date: when it was made, printed as it stands; nothing is printed without it.

    Raises:
        ValueError: no plan.
    """
    return _template().render(report=document(plans, date or ""), style=_style())


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from planner.report.svg import inline_svg

    def shown(value: object) -> object:
        return value if hasattr(value, "__html__") else clean(value)

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = inline_svg
    environment.filters["block"] = lambda block: type(block).__name__.lower()
    return environment.get_template("report.html")


def _style() -> str:
    """The style sheet after the colours of both themes; paper prints light."""

    def variables(theme: Theme) -> str:
        return " ".join(f"--{name}: {colour};" for name, colour in theme.colours().items())

    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} --back: #0e1318; }} }}"
    rules = (HERE / "templates" / "report.css").read_text(encoding="utf-8")
    light = f":root {{ color-scheme: light dark; {variables(LIGHT)} --back: #f4f6f8; }}"
    return f"{light}\n{dark}\n{rules}"
