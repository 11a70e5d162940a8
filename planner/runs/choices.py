"""What a row leaves open and only the model can say: a layout that fits, a micro-batch worth taking."""

from dataclasses import replace

import numpy as np

from planner.runs.cells import Cells
from planner.runs.layout import leaves_layout_open, leaves_micro_batch_open
from planner.runs.training_run import TrainingRun
from planner.search import LayoutSpace, kept_fastest
from profiler.files import InputError
from sim.case import concatenate
from sim.hardware import Cluster, load_storage
from sim.memory import fit, memory_use
from sim.step import step_times

WORTH_MORE_MEMORY = 1.1
"""A larger micro-batch is taken where a smaller one takes this much longer. With theirs hidden, published runs are
missed by 2.9 % (median) and 10.0 % (90th percentile) so, and by 8.2 and 39.0 % with one sequence each. At 1.05 it
would be 2.4 and 8.6 %, but a tenth more for some of the 17 runs that really do not state it."""

WORTH_MORE_GATHERS = 1.03
"""The same where ranks share out gradients or weights, and every micro-batch moves them again: whoever trains so
fills the memory first. With theirs hidden, those 135 runs are missed by 2.2 and 7.5 % so, and by 5.0 and 12.0 % at
1.1; nine sources of ten come nearer or stay. None of the runs that really do not state it is of this kind."""

LARGEST_MICRO_BATCH = 256
"""Four times what any published run takes; larger ones are not tried."""


def worth(run: TrainingRun) -> float:
    """How much longer a smaller micro-batch must take for a larger one to be taken."""
    return WORTH_MORE_GATHERS if run.layout.sharding in ("zero2", "fsdp", "hsdp") else WORTH_MORE_MEMORY


def settled(run: TrainingRun, c: Cells) -> TrainingRun:
    """The run in a layout that somebody would have taken, in what its row leaves open.

    Raises:
        InputError: no layout is stated, and none divides the batch.
    """
    few = run.global_batch < run.layout.dp * run.layout.micro_batch
    if leaves_layout_open(c) and (few or not _fits(run)):
        found = _searched(run, c)
        if found is not None:
            return found
        if few:
            raise InputError(
                f"global_batch {run.global_batch} and {run.layout.gpus} gpus: no layout divides both; "
                "state tp, pp and micro_batch."
            )
    run = _in_fitting_habits(run, c)
    return _with_micro_batch(run, c) if leaves_micro_batch_open(c) else run


def _in_fitting_habits(run: TrainingRun, c: Cells) -> TrainingRun:
    """A run that was made fitted: where the stack's habits could not have, full recompute, sharded weights or both,
    as far as the row leaves them open."""
    layouts = [run.layout]
    if not c.text("recompute"):
        layouts += [replace(layout, recompute="full") for layout in layouts]
    if not c.text("sharding") and "fsdp" in run.stack.shardings:
        layouts += [replace(layout, sharding="fsdp") for layout in layouts]
    fitting = next((layout for layout in layouts if _fits(replace(run, layout=layout))), run.layout)
    for name in ("recompute", "sharding"):
        habit, taken = getattr(run.layout, name), getattr(fitting, name)
        if taken != habit:
            c.notes = [note for note in c.notes if not note.startswith(f"{name} not stated")]
            c.notes.append(f"{name} not stated: {taken} ({habit}, the habit, would not fit in memory)")
    return replace(run, layout=fitting)


def _fits(run: TrainingRun) -> bool:
    return fit(float(memory_use(run.case()).total[0]), run.gpu.memory_bytes) != "does not fit"


def _searched(run: TrainingRun, c: Cells) -> TrainingRun | None:
    """The run in the fastest layout that fits, its pipeline one forward, one backward: who has a zero-bubble one says
    so. `None` where there is none."""
    shardings = (run.layout.sharding,) if c.text("sharding") else run.stack.shardings
    try:
        space = LayoutSpace(
            architecture=run.architecture,
            cluster=Cluster(
                gpu=run.gpu,
                node=run.node,
                fabric=run.fabric,
                storage=load_storage("shared-2tb-s"),
                gpus=run.layout.gpus,
            ),
            stack=replace(run.stack, shardings=shardings, schedules=("1f1b",)),
            seq_len=run.seq_len,
            global_batch=run.global_batch,
            precision=run.precision,
        )
        layout, _ = kept_fastest(space)
    except InputError:
        return None
    of_habits = tuple(f"{name} not stated" for name in ("layout", "recompute", "sharding"))
    c.notes = [note for note in c.notes if not note.startswith(of_habits)]
    c.notes.append(f"layout not stated: {layout.label}, the fastest that fits")
    return replace(run, layout=layout)


def _with_micro_batch(run: TrainingRun, c: Cells) -> TrainingRun:
    """The micro-batch that the stack's pipeline has by itself, or the smallest that fits and takes hardly longer than
    the best, of those that divide a replica's share of the batch. The others up to the best make the prediction's
    band."""
    share, pp = run.global_batch // run.layout.dp, run.layout.pp
    if run.stack.passes_as_stages and pp > 1 and share % pp == 0:
        c.notes.append(f"micro_batch not stated: {share // pp} (as many as stages, habit of stack {run.stack.name})")
        return replace(run, layout=replace(run.layout, micro_batch=share // pp))
    sizes = [size for size in range(1, min(share, LARGEST_MICRO_BATCH) + 1) if share % size == 0]
    runs = [replace(run, layout=replace(run.layout, micro_batch=size)) for size in sizes]
    case = concatenate([r.case() for r in runs])
    total_bytes = memory_use(case).total
    fits = total_bytes <= run.gpu.memory_bytes
    if not fits.any():  # as far as the memory model may be off
        fits = np.array([fit(float(total), run.gpu.memory_bytes) != "does not fit" for total in total_bytes])
    seconds = np.where(fits, step_times(case).total, np.inf)
    best = int(np.argmin(seconds))
    chosen = int(np.argmax(seconds <= worth(run) * seconds[best])) if fits.any() else 0
    why = " (the smallest that takes hardly longer than the best)" if fits.any() else ""
    c.notes.append(f"micro_batch not stated: {sizes[chosen]}{why}")
    others = tuple(size for i, size in enumerate(sizes[: best + 1]) if fits[i] and i != chosen)
    return replace(runs[chosen], other_micro_batches=others)
