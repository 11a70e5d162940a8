"""Every page runs, follows its widgets and its address, and explains what cannot be."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.scenarios import base
from planner.plan import make_plan
from planner.quantities import money
from planner.report.words import answer
from tests.dashboard.conftest import PAGES, texts

Start = Callable[..., AppTest]

GOOD = b'name = "Mine"\nmodel = "llama3.1-8b"\ntokens = "2T"\n[cluster]\ngpus = 512\n[site]\ngrid = "NOR"\n'


@pytest.mark.parametrize("page", PAGES)
def test_page_runs(start: Start, page: str) -> None:
    app = start(page)
    assert not app.exception
    assert "hp-answer" in texts(app)


def test_first_page_answers_with_the_published_plan(start: Start) -> None:
    said = texts(start()).replace("&#8288;", "")
    assert answer(make_plan(base("405b"))) in said
    for key in ("8b", "70b"):
        assert money(make_plan(base(key)).cost.expected) in said


def test_a_slider_changes_the_answer_and_the_address(start: Start) -> None:
    app = start("power")
    before = texts(app)
    app.slider(key="pue").set_value(1.6).run()
    assert not app.exception
    assert texts(app) != before
    assert app.query_params["pue"] == "1.6"


@pytest.mark.parametrize(("key", "value"), [("gpus_405b", 8192), ("price_usd_per_gpu_hour", 2.5)])
def test_a_number_changes_the_answer(start: Start, key: str, value: float) -> None:
    app = start()
    before = texts(app)
    app.number_input(key=key).set_value(value).run()
    assert not app.exception
    assert texts(app) != before


def test_the_address_restores_a_state(start: Start) -> None:
    app = start(model="70b", gpus_70b="2048", gpu="h200-sxm", grid="NOR", mode="own", tokens_70b="10T")
    assert not app.exception
    assert "Training Llama 3.1 70B on 2,048 H200 SXM 141 GB" in texts(app)
    assert "owned" in texts(app)
    assert (app.number_input(key="gpus_70b").value, app.text_input(key="tokens_70b").value) == (2048, "10T")
    assert app.selectbox(key="grid").value == "NOR"


def test_an_address_that_cannot_be_is_explained(start: Start) -> None:
    app = start(pue="abc", gpus_405b="-3", model="<script>", price_usd_per_gpu_hour="nan", unknown="1")
    assert not app.exception
    said = texts(app)
    assert "something of gpus_405b, model, price_usd_per_gpu_hour, pue that cannot be" in said
    assert "<script>" not in said
    assert answer(make_plan(base("405b"))) in said.replace("&#8288;", "")


@pytest.mark.parametrize("page", ["overview", "money"])
def test_what_cannot_be_planned_is_a_sentence(start: Start, page: str) -> None:
    app = start(page, gpus_405b="8")
    assert not app.exception
    assert "There is no plan for Llama 3.1 405B" in texts(app)
    assert "hp-problem" in texts(app)


def test_unreadable_tokens_are_a_sentence(start: Start) -> None:
    app = start()
    app.text_input(key="tokens_405b").set_value("<b>lots</b>").run()
    assert not app.exception
    assert "The number of tokens is &#x27;&lt;b&gt;lots" in texts(app)


def test_values_survive_another_model_and_another_page(start: Start) -> None:
    app = start()
    app.number_input(key="gpus_405b").set_value(8192).run()
    app.selectbox(key="model").set_value("8b").run()
    app.switch_page("app_pages/money.py").run()
    app.selectbox(key="model").set_value("405b").run()
    assert app.number_input(key="gpus_405b").value == 8192


def test_an_uploaded_plan_becomes_the_chosen_one(start: Start) -> None:
    app = start()
    app.file_uploader(key="upload").upload("mine.toml", GOOD, "application/toml").run()
    assert not app.exception
    assert "Training Llama 3.1 8B on 512 H100" in texts(app)
    assert (app.selectbox(key="model").value, app.selectbox(key="grid").value) == ("uploaded", "NOR")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"model = ", "not readable as TOML"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"x" * 300_000, "at most 256 KiB"),
        (b'model = "llama3.1-8b"\ntokens = "-1"', "tokens"),
        (b'model = "/etc/passwd.toml"\ntokens = "1T"', "only use what the catalogue holds"),
        (b"a = " + b"[" * 5000, "mine.toml"),
        (b'model = "llama3.1-8b"\ntokens = "1T"\nreplicas = 100000000', "more than this page plans"),
    ],
)
def test_a_bad_upload_is_explained(start: Start, content: bytes, sentence: str) -> None:
    app = start()
    app.file_uploader(key="upload").upload("mine.toml", content, "application/toml").run()
    assert not app.exception
    assert sentence in texts(app)
    assert answer(make_plan(base("405b"))) in texts(app).replace("&#8288;", "")


def test_trust_filters_assumptions_by_kind(start: Start) -> None:
    app = start("trust")
    assert "Grid intensity" in texts(app)
    app.pills[0].set_value(["assumed"]).run()
    assert "Grid intensity" not in texts(app)
    assert "PUE" in texts(app)
