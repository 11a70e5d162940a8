"""What a person sees stays whole on a narrow terminal: no word cut, nothing wrapped under something else."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from planner.decide.diff import diff_plans
from planner.decide.pareto import Contender, compare
from planner.decide.power_cap import sweep_caps
from planner.decide.site_text import print_caps, print_money
from planner.decide.text import print_diff
from planner.money.cashflow import cash_flow
from planner.plan import make_plan
from planner.plan_file import plan_request
from planner.progress import Counted, Left
from planner.search.request import search_request
from planner.search.text import print_comparison, print_search
from planner.terminal import NEXT, next_steps, print_plans

WIDTHS = [80, 100, 120, 200]
CUT = "…"


def page(width: int) -> tuple[Console, StringIO]:
    text = StringIO()
    return Console(width=width, file=text), text


@pytest.mark.parametrize("width", WIDTHS)
def test_what_to_do_next_never_goes_on_under_the_commands(width: int) -> None:
    screen, text = page(width)
    screen.print(next_steps())
    lines = text.getvalue().splitlines()
    assert [line for line in lines if line.startswith("  herdplan ")] == [
        line for line in lines if line.strip().startswith("herdplan")
    ]
    assert all(line.startswith("  ") for line in lines)
    assert " ".join(text.getvalue().split()) == " ".join(f"{command} {what}" for command, what in NEXT)


def test_what_is_assumed_is_listed_by_names_that_keep_their_capitals_and_commas(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = {"model": "llama3.1-8b", "tokens": "100B", "cluster": {"gpus": 64}}
    plan = make_plan(plan_request(data, source="test"))
    print_plans([plan], None)
    listed = " ".join(capsys.readouterr().out.split()).partition(" Assumed: ")[2].partition(". Sources")[0]
    assumed = [row.what for row in plan.assumptions if row.kind == "assumed"]
    assert {"Batch, pre-training", "PUE", "GPU power in communication and waiting"} <= set(assumed)
    assert [name.lower() for name in listed.split("; ")] == [name.lower() for name in assumed]
    for name in ("; PUE;", "; GPU power in", "batch, pre-training;"):
        assert name in listed


@pytest.mark.parametrize(("tokens", "gpus"), [("20M", 8), ("5B", 64), ("15T", 1024)])
def test_energy_and_emissions_keep_their_digits_however_small(
    capsys: pytest.CaptureFixture[str], tokens: str, gpus: int
) -> None:
    data = {"model": "llama3.1-8b", "tokens": tokens, "cluster": {"gpus": gpus}}
    plan = make_plan(plan_request(data, source="test"))
    print_plans([plan], None)
    rows = [line.strip(" │").split("│") for line in capsys.readouterr().out.splitlines() if line.count("│") >= 2]
    texts = [(row[0].strip(), row[1].split()) for row in rows]
    mwh = {"kWh": 1e-3, "MWh": 1.0, "GWh": 1e3}
    [(number, unit)] = [text for label, text in texts if label == "Electricity"]
    assert float(number.replace(",", "")) * mwh[unit] == pytest.approx(plan.energy_mwh.expected, rel=5e-3)
    [at] = [n for n, (label, _) in enumerate(texts) if label == "Electricity"]
    low, low_unit, _, high, high_unit = texts[at + 1][1]
    assert float(low.replace(",", "")) * mwh[low_unit] == pytest.approx(plan.energy_mwh.low, rel=5e-2)
    assert float(high.replace(",", "")) * mwh[high_unit] == pytest.approx(plan.energy_mwh.high, rel=5e-2)
    for label, tonnes in (
        ("Emissions", plan.carbon.location_based_tco2e),
        ("by the card's TDP rule", plan.tdp_accounting_tco2e),
    ):
        [(number, unit)] = [text for name, text in texts if name == label]
        assert unit == "tCO2e"
        assert float(number.replace(",", "")) == pytest.approx(tonnes, rel=5e-3)


@pytest.mark.parametrize(
    ("money", "said"), [({}, False), ({"owned_gpus": 8}, True), ({"owned_gpus": 8, "mode": "mixed"}, False)]
)
def test_owned_gpus_that_count_for_nothing_are_said(
    capsys: pytest.CaptureFixture[str], money: dict[str, Any], said: bool
) -> None:
    data = {"model": "llama3.1-8b", "tokens": "5B", "cluster": {"gpus": 64}, "money": money}
    plan = make_plan(plan_request(data, source="test"))
    print_plans([plan], None)
    print_money(plan, [("rented", plan.cost)], cash_flow(plan))
    assert (
        capsys.readouterr().out.count("Note: money.owned_gpus is 8 and counts only with money.mode mixed") == 2 * said
    )


CONTENDERS = [
    Contender(
        gpu=gpu,
        gpus=16_384,
        layout=f"TP8 CP2 PP16 VP8 DP{dp}, micro-batch 1, zero1, recompute selective, not sequence-parallel",
        tokens_per_step=16.8e6,
        days=days,
        cost_usd=83e6,
        energy_mwh=24_900,
        emissions_tco2e=9_220,
        mfu=0.514,
    )
    for gpu, dp, days in (("h200-sxm", 64, 59.7), ("h100-sxm", 32, 60.7))
]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("front_only", [True, False])
def test_clusters_are_compared_without_a_word_cut_or_a_column_without_a_name(width: int, front_only: bool) -> None:
    screen, text = page(width)
    print_comparison(compare(CONTENDERS), front_only=front_only, screen=screen)
    said = text.getvalue()
    assert CUT not in said
    header = next(line for line in said.splitlines() if "┃" in line)
    assert all(name.strip() for name in header.strip("┃ ").split("┃"))
    assert CONTENDERS[0].layout in " ".join(said.split())
    assert ("beaten by 16,384 x h200-sxm" in " ".join(said.split())) == (not front_only)


@pytest.mark.parametrize("width", WIDTHS)
def test_layouts_are_ranked_without_a_word_cut(width: int) -> None:
    asked: dict[str, Any] = {"model": "llama3.1-405b", "tokens": "1T", "cluster.gpus": 16_384}
    screen, text = page(width)
    result = search_request(plan_request({}, list(asked.items()), source="test"), 3)
    print_search(result, screen)
    said = text.getvalue()
    assert CUT not in said
    header = next(line for line in said.splitlines() if "layout" in line and "┃" in line)
    assert all(name.strip() for name in header.strip("┃ ").split("┃"))
    words = set(said.split())
    assert "network 400 Gb/s per GPU, InfiniBand NDR" in " ".join(said.split())
    assert "MFU of 989 TFLOP/s" in " ".join(said.split())
    assert all(set(layout.reason.split()) <= words for layout in result.layouts)


def test_a_bar_says_what_is_left_once_it_knows() -> None:
    live = Progress(console=page(80)[0])
    live.add_task("clusters", total=None)
    [task] = live.tasks
    assert (Counted().render(task).plain, Left().render(task).plain) == ("0", "")
    live.update(task.id, total=12)
    assert (Counted().render(task).plain, Left().render(task).plain) == ("0/12", "")
    live.update(task.id, completed=12)
    assert (Counted().render(task).plain, Left().render(task).plain) == ("12/12", "about 0:00:00 left")


@pytest.mark.parametrize("width", WIDTHS)
def test_caps_stand_one_a_line_with_the_best_and_those_over_the_limit_marked(width: int) -> None:
    asked: dict[str, Any] = {"model": "llama3.1-70b", "tokens": "15T", "cluster.gpus": 4096}
    request = plan_request({}, [*asked.items(), ("site.power_limit_mw", 3.9)], source="test")
    sweep = sweep_caps(request, caps_w=[400, 500, 600])
    screen, text = page(width)
    print_caps(sweep, screen)
    rows = [line for line in text.getvalue().splitlines() if line.startswith("│")]
    for row, option in zip(rows, reversed(sweep.options), strict=True):
        assert f"{option.cap_w:.0f} W" in row
        assert ("*" in row) == (option is sweep.best)
        assert ("!" in row) == (not option.keeps_limit)
    assert {option.keeps_limit for option in sweep.options} == {True, False}
    assert "* best for cost; ! over the site's limit" in text.getvalue()


def test_a_plan_says_how_it_is_laid_out_and_in_steps_of_how_many_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    training = {"global_batch": 256, "layout": {"tp": 4, "pp": 2, "recompute": "full"}}
    data = {"model": "llama3.1-8b", "tokens": "100B", "cluster": {"gpus": 64}, "training": training}
    print_plans([make_plan(plan_request(data, source="test"))], None)
    rows = {
        row[0].strip(): row[1].strip()
        for line in capsys.readouterr().out.splitlines()
        if (row := line.split("│")[1:])
    }
    assert rows["of tokens"] == "2.10 M"
    assert rows["laid out as"] == "TP4 PP2 DP8"


@pytest.mark.parametrize("width", WIDTHS)
def test_changes_stand_whole_beside_what_they_do_and_refusals_below_them(width: int) -> None:
    base: dict[str, Any] = {"model": "llama3.1-8b", "tokens": "100B", "cluster": {"gpu": "a100-80gb", "gpus": 64}}
    other = {**base, "cluster": {"gpu": "h100-sxm", "gpus": 64}, "training": {"precision": "fp8"}, "seed": 2}
    screen, text = page(width)
    print_diff(diff_plans(*(make_plan(plan_request(data, source="test")) for data in (base, other))), screen)
    said = text.getvalue()
    changes = said[said.index("Each change alone") : said.index("Assumptions that differ")]
    cells = [line.split("│")[1].strip() for line in changes.splitlines() if line.startswith("│")]
    assert " ".join(cells) == 'seed 1 → 2 cluster.gpu "a100-80gb" → "h100-sxm"'
    assert "training.precision not alone: precision is fp8, but A100 SXM 80 GB has no fp8" in " ".join(
        changes.split()
    )
