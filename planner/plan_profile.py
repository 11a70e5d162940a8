"""The profile that a plan stands on: one's own, or the one that ships for its GPU; and what it does not say."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from planner.phases import PlannedPhase
from planner.plan_file import PlanRequest
from profiler.files import InputError
from profiler.profile import Profile, read_profile
from sim.hardware import load_gpu
from sim.kernels.measured import BACKENDS, EXECUTIONS
from sim.measured_gpu import measured_gpu
from sim.roofline import load_profile
from sim.stacks.stack import load_stack

KEY = "cluster.profile"
SAME_LIMIT = 0.02
"""Relative difference of two power limits that are the same."""


def plan_profile(request: PlanRequest, read: Profile | None = None) -> Profile | None:
    """The profile of a plan's GPU; `None` where none is given and none ships.

    `read` is the one that the plan names, where it was read already, as from an upload.

    Raises:
        InputError: a file that is no profile, was computed and not measured, or is of another GPU.
    """
    gpu = load_gpu(request.cluster.gpu)
    if not request.cluster.profile:
        return load_profile(gpu)
    path = Path(request.cluster.profile)
    profile = read or _read(path)
    came = profile.provenance
    if came.origin == "roofline":
        raise InputError(f"{KEY}: {path} was computed from a datasheet, not measured; leave the key out for that.")
    if came.gpu != gpu.name:
        other = f", or set cluster.gpu = {came.gpu}" if came.gpu else ""
        raise InputError(
            f"{KEY}: {path} is of {came.device}, and cluster.gpu is {gpu.name}; give a profile of {gpu.name}{other}."
        )
    return profile


def _read(path: Path) -> Profile:
    """A profile as its file is now."""
    try:
        now = path.stat()
    except OSError:
        return read_profile(path)  # says what is wrong
    return _read_once(path, now.st_mtime_ns, now.st_size)


@lru_cache(maxsize=8)
def _read_once(path: Path, _changed_ns: int, _bytes: int) -> Profile:
    return read_profile(path)


def profile_notes(request: PlanRequest, profile: Profile | None, phases: Sequence[PlannedPhase]) -> tuple[str, ...]:
    """What a person's own profile does not say of the plan."""
    given = bool(request.cluster.profile)
    return tuple(_unsaid(request, profile, phases)) if given and profile is not None else ()


def _unsaid(request: PlanRequest, profile: Profile, phases: Sequence[PlannedPhase]) -> Iterator[str]:
    stack, name = request.training.stack, request.cluster.profile
    limit_w, tdp_w = profile.provenance.power_limit_w, load_gpu(request.cluster.gpu).tdp_w
    if limit_w and abs(limit_w / tdp_w - 1) > SAME_LIMIT:
        yield f"{name} was taken at a power limit of {limit_w:.0f} W, and this GPU's is {tdp_w:.0f} W"
    if measured_gpu(load_gpu(request.cluster.gpu), profile).matmul_power_w is None:
        yield f"{name} holds no watts of matrix products that can be trusted: published ones are taken"
    if stack not in EXECUTIONS:
        yield (
            f"{name} timed FairScale's layers, and this plan trains with {stack}: step times do not stand on it. "
            f"training.stack = {' or '.join(EXECUTIONS)} would"
        )
        return
    if any(phase.searched and not phase.stated for phase in phases):
        yield f"the layout was chosen by predicted times, which {name} replaced afterwards"
    for phase in phases:
        if not phase.stated and phase.step.origin not in ("measured", "scaled"):
            yield (
                f"{name} holds neither the block of phase '{phase.name}' nor shapes on both sides of it: its step is "
                f"predicted; herdplan-profile run {_wanted(request, phase)} would measure it, or give "
                "[training.layout] as measured"
            )


def _wanted(request: PlanRequest, phase: PlannedPhase) -> str:
    """What to ask the profiler for, so that it holds the block of a phase."""
    training, layout = request.training, phase.step.layout
    attention = BACKENDS[load_stack(training.stack).attention]
    words = [
        f"--model {request.model} --tp {layout.tp} --micro-batch {layout.micro_batch}",
        f"--seq-len {phase.seq_len // layout.cp} --execution {EXECUTIONS[training.stack]}",
        f"--precision {training.precision} --attention {attention}",
    ]
    return " ".join(words)


def profile_text(profile: Profile) -> str:
    """A profile by its name, what it is of, since when, and the digest that tells it from others."""
    came = profile.provenance
    taken = f", {came.taken_at[:10]}" if came.taken_at else ""
    return f"{profile.name} ({came.origin}: {came.device}{taken}, sha256 {profile.digest})"
