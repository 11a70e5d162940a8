"""Layouts as a person states them: one, or what those that are searched have in common."""

from dataclasses import dataclass, fields

from profiler.profile import Recompute
from profiler.units import Count
from sim.layout import Sharding
from sim.schedule.order import PipelineSchedule

STRICT = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class LayoutChoice:
    """A layout as a person states it; the data-parallel degree follows from the GPUs."""

    __pydantic_config__ = STRICT

    tp: Count = 1
    """Tensor-parallel ranks; quickest within a node."""
    cp: Count = 1
    """Context-parallel ranks."""
    pp: Count = 1
    """Pipeline stages."""
    vp: Count = 1
    """Model chunks per stage (virtual stages)."""
    schedule: PipelineSchedule = "1f1b"
    """Order in which a stage computes: gpipe, 1f1b (interleaved where vp is over 1), zb-h1, zb-h2 or zb-v."""
    micro_batch: Count = 1
    """Sequences in one forward pass of one replica."""
    sharding: Sharding | None = None
    """What data-parallel ranks share out: none, ddp, zero1, zero2, fsdp or hsdp; the stack's habit where nothing is
    said."""
    shard_degree: Count | None = None
    """Ranks that share one copy of what is sharded; where nothing is said all data- and context-parallel ones, or
    under hsdp those in a node."""
    recompute: Recompute = "none"
    """Activations recomputed in the backward pass: none, selective or full."""
    recompute_layers: Count | None = None
    """Layers recomputed when `recompute` is full; all where nothing is said."""
    sequence_parallel: bool | None = None
    """Norms split over the tensor-parallel ranks; the stack's habit where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Only:
    """What all layouts that are searched have in common; what is not said is left open."""

    __pydantic_config__ = STRICT

    tp: Count | None = None
    """Tensor-parallel ranks."""
    cp: Count | None = None
    """Context-parallel ranks."""
    pp: Count | None = None
    """Pipeline stages."""
    dp: Count | None = None
    """Data-parallel replicas."""
    vp: Count | None = None
    """Model chunks per stage (virtual stages)."""
    schedule: PipelineSchedule | None = None
    """Order in which a stage computes; a search tries 1f1b and those zero-bubble ones that the stack has."""
    micro_batch: Count | None = None
    """Sequences in one forward pass of one replica."""
    sharding: Sharding | None = None
    """What data-parallel ranks share out, of what the stack has."""
    recompute: Recompute | None = None
    """Activations recomputed in the backward pass: none, selective or full."""

    @property
    def stated(self) -> dict[str, int | str]:
        """What is said, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @property
    def text(self) -> str:
        """The same in words; empty where nothing is said."""
        return ", ".join(f"{name} {value}" for name, value in self.stated.items())

    def allows(self, name: str, value: int | str) -> bool:
        """Whether a layout may have `value` there."""
        return getattr(self, name) in (None, value)
