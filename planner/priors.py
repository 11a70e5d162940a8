"""Priors: how unsure each assumption of a plan is, and where that comes from.

A prior is a distribution of the factor between what will be and what the plan takes. Its logarithm is half a
normal below and half a normal above 0 (a two-piece lognormal), so that the plan's own value is the median, nothing
is ever negative, and the two ends are read as people state them: an interval with its probability.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import NDArray

from planner.market import MARKET
from planner.market.prices import FEW, PriceRange
from planner.money.pricing import Prices, stated_electricity
from planner.phase_notes import step_error_source
from profiler.files import InputError, nearest, read_toml
from profiler.units import Positive

if TYPE_CHECKING:
    from planner.plan import Plan

Array = NDArray[np.float64]
Kind = Literal["given", "published", "calibrated", "simulated", "assumed"]

SAMPLES = 1000
"""Samples of a Monte Carlo where nothing is said: the ends of a 90 % interval then repeat to about one percent."""

NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The factor on one assumption: its median is 1, and `coverage` of it lies between `low` and `high`."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    label: str
    low: Positive
    high: Positive
    coverage: Annotated[float, Gt(0), Lt(1)] = 0.90
    kind: Kind
    source: str

    def __post_init__(self) -> None:
        if not self.low <= 1 <= self.high:
            raise InputError(f"prior '{self.label}' is {self.low:g} to {self.high:g}; 1 must lie between.")

    @property
    def unsure(self) -> bool:
        """Whether there is any spread, of a factor or of chance."""
        return self.low < self.high or self.kind == "simulated"

    def factors(self, z: Array) -> Array:
        """The factor where a standard normal is `z`."""
        end = NORMAL.inv_cdf((1 + self.coverage) / 2)
        slope = np.where(z < 0, -math.log(self.low), math.log(self.high)) / end
        factors: Array = np.exp(slope * z)
        return factors


@cache
def catalogue() -> Mapping[str, Prior]:
    """The priors that ship, by name."""
    return read_toml(MARKET / "priors.toml", dict[str, Prior])


def plan_priors(plan: "Plan", changes: Mapping[str, tuple[float, float]] | None = None) -> dict[str, Prior]:
    """The priors of one plan by name; `changes` puts other 5th and 95th percentiles over them.

    What the person stated has no spread: a throughput, an effective time ratio, a price.

    Raises:
        InputError: a change to what is no assumption of this plan, or without 1 between its ends.
    """
    priors = {**_time(plan), **_power(plan), **_carbon(plan), **_money(plan)}
    for name, (low, high) in (changes or {}).items():
        if name not in priors:
            raise InputError(f"prior '{name}' is none of this plan; {nearest(name, priors)}.")
        if not 0 < low <= 1 <= high < math.inf:
            raise InputError(f"prior '{name}' is {low:g} to {high:g}; factors with 1 between them are needed.")
        given = replace(priors[name], low=low, high=high, coverage=0.90, kind="given", source="given by the user")
        priors[name] = given
    return priors


def _time(plan: "Plan") -> dict[str, Prior]:
    known, stated = catalogue(), plan.request.stated
    certain: dict[str, Prior] = {"tokens": known["tokens"]}
    error = plan.step_error_p90 if stated.tflops_per_gpu is None else 0.0
    certain["step_time"] = Prior(
        label="Step time",
        low=1 / (1 + error),
        high=1 + error,
        kind="calibrated" if error else "given",
        source=step_error_source(plan.phases, plan.cluster.gpu) if error else "throughput stated in the plan",
    )
    told = stated.effective_time_ratio is not None
    for name in ("failures", "restart_time", "detection_time", "chance"):
        certain[name] = _certain(known[name], "effective time ratio stated in the plan") if told else known[name]
    return certain


def _certain(prior: Prior, why: str) -> Prior:
    return replace(prior, low=1.0, high=1.0, kind="given", source=why)


def _power(plan: "Plan") -> dict[str, Prior]:
    known = catalogue()
    return {
        "node_power": known["node_power"],
        "above_node_share": known["above_node_share"],
        "cooling": known["cooling" if plan.request.site.pue is None else "cooling_given"],
    }


def _carbon(plan: "Plan") -> dict[str, Prior]:
    if plan.grid.kind == "given":
        return {"grid_intensity": _certain(catalogue()["grid_region"], "intensity stated in the plan")}
    return {"grid_intensity": catalogue()["grid_country" if plan.grid.kind == "country" else "grid_region"]}


def _money(plan: "Plan") -> dict[str, Prior]:
    """One prior for each range of prices that the cost of this plan depends on."""
    ranges = price_ranges(plan.prices, plan.request.money.mode)
    priors = {name: _of_range(name, *found) for name, found in ranges.items()}
    if plan.request.money.mode != "rent":
        prior = catalogue()["electricity_price"]
        stated = stated_electricity(plan.request.site)
        priors["electricity_price"] = _certain(prior, "price stated in the plan") if stated else prior
    return priors


def price_ranges(prices: Prices, mode: str) -> dict[str, tuple[PriceRange, int]]:
    """Every range of prices that the cost depends on by name, with how many quotes it stands on."""
    ranges: dict[str, tuple[PriceRange, int]] = {}
    if prices.rental and mode != "own":
        ranges["rent_price"] = (prices.rental.price_usd_per_gpu_hour, len(prices.rental.quotes))
    if prices.staff_share:
        ranges["staff_share"] = (prices.staff_share, 0)
    owned = prices.ownership
    if owned and mode != "rent":
        found = {field.name: getattr(owned, field.name) for field in fields(owned)}
        quotes = {"server_usd_per_gpu": len(owned.quotes)}
        ranges |= {
            name: (value, quotes.get(name, 0)) for name, value in found.items() if isinstance(value, PriceRange)
        }
    return ranges


LABELS = {
    "rent_price": "Rent",
    "server_usd_per_gpu": "Purchase price",
    "interconnect_share": "Interconnect's share",
    "value_loss": "Loss of value",
    "financing": "Interest",
}


def _of_range(name: str, found: PriceRange, quotes: int) -> Prior:
    """A range of prices as a prior: 10th to 90th percentile of enough quotes, else a 90 % interval."""
    label = LABELS.get(name, name.replace("_", " ").capitalize())
    spread = found.low > 0 and found.low < found.high
    return Prior(
        label=label,
        low=found.low / found.expected if spread else 1.0,
        high=found.high / found.expected if spread else 1.0,
        coverage=0.80 if quotes >= FEW else 0.90,
        kind="published" if spread else "given",
        source=found.cited,
    )


@cache
def normals(name: str, samples: int, seed: int) -> Array:
    """Standard normals of one assumption, one from each of `samples` equally probable strata, in random order.

    Latin hypercube sampling (McKay, Beckman and Conover 1979, doi:10.1080/00401706.1979.10489755). Each name has
    its own stream, so that two plans, or a plan with one prior more, meet the same luck (common random numbers).
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    shares = (rng.permutation(samples) + rng.random(samples)) / samples
    return normal_quantiles(shares)


def normal_quantiles(shares: Array) -> Array:
    """Standard normals at cumulative probabilities, the very ends kept finite."""
    inside = np.clip(shares, 1e-12, 1 - 1e-12)
    return np.array([NORMAL.inv_cdf(share) for share in inside.ravel().tolist()]).reshape(shares.shape)
