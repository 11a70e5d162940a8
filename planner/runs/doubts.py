"""What in a row of a runs file does not go together: refused where no step can be so, else noted."""

import re

from planner.positions import context_notes
from planner.runs.cells import Cells
from planner.runs.layout import INTERLEAVED, SCHEDULE_NAMES
from planner.runs.training_run import TrainingRun
from profiler.files import InputError

KNOWN_SCHEDULES = ("1f1b", *INTERLEAVED, *(word for word, _ in SCHEDULE_NAMES))
EXPERTS = re.compile(r"\bmoe\b|\d+x\d+(?:\.\d+)?b\b|mixtral|deepseek-?v[23]|\d+b-a\d+(?:\.\d+)?b\b")
"""What models are called that have some."""
LARGEST_STEP_TOKENS = 2**28
"""Four times what any published run takes in one step (DeepSeek-V3: 63 M, arXiv:2412.19437); more is likely a batch
in tokens."""


def doubt(run: TrainingRun, c: Cells) -> None:
    """Note what a row says that the prediction passes over.

    Raises:
        InputError: experts, or sequences that the context-parallel ranks cannot share out.
    """
    if c.count("ep", 1) > 1:
        raise InputError(f"ep is {c.text('ep')}; only dense models are predicted, which have no experts to spread.")
    cp = run.layout.cp
    if cp > 1 and run.seq_len % (2 * cp):
        raise InputError(f"cp is {cp}; balanced halves need a seq_len that {2 * cp} divides, not {run.seq_len}.")
    c.notes += context_notes(run.seq_len, run.architecture)
    doubts = (_experts(c), _schedule(c, run), _chunks(run), _batch(run), _passes(c, run), _nodes(run))
    c.notes += [note for note in doubts if note]


def _experts(c: Cells) -> str:
    name = c.text("model")
    return f"model '{name[:40]}' seems to have experts: predicted as dense" if EXPERTS.search(name.lower()) else ""


def _schedule(c: Cells, run: TrainingRun) -> str:
    text = c.text("pp_schedule").lower()
    if run.layout.pp == 1 or not text or any(word in text for word in KNOWN_SCHEDULES):
        return ""
    return f"pp_schedule '{text[:40]}' is not known: {run.layout.schedule}"


def _chunks(run: TrainingRun) -> str:
    layout, layers = run.layout, run.architecture.layers
    chunks = layout.pp * layout.vp
    if layout.vp == 1 or layers % chunks == 0 or (layers + 2) % chunks == 0:
        return ""
    return f"pp {layout.pp} x vp {layout.vp} does not split {layers} layers: chunks of {layers / chunks:.2g} each"


def _batch(run: TrainingRun) -> str:
    if run.global_batch * run.seq_len > LARGEST_STEP_TOKENS:
        tokens = f"{run.global_batch * run.seq_len / 1e6:,.0f} M tokens a step"
        return f"global_batch {run.global_batch} counts sequences, {tokens}; was it in tokens?"
    replicas, size = run.layout.dp, run.layout.micro_batch
    if run.global_batch % (replicas * size) == 0:
        return ""
    passes = run.global_batch / (replicas * size)
    return (
        f"global_batch {run.global_batch} is no multiple of {replicas} replicas x micro_batch {size}: "
        f"counted as {passes:.3g} micro-batches each"
    )


def _passes(c: Cells, run: TrainingRun) -> str:
    stated = c.number("grad_accum")
    passes = run.global_batch / (run.layout.dp * run.layout.micro_batch)
    if stated is None or stated == passes:
        return ""
    return f"grad_accum {stated:g} stated; global_batch, replicas and micro_batch make {passes:.3g}"


def _nodes(run: TrainingRun) -> str:
    gpus, per_node, tp = run.layout.gpus, run.gpus_per_node, run.layout.tp
    if gpus <= per_node:
        return ""
    if gpus % per_node:
        return f"{gpus} gpus do not fill nodes of {per_node}"
    apart = tp < per_node and per_node % tp
    return f"tp {tp} does not fill nodes of {per_node}: groups between two nodes are not counted" if apart else ""
