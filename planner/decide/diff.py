"""Two plans side by side: what was asked differently, what is assumed differently, and what each change does."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

from planner.explain import taken, value_at
from planner.plan import Plan, make_plan
from planner.plan_file import PlanRequest
from planner.template import plan_keys, whole_tables
from profiler.files import InputError
from profiler.units import DAY_S, JOULES_PER_MWH

RESULTS: dict[str, Callable[[Plan], float]] = {
    "days": lambda p: p.campaign.duration_s / DAY_S,
    "gpu_hours": lambda p: p.campaign.gpu_hours,
    "cost_usd": lambda p: p.cost.expected,
    "energy_mwh": lambda p: p.campaign.total_energy_j / JOULES_PER_MWH,
    "tco2e": lambda p: p.carbon.location_based_tco2e,
    "water_m3": lambda p: p.water.total_m3,
    "peak_mw": lambda p: p.peak_power_mw,
    "mfu": lambda p: p.mfu,
    "ettr": lambda p: p.campaign.ettr,
    "step_time_s": lambda p: p.main_phase.step_time_s,
}
"""What is compared, as `planner.why.NUMBERS` has it."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Keys that differ, and what that alone does to the first plan."""

    keys: tuple[str, ...]
    before: str
    after: str
    results: dict[str, float] | None
    """The first plan's results with this change alone; `None` where it cannot be made alone."""
    refused: str = ""
    """Why it cannot."""


@dataclass(frozen=True, kw_only=True)
class AssumptionChange:
    """One assumption of two plans, empty where one has none."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class PlanDiff:
    """Everything that differs between two plans; empty for a plan and itself."""

    names: tuple[str, str]
    changes: tuple[Change, ...]
    assumptions: tuple[AssumptionChange, ...]
    before: dict[str, float]
    after: dict[str, float]

    @property
    def moved(self) -> tuple[str, ...]:
        """Results that differ."""
        return tuple(name for name, value in self.before.items() if value != self.after[name])

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.changes or self.assumptions or self.moved)

    def to_dict(self) -> dict[str, object]:
        """The comparison as scripts read it."""
        return {
            "names": list(self.names),
            "results": {k: {"before": v, "after": self.after[k]} for k, v in self.before.items()},
            "changes": [asdict(change) for change in self.changes],
            "assumptions": [asdict(row) for row in self.assumptions],
        }


def diff_plans(a: Plan, b: Plan) -> PlanDiff:
    """Compare two plans; each difference is also tried alone on the first.

    Changes interact, so what they do alone need not add up to the whole.
    """
    return PlanDiff(
        names=(a.name, b.name),
        changes=tuple(_change(a.request, b.request, keys) for keys in _changed(a.request, b.request)),
        assumptions=_assumptions(a, b),
        before=results(a),
        after=results(b),
    )


def results(plan: Plan) -> dict[str, float]:
    """The numbers that are compared."""
    return {name: float(read(plan)) for name, read in RESULTS.items()}


AGREE = (
    ("tokens", "phases"),
    ("cluster.gpu", "cluster.node", "cluster.gpus_per_node", "cluster.fabric", "cluster.profile"),
)
"""Keys of which only all together make a plan."""


def _changed(first: PlanRequest, second: PlanRequest) -> list[tuple[str, ...]]:
    """Keys that differ; those that must agree go together (`AGREE`). A plan's name is no assumption."""
    paths = [*(path for path in plan_keys() if path != "name"), *(table.path for table in whole_tables())]
    differ = [path for path in paths if value_at(first, path) != value_at(second, path)]
    groups = [tuple(path for path in agree if path in differ) for agree in AGREE]
    together = [group for group in groups if len(group) > 1]
    joined = {path for group in together for path in group}
    return [*together, *((path,) for path in differ if path not in joined)]


def _change(first: PlanRequest, second: PlanRequest, keys: tuple[str, ...]) -> Change:
    before, after = _shown(first, keys), _shown(second, keys)
    try:
        alone = _with_values(first, {key: value_at(second, key) for key in keys})
        return Change(keys=keys, before=before, after=after, results=results(make_plan(alone)))
    except ValueError as error:  # InputError, or a request whose parts do not agree
        return Change(keys=keys, before=before, after=after, results=None, refused=str(error))


def _shown(request: PlanRequest, keys: tuple[str, ...]) -> str:
    rows = {row.key: row.value for row in taken(request, set())}
    return ", ".join(rows[key] for key in keys)


def with_value(item: Any, path: str, value: object) -> Any:
    """A request with one dotted key changed."""
    return _with_values(item, {path: value})


def _with_values(item: Any, values: Mapping[str, object]) -> Any:
    """A request with some dotted keys changed at once."""
    changed: dict[str, Any] = {path: value for path, value in values.items() if "." not in path}
    for table in dict.fromkeys(path.partition(".")[0] for path in values if "." in path):
        inner = {path.partition(".")[2]: value for path, value in values.items() if path.startswith(f"{table}.")}
        if not is_dataclass(getattr(item, table)):
            raise InputError(f"key '{table}.{next(iter(inner))}' cannot be changed.")
        changed[table] = _with_values(getattr(item, table), inner)
    return replace(item, **changed)


def _assumptions(a: Plan, b: Plan) -> tuple[AssumptionChange, ...]:
    rows = [{row.what: f"{row.value} ({row.kind})" for row in plan.assumptions} for plan in (a, b)]
    names = dict.fromkeys([*rows[0], *rows[1]])
    return tuple(
        AssumptionChange(what=name, before=rows[0].get(name, ""), after=rows[1].get(name, ""))
        for name in names
        if rows[0].get(name) != rows[1].get(name)
    )
