"""The ranks that measure together: torch.distributed and FairScale's groups, set up and checked.

Under torchrun the world is its ranks; alone it is a world of one, which FairScale needs as well.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from fairscale.nn.model_parallel import initialize as groups

from profiler.files import InputError

_TIMEOUT = timedelta(minutes=5)
"""A rank that died leaves the others waiting in a collective this long, then they fail too."""


@dataclass(frozen=True, kw_only=True)
class World:
    """This process's place among the ranks."""

    rank: int
    ranks: int
    ranks_per_node: int
    device: torch.device
    backend: str
    """`nccl` on GPUs, `gloo` on CPUs, `fake` on one GPU alone."""

    @property
    def leads(self) -> bool:
        """Whether this rank talks to the person and writes the file."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """The largest `value` of all ranks, so that every rank takes the same decision."""
        if self.ranks == 1:
            return value
        held = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(held, op=dist.ReduceOp.MAX)
        return float(held.item())


@contextlib.contextmanager
def open_world(device: str | None = None) -> Iterator[World]:
    """Join torchrun's ranks, or make a world of one; leave it again.

    `device` is "cuda", "cpu" or None for the GPU where there is one.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local_rank) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        _take_gpu(local_rank)
    backend = join(kind)
    try:
        yield World(
            rank=dist.get_rank(),
            ranks=dist.get_world_size(),
            ranks_per_node=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
            device=place,
            backend=backend,
        )
    finally:
        groups.destroy_model_parallel()
        dist.destroy_process_group()


def _take_gpu(local_rank: int) -> None:
    if not torch.cuda.is_available():
        raise InputError("no GPU that this PyTorch can use was found; `herdplan-profile doctor` says why.")
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"local rank {local_rank} has no GPU: {torch.cuda.device_count()} are visible here; "
            "start no more processes per node than that."
        )
    torch.cuda.set_device(local_rank)


def join(kind: str) -> str:
    """Join torchrun's ranks, or make a world of one, on devices of `kind` (cuda or cpu); return the backend."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        backend = "nccl" if kind == "cuda" and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, timeout=_TIMEOUT)
        return backend
    if kind != "cuda":
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=_TIMEOUT)
        return "gloo"
    # A collective over one rank leaves its tensor as it is, which is all that the fake backend does. NCCL would look
    # for a network and for ways to map memory, and some machines have neither.
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=1)
    return "fake"


def use_tensor_parallel(degree: int) -> None:
    """Make FairScale's groups anew with tensor-parallel groups of `degree` neighbouring ranks.

    Raises:
        InputError: the ranks do not divide into such groups. FairScale itself would silently use fewer.
    """
    ranks = dist.get_world_size()
    if ranks % degree:
        fits = [d for d in range(1, ranks + 1) if ranks % d == 0]
        nearest = min(fits, key=lambda d: abs(d - degree))
        raise InputError(
            f"tensor-parallel degree {degree} does not divide the {ranks} ranks; nearest valid: {nearest}."
        )
    if groups.model_parallel_is_initialized():
        if groups.get_model_parallel_world_size() == degree:
            return
        groups.destroy_model_parallel()
    with contextlib.redirect_stdout(io.StringIO()):  # FairScale prints its groups
        groups.initialize_model_parallel(degree)
    assert groups.get_model_parallel_world_size() == degree
