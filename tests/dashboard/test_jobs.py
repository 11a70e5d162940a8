"""Long work: it ends with its result, can be stopped with what it has, and its failures are sentences."""

import threading
import time
from collections.abc import Callable

import pytest

from dashboard import jobs
from dashboard.jobs import AT_ONCE, Job, Tell
from dashboard.scenarios import base
from planner.campaign.simulation import Simulation, simulate_plan
from profiler.files import InputError


def _ended(job: Job) -> Job:
    deadline = time.monotonic() + 30
    while not job.ended and time.monotonic() < deadline:
        time.sleep(0.005)
    assert job.ended
    return job


def test_a_job_leaves_its_result() -> None:
    def work(tell: Tell) -> int:
        for done in range(1, 4):
            tell(done)
        return 42

    job = Job(about="", total=3)
    job.start(work)
    assert (_ended(job).result, job.done, job.problem) == (42, 3, "")


def test_a_stopped_simulation_keeps_its_first_replicas() -> None:
    request = base("8b")
    job = Job(about="", total=500)

    def work(tell: Tell) -> Simulation:
        def stop_after_three(done: int) -> None:
            if done == 3:
                job.stop()
            tell(done)

        return simulate_plan(request, seed=1, replicas=500, done=stop_after_three)

    job.start(work)
    result = _ended(job).result
    assert (len(result.replicas), result.asked) == (3, 500)
    assert result.replicas == simulate_plan(request, seed=1, replicas=500, done=_first(3)).replicas


def _first(most: int) -> Callable[[int], None]:
    def done(count: int) -> None:
        if count == most:
            raise KeyboardInterrupt

    return done


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(InputError("no such GPU."), "no such GPU."), (RuntimeError("/secret/path"), "RuntimeError")],
)
def test_a_failure_is_a_sentence_without_inner_matters(error: Exception, sentence: str) -> None:
    def work(_: Tell) -> None:
        raise error

    job = Job(about="", total=1)
    job.start(work)
    assert sentence in _ended(job).problem
    assert "/secret" not in job.problem


def test_no_more_than_so_many_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()
    go_on = threading.Event()

    def work(_: Tell) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go_on.wait(10)
        with lock:
            running -= 1

    started = [Job(about="", total=1) for _ in range(AT_ONCE + 3)]
    for job in started:
        job.start(work)
    go_on.set()
    for job in started:
        _ended(job)
    assert most <= AT_ONCE
    assert jobs.TURN.acquire(blocking=False)
    jobs.TURN.release()


def test_stopped_before_its_turn_it_never_begins() -> None:
    began = []
    job = Job(about="", total=1)
    job.stop()
    job.start(lambda _: began.append(1))
    assert _ended(job).result is None
    assert began == []
