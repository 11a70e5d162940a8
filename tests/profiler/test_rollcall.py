"""Ranks that fail on two real gloo processes: together the run goes on, alone it ends soon, and resumes."""

import subprocess
import sys
from pathlib import Path

from profiler.profile import read_profile
from tests.profiler.ranks import environment

GLOO_TIMEOUT_S = 300


def test_a_rank_that_fails_alone_ends_the_run_soon_and_the_run_resumes(tmp_path: Path, tiny_file: Path) -> None:
    out = tmp_path / "p.json"
    words = ["run", "--model", str(tiny_file), "--seq-len", "32", "--device", "cpu", "--budget-minutes", "2"]
    words += ["--context-len", "none", "--resume", "--out", str(out)]
    worker = subprocess.run(
        [sys.executable, "-m", "tests.profiler.failing_worker", "head_loss,qkv@1", *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=GLOO_TIMEOUT_S / 2,
        check=False,
    )
    broken, resumed = worker.stdout.split("exit codes [1, 1]\n")
    said = " ".join(broken.split())
    assert "Stopped: rank 1 failed alone: qkv tiny TP 2 1×32 fp32: this card is broken" in said
    assert "--resume" in said
    assert "Traceback" not in worker.stderr
    status = {row.workload: row.status for row in read_profile(tmp_path / "p.json.broken").layers}
    # both ranks failed at the head, so that was a row and the run went on; at qkv one failed alone
    assert (status["block"], status["head_loss"], status["embedding"]) == ("ok", "error", "ok")
    assert status["qkv"] == "error"
    assert "mlp" not in status

    assert resumed.endswith("exit codes [0, 0]\n"), resumed + worker.stderr
    status = {row.workload: row.status for row in read_profile(out).layers}
    assert set(status.values()) == {"ok"}
    assert "mlp" in status
