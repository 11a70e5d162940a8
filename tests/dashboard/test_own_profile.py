"""A profile that a person brings: the plans of that session stand on it, as those of the command line do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.plans import asked_of, report_of
from dashboard.scenarios import read_upload
from dashboard.uploads import UploadedProfile
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request
from planner.report.plan_text import plan_file_text
from planner.report.words import answer
from profiler.files import InputError
from profiler.profile import Profile
from tests.dashboard.conftest import PAGES, texts
from tests.planner.profiles import BLOCK, PLAN, metered, taken

Start = Callable[..., AppTest]

OWN = taken(BLOCK, metered("matmul", 640.0), metered("copy", 420.0), idle_power_w=110.0)


@pytest.fixture
def measured(tmp_path: Path) -> Plan:
    """The plan as the command line makes it, from files."""
    OWN.write(tmp_path / "mine.json")
    overrides = [("cluster.profile", str(tmp_path / "mine.json"))]
    return make_plan(plan_request(PLAN, overrides, source="test"))


def bring(app: AppTest, profile: Profile) -> AppTest:
    app.switch_page("app_pages/profile.py").run()
    uploader = app.file_uploader(key="profile_upload")
    return uploader.upload("mine.json", profile.to_json().encode(), "application/json").run()


def with_plan(app: AppTest) -> AppTest:
    text = plan_file_text(plan_request(PLAN, [], source="test"))
    return app.file_uploader(key="upload").upload("plan.toml", text.encode(), "application/toml").run()


def test_plans_of_the_session_stand_on_it_as_on_the_command_line(start: Start, measured: Plan) -> None:
    app = bring(with_plan(start()), OWN)
    assert not app.exception
    assert "Every plan for this GPU stands on it now" in texts(app)
    assert "As measured: mine.json" in texts(app)
    app.switch_page("app_pages/overview.py").run()
    assert answer(measured) in texts(app).replace("&#8288;", "")
    assert measured.main_phase.origin == "measured"


def test_without_it_plans_are_predicted_again_and_other_sessions_never_were(start: Start, measured: Plan) -> None:
    other, app = with_plan(start()), bring(with_plan(start()), OWN)
    predicted = answer(make_plan(plan_request(PLAN, [], source="test")))
    assert predicted != answer(measured)
    assert predicted in texts(other.run()).replace("&#8288;", "")
    next(button for button in app.button if button.label == "Plan without it").click().run()
    assert "As measured" not in texts(app)
    assert predicted in texts(app.switch_page("app_pages/overview.py").run()).replace("&#8288;", "")


@pytest.mark.parametrize("page", [page for page in PAGES if page != "overview"])
def test_every_page_shows_plans_that_stand_on_it(start: Start, page: str) -> None:
    app = bring(with_plan(start(timeline="True")), OWN).switch_page(f"app_pages/{page}.py").run()
    assert not app.exception
    assert "As measured: mine.json" in texts(app)
    assert "class='hp-problem'" not in texts(app)


def test_another_gpus_profile_is_shown_and_not_planned_with(start: Start) -> None:
    other = replace(OWN, provenance=replace(OWN.provenance, gpu="h200-sxm", device="NVIDIA H200"))
    app = bring(start(), other)
    assert "This profile is of NVIDIA H200; the plan is for H100 SXM 80 GB." in texts(app)
    assert "As measured" not in texts(app)


def test_documents_stand_on_it_and_name_its_file(measured: Plan) -> None:
    own = UploadedProfile(name="mine.json", profile=OWN)
    plan = make_plan(own.named_in(plan_request(PLAN, [], source="test")), OWN)
    assert plan.days == measured.days
    assert 'profile = "mine.json"' in plan_file_text(plan.request)
    document = report_of((asked_of(plan),), "md").decode()
    assert "mine.json" in document


def test_a_plan_file_that_names_it_comes_back_and_one_that_names_another_does_not() -> None:
    own = UploadedProfile(name="mine.json", profile=OWN)
    text = plan_file_text(own.named_in(plan_request(PLAN, [], source="test"))).encode()
    assert not read_upload(text, "plan.toml", "mine.json").cluster.profile
    for brought in ("", "other.json"):
        with pytest.raises(InputError, match=r"plan.toml names the profile 'mine.json'; bring that to the page"):
            read_upload(text, "plan.toml", brought)
