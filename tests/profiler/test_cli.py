"""The command line as a person meets it: real runs on this CPU, and every mistake as one sentence."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiler.cli import main
from profiler.files import InputError
from profiler.profile import Profile, read_profile
from tests.interrupts import hearing
from tests.profiler.ranks import ROOT, environment, run_ranks

RUN = ("run", "--seq-len", "32", "--device", "cpu", "--precision", "fp32")


def cli(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "profiler", *words],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a refused command says on stderr, after checking that it is one line and the exit code is 2."""
    monkeypatch.setattr(sys, "argv", ["herdplan-profile", *words])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--tp", "3"], "nearest valid: 2 or 4"),
        (["run", "--tp", "16"], "nearest valid: 8"),
        (["run", "--tp", "two"], "--tp is 'two'; whole numbers"),
        (["run", "--tp", "0"], "must be 1 or more"),
        (["run", "--model", "llama3.1-8"], "did you mean 'llama3.1-8b'"),
        (["run", "--model", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["run", "--execution", "compile"], "did you mean 'compiled'"),
        (["run", "--precision", "fp64"], "--precision is 'fp64'; allowed: bf16, fp16, fp32"),
        (["run", "--seq-len", "200000"], "beyond llama3.1-8b's context"),
        (["run", "--budget-minutes", "0"], "a number above 0"),
        (["run", "--budget-minutes", "nan"], "a number above 0"),
        (["run", "--context-len", "12000"], "an even --seq-len and a larger multiple"),
        (["run", "--model", "llama3.1-8b,llama3.1-7b"], "llama3.1-7b' is not known"),
        (["selfcheck", "--tp", "3"], "nearest valid: 2 or 4"),
        (["selfcheck", "--seconds", "0"], "--seconds is 0.0; a number above 0"),
        (["run", "--device", "tpu"], "--device is 'tpu'; allowed: cpu, cuda"),
        (["show", "nowhere.json"], "nowhere.json: cannot be read"),
        (["validate", "nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert says in refusal(monkeypatch, capsys, *words)


def test_a_profile_is_not_overwritten_unasked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "p.json"
    out.write_text("mine")
    assert "--resume" in refusal(monkeypatch, capsys, "run", "--out", str(out))
    assert out.read_text() == "mine"


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['herdplan-profile', '--help']\n"
        "from profiler.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'fairscale', 'pandas', 'pydantic', 'pynvml', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]", run.stdout + run.stderr


@pytest.mark.parametrize("command", [["doctor"], ["run"]])
def test_without_torch_one_sentence_says_what_to_install(command: list[str], tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        f"sys.argv = ['herdplan-profile', *{command!r}]\n"
        "from profiler.cli import main; main()"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 2
    assert "pip install 'herdplan[profiler]'" in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_run_on_this_cpu_writes_a_profile_that_reads_back(tmp_path: Path, tiny_file: Path) -> None:
    out = tmp_path / "deep" / "p.json"
    ran = cli(
        *RUN, "--model", str(tiny_file), "--tp", "1,4", "--budget-minutes", "0.08", "--recompute", "none,full",
        "--out", str(out), OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    profile = read_profile(out)
    assert all(row.status == "ok" and row.origin == "measured" for row in profile.layers)
    blocks = {r.tp: r for r in profile.layers if r.workload == "block" and r.recompute == "none"}
    assert blocks[1].forward_flops == pytest.approx(4 * blocks[4].forward_flops)
    assert all(row.collective_layout == "" for row in profile.layers)  # one rank's share: no collectives
    assert all(row.energy_j is None or row.energy_j > 0 for row in profile.layers)
    assert profile.provenance.peak_matmul_flops
    assert profile.provenance.copy_bytes_per_s
    assert "one rank's share" in " ".join(profile.provenance.notes)

    shown = cli("show", str(out))
    assert shown.returncode == 0
    assert "block tiny TP 4 1×32" in shown.stdout
    assert "of roofline" in shown.stdout
    compared = cli("compare", str(out), str(out))
    assert "+0.0 %" in compared.stdout
    assert cli("validate", str(out)).returncode == 0


def test_ctrl_c_keeps_what_was_measured_and_resume_goes_on(tmp_path: Path, tiny_file: Path) -> None:
    out = tmp_path / "p.json"
    words = [*RUN, "--model", str(tiny_file), "--out", str(out), "--budget-minutes"]
    with hearing("from profiler.cli import main; main()", *words, "5", env=environment()) as process:
        _wait_until(lambda: out.exists() and len(read_profile(out).layers) >= 1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in output
    kept = read_profile(out).layers
    assert kept

    resumed = cli(*words, "0.03", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    layers = read_profile(out).layers
    assert layers[: len(kept)] == kept
    assert len(layers) > len(kept)


def _wait_until(true: Any) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_ranks_measure_real_tensor_parallelism_and_collectives(tmp_path: Path, tiny_file: Path) -> None:
    out = tmp_path / "p.json"
    words = [*RUN, "--model", str(tiny_file), "--budget-minutes", "0.15", "--collectives", "reference"]
    run_ranks(2, "-m", "profiler", *words, "--out", str(out))
    profile = read_profile(out)
    assert profile.provenance.ranks == 2
    block = next(row for row in profile.layers if row.workload == "block")
    assert (block.tp, block.collective_layout, block.status) == (2, "reference", "ok")
    assert profile.collectives
    assert {(row.ranks, row.scope, row.backend) for row in profile.collectives} == {(2, "node", "gloo")}
    assert all(row.time_p10_s <= row.time_s <= row.time_p90_s for row in profile.collectives)


def test_resume_refuses_another_machines_profile(tmp_path: Path, tiny_file: Path) -> None:
    from profiler.session import _resumed

    mine = _profile()
    path = tmp_path / "p.json"
    replace(mine, provenance=replace(mine.provenance, device="another")).write(path)
    with pytest.raises(InputError, match="its device is 'another', this run's is 'a CPU'"):
        _resumed(path, mine)


def _profile() -> Profile:
    from profiler.profile import LayerRow, Provenance

    row = LayerRow(workload="copy", model="", origin="measured", size=4, forward_s=1e-3)
    provenance = Provenance(device="a CPU", gpu="", origin="measured", method="by hand")
    return Profile(name="p", provenance=provenance, layers=(row,))


def test_a_damaged_profile_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "p.json"
    _profile().write(path)
    whole = path.read_text()

    path.write_text(whole[: len(whole) // 2])
    assert "not a whole JSON file" in refusal(monkeypatch, capsys, "validate", str(path))

    path.write_text(whole.replace("0.001", "0.0005"))
    assert "edited after it was measured" in refusal(monkeypatch, capsys, "validate", str(path))

    path.write_text(whole.replace("0.001", '"fast"'))
    assert "layers.0.forward_s" in refusal(monkeypatch, capsys, "validate", str(path))

    path.write_text(json.dumps({"some": "file"}))
    assert "not a herdplan profile" in refusal(monkeypatch, capsys, "validate", str(path))


DOCUMENTATION = (ROOT / "docs" / "profiler.md").read_text()


def test_the_documentation_names_every_command() -> None:
    for command in ("doctor", "run", "show", "compare", "validate", "selfcheck"):
        assert f"herdplan-profile {command}" in DOCUMENTATION


def test_every_documented_command_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their options exist and fit together: what follows the check of the options is left out."""
    text = re.sub(r"\\\n\s+", " ", DOCUMENTATION)
    commands = re.findall(r"(?:herdplan-profile|-m profiler) ((?:run|selfcheck) [^`\n#]*)", text)
    assert len(commands) >= 7
    checked = []
    monkeypatch.setattr("profiler.options.require_torch", lambda: checked.append(True))
    monkeypatch.setattr("profiler.progress.run_with_progress", lambda *_, **__: 0)
    monkeypatch.setattr("profiler.progress.selfcheck_with_progress", lambda *_: None)
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["herdplan-profile", *shlex.split(command)])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 0, command
    assert len(checked) == len(commands)
