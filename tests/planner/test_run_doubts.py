"""What in a row does not go together is refused or noted, never passed over in silence."""

from pathlib import Path

import pytest

from planner.runs.training_run import UnreadableRun
from tests.planner.rows import read, run


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        ({"model": "Mixtral-8x7B"}, "model 'Mixtral-8x7B' seems to have experts: predicted as dense"),
        ({"model": "qwen3-30b-a3b"}, "seems to have experts"),
        ({"global_batch": "100"}, "no multiple of 32 replicas x micro_batch 1: counted as 3.12 micro-batches"),
        ({"grad_accum": "3"}, "grad_accum 3 stated; global_batch, replicas and micro_batch make 4"),
        ({"pp": "2", "pp_schedule": "banana"}, "pp_schedule 'banana' is not known: 1f1b"),
        ({"pp": "2", "vp": "5"}, "pp 2 x vp 5 does not split 32 layers: chunks of 3.2"),
        ({"global_batch": "1048576"}, "counts sequences, 8,590 M tokens a step; was it in tokens?"),
        ({"gpus_per_node": "7"}, "64 gpus do not fill nodes of 7"),
    ],
)
def test_what_does_not_go_together_is_noted(tmp_path: Path, cells: dict[str, str], note: str) -> None:
    assert any(note in each for each in run(tmp_path, **cells).notes)


@pytest.mark.parametrize(
    "cells",
    [
        {"grad_accum": "4"},
        {"pp": "2", "pp_schedule": "Interleaved 1F1B", "vp": "4"},
        {"pp": "2", "pp_schedule": "GPipe", "vp": "1"},
        {"ep": "1"},
        {"cp": "2"},
    ],
)
def test_what_goes_together_needs_no_word(tmp_path: Path, cells: dict[str, str]) -> None:
    assert run(tmp_path, **cells).notes == ()


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"ep": "8"}, "ep is 8; only dense models are predicted"),
        ({"pp": "4", "pp_schedule": "ZBV", "vp": "4"}, "vp is 4 with pp_schedule 'ZBV'; it needs vp 2"),
        ({"pp": "4", "pp_schedule": "GPipe", "vp": "2"}, "vp is 2 with pp_schedule 'GPipe'; it needs vp 1"),
        ({"cp": "4", "seq_len": "8190"}, "cp is 4; balanced halves need a seq_len that 8 divides, not 8190"),
    ],
)
def test_what_no_step_can_be_is_refused(tmp_path: Path, cells: dict[str, str], says: str) -> None:
    [row] = read(tmp_path, cells)
    assert isinstance(row, UnreadableRun)
    assert says in row.note


@pytest.mark.parametrize(("schedule", "vp"), [("ZBV", 2), ("ZB-2p", 1), ("GPipe", 1), ("1F1B", 1)])
def test_a_schedule_has_the_chunks_it_needs(tmp_path: Path, schedule: str, vp: int) -> None:
    found = run(tmp_path, pp="4", pp_schedule=schedule, vp="")
    assert (found.layout.vp, found.other_layouts) == (vp, ())
