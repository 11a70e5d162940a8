"""Which layouts there are: every one that can be built, as arrays that broadcast against each other."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiler.architecture import ModelArchitecture
from profiler.profile import Precision
from sim.case import RECOMPUTES, SHARDINGS, Array, StepCase
from sim.case_columns import build_case
from sim.hardware import Cluster
from sim.layout import ParallelLayout
from sim.schedule_order import SCHEDULES
from sim.sharding import FSDP, HSDP, ZERO1, ZERO2
from sim.stacks import SoftwareStack

CHUNK = 65_536
"""Layouts evaluated at once: an array of them is half a megabyte and stays in a core's cache."""
SHORTEST_SHARD = 1024
"""Context parallelism is not tried below this many tokens per rank."""
NONE, DDP = SHARDINGS.index("none"), SHARDINGS.index("ddp")

Columns = dict[str, Array]
"""Layouts as the layout fields of a `StepCase`, of shapes that broadcast."""
COLUMNS = ("tp", "cp", "pp", "vp", "dp", "micro_batch", "sharding", "shard_degree", "recompute", "sequence_parallel")
"""What tells two layouts apart."""


@dataclass(frozen=True, kw_only=True)
class LayoutSpace:
    """Every layout in which a model can take one step on a cluster.

    Tensor-parallel degrees divide the heads and fill nodes evenly, inside a node or over several; context-parallel
    ones leave two halves of at least 512 tokens to a rank; every number of stages that leaves the last one a layer;
    virtual stages that split a stage evenly; every micro-batch that divides a replica's share; every sharding,
    hybrid ones at every degree; recompute none, selective and full; sequence parallelism off too where the stack
    has it. Not among them: ZeRO-2 over several micro-batches, which reduces gradients after each one (DeepSpeed
    refuses it with a pipeline), and recompute of some of the layers.
    """

    architecture: ModelArchitecture
    cluster: Cluster
    stack: SoftwareStack
    seq_len: int
    global_batch: int
    precision: Precision = "bf16"

    def blocks(self, chunk: int = CHUNK) -> Iterator[Columns]:
        """The layouts, some `chunk` of them at a time, each block of one pipeline depth.

        Virtual stages run along the first axis, recompute along the second, all else along the third, so that
        what does not depend on the first two is computed once for all of them.
        """
        recompute = np.arange(len(RECOMPUTES), dtype=np.float64)[None, :, None]
        for pp in self._depths():
            vp = np.array(self._virtual_stages(pp), dtype=np.float64)[:, None, None]
            spreads = self._spreads(pp)
            width = max(chunk // (vp.size * recompute.size), 1)
            for start in range(0, spreads["tp"].size, width):
                part = {name: values[start : start + width] for name, values in spreads.items()}
                yield {
                    **part,
                    "pp": np.array([float(pp)]),
                    "vp": vp,
                    "recompute": recompute,
                    "recompute_share": np.ones(1),
                    "schedule": np.full(1, float(SCHEDULES.index("1f1b"))),
                }

    def _depths(self) -> list[int]:
        """Numbers of pipeline stages: those that split the layers, or the layers with embedding and head, evenly, or
        that leave a shorter last stage at least a layer."""
        layers = self.architecture.layers
        most = layers if self.stack.max_pipeline else 1

        def splits(pp: int) -> bool:
            return (layers + 2) % pp == 0 or layers > (pp - 1) * -(-layers // pp)

        return [pp for pp in _divisors(self.cluster.gpus) if pp <= most and splits(pp)]

    def _virtual_stages(self, pp: int) -> list[int]:
        """Chunks per stage that split its layers, or its layers with embedding and head, evenly."""
        layers = self.architecture.layers
        whole = next((n for n in (layers, layers + 2) if n % pp == 0), pp)
        return [1] if pp == 1 else _divisors(whole // pp)

    def _tensor_degrees(self) -> list[int]:
        a, per_node = self.architecture, self.cluster.gpus_per_node
        return [
            tp
            for tp in _divisors(a.heads)
            if (tp > a.kv_heads or a.kv_heads % tp == 0) and (per_node % tp == 0 or tp % per_node == 0)
        ]

    def _context_degrees(self) -> list[int]:
        most = self.seq_len // SHORTEST_SHARD if self.stack.max_pipeline else 1
        return [1, *(cp for cp in _divisors(self.seq_len // 2) if 1 < cp <= most and self.seq_len % (2 * cp) == 0)]

    def _spreads(self, pp: int) -> Columns:
        """Everything but pipeline and recompute: one entry per combination that can be built."""
        per_stage = self.cluster.gpus // pp
        shardings = [(s, 0) for s in (NONE, DDP, ZERO1, ZERO2, FSDP)]
        shardings += [(HSDP, degree) for degree in _divisors(per_stage) if degree > 1]
        habit = int(self.stack.sequence_parallel)
        axes = np.meshgrid(
            self._tensor_degrees(),
            self._context_degrees(),
            _divisors(self.global_batch),
            np.arange(len(shardings)),
            [1, 0] if habit else [0],
            indexing="ij",
        )
        tp, cp, micro_batch, option, sequence_parallel = (axis.ravel() for axis in axes)
        sharding, degree = np.array(shardings).T[:, option]
        dp = np.maximum(per_stage // (tp * cp), 1)
        ranks = dp * cp
        can: NDArray[np.bool_] = (tp * ranks == per_stage) & (self.global_batch % (dp * micro_batch) == 0)
        can &= (sharding == NONE) == (ranks == 1)
        can &= (sharding != ZERO2) | (dp * micro_batch == self.global_batch)
        can &= (sharding != HSDP) | ((degree < ranks) & (ranks % np.maximum(degree, 1) == 0))
        can &= (tp > 1) | (sequence_parallel == habit)
        shared = np.where(degree > 0, degree, ranks)
        columns = (tp, cp, dp, micro_batch, sharding, shared, sequence_parallel)
        names = ("tp", "cp", "dp", "micro_batch", "sharding", "shard_degree", "sequence_parallel")
        return {name: values[can].astype(np.float64) for name, values in zip(names, columns, strict=True)}

    def layout(self, row: Array) -> ParallelLayout:
        """The layout that a row of `COLUMNS` stands for; what is the stack's habit stays unsaid."""
        at = dict(zip(COLUMNS, (round(float(value)) for value in row), strict=True))
        sharding = SHARDINGS[at["sharding"]]
        habit = at["sequence_parallel"] == self.stack.sequence_parallel
        return ParallelLayout(
            tp=at["tp"],
            cp=at["cp"],
            pp=at["pp"],
            vp=at["vp"],
            dp=at["dp"],
            micro_batch=at["micro_batch"],
            sharding=sharding,
            shard_degree=at["shard_degree"] if sharding == "hsdp" else None,
            recompute=RECOMPUTES[at["recompute"]],
            sequence_parallel=None if habit else bool(at["sequence_parallel"]),
        )

    def case(self, layouts: Columns | list[ParallelLayout]) -> StepCase:
        """What the closed form needs to evaluate some of the layouts."""
        return build_case(
            architecture=self.architecture,
            gpu=self.cluster.gpu,
            node=self.cluster.node,
            gpus_per_node=self.cluster.gpus_per_node,
            fabric=self.cluster.fabric,
            stack=self.stack,
            layouts=layouts,
            seq_len=self.seq_len,
            global_batch=self.global_batch,
            precision=self.precision,
        )


def shape_of(columns: Columns) -> tuple[int, ...]:
    """The shape to which the columns broadcast: one entry per layout."""
    return np.broadcast_shapes(*(values.shape for values in columns.values()))


def fitting_columns(columns: Columns, fits: NDArray[np.bool_]) -> tuple[Columns, NDArray[np.bool_]]:
    """The columns of a block without the spreads of which nothing fits, and what fits of the others."""
    some = np.flatnonzero(fits.any(axis=(0, 1)))
    return {
        name: values[some] if values.shape == fits.shape[2:] else values for name, values in columns.items()
    }, fits[:, :, some]


def _divisors(n: int) -> list[int]:
    low = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return sorted({*low, *(n // d for d in low)})
