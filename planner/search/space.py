"""Which layouts there are: every one that can be built, as arrays that broadcast against each other."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import product

import numpy as np
from numpy.typing import NDArray

from planner.layout_choice import Only
from profiler.architecture import ModelArchitecture
from sim.allowed_power import AllowedPower
from sim.case import RECOMPUTES, SHARDINGS, Array, StepCase
from sim.case_columns import build_case
from sim.hardware import Cluster, TrainingPrecision
from sim.layout import ParallelLayout, splits_heads
from sim.schedule.order import SCHEDULES, SPLIT, chunks_of
from sim.sharding import HSDP
from sim.stacks.stack import SoftwareStack

CHUNK = 65_536
"""Layouts evaluated at once: an array of them is half a megabyte and stays in a core's cache."""
SHORTEST_SHARD = 1024
"""Context parallelism is not tried below this many tokens per rank."""
ZERO_BUBBLE_ROUNDS = 2
"""Micro-batches for each stage below which zero-bubble schedules are not tried."""
NONE = SHARDINGS.index("none")

Columns = dict[str, Array]
"""Layouts as the layout fields of a `StepCase`, of shapes that broadcast."""
COLUMNS = (
    *("tp", "cp", "pp", "vp", "dp", "micro_batch"),
    *("sharding", "shard_degree", "recompute", "sequence_parallel", "schedule"),
)
"""What tells two layouts apart."""
SPREAD = ("tp", "cp", "pp", "dp", "micro_batch")
"""How GPUs and sequences are spread, which a person may hold."""


@dataclass(frozen=True, kw_only=True)
class LayoutSpace:
    """Every layout in which a model can take one step on a cluster.

    Tensor-parallel degrees divide the heads and fill nodes evenly, inside a node or over several; context-parallel
    ones leave two halves of at least 512 tokens to a rank; every number of stages that leaves the last one a layer;
    the pipeline schedules that the stack has, 1F1B with virtual stages that split a stage evenly, zero-bubble ones
    where at least two micro-batches pass for each stage (with fewer they have bubbles, which the closed form was not
    checked for); every micro-batch that divides a replica's share; the shardings that the stack has, hybrid ones at
    every degree; recompute none, selective and full; sequence parallelism off too where the stack has it. Of these,
    what `only` allows. Not among them: recompute of some of the layers.
    """

    architecture: ModelArchitecture
    cluster: Cluster
    stack: SoftwareStack
    seq_len: int
    global_batch: int
    precision: TrainingPrecision = "bf16"
    allowed: AllowedPower = field(default_factory=AllowedPower)
    """What its GPUs may draw."""
    only: Only = field(default_factory=Only)

    def blocks(self, chunk: int = CHUNK) -> Iterator[Columns]:
        """The layouts, some `chunk` of them at a time, each block of one pipeline depth.

        Schedules and virtual stages run along the first axis, recompute along the second, all else along the third,
        so that what does not depend on the first two is computed once for all of them.
        """
        spreads = self.spreads()
        for pp in self._depths():
            for options in filter(None, self._stages(pp)):
                schedule, vp, least = np.array(options, dtype=np.float64).T[:, :, None, None]
                runs = (spreads["pp"] == pp) & (self._micro_batches(spreads) >= least.max())
                shared = self.shared(select(spreads, runs))
                width = max(chunk // (vp.size * len(self._recomputes())), 1)
                for start in range(0, shared["tp"].size, width):
                    some = select(shared, slice(start, start + width))
                    yield {**some, "schedule": schedule, "vp": vp, **self._recompute_columns()}

    def spreads(self) -> Columns:
        """Tensor, context, data and pipeline parallelism with every micro-batch: one entry each, which `staged` and
        then `shared` make into layouts."""
        axes = np.meshgrid(
            self._depths(),
            self._tensor_degrees(),
            self._context_degrees(),
            [size for size in _divisors(self.global_batch) if self.only.allows("micro_batch", size)],
            [1, 0] if self.stack.sequence_parallel else [0],
            indexing="ij",
        )
        pp, tp, cp, micro_batch, sequence_parallel = (axis.ravel() for axis in axes)
        dp = np.maximum(self.cluster.gpus // (pp * tp * cp), 1)
        can = (pp * tp * cp * dp == self.cluster.gpus) & (self.global_batch % (dp * micro_batch) == 0)
        can &= (tp > 1) | (sequence_parallel == self.stack.sequence_parallel)
        can &= dp == (self.only.dp or dp)
        columns = {
            **{"pp": pp, "tp": tp, "cp": cp, "dp": dp},
            **{"micro_batch": micro_batch, "sequence_parallel": sequence_parallel},
        }
        return {name: values[can].astype(np.float64) for name, values in columns.items()}

    def staged(self, spreads: Columns) -> tuple[Columns, NDArray[np.bool_]]:
        """Some spreads with every schedule, virtual stages and recompute along axes as those of `blocks`, the first
        as long as the most that a depth has; and which of them there are."""
        depths = self._depths()
        options = [[option for part in self._stages(pp) for option in part] for pp in depths]
        most = max(len(part) for part in options)
        padded = np.array([part + [(0, 0, 0)] * (most - len(part)) for part in options], dtype=np.float64)
        schedule, vp, least = padded[np.searchsorted(depths, spreads["pp"])].T[:, :, None, :]
        there = (vp > 0) & (self._micro_batches(spreads) >= least)
        return {**spreads, "schedule": schedule, "vp": np.maximum(vp, 1), **self._recompute_columns()}, there

    def shared(self, columns: Columns) -> Columns:
        """Each entry of `columns` once for every sharding that its ranks allow."""
        can, degrees = self._can_share(columns)
        at, option = np.nonzero(can)
        ranks = columns["dp"][at] * columns["cp"][at]
        return {
            **{name: values[at] for name, values in columns.items()},
            "sharding": np.minimum(option, HSDP).astype(np.float64),
            "shard_degree": np.where(degrees[option] > 0, degrees[option], ranks),
        }

    def count(self, spreads: Columns, there: NDArray[np.bool_]) -> int:
        """How many layouts some spreads have, given those of `staged` that there are."""
        shardings = self._can_share(spreads)[0].sum(axis=1)
        return int((shardings * there.sum(axis=(0, 1))).sum()) * len(self._recomputes())

    def nearest_batch(self) -> int:
        """The global batch nearest to the one asked for that some layout divides."""
        degrees = product(self._depths(), self._tensor_degrees(), self._context_degrees())
        ranks = {divmod(self.cluster.gpus, math.prod(at)) for at in degrees}
        near = [max(round(self.global_batch / dp), 1) * dp for dp, left in ranks if not left]
        return min(near, key=lambda batch: (abs(batch - self.global_batch), batch))

    def choices(self) -> dict[str, list[int] | list[str]]:
        """What each part of a layout, as `Only` calls them, is in some layout."""
        spreads = self.spreads()
        stages = [option for pp in self._depths() for part in self._stages(pp) for option in part]
        return {
            **{name: np.unique(spreads[name]).astype(int).tolist() for name in SPREAD},
            "vp": sorted({vp for _, vp, _ in stages}),
            "schedule": [SCHEDULES[at] for at in sorted({at for at, _, _ in stages})],
            "sharding": ["none", *self.stack.shardings],
            "recompute": self._recomputes(),
        }

    def divided_gpus(self) -> NDArray[np.int64]:
        """Numbers of GPUs that some layout with this global batch divides, where all are allowed: part of a node, or
        whole ones."""
        per_node = self.cluster.node.gpus_per_node
        part = [n for n in range(1, per_node) if self._on(n).spreads()["tp"].size]
        degrees = (
            [pp for pp in range(1, self._most_stages() + 1) if self._splits(pp)],
            self._on(per_node)._tensor_degrees(),
            self._context_degrees(),
            _divisors(self.global_batch),
        )
        whole = np.unique(reduce(np.multiply.outer, [np.array(of, dtype=np.int64) for of in degrees]))
        return np.concatenate([np.array(part, dtype=np.int64), whole[whole % per_node == 0]])

    def _on(self, gpus: int) -> "LayoutSpace":
        """The same on another number of GPUs."""
        return replace(self, cluster=replace(self.cluster, gpus=gpus))

    def _micro_batches(self, columns: Columns) -> Array:
        return self.global_batch / (columns["dp"] * columns["micro_batch"])

    def _can_share(self, columns: Columns) -> tuple[NDArray[np.bool_], Array]:
        """Which shardings each entry allows, those of `SHARDINGS` in turn and then hybrid ones by degree; and these
        degrees, 0 for the others."""
        degrees = np.array([0] * HSDP + [d for d in _divisors(self.cluster.gpus) if d > 1], dtype=np.float64)
        sharding = np.minimum(np.arange(degrees.size), HSDP)
        had = [name for name in ("none", *self.stack.shardings) if self.only.allows("sharding", name)]
        has = np.isin(sharding, [SHARDINGS.index(name) for name in had])
        ranks = (columns["dp"] * columns["cp"])[:, None]
        hybrid = (degrees < ranks) & (ranks % np.maximum(degrees, 1) == 0)
        return has & ((sharding == NONE) == (ranks == 1)) & ((sharding != HSDP) | hybrid), degrees

    def _depths(self) -> list[int]:
        """Numbers of pipeline stages: those that split the layers, or the layers with embedding and head, evenly, or
        that leave a shorter last stage at least a layer."""
        depths = [pp for pp in _divisors(self.cluster.gpus) if pp <= self._most_stages() and self._splits(pp)]
        return [pp for pp in depths if self.only.allows("pp", pp) and any(self._stages(pp))]

    def _most_stages(self) -> int:
        return self.architecture.layers if self.stack.has_pipeline else 1

    def _splits(self, pp: int) -> bool:
        """Whether so many stages hold the layers as `_depths` says."""
        layers = self.architecture.layers
        return (layers + 2) % pp == 0 or layers > (pp - 1) * -(-layers // pp)

    def _stages(self, pp: int) -> list[list[tuple[int, int, int]]]:
        """Schedules with chunks per stage and the micro-batches that they need: 1F1B's, then zero-bubble ones."""
        chunks = [vp for vp in self._virtual_stages(pp) if self.only.allows("vp", vp)]
        plain = [(SCHEDULES.index("1f1b"), vp, 1) for vp in chunks]
        split = [
            (SCHEDULES.index(name), vp, ZERO_BUBBLE_ROUNDS * pp)
            for name in self.stack.schedules
            if name in SPLIT and pp > 1 and (vp := chunks_of(name)) in chunks and self.only.allows("schedule", name)
        ]
        return [plain if self.only.allows("schedule", "1f1b") else [], split]

    def _recomputes(self) -> list[str]:
        return [name for name in RECOMPUTES if self.only.allows("recompute", name)]

    def _recompute_columns(self) -> Columns:
        at = [RECOMPUTES.index(name) for name in self._recomputes()]
        return {"recompute": np.array(at, dtype=np.float64)[None, :, None], "recompute_share": np.ones(1)}

    def _virtual_stages(self, pp: int) -> list[int]:
        """Chunks per stage that split its layers, or its layers with embedding and head, evenly."""
        layers = self.architecture.layers
        whole = next((n for n in (layers, layers + 2) if n % pp == 0), pp)
        return [1] if pp == 1 else _divisors(whole // pp)

    def _tensor_degrees(self) -> list[int]:
        a, per_node = self.architecture, self.cluster.gpus_per_node
        degrees = [tp for tp in _divisors(a.heads) if splits_heads(tp, a)]
        return [tp for tp in degrees if (per_node % tp == 0 or tp % per_node == 0) and self.only.allows("tp", tp)]

    def _context_degrees(self) -> list[int]:
        most = self.seq_len // SHORTEST_SHARD if self.stack.has_context_parallel else 1
        degrees = [1, *(cp for cp in _divisors(self.seq_len // 2) if 1 < cp <= most and self.seq_len % (2 * cp) == 0)]
        return [cp for cp in degrees if self.only.allows("cp", cp)]

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
            schedule=SCHEDULES[at["schedule"]],
            micro_batch=at["micro_batch"],
            sharding=sharding,
            shard_degree=at["shard_degree"] if sharding == "hsdp" else None,
            recompute=RECOMPUTES[at["recompute"]],
            sequence_parallel=None if habit else bool(at["sequence_parallel"]),
        )

    def case(self, layouts: Columns | list[ParallelLayout]) -> StepCase:
        """What the closed form needs to evaluate some of the layouts."""
        if isinstance(layouts, dict):
            return replace(self._plain, **layouts)
        return self._case(layouts)

    @cached_property
    def _plain(self) -> StepCase:
        """The case of the plainest layout, which holds all that does not depend on the layout."""
        return self._case([ParallelLayout()])

    def _case(self, layouts: list[ParallelLayout]) -> StepCase:
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


def select(columns: Columns, here: NDArray[np.generic] | slice) -> Columns:
    """Some of the entries of columns that are all as long."""
    return {name: values[here] for name, values in columns.items()}


def entries(columns: Columns, shape: tuple[int, ...], at: NDArray[np.intp]) -> Columns:
    """The columns of some of the layouts, counted along the flattened `shape`."""
    index = np.unravel_index(at, shape)
    return {name: np.broadcast_to(values, shape)[index] for name, values in columns.items()}


def nearest_of(counts: NDArray[np.int64], asked: int) -> int:
    """The count nearest to the one asked for, the lesser of two that are as near."""
    return int(counts[np.argmin(np.abs(counts - asked))])


def _divisors(n: int) -> list[int]:
    low = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return sorted({*low, *(n // d for d in low)})
