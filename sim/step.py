"""One optimizer step in closed form, for one layout or a million at once.

Passes (`sim.passes`) run through a pipeline (`sim.pipeline.times`); gradients and weights are exchanged and updated
(`sim.sharding`). Every quantity is an array with one entry per step of a `StepCase`, of any shape that broadcasts.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from sim.case import BF16, Array, StepCase
from sim.network import send_time_s, small_all_reduce_s
from sim.network_use import network_use
from sim.passes import Pass, block_passes, head_matmul_s, head_s, recompute_s, recomputed
from sim.pipeline.times import Chunk, PipelineCase, certain_s, chunk_layers, pipeline_times
from sim.schedule.order import SCHEDULES, SPLIT
from sim.sharding import (
    Hiding,
    accumulate_s,
    fsdp_copies_s,
    fsdp_late_s,
    fsdp_layer_s,
    fsdp_root_s,
    gradient_sync_s,
    optimizer_s,
    p2p_stride,
    rank_parameters,
    stage_layers,
    tied_s,
)

WEIGHT_SHARE = 0.5
"""Of the backward products: one for the input's gradient and one for the weight's, of the same FLOPs."""
SPLIT_AT = [SCHEDULES.index(name) for name in SPLIT]
"""Schedules that compute the weight's gradient apart, by number."""
TINY_S = 1e-12


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Where the seconds of each step go; the parts add up to `total`."""

    matmul: Array
    attention: Array
    elementwise: Array
    head: Array
    """Output projection and loss, where they delay the step."""
    recompute: Array
    tensor_parallel: Array
    context_parallel: Array
    pipeline: Array
    """Point-to-point transfers between stages."""
    bubble: Array
    data_parallel: Array
    optimizer: Array
    host: Array
    other: Array
    """Fixed times of passes and the step, maxima of fp8 tensors, and the slowest GPU."""
    total: Array


def p2p_s(case: StepCase) -> Array:
    """Seconds to hand one micro-batch's activations to the next stage.

    Each tensor-parallel rank sends its share and the receivers gather (arXiv:2104.04473 section 4.1).
    """
    size_bytes = BF16 * case.tokens_per_pass * case.hidden / case.tp
    one = send_time_s(case, size_bytes, case.pp, p2p_stride(case))
    return np.where(case.pp > 1, one, 0.0)


def head_chunk(case: StepCase, head: Array) -> tuple[Chunk, Array]:
    """The head and loss of one micro-batch (`head` seconds), and those of its weight gradient where that is deferred.

    Each of the three products is as long; the passes over the logits are halved between forward and backward. A
    schedule that computes weight gradients apart works this one off among them.
    """
    product = head_matmul_s(case)
    passes = np.maximum(head - 3 * product, 0.0) / 2
    apart = np.isin(case.schedule, SPLIT_AT)
    deferred = np.where((case.pp > 1) & (case.defers_head_gradient > 0) & ~apart, product, 0.0)
    return Chunk(product + passes, product + passes, product - deferred), deferred


def pipeline_case(
    case: StepCase,
    forward: Pass,
    backward: Pass,
    again_s: Array,
    fsdp: tuple[Array, Array],
    head: Array,
    accumulated_s: Array,
) -> PipelineCase:
    """The pipelines of all steps; sharding within a pass (`fsdp`, forward and backward) is part of the pass, and so
    are what a chunk's pass takes beside computing (`pass_s`) and adding up its gradients (`accumulated_s`, a stage's
    per micro-batch)."""
    weight = WEIGHT_SHARE * backward.matmul
    block = Chunk(forward.total + fsdp[0], backward.total - weight + again_s + fsdp[1], weight)
    head_work, deferred_s = head_chunk(case, head)
    first, middle, last = chunk_layers(case.layers, case.pp, case.vp, case.head_layers)
    once = pass_s(case) / 2  # half with either pass
    call = Chunk(once, once, accumulated_s / case.vp)
    alone = np.where(case.pp * case.vp > 1, 1.0, 0.0)  # without a pipeline the first chunk is the last
    return PipelineCase(
        schedule=case.schedule,
        pp=case.pp,
        vp=case.vp,
        micro_batches=case.micro_batches,
        first=Chunk.of(first, block, call),
        middle=Chunk.of(middle, block, call),
        last=Chunk.of(last, block, Chunk.of(alone, call, head_work)),
        deferred_s=deferred_s,
        p2p_s=p2p_s(case),
        p2p_exposed=case.p2p_exposed,
    )


def pass_s(case: StepCase) -> Array:
    """Seconds that a chunk's two passes of a micro-batch take beside what they compute.

    A fixed time; in fp8 with delayed scaling also two all-reduces of the maxima of its tensors, which all ranks of
    a stage wait for (Transformer Engine pytorch/fp8.py: `reduce_and_update_fp8_tensors`; over all but the pipeline's
    ranks unless Megatron-Core's `tp_only_amax_red` is set).
    """
    if not np.any(case.reduces_maxima):
        return case.pass_fixed_s
    ranks = case.tp * case.cp * case.dp
    reduction = small_all_reduce_s(case, ranks, np.ones_like(ranks))
    return np.asarray(case.pass_fixed_s + 2 * case.reduces_maxima * reduction)


def reduced_s(
    case: StepCase,
    parameters: Array,
    ahead_s: Array,
    behind_s: Array,
    apart_s: Array,
    head: Array,
    accumulated_s: Array,
) -> Array:
    """Exposed seconds of a step's reductions of gradients and gather of weights, of a rank's `parameters`, where a
    block takes `ahead_s` forward and `behind_s` backward, of which the weight's gradient, if it is computed apart,
    takes `apart_s`.

    A chunk's gradients are complete once its last micro-batch is back; where each stage holds several, that
    micro-batch then still has to pass all the earlier chunks of the model. Computed apart, they are reduced beside
    the last of the weight's gradients.
    """
    most, _ = stage_layers(case)
    chunk, once = most / case.vp, pass_s(case) / 2
    product = np.where(case.pp == 1, head / 3, 0.0)  # a pipeline's last stage alone has a head to hide behind
    ahead = chunk * ahead_s + once + product
    behind = chunk * behind_s + once + accumulated_s / case.vp + 2 * product
    late = apart_s > 0
    last = np.where(late, chunk * apart_s + accumulated_s / case.vp, behind)
    way = (case.vp - 1) * case.pp + 1
    return gradient_sync_s(
        case,
        parameters,
        Hiding(all_s=way * ahead, chunk_s=ahead),
        Hiding(all_s=np.where(late, case.vp, way) * last, chunk_s=last),
        case.pp * case.vp * (ahead + behind),
    )


def expected_slowest(gpus: Array) -> Array:
    """Standard deviations by which the slowest of so many alike GPUs is expected to be slower than their mean.

    The largest of n normal deviates, after Blom (Statistical Estimates and Transformed Beta-Variables, 1958).
    """
    counts, where = np.unique(gpus, return_inverse=True)
    deviates = [NormalDist().inv_cdf((n - 0.375) / (n + 0.25)) for n in counts.tolist()]
    return np.array(deviates)[where].reshape(gpus.shape)


def apart_s(case: StepCase, backward: Pass) -> Array:
    """Seconds of a block's weight gradients where a schedule computes them later, apart from the backward pass."""
    return np.where(np.isin(case.schedule, SPLIT_AT), WEIGHT_SHARE * backward.matmul, 0.0)


def exposed_fsdp_s(case: StepCase, forward: Pass, backward: Pass, again_s: Array) -> tuple[Array, Array]:
    """Exposed seconds of FSDP in a block's forward and backward pass (`sim.sharding.fsdp_layer_s`); behind weight
    gradients that are computed apart nothing hides."""
    return fsdp_layer_s(case, forward.total, backward.total + again_s - apart_s(case, backward))


def slowest_gpu(
    case: StepCase,
    forward: Pass,
    backward: Pass,
    again_s: Array,
    shown: tuple[Array, Array],
    copied: tuple[Array, Array],
) -> Array:
    """Share of a step's passes by which the slowest of its GPUs delays them all, where a block waits for FSDP
    (`exposed_fsdp_s`) and copies what that moves (`sim.sharding.fsdp_copies_s`).

    Matrix products run at the power limit (a median of 690 of 700 W on an H200), where parts differ in the clocks
    that they hold, and collectives over activations run on the same multiprocessors between them; attention draws
    less (511 W at 200 to 400 TFLOP/s, 612 W at 500 to 600; NVML, aiconfigurator 095f58a, Apache-2.0), so that it is
    as fast on all of them. What FSDP waits for, reductions and the host know nothing of clocks.
    """
    attention_s = forward.attention + backward.attention + recomputed(case).attention * forward.attention
    block_s = forward.total + backward.total + again_s + copied[0] + copied[1]
    share = (block_s - attention_s) / (block_s + shown[0] + shown[1])
    return np.asarray(case.gpu_spread * expected_slowest(case.gpus) * share)


def least_s(case: StepCase) -> Array:
    """Seconds that each step takes at least, whatever its ranks share out."""
    forward, backward = block_passes(case)
    nothing = np.zeros(1)
    again = recompute_s(case, forward)
    pipeline = pipeline_case(case, forward, backward, again, (nothing, nothing), head_s(case), nothing)
    return (certain_s(pipeline) + case.step_fixed_s) * (1 + case.slowdown)


def network_s(case: StepCase) -> Array:
    """Seconds of each step in which a GPU's network card moves something, mostly beside all else."""
    forward, backward = block_passes(case)
    parameters = rank_parameters(case, stage_layers(case)[0])
    return network_use(case, forward, backward, parameters, p2p_s(case)).total


def step_times(case: StepCase, most_s: float = math.inf) -> StepTimes:
    """Seconds of each step and where they go.

    Each transfer is timed as if it had its link to itself, but no step is shorter than what its GPUs' network cards
    have to move one after another (`sim.network_use`); what it waits for them counts as communication. A step that
    certainly takes longer than `most_s` is left at what is certain (`sim.pipeline.times.pipeline_times`): its parts
    and total are then lower bounds, the total above `most_s`.
    """
    forward, backward = block_passes(case)
    again = recompute_s(case, forward)
    weight, head = apart_s(case, backward), head_s(case)
    shown, copied = exposed_fsdp_s(case, forward, backward, again), fsdp_copies_s(case)
    fsdp = shown[0] + copied[0], shown[1] + copied[1]

    passes = case.micro_batches
    parameters = rank_parameters(case, stage_layers(case)[0])
    accumulated = accumulate_s(case, parameters)
    ahead, behind = forward.total + fsdp[0], backward.total + again + fsdp[1]
    gradients = reduced_s(case, parameters, ahead, behind, weight, head, accumulated) + tied_s(case)
    update = optimizer_s(case, parameters)
    slowest = slowest_gpu(case, forward, backward, again, shown, copied)
    beside, node = gradients + update + case.step_fixed_s, 1 + case.slowdown
    pipeline = pipeline_times(
        pipeline_case(case, forward, backward, again, fsdp, head, accumulated),
        most_s=(most_s / node - beside) / (1 + slowest),
    )
    subtotal = pipeline.total_s + beside
    unshared = (subtotal + slowest * pipeline.total_s) * node
    network = network_use(case, forward, backward, parameters, p2p_s(case))
    alone = update + case.step_fixed_s + fsdp_root_s(case) + fsdp_late_s(case, parameters)
    waited = np.maximum((network.total + alone) * node - unshared, 0.0)
    total = unshared + waited
    shares = waited / np.maximum(network.total, TINY_S)

    own = passes * case.layers / case.pp  # blocks that an average stage runs in a step
    calls = passes * case.vp * pass_s(case)
    working = own * (ahead + behind) + passes * (head / case.pp + accumulated) + calls
    waiting = pipeline.total_s - pipeline.p2p_s - working
    return StepTimes(
        matmul=own * (forward.matmul + backward.matmul),
        attention=own * (forward.attention + backward.attention),
        elementwise=own * (forward.elementwise + backward.elementwise + copied[0] + copied[1]),
        head=passes * head / case.pp,
        recompute=own * again,
        tensor_parallel=own * (forward.tensor_parallel + backward.tensor_parallel) + shares * network.tensor_parallel,
        context_parallel=own * (forward.context_parallel + backward.context_parallel)
        + shares * network.context_parallel,
        pipeline=pipeline.p2p_s + shares * network.pipeline,
        bubble=np.where(case.pp > 1, waiting, 0.0),
        data_parallel=gradients + own * (shown[0] + shown[1]) + shares * network.data_parallel,
        optimizer=update + passes * accumulated,
        host=own * (forward.host + backward.host),
        other=calls + case.step_fixed_s + unshared - subtotal,
        total=total,
    )
