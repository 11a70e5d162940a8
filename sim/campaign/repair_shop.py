"""The repair shop: nodes that left a job, and when they are good again."""

from collections.abc import Generator, Iterator
from heapq import heappop, heappush
from typing import Any

import simpy


class RepairShop:
    """Repairs nodes, with any number of crews or with so many.

    With any number, a node is good again when its repair time has passed, which is known when it comes. With crews it
    waits for one of them in turn: a SimPy Resource, whose simulation is caught up with when somebody asks.
    """

    def __init__(self, crews: int | None) -> None:
        self.back_s: list[float] = []
        """Without a limit on crews, when nodes under repair are good again: a heap."""
        self._env = simpy.Environment()
        self._crews = None if crews is None else simpy.Resource(self._env, capacity=crews)
        self._repaired: list[float] = []

    @property
    def queues(self) -> bool:
        """Whether nodes wait for a crew."""
        return self._crews is not None

    def send(self, now_s: float, repair_s: float) -> None:
        """A node comes now, for so long a repair."""
        if self._crews is None:
            heappush(self.back_s, now_s + repair_s)
        else:
            self._env.process(self._repair(self._crews, max(now_s - self._env.now, 0.0), repair_s))

    def good_by(self, until_s: float) -> Iterator[float]:
        """When nodes are good again, one after the other, until then."""
        back_s = self.back_s
        while back_s and back_s[0] <= until_s:
            yield heappop(back_s)
        while self._crews is not None and self._env.peek() <= until_s:
            self._env.step()
            while self._repaired:
                yield self._repaired.pop()

    def next_good(self) -> float:
        """When the next node is good again; one must be under repair."""
        if self.back_s:
            return heappop(self.back_s)
        while not self._repaired:
            self._env.step()
        return self._repaired.pop()

    def _repair(self, crews: simpy.Resource, start_s: float, repair_s: float) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(start_s)
        with crews.request() as crew:
            yield crew
            yield self._env.timeout(repair_s)
        self._repaired.append(self._env.now)
