"""Ranks that fail: together (then the run goes on), or one alone (then all leave, soon and with its reason).

A rank that fails alone leaves the others waiting in a collective for it. Each rank therefore reports a failure in a
key-value store of its own, which no collective can block, and a thread on every rank looks there.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch.distributed as dist

from profiler.world import World

GRACE_S = 10.0
"""How long the others may take to fail as well."""
POLL_S = 0.5


class RankLost(Exception):  # noqa: N818  (what happened, not a fault of this program)
    """One rank failed alone, or is gone: the ranks can measure nothing further together."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Which rank failed at which of the run's points, and why."""

    rank: int
    number: int | None
    reason: str

    def __str__(self) -> str:
        return f"rank {self.rank} failed alone: {self.reason}"


class RollCall:
    """The ranks' reports of failures; in a world of one, nothing.

    `on_lost` is called, from the watching thread, when another rank failed alone; this one is then stuck in a
    collective, so it should end the process.
    """

    def __init__(self, world: World, on_lost: Callable[[Failure], None]) -> None:
        self._world = world
        self._on_lost = on_lost
        self._stop = threading.Event()
        if world.ranks > 1:
            self._store = _shared_store(world)
            threading.Thread(target=self._watch, name="roll call", daemon=True).start()

    def close(self) -> None:
        """Stop watching, once every rank has come this far."""
        self._world.agree(0.0)
        self._stop.set()

    def settle(self, number: int, reason: str) -> None:
        """Report that point `number` failed here, and return once every other rank reported the same.

        Raises:
            RankLost: some did not, so they wait for this rank in a collective.
        """
        if self._world.ranks == 1:
            return
        failure = Failure(rank=self._world.rank, number=number, reason=reason)
        self._store.set(f"failed/{number}/{failure.rank}", reason)
        others = [f"failed/{number}/{rank}" for rank in range(self._world.ranks) if rank != failure.rank]
        deadline = time.monotonic() + GRACE_S
        try:
            while not self._store.check(others):
                if time.monotonic() > deadline:
                    first = self._store.compare_set("lost", "", json.dumps(asdict(failure)))
                    time.sleep(2 * POLL_S)  # let the others read it: it may be in this process
                    raise RankLost(str(Failure(**json.loads(first))))
                time.sleep(POLL_S / 5)
        except dist.DistError:
            raise RankLost("rank 0 is gone") from None

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                lost = Failure(**json.loads(self._store.get("lost"))) if self._store.check(["lost"]) else None
            except dist.DistError:  # the store lived in rank 0
                lost = Failure(rank=0, number=None, reason="it is gone")
            if lost is not None and lost.rank != self._world.rank and not self._stop.wait(POLL_S):
                self._on_lost(lost)
                return


def _shared_store(world: World) -> dist.TCPStore:
    """A store beside the one that the ranks met on, whose connection a waiting collective may hold."""
    address = os.environ["MASTER_ADDR"]
    port = [0]
    store = None
    if world.leads:
        store = dist.TCPStore(address, 0, is_master=True, wait_for_workers=False)
        port = [store.port]
    dist.broadcast_object_list(port, src=0)
    return store or dist.TCPStore(address, port[0], is_master=False, wait_for_workers=False)
