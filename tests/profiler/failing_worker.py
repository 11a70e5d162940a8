"""The profiler's command line on one rank, in short windows, where things break that FAIL names: "WORKLOAD" on every
rank, and "WORKLOAD@RANK" on one."""

import os
from dataclasses import replace
from typing import Any

import profiler.budget
import profiler.measure
import profiler.rollcall
import profiler.session
from profiler.cli import main
from profiler.options import DEFAULTS

prepare = profiler.measure.prepare
broken = os.environ["FAIL"].split(",")


def prepare_or_break(point: Any, bench: Any) -> Any:
    if {point.workload, f"{point.workload}@{os.environ['RANK']}"} & set(broken):
        raise RuntimeError("this card is broken")
    return prepare(point, bench)


if __name__ == "__main__":
    profiler.measure.prepare = prepare_or_break
    profiler.rollcall.GRACE_S = 2.0
    profiler.budget.LONGEST_TIME_WINDOW_S = 0.02
    profiler.session.COLLECTIVES_SHARE = 0.01
    DEFAULTS["cpu"] = replace(DEFAULTS["cpu"], matmul_sizes=(64,), copy_bytes=2**16, parameter_counts=(2**16,))
    main()
