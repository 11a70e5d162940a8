"""Collectives between the ranks of this run, timed the way nccl-tests times them."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist

from profiler.profile import CollectiveOp, CollectiveRow
from profiler.world import World

SIZES_BYTES = {
    "nccl": tuple(2**p for p in range(12, 31, 3)),  # 4 KiB to 1 GiB
    "gloo": tuple(2**p for p in range(12, 25, 3)),  # 4 KiB to 16 MiB
}
OPERATIONS: tuple[CollectiveOp, ...] = (
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "send_recv",
    "all_to_all",
)
ELEMENT_BYTES = 2
REPETITIONS = 20
WARM_UPS = 3

# torch 2.13 renamed these two and warns of the old names
_all_gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
_reduce_scatter = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)

Key = tuple[str, int, int, str]
Scope = Literal["node", "fabric"]


@dataclass(frozen=True, kw_only=True)
class RankGroup:
    """Ranks that talk to each other, and over what."""

    members: tuple[int, ...]
    scope: Scope


def key_of(row: CollectiveRow) -> Key:
    """Operation, size, ranks and scope: what makes two rows the same point."""
    return row.op, row.size_bytes, row.ranks, row.scope


def measure_collectives(
    world: World, *, budget_s: float, done: set[Key], report: Callable[[str], None]
) -> Iterator[CollectiveRow | str]:
    """Measure every collective at every size over every group of ranks, until the budget is spent.

    Every rank must call this; yields rows, and a sentence for an operation that this back end does not offer.
    """
    started = time.perf_counter()
    for ranks in rank_groups(world.ranks, world.ranks_per_node):
        group = dist.new_group(list(ranks.members))
        for op in OPERATIONS:
            for size in SIZES_BYTES[world.backend]:
                if world.agree(time.perf_counter() - started) > budget_s:
                    return
                if (op, size, len(ranks.members), ranks.scope) in done:
                    continue
                report(f"{op} {size:,} B, {len(ranks.members)} ranks")
                try:
                    seconds = _time(op, size, ranks, world, group)
                except RuntimeError as error:
                    yield f"{op} over {world.backend} was not measured: {error}"
                    break
                yield _row(op, size, ranks, world.backend, seconds)


def rank_groups(ranks: int, ranks_per_node: int) -> tuple[RankGroup, ...]:
    """The groups to measure: the first 2, 4, 8, … ranks of a node; one rank of each of 2, 4, 8, … nodes, as
    data- and pipeline-parallel groups are laid out; all ranks. None for a world of one.
    """
    nodes = ranks // ranks_per_node
    inside = [RankGroup(members=tuple(range(n)), scope="node") for n in _doubling(min(ranks, ranks_per_node))]
    across = [
        RankGroup(members=tuple(range(0, n * ranks_per_node, ranks_per_node)), scope="fabric")
        for n in _doubling(nodes)
    ]
    everyone = [RankGroup(members=tuple(range(ranks)), scope="fabric")] if nodes > 1 and ranks_per_node > 1 else []
    return (*inside, *across, *everyone)


def _doubling(most: int) -> tuple[int, ...]:
    """2, 4, 8, … below `most`, and `most` itself; empty below 2."""
    return (*(2**p for p in range(1, most.bit_length()) if 2**p < most), most) if most > 1 else ()


def _row(op: CollectiveOp, size: int, ranks: RankGroup, backend: str, seconds: list[float]) -> CollectiveRow:
    deciles = statistics.quantiles(seconds, n=10, method="inclusive")
    return CollectiveRow(
        op=op,
        size_bytes=size,
        ranks=len(ranks.members),
        scope=ranks.scope,
        time_s=statistics.median(seconds),
        time_p10_s=deciles[0],
        time_p90_s=deciles[-1],
        repetitions=len(seconds),
        backend=backend,
    )


def _time(op: CollectiveOp, size: int, ranks: RankGroup, world: World, group: Any) -> list[float]:
    """Seconds of each repetition, of the slowest rank; ranks outside the group only take part in agreeing."""
    call = _call(op, size, ranks.members, world, group) if world.rank in ranks.members else None
    seconds = []
    refusal = "refused on another rank"
    for _ in range(WARM_UPS + REPETITIONS):
        world.agree(0.0)  # start together
        try:
            took_s = _once(call, world) if call else 0.0
        except RuntimeError as error:
            took_s, refusal = math.inf, str(error).splitlines()[0][:150]
        seconds.append(world.agree(took_s))
        if math.isinf(seconds[-1]):  # every rank stops here, so that none waits for the others
            raise RuntimeError(refusal)
    return seconds[WARM_UPS:]


def _once(call: Callable[[], Any], world: World) -> float:
    if world.device.type != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def _call(op: CollectiveOp, size: int, members: tuple[int, ...], world: World, group: Any) -> Callable[[], Any]:
    """One collective on `size` bytes as `CollectiveRow` counts them, ready to repeat."""
    ranks = len(members)
    count = max(size // ELEMENT_BYTES // ranks, 1) * ranks

    def zeros(elements: int) -> Any:
        return torch.zeros(elements, dtype=torch.bfloat16, device=world.device)

    match op:
        case "all_reduce":
            whole = zeros(count)
            return lambda: dist.all_reduce(whole, group=group)
        case "all_gather":
            whole, part = zeros(count), zeros(count // ranks)
            return lambda: _all_gather(whole, part, group=group)
        case "reduce_scatter":
            whole, part = zeros(count), zeros(count // ranks)
            return lambda: _reduce_scatter(part, whole, group=group)
        case "all_to_all":
            whole, other = zeros(count), zeros(count)
            return lambda: dist.all_to_all_single(other, whole, group=group)
        case "send_recv":
            return _ring(zeros(count), zeros(count), members, world, group)


def _ring(outgoing: Any, incoming: Any, members: tuple[int, ...], world: World, group: Any) -> Callable[[], None]:
    """Every rank sends to the next and receives from the one before, as pipeline stages do."""
    place = members.index(world.rank)
    after, before = members[(place + 1) % len(members)], members[place - 1]

    def pass_on() -> None:
        operations = [
            dist.P2POp(dist.isend, outgoing, after, group=group),
            dist.P2POp(dist.irecv, incoming, before, group=group),
        ]
        for work in dist.batch_isend_irecv(operations):
            work.wait()

    return pass_on
