"""init, explain, diff, uncertainty, goal and track: what each command gives, every mistake as one sentence."""

import inspect
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from planner.cli import app
from planner.plan_file import read_plan_request

PLAN = """
model = "llama3.1-8b"
tokens = "200B"
[cluster]
gpus = 64
[training]
global_batch = 512
layout = { tp = 2 }
"""


@pytest.fixture
def plan(tmp_path: Path) -> str:
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    return str(file)


def herdplan(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def works(*words: str) -> str:
    result = herdplan(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stderr == ""
    return result.stdout


def data(*words: str) -> Any:
    return json.loads(works(*words, "--json", "-"))


def refusal(*words: str) -> str:
    result = herdplan(*words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.startswith("herdplan: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith((".\n", "?\n"))
    return result.stderr


def test_init_writes_a_file_that_plans(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    assert str(file) in works("init", str(file), "--model", "llama3.1-8b", "--tokens", "200B")
    request = read_plan_request(file)
    assert (request.model, request.tokens) == ("llama3.1-8b", 200e9)
    assert "is there already" in refusal("init", str(file))
    works("init", str(file), "--force")
    assert read_plan_request(file).model == "llama3.1-70b"
    assert works("init", "-") == file.read_text()
    assert "model 'gpt-5' is not known" in refusal("init", str(tmp_path / "x.toml"), "--model", "gpt-5")
    assert "key 'tokens'" in refusal("init", str(tmp_path / "x.toml"), "--tokens", "many")
    assert not (tmp_path / "x.toml").exists()


def test_explain_shows_keys_and_assumptions(plan: str) -> None:
    text = works("explain", plan, "--set", "site.grid=NOR")
    for words in ("cluster.gpus", "site.grid", "default", "given", "What the plan stands on", "PUE"):
        assert words in text, words
    found = data("explain", plan)
    assert {row["key"]: row["given"] for row in found["keys"]}["site.pue"] is False
    assert all(row["source"] for row in found["assumptions"])


def test_explain_follows_a_number(plan: str) -> None:
    text = works("explain", plan, "--why", "ettr")
    for words in ("Effective time ratio:", "Training", "Kernel speeds", "Planned interruptions", "(see above)"):
        assert words in text, words
    found = data("explain", plan, "--why", "days")
    assert found["what"] == "Days"
    assert found["parts"]
    assert "did you mean 'cost_usd'" in refusal("explain", plan, "--why", "cost")


def test_diff_says_what_differs_and_that_nothing_does(plan: str, tmp_path: Path) -> None:
    assert works("diff", plan, plan) == "The two plans are the same.\n"
    other = tmp_path / "other.toml"
    other.write_text(PLAN.replace("gpus = 64", "gpus = 128"))
    text = works("diff", plan, str(other))
    for words in ("Results", "Each change alone", "cluster.gpus", "Assumptions that differ", "Failures"):
        assert words in text, words
    assert data("diff", plan, str(other))["changes"][0]["keys"] == ["cluster.gpus"]


@pytest.mark.parametrize(
    ("line", "wrong", "says"),
    [
        ("[cluster]", "[cluster]\ngpu = 'h300'", "gpu 'h300' is not in the catalogue"),
        ("gpus = 64", "gpus = 100", "gpus is 100; nodes of"),
        ("[training]", "[training]\nstack = 'magic'", "stack 'magic' is not known"),
        ("tp = 2", "tp = 3", "tp is 3; it must divide the 32 heads of llama3.1-8b"),
        ("[cluster]", "seed = -1\n[cluster]", "key 'seed' is -1; input should be greater than or equal to 0"),
        ("[cluster]", "[site]\ngrid = 'Atlantis'\n[cluster]", "grid 'Atlantis' is not in the catalogue"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "report", "diff"])
def test_of_several_plans_the_one_that_cannot_be_made_is_named(
    plan: str, tmp_path: Path, command: str, line: str, wrong: str, says: str
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(PLAN.replace(line, wrong))
    assert refusal(command, plan, str(other)).startswith(f"herdplan: {other}: {says}")


@pytest.mark.parametrize("mode", ["rent", "own"])
def test_a_gpu_without_a_price_is_planned_with_the_setting_that_the_sentence_gives(plan: str, mode: str) -> None:
    words = (plan, "--set", "cluster.gpu=gb200", "--set", "cluster.gpus=36", "--set", f"money.mode={mode}")
    layout = ("--set", "training.layout.tp=4", "--set", "training.global_batch=180")
    [setting] = re.findall(r"--set (\S+=1) where", refusal("plan", *words, *layout))
    assert data("plan", *words, *layout, "--set", setting)["training_days"] > 0


def test_what_the_sentence_gives_can_be_searched(plan: str) -> None:
    words = ("search", plan, "--gpu", "gb200", "--gpus")
    said = r"one does with ([\d,]+) GPUs, or with a global_batch of (\d+)"
    [(gpus, batch)] = re.findall(said, refusal(*words, "576"))
    assert data(*words, "576", "--global-batch", batch)["evaluated"] > 0
    assert data(*words, gpus)["evaluated"] > 0


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("simulate", ()),
        ("search", ()),
        ("search", ("--gpus", "8,16")),
        ("goal", ("--budget", "1M", "--most-gpus", "8", "--workers", "1")),
        ("step", ()),
        ("place", ()),
        ("when", ()),
        ("cap", ()),
        ("money", ()),
        ("track", ("--log", "none.csv")),
        ("uncertainty", ()),
        ("explain", ()),
    ],
)
def test_every_command_names_the_plan_that_cannot_be_made(plan: str, command: str, options: tuple[str, ...]) -> None:
    assert refusal(command, plan, "--set", "training.stack=magic", *options).startswith(
        f"herdplan: {plan}: stack 'magic' is not known"
    )


def test_plans_named_alike_are_told_apart_by_file(plan: str, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(PLAN.replace("200B", "300B"))
    names = [one["name"] for one in data("plan", plan, str(other))]
    assert [name.partition(" (")[2] for name in names] == [f"{plan})", f"{other})"]
    assert data("diff", plan, str(other))["names"] == names
    other.write_text(PLAN.replace("gpus = 64", "gpus = 128"))
    assert [one["name"] for one in data("plan", plan, str(other))] == [
        "llama3.1-8b on 64 x H100 SXM 80 GB",
        "llama3.1-8b on 128 x H100 SXM 80 GB",
    ]


def test_simulate_says_where_a_plan_has_another_replica(plan: str) -> None:
    said = "One replica; herdplan plan takes that of median length of 5."
    assert said in works("simulate", plan)
    assert said not in works("simulate", plan, "--replicas", "5")
    assert "One replica" not in works("simulate", plan, "--set", "replicas=1")


def test_every_command_but_two_takes_json() -> None:
    taking = {
        command.callback.__name__
        for command in app.registered_commands
        if command.callback and "json_to" in inspect.signature(command.callback).parameters
    }
    every = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert every - taking == {"init", "dashboard"}  # as the README says


def test_uncertainty_gives_intervals_a_tornado_and_indices(plan: str) -> None:
    text = works("uncertainty", plan, "--samples", "200", "--outcome", "tco2e")
    for words in ("how sure", "Emissions [tCO2e]", "What moves Emissions [tCO2e] most", "Grid intensity", "█"):
        assert words in text, words
    found = data("uncertainty", plan, "--samples", "200", "--sobol", "--prior", "tokens=0.8:1.2")
    assert found["priors"]["tokens"] | {"source": ""} == {
        "low": 0.8, "high": 1.2, "coverage": 0.9, "kind": "given", "source": "",
    }  # fmt: skip
    assert found["outcomes"]["days"]["p5"] < found["outcomes"]["days"]["plan"] < found["outcomes"]["days"]["p95"]
    assert found["sobol"]["cost_usd"][0]["prior"] == "rent_price"
    assert "Shares of the variance" in works("uncertainty", plan, "--samples", "50", "--sobol")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--outcome", "money"), "outcome 'money' is not known; allowed: cost_usd, days"),
        (("--prior", "tokens=2"), "'tokens=2' is not NAME=LOW:HIGH"),
        (("--prior", "luck=0.5:2"), "prior 'luck' is none of this plan"),
        (("--samples", "1"), "samples is 1"),
        (("--seed", "-1"), "seed is -1; 0 or more"),
    ],
)
def test_uncertainty_refuses(plan: str, words: tuple[str, ...], says: str) -> None:
    assert says in refusal("uncertainty", plan, *words)


def test_goal_finds_a_plan_and_writes_it(plan: str, tmp_path: Path) -> None:
    out = tmp_path / "found.toml"
    words = ("goal", plan, "--by", "2026-01-12", "--most-gpus", "96", "--workers", "1")
    text = works(*words, "--out", str(out))
    assert "The cheapest: " in text
    assert "Finishing by 2026-01-12" in text
    found = data(*words)
    assert found["possible"]
    assert found["plan"]["training_days"] <= 8
    assert read_plan_request(out).cluster.gpus == found["plan"]["gpus"]
    assert data("plan", str(out))["training_days"] == pytest.approx(found["plan"]["training_days"])


def test_goal_says_where_it_chose_the_batch_too(plan: str, tmp_path: Path) -> None:
    free = tmp_path / "free.toml"
    free.write_text(PLAN.replace("global_batch = 512", ""))
    words = ("--by", "2026-01-12", "--most-gpus", "256", "--workers", "1")
    said = "No batch was asked for: steps grow with the cluster, here to 4.19 M tokens"
    assert said in herdplan("goal", str(free), *words).stdout
    assert "No batch" not in herdplan("goal", plan, *words).stdout


def test_goal_says_what_must_give(plan: str) -> None:
    words = ("goal", plan, "--budget", "1k USD", "--most-gpus", "32", "--workers", "1")
    result = herdplan(*words)
    assert result.exit_code == 1
    assert "The budget is out of reach by $" in result.stdout
    shortfalls = json.loads(herdplan(*words, "--json", "-").stdout)["shortfalls"]
    assert shortfalls[0]["outcome"] == "cost_usd"
    assert shortfalls[0]["least"] > 1000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no goal: give a date"),
        (("--by", "soon"), "--by is 'soon'; a date such as 2027-06-30"),
        (("--site-power", "30"), "--site-power is '30'; a number with its unit, such as '30 MW'"),
        (("--carbon", "5 MW"), "--carbon is '5 MW'"),
        (("--budget", "100M", "--prefer", "best"), "preference 'best' is not known"),
        (("--budget", "100M", "--gpu", "tpu"), "gpu 'tpu' is not in the catalogue"),
        (("--budget", "100M", "--sure", "2"), "sure is 2"),
    ],
)
def test_goal_refuses(plan: str, words: tuple[str, ...], says: str) -> None:
    assert refusal("goal", plan, *words).startswith(f"herdplan: {says}")  # of an option, not of the plan file


def test_goal_after_ctrl_c_speaks_only_of_what_was_tried(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(4, monkeypatch)
    said = "Stopped: 4 clusters were tried, but not all; what follows is theirs.\n"
    words = ("goal", plan, "--workers", "1", "--by")
    found, none = herdplan(*words, "2027-06-30"), herdplan(*words, "2026-01-06")
    assert (found.exit_code, found.stderr) == (none.exit_code, none.stderr) == (130, said)
    assert "The cheapest so far: " in found.stdout
    assert none.stdout == "None of them keeps these limits (4 clusters tried).\n"
    data = json.loads(herdplan(*words, "2026-01-06", "--json", "-").stdout)
    assert (data["stopped"], data["possible"], data["shortfalls"]) == (True, None, [])
    assert len(data["candidates"]) == 4


def test_goal_keeps_the_coarse_counts_when_ctrl_c_comes_among_the_finer_ones(
    plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("goal", plan, "--by", "2026-01-12", "--most-gpus", "96", "--workers", "1", "--json", "-")
    coarse = 8  # 1, 2, 3, 4, 6, 8 and 12 nodes, and the plan's own 8
    interrupt_after(coarse, monkeypatch)
    data = json.loads(herdplan(*words).stdout)
    assert (data["stopped"], data["plan"]["gpus"], len(data["candidates"])) == (True, 64, coarse)


def interrupt_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once so many are done."""

    def tell(done: int, of: int | None = None) -> None:
        if done == count:
            raise KeyboardInterrupt

    monkeypatch.setattr("planner.progress.progress", lambda *_: nullcontext(tell))


@pytest.mark.parametrize("command", ["plan", "goal", "uncertainty", "explain", "report"])
def test_ctrl_c_before_an_answer_is_one_sentence(
    plan: str, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("planner.plan.make_plan", interrupted)
    monkeypatch.setattr("planner.decide.goals.make_plan", interrupted)
    more = {"goal": ("--budget", "1M", "--workers", "1"), "report": ("--out", str(tmp_path / "x.html"))}
    result = herdplan(command, plan, *more.get(command, ()))
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "herdplan: stopped before the end; no file is half written.\n"
    assert [file.name for file in tmp_path.iterdir()] == ["plan.toml"]


def test_track_compares_a_log_with_the_plan(plan: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    rows = [f"2026-01-05T{hour:02d}:00:00,{(hour - (hour > 9)) * 2e9},0.08" for hour in range(20)]
    log.write_text("time,tokens,power_mw\n" + "\n".join(rows) + "\n")
    text = works("track", plan, "--log", str(log))
    for words in (
        "Behind the plan",
        "Slower steps",
        "1 interruption held it up for 1.00 h, 0 pauses for 0 h",
        "Interruptions",
        "Pauses",
        "Finish: 2026-01",
        "Power: 80.0 kW",
    ):
        assert words in text, words
    found = data("track", plan, "--log", str(log))
    assert found["elapsed_days"] == pytest.approx(19 / 24)
    assert found["finish"][0] <= found["finish"][1] <= found["finish"][2]
    assert "no column of progress" in _refused_log(plan, tmp_path, "time_s,loss\n1,2\n2,1\n")
    assert "cannot be read" in refusal("track", plan, "--log", str(tmp_path / "none.csv"))


def _refused_log(plan: str, tmp_path: Path, text: str) -> str:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    return refusal("track", plan, "--log", str(file))
