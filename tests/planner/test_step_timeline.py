"""`herdplan step`: one step of a plan, event by event."""

import json
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from planner.cli import app
from planner.plan_file import read_plan_request
from planner.step_timeline import plan_timeline, stage_table
from planner.timeline_chart import COLOURS, COLUMNS, MOST_BARS, timeline_bars, timeline_chart
from sim.schedule.events import Timeline, simulate_step
from sim.schedule.noise import Noise
from sim.schedule.order import PipelineShape
from sim.schedule.trace import FIXED, stage_summaries
from sim.schedule.work import ChunkWork, OperationWork, StepWork

PLAN = """
name = "A step"
model = "llama3.1-70b"
tokens = "100B"
[cluster]
gpus = 64
[training]
global_batch = 64
[training.layout]
tp = 4
pp = 4
vp = 5
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def step(*words: str) -> Result:
    return CliRunner().invoke(app, ["step", *words])


def found(*words: str) -> Any:
    result = step(*words, "--json", "-")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_beside_the_closed_form(plan: Path) -> None:
    data = found(str(plan))
    assert data["schedule"] == "1f1b"
    assert data["micro_batches"] == 16
    assert data["step_time_s"] == data["undisturbed_s"]
    assert data["difference"] == pytest.approx(data["undisturbed_s"] / data["closed_form_s"] - 1)
    assert abs(data["difference"]) < 0.03
    for stage in data["stages"]:
        parts = sum(stage[name] for name in ("compute_s", "collective_s", "host_s", "waiting_s"))
        assert parts == pytest.approx(data["step_time_s"])
    text = step(str(plan)).stdout
    assert "event by event" in text
    assert "16 micro-batches" in text


def test_the_table_stays_whole_on_80_columns(plan: Path) -> None:
    page = StringIO()
    Console(width=80, file=page).print(stage_table(plan_timeline(read_plan_request(plan, []), None, Noise())))
    text = page.getvalue()
    assert "…" not in text
    assert len({len(line.rstrip("\n")) for line in text.splitlines()[4:]}) == 1
    words = text.split()
    for word in ("computing", "communicating", "slowest", "GPU", "waiting", "NVLink", "NIC"):
        assert word in words, word


def test_one_is_one_micro_batch_and_one_stage(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    one = PLAN.replace("llama3.1-70b", "llama3.1-8b").replace("tp = 4\npp = 4\nvp = 5", "tp = 1")
    path.write_text(one)
    figure = tmp_path / "one.svg"
    text = step(str(path), "--figure", str(figure)).stdout
    assert "; 1 micro-batch, 1f1b" in text
    assert "1 stage, 1 micro-batch, 1f1b" in figure.read_text()


def test_disturbed(plan: Path) -> None:
    words = (str(plan), "--jitter", "0.05", "--straggler", "2=1.2", "--seed", "4")
    data = found(*words)
    assert data["step_time_s"] > data["undisturbed_s"]
    assert data["stragglers"] == {"2": 1.2}
    assert found(*words) == data
    assert "as disturbed" in step(*words).stdout


def test_files(plan: Path, tmp_path: Path) -> None:
    trace, figure = tmp_path / "step.json", tmp_path / "step.svg"
    result = step(str(plan), "--trace", str(trace), "--figure", str(figure))
    assert result.exit_code == 0, result.output
    assert json.loads(trace.read_text())["otherData"]["name"] == "A step, pre-training"
    assert figure.read_text().startswith("<svg")
    assert str(trace) in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--phase", "2"), "phase is 2; the plan has 1 (pre-training)"),
        (("--straggler", "x"), "such as 3=1.1"),
        (("--straggler", "9=1.1"), "the pipeline has stages 0 to 3"),
        (("--straggler", "1=0.5"), "no slowdown"),
        (("--jitter", "-1"), "jitter is -1"),
        (("--seed", "-1"), "seed is -1"),
        (("--figure", "step.png"), "only .svg"),
    ],
)
def test_mistakes_are_one_sentence(plan: Path, words: tuple[str, ...], message: str) -> None:
    result = step(str(plan), *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("herdplan: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def timeline(micro_batches: int) -> Timeline:
    passes = OperationWork(compute_s=0.01, tensor_s=0.002)
    chunk = ChunkWork(forward=passes, backward=passes, weight=passes)
    shape = PipelineShape(schedule="1f1b", stages=8, chunks=1, micro_batches=micro_batches)
    return simulate_step(StepWork(shape=shape, chunks=(chunk,) * 8, optimizer_s=0.01, fixed_s=0.01))


@pytest.mark.parametrize("micro_batches", [16, 400])
def test_the_bars_show_what_a_stage_does_of_each_kind(micro_batches: int) -> None:
    """One bar an operation, or columns of shares: width times height is the time of each kind, in columns as well."""
    whole = timeline(micro_batches)
    bars = timeline_bars(whole)
    for stage, summary in enumerate(stage_summaries(whole)):
        of_it = bars[bars["stage"] == stage]
        seconds = ((of_it["end"] - of_it["start"]) * (of_it["high"] - of_it["low"])).groupby(of_it["kind"]).sum()
        assert seconds["communication"] == pytest.approx(summary.collective_s, rel=1e-3)
        assert seconds[FIXED] == pytest.approx(summary.host_s, rel=1e-3)
        computing_s = seconds[["forward", "backward", "optimizer"]].sum()
        assert computing_s == pytest.approx(summary.compute_s, rel=1e-3)
    assert len(bars) <= max(MOST_BARS, 8 * COLUMNS * len(COLOURS))


@pytest.mark.parametrize("micro_batches", [16, 400])
def test_no_bar_covers_another(micro_batches: int) -> None:
    bars = timeline_bars(timeline(micro_batches)).sort_values(["stage", "start", "low"])
    for _, rows in bars.groupby("stage"):
        for before, after in pairwise(rows.itertuples()):
            beside = after.start >= before.end - 1e-9
            above = after.start == before.start and after.low >= before.high - 1e-9
            assert beside or above


def test_columns_are_explained_where_there_are_some() -> None:
    few, many = timeline_chart(timeline(16)), timeline_chart(timeline(400))
    assert few["title"]["subtitle"].endswith("8 stages, 16 micro-batches, 1f1b; blank is waiting")
    assert "heights are shares of their time" in many["title"]["subtitle"]


def test_the_chart_names_what_it_shows() -> None:
    chart = timeline_chart(timeline(16))
    assert "stages wait" in chart["title"]["text"]
    assert set(chart["encoding"]["color"]["scale"]["domain"]) <= set(COLOURS)
    assert chart["description"]
