"""`herdplan simulate`: over workers and a cluster, interrupted, with its files, and every mistake as one sentence."""

import json
from pathlib import Path

import pandas as pd
import pytest
from distributed import LocalCluster
from typer.testing import CliRunner

from planner.cli import app
from tests.interrupts import interrupted
from tests.planner.test_cli import EXAMPLE, data, refusal, works

QUICK = ("simulate", EXAMPLE, "--seed", "4", "--replicas", "3")


def test_a_cluster_gives_the_bytes_of_this_process() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
        spread = works(*QUICK, "--scheduler", cluster.scheduler_address, "--json", "-")
    assert spread == works(*QUICK, "--json", "-")
    assert json.loads(spread)["replicas"] == 3


def test_a_person_reads_days_and_where_the_time_went() -> None:
    text = works(*QUICK)
    assert "days (" in text
    assert "trained what was kept" in text
    assert "What stopped it" in text
    assert "Training stops: -" in text


def test_on_a_narrow_terminal_no_line_is_longer_than_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [*QUICK, "--set", "cluster.spare_nodes=0"]
    wide = works(*asked)
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    narrow = CliRunner().invoke(app, asked).stdout  # a bar stands on stderr, as on a terminal
    assert max(map(len, narrow.splitlines())) <= 80 < max(map(len, wide.splitlines()))
    assert " ".join(narrow.split()) == " ".join(wide.split())


def test_a_job_without_spares_is_warned_of() -> None:
    text = works(*QUICK, "--set", "cluster.spare_nodes=0")
    assert "waiting for repair" in text
    assert "Note: There are no spare nodes: about " in text


def test_events_and_hours_go_where_they_are_sent(tmp_path: Path) -> None:
    events, hours = tmp_path / "events.csv", tmp_path / "hours.parquet"
    found = data(*QUICK, "--events", str(events), "--hours", str(hours))
    assert len(pd.read_csv(events)) == len(found["median_campaign"]["interruptions"])
    energy_mwh = pd.read_parquet(hours)["energy_mwh"].sum()
    assert energy_mwh in [pytest.approx(one["energy_mwh"]) for one in found["campaigns"]]


def test_an_export_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert str(folder) in works(*QUICK, "--export", str(folder))
    assert len(pd.read_csv(folder / "replicas.csv")) == 3
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".svg", ".txt"}
    works(*QUICK, "--export", str(tmp_path / "other"), "--parquet")
    back = pd.read_parquet(tmp_path / "other" / "replicas.parquet")
    assert back["training_days"].tolist() == pytest.approx(pd.read_csv(folder / "replicas.csv")["training_days"])


INTERRUPTED = """
import os, signal, sys
from contextlib import contextmanager
import planner.progress

@contextmanager
def progress(what, total):
    yield lambda done: done == 3 and os.kill(os.getpid(), signal.SIGINT)

planner.progress.progress = progress
from planner.cli import app
app(["simulate", *sys.argv[1:]])
"""


def test_ctrl_c_keeps_what_is_done_and_says_so() -> None:
    code, out, err = interrupted(INTERRUPTED, EXAMPLE, "--replicas", "100000", "--json", "-", timeout_s=120)
    assert code == 130, err
    found = json.loads(out)
    assert found["replicas_asked"] == 100_000
    assert 3 <= found["replicas"] == len(found["campaigns"]) < 100_000
    assert err == f"Stopped: {found['replicas']} of 100000 replicas are done; what follows is theirs.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--workers", "0"), "--workers"),
        (("--scheduler", "tcp://127.0.0.1:1"), "scheduler 'tcp://127.0.0.1:1' cannot be reached"),
        (("--events", "x.xlsx"), "x.xlsx: a table ends in .csv or .parquet"),
        (("--hours", "/proc/x.csv"), "/proc/x.csv: cannot be written"),
        (("--export", "/proc/x"), "cannot be written"),
        (("--set", "site.climate=mars"), "climate 'mars' is not in the catalogue"),
        (("--set", "site.power_windows=[{allowed_w=1}]"), "this run never finishes"),
        (("--set", "start=soon"), "key 'start' is 'soon'"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], says: str) -> None:
    assert says in refusal(*QUICK, *words)
