"""What matters most: each assumption moved alone (tornado), and each one's share of the variance (Sobol indices)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from planner.priors import NORMAL, Array, normal_quantiles, plan_priors
from planner.uncertainty import OUTCOMES, draw
from profiler.files import InputError

if TYPE_CHECKING:
    from planner.plan import Plan

BASE_SAMPLES = 512
"""Of Saltelli's scheme, a power of two: the model is evaluated this often times the assumptions plus two."""

END_Z = NORMAL.inv_cdf(0.95)


@dataclass(frozen=True, kw_only=True)
class Swing:
    """One outcome with one assumption at its 5th and 95th percentile and all others as planned."""

    prior: str
    label: str
    at_p5: float
    at_p95: float
    source: str

    @property
    def width(self) -> float:
        """How far the outcome moves from one end to the other."""
        return abs(self.at_p95 - self.at_p5)


@dataclass(frozen=True, kw_only=True)
class SobolIndex:
    """The share of one outcome's variance that an assumption explains, alone and with all its interactions."""

    prior: str
    label: str
    first: float
    first_confidence: float
    """Half width of the 95 % confidence interval."""
    total: float
    total_confidence: float


def tornado(plan: "Plan", changes: Mapping[str, tuple[float, float]] | None = None) -> dict[str, tuple[Swing, ...]]:
    """For each outcome the swings of all assumptions that move it, widest first.

    Raises:
        InputError: a change of a prior that cannot be.
    """
    priors = {name: prior for name, prior in plan_priors(plan, changes).items() if prior.unsure}
    response = plan.response
    ends = np.array([-END_Z, END_Z])
    moved = {name: response.outcomes(draw(priors, {name: ends})) for name in priors}
    found = {}
    for outcome in OUTCOMES:
        swings = [
            Swing(
                prior=name,
                label=priors[name].label,
                at_p5=float(values[outcome][0]),
                at_p95=float(values[outcome][-1]),
                source=priors[name].source,
            )
            for name, values in moved.items()
        ]
        moving = [swing for swing in swings if swing.width > 0]
        found[outcome] = tuple(sorted(moving, key=lambda swing: (-swing.width, swing.prior)))
    return found


def sobol(
    plan: "Plan",
    *,
    base_samples: int = BASE_SAMPLES,
    seed: int | None = None,
    changes: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, tuple[SobolIndex, ...]]:
    """For each outcome the Sobol indices of all assumptions, the largest total first; the same seed, the same result.

    Raises:
        InputError: SALib is not installed, a number of samples that is no power of two, or a change that cannot be.
    """
    priors = {name: prior for name, prior in plan_priors(plan, changes).items() if prior.unsure}
    response, names = plan.response, list(priors)

    def outcomes(shares: Array) -> Mapping[str, Array]:
        columns = dict(zip(names, normal_quantiles(shares).T, strict=True))
        return response.outcomes(draw(priors, columns))

    seed = plan.request.seed if seed is None else seed
    found = sobol_indices(outcomes, names, base_samples=base_samples, seed=seed)
    return {
        outcome: tuple(
            SobolIndex(prior=name, label=priors[name].label, **dict(zip(COLUMNS, row, strict=True)))
            for name, row in sorted(rows.items(), key=lambda item: -item[1][2])
        )
        for outcome, rows in found.items()
    }


COLUMNS = ("first", "first_confidence", "total", "total_confidence")


def sobol_indices(
    model: Callable[[Array], Mapping[str, Array]], names: Sequence[str], *, base_samples: int, seed: int
) -> dict[str, dict[str, tuple[float, float, float, float]]]:
    """First-order and total Sobol indices with their 95 % confidence, by outcome and name.

    `model` takes inputs as rows of numbers uniform between 0 and 1, one column a name, and gives a value a row for
    each outcome. Scrambled Sobol points, Saltelli's scheme (doi:10.1016/j.cpc.2009.09.018), by SALib. An outcome
    that never varies has none.
    """
    try:
        from SALib.analyze import sobol as analysis  # type: ignore[import-untyped]
        from SALib.sample import sobol as sampling  # type: ignore[import-untyped]
    except ImportError:
        raise InputError("Sobol indices need SALib: pip install 'herdplan[uncertainty]'.") from None
    if base_samples < 2 or base_samples & (base_samples - 1):
        raise InputError(f"the samples of Sobol indices are {base_samples}; a power of two, such as 512, is needed.")
    problem = {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)}
    points = sampling.sample(problem, base_samples, calc_second_order=False, seed=seed)
    found = {}
    for outcome, values in model(points).items():
        if np.ptp(values) <= 1e-12 * np.abs(values).max():
            continue
        s = analysis.analyze(problem, np.ascontiguousarray(values), calc_second_order=False, seed=seed)
        table = (s["S1"], s["S1_conf"], s["ST"], s["ST_conf"])
        found[outcome] = {name: tuple(map(float, row)) for name, *row in zip(names, *table, strict=True)}
    return found  # type: ignore[return-value]


def to_dict(swings: Mapping[str, Sequence[Swing]], indices: Mapping[str, Sequence[SobolIndex]]) -> dict[str, object]:
    """Both as scripts read them."""
    return {
        "tornado": {name: [asdict(swing) for swing in rows] for name, rows in swings.items()},
        "sobol": {name: [asdict(index) for index in rows] for name, rows in indices.items()},
    }
