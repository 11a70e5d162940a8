"""The phases of a plan: each stretch of training with its layout and its step."""

import math
from dataclasses import dataclass

from planner.kept import kept
from planner.layout_choice import LayoutChoice, Only
from planner.plan_file import PhaseRequest, PlanRequest
from planner.positions import check_positions, context_notes, usual_seq_len
from planner.quantities import counted, human
from planner.search import LayoutSpace, kept_fastest
from profiler.architecture import ModelArchitecture
from profiler.files import InputError
from profiler.profile import Profile
from profiler.units import GIB
from sim.allowed_power import AllowedPower
from sim.campaign import Phase
from sim.estimate import StepEstimate, estimate_step
from sim.hardware import Cluster, whole_nodes
from sim.layout import ParallelLayout, check_heads, node_shards
from sim.power import activity_power_w
from sim.stacks.stack import SoftwareStack

SMALL_BATCH_TOKENS = 4 * 2**20
LARGE_BATCH_TOKENS = 16 * 2**20
LARGE_CLUSTER_GPUS = 4096
"""From here on the larger batch is assumed: Llama 3 405B ramped from 4 M to 16 M tokens (arXiv:2407.21783)."""


@dataclass(frozen=True, kw_only=True)
class PlannedPhase:
    """One phase: what was asked, the layout chosen, and its step."""

    name: str
    tokens: float
    seq_len: int
    global_batch: int
    step: StepEstimate
    step_time_s: float
    """The predicted step time, or what the person stated."""
    searched: int
    """Layouts that were compared; 0 where the layout was stated."""
    stated: bool
    """True where the person stated the throughput."""
    architecture_flops_per_token: float
    waiting_power_w: float
    """What a GPU draws while it waits."""
    notes: tuple[str, ...] = ()

    @property
    def gpu_power_w(self) -> float:
        """Mean watts of a GPU while it trains: as its step draws, and what a stated step takes longer it waits."""
        working_s = min(self.step.step_time_s, self.step_time_s)
        joules = working_s * self.step.gpu_power_w + (self.step_time_s - working_s) * self.waiting_power_w
        return joules / self.step_time_s

    @property
    def tokens_per_step(self) -> float:
        """Tokens of one optimizer step."""
        return float(self.seq_len * self.global_batch)

    @property
    def training_s(self) -> float:
        """Seconds of steps without any interruption."""
        return self.tokens / self.tokens_per_step * self.step_time_s

    @property
    def origin(self) -> str:
        """Where the step time comes from."""
        return "stated" if self.stated else self.step.origin

    def campaign_phase(self) -> Phase:
        """The phase as the campaign takes it."""
        return Phase(
            name=self.name,
            tokens=self.tokens,
            tokens_per_step=self.tokens_per_step,
            step_time_s=self.step_time_s,
            gpu_power_w=self.gpu_power_w,
        )

    def to_dict(self) -> dict[str, object]:
        """The phase as scripts read it."""
        return {
            "name": self.name,
            "tokens": self.tokens,
            "seq_len": self.seq_len,
            "global_batch": self.global_batch,
            "layout": self.step.layout.label,
            "step_time_s": self.step_time_s,
            "origin": self.origin,
            "mfu": self.architecture_flops_per_token
            * self.tokens_per_step
            / self.step_time_s
            / self.step.gpus
            / self.step.peak_flops,
            "memory_gib": self.step.peak_memory_bytes / GIB,
            "gpu_power_w": self.gpu_power_w,
            "days": self.training_s / 86_400,
        }


def plan_phases(
    request: PlanRequest,
    architecture: ModelArchitecture,
    cluster: Cluster,
    stack: SoftwareStack,
    profile: Profile | None,
    allowed: AllowedPower,
) -> tuple[PlannedPhase, ...]:
    """Each phase with its layout, stated or the best within `allowed`, and its step, undisturbed by that.

    Raises:
        InputError: a layout that cannot be built, runs on no stack of this kind, or does not fit in memory; fewer
        tokens than one step, or positions than a sequence; a stated throughput that no program can reach.
    """
    return tuple(
        _plan_phase(phase, layout_space(phase, request, architecture, cluster, stack, allowed), request, profile)
        for phase in asked_phases(request, architecture)
    )


def asked_phases(request: PlanRequest, architecture: ModelArchitecture) -> tuple[PhaseRequest, ...]:
    """The phases of a plan file, or the one that makes up a plan without any.

    Raises:
        InputError: sequences longer than the model has learned positions.
    """
    training = request.training
    seq_len = training.seq_len or usual_seq_len(architecture)
    phases = request.phases or (
        PhaseRequest(
            name="pre-training",
            tokens=request.tokens,
            seq_len=seq_len,
            global_batch=training.global_batch or default_batch(request.cluster.gpus, seq_len),
        ),
    )
    for phase in phases:
        check_positions(phase.seq_len, architecture)
    return phases


kept_step = kept(256)(estimate_step)
"""`estimate_step`, with its last answers kept: a step follows from neither prices, places nor tokens."""


def default_batch(gpus: int, seq_len: int) -> int:
    """Sequences in a step where nothing is said: about 4 M tokens, or 16 M from 4,096 GPUs on.

    A power of two times the odd part of the GPUs, so that replicas of any number have as many, in micro-batches of
    any power of two; of those the nearest. An odd part beyond twice the sequences is left out.
    """
    wanted = (LARGE_BATCH_TOKENS if gpus >= LARGE_CLUSTER_GPUS else SMALL_BATCH_TOKENS) / seq_len
    odd = gpus // (gpus & -gpus)
    odd = odd if odd <= 2 * wanted else 1
    return int(odd * 2 ** max(round(math.log2(wanted / odd)), 0))


def _plan_phase(
    phase: PhaseRequest, space: LayoutSpace, request: PlanRequest, profile: Profile | None
) -> PlannedPhase:
    architecture, cluster, stack = space.architecture, space.cluster, space.stack
    layout, searched = _layout(phase, space, request)
    step = kept_step(
        architecture=architecture,
        cluster=cluster,
        layout=layout,
        stack=stack,
        seq_len=phase.seq_len,
        global_batch=phase.global_batch,
        precision=request.training.precision,
        profile=profile,
    )
    if step.memory_fit == "does not fit":
        raise InputError(
            f"phase '{phase.name}': {layout.label} needs {step.peak_memory_bytes / GIB:.1f} GiB per GPU, most of it "
            f"{step.largest_memory}, and {cluster.gpu.label} has {cluster.gpu.memory_gib:.0f} GiB; leave "
            "[training.layout] out to have one searched, or raise tp, pp, cp or recompute."
        )
    per_token = architecture.flops_per_token(phase.seq_len, "noncausal")
    tokens = phase.seq_len * phase.global_batch
    if request.tokens < tokens:
        raise InputError(
            f"tokens is {human(request.tokens)}, less than one step of phase '{phase.name}': "
            f"{counted(phase.global_batch, 'sequence')} of {phase.seq_len:,} tokens."
        )
    stated = request.stated.tflops_per_gpu
    return PlannedPhase(
        name=phase.name,
        tokens=phase.tokens,
        seq_len=phase.seq_len,
        global_batch=phase.global_batch,
        step=step,
        step_time_s=step.step_time_s if stated is None else _stated_s(stated, step, phase.name),
        searched=searched,
        stated=stated is not None,
        architecture_flops_per_token=per_token,
        waiting_power_w=activity_power_w(cluster.gpu, "waiting"),
        notes=(
            *context_notes(phase.seq_len, architecture),
            *stack.notes,
            *_habit_notes(phase.name, layout, stack),
            *_sharing_notes(phase.name, layout),
            *_only_notes(phase.name, space.only, searched),
        ),
    )


def layout_space(
    phase: PhaseRequest,
    request: PlanRequest,
    architecture: ModelArchitecture,
    cluster: Cluster,
    stack: SoftwareStack,
    allowed: AllowedPower,
) -> LayoutSpace:
    """The layouts among which a phase that states none has its own searched."""
    return LayoutSpace(
        architecture=architecture,
        cluster=cluster,
        stack=stack,
        seq_len=phase.seq_len,
        global_batch=phase.global_batch,
        precision=request.training.precision,
        allowed=allowed,
        only=request.training.only,
    )


def _layout(phase: PhaseRequest, space: LayoutSpace, request: PlanRequest) -> tuple[ParallelLayout, int]:
    """The layout stated, or the best one, and how many were compared."""
    choice, stack = phase.layout or request.training.layout, space.stack
    if choice is None:
        layout, searched = kept_fastest(space)
    else:
        check_heads(choice.tp, space.architecture)
        layout, searched = stated_layout(choice, space.cluster, stack), 0
    for has, key, degree, what in (
        (stack.has_pipeline, "pp", layout.pp, "pipeline"),
        (stack.has_context_parallel, "cp", layout.cp, "context parallelism"),
    ):
        if degree > 1 and not has:
            raise InputError(f"stack '{stack.name}' runs no {what}: {key} is {degree} and must be 1.")
    return layout, searched


def _stated_s(tflops_per_gpu: float, step: StepEstimate, phase: str) -> float:
    """Seconds of a step at a stated throughput; refused where no program can be as quick (`sim.floor`)."""
    flops = step.model_flops / step.gpus
    seconds = flops / (tflops_per_gpu * 1e12)
    if seconds < step.floor_s:
        raise InputError(
            f"tflops_per_gpu is {tflops_per_gpu:g}; in phase '{phase}' matrix products at their measured "
            f"ceiling and the memory's bandwidth allow {flops / step.floor_s / 1e12:.0f} at most."
        )
    return seconds


def stated_layout(choice: LayoutChoice, cluster: Cluster, stack: SoftwareStack) -> ParallelLayout:
    """A stated layout with the data-parallel degree that fills the cluster, what is not said as the stack does it.

    Raises:
        InputError: the degrees do not divide the GPUs.
    """
    per_replica = choice.tp * choice.cp * choice.pp
    if cluster.gpus % per_replica:
        whole = math.lcm(per_replica, cluster.gpus_per_node)
        nearest = whole_nodes(cluster.gpus, whole)
        raise InputError(
            f"tp {choice.tp} x cp {choice.cp} x pp {choice.pp} = {per_replica} does not divide {cluster.gpus} GPUs; "
            f"{nearest} would do."
        )
    ranks = cluster.gpus // (choice.tp * choice.pp)
    if choice.shard_degree and ranks % choice.shard_degree:
        raise InputError(
            f"shard_degree is {choice.shard_degree}, which does not divide the {ranks} data- and context-parallel "
            "ranks."
        )
    sharding = choice.sharding or stack.shardings[0]
    usual = node_shards(ranks, choice.tp, cluster.gpus_per_node) if sharding == "hsdp" else None
    return ParallelLayout(
        tp=choice.tp,
        cp=choice.cp,
        pp=choice.pp,
        vp=choice.vp,
        dp=cluster.gpus // per_replica,
        micro_batch=choice.micro_batch,
        sharding=sharding,
        shard_degree=choice.shard_degree or usual,
        schedule=choice.schedule,
        recompute=choice.recompute,
        recompute_layers=choice.recompute_layers,
        sequence_parallel=choice.sequence_parallel,
    )


def _habit_notes(name: str, layout: ParallelLayout, stack: SoftwareStack) -> tuple[str, ...]:
    """What to say of a stated layout that the stack does not run, so that its time is an extrapolation."""
    has = {"schedule": stack.schedules, "sharding": (*stack.shardings, "none")}
    return tuple(
        f"phase '{name}': the {key} {getattr(layout, key)} is taken as stated; {stack.label} has {', '.join(known)}"
        for key, known in has.items()
        if getattr(layout, key) not in known
    )


def _only_notes(name: str, only: Only, searched: int) -> tuple[str, ...]:
    """A word where a phase states its layout though those that are searched are held to some."""
    if searched or not only.stated:
        return ()
    return (f"phase '{name}' states its layout, which stands; training.only ({only.text}) holds what is searched",)


def _sharing_notes(name: str, layout: ParallelLayout) -> tuple[str, ...]:
    """A word where hybrid sharding has a node's ranks share out, and there is only one to share."""
    if layout.sharding != "hsdp" or layout.shard_degree != 1 or layout.dp * layout.cp == 1:
        return ()
    return (
        f"phase '{name}': hsdp shares nothing out where a node holds one rank, so it runs as plain data parallelism; "
        "shard_degree says over how many ranks to share",
    )
