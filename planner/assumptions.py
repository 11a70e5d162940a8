"""Every assumption behind a plan, with its value, where it comes from and how we know it."""

from dataclasses import asdict, dataclass
from typing import Literal

from planner.carbon import Grid
from planner.charges import CHECKPOINTS_KEPT, Charges
from planner.market.prices import assumptions
from planner.phases import PlannedPhase, fitted_on, step_error_source
from planner.plan_file import MoneyRequest, PlanRequest
from planner.planned_campaign import site_pue
from planner.pricing import Prices
from planner.quantities import human, percent, significant
from planner.spot import RETURN_S
from planner.water import SOURCE as WATER_SOURCE
from planner.water import litres_per_kwh
from profiler.architecture import ModelArchitecture
from sim.calibration import load_calibration
from sim.campaign import CampaignSetup
from sim.clocks import POWER_EXPONENT
from sim.hardware import Cluster
from sim.power import ATTENTION_SHARE, COMMUNICATION_SHARE, MATMUL_SHARE, MEMORY_SHARE, WAITING_SHARE
from sim.site import DAILY_SWING
from sim.stacks import load_stack

Kind = Literal["given", "measured", "scaled", "calibrated", "published", "assumed"]


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """One number or choice a plan stands on."""

    what: str
    value: str
    kind: Kind
    source: str

    def to_dict(self) -> dict[str, str]:
        """The row as scripts read it."""
        return asdict(self)


def list_assumptions(
    request: PlanRequest,
    architecture: ModelArchitecture,
    cluster: Cluster,
    phases: tuple[PlannedPhase, ...],
    setup: CampaignSetup,
    prices: Prices,
    grid: Grid,
    step_error: float,
) -> tuple[Assumption, ...]:
    """All assumptions in the order a reader asks: model, machine, speed, failures, power, money, carbon."""
    return (
        *_work(request, architecture, phases),
        *_machine(cluster),
        *_speed(request, phases, step_error),
        *_failures(request, setup),
        *_power(request, cluster),
        *_money(request, prices),
        *_terms(request, setup, prices),
        _row("Grid intensity", f"{grid.intensity_kg_per_kwh:.3f} kgCO2e/kWh, {grid.label}", "published", grid.source),
        *_water(request, grid),
    )


def _row(what: str, value: str, kind: Kind, source: str) -> Assumption:
    return Assumption(what=what, value=value, kind=kind, source=source)


def _work(
    request: PlanRequest, architecture: ModelArchitecture, phases: tuple[PlannedPhase, ...]
) -> list[Assumption]:
    rows = [
        _row(
            "Model", f"{architecture.name}, {architecture.parameters:,} parameters", "published", architecture.source
        ),
        _row("Tokens", human(request.tokens), "given", "plan"),
    ]
    for phase in phases:
        batch = f"{human(phase.tokens_per_step)} tokens per step, {phase.seq_len:,} to a sequence"
        stated = bool(request.phases) or request.training.global_batch is not None
        why = "plan" if stated else "Llama 3's ramp from 4 M to 16 M tokens (arXiv:2407.21783), by cluster size"
        rows.append(_row(f"Batch, {phase.name}", batch, "given" if stated else "assumed", why))
        searched = f"fastest of {phase.searched:,} layouts tried" if phase.searched else "plan"
        kind: Kind = "calibrated" if phase.searched else "given"
        rows.append(_row(f"Layout, {phase.name}", phase.step.layout.label, kind, searched))
    return rows


def _machine(cluster: Cluster) -> list[Assumption]:
    gpu, node, fabric = cluster.gpu, cluster.node, cluster.fabric
    return [
        _row(
            "GPU",
            f"{gpu.label}: {gpu.peak_bf16_flops / 1e12:.0f} TFLOP/s dense bf16, {gpu.memory_gib:.0f} GiB, "
            f"{gpu.tdp_w:.0f} W",
            "published",
            gpu.sources.get("datasheet", ""),
        ),
        _row(
            "Node beside its GPUs",
            f"{node.host_load_power_w:,.0f} W busy, {node.host_idle_power_w:,.0f} W idle",
            _by_words(node.sources.get("host_load_power_w", "")),
            node.sources.get("host_load_power_w", ""),
        ),
        _row(
            "Fabric",
            f"{fabric.label}, {fabric.latency_s * 1e6:.0f} µs per hop",
            "published",
            fabric.sources.get("bandwidth_bytes_per_s", ""),
        ),
        _row(
            "Checkpoint storage",
            f"{cluster.storage.label}",
            _by_words(cluster.storage.sources.get("write_bytes_per_s", "")),
            cluster.storage.sources.get("write_bytes_per_s", ""),
        ),
    ]


def _by_words(source: str) -> Kind:
    return "assumed" if source.lower().startswith("assumed") else "published"


def _speed(request: PlanRequest, phases: tuple[PlannedPhase, ...], step_error: float) -> list[Assumption]:
    stack = load_stack(request.training.stack)
    calibration = load_calibration()
    rows = [_row("Software stack", stack.label, "assumed" if stack.notes else "published", stack.source)]
    if request.stated.tflops_per_gpu is not None:
        rows.append(_row("Throughput", f"{request.stated.tflops_per_gpu:.0f} TFLOP/s per GPU", "given", "plan"))
    else:
        origin = phases[0].step.origin
        constants = f"{len(calibration.constants)} constants"
        rows.append(_row("Kernel speeds", constants, origin, fitted_on(phases[:1])))
    rows.append(
        _row(
            "Error of the step model",
            f"{step_error * 100:.1f} % at the 90th percentile",
            "calibrated",
            step_error_source(phases),
        )
    )
    return rows


def _effective_time(ratio: float | None) -> list[Assumption]:
    if ratio is None:
        return []
    beside = "what failures, checkpoints and standstills take is stretched or shrunk to it"
    value = f"{percent(ratio)} of the time; {beside}"
    return [_row("Effective time", value, "given", "plan")]


def _failures(request: PlanRequest, setup: CampaignSetup) -> list[Assumption]:
    record = setup.reliability
    cadence = setup.cadence
    return [
        *_effective_time(request.stated.effective_time_ratio),
        _row(
            "Failures",
            f"{record.failures_per_1000_node_days:.2f} per 1,000 node-days: one every "
            f"{significant(setup.mtbf_s / 3600)} h",
            "published",
            record.sources.get("causes", "") or record.label,
        ),
        _row(
            "Restart",
            f"{setup.restart_s:.0f} s cold, {setup.warm_restart_s:.0f} s warm, after {record.mean_detection_s:.0f} s "
            "to notice",
            "given" if request.reliability.restart_s is not None else "published",
            "plan"
            if request.reliability.restart_s is not None
            else "arXiv:2602.00277 figure 2, interpolated by GPUs; detection by cause as the record states",
        ),
        _row(
            "Recovery",
            "the whole job from its last checkpoint"
            if setup.recovery == "job"
            else f"the replica that failed, while the others stand {setup.replica_stall_s:.0f} s and train on",
            "assumed" if setup.recovery == "job" else "given",
            "what published runs of this size did" if setup.recovery == "job" else "plan; FT-HSDP (arXiv:2602.00277)",
        ),
        _row(
            "Spare nodes",
            str(setup.spare_nodes),
            "given" if request.cluster.spare_nodes is not None else "assumed",
            "plan"
            if request.cluster.spare_nodes is not None
            else "1 % of the nodes, or as many as are too few for less than a twentieth of the time",
        ),
        _row(
            "Checkpoints",
            f"{request.reliability.checkpoints}, every {significant(cadence.interval_s / 60)} min, holding up "
            f"{significant(cadence.cost_s)} s each",
            "given" if request.reliability.checkpoint_interval_s else "calibrated",
            "plan"
            if request.reliability.checkpoint_interval_s
            else "optimum of Young (1974) and Daly (2006), on storage at least five minutes (assumed)",
        ),
        _row(
            "Planned interruptions",
            f"{setup.planned_maintenance_per_day:.2f} a day, {setup.maintenance_s:.0f} s each",
            "published",
            "47 in 54 days (arXiv:2407.21783 table 5); their duration is assumed",
        ),
    ]


def _power(request: PlanRequest, cluster: Cluster) -> list[Assumption]:
    gpu, shares = cluster.gpu, (MATMUL_SHARE, ATTENTION_SHARE, MEMORY_SHARE)
    return [
        _row(
            "GPU power by activity",
            f"{', '.join(f'{share * gpu.tdp_w:.0f}' for share in shares[:2])} and {shares[2] * gpu.tdp_w:.0f} of "
            f"{gpu.tdp_w:.0f} W in matmuls, attention and memory-bound kernels",
            "published" if gpu.name == "h200-sxm" else "scaled",
            "NVML readings of the aiconfigurator H200 data set (Apache-2.0), 90th percentile per class: 693, 687 and "
            "645 of 700 W",
        ),
        _row(
            "GPU power in communication and waiting",
            f"{percent(COMMUNICATION_SHARE, 0)} and {percent(WAITING_SHARE, 0)} of {cluster.gpu.tdp_w:.0f} W",
            "assumed",
            "no published reading per class",
        ),
        _row(
            "PUE",
            f"{site_pue(request.site):g}",
            "assumed" if request.site.pue is None else "given",
            ("" if request.site.pue is None else "plan; elsewhere: ")
            + "Google fleet 1.09, Meta 1.08 (company reports); industry 1.54-1.58 (Uptime Institute)",
        ),
        *_limits(request, cluster),
        *_conditions(request),
        _row(
            "Switches, optics, storage",
            f"{percent(request.site.above_node_share, 0)} of node power",
            "published",
            "public analyses of a 100,000-GPU H100 cluster",
        ),
    ]


def _conditions(request: PlanRequest) -> list[Assumption]:
    """What changes with the hour at the site."""
    if not request.site.climate:
        return []
    return [
        _row(
            "PUE by outside temperature",
            f"an economizer's curve over the hours of {request.site.climate}",
            "published",
            "Xu, Feng and Li, USENIX ICAC 2013, scaled to the plan's PUE",
        ),
        _row(
            "Throughput by time of day",
            f"{percent(DAILY_SWING)} between the coolest and the hottest hour",
            "published",
            "1-2 %, arXiv:2407.21783 section 3.3.4; 10 K between those hours assumed",
        ),
    ]


def _money(request: PlanRequest, prices: Prices) -> list[Assumption]:
    rows = []
    if prices.rental:
        price = prices.rental.price_usd_per_gpu_hour
        kind: Kind = "given" if request.money.price_usd_per_gpu_hour else "published"
        rows.append(
            _row(
                "Rent",
                f"{price.expected:.2f} USD per GPU-hour ({price.low:.2f} to {price.high:.2f})",
                kind,
                price.cited,
            )
        )
    if prices.ownership:
        server = prices.ownership.server_usd_per_gpu
        given: Kind = "given" if request.money.server_usd_per_gpu else "published"
        rows.append(
            _row("Purchase", f"{server.expected:,.0f} USD per GPU with its share of a server", given, server.cited)
        )
    tariff = prices.tariff
    rows.append(
        _row(
            "Electricity",
            tariff.label,
            "given"
            if request.site.electricity_usd_per_kwh is not None
            else "assumed"
            if tariff.assumed
            else "published",
            tariff.source,
        )
    )
    return rows


def _limits(request: PlanRequest, cluster: Cluster) -> list[Assumption]:
    """Caps on power, and what clocks make of them."""
    site = request.site
    said = []
    if site.gpu_power_cap_w is not None:
        said.append(f"{site.gpu_power_cap_w:g} of {cluster.gpu.tdp_w:g} W a GPU")
    if site.power_limit_mw is not None:
        said.append(f"{site.power_limit_mw:g} MW at the meter")
    if not said:
        return []
    return [
        _row("Power limit", "; ".join(said), "given", "plan"),
        _row(
            "Clocks at less power",
            f"power above idle goes with speed to the power of {POWER_EXPONENT:g}",
            "calibrated",
            "matrix products of H100s of 500 and 700 W in published runs",
        ),
    ]


def _terms(request: PlanRequest, setup: CampaignSetup, prices: Prices) -> list[Assumption]:
    """How the GPUs are had, and what is stored beside them."""
    money = request.money
    rows = []
    if money.commitment == "spot" and money.mode != "own":
        rows.append(
            _row(
                "Spot capacity",
                f"{percent(money.spot_reclaimed_per_month, 0)} of the nodes taken back in a month",
                "published" if money.spot_reclaimed_per_month == MoneyRequest().spot_reclaimed_per_month else "given",
                f"AWS Spot Instance Advisor, H100, 10 to 20 % (May 2025); back after {RETURN_S / 3600:g} h (assumed)",
            )
        )
    if money.mode != "rent" and prices.ownership:
        loss = prices.ownership.value_loss
        rows += [
            _row(
                "Depreciation",
                f"{money.depreciation}, resale at {percent(money.resale_share, 0)}",
                "given",
                loss.cited,
            ),
            _row("Housing", money.housing, "given", getattr(prices.ownership, money.housing).cited),
        ]
    storage_tb = Charges(setup=setup, money=money).storage_tb
    if storage_tb:
        stated = money.storage_tb is not None
        why = "plan" if stated else f"4 bytes a token and {CHECKPOINTS_KEPT} checkpoints"
        rows.append(_row("Stored data", f"{significant(storage_tb)} TB", "given" if stated else "assumed", why))
    return rows


def _water(request: PlanRequest, grid: Grid) -> list[Assumption]:
    """Water at the site and in power plants; nothing of the latter where none is published."""
    known, stated = assumptions().water_use, request.site.wue_l_per_kwh
    wue = known.expected if stated is None else stated
    rows = [
        _row(
            "Water at the site",
            f"{wue:g} l per kWh of its machines",
            "published" if stated is None else "given",
            known.cited if stated is None else "plan",
        )
    ]
    litres = litres_per_kwh().get(grid.iso3)
    if litres is not None:
        rows.append(_row("Water in generation", f"{litres:g} l per kWh, {grid.label}", "published", WATER_SOURCE))
    return rows
