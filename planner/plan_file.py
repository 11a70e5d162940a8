"""The plan file: what a person asks for, in TOML, checked at the door and frozen inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from planner.layout_choice import STRICT, LayoutChoice, Only
from planner.machine import of_another_gpu
from planner.plan_numbers import (
    Megawatts,
    People,
    Percent,
    Seconds,
    SpareNodes,
    StandingDays,
    Start,
    Terabytes,
    Teraflops,
    Tokens,
    UsdPerGpu,
    UsdPerGpuHour,
    UsdPerKwh,
    Watts,
)
from planner.quantities import parse_count
from profiler.files import InputError, parse_toml, read_text, validated
from profiler.units import Count
from sim.campaign.checkpoints import CheckpointKind
from sim.campaign.setup import Recovery
from sim.hardware import TrainingPrecision
from sim.site.conditions import Hour, Month, PowerWindow
from sim.stacks.stack import DEFAULT_STACK

MOST_REPLICAS = 1000
"""Campaigns of which a plan takes the median."""


@dataclass(frozen=True, kw_only=True)
class PhaseRequest:
    """One stretch of training with its own batch and sequence length."""

    __pydantic_config__ = STRICT

    name: str
    """What it is called."""
    tokens: Tokens
    """Its tokens; those of all phases add up to the plan's."""
    seq_len: Count
    """Tokens in a sequence."""
    global_batch: Count
    """Sequences in one optimizer step."""
    layout: LayoutChoice | None = None
    """Its own layout; that of [training.layout] where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class ClusterRequest:
    """The machine; names from the catalogue, or paths of TOML files."""

    __pydantic_config__ = STRICT

    gpu: str = "h100-sxm"
    """A name of sim/catalogue/gpus, or a TOML file. Default: the GPU of Llama 3.1 (arXiv:2407.21783)."""
    profile: str = ""
    """What this GPU was measured at: a profile (JSON) of `herdplan-profile run`; where nothing is said the one that
    ships for it, if any."""
    gpus: Count = 1024
    """How many; whole nodes beyond the first. Default: assumed."""
    node: str = ""
    """A name of sim/catalogue/nodes, or a TOML file; what the GPU is usually sold in where nothing is said."""
    gpus_per_node: Count | None = None
    """GPUs of each node that train, such as 64 of a rack's 72; the others are paid for and idle. All where nothing is
    said."""
    fabric: str = ""
    """A name of sim/catalogue/fabrics, by speed per GPU (-node: per node), or a TOML file; the usual one of the node
    where nothing is said."""
    storage: str = "shared-2tb-s"
    """Where checkpoints go (sim/catalogue/storage). Default: Llama 3's, 2 TB/s sustained (arXiv:2407.21783)."""
    spare_nodes: SpareNodes | None = None
    """Powered, idle nodes in waiting; where nothing is said one in a hundred, or as many as repairs seldom use up,
    whichever is more (assumed)."""


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """How it is trained. Phases, where given, replace `seq_len` and `global_batch`."""

    __pydantic_config__ = STRICT

    stack: str = DEFAULT_STACK
    """Training software, a name of sim/stacks, or a TOML file. Default: assumed, the most measured one."""
    precision: TrainingPrecision = "bf16"
    """bf16, fp16 or fp8. Default: as Llama 3.1 was trained (arXiv:2407.21783)."""
    seq_len: Count | None = None
    """Tokens in a sequence; where nothing is said 8,192, as in Llama 3's pre-training (arXiv:2407.21783), or the
    model's context where that is shorter."""
    global_batch: Count | None = None
    """Sequences in one step; where nothing is said, as many as make 4 M tokens, or 16 M from 4,096 GPUs on."""
    layout: LayoutChoice | None = None
    """Searched where nothing is said."""
    only: Only = field(default_factory=Only)
    """Those that a search looks at."""


@dataclass(frozen=True, kw_only=True)
class ReliabilityRequest:
    """Whose failure record to assume, and how checkpoints are taken."""

    __pydantic_config__ = STRICT

    record: str = "llama3-405b"
    """Whose failures to assume (sim/catalogue/reliability). Default: arXiv:2407.21783 table 5."""
    checkpoints: CheckpointKind = "asynchronous"
    """Held until on shared storage, written there from host memory, copied to other hosts' memory, or the last two
    together (multi_level). Default: assumed."""
    checkpoint_interval_s: Annotated[Seconds, Gt(0)] | None = None
    """Training time between checkpoints; what checkpoint_rule finds where nothing is said."""
    checkpoint_rule: Literal["young_daly", "optimal"] = "young_daly"
    """Daly's series, or the exact optimum of his cost function. Default: the usual one."""
    durable_interval_s: Annotated[Seconds, Gt(0)] | None = None
    """Multi-level: between checkpoints to storage; by the same rule, three hours at most, where nothing is said."""
    memory_copies: Count = 2
    """Hosts that keep each share of a checkpoint in memory. Default: GEMINI, SOSP 2023."""
    storage_share: Annotated[Percent, Gt(0)] = 1.0
    """Share of the storage's bandwidth that others leave to this run's checkpoints. Default: assumed."""
    longest_detection_s: Annotated[Seconds, Ge(0)] | None = None
    """No failure goes unnoticed for longer; as the record says where nothing is said."""
    restart_s: Annotated[Seconds, Ge(0)] | None = None
    """A cold restart; by the GPUs, as the record says, where nothing is said."""
    hot_spare_nodes: SpareNodes = 0
    """Spare nodes that already run in the job, so that a restart with one is warm. Default: none (assumed)."""
    repair_crews: Count | None = None
    """Nodes that can be under repair at once; any number where nothing is said."""
    without_spares: Literal["wait", "fewer_replicas"] = "wait"
    """What the job does when the spares are gone: wait for a repair, or train on fewer replicas. Default: assumed."""
    recovery: Recovery = "job"
    """What restarts after a failure: the job, or the replica that failed (arXiv:2602.00277). Default: assumed."""
    replica_stall_s: Annotated[Seconds, Ge(0)] = 180.0
    """Recovery by replica: how long the others stand. Default: three minutes, arXiv:2602.00277."""
    planned_maintenance_per_day: Annotated[float, Ge(0)] = 47 / 54
    """Planned interruptions a day. Default: 47 in 54 days, arXiv:2407.21783 table 5."""
    maintenance_s: Annotated[Seconds, Ge(0)] = 600.0
    """Standstill of each before its restart. Default: assumed."""
    pause_every_s: Annotated[Seconds, Gt(0)] | None = None
    """Training time between pauses for evaluations or data; none where nothing is said."""
    pause_s: Annotated[Seconds, Gt(0)] = 300.0
    """How long each pause takes. Default: assumed."""


@dataclass(frozen=True, kw_only=True)
class PowerWindowRequest:
    """Hours in which the site may draw no more than so much; what does not fit is slowed, paused or switched off."""

    __pydantic_config__ = STRICT

    label: str = "power window"
    """What it is called."""
    allowed_w: Annotated[Watts, Ge(0)]
    """At the site's meter."""
    from_hour: Hour = 0
    """First hour of the day, local time. Default: midnight."""
    to_hour: Hour = 24
    """Hour at which it ends, on the next day where it is not above from_hour. Default: midnight."""
    months: tuple[Month, ...] = tuple(range(1, 13))
    """Months of the year, 1 to 12. Default: all."""
    days: Literal["all", "weekdays", "weekends"] = "all"
    """All, weekdays or weekends. Default: all."""
    first_date: str = "0001-01-01"
    """First day, YYYY-MM-DD. Default: always."""
    last_date: str = "9999-12-31"
    """Last day, YYYY-MM-DD. Default: always."""

    def __post_init__(self) -> None:
        self.window()

    def window(self) -> PowerWindow:
        """As the simulation takes it."""
        return PowerWindow(**vars(self))


@dataclass(frozen=True, kw_only=True)
class SiteRequest:
    """Where it stands: grid, efficiency, tariff."""

    __pydantic_config__ = STRICT

    grid: str = "USA"
    """Country, ISO code or cloud region (provider:region), for carbon, or a CSV file with a year's hours (kg_per_kwh
    or g_per_kwh). Default: assumed."""
    clean_share: Annotated[Percent, Ge(0)] = 0.0
    """Electricity under clean contracts, which market-based emissions count as none. Default: none."""
    wue_l_per_kwh: Annotated[float, Ge(0), Le(20)] | None = None
    """Litres evaporated at the site per kWh of its machines; Microsoft's fleet, 0.27, where nothing is said."""
    pue: Annotated[float, Ge(1), Le(10)] | None = None
    """Site power over machine power; 1.09, Google's fleet's, where nothing is said. Industry: 1.54 (Uptime 2025)."""
    above_node_share: Annotated[Percent, Ge(0)] = 0.10
    """Switches, optics, storage over node power. Default: public analyses of a 100,000-GPU H100 cluster."""
    tariff: str = "us-industrial"
    """Electricity tariff or place (planner/market, such as FIN or USA-TX), a TOML file, or a CSV file with a year's
    hours (usd_per_kwh or usd_per_mwh). Default: US average (EIA)."""
    electricity_usd_per_kwh: Annotated[UsdPerKwh, Ge(0)] | None = None
    """Replaces the tariff by a flat price."""
    climate: str = ""
    """Outside temperature: a name of sim/catalogue/climate, a TOML file, or a CSV file with a year's hours; without
    one PUE and clocks are the same at every hour."""
    gpu_power_cap_w: Annotated[Watts, Gt(0)] | None = None
    """Power limit of each GPU; clocks follow. None where nothing is said."""
    power_limit_mw: Annotated[Megawatts, Gt(0)] | None = None
    """What the site may draw at its meter, always; GPUs are capped until it does. None where nothing is said."""
    power_windows: tuple[PowerWindowRequest, ...] = ()
    """Curtailment, demand response and standing caps."""


@dataclass(frozen=True, kw_only=True)
class MoneyRequest:
    """Rented, owned or some of both, and at which price."""

    __pydantic_config__ = STRICT

    mode: Literal["rent", "own", "mixed"] = "rent"
    """Rented, owned, or mixed: `owned_gpus` owned and the others rented. Default: assumed."""
    owned_gpus: Annotated[int, Ge(0)] = 0
    """GPUs owned when mode is mixed. Default: none."""
    commitment: str = "on-demand"
    """On-demand, 1-year, 3-year or spot, of rent. Default: assumed."""
    vendor: str = ""
    """Whose rent (planner/market/gpu_prices.csv); the spread over all vendors where nothing is said."""
    pay_whole_term: bool = False
    """Whether a commitment's term is paid to its end though the run is over; otherwise something else uses it."""
    spot_reclaimed_per_month: Annotated[Percent, Ge(0), Lt(1)] = 0.15
    """Share of spot nodes that the cloud takes back in a month. Default: H100s, 10 to 20 % (AWS Spot Instance
    Advisor, May 2025)."""
    price_usd_per_gpu_hour: UsdPerGpuHour | None = None
    """Replaces the catalogue's range of rents."""
    server_usd_per_gpu: UsdPerGpu | None = None
    """Purchase price with a GPU's share of the server; the catalogue's range where nothing is said."""
    preparation_days: StandingDays = 0.0
    """Days the cluster is paid for before the first step; five years at most."""
    idle_days: StandingDays = 0.0
    """Days it is paid for after the last step; five years at most."""
    storage_tb: Terabytes | None = None
    """Storage for data and checkpoints; where nothing is said, 4 bytes a token and ten checkpoints (assumed)."""
    egress_tb: Terabytes | None = None
    """Data carried out of the cloud; the weights in 16 bits where nothing is said."""
    housing: Literal["colocation", "building"] = "colocation"
    """Where an owned cluster stands: in rented space, or in a building of its own. Default: assumed."""
    depreciation: Literal["market", "straight-line", "write-off"] = "market"
    """What the run bears of an owned cluster's price: what the market value falls by (arXiv:2405.21015), equal parts
    over 5.5 years, or all of it. Default: market."""
    resale_share: Annotated[Percent, Ge(0)] = 1.0
    """What a sale brings over the value kept. Default: used on, not sold."""
    operators: People = 0.0
    """People who run an owned site. Default: counted elsewhere."""
    research_staff: bool = False
    """Whether the people who develop the model are counted, 29 to 49 % of the total (arXiv:2405.21015)."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What it states and its mode leaves aside."""
        if self.mode == "mixed" or not self.owned_gpus:
            return ()
        return (f"money.owned_gpus is {self.owned_gpus:,} and counts only with money.mode mixed; it is {self.mode}",)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the person already knows and the model should not predict."""

    __pydantic_config__ = STRICT

    tflops_per_gpu: Annotated[Teraflops, Gt(0)] | None = None
    """Model TFLOP/s per GPU, non-causal, replacing the predicted step time of every phase."""
    effective_time_ratio: Annotated[Percent, Gt(0)] | None = None
    """Productive share of the campaign; what failures, checkpoints and standstills take is fitted to it."""


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """A whole plan file."""

    __pydantic_config__ = STRICT

    model: str
    """A name of profiler/models, or a TOML file."""
    tokens: Tokens
    """Training tokens."""
    name: str = ""
    """What the plan is called; the model and its GPUs where nothing is said."""
    start: Start = "2026-01-05"
    """First day, for calendar months of bills."""
    seed: Annotated[int, Ge(0)] = 1
    """Same seed, same plan."""
    replicas: Count = 5
    """Simulated campaigns; the one of median length is the plan. Default: assumed."""
    cluster: ClusterRequest = field(default_factory=ClusterRequest)
    training: TrainingRequest = field(default_factory=TrainingRequest)
    phases: tuple[PhaseRequest, ...] = ()
    reliability: ReliabilityRequest = field(default_factory=ReliabilityRequest)
    site: SiteRequest = field(default_factory=SiteRequest)
    money: MoneyRequest = field(default_factory=MoneyRequest)
    stated: Stated = field(default_factory=Stated)

    def __post_init__(self) -> None:
        if self.replicas > MOST_REPLICAS:
            raise ValueError(
                f"replicas is {self.replicas}; at most {MOST_REPLICAS} are allowed. `herdplan simulate` gives "
                "distributions over more."
            )
        if self.phases:
            planned = sum(phase.tokens for phase in self.phases)
            if abs(planned / self.tokens - 1) > 0.001:
                raise ValueError(f"the phases hold {planned:.4g} tokens but tokens is {self.tokens:.4g}.")


def read_plan_request(path: Path, overrides: Sequence[tuple[str, object]] = ()) -> PlanRequest:
    """Read a plan file; `overrides` are (dotted key, value) pairs put over it.

    Raises:
        InputError: unreadable, or a key that cannot be.
    """
    return parse_plan_request(read_text(path), overrides, source=str(path))


def parse_plan_request(text: str, overrides: Sequence[tuple[str, object]] = (), *, source: str) -> PlanRequest:
    """The same from text; `source` names it in errors."""
    return plan_request(parse_toml(text, source=source), overrides, source=source)


def plan_request(
    data: Mapping[str, Any], overrides: Sequence[tuple[str, object]] = (), *, source: str
) -> PlanRequest:
    """The same from a mapping. A changed number of tokens stretches the phases in proportion; another GPU comes in
    its usual node and fabric, unless the node is built for it too or both are given with it, and is not what a
    profile measured."""
    merged = _copy(data)
    set_to = dict(overrides)
    gpu = set_to.get("cluster.gpu")
    if isinstance(gpu, str) and _another_gpu(merged, gpu):
        merged["cluster"] = _with_another_gpu(merged["cluster"], gpu, keeps_node="cluster.node" not in set_to)
    for key, value in overrides:
        _put(merged, key, value)
    if merged.get("phases") and "tokens" in dict(overrides):
        _stretch(merged, source)
    return validated(merged, PlanRequest, source=source)


def _another_gpu(data: Mapping[str, Any], gpu: str) -> bool:
    cluster = data.get("cluster")
    return isinstance(cluster, dict) and cluster.get("gpu", ClusterRequest.gpu) != gpu


def _with_another_gpu(cluster: Mapping[str, Any], gpu: str, *, keeps_node: bool) -> dict[str, Any]:
    part, node = cluster.get("gpus_per_node"), cluster.get("node") if keeps_node else ""
    others = of_another_gpu(gpu, part if isinstance(part, int) else None, node if isinstance(node, str) else "")
    stated = {key: value for key, value in others.items() if value}
    return {key: value for key, value in cluster.items() if key not in others} | stated


def _copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in data.items()}


def _put(data: dict[str, Any], key: str, value: object) -> None:
    *path, last = key.split(".")
    for part in path:
        inner = data.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"key '{key}' cannot be set: '{part}' is not a table.")
        data = inner
    data[last] = value


def _stretch(data: dict[str, Any], source: str) -> None:
    """Scale each phase's tokens so that they add up to the new total, keeping the schedule's shape."""
    try:
        total = parse_count(data["tokens"])
        counts = [parse_count(phase["tokens"]) for phase in data["phases"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source}: the phases' tokens cannot be read ({error})") from None
    ratio = total / sum(counts)
    data["phases"] = [{**phase, "tokens": n * ratio} for phase, n in zip(data["phases"], counts, strict=True)]
