"""Tables of a campaign: they add up, and come back from their files as they were written."""

import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from planner.campaign.charts import LONGEST, gantt_chart, time_chart, write_figure
from planner.campaign.files import (
    event_frame,
    gantt_frame,
    hour_frame,
    replica_frame,
    segment_frame,
    write_folder,
    write_table,
)
from planner.campaign.simulation import Simulation, simulate_plan
from planner.plan_file import read_plan_request
from planner.quantities import percent
from profiler.files import InputError
from tests.sim.campaigns import at_rate

EXAMPLE = Path(__file__).parents[2] / "examples" / "llama3.1-8b.toml"


@pytest.fixture(scope="module")
def run() -> Simulation:
    request = read_plan_request(EXAMPLE, [("tokens", "15T"), ("cluster.gpus", 1024), ("start", "2026-03-30")])
    return simulate_plan(request, seed=2, replicas=3)


def test_events_are_the_interruptions_at_their_local_time(run: Simulation) -> None:
    frame = event_frame(run.median, run.scenario.start)
    assert len(frame) == len(run.median.interruptions) > 5
    assert frame["cause"].tolist() == [stop.cause for stop in run.median.interruptions]
    first = run.median.interruptions[0]
    assert (frame["time"][0] - datetime(2026, 3, 30)).total_seconds() == pytest.approx(first.time_s, abs=1e-3)
    assert frame["lost_s"].sum() == pytest.approx(run.median.seconds["lost_work"], rel=0.05)


def test_hours_add_up_to_the_campaign(run: Simulation) -> None:
    frame, campaign = hour_frame(run.median, run.scenario.start), run.median
    assert frame["energy_mwh"].sum() * 3.6e9 == pytest.approx(campaign.total_energy_j)
    for part, joules in campaign.energy_j.items():
        assert frame[f"{part}_mwh"].sum() * 3.6e9 == pytest.approx(joules)
    for activity, seconds in campaign.seconds.items():
        assert frame[f"{activity}_s"].sum() == pytest.approx(seconds, abs=1e-2)
    assert frame["tokens"].sum() == pytest.approx(campaign.tokens)
    assert frame["length_s"].sum() == pytest.approx(campaign.duration_s)
    assert frame["time"].is_monotonic_increasing
    assert len(frame) == math.ceil(campaign.duration_s / 3600)


def test_the_gantts_bars_are_what_the_interruptions_cost(run: Simulation) -> None:
    frame = gantt_frame(run.median)
    assert ((frame["end_day"] - frame["start_day"]) * 86_400).tolist() == pytest.approx(
        frame["seconds"].tolist(), abs=1e-3
    )
    for activity in ("detection", "restart", "maintenance"):
        total_s = frame.loc[frame["activity"] == activity, "seconds"].sum()
        assert total_s == pytest.approx(run.median.seconds[activity], rel=1e-6)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_come_back_from_their_files(run: Simulation, tmp_path: Path, ending: str) -> None:
    start = run.scenario.start
    tables = {
        "events": event_frame(run.median, start),
        "hours": hour_frame(run.median, start),
        "segments": segment_frame(run.median, start),
        "gantt": gantt_frame(run.median),
        "replicas": replica_frame(run.replicas),
    }
    for name, frame in tables.items():
        path = tmp_path / f"{name}.{ending}"
        write_table(frame, path)
        back = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
        assert list(back.columns) == list(frame.columns)
        if ending == "parquet":
            pd.testing.assert_frame_equal(back, frame, check_dtype=False)
        else:
            numbers = frame.select_dtypes("number").columns.tolist()
            pd.testing.assert_frame_equal(back[numbers], frame[numbers], check_dtype=False, rtol=1e-12)


def test_the_same_table_is_the_same_bytes(run: Simulation, tmp_path: Path) -> None:
    frame = hour_frame(run.median, run.scenario.start)
    for ending in ("csv", "parquet"):
        one, two = tmp_path / f"one.{ending}", tmp_path / f"two.{ending}"
        write_table(frame, one)
        write_table(frame, two)
        assert one.read_bytes() == two.read_bytes()


def test_text_that_a_spreadsheet_would_run_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write_table(pd.DataFrame({"cause": ["=1+1", "@x", "plain"], "n": [1, -2, 3]}), path)
    assert path.read_text().splitlines() == ["cause,n", "'=1+1,1", "'@x,-2", "plain,3"]


@pytest.mark.parametrize("name", ["x.xls", "x", "x.CSV"])
def test_another_ending_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"a table ends in \.csv or \.parquet"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_parquet_without_pyarrow_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'herdplan\[parquet\]'"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "x.parquet")


def test_a_folder_holds_every_table_and_figure(run: Simulation, tmp_path: Path) -> None:
    write_folder(run, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    tables = {f"{name}.csv" for name in ("events", "hours", "segments", "gantt", "replicas")}
    assert names == tables | {"time.svg", "gantt.svg", "power.svg", "explanation.txt"}
    assert (tmp_path / "out" / "time.svg").read_text().startswith("<svg")
    assert "trained what was kept" in (tmp_path / "out" / "explanation.txt").read_text()


def test_figures_show_what_took_time(run: Simulation, tmp_path: Path) -> None:
    bars = time_chart(run.median)
    shown = [row["Activity"] for row in bars["data"]["values"]]
    assert len(shown) == sum(s > 0 for name, s in run.median.seconds.items() if name != "training")
    assert percent(run.median.ettr) in bars["title"]["text"]
    gantt = gantt_chart(run.median)
    assert gantt is not None
    rows = {row["row"] for row in gantt["data"]["values"]}
    assert len(rows) <= min(LONGEST, len(run.median.interruptions))
    assert f" {run.median.unexpected_interruptions} failures" in gantt["title"]["text"]
    assert not any("Planned" in row for row in rows)
    path = tmp_path / "gantt.svg"
    write_figure(gantt, path)
    assert path.read_text().count("<svg") == 1


def test_a_campaign_without_interruptions_has_no_gantt(run: Simulation) -> None:
    from sim.campaign import simulate_campaign

    setup = run.scenario.setup
    calm = replace(setup, reliability=at_rate(setup.reliability, 0.0), planned_maintenance_per_day=0.0)
    campaign = simulate_campaign(calm, 1)
    assert gantt_chart(campaign) is None
    assert event_frame(campaign, run.scenario.start).empty


def test_a_hostile_cause_is_text_in_the_figure(run: Simulation, tmp_path: Path) -> None:
    campaign = replace(run.median, causes=tuple("<script>alert(1)</script>" for _ in run.median.causes))
    gantt = gantt_chart(campaign)
    assert gantt is not None
    path = tmp_path / "gantt.svg"
    write_figure(gantt, path)
    assert "<script>" not in path.read_text()
