"""The profiler's command line on two ranks, in short windows, where things break that the first word names.

`failing_worker "head_loss,qkv@1" run ...` breaks head_loss on both ranks and qkv on rank 1; then it runs the same
command again, unbroken. Prints the ranks' exit codes after each, and keeps the first profile as OUT.broken.
"""

import os
import shutil
import sys
from dataclasses import replace
from typing import Any

import torch

import profiler.budget
import profiler.measure
import profiler.progress
import profiler.rollcall
import profiler.session
from profiler.cli import main
from profiler.options import DEFAULTS
from tests.profiler.ranks import fork_ranks

prepare = profiler.measure.prepare
broken: set[str] = set()


def prepare_or_break(point: Any, bench: Any) -> Any:
    if {point.workload, f"{point.workload}@{os.environ['RANK']}"} & broken:
        raise RuntimeError("this card is broken")
    return prepare(point, bench)


if __name__ == "__main__":
    torch.set_num_threads(1)
    profiler.measure.prepare = prepare_or_break
    profiler.rollcall.GRACE_S = 2.0
    profiler.budget.LONGEST_TIME_WINDOW_S = 0.02
    profiler.session.COLLECTIVES_SHARE = 0.01
    DEFAULTS["cpu"] = replace(DEFAULTS["cpu"], matmul_sizes=(64,), copy_bytes=2**16, parameter_counts=(2**16,))
    words = sys.argv.pop(1)
    for broken_now in (set(words.split(",")), set[str]()):
        broken = broken_now
        codes = fork_ranks(2, main)
        print(f"exit codes {codes}", flush=True)
        if broken:
            shutil.copy(sys.argv[-1], f"{sys.argv[-1]}.broken")
