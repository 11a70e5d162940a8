"""`herdplan step`: one step of a plan, event by event."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from planner.cli import app
from planner.timeline_chart import COLOURS, COLUMNS, MOST_BARS, timeline_bars, timeline_chart
from sim.schedule import Timeline, simulate_step
from sim.schedule_order import PipelineShape
from sim.schedule_work import ChunkWork, OperationWork, StepWork
from sim.trace import HOLDING

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
    assert text.count("│ ") >= 4


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
def test_the_bars_show_when_a_stage_works(micro_batches: int) -> None:
    """One bar an operation, or columns that show what is done most: both cover about the time that is worked."""
    whole = timeline(micro_batches)
    bars = timeline_bars(whole)
    exact = sum(e.end_s - e.start_s for e in whole.events if e.stage == 0 and e.stream in HOLDING)
    of_first = bars[bars["stage"] == 0]
    assert (of_first["end"] - of_first["start"]).sum() == pytest.approx(exact, rel=0.02)
    assert len(bars) <= max(MOST_BARS, 8 * COLUMNS)
    for _, rows in bars.sort_values("start").groupby("stage"):
        assert (rows["start"].to_numpy()[1:] >= rows["end"].to_numpy()[:-1] - 1e-9).all()


def test_the_chart_names_what_it_shows() -> None:
    chart = timeline_chart(timeline(16))
    assert "stages wait" in chart["title"]["text"]
    assert set(chart["encoding"]["color"]["scale"]["domain"]) <= set(COLOURS)
    assert chart["description"]
