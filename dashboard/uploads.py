"""Files that people upload beside plans: profiles and runs. Wrong, huge or hostile ones get a sentence."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from planner.plan_file import PlanRequest
from planner.quantities import significant
from planner.runs.rows import column_sentences, read_runs
from planner.runs.training_run import TrainingRun, UnreadableRun
from profiler.files import InputError
from profiler.profile import Profile, read_profile
from sim.hardware import load_gpu

Found = TypeVar("Found")

LARGEST_BYTES = 2 * 1024 * 1024
MOST_RUNS = 2000
LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True)
class UploadedProfile:
    """A profile that a person brought, and the name of its file."""

    name: str
    profile: Profile

    def speaks_for(self, gpu: str) -> bool:
        """Whether plans on a GPU can stand on it: it was measured, or scaled from what was, on that GPU."""
        came = self.profile.provenance
        return came.origin != "roofline" and came.gpu == load_gpu(gpu).name

    def named_in(self, request: PlanRequest) -> PlanRequest:
        """The request, naming this profile as its GPU's."""
        return replace(request, cluster=replace(request.cluster, profile=self.name))


def read_profile_upload(content: bytes, name: str) -> UploadedProfile:
    """An uploaded profile, checked with its digest.

    Raises:
        InputError: too large, or not a profile; one sentence.
    """
    return UploadedProfile(name=shown(Path(name).name), profile=_read(content, name, ".json", read_profile))


def read_runs_upload(content: bytes, name: str) -> tuple[list[TrainingRun], list[UnreadableRun], list[str]]:
    """An uploaded runs file: the rows that can be predicted, those that cannot, with the reason, and what there is to
    say of its columns.

    Its cells are compared with what the catalogue holds; none is taken as the name of a file.

    Raises:
        InputError: too large, too many rows, or not a runs file; one sentence.
    """
    rows, said = _read(content, name, ".csv", lambda path: (list(read_runs(path)), column_sentences(path)))
    if len(rows) > MOST_RUNS:
        raise InputError(f"{shown(name)} has {len(rows):,} rows; this page predicts {MOST_RUNS:,} at most.")
    runs = [row for row in rows if isinstance(row, TrainingRun)]
    return runs, [row for row in rows if isinstance(row, UnreadableRun)], said


def shown(name: str) -> str:
    """A file's name as a sentence has it."""
    clean = "".join(c if c.isprintable() else "?" for c in name)
    return clean if len(clean) <= LONGEST_NAME else f"{clean[: LONGEST_NAME - 3]}..."


def _read(content: bytes, name: str, ending: str, reader: Callable[[Path], Found]) -> Found:
    if len(content) > LARGEST_BYTES:
        size = significant(len(content) / 2**20)
        raise InputError(f"{shown(name)} is {size} MiB; this page reads {LARGEST_BYTES // 2**20} MiB at most.")
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{ending}"
        path.write_bytes(content)
        try:
            return reader(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), shown(name))) from None
