"""Shared by the step's tests: cases by name, and layouts that could be built, for hypothesis."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from profiler.architecture import ModelArchitecture, available_models, load_architecture
from profiler.profile import Precision
from sim.case import StepCase
from sim.case_columns import build_case
from sim.hardware import load_fabric, load_gpu, load_node, names
from sim.layout import ParallelLayout, Sharding, check_layout
from sim.stacks.stack import available_stacks, load_stack
from sim.step import StepTimes, step_times


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One step that could be run."""

    layout: ParallelLayout
    model: str = "llama3.1-8b"
    gpu: str = "h100-sxm"
    stack: str = "megatron-core"
    seq_len: int = 8192
    global_batch: int = 512
    precision: Precision = "bf16"

    @property
    def architecture(self) -> ModelArchitecture:
        return load_architecture(self.model)

    def case(self, **layout: object) -> StepCase:
        """The step as numbers; `layout` replaces fields of the layout."""
        return self.case_with(None, **layout)

    def case_with(self, calibration: Mapping[str, float] | None, **layout: object) -> StepCase:
        """The same with constants that replace those that ship."""
        gpu = load_gpu(self.gpu)
        node = load_node(gpu.node)
        chosen = replace(self.layout, **layout)  # type: ignore[arg-type]
        return build_case(
            architecture=self.architecture,
            gpu=gpu,
            node=node,
            gpus_per_node=min(node.gpus_per_node, chosen.gpus),
            fabric=load_fabric(node.fabric),
            stack=load_stack(self.stack),
            layouts=[chosen],
            seq_len=self.seq_len,
            global_batch=self.global_batch,
            precision=self.precision,
            calibration=calibration,
        )

    def times(self, **layout: object) -> StepTimes:
        return step_times(self.case(**layout))


def changed(case: StepCase, **factors: float) -> StepCase:
    """The case with some fields multiplied."""
    return replace(case, **{name: getattr(case, name) * factor for name, factor in factors.items()})


def total_s(case: StepCase) -> float:
    return float(step_times(case).total.max())


def part_s(times: StepTimes, name: str) -> float:
    return float(np.max(getattr(times, name)))


@st.composite
def situations(draw: st.DrawFn, *, pipelined: bool = False, single_replica: bool = False) -> Situation:
    """Steps of the shipped models on any GPU and stack, in layouts that `check_layout` lets pass."""
    model = draw(st.sampled_from(available_models()))
    a = load_architecture(model)
    stages = [n for n in range(2 if pipelined else 1, 33) if a.layers % n == 0 or (a.layers + 2) % n == 0]
    pp = draw(st.sampled_from(stages))
    whole = a.layers if a.layers % pp == 0 else a.layers + 2
    vp = draw(st.sampled_from([v for v in range(1, whole // pp + 1) if (whole // pp) % v == 0])) if pp > 1 else 1
    cp = draw(st.sampled_from([1, 2, 4]))
    dp = 1 if single_replica else draw(st.sampled_from([1, 2, 8, 64]))
    micro_batch = draw(st.sampled_from([1, 2, 4]))
    kinds: list[Sharding] = ["none", "zero1", "zero2", "fsdp"]
    sharding = draw(st.sampled_from(kinds))
    layout = ParallelLayout(
        tp=draw(st.sampled_from([1, 2, 4, 8])),
        cp=cp,
        pp=pp,
        vp=vp,
        dp=dp,
        micro_batch=micro_batch,
        sharding=sharding,
        recompute=draw(st.sampled_from(["none", "selective", "full"])),
        sequence_parallel=draw(st.sampled_from([None, True, False])),
    )
    situation = Situation(
        layout=layout,
        model=model,
        gpu=draw(st.sampled_from(names("gpus"))),
        stack=draw(st.sampled_from(available_stacks())),
        seq_len=draw(st.sampled_from([2048, 8192, 32768])),
        global_batch=dp * micro_batch * draw(st.sampled_from([1, 3, 8, 64])),
    )
    check_layout(
        layout, a, gpus=layout.gpus, global_batch=situation.global_batch, seq_len=situation.seq_len
    )  # the strategy draws nothing that a person could not ask for
    return situation
