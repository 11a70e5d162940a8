"""Pieces of every page: sentences, figures with their intervals, charts with their tables, problems.

Text from plans is put into the page escaped, never as Markdown: names are other people's words.
"""

from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from dashboard.controls import for_page
from dashboard.state import Outcome, chosen, outcome
from planner.plan import Plan
from planner.quantities import counted
from planner.report import words
from planner.report.layout_charts import PICK
from planner.report.spec import Spec
from planner.report.theme import DARK, LIGHT, Theme
from profiler.files import InputError


def dark() -> bool:
    """Whether this visitor's page is dark."""
    return st.context.theme.type == "dark"


def theme() -> Theme:
    """The theme of this visitor's page."""
    return DARK if dark() else LIGHT


def icon() -> Image.Image:
    """The page's icon, three rising bars; drawn here, so that no font is fetched for it."""
    picture = np.full((32, 32, 4), 0, dtype=np.uint8)
    blue = (11, 98, 168, 255)
    for left, top in ((3, 20), (12, 12), (21, 4)):
        picture[top:29, left : left + 7] = blue
    return Image.fromarray(picture)


def style() -> None:
    """The page's own style; its colours follow light and dark."""
    css = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    for name, colour in theme().colours().items():
        css = css.replace(f"VAR_{name.upper()}", colour)
    st.html(f"<style>{css}</style>")


def heading(text: str) -> None:
    """The title of a part of the page."""
    st.html(f"<h2 class='hp-heading'>{escape(text)}</h2>")


def answer(text: str) -> None:
    """The sentence a page is about."""
    joined = escape(text).replace("–", "&#8288;–&#8288;")  # a range does not break over lines
    st.html(f"<p class='hp-answer'>{joined}</p>")


def note(text: str) -> None:
    """An explanation, small."""
    st.html(f"<p class='hp-muted'>{escape(text)}</p>")


def plan_notes(plan: Plan) -> None:
    """What to know of a plan beside its numbers, behind one line."""
    if plan.notes:
        with st.expander(f"{counted(len(plan.notes), 'thing')} to know of this plan", icon=":material/info:"):
            for text in plan.notes:
                st.html(f"<p class='hp-muted'>{sentence(for_page(text))}.</p>")


def problem(text: str) -> None:
    """What went wrong and what to do, in a sentence."""
    st.html(f"<div class='hp-problem' role='alert'>{sentence(text)}</div>")


def sentence(text: str) -> str:
    """A message as HTML; it begins with a capital where it begins with a word and not with a name."""
    return escape(words.sentence(text))


def chosen_plan() -> Plan:
    """The plan of the chosen model; where there is none, says why and ends the page."""
    found: Outcome = outcome(chosen())
    if found.plan is None:
        answer(f"There is no plan for {found.label} with these choices.")
        problem(found.problem)
        note("Change the choice on the left that the sentence names; the page follows.")
        st.stop()
    return found.plan


def chart(
    name: str,
    spec: Spec | None,
    table: Callable[[], pd.DataFrame] | None = None,
    *,
    picked: Callable[[int], None] | None = None,
) -> None:
    """A chart as wide as its place (on a phone it may scroll in its own box), and its table behind it.

    `name` is unique on a page. The title stands above the chart as text of the page, which breaks where the page
    does; the chart's description is what a screen reader says. `table` makes the numbers behind it. `picked` is
    called with the `key` of a mark that is clicked.
    """
    if spec is None:
        return
    title, subtitle = (escape(spec["title"][key]) for key in ("text", "subtitle"))
    st.html(f"<p class='hp-chart-title'><b>{title}</b><span>{subtitle}</span></p>")
    with st.container(key=f"chart-{name}"):
        drawn, alt = _on_page(spec), str(spec["description"])
        if picked is None:
            st.vega_lite_chart(spec=drawn, theme=None, width="stretch", alt=alt)
        else:
            key = f"pick-{name}"
            st.vega_lite_chart(spec=drawn, theme=None, width="stretch", alt=alt, key=key, selection_mode=PICK,
                               on_select=partial(_on_pick, key, picked))  # fmt: skip
    if table is not None:
        behind(f"table-{name}", "Table", partial(_numbers, table, str(spec["title"]["text"])))


@st.fragment
def behind(key: str, label: str, draw: Callable[[], object]) -> None:
    """What is drawn once it is opened, without drawing the page anew; `key` is unique on a page."""
    box = st.expander(label, key=key, on_change="rerun")
    if box.open:
        with box:
            draw()


def _numbers(table: Callable[[], pd.DataFrame], title: str) -> None:
    found = table()
    numbers(found.drop(columns=[c for c in ("colour", "start", "end") if c in found.columns]), title)


def numbers(table: pd.DataFrame, title: str) -> None:
    """A table to look through; `title` is what a screen reader says."""
    st.dataframe(_whole(table), hide_index=True, width="stretch", alt=title, column_config=_formats(table, {}))


def _on_pick(key: str, picked: Callable[[int], None]) -> None:
    marks = st.session_state[key].selection.get(PICK, [])
    if marks and isinstance(marks[0].get("key"), int):
        picked(marks[0]["key"])


def picking_table(
    name: str,
    table: pd.DataFrame,
    picked: Callable[[int], None],
    *,
    height: int = 420,
    widths: Mapping[str, int] | None = None,
) -> None:
    """A table whose rows can be clicked; `picked` is called with the row's number. `widths` of columns in pixels."""
    key = f"rows-{name}"

    def on_select() -> None:
        chosen = st.session_state[key].selection.rows
        if chosen and 0 <= chosen[0] < len(table):
            picked(chosen[0])

    st.dataframe(_whole(table), hide_index=True, height=height, key=key, on_select=on_select,
                 selection_mode="single-row", column_config=_formats(table, widths or {}))  # fmt: skip


def _is_whole(column: pd.Series) -> bool:
    """Whether a column of numbers is shown without decimals."""
    return bool(pd.api.types.is_integer_dtype(column) or column.abs().max() >= 1000)


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the numbers of large columns rounded: a browser would show their decimals."""
    return table.round({str(name): 0 for name in table.select_dtypes("number") if _is_whole(table[name])})


def _formats(table: pd.DataFrame, widths: Mapping[str, int]) -> dict[str, Any]:
    """Numbers as people write them: three significant digits, or whole with thousands apart; widths in pixels."""
    found: dict[str, Any] = {name: st.column_config.Column(width=pixels) for name, pixels in widths.items()}
    for name in table.select_dtypes("number").columns:
        most = float(table[name].abs().max()) if len(table) else 0.0
        even = len(table) and float(table[name].abs().min()) >= 1  # then "6.70" beside "6.69"
        form = "localized" if _is_whole(table[name]) else "%.1f" if most >= 10 else "%.2f" if even else "%.3g"
        found[str(name)] = st.column_config.NumberColumn(format=form, width=widths.get(str(name)))
    return found


FONT = '"Source Sans", sans-serif'
"""Streamlit's own, which it serves."""


def _on_page(spec: Spec) -> Spec:
    """The chart without what the page says, in the page's font, with the data in each layer: what is at the top
    reaches the browser after the first drawing."""
    spec = {key: value for key, value in spec.items() if key not in ("description", "title")}
    spec["config"] = {**{key: _fontless(value) for key, value in spec["config"].items()}, "font": FONT}
    if "data" not in spec or "layer" not in spec:
        return spec
    rest = {key: value for key, value in spec.items() if key != "data"}
    return {**rest, "layer": [{"data": spec["data"], **layer} for layer in spec["layer"]]}


def _fontless(look: object) -> object:
    return {key: v for key, v in look.items() if not key.lower().endswith("font")} if isinstance(look, dict) else look


SCROLLS = "class='hp-scroll' tabindex='0' role='region' aria-label='Table'"
"""Of a box that scrolls sideways, by keyboard too."""


def rows(columns: list[tuple[str, bool]], cells: list[list[str]], *, total: int | None = None) -> None:
    """A table of texts; `columns` are (name, whether it holds numbers) pairs."""

    def row(tag: str, values: list[str], kind: str = "") -> str:
        marked = zip(values, columns, strict=True)
        inner = "".join(f"<{tag}{' class=n' if number else ''}>{escape(v)}</{tag}>" for v, (_, number) in marked)
        return f"<tr{kind}>{inner}</tr>"

    facts = len(columns) == 2 and not columns[1][1]
    wide = " class=wide" if len(columns) > 4 else " class=facts" if facts else ""
    head = row("th", [name for name, _ in columns])
    body = "".join(row("td", values, " class=total" if i == total else "") for i, values in enumerate(cells))
    st.html(f"<div {SCROLLS}><table{wide}><thead>{head}</thead><tbody>{body}</tbody></table></div>")


def bar(low: float, expected: float, high: float, low_text: str, high_text: str) -> str:
    """An interval as a thin bar from zero to a little above its high end, as HTML."""
    most = high * 1.05 or 1.0
    left, width, at = 100 * low / most, 100 * (high - low) / most, 100 * expected / most
    return (
        f"<div class='hp-bar'><i style='left:{left:.1f}%;width:{max(width, 0.8):.1f}%'></i>"
        f"<u style='left:calc({at:.1f}% - 1px)'></u></div>"
        f"<div class='hp-ends'><span>{escape(low_text)}</span><span>{escape(high_text)}</span></div>"
    )


def figure(value: str, unit: str, inner: str = "") -> str:
    """A large number with its unit, as HTML; `inner` is HTML that stands beneath."""
    return f"<div class='hp-figure'><b>{escape(value)}</b> <span>{escape(unit)}</span>{inner}</div>"


def small_cards(bodies: list[tuple[str, str]]) -> None:
    """Small boxes beside each other: (title, HTML)."""
    parts = [f"<div class='hp-card'><h3>{escape(title)}</h3>{body}</div>" for title, body in bodies]
    st.html("<div class='hp-cards small'>" + "".join(parts) + "</div>")


def upload(label: str, kind: str, key: str, take: Callable[[bytes, str], None]) -> None:
    """A place to drop a file; `take` reads it, and what is wrong with it is said below in a sentence."""
    problem_key = f"{key}_problem"

    def read() -> None:
        st.session_state[problem_key] = ""
        file = st.session_state[key]
        if file is None:
            return
        try:
            take(file.getvalue(), file.name)
        except InputError as error:
            st.session_state[problem_key] = str(error)

    st.file_uploader(label, type=[kind], key=key, on_change=read)
    if st.session_state.get(problem_key):
        problem(st.session_state[problem_key])
