"""The software stack as a named assumption: what it fuses, overlaps, shards and recomputes.

A stack names habits; the few numbers behind the habits are shared by all stacks and live in
`sim/catalogue/calibration.toml`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from profiler.files import InputError, nearest, read_toml
from profiler.profile import Recompute
from profiler.units import Amount, Count
from sim.layout import Sharding
from sim.schedule.order import PipelineSchedule
from sim.stacks.context_habits import ContextHabits
from sim.stacks.kernel_habits import ElementwiseKind, KernelHabits
from sim.stacks.memory_habits import MemoryHabits

STACKS = Path(__file__).parent
DEFAULT_STACK = "megatron-core"

AttentionKernel = Literal["unfused", "flash1", "flash2", "flash3"]
"""flash3 stands for FlashAttention-3 and cuDNN's fused attention, which run at the same rate on Hopper."""
Selective = Literal["attention", "operations", "blocks", "mlp", "qkv", "products", "elementwise"]


@dataclass(frozen=True, kw_only=True)
class SoftwareStack:
    """The habits of one training framework."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    label: str
    source: str
    frameworks: tuple[str, ...] = ()
    """Lower-case beginnings of framework names that mean this stack."""
    attention: AttentionKernel = "flash2"
    elementwise: ElementwiseKind = "fused"
    """fused: hand-written norm, rotary and activation kernels; compiled: generated ones; eager: one kernel
    per operation."""
    sequence_parallel: bool = True
    tp_overlap: Literal["none", "async", "userbuffers"] = "none"
    backward_all_reduces: Amount = 2.0
    """Tensor-parallel all-reduces of one block's backward pass: 2, or FairScale's 5."""
    gathers: tuple[Amount, Amount] = (4.0, 6.0)
    """Gathers and scatters of one block's activations under sequence parallelism, forward and backward: one of each
    about each pair of products, and backward the inputs once more for their weight gradients (arXiv:2205.05198
    section 4.2.2) unless they were kept."""
    shared_gathers: Amount = 0.0
    """Those forward of an input that another product gathers too: eager code gathers it again, compiled code once
    (AOTAutograd drops common subexpressions, `torch._functorch.config.cse`)."""
    hidden_gathers: Amount = 0.0
    """Those backward that run beside a product: Megatron-LM's second gather of inputs and its scatter of their
    gradients."""
    hidden_all_reduces: Amount = 0.0
    """The same without sequence parallelism: all-reduces of input gradients beside weight gradients."""
    fp8_gathers: bool = False
    """True where gathers of activations and of their gradients move fp8 numbers to fp8 products, unless these scale
    every row apart; what is added up stays in 16 bits."""
    reduces_maxima: bool = False
    """True where training in fp8 takes the maxima of its tensors over all ranks but the pipeline's after every pass,
    and waits for them: delayed scaling (Transformer Engine's `reduce_amax`)."""
    dp_overlap: bool = True
    whole_tensors: bool = False
    """True where ranks that share out the optimizer's state (ZeRO) own whole tensors: gradients are summed for each
    rank whole, and at the end of a step all wait while each owner broadcasts the weights that it updated."""
    p2p_overlap: bool = True
    stages_by_work: bool = False
    """True where stages are cut so that layers and head together are shared out evenly, not layers alone."""
    pipeline_inside_data: bool = False
    """True where a pipeline's stages are nearer to each other than its replicas are (rank order TP, CP, PP, DP);
    Megatron's own order is TP, CP, DP, PP."""
    schedules_gathers: bool = False
    """True where a compiler that knows the collectives' latency places sharded weights' gathers (XLA with a
    profile-guided latency estimator): only what outlasts the work beside it shows."""
    root_gathers: Amount = 0.0
    """How often a micro-batch gathers sharded weights that are in no block with nothing to hide it: torch's FSDP
    before the first block, and once more before the backward pass where it reshards them. Their gradients are
    scattered when the last block is back."""
    root_has_head: bool = True
    """False where the head is a group of its own, which moves beside other work as a block does."""
    keeps_gathered: bool = False
    """True where the stages of a pipeline gather sharded weights once a step, not with every pass."""
    shares_state_in_node: bool = False
    """True where ZeRO-1 shares out one copy of the state within a node, not over all replicas, unless said."""
    zero2_by_block: bool = False
    """True where ZeRO-2 is FSDP that keeps what it gathered until the backward pass (torch's SHARD_GRAD_OP,
    `reshard_after_forward=False`): block by block, with every micro-batch."""
    gradient_bytes: Literal[2, 4] = 4
    """Bytes per gradient element in the data-parallel reduction."""
    gradient_store_bytes: Literal[2, 4] = 4
    """Bytes per gradient element held until the step ends."""
    recompute: Recompute = "none"
    """What it does when nothing is said."""
    selective: Selective = "attention"
    """What selective recompute runs again: the attention core; every second product and the elementwise work
    but not the attention (torchtitan's operator policy); every second block whole; the first MLP matrices
    (gate and up: 55 % of a Llama block's weights), the attention core and the elementwise work; those and the
    attention's output projection (63 %; MaxText's save_qkv_proj); no product but the attention core and the
    elementwise work (its minimal); or the elementwise work alone (its minimal_flash)."""
    early_stop: bool = False
    """True where full recompute stops once the last saved tensor is back, so that the last product and the
    collective behind it are not run again (torch.utils.checkpoint, non-reentrant, since torch 2.1)."""
    defers_head_gradient: bool = False
    """True where the head's weight gradient waits for the pipeline's drain instead of delaying every pass."""
    small_workspace: bool = False
    """True where torch before 2.3 adds biases in the forward products: through cuBLASLt with a workspace of 1 MiB, of
    which Hopper wants 32 (pytorch 101145; 120925, 3239f86)."""
    launch_bound: bool = False
    """True for eager stacks of the A100 era whose host gaps show between kernels."""
    fp8_rowwise: bool = False
    fp8_weights: bool = False
    """True where training in fp8 gathers the weights in fp8 too, a byte each (Transformer Engine's fp8 parameters,
    FSDP's float8 all-gather)."""
    has_pipeline: bool = True
    """Whether it can split layers over several processes."""
    has_context_parallel: bool = True
    """Whether it can split sequences over several processes."""
    schedules: tuple[PipelineSchedule, ...] = ("1f1b",)
    """Pipeline schedules that it has, for a search to try."""
    interleaves: bool = True
    """Whether a pipeline of which neither schedule nor virtual stages are said has virtual stages."""
    usual_chunks: Count | None = None
    """Chunks of a stage of an interleaved pipeline where nothing is said; else the most that split the layers."""
    passes_as_stages: bool = False
    """Whether a pipeline whose micro-batch is not said cuts a replica's batch into as many as it has stages."""
    shardings: tuple[Sharding, ...] = ("zero1", "zero2", "fsdp", "hsdp", "ddp")
    """What its data-parallel ranks can share out, for a search to try; the first is what it does when nothing is
    said."""
    kernels: KernelHabits = field(default_factory=KernelHabits)
    context: ContextHabits = field(default_factory=ContextHabits)
    memory: MemoryHabits = field(default_factory=MemoryHabits)
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)


def available_stacks() -> tuple[str, ...]:
    """Names of the stacks in the catalogue."""
    return tuple(sorted(path.stem for path in STACKS.glob("*.toml")))


@cache
def load_stack(name: str) -> SoftwareStack:
    """A stack by name or TOML file; raises `InputError` when there is none."""
    if name.endswith(".toml"):
        return read_toml(Path(name), SoftwareStack)
    if name not in available_stacks():
        raise InputError(f"stack '{name}' is not known; {nearest(name, available_stacks())} (or a .toml file).")
    return read_toml(STACKS / f"{name}.toml", SoftwareStack)


@cache
def stack_of_framework(framework: str) -> SoftwareStack | None:
    """The stack whose frameworks list holds the longest beginning of `framework`, or that is called so; `None` when
    there is none."""
    wanted = framework.strip().lower()
    if not wanted:
        return None
    hits = [
        (len(prefix), name)
        for name in available_stacks()
        for prefix in load_stack(name).frameworks
        if wanted.startswith(prefix)
    ]
    if hits:
        return load_stack(max(hits)[1])
    return load_stack(wanted) if wanted in available_stacks() else None
