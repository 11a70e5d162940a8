"""Long work beside the page: it shows how far it is, can be stopped, and leaves its result in the session."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from dashboard.controls import for_page
from profiler.files import InputError

AT_ONCE = 2
"""Jobs of all sessions together that run at the same time; others wait their turn."""

TURN = threading.Semaphore(AT_ONCE)

Tell = Callable[[int], None]
Work = Callable[[Tell], Any]
"""Takes a function to be told how many are done, which raises `KeyboardInterrupt` once the person has stopped it:
the same way in which Ctrl-C ends the commands, whose first results are kept."""


@dataclass
class Job:
    """One piece of work in a thread of its own."""

    about: str
    """What was asked: a result for something else is out of date."""
    total: int
    done: int = 0
    result: Any = None
    problem: str = ""
    ended: bool = False
    began_s: float = field(default_factory=time.monotonic)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self, work: Work) -> None:
        """Begin, and return at once."""
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def stop(self) -> None:
        """End after the piece under way."""
        self._stop.set()

    def tell(self, done: int) -> None:
        """Take note of what is done.

        Raises:
            KeyboardInterrupt: it was stopped.
        """
        self.done = done
        if self._stop.is_set():
            raise KeyboardInterrupt

    @property
    def left_s(self) -> float | None:
        """Seconds still to go at the pace so far; `None` before the first piece."""
        return (time.monotonic() - self.began_s) / self.done * (self.total - self.done) if self.done else None

    def _run(self, work: Work) -> None:
        try:
            with TURN:
                self.began_s = time.monotonic()
                if not self._stop.is_set():
                    self.result = work(self.tell)
        except KeyboardInterrupt:
            self.problem = "Stopped before the first result."
        except InputError as error:
            self.problem = for_page(str(error))
        except Exception as error:  # a thread's failure would otherwise be lost
            self.problem = f"It failed ({type(error).__name__}); try other choices."
        finally:
            self.ended = True


def panel(name: str, *, about: str, label: str, total: int, work: Work) -> Any:
    """A button that starts the work; while it runs its progress and a button that stops it; then its result.

    `None` until there is one. A result stays until something else is asked (`about`) and the work is run again.
    """
    job: Job | None = st.session_state.get(f"job_{name}")
    if job is not None and job.about != about:
        job.stop()
        job = None
        del st.session_state[f"job_{name}"]
    if job is None:
        st.button(label, key=f"start_{name}", icon=":material/play_arrow:", on_click=_begin,
                  args=(name, about, total, work))  # fmt: skip
        return None
    if not job.ended:
        _watch(name)
        return None
    if job.problem:
        from dashboard.ui import problem

        problem(job.problem)
        st.button("Try again", key=f"again_{name}", on_click=_begin, args=(name, about, total, work))
    return job.result


def _begin(name: str, about: str, total: int, work: Work) -> None:
    job = Job(about=about, total=total)
    st.session_state[f"job_{name}"] = job
    job.start(work)


@st.fragment(run_every=0.4)
def _watch(name: str) -> None:
    """How far a job is, looked at again and again without drawing the page anew."""
    job: Job | None = st.session_state.get(f"job_{name}")
    if job is None or job.ended:
        st.rerun()
    left = "" if job.left_s is None else f", about {job.left_s:.0f} s left"
    st.progress(min(job.done / job.total, 1.0), text=f"{job.done} of {job.total} done{left}")
    st.button("Stop", key=f"stop_{name}", icon=":material/stop:", on_click=job.stop)
