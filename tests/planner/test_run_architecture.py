"""What a row leaves out of its model: found again where the parameters are counted, as usual where they are not."""

import csv
import re

import pytest

from planner.runs.architecture import OPEN, read_architecture
from planner.runs.cells import Cells
from planner.runs.rows import PUBLISHED_RUNS
from profiler.architecture import load_architecture
from profiler.files import InputError

ROW = {"layers": "32", "hidden": "4096", "heads": "32", "seq_len": "4096"}


def rows() -> list[dict[str, str]]:
    with PUBLISHED_RUNS.open(newline="") as file:
        return [{k: (v or "").strip() for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("size", ["8b", "70b", "405b"])
@pytest.mark.parametrize("counted", ["params_b", "model"])
def test_llama_is_known_by_its_size(size: str, counted: str) -> None:
    """Of depth, width, heads and the number of parameters alone, or of the name."""
    llama = load_architecture(f"llama3.1-{size}")
    stated = {"params_b": f"{llama.parameters / 1e9:.2f}", "model": f"llama3-{size}"}
    cells = {"layers": llama.layers, "hidden": llama.hidden, "heads": llama.heads, "seq_len": 8192}
    found = read_architecture(Cells({**{k: str(v) for k, v in cells.items()}, counted: stated[counted]}))
    assert all(getattr(found, name) == getattr(llama, name) for name in OPEN)


@pytest.mark.parametrize(
    ("model", "shape", "parameters_b"),
    [
        ("Llama-2-7b", (32, 4096, 32), 6.738),
        ("Llama-2-13b", (40, 5120, 40), 13.016),
        ("llama-30b", (60, 6656, 52), 32.529),
        ("llama-65b", (80, 8192, 64), 65.286),
        ("Llama-2-70b", (80, 8192, 64), 68.977),
        ("gpt3-175b", (96, 12_288, 96), 174.6),
        ("bloom-176b", (70, 14_336, 112), 176.2),
    ],
)
def test_a_name_alone_gives_the_published_number_of_parameters(
    model: str, shape: tuple[int, int, int], parameters_b: float
) -> None:
    """arXiv:2302.13971, 2307.09288, 2005.14165 and 2211.05100 (learned positions and norms of embeddings aside)."""
    layers, hidden, heads = shape
    cells = {"model": model, "layers": layers, "hidden": hidden, "heads": heads, "seq_len": 2048}
    found = read_architecture(Cells({k: str(v) for k, v in cells.items()}))
    assert found.parameters / 1e9 == pytest.approx(parameters_b, rel=0.002)


@pytest.mark.parametrize("name", OPEN)
def test_one_cell_hidden_from_a_published_run_is_found_again(name: str) -> None:
    """In nine of ten rows, or so that no more than three percent of the parameters are missing."""
    near = []
    for row in rows():
        if row["params_b"] and row[name] and row["use_for_scoring"] == "1":
            whole, found = (read_architecture(Cells({**row, name: cell})) for cell in (row[name], ""))
            near.append(abs(found.parameters / whole.parameters - 1) < 0.03)
    assert len(near) > 300
    assert sum(near) > 0.9 * len(near)


def test_what_nothing_tells_is_as_in_llama_3_and_said() -> None:
    c = Cells(ROW)
    found = read_architecture(c)
    assert (found.gated_mlp, found.ffn, found.kv_heads, found.vocab) == (True, 14_336, 8, 128_256)
    [note] = c.notes
    assert note.startswith("not stated, as in Llama 3 (arXiv:2407.21783): ")
    assert all(name in note for name in OPEN)


def test_an_mlp_of_four_times_the_width_is_plain() -> None:
    found = read_architecture(Cells({**ROW, "ffn": "16384"}))
    assert not found.gated_mlp
    assert found.vocab == 51_200
    assert read_architecture(Cells({**ROW, "ffn": "16384", "gated_mlp": "1"})).gated_mlp


def test_what_is_stated_is_never_changed() -> None:
    """Not even where it does not add up."""
    stated = {"ffn": "8192", "kv_heads": "2", "vocab": "1000", "gated_mlp": "1", "params_b": "70"}
    c = Cells({**ROW, **stated})
    found = read_architecture(c)
    assert (found.ffn, found.kv_heads, found.vocab, found.gated_mlp) == (8192, 2, 1000, True)
    assert c.notes == []


def test_heads_that_do_not_divide_are_one_sentence() -> None:
    with pytest.raises(InputError, match="kv_heads 3 must divide heads 32"):
        read_architecture(Cells({**ROW, "kv_heads": "3"}))


def test_parameters_that_do_not_add_up_are_said() -> None:
    c = Cells({**ROW, "model": "gpt-oss-20b"})
    read_architecture(c)
    assert re.search(r"adds up to 6\.\d+ B parameters, not 20 B", "; ".join(c.notes))


@pytest.mark.parametrize("stated", ["-3", "0"])
def test_no_model_has_no_parameters(stated: str) -> None:
    with pytest.raises(InputError, match=f"column 'params_b' is {stated}; a number above 0"):
        read_architecture(Cells({**ROW, "params_b": stated}))


@pytest.mark.parametrize(
    ("cells", "kv_heads", "vocab"),
    [
        ({"model": "llama3.1-405b-proxy42L", "layers": "42", "hidden": "16384", "heads": "128"}, 8, 128_256),
        ({"model": "llama3-13b", "layers": "40", "hidden": "5120", "heads": "40"}, 8, 128_256),
        ({"model": "llama-7b", "layers": "32", "hidden": "4096", "heads": "32"}, 32, 32_000),
        ({"model": "llama-3b", "layers": "26", "hidden": "3200", "heads": "32"}, 8, 32_000),
        ({"model": "llama2-70b", "layers": "80", "hidden": "8192", "heads": "64"}, 8, 32_000),
    ],
)
def test_a_name_says_which_llama_and_a_foreign_count_nothing(
    cells: dict[str, str], kv_heads: int, vocab: int
) -> None:
    """A proxy with fewer layers has not the parameters that its name counts."""
    found = read_architecture(Cells({**ROW, **cells}))
    assert (found.kv_heads, found.vocab) == (kv_heads, vocab)
