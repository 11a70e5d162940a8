"""One configuration that somebody trained, or may: what a row of a runs file says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from profiler.architecture import ModelArchitecture
from sim.case import StepCase
from sim.case_columns import build_case
from sim.hardware import Fabric, Gpu, Node, TrainingPrecision
from sim.layout import ParallelLayout
from sim.stacks.stack import SoftwareStack


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One configuration to predict, and what was observed of it where the row says."""

    id: str
    architecture: ModelArchitecture
    gpu: Gpu
    gpus_per_node: int
    node: Node
    fabric: Fabric
    stack: SoftwareStack
    layout: ParallelLayout
    seq_len: int
    global_batch: int
    precision: TrainingPrecision
    notes: tuple[str, ...]
    other_virtual_stages: tuple[int, ...] = ()
    """What else the virtual stages may be where the row does not state them; empty where it does."""
    other_micro_batches: tuple[int, ...] = ()
    """What else the micro-batch may be where the row does not state it, up to the fastest; empty where it does."""
    source_id: str = ""
    regime: str = ""
    scored: bool = False
    power_cap_w: float | None = None
    """Watts that each GPU is held to; its own limit where nothing is said."""
    observed_step_time_s: float | None = None
    observed_peak_mem_gib: float | None = None
    observed_node_power_w_per_gpu: float | None = None

    @property
    def other_layouts(self) -> tuple[ParallelLayout, ...]:
        """Layouts that are possible where the row does not state all of its own."""
        staged = (replace(self.layout, vp=vp) for vp in self.other_virtual_stages)
        cut = (replace(self.layout, micro_batch=size) for size in self.other_micro_batches)
        return (*staged, *cut)

    def case(self, calibration: Mapping[str, float] | None = None) -> StepCase:
        """The run as numbers."""
        return build_case(
            architecture=self.architecture,
            gpu=self.gpu,
            node=self.node,
            gpus_per_node=self.gpus_per_node,
            fabric=self.fabric,
            stack=self.stack,
            layouts=[self.layout],
            seq_len=self.seq_len,
            global_batch=self.global_batch,
            precision=self.precision,
            calibration=calibration,
        )


@dataclass(frozen=True, kw_only=True)
class UnreadableRun:
    """A row that could not be read, and why."""

    id: str
    note: str
