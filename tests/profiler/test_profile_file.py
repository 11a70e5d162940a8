"""The Profile contract on disk: what is written reads back, and what was changed does not."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.files import InputError
from profiler.profile import CollectiveRow, LayerRow, Profile, Provenance, read_profile

seconds = st.floats(1e-9, 1e3) | st.none()
rows = st.builds(
    LayerRow,
    workload=st.sampled_from(["block", "mlp", "copy"]),
    model=st.text(max_size=5),
    origin=st.sampled_from(["measured", "scaled", "roofline"]),
    tp=st.integers(1, 64),
    forward_s=seconds,
    backward_s=seconds,
    forward_flops=st.floats(0, 1e20),
    power_mean_w=st.floats(0, 2000) | st.none(),
    message=st.text(max_size=20),
)


def profile(*layers: LayerRow) -> Profile:
    provenance = Provenance(device="a GPU", gpu="h100-sxm", origin="measured", method="by hand", notes=("one", "two"))
    collective = CollectiveRow(op="all_reduce", size_bytes=2**20, ranks=8, scope="node", time_s=1e-4)
    return Profile(name="p", provenance=provenance, layers=layers, collectives=(collective,))


BLOCK = LayerRow(workload="block", model="llama3.1-8b", origin="measured", forward_s=1e-3, backward_s=2e-3)


@settings(max_examples=30, deadline=None)
@given(layers=st.lists(rows, max_size=3))
def test_every_profile_reads_back_as_it_was(layers: list[LayerRow], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "p.json"
    whole = profile(*layers)
    whole.write(path)
    assert read_profile(path) == whole


def test_the_table_has_a_column_per_field_and_a_row_per_point() -> None:
    frame = profile(BLOCK, BLOCK).to_frame()
    assert list(frame.columns) == list(asdict(BLOCK))
    assert frame["backward_s"].tolist() == [2e-3, 2e-3]


def test_bus_bandwidth_is_nccl_tests() -> None:
    """nccl-tests, doc/PERFORMANCE.md: all-reduce S/t · 2(n-1)/n, all-gather S/t · (n-1)/n, send S/t."""
    each = {"size_bytes": 800, "ranks": 4, "scope": "node", "time_s": 2.0}
    speeds = {op: CollectiveRow(op=op, **each).bus_bandwidth_bytes_per_s for op in ("all_reduce", "all_gather")}  # type: ignore[arg-type]
    assert speeds == {"all_reduce": 600.0, "all_gather": 300.0}
    assert CollectiveRow(op="send_recv", **each).bus_bandwidth_bytes_per_s == 400.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 1}, "schema version 1; this herdplan reads 2"),
        ({"name": "other"}, "does not match its digest"),
        ({"sha256": None}, "does not match its digest"),
        ({"layers": None}, "layers"),
        ({"surprise": 1}, "key 'surprise' is not known"),
    ],
)
def test_a_changed_profile_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**json.loads(profile(BLOCK).to_json()), **change}))
    with pytest.raises(InputError, match=says):
        read_profile(path)


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "says"),
    [
        ("layers", 1, "backward_s", 1e-3, "row 'layers.1' column 'backward_s'"),
        ("layers", 0, "model", "llama3.1-70b", "row 'layers.0' column 'model'"),
        ("collectives", 0, "time_s", 1e-5, "row 'collectives.0' column 'time_s'"),
    ],
)
def test_an_edited_value_is_found(
    tmp_path: Path, table: str, row: int, column: str, value: object, says: str
) -> None:
    path = tmp_path / "p.json"
    content = json.loads(profile(BLOCK, BLOCK).to_json())
    content[table][row][column] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"does not match its digest at {says}; it was edited"):
        read_profile(path)


def test_an_edited_provenance_or_a_missing_row_is_found(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    content = json.loads(profile(BLOCK, BLOCK).to_json())
    path.write_text(json.dumps(content | {"provenance": content["provenance"] | {"gpu": "b200-sxm"}}))
    with pytest.raises(InputError, match="at column 'gpu'"):
        read_profile(path)
    path.write_text(json.dumps(content | {"layers": content["layers"][:1]}))
    with pytest.raises(InputError, match=r"at row 'layers\.1'"):
        read_profile(path)
    path.write_text(json.dumps(content | {"name": "other", "digests": ["nonsense"]}))
    with pytest.raises(InputError, match="does not match its digest; it was edited"):
        read_profile(path)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, word: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(profile(BLOCK).to_json().replace("0.001", word))
    with pytest.raises(InputError, match=f"contains {word}"):
        read_profile(path)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"layers": []}', "{", "[" * 100_000, "9" * 5000])
def test_what_is_no_profile_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_profile(path)
    assert "\n" not in str(error.value)


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.json"
    path.write_text("before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        profile(BLOCK).write(path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]
