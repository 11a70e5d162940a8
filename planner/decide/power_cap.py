"""Power as a choice: what a lower cap on every GPU does to time, energy and money, and which cap is best."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from planner.campaign.planned import request_phases
from planner.campaign.simulation import Scenario, scenario
from planner.money.charges import Charges
from planner.phases import PlannedPhase
from planner.plan_file import PlanRequest
from planner.power_limit import cap_for_site, hold
from profiler.files import InputError, nearest
from sim.power import least_cap_w

Goal = Literal["cost", "energy", "carbon", "time"]
FIGURE = {"cost": "cost_usd", "energy": "energy_mwh", "carbon": "emissions_t", "time": "days"}

CAPS = 15
"""Caps between the lowest and none."""


@dataclass(frozen=True, kw_only=True)
class CapOption:
    """One cap on every GPU and what becomes of the plan: its campaign of median length, as the plan has it."""

    cap_w: float
    """Of the main phase, where a site's limit gives each phase its own."""
    gpu_power_w: float
    """Mean of a GPU while the main phase trains."""
    slowdown: float
    """Step time of the main phase over that without a cap."""
    days: float
    energy_mwh: float
    peak_mw: float
    cost_usd: float
    rent_usd: float | None
    own_usd: float | None
    emissions_t: float
    keeps_limit: bool
    """Whether the site stays within `site.power_limit_mw`."""


@dataclass(frozen=True, kw_only=True)
class CapSweep:
    """Caps from the lowest to none, and the best of them."""

    name: str
    mode: str
    goal: Goal
    options: tuple[CapOption, ...]
    impossible: tuple[str, ...] = ()
    """Why each limit that was asked for and cannot be kept cannot."""

    @property
    def uncapped(self) -> CapOption:
        """The last, where no GPU is held back."""
        return self.options[-1]

    @property
    def best(self) -> CapOption:
        """The best that keeps the site's limit; of equals the highest.

        Raises:
            InputError: none keeps it.
        """
        kept = [option for option in self.options if option.keeps_limit]
        if not kept:
            least = self.options[0]
            raise InputError(
                f"no cap keeps power_limit_mw: at {least.cap_w:.0f} W a GPU the site draws {least.peak_mw:.4g} MW."
            )
        return min(reversed(kept), key=lambda option: getattr(option, FIGURE[self.goal]))

    def to_dict(self) -> dict[str, object]:
        """As scripts read it."""
        return {
            "name": self.name,
            "mode": self.mode,
            "goal": self.goal,
            "best_cap_w": self.best.cap_w,
            "options": [vars(option) for option in self.options],
            "impossible": list(self.impossible),
        }


def sweep_caps(
    request: PlanRequest,
    *,
    goal: Goal = "cost",
    caps_w: Sequence[float] = (),
    done: Callable[[int], object] = lambda _: None,
) -> CapSweep:
    """Plan under each cap, with the layout that is best without one and the same luck.

    Args:
        request: what to train; its own cap is left out, its site limit marks what keeps it.
        goal: what the best cap is best for.
        caps_w: watts; evenly from the lowest that the GPU can be given to none where empty.
        done: told how many caps are done.

    Raises:
        InputError: an unknown goal, or a cap that no such GPU can be given.
    """
    if goal not in get_args(Goal):
        raise InputError(f"goal '{goal}' is not known; {nearest(goal, get_args(Goal))}.")
    unlimited = _unlimited(request)
    ready, phases = scenario(unlimited), request_phases(unlimited)
    cluster = ready.setup.cluster
    low, high = least_cap_w(cluster.gpu), cluster.gpu.tdp_w
    if caps_w and max(caps_w) > high:
        raise InputError(
            f"a cap of {max(caps_w):g} W is above the {high:.0f} W that {cluster.gpu.label} draws at most."
        )
    caps = sorted({*caps_w, high}) if caps_w else [low + (high - low) * i / CAPS for i in range(CAPS + 1)]
    held = ((cap_w, [hold(phase, cap_w, cluster) for phase in phases]) for cap_w in caps)
    return _sweep(request, goal, ready, phases, held, done)


def sweep_limits(
    request: PlanRequest,
    limits_mw: Sequence[float],
    *,
    goal: Goal = "cost",
    done: Callable[[int], object] = lambda _: None,
) -> CapSweep:
    """Plan under each limit of the site, with the highest caps that keep it, phase by phase.

    Args:
        request: what to train; its own cap and limit are left out.
        limits_mw: at the site's meter; the plan without one is added.
        goal: what the best limit is best for.
        done: told how many limits are done.

    Raises:
        InputError: an unknown goal, or none of the limits can be kept.
    """
    if goal not in get_args(Goal):
        raise InputError(f"goal '{goal}' is not known; {nearest(goal, get_args(Goal))}.")
    unlimited = _unlimited(request)
    ready, phases = scenario(unlimited), request_phases(unlimited)
    held: list[tuple[float, list[PlannedPhase]]] = []
    impossible: list[str] = []
    for limit in (*sorted(limits_mw), math.inf):
        try:
            held.append((_cap(ready, phases, limit), _kept(ready, phases, limit)))
        except InputError as error:
            impossible.append(str(error))
    if impossible and len(held) == 1:  # the plan without a limit
        raise InputError(impossible[-1])
    return replace(_sweep(unlimited, goal, ready, phases, held, done), impossible=tuple(impossible))


def _unlimited(request: PlanRequest) -> PlanRequest:
    return replace(request, site=replace(request.site, gpu_power_cap_w=None, power_limit_mw=None))


def _cap(ready: Scenario, phases: Sequence[PlannedPhase], limit_mw: float) -> float:
    setup = ready.setup
    return cap_for_site(phases[_main(phases)], limit_mw * 1e6, setup.cluster, setup.site, setup.spare_nodes)


def _kept(ready: Scenario, phases: Sequence[PlannedPhase], limit_mw: float) -> list[PlannedPhase]:
    return [hold(phase, _cap(ready, [phase], limit_mw), ready.setup.cluster) for phase in phases]


def _main(phases: Sequence[PlannedPhase]) -> int:
    """The phase that holds most tokens."""
    return max(range(len(phases)), key=lambda i: phases[i].tokens)


def _sweep(
    request: PlanRequest,
    goal: Goal,
    ready: Scenario,
    phases: Sequence[PlannedPhase],
    held: Iterable[tuple[float, list[PlannedPhase]]],
    done: Callable[[int], object],
) -> CapSweep:
    """Each of the held phases simulated and priced."""
    main, options = _main(phases), []
    for count, (cap_w, slowed) in enumerate(held, start=1):
        setup = replace(ready.setup, phases=tuple(phase.campaign_phase() for phase in slowed))
        slowdown = slowed[main].step_time_s / phases[main].step_time_s
        power_w = slowed[main].gpu_power_w
        options.append(_option(replace(ready, setup=setup), cap_w, power_w, slowdown, request.site.power_limit_mw))
        done(count)
    return CapSweep(name=ready.name, mode=request.money.mode, goal=goal, options=tuple(options))


def _option(ready: Scenario, cap_w: float, gpu_power_w: float, slowdown: float, limit_mw: float | None) -> CapOption:
    found = ready.figures(ready.typical, ready.request.seed)
    charges = Charges(setup=ready.setup, money=ready.request.money)
    rent = charges.rent(ready.prices, found.training_days)
    own = charges.own(ready.prices, found.training_days, found.electricity_usd)
    return CapOption(
        cap_w=cap_w,
        gpu_power_w=gpu_power_w,
        slowdown=slowdown,
        days=found.training_days,
        energy_mwh=found.energy_mwh,
        peak_mw=found.peak_power_mw,
        cost_usd=found.cost_usd,
        rent_usd=rent.expected if rent else None,
        own_usd=own.expected if own else None,
        emissions_t=found.emissions_tco2e,
        keeps_limit=limit_mw is None or found.peak_power_mw <= limit_mw * (1 + 1e-9),
    )
