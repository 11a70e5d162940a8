"""Work fanned out: the same results wherever they are computed, and none lost with a worker."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from profiler.files import InputError
from sim.campaign import Campaign, CampaignSetup, Phase, replica_seeds, simulate_campaign, simulate_replicas
from sim.campaign.reliability import load_reliability
from sim.hardware import build_cluster
from sim.replicas import fan_out
from tests.interrupts import interrupted
from tests.sim.squares import squared_slowly

SETUP = CampaignSetup(
    cluster=build_cluster("h100-sxm", 4096),
    parameters=70_000_000_000,
    phases=(Phase(name="main", tokens=4e11, tokens_per_step=4e6, step_time_s=5.0, gpu_power_w=600.0),),
    reliability=load_reliability("llama3-405b"),
    spare_nodes=6,
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as started:
        yield started


def campaign(seed: int) -> Campaign:
    return simulate_campaign(SETUP, seed)


def test_replicas_are_the_same_with_one_worker_and_two() -> None:
    seeds = replica_seeds(3, 4)
    one = fan_out(campaign, seeds)
    assert one == list(simulate_replicas(SETUP, 3, 4))
    assert [run.seed for run in one] == list(seeds)
    assert fan_out(campaign, seeds, workers=2) == one
    assert len({run.duration_s for run in one}) == 4


def test_replicas_are_the_same_on_a_cluster(cluster: LocalCluster) -> None:
    seeds = replica_seeds(3, 4)
    assert fan_out(campaign, seeds, scheduler=cluster.scheduler_address) == fan_out(campaign, seeds)


def test_a_killed_worker_loses_nothing(cluster: LocalCluster) -> None:
    killed: list[int] = []

    def done(number: int) -> None:
        if number == 5:
            worker = next(iter(cluster.workers.values()))
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    found = fan_out(squared_slowly, range(80), scheduler=cluster.scheduler_address, done=done)
    assert found == [number**2 for number in range(80)]
    assert len(killed) == 1
    assert killed[0] not in {worker.pid for worker in cluster.workers.values()}


def test_an_interrupt_leaves_a_cluster_usable(cluster: LocalCluster) -> None:
    def done(number: int) -> None:
        if number == 5:
            raise KeyboardInterrupt

    found = fan_out(squared_slowly, range(400), scheduler=cluster.scheduler_address, done=done)
    assert found == [number**2 for number in range(5)]
    assert fan_out(squared_slowly, range(4), scheduler=cluster.scheduler_address) == [0, 1, 4, 9]


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_counts_every_result(workers: int) -> None:
    counts: list[int] = []
    assert fan_out(abs, [-3, 4, -5], workers=workers, done=counts.append) == [3, 4, 5]
    assert counts == [1, 2, 3]


INTERRUPTED = """
import os, signal, sys
from sim.replicas import fan_out
from tests.sim.squares import squared_slowly

def done(number):
    if number == 4:
        os.killpg(0, signal.SIGINT)  # as a terminal does: this process and its workers

print(fan_out(squared_slowly, range(4000), workers=int(sys.argv[1]), done=done))
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupt_keeps_what_is_done(workers: str) -> None:
    code, out, err = interrupted(INTERRUPTED, workers, timeout_s=60)
    assert (code, err) == (0, "")
    found = [int(number) for number in out.strip("[]\n").split(",")]
    assert found == [number**2 for number in range(len(found))]
    assert 4 <= len(found) < 4000


@pytest.mark.parametrize(
    ("scheduler", "says"),
    [
        ("tcp://127.0.0.1:1", "scheduler 'tcp://127.0.0.1:1' cannot be reached (connection refused)"),
        ("nonsense", "scheduler 'nonsense' is no address"),
        ("tcp://host:port", "scheduler 'tcp://host:port' is no address"),
        ("tcp://no.such.host.invalid:8786", "cannot be reached"),
    ],
)
def test_a_scheduler_that_is_not_there_is_one_sentence(scheduler: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        fan_out(abs, [1], scheduler=scheduler)
    assert says in str(error.value)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_that_listens_is_one_sentence(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.replicas.REACHED_WITHIN_S", 0.5)
    held: list[socket.socket] = []

    def answers() -> None:
        for _ in range(2):  # once to find out that something listens, once to be asked who it is
            connection, _address = server.accept()
            if answer:
                connection.sendall(answer)
            held.append(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answers)
        thread.start()
        with pytest.raises(InputError, match="is no Dask scheduler"):
            fan_out(abs, [1], scheduler=f"tcp://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    for connection in held:
        connection.close()


def test_workers_of_another_version_are_one_sentence(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.replicas.version", lambda _: str(os.getpid()))
    with pytest.raises(InputError, match=f"run herdplan .*, this is {os.getpid()}; install the same one"):
        fan_out(abs, [1], scheduler=cluster.scheduler_address)


def test_workers_without_herdplan_are_one_sentence(tmp_path: Path) -> None:
    preload = tmp_path / "without.py"
    # a test of a Streamlit page earlier in this process leaves a __main__ behind that new processes import first
    preload.write_text(
        "import sys\n"
        "for name in {'sim', *(n for n in sys.modules if n.startswith('sim.'))}:\n"
        "    sys.modules[name] = None\n"
    )
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50, preload=[str(preload)]
        ) as bare,
        pytest.raises(InputError, match="cannot import herdplan"),
    ):
        fan_out(abs, [1], scheduler=bare.scheduler_address)


def test_a_cluster_without_workers_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.replicas.REACHED_WITHIN_S", 0.5)
    with (
        LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as empty,
        pytest.raises(InputError, match="has no workers"),
    ):
        fan_out(abs, [1], scheduler=empty.scheduler_address)


def test_at_least_one_worker() -> None:
    with pytest.raises(InputError, match="workers is 0"):
        fan_out(abs, [1], workers=0)
