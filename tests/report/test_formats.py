"""Every format says the same of the same plans, in the same bytes, and takes no name for an instruction."""

import builtins
import csv
import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import openpyxl
import pypdf
import pytest

from planner.plan import Plan
from planner.plan_file import parse_plan_request
from planner.quantities import dollars
from planner.report.details import OUTCOME_TEXTS
from planner.report.document import clean
from planner.report.formats import FORMATS, write_report
from planner.report.plan_text import plan_file_text
from planner.report.words import answer
from profiler.files import InputError
from tests.report.conftest import HOSTILE
from tests.report.reading import READERS, Page, bare, csv_rows, pdf_text, xlsx_parts

ROOT = Path(__file__).parents[2]

PROSE = ("html", "pdf", "xlsx", "md")
"""Formats that people read; the others are for machines."""


@pytest.fixture(scope="session")
def reports(plan: Plan, hostile_plan: Plan) -> dict[str, bytes]:
    """Both plans side by side in every format."""
    return {kind: write_report([plan, hostile_plan], kind, date="2031-05-06") for kind in FORMATS}


@pytest.mark.parametrize("kind", FORMATS)
def test_same_plans_give_same_bytes(
    plan: Plan,
    hostile_plan: Plan,
    reports: dict[str, bytes],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert write_report([plan, hostile_plan], kind, date="2031-05-06") == reports[kind]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_date_only_where_one_is_given(plan: Plan, reports: dict[str, bytes], kind: str) -> None:
    assert "2031-05-06" in READERS[kind](reports[kind])
    assert "2031-05-06" not in READERS[kind](write_report([plan], kind))


@pytest.mark.parametrize("kind", PROSE)
def test_answers_assumptions_sources_and_plan_file_stand_in_every_format(
    plan: Plan, reports: dict[str, bytes], kind: str
) -> None:
    text = bare(READERS[kind](reports[kind]))
    assert bare(answer(plan)) in text
    for row in plan.assumptions:
        assert bare(row.what) in text
        assert bare(row.value) in text
        assert bare(row.source) in text
    for cost in (plan.rent, plan.own):
        assert cost is not None
        assert all(bare(line.source) in text and bare(line.how) in text for line in cost.lines)
    assert all(bare(value) in text for value in plan.provenance.values())
    assert bare('model = "llama3.1-8b"') in text


@pytest.mark.parametrize("kind", ["html", "pdf", "md"])
def test_figures_in_prose_are_the_plans(plan: Plan, reports: dict[str, bytes], kind: str) -> None:
    text = bare(READERS[kind](reports[kind]))
    for cost in (plan.rent, plan.own):
        assert cost is not None
        for line in cost.lines:
            for usd in (line.low, line.expected, line.high):
                assert bare(dollars(usd)) in text
        assert bare(dollars(cost.low)) in text
        assert bare(dollars(cost.high)) in text
    for name, interval in plan.intervals.items():
        assert bare(OUTCOME_TEXTS[name](interval.low)) in text
        assert bare(OUTCOME_TEXTS[name](interval.high)) in text
    assert bare(plan.card_explanation) in text


@pytest.mark.parametrize("kind", ["html", "pdf", "xlsx", "md"])
def test_plans_stand_side_by_side(plan: Plan, hostile_plan: Plan, reports: dict[str, bytes], kind: str) -> None:
    text = bare(READERS[kind](reports[kind]))
    for one in (plan, hostile_plan):
        assert bare(clean(one.name)) in text
        assert bare(answer(one)) in text


def test_the_page_for_the_board_is_one_page(plan: Plan, hostile_plan: Plan) -> None:
    for plans in ([plan], [plan] * 3):
        pages = pypdf.PdfReader(io.BytesIO(write_report(plans, "pdf"))).pages
        first, second = (" ".join(page.extract_text().split()) for page in pages[:2])
        assert "How long, how much" in first
        assert "before you sign" in first
        assert "From first day to last" in second


def test_pdf_is_tagged_described_and_holds_its_fonts(reports: dict[str, bytes]) -> None:
    reader = pypdf.PdfReader(io.BytesIO(reports["pdf"]))
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    assert reader.metadata is not None
    assert reader.metadata.creation_date is None
    for page in reader.pages:
        for font in page["/Resources"].get("/Font", {}).values():
            [inner] = font.get_object()["/DescendantFonts"]
            assert set(inner.get_object()["/FontDescriptor"]) & {"/FontFile2", "/FontFile3"}
    assert not any("/URI" in str(note.get_object()) for page in reader.pages for note in page.get("/Annots", ()))


def test_the_pdf_holds_the_plan_file_as_it_is(hostile_plan: Plan, reports: dict[str, bytes]) -> None:
    attached = pypdf.PdfReader(io.BytesIO(reports["pdf"])).attachments
    texts = {content.decode() for contents in attached.values() for content in contents}
    assert plan_file_text(hostile_plan.request) in texts


def test_hostile_names_are_text_in_html(reports: dict[str, bytes]) -> None:
    page = Page(reports["html"].decode())
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "b "}
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert bare(clean(HOSTILE)) in bare(page.text)
    assert "49" not in re.findall(r"\{\{ (\d+)", page.text)


def test_hostile_names_are_text_in_pdf(reports: dict[str, bytes]) -> None:
    text = bare(pdf_text(reports["pdf"]))
    for part in ("=HYPERLINK(", "<script>alert(1)</script>", "#import", "$x^2$", "*b*", "[l](u)", "{{7*7}}"):
        assert part in text
    assert "/JavaScript" not in str(pypdf.PdfReader(io.BytesIO(reports["pdf"])).trailer["/Root"])


def test_hostile_names_are_text_in_the_workbook(reports: dict[str, bytes]) -> None:
    book = openpyxl.load_workbook(io.BytesIO(reports["xlsx"]))
    texts = [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.data_type == "s"]
    assert any(cell.value == clean(HOSTILE) for cell in texts)
    formulas = [cell.value for sheet in book for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]
    assert formulas
    assert not any(word in formula for formula in formulas for word in ("HYPERLINK", "@", '"', "!SUM("))
    parts = xlsx_parts(reports["xlsx"])
    assert not any("hyperlink" in name.lower() or "externalLink" in name for name in parts)
    assert not any("<hyperlink" in part for part in parts.values())


def test_hostile_names_are_text_in_markdown(reports: dict[str, bytes]) -> None:
    """Without a Markdown library: every character that opens anything stands behind a backslash."""
    text = reports["md"].decode()
    outside = re.sub(r"^(`{3,})toml\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    ours = re.sub(r"<br>|\*\*|^# |^## |^\||\|$| \| |-{3}:?|^\*|\*$", "", outside, flags=re.MULTILINE)
    naked = re.sub(r"\\[!-/:-@\[-`{-~]", "", ours)
    assert not set(naked) & set("`*_[]<>|#$~{}")
    assert outside.count("import") >= 1
    for is_table, lines in itertools.groupby(outside.splitlines(), key=lambda line: line.startswith("| ")):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert not is_table or len(bars) == 1  # no name adds a column


def test_hostile_names_are_text_in_csv(reports: dict[str, bytes]) -> None:
    rows = list(csv.reader(io.StringIO(reports["csv"].decode())))
    assert {len(row) for row in rows} == {9}
    for cell in (cell for row in rows for cell in row):
        try:
            float(cell)
        except ValueError:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert any(row[0] == "'" + clean(HOSTILE) for row in rows)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_control_characters(reports: dict[str, bytes], kind: str) -> None:
    text = reports[kind].decode() if kind == "json" else READERS[kind](reports[kind])
    assert not re.search("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\uffff]", text)


def test_a_name_in_a_script_without_a_font_still_prints(plan: Plan) -> None:
    for name in ("漢字", "\U00010900", "नमस्ते", "مرحبا", "\U0001f680"):
        assert write_report([replace(plan, name=name)], "pdf").startswith(b"%PDF")


def test_every_csv_row_has_a_source_and_the_files_it_names_are_there(plan: Plan, hostile_plan: Plan) -> None:
    rows = csv_rows(write_report([plan, hostile_plan], "csv", date="2026-01-05"))
    assert [row for row in rows if not row["source"].strip()] == []
    named = {name for row in rows for name in re.findall(r"\b(?:sim|planner|docs)/\w+\.(?:py|md)\b", row["source"])}
    assert {"sim/step.py", "docs/model.md", "docs/campaign.md"} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []
    of = {(row["group"], row["item"]): row["source"] for row in rows if row["plan"] == plan.name}
    assert of["outcome", "tokens"] == of["plan file", "line 1"] == "plan file"


def test_csv_numbers_are_the_plans_to_the_last_digit(plan: Plan) -> None:
    rows = {(row["group"], row["item"]): row for row in csv_rows(write_report([plan], "csv"))}
    for name, interval in plan.intervals.items():
        row = rows["outcome", name]
        assert (float(row["low"]), float(row["value"]), float(row["high"])) == (
            interval.low,
            interval.expected,
            interval.high,
        )
    assert plan.rent is not None
    for line in plan.rent.lines:
        row = rows["rent", line.name]
        assert (float(row["low"]), float(row["value"]), float(row["high"])) == (line.low, line.expected, line.high)
    assert float(rows["electricity bill", "in all"]["value"]) == plan.bill.total_usd


def test_the_plan_file_of_a_report_gives_the_plans_request_back(hostile_plan: Plan) -> None:
    found = json.loads(write_report([hostile_plan], "json"))
    assert parse_plan_request(found["plan_file"], source="a test") == hostile_plan.request
    rows = [row for row in csv_rows(write_report([hostile_plan], "csv")) if row["group"] == "plan file"]
    lines = [row["value"].removeprefix("'") for row in rows]
    assert lines == found["plan_file"].splitlines()


def test_one_sentence_for_what_cannot_be(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="at least one plan"):
        write_report([])
    with pytest.raises(InputError, match=r"format 'xls' cannot be written.*did you mean 'xlsx'\?"):
        write_report([plan], "xls")
    for date in ("2031-13-01", "tomorrow", "20310506", "2031-W01-1"):
        with pytest.raises(InputError, match="a day such as"):
            write_report([plan], "md", date=date)
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "typst":
            raise ModuleNotFoundError("No module named 'typst'", name="typst")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"a pdf report needs typst: pip install 'herdplan\[report\]'"):
        write_report([plan], "pdf")
