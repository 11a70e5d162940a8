"""Every assumption behind a plan, with its value, where it comes from and how we know it."""

from planner.assumption import Assumption, Kind, by_words, row
from planner.campaign.planned import site_pue
from planner.carbon import Grid
from planner.kernel_assumptions import speed_assumptions, watts_assumptions
from planner.market.prices import assumptions
from planner.money.charges import CHECKPOINTS_KEPT, Charges
from planner.money.ownership import Ownership
from planner.money.pricing import Prices, stated_electricity
from planner.money.spot import RETURN_S
from planner.phases import PlannedPhase
from planner.plan_file import MoneyRequest, PlanRequest
from planner.quantities import human, percent, significant
from planner.water import SOURCE as WATER_SOURCE
from planner.water import litres_per_kwh
from profiler.architecture import ModelArchitecture
from profiler.profile import Profile
from sim.calibration import load_calibration
from sim.campaign import CampaignSetup
from sim.clocks import POWER_EXPONENT
from sim.hardware import Cluster, Node
from sim.power import COMMUNICATION_SHARE, WAITING_SHARE
from sim.site.conditions import DAILY_SWING


def list_assumptions(
    request: PlanRequest,
    architecture: ModelArchitecture,
    cluster: Cluster,
    phases: tuple[PlannedPhase, ...],
    setup: CampaignSetup,
    prices: Prices,
    grid: Grid,
    profile: Profile | None,
    step_error: float,
) -> tuple[Assumption, ...]:
    """All assumptions in the order a reader asks: model, machine, speed, failures, power, money, carbon."""
    return (
        *_work(request, architecture, phases),
        *_machine(cluster),
        *speed_assumptions(request, phases, cluster.gpu, profile, step_error),
        *_failures(request, setup),
        *_power(request, cluster, profile),
        *_money(request, prices),
        *_terms(request, setup, prices),
        _intensity(grid),
        *_water(request, grid),
    )


def _work(
    request: PlanRequest, architecture: ModelArchitecture, phases: tuple[PlannedPhase, ...]
) -> list[Assumption]:
    only = request.training.only
    rows = [
        row(
            "Model", f"{architecture.name}, {architecture.parameters:,} parameters", "published", architecture.source
        ),
        row("Tokens", human(request.tokens), "given", "plan"),
    ]
    for phase in phases:
        batch = f"{human(phase.tokens_per_step)} tokens per step, {phase.seq_len:,} to a sequence"
        stated = bool(request.phases) or request.training.global_batch is not None
        why = "plan" if stated else "Llama 3's ramp from 4 M to 16 M tokens (arXiv:2407.21783), by cluster size"
        rows.append(row(f"Batch, {phase.name}", batch, "given" if stated else "assumed", why))
        held = f" with {only.text}" if only.stated else ""
        searched = f"fastest of {phase.searched:,} layouts tried{held}" if phase.searched else "plan"
        kind: Kind = "calibrated" if phase.searched else "given"
        rows.append(row(f"Layout, {phase.name}", phase.step.layout.label, kind, searched))
    return rows


def _machine(cluster: Cluster) -> list[Assumption]:
    gpu, node, fabric = cluster.gpu, cluster.node, cluster.fabric
    return [
        row(
            "GPU",
            f"{gpu.label}: {gpu.peak_bf16_flops / 1e12:.0f} TFLOP/s dense bf16, {gpu.memory_gib:.0f} GiB, "
            f"{gpu.tdp_w:.0f} W",
            "published",
            gpu.sources.get("datasheet", ""),
        ),
        row(
            "Node beside its GPUs",
            f"{node.host_load_power_w:,.0f} W busy, {node.host_idle_power_w:,.0f} W idle",
            by_words(node.sources.get("host_load_power_w", "")),
            node.sources.get("host_load_power_w", ""),
        ),
        *_node_habits(node),
        row(
            "Fabric",
            f"{fabric.label}, {fabric.latency_s * 1e6:.0f} µs per hop",
            "published",
            fabric.sources.get("bandwidth_bytes_per_s", ""),
        ),
        row(
            "Checkpoint storage",
            f"{cluster.storage.label}",
            by_words(cluster.storage.sources.get("write_bytes_per_s", "")),
            cluster.storage.sources.get("write_bytes_per_s", ""),
        ),
    ]


def _node_habits(node: Node) -> list[Assumption]:
    """What a node's cooling does to its GPUs' speed where it is not air, and what its wiring does to its NICs."""

    def habit(what: str, value: str, key: str) -> Assumption:
        source = node.sources.get(key, "")
        return row(what, value, by_words(source) if source else "given", source or "the node's file")

    rows = []
    if node.clock_gain:
        rows.append(habit("Cooling", f"matrix products {percent(node.clock_gain)} faster than in air", "clock_gain"))
    if node.nics_at_cpu:
        share = load_calibration().constants["nic_at_cpu_share"].value
        wired = f"on the processors, through which GPUs reach {percent(share, 0)} (calibrated) of what they else do"
        rows.append(habit("Network cards", wired, "nics_at_cpu"))
    return rows


def _effective_time(ratio: float | None) -> list[Assumption]:
    if ratio is None:
        return []
    beside = "what failures, checkpoints and standstills take is stretched or shrunk to it"
    value = f"{percent(ratio)} of the time; {beside}"
    return [row("Effective time", value, "given", "plan")]


def _of_nodes(setup: CampaignSetup) -> str:
    """Of which nodes a rate is, where the cluster has others."""
    counted = setup.reliability.gpus_per_node
    return "" if setup.cluster.node.gpus_per_node == counted else f" of {counted} GPUs"


def _of_its_size(setup: CampaignSetup) -> str:
    """By how much a job of so many GPUs fails more often than the fleet's rate says."""
    gpus = setup.cluster.gpus
    factor = setup.reliability.job_size_factor(gpus)
    return f", times {factor:.2f} in a job of {gpus:,} GPUs" if round(factor, 2) != 1 else ""


def _failures(request: PlanRequest, setup: CampaignSetup) -> list[Assumption]:
    record = setup.reliability
    cadence = setup.cadence
    return [
        *_effective_time(request.stated.effective_time_ratio),
        row(
            "Failures",
            f"{record.failures_per_1000_node_days:.2f} per 1,000 node-days{_of_nodes(setup)}{_of_its_size(setup)}: "
            f"one every {significant(setup.mtbf_s / 3600)} h",
            "published",
            record.sources.get("causes", "") or record.label,
        ),
        row(
            "Restart",
            f"{setup.restart_s:.0f} s cold, {setup.warm_restart_s:.0f} s warm, after {record.mean_detection_s:.0f} s "
            "to notice",
            "given" if request.reliability.restart_s is not None else "published",
            "plan"
            if request.reliability.restart_s is not None
            else "arXiv:2602.00277 figure 2, interpolated by GPUs; detection by cause as the record states",
        ),
        row(
            "Recovery",
            "the whole job from its last checkpoint"
            if setup.recovery == "job"
            else f"the replica that failed, while the others stand {setup.replica_stall_s:.0f} s and train on",
            "assumed" if setup.recovery == "job" else "given",
            "what published runs of this size did" if setup.recovery == "job" else "plan; FT-HSDP (arXiv:2602.00277)",
        ),
        row(
            "Spare nodes",
            str(setup.spare_nodes),
            "given" if request.cluster.spare_nodes is not None else "assumed",
            "plan"
            if request.cluster.spare_nodes is not None
            else "1 % of the nodes or as many as are too few for less than a twentieth of the time, if that is more",
        ),
        row(
            "Checkpoints",
            f"{request.reliability.checkpoints}, every {significant(cadence.interval_s / 60)} min, holding up "
            f"{significant(cadence.cost_s)} s each",
            "given" if request.reliability.checkpoint_interval_s else "calibrated",
            "plan"
            if request.reliability.checkpoint_interval_s
            else "optimum of Young (1974) and Daly (2006), on storage at least five minutes (assumed)",
        ),
        row(
            "Planned interruptions",
            f"{setup.planned_maintenance_per_day:.2f} a day, {setup.maintenance_s:.0f} s each",
            "published",
            "47 in 54 days (arXiv:2407.21783 table 5); their duration is assumed",
        ),
    ]


def _power(request: PlanRequest, cluster: Cluster, profile: Profile | None) -> list[Assumption]:
    return [
        *watts_assumptions(cluster.gpu, profile),
        row(
            "GPU power in communication and waiting",
            f"{percent(COMMUNICATION_SHARE, 0)} and {percent(WAITING_SHARE, 0)} of {cluster.gpu.tdp_w:.0f} W",
            "assumed",
            "no published reading per class",
        ),
        row(
            "PUE",
            f"{site_pue(request.site):g}",
            "assumed" if request.site.pue is None else "given",
            ("" if request.site.pue is None else "plan; elsewhere: ")
            + "Google fleet 1.09, Meta 1.08 (company reports); industry 1.54-1.58 (Uptime Institute)",
        ),
        *_limits(request, cluster),
        *_conditions(request),
        row(
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
        row(
            "PUE by outside temperature",
            f"an economizer's curve over the hours of {request.site.climate}",
            "published",
            "Xu, Feng and Li, USENIX ICAC 2013, scaled to the plan's PUE",
        ),
        row(
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
        kind: Kind = "given" if request.money.price_usd_per_gpu_hour is not None else "published"
        rows.append(
            row(
                "Rent",
                f"{price.expected:.2f} USD per GPU-hour ({price.low:.2f} to {price.high:.2f})",
                kind,
                price.cited,
            )
        )
    if prices.ownership:
        server = prices.ownership.server_usd_per_gpu
        given: Kind = "given" if request.money.server_usd_per_gpu is not None else "published"
        rows.append(
            row("Purchase", f"{server.expected:,.0f} USD per GPU with its share of a server", given, server.cited)
        )
    tariff = prices.tariff
    rows.append(
        row(
            "Electricity",
            tariff.label,
            "given" if stated_electricity(request.site) else "assumed" if tariff.assumed else "published",
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
        row("Power limit", "; ".join(said), "given", "plan"),
        row(
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
            row(
                "Spot capacity",
                f"{percent(money.spot_reclaimed_per_month, 0)} of the nodes taken back in a month",
                "published" if money.spot_reclaimed_per_month == MoneyRequest().spot_reclaimed_per_month else "given",
                f"AWS Spot Instance Advisor, H100, 10 to 20 % (May 2025); back after {RETURN_S / 3600:g} h (assumed)",
            )
        )
    if money.mode != "rent" and prices.ownership:
        rows += _kept(money, prices.ownership)
    if prices.staff_share:
        share = f"{percent(prices.staff_share.expected, 0)} of the total, an unused term and what a sale loses aside"
        rows.append(row("Research staff", share, "published", prices.staff_share.cited))
    storage_tb = Charges(setup=setup, money=money).storage_tb
    if storage_tb:
        stated = money.storage_tb is not None
        why = "plan" if stated else f"4 bytes a token and {CHECKPOINTS_KEPT} checkpoints"
        rows.append(row("Stored data", f"{significant(storage_tb)} TB", "given" if stated else "assumed", why))
    return rows


def _kept(money: MoneyRequest, owned: Ownership) -> list[Assumption]:
    """How an owned cluster is kept; what is as in a plan that says nothing is not given."""
    usual, source = MoneyRequest(), owned.value_loss.cited
    written_off: Kind = "published" if money.depreciation == usual.depreciation else "given"
    afterwards: Kind = "assumed" if money.resale_share == usual.resale_share else "given"
    housed: Kind = "assumed" if money.housing == usual.housing else "given"
    sold = f"sold at {percent(money.resale_share, 0)} of the value kept"
    return [
        row("Depreciation", money.depreciation, written_off, source),
        row(
            "After the run",
            "the cluster is used on" if afterwards == "assumed" else sold,
            afterwards,
            "plan" if afterwards == "given" else "nothing is said of a sale",
        ),
        row("Housing", money.housing, housed, getattr(owned, money.housing).cited),
    ]


def _intensity(grid: Grid) -> Assumption:
    """Of a catalogue's grid, or as a person gave it."""
    value = f"{grid.intensity_kg_per_kwh:.3f} kgCO2e/kWh, {grid.label}"
    return row("Grid intensity", value, "given" if grid.kind == "given" else "published", grid.source)


def _water(request: PlanRequest, grid: Grid) -> list[Assumption]:
    """Water at the site and in power plants; nothing of the latter where none is published."""
    known, stated = assumptions().water_use, request.site.wue_l_per_kwh
    wue = known.expected if stated is None else stated
    rows = [
        row(
            "Water at the site",
            f"{wue:g} l per kWh of its machines",
            "published" if stated is None else "given",
            known.cited if stated is None else "plan",
        )
    ]
    litres = litres_per_kwh().get(grid.iso3)
    if litres is not None:
        rows.append(row("Water in generation", f"{litres:g} l per kWh, {grid.label}", "published", WATER_SOURCE))
    return rows
