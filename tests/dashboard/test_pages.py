"""Every page runs, follows its widgets and its address, and explains what cannot be."""

import re
import time
from collections.abc import Callable
from datetime import date
from html import escape

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.controls import for_page
from dashboard.scenarios import base
from planner.plan import make_plan
from planner.plan_file import plan_request
from planner.quantities import money
from planner.report.words import answer
from planner.runs.rows import PUBLISHED_RUNS, published_runs
from profiler.files import InputError
from tests.dashboard.conftest import PAGES, texts
from tests.dashboard.test_uploads import profile_text

Start = Callable[..., AppTest]

GOOD = b'name = "Mine"\nmodel = "llama3.1-8b"\ntokens = "2T"\n[cluster]\ngpus = 512\n[site]\ngrid = "NOR"\n'


def opened(app: AppTest) -> AppTest:
    """The page with everything open that can be opened."""
    for box in app.expander:
        if box.proto.id:
            app.session_state[box.proto.id.split("-", 2)[2]] = True
    return app.run()


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
    assert (
        "asks for what cannot be (GPUs of Llama 3.1 405B “-3”, Model “&lt;script&gt;”, "
        "Price [USD per GPU-hour] “nan”, PUE “abc”)" in said
    )
    assert "names what this page does not have (“unknown”)" in said
    assert "<script>" not in said
    assert answer(make_plan(base("405b"))) in said.replace("&#8288;", "")
    assert "cannot be" not in texts(app.slider(key="pue").set_value(1.3).run())


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


def test_another_gpu_takes_gpus_that_can_be_planned_and_the_way_back_ends_where_it_began(start: Start) -> None:
    app = start()
    keys = ("gpus_8b", "gpus_70b", "gpus_405b")
    app.number_input(key="gpus_405b").set_value(2_016).run()  # 63 stages of 32
    before = [app.session_state[key] for key in keys]
    app.number_input(key="price_usd_per_gpu_hour").set_value(5.0).run()
    app.selectbox(key="gpu").set_value("gb200").run()
    there = [app.session_state[key] for key in keys]
    assert [count % 64 for count in there] == [0, 0, 0]  # of the 72 in each rack
    assert there[:2] == before[:2]
    assert f"on {there[2]:,} GB200" in texts(app)
    assert "no layout" not in texts(app).lower()
    assert "8 of the 72 in each node, stay idle" in texts(app)
    app.selectbox(key="gpu").set_value("b200-sxm").run()
    assert [app.session_state[key] for key in keys] == before
    app.selectbox(key="gpu").set_value("gb200").run()
    app.number_input(key="gpus_405b").set_value(9216).run()
    app.selectbox(key="gpu").set_value("h100-sxm").run()
    assert [app.session_state[key] for key in keys] == [*before[:2], 9216]


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
        (b'model = "llama3.1-8b"\ntokens = "1T"\nreplicas = 999', "more than this page plans"),
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


@pytest.mark.parametrize("page", PAGES)
def test_every_table_opens(start: Start, page: str) -> None:
    app = start(page, model="8b")
    there = len(app.dataframe)
    boxes = [box for box in app.expander if box.label == "Table"]
    assert boxes or page == "compare"
    assert len(opened(app).dataframe) >= there + len(boxes)
    assert not app.exception
    assert all(len(frame.value) for frame in app.dataframe)


def test_every_assumption_can_be_read_beside_any_page(start: Start) -> None:
    app = start("money")
    assert "Grid intensity" not in texts(app)
    app.button(key="all_assumptions").click().run()
    assert not app.exception
    plan = make_plan(base("405b"))
    assert all(escape(row.source) in texts(app) for row in plan.assumptions)


def test_both_clouds_of_runs_have_their_table(start: Start) -> None:
    app = start("trust")
    assert not app.dataframe
    tables = [frame.value for frame in opened(app).dataframe if "Error [%]" in frame.value.columns]
    assert [len(table) for table in tables] == [len(published_runs())] * 2
    table = tables[0]
    said = (100 * (table["Predicted [s]"] / table["Published [s]"] - 1)).round(1)
    assert (said - table["Error [%]"]).abs().max() < 0.11
    assert table["Error [%]"].abs().is_monotonic_decreasing


def test_a_page_offers_no_file_of_the_machine(start: Start) -> None:
    app = start()
    content = b'model = "llama3.1-9b"\ntokens = "1T"\n[cluster]\ngpu = "h100-sxm"\ngpus = 8'
    app.file_uploader(key="upload").upload("mine.toml", content, "application/toml").run()
    assert "llama3.1-8b" in texts(app)
    assert ".toml file" not in texts(app)


def test_a_sentence_names_the_control_that_the_page_has() -> None:
    data = {"model": "llama3.1-8b", "tokens": "1T", "cluster": {"gpu": "gb200", "gpus": 576}}
    with pytest.raises(InputError, match=r"money\.price_usd_per_gpu_hour=1") as caught:
        make_plan(plan_request({**data, "training": {"global_batch": 576}}, source="test"))
    said = for_page(str(caught.value))
    assert "“Price [USD per GPU-hour]”" in said
    assert "--set" not in said
    assert "money." not in said


@pytest.mark.parametrize("mode", ["rent", "own"])
def test_the_lines_of_a_cost_have_one_unit(start: Start, mode: str) -> None:
    said = texts(start("money", mode=mode))
    lines = "".join(re.findall("<td class=n>[^<]*</td>", said))
    assert "Expected [USD]" in said
    assert lines
    assert not re.search("[$kM]", re.sub("<[^>]*>", "", lines))


def test_a_deadline_is_answered_and_told_in_the_address(start: Start) -> None:
    app = start("duration", model="8b")
    app.date_input(key="deadline").set_value(date(2099, 1, 1)).run()
    assert not app.exception
    assert "100 % of cases are done by then" in texts(app)
    assert app.query_params["deadline"] == "2099-01-01"


def test_the_timeline_is_drawn_on_demand(start: Start) -> None:
    app = start("duration", model="8b")
    tables = len(app.expander)
    app.toggle(key="timeline").set_value(True).run()
    assert not app.exception
    assert len(app.expander) == tables + 1
    assert any("Waiting [s]" in frame.value.columns for frame in opened(app).dataframe)


def test_a_what_if_slider_changes_its_answer_alone(start: Start) -> None:
    app = start("matters")
    assert texts(app).count("as planned") == 4
    app.slider(key="x_rent_price").set_value(1.5).run()
    assert not app.exception
    assert texts(app).count("as planned") == 3
    assert "+49." in texts(app) or "+50.0 %" in texts(app)
    assert app.query_params["x_rent_price"] == "1.5"
    app.switch_page("app_pages/overview.py").run()
    assert answer(make_plan(base("405b"))) in texts(app).replace("&#8288;", "")


def test_scenarios_are_saved_compared_opened_and_forgotten(start: Start) -> None:
    app = start("overview", model="8b", grid="NOR")
    app.text_input(key="scenario_name").set_value("<b>North</b>").run()
    _press(app, "Save beside others")
    app.selectbox(key="grid").set_value("POL").run()
    app.switch_page("app_pages/compare.py").run()
    assert not app.exception
    said = texts(app)
    assert "Of 2 scenarios" in said
    assert "&lt;b&gt;North&lt;/b&gt;" in said
    assert "<b>North" not in said
    assert {"Norway", "Poland"} <= {place for place in ("Norway", "Poland") if place in said}
    again = start("compare", **app.query_params)
    assert "Of 2 scenarios" in texts(again)
    _press(app, "Open")
    assert app.selectbox(key="grid").value == "NOR"
    _press(app, "Remove")
    assert "Nothing is saved yet" in texts(app)


def test_a_saved_scenario_that_cannot_be_is_explained(start: Start) -> None:
    app = start("compare", model="8b", saved="name=x&pue=99")
    assert not app.exception
    assert "asks for what cannot be: PUE." in texts(app)


def test_a_layout_of_the_address_is_planned_and_undone(start: Start) -> None:
    text = "tp8_cp1_pp16_vp4_b1_zero1_selective"
    app = start("layouts", layout_405b=text)
    assert not app.exception
    assert "TP8 PP16 VP4 DP128, micro-batch 1, zero1, recompute selective" in texts(app)
    _press(app, "Undo the layout picked")
    assert "recompute selective." not in texts(app)
    assert "layout_405b" not in app.query_params


def test_a_layout_that_cannot_be_built_is_a_sentence(start: Start) -> None:
    app = start("layouts", layout_405b="tp7_cp1_pp16_vp4_b1_zero1_none")
    assert not app.exception
    assert "hp-problem" in texts(app)


def test_an_uploaded_profile_is_shown_and_stays_in_its_session(start: Start) -> None:
    app, other = start("profile"), start("profile")
    app.file_uploader(key="profile_upload").upload("mine.json", profile_text().encode(), "application/json").run()
    assert not app.exception
    assert "your profile" in texts(app)
    assert "computed, not measured: no plan stands on it" in texts(app)
    assert "your profile" not in texts(other.run())


def test_a_bad_profile_and_bad_runs_are_explained(start: Start) -> None:
    app = start("profile")
    app.file_uploader(key="profile_upload").upload("<i>.json", b"{", "application/json").run()
    assert "&lt;i&gt;.json: not a whole JSON file" in texts(app)
    app = start("trust")
    app.file_uploader(key="runs_upload").upload("mine.csv", b"a,b\n1,2\n", "text/csv").run()
    assert not app.exception
    assert "mine.csv: column" in texts(app)


def test_uploaded_runs_are_predicted(start: Start) -> None:
    head, *rows = PUBLISHED_RUNS.read_text().splitlines(keepends=True)
    app = start("trust")
    app.file_uploader(key="runs_upload").upload("mine.csv", (head + "".join(rows[:12])).encode(), "text/csv").run()
    assert not app.exception
    assert "Published" in texts(app)
    assert "Predicted" in texts(app)


def test_long_work_shows_its_result(start: Start) -> None:
    app = start("duration", model="8b")
    _press(app, "Simulate 50 campaigns")
    job = app.session_state["job_replicas"]
    deadline = time.monotonic() + 60
    while not job.ended and time.monotonic() < deadline:
        time.sleep(0.05)
    app.run()
    assert not app.exception
    assert "Every campaign" in [expander.label for expander in app.expander]


def test_mixed_ownership_of_an_uploaded_plan_is_planned(start: Start) -> None:
    app = start("money")
    content = GOOD + b'[money]\nmode = "mixed"\nowned_gpus = 256\n'
    app.file_uploader(key="upload").upload("mine.toml", content, "application/toml").run()
    assert not app.exception
    assert "part owned" in texts(app)
    restored = start("money", **app.query_params)
    assert not restored.exception
    assert "part owned" in texts(restored)


def _press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()
