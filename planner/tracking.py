"""A run in progress against its plan: what the gap is made of, and when it will finish.

The log is read as work: planned seconds of steps, so that phases with other batches and lengths are alike. While
steps run, the speed is work over time, 1 as planned. Between two rows the time that the work does not account for
at that speed is standstill. With W_p and W the work planned and done after T seconds, e the planned effective time
ratio, v the speed, and T = K + L + S + P (steps kept, steps lost to going back, short stops, long pauses),

    W_p - W = (1 - v) K  +  (L + S - (1 - e) T)  +  P,

slower steps, more interruptions than planned, and pauses: exact, so that the parts add up to the gap, to which a
start that is not the plan's is added. Where power is logged, slower steps are shared out between the power that is
missing while they run and everything else.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan
from planner.priors import SAMPLES, plan_priors
from planner.quantities import significant
from planner.track_log import RunLog
from profiler.files import InputError
from profiler.units import DAY_S, HOUR_S
from sim.campaign.record import STOPPED
from sim.clocks import speed_at_power

PAUSE_S = 4 * HOUR_S
"""A longer standstill is a pause and not an interruption, unless the plan's own interruptions take as long: planned
maintenance, or waiting for a repair. Assumed: restarts take minutes, at most an hour or two."""

PAUSE_OVER_PLANNED = 1.25
"""A pause over the plan's longest interruption. Assumed: neighbours run together, and luck differs."""

STANDING_SHARE = 0.9
"""An interval that did less than this share of its time as work, at the running speed, holds a standstill."""

WHOLE_SHARE = 0.8
"""A row of a coarse log with less work than this share of the usual holds more than the usual interruptions."""

COARSE_SHARE = 0.5
"""Rows further apart than this share of the time between failures: most hold an interruption of their own."""

ON_PLAN_DAYS_SHARE = 0.01
"""A forecast within this share of the planned days is on plan: the published day and night swing is 1 to 2 %."""

POWER_ERROR = 0.05
"""Less power by up to this share says nothing: the gain of a board's own reading is off by 5 % (arXiv:2312.02741)."""

BEYOND = 3.0
"""Times the planned speed or power, or as many times less, that no run of the plan has: another run's, or unit's."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Standstill:
    """What the log says about time that was no kept work."""

    stops: int
    """Interruptions: standstills as long as the plan's own, or up to `PAUSE_S`, and steps back."""
    stopped_s: float
    lost_s: float
    """Work that was done again."""
    pauses: int
    paused_s: float


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where a run stands, what the gap to the plan is made of, and the forecast."""

    name: str
    elapsed_days: float
    tokens: float
    planned_tokens: float
    """After as many days, on the plan's mean pace."""
    speed: float
    """Of steps while they run, 1 as planned."""
    standstill: Standstill
    gap_days: float
    """Behind the plan; negative when ahead."""
    gap_parts_days: Mapping[str, float]
    """Slower steps, less power, interruptions, pauses, a later start: they add up to the gap."""
    power_mw: float | None
    """Mean over the rows that state it."""
    planned_power_mw: float
    days: tuple[float, float, float]
    """Forecast of the whole run: 5, 50 and 95 %."""
    planned_days: float
    finish: tuple[datetime, datetime, datetime]
    planned_finish: datetime
    energy_mwh: float | None
    """Forecast, where power is logged."""
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """On plan, ahead or behind, with the forecast."""
        late = (self.finish[1] - self.planned_finish) / timedelta(days=1)
        if abs(late) <= ON_PLAN_DAYS_SHARE * self.planned_days:
            return "on plan"
        return f"{significant(abs(late), 2)} days {'later' if late > 0 else 'earlier'} than planned"

    def to_dict(self) -> dict[str, object]:
        """The forecast as scripts read it."""
        times = {"finish": [t.isoformat() for t in self.finish], "planned_finish": self.planned_finish.isoformat()}
        return {**asdict(self), **times, "verdict": self.verdict}


def track(plan: Plan, log: RunLog, *, samples: int = SAMPLES) -> Tracking:
    """Compare a run's log with its plan and forecast its end; the same log and plan, the same forecast.

    Raises:
        InputError: a log without any progress, or with more tokens than the plan holds.
    """
    work = _Work(plan)
    tokens = work.tokens_of_steps(log.progress) if log.in_steps else log.progress
    if tokens.max() > plan.request.tokens * (1 + 1e-6):
        raise InputError(
            f"the log holds {tokens.max():.6g} tokens, but the plan has {plan.request.tokens:.6g}; is it this run's?"
        )
    done_s = work.of_tokens(tokens)
    ettr = work.total_s / plan.campaign.duration_s
    coarse = float(np.median(np.diff(log.times_s))) > COARSE_SHARE * plan.setup.mtbf_s
    speed, spread = _running_speed(log.times_s, done_s)
    if coarse:
        speed = _mean_speed(log.times_s, done_s, speed) / ettr
    standstill = _standstill(log.times_s, done_s, speed, _longest_stop_s(plan))
    elapsed_s, kept_s = float(log.times_s[-1]), float(done_s[-1] - done_s[0])
    slow_s = kept_s / speed - kept_s
    power_s = min(max(kept_s / max(_speed_by_power(plan, log, done_s, speed), speed) - kept_s, 0.0), max(slow_s, 0.0))
    parts_s = {
        "slower_steps": slow_s - power_s,
        "less_power": power_s,
        "interruptions": elapsed_s - kept_s / speed - standstill.paused_s - (1 - ettr) * elapsed_s,
        "pauses": standstill.paused_s,
    }
    left_s = work.total_s - float(done_s[-1])
    learnt = None if coarse else standstill
    days = _forecast(plan, left_s, elapsed_s, speed, spread, learnt, samples) + float(done_s[0]) / ettr / DAY_S
    planned_start = datetime.fromisoformat(plan.request.start)
    began = log.start - timedelta(days=float(done_s[0]) / ettr / DAY_S) if log.start else planned_start
    gap_days = {name: s / ettr / DAY_S for name, s in parts_s.items()}
    gap_days["later_start"] = (began - planned_start) / timedelta(days=1)
    known = np.isfinite(log.power_w)
    power_w = float(log.power_w[known].mean()) if known.any() else None
    low, middle, high = (float(x) for x in np.quantile(days, (0.05, 0.5, 0.95)))
    return Tracking(
        name=plan.name,
        elapsed_days=elapsed_s / DAY_S,
        tokens=float(tokens[-1]),
        planned_tokens=work.tokens_at(min(done_s[0] + ettr * elapsed_s, work.total_s)),
        speed=speed,
        standstill=standstill,
        gap_days=math.fsum(gap_days.values()),
        gap_parts_days=gap_days,
        power_mw=None if power_w is None else power_w / 1e6,
        planned_power_mw=plan.campaign.mean_site_power_w / 1e6,
        days=(low, middle, high),
        planned_days=plan.campaign.duration_s / DAY_S,
        finish=(_after(began, low), _after(began, middle), _after(began, high)),
        planned_finish=_after(planned_start, plan.campaign.duration_s / DAY_S),
        energy_mwh=None if power_w is None else power_w / 1e6 * middle * 24,
        notes=(*log.notes, *_log_notes(log, coarse), *_speed_note(speed), *_power_note(plan, power_w, speed)),
    )


def _after(start: datetime, days: float) -> datetime:
    return (start + timedelta(days=days)).replace(microsecond=0)


class _Work:
    """The plan's tokens as seconds of undisturbed, planned steps, phase after phase."""

    def __init__(self, plan: Plan) -> None:
        phases = plan.phases
        self.tokens = np.cumsum([0.0, *(phase.tokens for phase in phases)])
        self.seconds = np.cumsum([0.0, *(phase.training_s for phase in phases)])
        self.steps = np.cumsum([0.0, *(phase.tokens / phase.tokens_per_step for phase in phases)])
        self.total_s = float(self.seconds[-1])

    def of_tokens(self, tokens: Array) -> Array:
        return np.asarray(np.interp(tokens, self.tokens, self.seconds), dtype=np.float64)

    def tokens_of_steps(self, steps: Array) -> Array:
        """A last step, perhaps partly filled, is the end."""
        if steps.max() > math.ceil(self.steps[-1]):
            raise InputError(
                f"the log holds {steps.max():,.0f} steps, but the plan has {math.ceil(self.steps[-1]):,}; is it this "
                "run's?"
            )
        return np.asarray(np.interp(steps, self.steps, self.tokens), dtype=np.float64)

    def tokens_at(self, seconds: float) -> float:
        return float(np.interp(seconds, self.seconds, self.tokens))


def _running_speed(times_s: Array, done_s: Array) -> tuple[float, float]:
    """Work over time while steps run, and the standard error of its logarithm.

    The median over intervals that moved forward, weighted by their time: right while less than half of the time
    is in intervals that hold a standstill.
    """
    gaps_s, moved_s = np.diff(times_s), np.diff(done_s)
    forward = moved_s > 0
    if not forward.any():
        raise InputError("the log makes no progress; a forecast needs some.")
    rates, weights = (moved_s / gaps_s)[forward], gaps_s[forward]
    order = np.argsort(rates)
    cumulated = np.cumsum(weights[order])
    speed = float(rates[order][np.searchsorted(cumulated, cumulated[-1] / 2)])
    running = rates[rates > STANDING_SHARE * speed]
    scatter = float(np.median(np.abs(np.log(running / speed)))) * 1.4826  # of a normal
    return speed, scatter / math.sqrt(running.size)


def _mean_speed(times_s: Array, done_s: Array, speed: float) -> float:
    """Work over all time but that of intervals that hold a long standstill; their planned stops are in it."""
    gaps_s, moved_s = np.diff(times_s), np.diff(done_s)
    whole = moved_s > WHOLE_SHARE * speed * gaps_s
    return float(moved_s[whole].sum() / gaps_s[whole].sum())


def _standing(times_s: Array, done_s: Array, speed: float) -> NDArray[np.bool_]:
    """Which intervals hold a standstill, or a step back."""
    return np.asarray(np.diff(done_s) < STANDING_SHARE * speed * np.diff(times_s))


def _longest_stop_s(plan: Plan) -> float:
    """The longest standstill that is an interruption and no pause."""
    stops = plan.campaign.stops
    took_s = sum(stops.column(name) for name in STOPPED)
    return max(PAUSE_S, PAUSE_OVER_PLANNED * float(np.max(took_s, initial=0.0)))


def _standstill(times_s: Array, done_s: Array, speed: float, longest_stop_s: float) -> Standstill:
    """Runs of neighbouring intervals that stand still or go back, each an interruption or a pause."""
    gaps_s, moved_s = np.diff(times_s), np.diff(done_s)
    back_s = np.maximum(-moved_s, 0.0)
    still_s = np.maximum(gaps_s - np.maximum(moved_s, 0.0) / speed, 0.0)
    standing = _standing(times_s, done_s, speed)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], standing, [False]]).astype(int)))
    stops = pauses = 0
    stopped_s = paused_s = 0.0
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        length_s = float(still_s[first:last].sum())
        if length_s > longest_stop_s:
            pauses, paused_s = pauses + 1, paused_s + length_s
        else:
            stops, stopped_s = stops + 1, stopped_s + length_s
    return Standstill(
        stops=stops, stopped_s=stopped_s, lost_s=float(back_s.sum()) / speed, pauses=pauses, paused_s=paused_s
    )


def _forecast(
    plan: Plan, left_s: float, elapsed_s: float, speed: float, spread: float, still: Standstill | None, samples: int
) -> Array:
    """Days of the whole run in each sample: elapsed so far, and the rest at the speed and with the stops learnt.

    Speed: what the log shows, with its scatter and, for the part of the run not yet seen, half of the variance of
    the step model (assumed: the other half is common to all phases and has shown itself). Standstill: the plan's
    share of time, as sure as its prior on the rate of failures, meets the log's as gamma and Poisson do (Gelman et
    al., Bayesian Data Analysis, section 2.6); a log that shows no interruptions (`None`) teaches nothing of them.
    Pauses are not expected again.
    """
    rng = np.random.default_rng(plan.request.seed)
    error = plan_priors(plan)["step_time"]
    model = math.log(error.high) / 1.645 / math.sqrt(2)
    seen = min(elapsed_s * speed / (elapsed_s * speed + left_s), 1.0)
    speeds = speed * np.exp(rng.standard_normal(samples) * math.hypot(spread, model * (1 - seen)))
    rate, cost_s = _stops_per_s(plan, elapsed_s, still, rng.standard_normal(samples))
    down = np.minimum(rate * cost_s, 0.99)
    rest_s = left_s / speeds / (1 - down)
    chance_s = np.sqrt(rate * rest_s) * cost_s * math.sqrt(2)  # E[L^2] = 2 E[L]^2 of an exponential L
    rest_s = np.maximum(rest_s + chance_s * rng.standard_normal(samples), left_s / speeds)
    return np.asarray((elapsed_s + rest_s) / DAY_S)


def _stops_per_s(plan: Plan, elapsed_s: float, still: Standstill | None, z: Array) -> tuple[Array, float]:
    """Interruptions per second in each sample, and what one costs: planned and seen, weighed by how much is known."""
    campaign, prior = plan.campaign, plan_priors(plan)["failures"]
    planned_stops = max(len(campaign.interruptions), 1)
    work_s = math.fsum(phase.training_s for phase in plan.phases)
    planned_cost_s = (campaign.duration_s - work_s) / planned_stops
    spread = max(math.log(prior.high / prior.low) / 2 / 1.645, 0.05)
    shape = 1 / spread**2  # a gamma of this shape has about this relative spread
    seen_s = elapsed_s - still.paused_s if still else 0.0
    seen_stops, standing_s = (still.stops, still.stopped_s + still.lost_s) if still else (0, 0.0)
    stops = shape + seen_stops
    rate = stops / (shape * campaign.duration_s / planned_stops + seen_s) * np.exp(z / math.sqrt(stops))
    return rate, (shape * planned_cost_s + standing_s) / stops


def _speed_by_power(plan: Plan, log: RunLog, done_s: Array, speed: float) -> float:
    """The speed that the site's power while steps run allows, by the clocks' curve; 1 where nothing is missing.

    What the site draws less, its GPUs draw less.
    """
    standing = _standing(log.times_s, done_s, speed)
    running = np.isfinite(log.power_w)
    running[:-1] &= ~standing
    running[1:] &= ~standing
    if not running.any():
        return 1.0
    missing = 1 - float(log.power_w[running].mean()) / plan.response.working_w
    if missing < POWER_ERROR:
        return 1.0
    joules = plan.campaign.energy_j
    gpu_share = joules["gpu"] / (joules["gpu"] + joules["host"])
    return float(speed_at_power(np.array([1 - missing / gpu_share]))[0])


def _log_notes(log: RunLog, coarse: bool) -> Iterator[str]:
    """What the log cannot show."""
    if coarse:
        apart = significant(float(np.median(np.diff(log.times_s))) / HOUR_S, 2)
        yield (
            f"rows are {apart} h apart, too far to tell short interruptions from slower steps; the planned ones "
            "are taken to have happened"
        )
    if not log.start:
        yield "the log's times are no dates: the run is taken to have begun as planned"


def _speed_note(speed: float) -> tuple[str, ...]:
    """A speed that no run of this plan has."""
    if 1 / BEYOND <= speed <= BEYOND:
        return ()
    return (f"steps run at {significant(speed)} times the planned speed; is the log of this plan's run?",)


def _power_note(plan: Plan, power_w: float | None, speed: float) -> tuple[str, ...]:
    """What the power says about the speed."""
    planned_w = plan.campaign.mean_site_power_w
    if power_w is None or abs(power_w / planned_w - 1) < POWER_ERROR:
        return ()
    if power_w > BEYOND * planned_w or power_w < planned_w / BEYOND:
        times = significant(power_w / planned_w)
        unit = "is the column in its unit (power_w, power_kw, power_mw)?"
        return (f"the site draws {times} times the planned power; {unit}",)
    differs = f"the site draws {abs(power_w / planned_w - 1):.0%} {'less' if power_w < planned_w else 'more'} than"
    if power_w < planned_w and speed < 1 - ON_PLAN_DAYS_SHARE:
        return (
            f"{differs} planned while steps are slower; a cap or throttling slows them, and so do GPUs that wait",
        )
    return (f"{differs} planned",)
