"""Goals turned around: by a date, within a budget, a power feed or a carbon budget, which plan?

Every candidate is a whole plan: GPU type and count, the fastest layout searched for it, its campaign simulated and
priced. The counts tried grow by about 1.4 each time; around the best one they are then tried more finely.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, get_args

import numpy as np

from planner.campaign.planned import first_moment, used_of_a_node
from planner.decide.notes import cluster_notes
from planner.machine import on_cluster, usual_part
from planner.plan import Plan, make_plan
from planner.plan_file import PlanRequest
from planner.quantities import human, money, power, significant
from planner.refusal import PlanError
from profiler.files import InputError, nearest
from sim.hardware import load_gpu, load_node, names, whole_nodes
from sim.replicas import fan_out

Preference = Literal["cheapest", "fastest", "cleanest"]
OBJECTIVE: dict[Preference, str] = {"cheapest": "cost_usd", "fastest": "days", "cleanest": "tco2e"}

MOST_GPUS = 131_072
"""Larger clusters are not tried unless told: the largest announced single jobs stay below."""

FINER = 4
"""Counts tried between the best one and each of its neighbours."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One thing that must not be exceeded: an outcome of a plan by its name, and how much of it is allowed."""

    outcome: str
    most: float
    said: str
    """As the person said it."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One cluster and what its plan takes; `refused` says why there is none."""

    gpu: str
    gpus: int
    outcomes: dict[str, float]
    """By the names of `planner.uncertainty.OUTCOMES`, at the sureness asked for; empty where refused."""
    refused: str = ""

    @property
    def name(self) -> str:
        """As it is spoken of."""
        return f"{self.gpus:,} x {load_gpu(self.gpu).label}"

    def keeps(self, limits: Sequence[Limit]) -> bool:
        """Whether it stays within all limits."""
        return not self.refused and all(self.outcomes[limit.outcome] <= limit.most for limit in limits)


@dataclass(frozen=True, kw_only=True)
class Shortfall:
    """By how much one limit must give, the others kept where they can be."""

    limit: Limit
    nearest: Candidate
    """The candidate that exceeds it least."""
    others_kept: bool
    """Whether that one keeps all other limits."""
    alone: Candidate
    """The candidate that would exceed it least were there no other limits."""

    @property
    def sentence(self) -> str:
        """What must give, and by how much."""
        least, most = self.nearest.outcomes[self.limit.outcome], self.limit.most
        show = SHOWN[self.limit.outcome]
        within, without = "", ""
        if not self.others_kept:
            without = ", and then other limits must give too"
        elif self.alone != self.nearest:
            within = " within the other limits"
            without = f"; without them it is {show(self.alone.outcomes[self.limit.outcome])}, on {self.alone.name}"
        return (
            f"{self.limit.said} is out of reach by {show(least - most)}: {show(most)} are allowed, and the least"
            f"{within} is {show(least)}, on {self.nearest.name}{without}"
        )


SHOWN: dict[str, Callable[[float], str]] = {
    "days": lambda x: f"{significant(x)} days",
    "cost_usd": money,
    "peak_mw": power,
    "tco2e": lambda x: f"{human(x)} tCO2e",
}


@dataclass(frozen=True, kw_only=True)
class GoalResult:
    """The best plan within the limits, or what must give."""

    request: PlanRequest | None
    """Reading it gives the plan again; `None` where no candidate keeps all limits."""
    plan: Plan | None
    limits: tuple[Limit, ...]
    prefer: Preference
    sure: float | None
    candidates: tuple[Candidate, ...]
    shortfalls: tuple[Shortfall, ...]
    """None where it was stopped: a cluster that was not tried may keep the limits."""
    stopped: bool
    """Whether Ctrl-C came before all clusters were tried."""
    notes: tuple[str, ...] = ()
    """What to say of the clusters."""

    def to_dict(self) -> dict[str, object]:
        """The answer as scripts read it."""
        return {
            "possible": None if self.stopped and not self.plan else self.plan is not None,
            "stopped": self.stopped,
            "prefer": self.prefer,
            "sure": self.sure,
            "limits": {limit.outcome: limit.most for limit in self.limits},
            "plan": self.plan.to_dict() if self.plan else None,
            "shortfalls": [
                {
                    "outcome": s.limit.outcome,
                    "allowed": s.limit.most,
                    "least": s.nearest.outcomes[s.limit.outcome],
                    "gpu": s.nearest.gpu,
                    "gpus": s.nearest.gpus,
                    "others_kept": s.others_kept,
                    "least_alone": s.alone.outcomes[s.limit.outcome],
                    "sentence": s.sentence,
                }
                for s in self.shortfalls
            ],
            "candidates": [
                {"gpu": c.gpu, "gpus": c.gpus, **c.outcomes, "refused": c.refused} for c in self.candidates
            ],
            "notes": list(self.notes),
        }


def goal_limits(
    request: PlanRequest,
    *,
    by: date | None = None,
    budget_usd: float | None = None,
    site_power_w: float | None = None,
    carbon_t: float | None = None,
) -> tuple[Limit, ...]:
    """Limits as people state them; the last day counts whole.

    Raises:
        InputError: none stated, none left of one, or a date before the plan's start.
    """
    limits = []
    if by is not None:
        start = first_moment(request).date()
        days = (by - start).days + 1
        if days < 1:
            raise InputError(f"the date {by} is before the plan's start, {start}.")
        limits.append(Limit(outcome="days", most=float(days), said=f"finishing by {by} from a start on {start}"))
    stated = (
        ("cost_usd", budget_usd, 1.0, "the budget"),
        ("peak_mw", site_power_w, 1e-6, "the power feed"),
        ("tco2e", carbon_t, 1.0, "the carbon budget"),
    )
    for outcome, most, scale, said in stated:
        if most is not None:
            if not most > 0:
                raise InputError(f"{said} is {most:g}; more than 0 is needed.")
            limits.append(Limit(outcome=outcome, most=most * scale, said=said))
    if not limits:
        raise InputError("no goal: give a date (--by), a budget, a site power or a carbon budget.")
    return tuple(limits)


def seek(
    request: PlanRequest,
    limits: Sequence[Limit],
    *,
    prefer: Preference = "cheapest",
    gpus: Sequence[str] = (),
    most_gpus: int = MOST_GPUS,
    sure: float | None = None,
    workers: int = 1,
    tell: Callable[[int, int], object] = lambda done, of: None,
) -> GoalResult:
    """The cheapest, fastest or cleanest plan within `limits`.

    Args:
        request: what to train; its layout and stated throughput belong to one cluster and are left open.
        limits: all must be kept.
        prefer: what counts among plans that keep them.
        gpus: GPU types to try; the request's own where empty, all of the catalogue for ("any",).
        most_gpus: the largest cluster to try.
        sure: the probability with which each limit must be kept; `None` takes the plan's own numbers.
        workers: processes.
        tell: told how many candidates are done, and of how many.

    After Ctrl-C the answer is the best of what was tried.

    Raises:
        InputError: an unknown GPU or preference, or a probability that is none.
        PlanError: nothing that can be planned at all.
        KeyboardInterrupt: Ctrl-C before the first candidate.
    """
    if prefer not in get_args(Preference):
        raise InputError(f"preference '{prefer}' is not known; {nearest(prefer, get_args(Preference))}.")
    if sure is not None and not 0 < sure < 1:
        raise InputError(f"sure is {sure:g}; a probability between 0 and 1 is needed.")
    trial = _Trial(request, sure, workers, tell)
    types = _types(request, gpus)
    for gpu in types:
        trial.add(gpu, _counts(request, gpu, most_gpus))
    trial.run()
    kept = _best(trial.done, limits, prefer)
    if kept and not trial.stopped:
        trial.add(kept.gpu, _around(kept, trial.done, request))
        trial.run()
    found = _best(trial.done, limits, prefer)
    if not trial.stopped and all(c.refused for c in trial.done):
        raise PlanError(trial.done[-1].refused)
    chosen = elsewhere(request, found.gpu, found.gpus) if found else None
    return GoalResult(
        request=chosen,
        plan=make_plan(chosen) if chosen else None,
        limits=tuple(limits),
        prefer=prefer,
        sure=sure,
        candidates=tuple(trial.done),
        shortfalls=() if found or trial.stopped else _shortfalls(trial.done, limits),
        stopped=trial.stopped,
        notes=cluster_notes(request, types),
    )


class _Trial:
    """Candidates to try and what became of them; none is tried twice."""

    def __init__(
        self, request: PlanRequest, sure: float | None, workers: int, tell: Callable[[int, int], object]
    ) -> None:
        self.request, self.sure, self.workers, self.tell = request, sure, workers, tell
        self.waiting: dict[tuple[str, int], None] = {}
        self.done: list[Candidate] = []
        self.stopped = False

    def add(self, gpu: str, counts: Sequence[int]) -> None:
        tried = {(c.gpu, c.gpus) for c in self.done}
        self.waiting |= {(gpu, count): None for count in counts if (gpu, count) not in tried}

    def run(self) -> None:
        tasks = [(elsewhere(self.request, gpu, count), self.sure) for gpu, count in self.waiting]
        before, total = len(self.done), len(self.done) + len(tasks)
        try:
            self.done += fan_out(
                _candidate, tasks, workers=self.workers, done=lambda done: self.tell(before + done, total)
            )
        except KeyboardInterrupt:
            if not self.done:
                raise
        self.stopped = len(self.done) < total
        self.done.sort(key=lambda c: (c.gpu, c.gpus))
        self.waiting.clear()


def elsewhere(request: PlanRequest, gpu: str, count: int) -> PlanRequest:
    """The request on another cluster, with its layout left open."""
    return replace(
        request,
        cluster=on_cluster(request.cluster, gpu, count),
        training=replace(request.training, layout=None),
        phases=tuple(replace(phase, layout=None) for phase in request.phases),
        stated=replace(request.stated, tflops_per_gpu=None),
    )


def _candidate(task: tuple[PlanRequest, float | None]) -> Candidate:
    """Plan one cluster; each outcome at the probability asked for, or the plan's own."""
    request, sure = task
    gpu, gpus = request.cluster.gpu, request.cluster.gpus
    try:
        plan = make_plan(request)
        outcomes = plan.response.at_plan()
        if sure is not None:
            drawn = plan.uncertainty.drawn
            outcomes = {name: float(np.quantile(values, sure)) for name, values in drawn.items()}
    except InputError as error:
        return Candidate(gpu=gpu, gpus=gpus, outcomes={}, refused=str(error))
    return Candidate(gpu=gpu, gpus=gpus, outcomes=outcomes)


def _types(request: PlanRequest, gpus: Sequence[str]) -> list[str]:
    asked = names("gpus") if list(gpus) == ["any"] else gpus or [request.cluster.gpu]
    chosen = list(dict.fromkeys(asked))
    for name in chosen:
        load_gpu(name)
    if chosen == [request.cluster.gpu] and request.cluster.node:
        load_node(request.cluster.node).check_holds(load_gpu(request.cluster.gpu))
    return chosen


def _counts(request: PlanRequest, gpu: str, most: int) -> list[int]:
    """Whole nodes, 1, 2, 3, 4, 6, 8, 12, ... of them, and the request's own count."""
    per_node = _unit(request, gpu)
    if most < 1:
        raise InputError(f"most_gpus is {most}; at least 1 is needed.")
    nodes = sorted({2**i * m for i in range(20) for m in (1, 3)})
    counts = {n * per_node for n in nodes if n * per_node <= most}
    return sorted(counts | ({request.cluster.gpus} if request.cluster.gpus <= most else set()))


def _unit(request: PlanRequest, gpu: str) -> int:
    """GPUs of a node that are added at a time: the even part of those that no power of two fills."""
    cluster = on_cluster(request.cluster, gpu, 1)
    return used_of_a_node(cluster) if cluster.node or cluster.gpus_per_node else usual_part(gpu)


def _around(best: Candidate, done: Sequence[Candidate], request: PlanRequest) -> list[int]:
    """Counts between the best and its neighbours of the same GPU that can run it."""
    tried = sorted(c.gpus for c in done if c.gpu == best.gpu and not c.refused)
    at = tried.index(best.gpus)
    ends = (tried[max(at - 1, 0)], tried[min(at + 1, len(tried) - 1)])
    per_node = _unit(request, best.gpu)
    between = [best.gpus + (end - best.gpus) * i / FINER for end in ends for i in range(1, FINER)]
    return sorted({whole_nodes(n, per_node) for n in between})


def _best(done: Sequence[Candidate], limits: Sequence[Limit], prefer: Preference) -> Candidate | None:
    kept = [c for c in done if c.keeps(limits)]
    objective = OBJECTIVE[prefer]
    return min(kept, key=lambda c: (c.outcomes[objective], c.outcomes["cost_usd"], c.gpus), default=None)


def _shortfalls(done: Sequence[Candidate], limits: Sequence[Limit]) -> tuple[Shortfall, ...]:
    """For each limit that must give, the candidate that exceeds it least, the others kept where any keeps them."""
    planned = [c for c in done if not c.refused]
    found = []
    for limit in limits:
        others = [other for other in limits if other is not limit]
        kept = [c for c in planned if c.keeps(others)]
        best, alone = (min(some, key=lambda c: c.outcomes[limit.outcome]) for some in (kept or planned, planned))
        if best.outcomes[limit.outcome] > limit.most:
            found.append(Shortfall(limit=limit, nearest=best, others_kept=bool(kept), alone=alone))
    return tuple(found)
