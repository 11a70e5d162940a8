"""The layout and batch of a runs file's row: as stated, or by the framework's documented habit, with a note."""

import re
from collections.abc import Mapping
from math import gcd, prod

from planner.runs.cells import Cells
from planner.runs.words import OF_FLAGS, RECOMPUTES, SHARDINGS, meant, read_word
from profiler.architecture import ModelArchitecture
from profiler.files import InputError
from profiler.profile import Recompute
from sim.layout import ParallelLayout, Sharding, check_heads, node_shards
from sim.schedule.order import PipelineSchedule, chunks_of
from sim.stacks.stack import SoftwareStack


def _recompute(c: Cells, stack: SoftwareStack) -> Recompute:
    text = c.text("recompute").lower()
    if not text:
        said = meant(c.text("flags").lower(), OF_FLAGS)
        why = "as the flags say" if said else f"habit of stack {stack.name}"
        c.notes.append(f"recompute not stated: {said or stack.recompute} ({why})")
        return said or stack.recompute
    return read_word("recompute", text, RECOMPUTES)


def _sharding(c: Cells, stack: SoftwareStack) -> Sharding:
    text = c.text("sharding").lower()
    if text:
        return read_word("sharding", text, SHARDINGS)
    said = meant(c.text("sharding_detail").lower(), SHARDINGS)
    if said:
        return said
    habit = stack.shardings[0]
    c.notes.append(f"sharding not stated: {habit} (habit of stack {stack.name})")
    return habit


USUAL_TOKENS = 2**22
"""Tokens of a step where nothing says so: GPT-3 took 3.2 M (arXiv:2005.14165), Llama 2 and 3 began with 4 M
(arXiv:2307.09288, 2407.21783)."""


LONG_SEQUENCE = 2**15
"""Tokens from which a replica of many GPUs is taken to share out its sequences before its layers (assumed)."""

DEGREES = ("tp", "pp", "cp")
STATED = (
    *(*DEGREES, "dp", "vp", "micro_batch", "grad_accum"),
    *("shard_degree", "recompute", "recompute_layers", "pp_schedule"),
)
"""Columns that say something of a layout; what its ranks share out aside."""


def leaves_layout_open(c: Cells) -> bool:
    """True where a row says nothing of how its GPUs share the work out."""
    return not any(c.text(name) for name in STATED)


def read_layout(
    c: Cells, a: ModelArchitecture, stack: SoftwareStack, gpus: int, gpus_per_node: int
) -> ParallelLayout:
    tp, pp, cp = _degrees(c, a, gpus, gpus_per_node)
    check_heads(tp, a)
    if gpus % (tp * pp * cp):
        raise InputError(f"tp {tp} x pp {pp} x cp {cp} does not divide {gpus} gpus.")
    if pp > a.layers:
        raise InputError(f"pp {pp} is more stages than the model's {a.layers} layers.")
    dp = gpus // (tp * pp * cp)
    if gpus > 1 and not any(c.text(name) for name in (*DEGREES, "dp")):
        c.notes.append(f"layout not stated: {gpus} replicas of the whole model")
    if c.count("dp", dp) != dp:
        c.notes.append(f"dp {c.text('dp')} stated; tp, pp and cp leave {dp} replicas")
    flags = c.text("flags").lower()
    sequence_parallel: bool | None = None
    if "no sequence parallel" in flags:
        sequence_parallel = False
    elif re.search(r"sequence[_ ]parallel|reduce_scatter", flags):
        sequence_parallel = True
    sharding = _sharding(c, stack)
    layers = c.number("recompute_layers")
    recompute = _recompute(c, stack)
    return ParallelLayout(
        tp=tp,
        pp=pp,
        cp=cp,
        dp=dp,
        vp=_virtual_stages(c, a, pp, stack),
        micro_batch=_micro_batch(c, dp),
        schedule=_schedule(c, pp),
        sharding=sharding,
        shard_degree=_shard_degree(c, stack, sharding, dp * cp, node_shards(dp * cp, tp, gpus_per_node)),
        recompute=recompute,
        recompute_layers=min(int(layers), a.layers) if layers and recompute == "full" else None,
        sequence_parallel=sequence_parallel,
    )


def _degrees(c: Cells, a: ModelArchitecture, gpus: int, gpus_per_node: int) -> tuple[int, int, int]:
    """Ranks of tensor, pipeline and context parallelism: as stated; where `dp` replicas leave more GPUs to each than
    those make, the open ones are so many: tensor parallelism within a node, then stages, with long sequences context
    parallelism before them."""
    found = {name: c.count(name, 1) for name in DEGREES}
    left = _left_open(c, gpus, found)
    if left > 1:
        orders = ("tp", "cp", "pp") if c.count("seq_len") >= LONG_SEQUENCE else ("tp", "pp", "cp")
        order = [name for name in orders if not c.text(name)]
        for name in order:
            within = {"tp": gcd(gpus_per_node, a.heads), "pp": a.layers, "cp": left}[name]
            share = left if name == order[-1] else gcd(left, within)
            found[name], left = share, left // share
            if share > 1:
                c.notes.append(f"{name} not stated: {share} (dp {c.text('dp')} of {gpus} gpus)")
    if any(c.text(name) for name in DEGREES):
        unsaid = (name for name in DEGREES if not c.text(name) and found[name] == 1)
        c.notes.extend(f"{name} not stated: 1 (others are stated)" for name in unsaid)
    return found["tp"], found["pp"], found["cp"]


def _left_open(c: Cells, gpus: int, found: Mapping[str, int]) -> int:
    """GPUs of a replica over those that its stated degrees make; 1 where none is open or nothing tells."""
    if not c.text("dp") or all(c.text(name) for name in found):
        return 1
    ranks = c.count("dp") * prod(found.values())
    if ranks * (c.number("shard_degree") or 0) == gpus and not any(c.text(name) for name in found):
        return 1  # `dp` counts the copies of what `shard_degree` ranks share out
    return gpus // ranks if gpus % ranks == 0 else 1


def _shard_degree(c: Cells, stack: SoftwareStack, sharding: Sharding, ranks: int, in_node: int) -> int | None:
    """Ranks that share out one copy: as stated; under HSDP, or by the stack's habit, those in a node; else `None`,
    all."""
    stated = c.number("shard_degree")
    if stated:
        return int(min(max(stated, 1), ranks))
    if sharding != "hsdp" and not (sharding == "zero1" and stack.shares_state_in_node):
        return None
    alone = ", so plain data parallelism" if in_node == 1 and ranks > 1 else ""
    c.notes.append(f"shard_degree not stated: {in_node} (the ranks in a node{alone})")
    return in_node


def _virtual_stages(c: Cells, a: ModelArchitecture, pp: int, stack: SoftwareStack) -> int:
    """As stated; else the stack's usual ones, or the most, up to eight, that split the layers (or the layers plus
    embedding and head), where the schedule, or without its name the stack, interleaves."""
    if pp == 1:
        return 1
    chunks = chunks_of(_schedule(c, pp))
    if c.number("vp") is not None:
        stated = c.count("vp")
        if chunks is not None and stated != chunks:
            raise InputError(f"vp is {stated} with pp_schedule '{c.text('pp_schedule')[:40]}'; it needs vp {chunks}.")
        return stated
    if chunks is not None:
        return chunks
    if not stack.interleaves and not c.text("pp_schedule"):
        c.notes.append(f"vp not stated: 1 (habit of stack {stack.name})")
        return 1
    could = _chunkings(c, a, pp)
    if stack.usual_chunks is not None and stack.usual_chunks in could:
        c.notes.append(f"vp not stated: {stack.usual_chunks} (habit of stack {stack.name})")
        return stack.usual_chunks
    vp = max(could)
    c.notes.append(f"vp not stated: {vp} (the most chunks, up to 8, that split the layers)")
    return vp


SCHEDULE_NAMES: tuple[tuple[str, PipelineSchedule], ...] = (
    *((word, "gpipe") for word in ("gpipe", "afab", "fill-drain", "all-forward")),
    ("zb-v", "zb-v"),
    ("zbv", "zb-v"),
    ("zb-h2", "zb-h2"),
    ("zb-2p", "zb-h2"),
    ("zb", "zb-h1"),
    ("zero-bubble", "zb-h1"),
    ("zero bubble", "zb-h1"),
)
"""Schedules by what a row calls them; ZB-1p and ZB-2p are found by a solver within the memory of ZB-H1 and ZB-H2
(arXiv:2401.10241 section 4)."""


INTERLEAVED = ("interleav", "vpp", "virtual", "1f1b-i")
"""Words that say that a schedule has virtual stages."""


def _schedule(c: Cells, pp: int) -> PipelineSchedule:
    text = c.text("pp_schedule").lower()
    for word, schedule in SCHEDULE_NAMES:
        if word in text and pp > 1:
            return schedule
    return "1f1b"


def other_virtual_stages(c: Cells, a: ModelArchitecture, layout: ParallelLayout) -> tuple[int, ...]:
    unstated = layout.pp > 1 and c.number("vp") is None
    return tuple(v for v in _chunkings(c, a, layout.pp) if v != layout.vp) if unstated else ()


def _chunkings(c: Cells, a: ModelArchitecture, pp: int) -> list[int]:
    """Virtual stages up to eight that the layers allow and the schedule's name does not rule out."""
    schedule = c.text("pp_schedule").lower()
    if schedule and not any(word in schedule for word in INTERLEAVED):
        return [chunks_of(_schedule(c, pp)) or 1]
    return [v for v in range(1, 9) if v == 1 or a.layers % (pp * v) == 0 or (a.layers + 2) % (pp * v) == 0]


def leaves_micro_batch_open(c: Cells) -> bool:
    """True where a row does not say how its batch is cut."""
    return not any(c.text(name) for name in ("micro_batch", "grad_accum"))


def _micro_batch(c: Cells, dp: int) -> int:
    if c.text("micro_batch"):
        return c.count("micro_batch")
    accumulation, batch = c.number("grad_accum"), c.number("global_batch")
    if accumulation and batch:
        return max(round(batch / dp / accumulation), 1)
    if not leaves_micro_batch_open(c):
        c.notes.append("micro_batch not stated: 1")
    return 1


def read_global_batch(c: Cells, layout: ParallelLayout) -> int:
    """As stated; else what the micro-batches make, where their number is; else of the usual size, but enough to keep
    a stated pipeline's bubble small."""
    replicas = layout.dp * layout.micro_batch
    usual = USUAL_TOKENS / c.count("seq_len")
    if leaves_layout_open(c):
        return c.count("global_batch", max(round(usual), 1), "some four million tokens, as usual")
    fill = 8 * layout.pp if layout.pp > 1 else 1
    passes = c.count("grad_accum", max(fill, round(usual / replicas)))
    batch = c.count("global_batch", replicas * passes, f"micro-batches for each of {layout.dp} replicas: {passes}")
    if batch < replicas:
        raise InputError(
            f"global_batch {batch} is less than one micro-batch of {layout.micro_batch} "
            f"for each of {layout.dp} replicas."
        )
    return batch
