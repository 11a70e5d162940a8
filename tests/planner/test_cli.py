"""The command line that others script against: what each command gives, and every mistake as one sentence."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from planner.cli import app
from planner.runs.estimate import COLUMNS
from planner.runs.rows import PUBLISHED_RUNS

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples" / "llama3.1-8b.toml")
QUICK = ("plan", "--model", "llama3.1-8b", "--gpus", "64", "--tokens", "200B")
SEARCH = ("search", "--model", "llama3.1-8b", "--gpu", "h100-sxm", "--gpus", "64")


def herdplan(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def works(*words: str) -> str:
    result = herdplan(*words)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def data(*words: str) -> Any:
    return json.loads(works(*words, "--json", "-"))


def refusal(*words: str) -> str:
    """What a refused command says: exit code 2, one sentence on stderr, nothing on stdout, no traceback."""
    result = herdplan(*words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("herdplan: ")
    assert result.stderr.count("\n") == 1
    assert "?." not in result.stderr
    assert result.stderr.endswith((".\n", "?\n"))
    return result.stderr


# What each command gives


def test_plan_from_a_file_and_from_options() -> None:
    assert data("plan", EXAMPLE)["gpus"] == 1024
    found = data("plan", "--model", "llama3.1-405b", "--gpu", "h100-sxm", "--gpus", "16384", "--tokens", "15.6T")
    assert (found["model"], found["gpus"], found["tokens"]) == ("llama3.1-405b", 16_384, 15.6e12)
    for key in ("training_days", "gpu_hours", "cost_usd", "energy_mwh", "peak_power_mw", "emissions_tco2e", "mfu",
                "ettr", "step_time_s", "assumptions", "provenance"):  # fmt: skip
        assert found[key], key


def test_plan_prints_one_table_of_all_plans_and_what_they_stand_on() -> None:
    text = works("plan", EXAMPLE, str(ROOT / "examples" / "llama3.1-70b.toml"))
    assert "Llama 3.1 8B" in text
    assert "Llama 3.1 70B" in text
    for row in ("GPUs", "Days", "Months", "GPU-hours", "Cost", "Electricity", "Peak power", "Emissions", "MFU",
                "Effective", "assumed", "calibrated"):  # fmt: skip
        assert row in text, row
    assert "MWh" in text
    assert "tCO2e" in text


def test_a_note_names_the_plans_that_it_is_of() -> None:
    large = str(ROOT / "examples" / "llama3.1-405b.toml")
    assert "Note on Llama 3.1 405B: memory is tight" in " ".join(works("plan", EXAMPLE, large).split())
    assert " Note: memory is tight" in " ".join(works("plan", large).split())


def test_options_and_settings_lie_over_the_file() -> None:
    found = data("plan", EXAMPLE, "--gpus", "512", "--price", "2", "--grid", "NOR", "--set", "site.pue=1.2")
    assert found["gpus"] == 512
    assert found["cost_lines"][0]["expected_usd"] == pytest.approx(2 * found["billed_gpu_hours"])
    assert data("plan", EXAMPLE, "--gpus", "512", "--own")["cost_mode"] == "own"


def test_several_plans_are_a_list_and_a_file_holds_what_the_screen_shows(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "plan.json"
    assert "GPU-hours" in works(*QUICK, "--json", str(out))
    assert json.loads(out.read_text()) == data(*QUICK)
    assert [plan["gpus"] for plan in data("plan", EXAMPLE, EXAMPLE)] == [1024, 1024]


def test_estimate_repeats_ids_in_order_and_adds_the_columns(tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    text = works("estimate", "--runs", str(PUBLISHED_RUNS), "--out", str(out))
    with out.open(newline="") as file, PUBLISHED_RUNS.open(newline="") as published:
        rows, ids = list(csv.DictReader(file)), [row["id"] for row in csv.DictReader(published)]
    assert tuple(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == ids
    predicted = sum(bool(row["pred_step_time_s"]) for row in rows)
    assert f"{predicted} of {len(rows)} rows" in text
    assert all(row["pred_step_time_s"] or row["note"] for row in rows)
    listed = data("estimate", "--runs", str(PUBLISHED_RUNS), "--out", str(out))
    assert [row["id"] for row in listed] == ids


def test_estimate_survives_rows_that_cannot_be_read(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs.csv", tmp_path / "out.csv"
    runs.write_text(
        "id,layers,hidden,heads,kv_heads,gpu,gpus,global_batch,seq_len\n"
        "good,32,4096,32,8,h100-sxm,64,512,8192\n"
        "=1+1,32,4096,32,5,h100-sxm,64,512,8192\n"
        "huge,1e308,4096,32,8,h100-sxm,64,512,8192\n"
        ",,,,,,,,\n"
    )
    assert "1 of 4 rows predicted" in works("estimate", "--runs", str(runs), "--out", str(out))
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["good", "'=1+1", "huge", "row 5"]
    assert [bool(row["pred_step_time_s"]) for row in rows] == [True, False, False, False]
    assert all(row["note"].startswith("not predicted: ") for row in rows[1:])


def test_estimate_shows_its_predictions_and_keeps_the_runs_file(tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    text = "id,model,gpu,gpus,seq_len,tp\nmine,llama3.1-8b,h100-sxm,64,8192,1\n"
    runs.write_text(text)
    result = herdplan("estimate", "--runs", str(runs), "--out", "-")
    assert (result.exit_code, result.stderr) == (0, "1 of 1 rows predicted.\n")
    assert [row["id"] for row in csv.DictReader(result.stdout.splitlines())] == ["mine"]
    assert "the runs file itself" in refusal("estimate", "--runs", str(runs), "--out", str(runs))
    assert runs.read_text() == text
    runs.write_text("id,model,gpu,gpus,seq_len\nmine,llama3.1-8b,MI300X,64,8192\n")
    assert "no row could be predicted; mine: not predicted: gpu 'MI300X'" in refusal(
        "estimate", "--runs", str(runs), "--out", str(tmp_path / "out.csv")
    )


def test_validate_gives_errors_overall_by_regime_and_by_source(tmp_path: Path) -> None:
    found = data("validate")
    later = found["unseen"]["later"]
    assert f"On {later['runs']} further runs, to which no constant was fitted: {later['median_pct']:.1f} / " in works(
        "validate"
    )
    assert all(isinstance(run["notes"], list) for run in found["runs"])
    for group in (found["overall"], *found["by_regime"].values(), *found["by_source"].values()):
        assert {"median_pct", "p90_pct", "runs"} <= set(group)
    page = tmp_path / "validation.md"
    files = ("--markdown", str(page), "--figure", str(tmp_path / "v.svg"), "--json", str(tmp_path / "v.json"))
    text = works("validate", "--runs", str(PUBLISHED_RUNS), *files)
    assert "median" in text
    assert "no constant was fitted" not in text
    assert text.endswith(f"Markdown: {page}\nFigure: {tmp_path / 'v.svg'}\nJSON: {tmp_path / 'v.json'}\n")
    assert all(f">{kind}</text>" in (tmp_path / "v.svg").read_text() for kind in ("16-bit", "fp8"))  # the legend
    assert page.read_text().startswith("# ")


def test_simulate_gives_each_replica() -> None:
    found = data("simulate", EXAMPLE, "--seed", "3", "--replicas", "2")
    assert (found["seed"], found["replicas"], len(found["campaigns"])) == (3, 2, 2)
    assert "days" in works("simulate", EXAMPLE)


def test_search_gives_the_best_first() -> None:
    found = data(*SEARCH, "--seq-len", "8192", "--global-batch", "512")
    assert found["evaluated"] > 100
    assert found["seconds"] > 0
    times = [layout["step_time_s"] for layout in found["layouts"] if layout["fits"]]
    assert times == sorted(times)
    assert {"tp", "pp", "dp", "cp", "vp", "micro_batch", "sharding", "recompute"} <= set(found["layouts"][0])
    assert "layouts in" in works(*SEARCH, "--global-batch", "512", "--keep", "3")


def test_report_as_json_is_the_plan_and_its_file(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    assert str(out) in works("report", EXAMPLE, "--format", "json", "--out", str(out))
    found = json.loads(out.read_text())
    (tmp_path / "again.toml").write_text(found.pop("plan_file"))
    assert found == data("plan", EXAMPLE) == data("plan", str(tmp_path / "again.toml"))


def test_a_users_own_model_plans_like_a_shipped_one(tmp_path: Path) -> None:
    model = tmp_path / "mine.toml"
    model.write_text((ROOT / "profiler" / "models" / "llama3.1-8b.toml").read_text().replace("llama3.1-8b", "mine"))
    mine, shipped = data(*QUICK[:2], str(model), *QUICK[3:]), data(*QUICK)
    assert (mine["model"], mine["model_card"]) == ("mine", None)
    assert mine["training_days"] == shipped["training_days"]


# Same input, same bytes


@pytest.mark.parametrize("command", [("plan", EXAMPLE), ("simulate", EXAMPLE, "--seed", "5", "--replicas", "2")])
def test_the_same_seed_is_the_same_bytes_in_every_process(command: tuple[str, ...]) -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-m", "planner.cli", *command, "--json", "-"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000


def test_another_seed_is_another_campaign() -> None:
    one, two = (works("simulate", EXAMPLE, "--seed", seed, "--json", "-") for seed in ("1", "2"))
    assert one != two
    assert works(*QUICK, "--set", "seed=1", "--json", "-") != works(*QUICK, "--set", "seed=2", "--json", "-")


# Mistakes


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("plan",), "nothing to plan"),
        ((*QUICK, "--model", "llama3.1-9b"), "model 'llama3.1-9b' is not known"),
        ((*QUICK, "--set", "training.layout.tp=3"), "tp is 3; it must divide the 32 heads of llama3.1-8b"),
        ((*QUICK, "--model", "llama3.1-70b", "--set", "training.layout.tp=1"), "GiB per GPU"),
        ((*QUICK, "--model", "llama3.1-405b"), "does not fit on 64 x H100"),
        ((*QUICK, "--price", "-1"), "key 'money.price_usd_per_gpu_hour' is -1.0"),
        ((*QUICK, "--price", "nan"), "key 'money.price_usd_per_gpu_hour' is nan"),
        ((*QUICK, "--electricity", "inf"), "key 'site.electricity_usd_per_kwh' is inf"),
        ((*QUICK, "--gpu", "h300"), "gpu 'h300' is not in the catalogue"),
        ((*QUICK, "--grid", "Atlantis"), "grid 'Atlantis' is not in the catalogue"),
        ((*QUICK, "--set", "training.stack=magic"), "stack 'magic' is not known"),
        ((*QUICK, "--gpu", "a100-80gb", "--set", "training.precision=fp8"), "no fp8 matrix units"),
        ((*QUICK, "--gpus", "100"), "the nearest whole number is 96"),
        ((*QUICK, "--gpus", "0"), "key 'cluster.gpus' is 0"),
        ((*QUICK, "--gpus", "many"), "--gpus"),
        ((*QUICK, "--tokens", "lots"), "key 'tokens' is 'lots'"),
        ((*QUICK, "--set", "cluster.gpu_count=8"), "key 'cluster.gpu_count' is not known"),
        ((*QUICK, "--set", "reliability.spare_nodes=8"), "is not known here; did you mean 'cluster.spare_nodes'?"),
        ((*QUICK, "--set", "cluster.spair_nodes=8"), "is not known here; did you mean 'cluster.spare_nodes'?"),
        ((*QUICK, "--set", "reliability.luck=8"), "is not known here; remove it or check its spelling"),
        ((*QUICK, "--set", 'cluster.gpus="all"'), "key 'cluster.gpus' is 'all'"),
        ((*QUICK, "--set", "cluster=3"), "key 'cluster' is 3"),
        ((*QUICK, "--set", "gpus"), "'gpus' is not KEY=VALUE"),
        ((*QUICK, "--tflops-per-gpu", "5000"), "allow"),
        ((*QUICK, "--effective-time", "2"), "effective_time_ratio' is 2.0"),
        (("simulate", EXAMPLE, "--seed", "-1"), "seed is -1"),
        (("simulate", EXAMPLE, "--replicas", "0"), "--replicas"),
        ((*SEARCH, "--precision", "fp4"), "key 'training.precision' is 'fp4'"),
        ((*SEARCH, "--stack", "magic"), "stack 'magic' is not known"),
        ((*SEARCH, "--seq-len", "0"), "key 'training.seq_len' is 0"),
        (("report", EXAMPLE, "--format", "docx"), "format 'docx' cannot be written"),
        (
            ("report", EXAMPLE, "--format", "html", "--out", "x.pdf"),
            "x.pdf: html is asked for, but the name ends as pdf",
        ),
        ((*QUICK, "--report", "x.pdf"), "name it x.html, or ask for pdf: herdplan report --format pdf"),
        (("cap", EXAMPLE, "--watts", "500,1000"), "a cap of 1000 W is above the 700 W that H100"),
        ((*SEARCH, "--scheduler", "tcp://127.0.0.1:1"), "--scheduler shares out clusters, and there is one"),
        (("plna", EXAMPLE), "plna"),
        (("plan", EXAMPLE, "--gpsu", "8"), "--gpsu"),
        (("search", "--model", "llama3.1-8b"), "--gpu"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], says: str) -> None:
    assert says in refusal(*words)


def files(tmp_path: Path) -> dict[str, str]:
    """Files that are none, by what is wrong with them."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "broken").write_text('id = "open')
    (tmp_path / "endless").write_text("id = " + "9" * 5000)
    (tmp_path / "nested").write_text("id = " + "[" * 5000)
    return {name: str(tmp_path / name) for name in ("missing", "folder", "binary", "broken", "endless", "nested")}


@pytest.mark.parametrize("wrong", ["missing", "folder", "binary", "broken", "endless", "nested"])
@pytest.mark.parametrize("command", ["plan", "simulate", "report", "validate", "estimate"])
def test_a_file_that_cannot_be_read_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, command: str, wrong: str
) -> None:
    path = files(tmp_path)[wrong]
    before = sorted(tmp_path.rglob("*"))
    target = str(tmp_path / "out")
    words = {
        "plan": ("plan", path, "--json", target),
        "simulate": ("simulate", path, "--json", target),
        "report": ("report", path, "--out", target),
        "validate": ("validate", "--runs", path, "--json", target),
        "estimate": ("estimate", "--runs", path, "--out", target),
    }[command]
    assert path in refusal(*words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("where", ["folder", "under a file", "read-only"])
@pytest.mark.parametrize("command", ["plan", "simulate", "search", "validate", "estimate", "report"])
def test_an_output_that_cannot_be_written_is_one_sentence_and_nothing_half_written(
    tmp_path: Path, command: str, where: str
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    out = {"folder": tmp_path / "folder", "under a file": tmp_path / "file" / "x", "read-only": Path("/proc/x")}[
        where
    ]
    before = sorted(tmp_path.rglob("*"))
    words: dict[str, tuple[str, ...]] = {
        "plan": (*QUICK, "--json", str(out)),
        "simulate": ("simulate", EXAMPLE, "--json", str(out)),
        "search": (*SEARCH, "--json", str(out)),
        "validate": ("validate", "--json", str(out)),
        "estimate": ("estimate", "--runs", str(PUBLISHED_RUNS), "--out", str(out)),
        "report": ("report", EXAMPLE, "--format", "json", "--out", str(out)),
    }
    assert f"{out}: cannot be written" in refusal(*words[command])
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("row", ["", "a,b,c,d,e,f,g,h\n", "a,32,4096,32,h100-sxm,64,512,8192\n"])
def test_nothing_to_validate_is_one_sentence(tmp_path: Path, row: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"id,layers,hidden,heads,gpu,gpus,global_batch,seq_len\n{row}")
    assert "no run states" in refusal("validate", "--runs", str(path))
    for figure in (tmp_path / "v.png", tmp_path / "v.pdf"):
        said = refusal("validate", "--figure", str(figure))
        assert said == f"herdplan: --figure is {figure}; only .svg can be drawn.\n"
        assert not figure.exists()


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['herdplan', '--help']\n"
        "from planner.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pydantic', 'pandas', 'simpy', 'torch', 'streamlit', 'scipy', 'altair'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]", run.stdout
    for command in ("plan", "estimate", "validate", "simulate", "search", "report", "dashboard"):
        assert command in run.stdout
