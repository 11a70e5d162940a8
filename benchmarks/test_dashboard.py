"""How long the dashboard computes: a slider moved on each page, and ten sessions at once.

A warm page is visited over its own connection, each time with another value, so that nothing but what does not change
is found again; what a browser takes to draw is not in it.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from dashboard.screenshots import served
from tests.dashboard.visitors import visitor

SESSIONS = 10
FRESH = count(1)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served dashboard."""
    with served(tmp_path_factory.mktemp("server") / "log.txt") as url:
        yield url


def _price() -> str:
    return f"price_usd_per_gpu_hour={1 + next(FRESH) / 1000:.3f}"


def _changed(name: str) -> str:
    if name == "what if":
        return f"x_failures={0.5 + (next(FRESH) % 1400) / 1000:.3f}"
    return f"pue={1.05 + (next(FRESH) % 1500) / 1000:.3f}" if name == "pue" else _price()


@pytest.mark.parametrize("page", ["", "duration", "money", "power", "layouts", "matters", "profile", "trust"])
@pytest.mark.parametrize("change", ["price", "pue", "what if"])
def test_a_change_redraws(benchmark: Any, address: str, page: str, change: str) -> None:
    def moved() -> None:
        with visitor(address) as session:
            session.visit(page, _changed(change))

    def warm() -> None:
        with visitor(address) as session:
            session.visit(page)

    warm()
    benchmark.pedantic(moved, rounds=7)


def test_ten_sessions_at_once(benchmark: Any, address: str) -> None:
    def one(_: int) -> float:
        with visitor(address) as session:
            return session.visit("money", f"model=8b&{_price()}")[1]

    def all_of_them() -> None:
        with ThreadPoolExecutor(SESSIONS) as pool:
            benchmark.extra_info["slowest_s"] = max(pool.map(one, range(SESSIONS)))

    benchmark.pedantic(all_of_them, rounds=3)
