"""Which layout: every valid one evaluated in closed form, the best first, and why the others lose."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from profiler.architecture import ModelArchitecture, load_architecture
from profiler.files import InputError, nearest
from profiler.profile import Precision, Recompute
from profiler.units import GIB
from sim.case import RECOMPUTES, SHARDINGS, Array, StepCase, build_case
from sim.estimate import check_precision
from sim.hardware import Cluster, build_cluster
from sim.layout import ParallelLayout, Sharding
from sim.memory import largest_kind, memory_use
from sim.power import step_power_w
from sim.stacks import SoftwareStack, load_stack
from sim.step import step_times

CHUNK = 100_000
"""Layouts evaluated at once: bounds the memory of a search to some hundred megabytes."""
MICRO_BATCHES = (1, 2, 4, 8)
SHORTEST_SHARD = 1024
"""Context parallelism is not tried below this many tokens per rank."""


@dataclass(frozen=True, kw_only=True)
class RankedLayout:
    """One layout with what it would do; `reason` says why it loses, empty for the winner."""

    layout: ParallelLayout
    step_time_s: float
    tokens_per_s_per_gpu: float
    mfu: float
    memory_gib: float
    fits: bool
    gpu_power_w: float
    energy_kwh_per_step: float
    """At the GPUs alone."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The best layouts first, then the fastest that do not fit."""

    evaluated: int
    fitting: int
    seconds: float
    layouts: tuple[RankedLayout, ...]

    @property
    def best(self) -> RankedLayout:
        """The fastest layout that fits."""
        return self.layouts[0]


def search_layouts(
    *,
    architecture: ModelArchitecture,
    cluster: Cluster,
    stack: SoftwareStack,
    seq_len: int,
    global_batch: int,
    precision: Precision = "bf16",
    keep: int = 20,
) -> SearchResult:
    """Evaluate every valid layout and rank those that fit in memory by step time.

    Raises:
        InputError: no layout divides the batch and the GPUs, none fits in memory (says by how much), or a precision
        that the GPU lacks.
    """
    check_precision(precision, cluster.gpu)
    started = time.perf_counter()
    columns = enumerate_layouts(architecture, cluster, stack, seq_len, global_batch)
    count = columns["tp"].size
    if count == 0:
        raise InputError(
            f"no layout of {architecture.name} divides {cluster.gpus} GPUs and a batch of {global_batch} sequences; "
            f"{2 ** round(math.log2(cluster.gpus))} GPUs are the nearest power of two; take a batch that is one too."
        )
    kept: list[RankedLayout] = []
    fitting = 0
    for part in _chunks(columns):
        case = build_case(
            architecture=architecture,
            gpu=cluster.gpu,
            node=cluster.node,
            gpus_per_node=cluster.gpus_per_node,
            fabric=cluster.fabric,
            stack=stack,
            layouts=part,
            seq_len=seq_len,
            global_batch=global_batch,
            precision=precision,
        )
        ranked, fits = _rank(case, architecture, cluster, keep)
        kept += ranked
        fitting += fits
    kept.sort(key=lambda r: (not r.fits, r.step_time_s))
    if not kept[0].fits:
        least = min(kept, key=lambda r: r.memory_gib)
        raise InputError(
            f"{architecture.name} does not fit on {cluster.gpus} x {cluster.gpu.label}: the leanest of {count} "
            f"layouts ({least.layout.label}) needs {least.memory_gib:.0f} GiB of {cluster.gpu.memory_gib:.0f} GiB; "
            "use more GPUs or a GPU with more memory."
        )
    return SearchResult(
        evaluated=count,
        fitting=fitting,
        seconds=time.perf_counter() - started,
        layouts=tuple(_with_reasons(kept, keep)),
    )


def enumerate_layouts(
    a: ModelArchitecture, cluster: Cluster, stack: SoftwareStack, seq_len: int, global_batch: int
) -> dict[str, Array]:
    """All layouts that can be built, as the layout columns of a `StepCase`."""
    rows = [
        (tp, cp, pp, vp, dp, b, sharding, recompute)
        for tp, cp, pp, dp in _degrees(a, cluster, stack, seq_len)
        if global_batch % dp == 0
        for vp in _virtual_stages(a, pp)
        for b in MICRO_BATCHES
        if (global_batch // dp) % b == 0
        for sharding in (
            (SHARDINGS.index("zero1"),) if pp > 1 else (SHARDINGS.index("zero1"), SHARDINGS.index("fsdp"))
        )
        for recompute in range(len(RECOMPUTES))
    ]
    table: NDArray[np.float64] = np.array(rows, dtype=np.float64).reshape(-1, 8).T
    tp, cp, pp, vp, dp, b, sharding, recompute = table
    return {
        "tp": tp,
        "cp": cp,
        "pp": pp,
        "vp": vp,
        "dp": dp,
        "micro_batch": b,
        "sharding": sharding,
        "recompute": recompute,
        "shard_degree": dp * cp,
        "sequence_parallel": np.full_like(tp, stack.sequence_parallel),
        "recompute_share": np.ones_like(tp),
    }


def _degrees(
    a: ModelArchitecture, cluster: Cluster, stack: SoftwareStack, seq_len: int
) -> Iterator[tuple[int, int, int, int]]:
    """Tensor-, context-, pipeline- and data-parallel degrees that fill the cluster exactly."""
    for tp in _powers_of_two(cluster.gpus_per_node):
        if a.heads % tp or a.kv_heads % tp or cluster.gpus % tp:
            continue
        for cp in _powers_of_two(max(seq_len // SHORTEST_SHARD, 1)):
            if seq_len % (2 * cp) and cp > 1:
                continue
            for pp in range(1, a.layers + 1):
                uneven = a.layers % pp and (a.layers + 2) % pp
                if uneven or cluster.gpus % (tp * cp * pp) or (not stack.max_pipeline and pp * cp > 1):
                    continue
                yield tp, cp, pp, cluster.gpus // (tp * cp * pp)


def _powers_of_two(most: int) -> Iterator[int]:
    return (2**i for i in range(int(math.log2(most)) + 1))


def _virtual_stages(a: ModelArchitecture, pp: int) -> list[int]:
    """Chunks per stage that split the layers, or the layers with embedding and head, evenly."""
    if pp == 1:
        return [1]
    whole = a.layers if a.layers % pp == 0 else a.layers + 2
    return [v for v in range(1, whole // pp + 1) if (whole // pp) % v == 0]


def _chunks(columns: dict[str, Array]) -> Iterator[dict[str, Array]]:
    count = columns["tp"].size
    for start in range(0, count, CHUNK):
        yield {name: values[start : start + CHUNK] for name, values in columns.items()}


def _rank(
    case: StepCase, architecture: ModelArchitecture, cluster: Cluster, keep: int
) -> tuple[list[RankedLayout], int]:
    """The fastest `keep` that fit, the fastest `keep` that do not, and the leanest; with how many fit."""
    times, memory = step_times(case), memory_use(case)
    total = np.broadcast_to(times.total, (case.size,))
    fits = memory.total <= cluster.gpu.memory_bytes
    order = np.argsort(total, kind="stable")
    chosen = [*order[fits[order]][:keep], *order[~fits[order]][:keep], int(np.argmin(memory.total))]
    power_w = np.broadcast_to(step_power_w(cluster.gpu, times), total.shape)
    flops = architecture.flops_per_token(round(float(case.seq_len[0])), "noncausal")
    tokens = float(case.tokens[0])
    rows = []
    for i in dict.fromkeys(int(x) for x in chosen):
        rate = tokens / total[i] / cluster.gpus
        gib = float(memory.total[i]) / GIB
        rows.append(
            RankedLayout(
                layout=_layout(case, i),
                step_time_s=float(total[i]),
                tokens_per_s_per_gpu=float(rate),
                mfu=float(flops * rate / case.peak_flops[0]),
                memory_gib=gib,
                fits=bool(fits[i]),
                gpu_power_w=float(power_w[i]),
                energy_kwh_per_step=float(power_w[i] * total[i] * cluster.gpus / 3.6e6),
                reason="" if fits[i] else f"needs {gib:.0f} GiB, most of it {largest_kind(memory, i)}",
            )
        )
    return rows, int(fits.sum())


def _layout(case: StepCase, i: int) -> ParallelLayout:
    def whole(name: str) -> int:
        return round(float(getattr(case, name)[i]))

    sharding: tuple[Sharding, ...] = SHARDINGS
    recompute: tuple[Recompute, ...] = RECOMPUTES
    return ParallelLayout(
        tp=whole("tp"),
        cp=whole("cp"),
        pp=whole("pp"),
        vp=whole("vp"),
        dp=whole("dp"),
        micro_batch=whole("micro_batch"),
        sharding=sharding[whole("sharding")],
        recompute=recompute[whole("recompute")],
    )


def _with_reasons(kept: list[RankedLayout], keep: int) -> Iterator[RankedLayout]:
    """Say of each fitting layout how much slower than the best it is."""
    best = kept[0].step_time_s
    fitting = [r for r in kept if r.fits][:keep]
    for r in [*fitting, *[r for r in kept if not r.fits][:keep]]:
        slower = f"{(r.step_time_s / best - 1) * 100:.1f} % slower" if r.fits and r.step_time_s > best else r.reason
        yield RankedLayout(**{**{f.name: getattr(r, f.name) for f in fields(r)}, "reason": slower})


def run_search(
    model: str, gpu: str, gpus: int, seq_len: int, global_batch: int, precision: str, stack: str, keep: int
) -> SearchResult:
    """`search_layouts` by catalogue names.

    Raises:
        InputError: an unknown name, a count below one, or no layout that fits.
    """
    for name, value in (("seq-len", seq_len), ("global-batch", global_batch)):
        if value < 1:
            raise InputError(f"{name} is {value}; at least 1 is needed.")
    if precision not in get_args(Precision):
        raise InputError(f"precision '{precision}' is not known; {nearest(precision, get_args(Precision))}")
    return search_layouts(
        architecture=load_architecture(model),
        cluster=build_cluster(gpu, gpus),
        stack=load_stack(stack),
        seq_len=seq_len,
        global_batch=global_batch,
        precision=cast(Precision, precision),
        keep=keep,
    )
