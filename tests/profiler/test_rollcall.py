"""Ranks that fail on two real gloo processes: together the run goes on, alone it ends soon, and resumes."""

from pathlib import Path

from profiler.profile import read_profile
from tests.profiler.ranks import end_of_ranks

GLOO_TIMEOUT_S = 300


def test_a_rank_that_fails_alone_ends_the_run_soon_and_the_run_resumes(tmp_path: Path, tiny_file: Path) -> None:
    out = tmp_path / "p.json"
    words = ["run", "--model", str(tiny_file), "--seq-len", "32", "--device", "cpu", "--budget-minutes", "2"]
    words += ["--context-len", "none", "--resume", "--out", str(out)]
    worker = ("-m", "tests.profiler.failing_worker", *words)
    ended = end_of_ranks(2, *worker, FAIL="head_loss,qkv@1", timeout_s=GLOO_TIMEOUT_S / 3)
    assert [process.returncode for process in ended] == [1, 1], ended
    said = " ".join(ended[0].stdout.split())
    assert "Stopped: rank 1 failed alone: qkv TP 2 1×32 fp32: this card is broken" in said
    assert "--resume" in said
    assert "Traceback" not in ended[0].stderr + ended[1].stderr
    status = {row.workload: row.status for row in read_profile(out).layers}
    # both ranks failed at the head, so that was a row and the run went on; at qkv one failed alone
    assert (status["block"], status["head_loss"], status["embedding"]) == ("ok", "error", "ok")
    assert status["qkv"] == "error"
    assert "mlp" not in status

    ended = end_of_ranks(2, *worker, FAIL="")
    assert [process.returncode for process in ended] == [0, 0], ended
    status = {row.workload: row.status for row in read_profile(out).layers}
    assert set(status.values()) == {"ok"}
    assert "mlp" in status
