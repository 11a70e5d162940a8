"""How a model is spread over GPUs, and why a spread is impossible."""

import math
from dataclasses import dataclass
from typing import Literal

from profiler.architecture import ModelArchitecture
from profiler.files import InputError
from profiler.profile import Recompute
from profiler.units import Count
from sim.schedule.order import PipelineSchedule, chunks_of

Sharding = Literal["none", "ddp", "zero1", "zero2", "fsdp", "hsdp"]
"""What the data-parallel ranks share out: nothing (none, ddp), the optimizer's state (zero1), gradients too
(zero2), weights too (fsdp), weights within a group and copies between groups (hsdp)."""


@dataclass(frozen=True, kw_only=True)
class ParallelLayout:
    """Degrees of parallelism and what is kept or recomputed.

    Raises:
        InputError: the GPUs are not a multiple of tp x cp x pp.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    tp: Count = 1
    """Tensor-parallel ranks; each holds heads/tp and ffn/tp of every layer."""
    cp: Count = 1
    """Context-parallel ranks; each holds 1/cp of every sequence."""
    pp: Count = 1
    """Pipeline stages."""
    vp: Count = 1
    """Model chunks per stage (virtual stages)."""
    schedule: PipelineSchedule = "1f1b"
    """In which order a stage computes; 1f1b is interleaved where a stage holds several chunks."""
    dp: Count = 1
    """Data-parallel replicas."""
    micro_batch: Count = 1
    """Sequences in one forward pass of one replica."""
    sharding: Sharding = "zero1"
    shard_degree: Count | None = None
    """Ranks that share one copy of the state; all data- and context-parallel ranks unless stated."""
    recompute: Recompute = "none"
    recompute_layers: Count | None = None
    """Layers recomputed when `recompute` is full; all of them unless stated."""
    sequence_parallel: bool | None = None
    """Norms and dropout split over the tensor-parallel ranks; the stack's habit unless stated."""

    @property
    def gpus(self) -> int:
        """GPUs that the layout occupies."""
        return self.tp * self.cp * self.pp * self.dp

    @property
    def degrees(self) -> str:
        """How GPUs are shared out: only the degrees above one."""
        parts = [("TP", self.tp), ("CP", self.cp), ("PP", self.pp), ("VP", self.vp), ("DP", self.dp)]
        return " ".join(f"{name}{n}" for name, n in parts if n > 1) or "single GPU"

    @property
    def label(self) -> str:
        """Short name: the degrees, and what is stated beside them."""
        sharding = f"{self.sharding} over {self.shard_degree}" if self.shard_degree else self.sharding
        sharding = "plain data-parallel" if self.shard_degree == 1 else sharding  # one rank shares with nobody
        sequence = {None: "", True: ", sequence-parallel", False: ", not sequence-parallel"}[self.sequence_parallel]
        text = self.degrees if self.schedule == "1f1b" else f"{self.degrees} {self.schedule}"
        return f"{text}, micro-batch {self.micro_batch}, {sharding}, recompute {self.recompute}{sequence}"


def node_shards(ranks: int, tp: int, gpus_per_node: int) -> int:
    """Ranks that hybrid sharding shares one copy out over where nothing is said: of all `ranks`, data- and context-
    parallel, those in a node (torch.distributed.fsdp: HYBRID_SHARD shards within a node, replicates across nodes)."""
    return math.gcd(ranks, max(gpus_per_node // tp, 1))


def check_heads(tp: int, a: ModelArchitecture) -> None:
    """Refuse a tensor-parallel degree that does not divide the heads, or that the key/value heads cannot follow.

    Raises:
        InputError: names the nearest degree that fits both.
    """
    if not splits_heads(tp, a):
        nearest = min((n for n in range(1, a.heads + 1) if splits_heads(n, a)), key=lambda n: (abs(n - tp), n))
        raise InputError(
            f"tp is {tp}; it must divide the {a.heads} heads of {a.name}, and divide or be a multiple of its "
            f"{a.kv_heads} key/value heads: {nearest} does."
        )


def splits_heads(tp: int, a: ModelArchitecture) -> bool:
    """Whether ranks hold equal heads, each with its key/value heads: split, or copied beyond their number."""
    return a.heads % tp == 0 and (a.kv_heads % tp == 0 or tp % a.kv_heads == 0)


def check_layout(
    layout: ParallelLayout, architecture: ModelArchitecture, *, gpus: int, global_batch: int, seq_len: int
) -> None:
    """Refuse a layout that cannot be built, naming the nearest that can.

    Raises:
        InputError: degrees that do not divide the heads, layers, sequences or GPUs.
    """
    a = architecture
    check_heads(layout.tp, a)
    if layout.gpus != gpus:
        per_replica = layout.tp * layout.cp * layout.pp
        raise InputError(
            f"tp {layout.tp} x cp {layout.cp} x pp {layout.pp} x dp {layout.dp} is {layout.gpus} GPUs, not {gpus}; "
            + (
                f"dp {gpus // per_replica} would fill them."
                if gpus % per_replica == 0
                else f"the nearest count it divides is {max(round(gpus / per_replica), 1) * per_replica}."
            )
        )
    if layout.pp * layout.vp > a.layers + 2:  # the embedding and the head may each take a chunk
        raise InputError(
            f"pp {layout.pp} x vp {layout.vp} is more chunks than the {a.layers} layers of {a.name} "
            "with its embedding and head."
        )
    if layout.vp > 1 and layout.pp == 1:
        raise InputError(f"vp is {layout.vp} but pp is 1; virtual stages need a pipeline.")
    chunks = chunks_of(layout.schedule)
    if chunks is not None and (layout.pp == 1 or layout.vp != chunks):
        raise InputError(
            f"schedule is {layout.schedule} with pp {layout.pp} and vp {layout.vp}; it needs a pipeline (pp over 1) "
            f"with vp {chunks}."
        )
    if seq_len % (2 * layout.cp if layout.cp > 1 else 1):
        raise InputError(f"cp is {layout.cp}; balanced halves need seq_len {seq_len} to divide by {2 * layout.cp}.")
    per_pass = layout.dp * layout.micro_batch
    if global_batch % per_pass:
        nearest = max(round(global_batch / per_pass), 1) * per_pass
        raise InputError(
            f"global_batch is {global_batch}, not a multiple of dp {layout.dp} x micro_batch {layout.micro_batch}; "
            f"the nearest is {nearest}."
        )
