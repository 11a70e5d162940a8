"""Many independent tasks over many processes: the one place where work fans out.

joblib runs them: in this process, in worker processes of this machine (loky), or on the workers of a Dask cluster
where its scheduler's address is given. Results come in the order of the tasks, so that they are the same with any
number of workers.
"""

import asyncio
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from importlib.metadata import version
from multiprocessing import resource_tracker
from typing import Any, TypeVar
from urllib.parse import urlsplit

from profiler.files import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")

REACHED_WITHIN_S = 10.0
"""A scheduler that has not answered by then is not there; so is a cluster without workers."""


def fan_out(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int = 1,
    scheduler: str = "",
    done: Callable[[int], object] = lambda _: None,
) -> list[Result]:
    """`function` of each task, in their order; fewer than the tasks where Ctrl-C ended it.

    Args:
        function: of a module, so that other processes can import it; its tasks should be small.
        tasks: one argument each.
        workers: processes of this machine; with 1, this one. A cluster uses all that it has.
        scheduler: address of a Dask scheduler, such as `tcp://10.0.0.1:8786`.
        done: told how many results are in, after each.

    Raises:
        InputError: no workers, or a cluster that cannot be reached, is empty or runs another herdplan.
        KeyboardInterrupt: Ctrl-C before the first result.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; at least 1 is needed.")
    from joblib import Parallel, delayed

    results: list[Result] = []
    with ExitStack() as stack:
        if scheduler:
            stack.enter_context(_cluster(scheduler))
        with _interrupts_blocked() if workers > 1 else nullcontext():  # workers start here
            stream: Generator[Result, None, None] = Parallel(n_jobs=workers, return_as="generator")(
                delayed(function)(t) for t in tasks
            )
        try:
            for result in stream:
                results.append(result)
                done(len(results))
        except KeyboardInterrupt:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that results under way are not used is what was asked
                stream.close()
            _let_feeders_end()
            if not results:
                raise
    return results


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let Ctrl-C wait; processes started meanwhile never hear it.

    A terminal sends it to the workers too. They are ended by this process, and one that hears of it itself while it
    is still importing writes a traceback.
    """
    resource_tracker.ensure_running()  # as it starts it lets Ctrl-C through again, so it starts before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _let_feeders_end() -> None:
    """Wait for the threads that fed the workers stopped just now.

    loky does not, and they are daemons: the end of the interpreter would cut one off between unlinking its semaphore
    and saying so, and loky's resource tracker would then call it leaked.
    """
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(timeout=1.0)


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Send joblib's work to the Dask cluster at `address`.

    A task whose worker dies is run again on another one; that is the scheduler's doing.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError("a scheduler needs Dask: pip install 'herdplan[distributed]'.") from None
    from joblib import parallel_config

    _listening(address)
    _answering(address)
    client: Any = Client(address, timeout=REACHED_WITHIN_S, set_as_default=False)  # type: ignore[no-untyped-call]
    with client:
        _check(client, address)
        with parallel_config(backend="dask", client=client):
            yield


def _listening(address: str) -> None:
    """Raise `InputError` where nothing listens; a client would go on trying."""
    example = "start one with 'dask scheduler' and give its address, such as tcp://10.0.0.1:8786"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise InputError(f"scheduler '{address}' is no address; {example}.")
    try:
        socket.create_connection((host, port), timeout=REACHED_WITHIN_S).close()
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else str(error.strerror or error).lower()
        raise InputError(f"scheduler '{address}' cannot be reached ({why}); {example}.") from None


def _answering(address: str) -> None:
    """Raise `InputError` unless a Dask scheduler answers; a client would wait for ever for one that is silent."""
    from distributed.core import rpc

    async def ask() -> str:
        async with rpc(address) as scheduler:  # type: ignore[no-untyped-call]
            return str((await scheduler.identity())["type"])

    try:
        answer = asyncio.run(asyncio.wait_for(ask(), REACHED_WITHIN_S))
    except (OSError, ValueError, MemoryError):  # an answer in another language reads as a message of any size
        answer = ""
    if answer != "Scheduler":
        raise InputError(f"what listens at '{address}' is no Dask scheduler of this version.")


def _check(client: Any, address: str) -> None:
    """Raise `InputError` unless the cluster has workers and they run this herdplan."""
    try:
        client.wait_for_workers(1, timeout=REACHED_WITHIN_S)
    except TimeoutError:
        raise InputError(f"scheduler '{address}' has no workers; start some with 'dask worker {address}'.") from None
    here = version("herdplan")
    try:
        found = set(client.run(version, "herdplan").values())
        client.run(import_module, __name__)
    except ImportError as error:  # PackageNotFoundError is one too
        raise InputError(
            f"the workers of '{address}' cannot import herdplan ({error}); install version {here} where they run."
        ) from None
    if found != {here}:
        others = ", ".join(sorted(found - {here}))
        raise InputError(f"the workers of '{address}' run herdplan {others}, this is {here}; install the same one.")
