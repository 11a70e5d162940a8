"""Ten sessions at once: each gets its own answer, none another's."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard import address as addresses
from dashboard.screenshots import served
from planner.plan import make_plan
from planner.quantities import money
from tests.dashboard.visitors import visitor

SESSIONS = 10


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served dashboard."""
    with served(tmp_path_factory.mktemp("server") / "log.txt") as url:
        yield url


def _price(at: int) -> float:
    return 1.0 + at / 4


def test_ten_sessions_at_once_get_their_own_answers(address: str) -> None:
    values, _ = addresses.read({})
    expected = []
    for at in range(SESSIONS):
        request = addresses.request_of(values | {"price_usd_per_gpu_hour": _price(at)}, "8b")
        expected.append(money(make_plan(request).cost.expected))
    assert len(set(expected)) == SESSIONS
    open_at_once = threading.Barrier(SESSIONS)

    def visit(at: int) -> str:
        with visitor(address) as session:
            open_at_once.wait(60)
            return session.visit("money", f"model=8b&price_usd_per_gpu_hour={_price(at)}")[0]

    with ThreadPoolExecutor(SESSIONS) as pool:
        said = list(pool.map(visit, range(SESSIONS)))
    for at, text in enumerate(said):
        answer = next(line for line in text.splitlines() if "<p class='hp-answer'>" in line)
        assert f"costs {expected[at]} " in answer


def test_what_one_session_chose_is_not_there_for_the_next(address: str) -> None:
    with visitor(address) as first, visitor(address) as second:
        assert "Llama 3.1 8B costs" in first.visit("money", "model=8b&mode=own&saved=name%3Dmine")[0]
        assert "Llama 3.1 405B costs" in second.visit("money")[0]
        assert "Nothing is saved yet" in second.visit("compare")[0]
