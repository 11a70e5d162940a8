"""What a person reads in each format, got back by other libraries than those that wrote it."""

import csv
import io
import json
import re
import zipfile
from html.parser import HTMLParser

import openpyxl
import pypdf

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and what was left open or closed twice."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def bare(text: str) -> str:
    """Text without what a page's width or a font adds: spaces and places to break."""
    return re.sub(r"[\s\u200b]+", "", text)


def pdf_text(data: bytes) -> str:
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages)


def xlsx_text(data: bytes) -> str:
    book = openpyxl.load_workbook(io.BytesIO(data), data_only=True)
    cells = (cell.value for sheet in book for row in sheet.iter_rows() for cell in row)
    return "\n".join(str(value) for value in cells if value is not None)


def markdown_text(data: bytes) -> str:
    """What CommonMark makes of backslashes and of what this report itself uses."""
    text = data.decode().replace("**", "").replace("<br>", " ")
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)


def csv_rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def json_text(data: bytes) -> str:
    return json.dumps(json.loads(data), ensure_ascii=False)


READERS = {
    "html": lambda data: Page(data.decode()).text,
    "pdf": pdf_text,
    "xlsx": xlsx_text,
    "md": markdown_text,
    "csv": lambda data: data.decode(),
    "json": json_text,
}


def xlsx_parts(data: bytes) -> dict[str, str]:
    """The files within a workbook."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}
