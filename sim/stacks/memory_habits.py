"""What a software stack does with memory beyond the arithmetic of its layout."""

from dataclasses import dataclass
from typing import Literal, get_args

from profiler.units import Amount

MemoryLog = Literal["allocated", "reserved", "device"]
"""What a published peak counts: live tensors (torch's max_memory_allocated); those and what the caching
allocator holds on to (max_memory_reserved); or all that the driver has handed out (nvidia-smi)."""
LOGS: tuple[MemoryLog, ...] = get_args(MemoryLog)


@dataclass(frozen=True, kw_only=True)
class MemoryHabits:
    """The memory habits of one training framework; the defaults are Megatron-Core's."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    source: str = "Megatron-Core: fused norms and SwiGLU, vocabulary-parallel cross-entropy in place"
    log: MemoryLog = "device"
    """What the framework's own log, or its published table, calls peak memory."""
    fragmentation: Amount = 0.06
    """What the caching allocator holds over live tensors, a share of them: SimuMax and torchtitan memory reports show
    2-6 % between allocated and reserved peaks; the upper end is taken."""
    logit_bytes: Amount = 6.0
    """Bytes per logit at the loss: 16-bit logits and an fp32 copy that turns into softmax and gradient in place
    (Megatron's vocab_parallel_cross_entropy); torch's own cross-entropy keeps each of them."""
    splits_vocabulary: bool = True
    """False where every tensor-parallel rank holds the whole embedding table and gathers the whole logits."""
    splits_head: bool = True
    """False where every tensor-parallel rank holds the whole head too, and computes it."""
    norm_tensors: Amount = 2.0
    """Hidden-wide 16-bit tensors that one norm keeps: input and output; an eager RMSNorm in fp32 keeps its input
    in fp32 (two), the scaled input and the output."""
    gated_tensors: Amount = 3.0
    """MLP-wide tensors that a gated MLP keeps: gate, up and their product; without a fused SwiGLU the
    activated gate too."""
    keeps_scores: bool = False
    """True where attention keeps its score matrix though the stack is timed with a flash kernel."""
    keeps_fp8_inputs: bool = False
    """True where an fp8 product keeps its input in fp8, not in 16 bits (Transformer Engine)."""
    sixteen_bit_state: bool = False
    """True where weights and both Adam moments are 16-bit and there is no fp32 copy."""
    accumulates_whole: bool = False
    """True where gradients that are summed over micro-batches stay whole, in fp32, until the last one
    (FSDP2 with set_requires_gradient_sync(False))."""
    gradients_beside_sums: bool = False
    """True where 16-bit gradients stay beside their fp32 sums (DeepSpeed's BF16_Optimizer)."""
    gradients_in_state: bool = False
    """True where the optimizer's state holds its gradients in fp32 too: 16 bytes per parameter, not 12 (DeepSpeed,
    estimate_zero2_model_states_mem_needs)."""
    keeps_gathered_inputs: bool = False
    """True where a column-parallel product keeps its gathered input, not its share of the sequence."""
    keeps_stage_outputs: bool = False
    """True where a pipeline stage keeps the output of each micro-batch in flight (DeepSpeed's pipe buffers)."""
    bucket_bytes: Amount = 0.0
    """Communication buckets for gradients and weights."""
