"""Which cluster: plans over GPU types and counts, and those that no other beats in days, dollars, MWh and tonnes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from planner.decide.notes import cluster_notes
from planner.machine import on_cluster
from planner.plan import Plan, make_plan
from planner.plan_file import PlanRequest
from planner.quantities import human
from planner.refusal import PlanError
from profiler.files import InputError
from profiler.profile import Profile
from sim.calibration import unfitted_note
from sim.case import Array
from sim.hardware import load_gpu
from sim.replicas import fan_out


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One cluster with the plan that its best layout gives."""

    gpu: str
    gpus: int
    gpus_per_node: int | None = None
    """Those of each node that train, where the others are left idle."""
    layout: str
    tokens_per_step: float
    """Of a step of the phase that holds most tokens."""
    days: float
    cost_usd: float
    energy_mwh: float
    """At the site's meter."""
    emissions_tco2e: float
    """Location-based."""
    mfu: float

    @property
    def name(self) -> str:
        """As it is spoken of."""
        part = f", {self.gpus_per_node} a node" if self.gpus_per_node else ""
        return f"{self.gpus:,} x {self.gpu}{part}"

    @property
    def objectives(self) -> tuple[float, float, float, float]:
        """What there should be little of: days, dollars, megawatt-hours, tonnes."""
        return self.days, self.cost_usd, self.energy_mwh, self.emissions_tco2e


@dataclass(frozen=True, kw_only=True)
class ClusterComparison:
    """Clusters compared: the front, those that one of the front beats in everything, those that cannot run it, and
    those that Ctrl-C came before."""

    front: tuple[Contender, ...]
    """Fewest days first."""
    beaten: tuple[tuple[Contender, str], ...]
    """Each with the name of one that takes no more of anything and less of something."""
    impossible: tuple[tuple[str, str], ...]
    """The cluster and why not."""
    interrupted: tuple[str, ...] = ()
    """Not looked at, so that any of them may beat the front."""
    asked_notes: tuple[str, ...] = ()
    """What to say of the GPUs that were asked for (`planner.decide.notes`)."""

    @property
    def looked_at(self) -> int:
        """How many were planned or found unable to run it."""
        return len(self.front) + len(self.beaten) + len(self.impossible)

    @property
    def headline(self) -> str:
        """How many are on the front."""
        best, planned = len(self.front), len(self.front) + len(self.beaten)
        if self.interrupted and planned == 1:
            return "interrupted; one cluster planned so far"
        if self.interrupted:
            return f"interrupted; of {planned} clusters planned so far {best} {_are(best)} beaten by none of them"
        if planned == 1:
            return "one cluster, and none to beat it"
        return f"{best} of {planned} clusters {_are(best)} beaten by none"

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say beside the clusters."""
        gpus = sorted({c.gpu for c in (*self.front, *(c for c, _ in self.beaten))})
        unfitted = [unfitted_note(load_gpu(gpu)) for gpu in gpus]
        return tuple(filter(None, [*unfitted, self._batch_note(), *self.asked_notes]))

    def _batch_note(self) -> str:
        """What to say where the clusters do not train in steps alike; empty where they do."""
        tokens = [c.tokens_per_step for c in (*self.front, *(c for c, _ in self.beaten))]
        least, most = min(tokens), max(tokens)
        if least == most:
            return ""
        return (
            f"steps are of {human(least)} to {human(most)} tokens, by the number of GPUs, and larger ones raise the "
            "MFU; training.global_batch holds all clusters to one"
        )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def dominates(a: Array, b: Array) -> NDArray[np.bool_]:
    """Where `a` is nowhere above `b` and somewhere below; objectives along the last axis, the rest broadcasts."""
    beats: NDArray[np.bool_] = np.all(a <= b, axis=-1) & np.any(a < b, axis=-1)
    return beats


def compare_clusters(
    request: PlanRequest,
    gpus: Sequence[str],
    counts: Sequence[int],
    *,
    profile: Profile | None = None,
    workers: int = 1,
    scheduler: str = "",
    done: Callable[[int], object] = lambda _: None,
) -> ClusterComparison:
    """Plan the request on every GPU type in every number, each with its own fastest layout.

    Of the Llama 3.1 models none has a layout that takes 0.5 % less energy than its fastest one: the front needs no
    other. A layout or throughput that the request states is left out, for it belongs to one cluster; so does a
    profile, to one GPU (`profile` is as `make_plan` takes it), and a node and a fabric, to what the node holds.
    `workers`, `scheduler` and `done` are as `sim.replicas.fan_out` takes them; after Ctrl-C what was planned is
    compared, and the rest is named.

    Raises:
        PlanError: no cluster can run it (the first one's reason).
        InputError: a GPU that is not known.
        KeyboardInterrupt: Ctrl-C before the first cluster that can run it.
    """
    for name in gpus:
        load_gpu(name)
    requests = list(_on_clusters(request, gpus, counts))
    plan_on = partial(_plan_on, profile=profile)
    results = fan_out(plan_on, requests, workers=workers, scheduler=scheduler, done=done)
    clusters = [f"{asked.cluster.gpus:,} x {asked.cluster.gpu}" for asked in requests]
    found = [result for result in results if isinstance(result, Contender)]
    impossible = [
        (cluster, result) for cluster, result in zip(clusters, results, strict=False) if isinstance(result, str)
    ]
    interrupted = clusters[len(results) :]
    if not found and interrupted:
        raise KeyboardInterrupt  # another cluster might have run it
    if not found:
        raise PlanError(impossible[0][1])
    return replace(
        compare(found, impossible), interrupted=tuple(interrupted), asked_notes=cluster_notes(request, gpus)
    )


def _plan_on(request: PlanRequest, profile: Profile | None) -> Contender | str:
    """A cluster's plan, or why there is none."""
    try:
        return _contender(make_plan(request, profile if request.cluster.profile else None))
    except InputError as error:
        return str(error)


def _on_clusters(request: PlanRequest, gpus: Sequence[str], counts: Sequence[int]) -> Iterator[PlanRequest]:
    open_ended = replace(
        request,
        training=replace(request.training, layout=None),
        phases=tuple(replace(phase, layout=None) for phase in request.phases),
        stated=replace(request.stated, tflops_per_gpu=None),
    )
    for gpu in dict.fromkeys(gpus):
        for count in sorted(set(counts)):
            yield replace(open_ended, cluster=on_cluster(request.cluster, gpu, count))


def _contender(plan: Plan) -> Contender:
    return Contender(
        gpu=plan.cluster.gpu.name,
        gpus=plan.cluster.gpus,
        gpus_per_node=plan.request.cluster.gpus_per_node,
        layout=plan.main_phase.step.layout.label,
        tokens_per_step=plan.main_phase.tokens_per_step,
        days=plan.days.expected,
        cost_usd=plan.cost.expected,
        energy_mwh=plan.energy_mwh.expected,
        emissions_tco2e=plan.carbon.location_based_tco2e,
        mfu=plan.mfu,
    )


def compare(found: Sequence[Contender], impossible: Sequence[tuple[str, str]] = ()) -> ClusterComparison:
    """Part the front from what it beats."""
    by_days = sorted(found, key=lambda c: (c.objectives, c.name))
    values = np.array([c.objectives for c in by_days])
    beats = dominates(values[:, None], values[None, :])
    on_front: NDArray[np.bool_] = ~np.any(beats, axis=0)
    return ClusterComparison(
        front=tuple(c for c, best in zip(by_days, on_front, strict=True) if best),
        beaten=tuple(
            (c, by_days[int(np.argmax(beats[:, i] & on_front))].name)
            for i, c in enumerate(by_days)
            if not on_front[i]
        ),
        impossible=tuple(impossible),
    )
