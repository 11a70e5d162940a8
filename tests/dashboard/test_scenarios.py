"""What the dashboard asks of the planner."""

from dataclasses import replace

import pytest

from dashboard import scenarios
from dashboard.launch import APP, command
from dashboard.scenarios import MODELS, base, changed, read_upload, shared_of
from planner.plan import make_plan
from planner.plan_file import plan_request
from profiler.files import InputError


@pytest.mark.parametrize("key", MODELS)
def test_nothing_changed_is_the_published_plan(key: str) -> None:
    request = base(key)
    assert changed(request, shared_of(request), request.cluster.gpus, request.tokens) == request


@pytest.mark.parametrize("key", MODELS)
def test_plans_without_the_example_files_can_be_made(key: str) -> None:
    assert make_plan(plan_request(scenarios.PLAIN[key], source="a test")).days.expected > 1


def test_another_machine_has_its_layout_searched() -> None:
    request = base("405b")
    shared = replace(shared_of(request), gpu="b200-sxm")
    new = changed(request, shared, 8192, request.tokens)
    assert new.training.layout is None
    assert all(phase.layout is None for phase in new.phases)
    assert new.cluster.fabric == ""


def test_more_tokens_stretch_the_phases() -> None:
    request = base("405b")
    new = changed(request, shared_of(request), request.cluster.gpus, 31.2e12)
    assert sum(phase.tokens for phase in new.phases) == pytest.approx(31.2e12)


@pytest.mark.parametrize("where", ["[cluster]\nnode", "[cluster]\ngpu", "[training]\nstack", "[reliability]\nrecord"])
def test_uploads_name_no_files(where: str) -> None:
    content = f'model = "llama3.1-8b"\ntokens = "1T"\n{where} = "../../secret.toml "\n'
    with pytest.raises(InputError, match="catalogue"):
        read_upload(content.encode(), "plan.toml")


def test_long_names_are_cut() -> None:
    with pytest.raises(InputError) as caught:
        read_upload(b"=", "x" * 5000 + ".toml")
    assert len(str(caught.value)) < 300


def test_served_on_this_machine_without_telemetry() -> None:
    words = command(8600)
    settings = dict(zip(words[5::2], words[6::2], strict=True))
    assert words[4] == str(APP)
    assert settings["--server.address"] == "localhost"
    assert settings["--server.port"] == "8600"
    assert settings["--browser.gatherUsageStats"] == "false"
    assert settings["--client.showErrorDetails"] == "none"
