"""The planner's sentences in the words of the page."""

import pytest

from dashboard.controls import for_page
from planner.plan import make_plan
from planner.plan_file import plan_request
from profiler.files import InputError

PLAN = {"model": "llama3.1-8b", "tokens": "1T", "cluster": {"gpus": 512}}


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"cluster": {"gpus": 20}}, "“GPUs” is 20"),
        ({"tokens": "1M"}, "“Tokens” is 1.00 M"),
        ({"money": {"mode": "mixed", "owned_gpus": 9999}}, "“GPUs owned” is 9999"),
        ({"site": {"power_limit_mw": 0.1}}, "the site may draw 0.1 MW"),
        ({"training": {"layout": {"tp": 3}}}, "TP is 3"),
        ({"training": {"layout": {}}, "cluster": {"gpus": 1}}, "undo the layout picked to have one searched"),
        ({"money": {"vendor": "Nobody"}}, "set “Price [USD per GPU-hour]” to your own."),
    ],
)
def test_a_refusal_names_what_the_page_has(stated: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(plan_request({**PLAN, **stated}, source="test"))
    said = for_page(str(caught.value))
    assert words in said
    assert words not in str(caught.value)
    assert not any(key in said for key in ("_mw", "_gpus", "[training", "--set", "money."))


def test_a_note_names_what_the_page_has() -> None:
    notes = make_plan(plan_request({**PLAN, "site": {"grid": "NOR"}}, source="test")).notes
    assert any("site.tariff" in note for note in notes)
    assert not any("site." in for_page(note) for note in notes)
    assert any("“Electricity [USD per kWh]” takes a price" in for_page(note) for note in notes)


def test_commands_and_files_stay_as_they_are() -> None:
    command = "herdplan-profile run --model llama3.1-8b --tp 8 would measure it"
    assert for_page(command) == command
