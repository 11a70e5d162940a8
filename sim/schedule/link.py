"""The links of one GPU: what several transfers do to each other when they use the same one."""

from heapq import heappop, heappush
from itertools import count
from typing import Any, Literal, get_args

import simpy

LinkName = Literal["nvlink", "nic"]
"""nvlink: to the other GPUs of its node. nic: to other nodes."""
LINKS: tuple[LinkName, ...] = get_args(LinkName)


class Link:
    """A link whose transfers share it equally: of k under way each moves at a k-th of the rate that it has alone
    (processor sharing: Kleinrock, Queueing Systems vol. 2, section 4.4).

    Kept by the seconds of service that each transfer has had since the link was last idle (fair queueing's virtual
    time: Demers, Keshav and Shenker, SIGCOMM 1989), so that one that comes or goes touches no other.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.under_way: list[tuple[float, int, simpy.Event]] = []
        """By the service at which each ends."""
        self.numbers = count()
        self.served_s = 0.0
        self.since_s = 0.0
        """When `served_s` was right."""
        self.alarm: simpy.Event | None = None
        """At the end of the transfer that ends first, as things stand."""

    def transfer(self, seconds: float) -> simpy.Event:
        """What happens when a transfer that begins now has ended; it takes `seconds` alone."""
        if self.under_way:
            self.served_s += (self.env.now - self.since_s) / len(self.under_way)
        else:
            self.served_s = 0.0
        self.since_s = self.env.now
        ended = self.env.event()
        heappush(self.under_way, (self.served_s + seconds, next(self.numbers), ended))
        self._set_alarm()
        return ended

    def _set_alarm(self) -> None:
        left_s = (self.under_way[0][0] - self.served_s) * len(self.under_way)
        self.alarm = self.env.timeout(max(left_s, 0.0))
        self.alarm.callbacks.append(self._end_first)

    def _end_first(self, alarm: Any) -> None:
        if alarm is not self.alarm:  # something came in between
            return
        self.served_s, _, ended = heappop(self.under_way)
        self.since_s = self.env.now
        ended.succeed()
        if self.under_way:
            self._set_alarm()
