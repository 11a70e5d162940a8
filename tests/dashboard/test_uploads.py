"""Files that people upload: good ones are read, wrong, huge and hostile ones are refused in one sentence."""

import csv
import io
import json
from pathlib import Path

import pytest

from dashboard import uploads
from dashboard.uploads import read_profile_upload, read_runs_upload
from planner.runs.rows import PUBLISHED_RUNS, published_runs
from profiler.architecture import load_architecture
from profiler.files import InputError
from sim.hardware import load_gpu
from sim.roofline import roofline_profile


def profile_text() -> str:
    """A whole profile."""
    return roofline_profile(
        load_gpu("h100-sxm"), [load_architecture("llama3.1-8b")], tps=(1,), micro_batches=(1,), seq_lens=(4096,)
    ).to_json()


def test_a_profile_is_read() -> None:
    own = read_profile_upload(profile_text().encode(), "mine.json")
    assert own.name == "mine.json"
    assert own.profile.provenance.gpu == "h100-sxm"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "mine.json"),
        (b"{", "not a whole JSON file"),
        (b"[1, 2]", "not a herdplan profile"),
        (b"\xff\xfe", "mine.json"),
        (b"[" * 100_000, "mine.json"),
        (b'{"provenance": NaN, "layers": []}', "mine.json"),
        (b"x" * (uploads.LARGEST_BYTES + 1), "2 MiB at most"),
    ],
)
def test_what_is_no_profile_is_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        read_profile_upload(content, "mine.json")
    assert sentence in str(caught.value)
    assert "/tmp" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_edited_profile_is_refused() -> None:
    edited = json.loads(profile_text())
    edited["layers"][0]["forward_s"] *= 0.5
    with pytest.raises(InputError, match="edited"):
        read_profile_upload(json.dumps(edited).encode(), "mine.json")


def test_runs_are_read() -> None:
    runs, unread, said = read_runs_upload(PUBLISHED_RUNS.read_bytes(), "mine.csv")
    assert said == []
    assert {run.id for run in runs} >= {run.id for run in published_runs()}
    assert {row.id for row in unread}.isdisjoint(run.id for run in runs)


def test_columns_that_are_not_read_are_named() -> None:
    head = "id,model,gpu,gpus,seq_len,mbs,colour\n"
    runs, _, said = read_runs_upload(f"{head}mine,llama3.1-8b,h100-sxm,64,8192,2,red\n".encode(), "mine.csv")
    assert runs[0].layout.micro_batch == 2
    assert said == ["read by another name: 'mbs' as micro_batch", "columns that are not read: 'colour'"]


def test_runs_name_no_files(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(PUBLISHED_RUNS.read_text())))[:1]
    secret = tmp_path / "secret.toml"
    secret.write_text("name = 'hidden'")
    page = io.StringIO()
    writer = csv.DictWriter(page, rows[0])
    writer.writeheader()
    writer.writerow({**rows[0], "gpu": str(secret), "framework": str(secret)})
    runs, unread, _ = read_runs_upload(page.getvalue().encode(), "mine.csv")
    assert runs == []
    assert "hidden" not in unread[0].note


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a,b\n1,2\n", "column"),
        (b"\xff\xfe\x00", "mine.csv"),
        (b"id," + b"," * 3_000_000, "at most"),
    ],
)
def test_what_is_no_runs_file_is_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        read_runs_upload(content, "mine.csv")
    assert sentence in str(caught.value)
    assert "/tmp" not in str(caught.value)


def test_long_and_odd_names_are_cut() -> None:
    assert len(uploads.shown("x" * 500)) == uploads.LONGEST_NAME
    assert uploads.shown("a\x00\u202eb") == "a??b"
