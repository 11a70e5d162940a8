"""Plans to report on, made once, and a place of its own for kept drawings."""

from pathlib import Path

import pytest

from planner.plan import Plan, make_plan
from planner.plan_file import plan_request

SMALL = {
    "name": "A small run",
    "model": "llama3.1-8b",
    "tokens": "6T",
    "cluster": {"gpu": "h100-sxm", "gpus": 256},
    "training": {"global_batch": 512},
}

HOSTILE = (
    '=HYPERLINK("http://x.y";"z") <script>alert(1)</script> #import "a.typ": * $x^2$ *b* _i_ [l](u) ![p](q) '
    "| `c` ``` \\\\ &amp; {{ 7*7 }} \u202egnp.exe\x01\x85\uffff <b onclick='x'> ~s~ @SUM(1) é"
)
"""Something of everything that some format would run."""


@pytest.fixture(autouse=True, scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kept drawings go to a temporary folder, never to the home of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("drawings")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def plan() -> Plan:
    """A rented run of a few days."""
    return make_plan(plan_request(SMALL, source="a test"))


@pytest.fixture(scope="session")
def hostile_plan() -> Plan:
    """The same with names that want to be markup."""
    phase = {"name": HOSTILE, "tokens": "6T", "seq_len": 8192, "global_batch": 512}
    data = {**SMALL, "name": HOSTILE, "phases": [phase], "money": {"mode": "own"}}
    return make_plan(plan_request(data, source="a test"))
