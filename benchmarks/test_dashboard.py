"""What the dashboard computes: a page with one thing changed to what nobody asked before, and ten sessions at once.

The first table counts the processor seconds of the server, whatever else the machine does meanwhile; what a browser
takes to draw is not in it. Each visit is a session of its own.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from dashboard.pages import PAGES
from dashboard.screenshots import SAVED, serving
from planner.carbon import grids
from tests.dashboard.visitors import visitor

SESSIONS = 10
ROUNDS = 7
FRESH = count(1)
SERVER: list[int] = []
"""The number of the server's process."""

PLACES = iter([grid.name for grid in grids()])
GPUS = iter([16_384 * odd // part for part in (4, 2, 1, 8) for odd in (3, 7, 9, 1)])
"""Sizes of cluster near the plan's that the layers and the batches of every phase of the 405B divide."""

CHANGES: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "rent": lambda: f"price_usd_per_gpu_hour={1 + next(FRESH) / 1000:.3f}",
    "purchase price": lambda: f"mode=own&server_usd_per_gpu={30_000 + next(FRESH)}",
    "electricity": lambda: f"mode=own&electricity_usd_per_kwh={next(FRESH) / 10_000:.4f}",
    "pue": lambda: f"pue={1 + next(FRESH) / 1000:.3f}",
    "place": lambda: f"grid={next(PLACES)}",
    "tokens": lambda: f"tokens_405b={10 + next(FRESH) / 1000:.3f}T",
    "what if": lambda: f"x_failures={0.5 + next(FRESH) / 1000:.3f}",
    "gpus": lambda: f"gpus_405b={next(GPUS)}",
}
ONCE = ("gpus",)
"""Changes of which there are too few for several rounds: each searches the layouts of all phases."""


def cpu_s() -> float:
    """Processor seconds that the server has taken so far; its clock is numbered as clock_getcpuclockid(3) does."""
    return time.clock_gettime((~SERVER[0] << 3) | 2)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served dashboard, every page once visited."""
    with serving(tmp_path_factory.mktemp("server") / "log.txt") as (url, process):
        SERVER[:] = [process]
        for page, _, _ in PAGES:
            with visitor(url) as session:
                session.visit(page, SAVED)
        yield url


@pytest.mark.benchmark(timer=cpu_s)
@pytest.mark.parametrize("page", [name for name, _, _ in PAGES])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_redraws(benchmark: Any, address: str, page: str, change: str) -> None:
    def moved() -> None:
        with visitor(address) as session:
            session.visit(page, f"{SAVED}&{CHANGES[change]()}")

    benchmark.pedantic(moved, rounds=1 if change in ONCE else ROUNDS)


def test_ten_sessions_at_once(benchmark: Any, address: str) -> None:
    def one(_: int) -> float:
        with visitor(address) as session:
            return session.visit("money", f"model=8b&{CHANGES['rent']()}")[1]

    def all_of_them() -> None:
        with ThreadPoolExecutor(SESSIONS) as pool:
            benchmark.extra_info["slowest_s"] = max(pool.map(one, range(SESSIONS)))

    benchmark.pedantic(all_of_them, rounds=3)
