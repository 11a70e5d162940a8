"""What the dashboard plans: the three models as published, and what a person changes about them."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from dashboard.controls import for_page
from planner.campaign.planned import USUAL_PUE, plan_cluster, site_pue
from planner.carbon import load_grid
from planner.machine import even_part
from planner.plan_file import PlanRequest, plan_request
from planner.quantities import human, parse_count, significant
from planner.report.plan_text import plan_file_text
from profiler.architecture import load_architecture
from profiler.files import InputError, parse_toml, read_text
from sim.hardware import load_gpu
from sim.layout import ParallelLayout
from sim.stacks.stack import load_stack

EXAMPLES = Path(__file__).parents[1] / "examples"

MODELS = {"8b": "llama3.1-8b", "70b": "llama3.1-70b", "405b": "llama3.1-405b"}
UPLOADED = "uploaded"

LABELS = {"8b": "Llama 3.1 8B", "70b": "Llama 3.1 70B", "405b": "Llama 3.1 405B", UPLOADED: "Uploaded plan"}

PLAIN: Mapping[str, Mapping[str, Any]] = {
    "8b": {"name": LABELS["8b"], "model": MODELS["8b"], "tokens": "15T", "cluster": {"gpus": 1024}},
    "70b": {"name": LABELS["70b"], "model": MODELS["70b"], "tokens": "15T", "cluster": {"gpus": 4096}},
    "405b": {"name": LABELS["405b"], "model": MODELS["405b"], "tokens": "15.6T", "cluster": {"gpus": 16384}},
}
"""Used where the example plans are not beside the package, as in an installed wheel."""

LARGEST_PLAN_BYTES = 256 * 1024

LARGEST = {"tokens": 1e15, "GPUs": 1e6, "replicas": 20, "phases": 50}
"""What a shared page plans at most; the command line has no such limits."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What is the same for every model on the page."""

    gpu: str = "h100-sxm"
    mode: Literal["rent", "own", "mixed"] = "rent"
    owned_gpus: int = 0
    price_usd_per_gpu_hour: float | None = None
    server_usd_per_gpu: float | None = None
    grid: str = "USA"
    electricity_usd_per_kwh: float | None = None
    pue: float = USUAL_PUE
    record: str = "llama3-405b"
    commitment: str = "on-demand"
    preparation_days: float = 0.0


@cache
def base(key: str) -> PlanRequest:
    """The published plan of a model.

    Raises:
        InputError: an example plan that cannot be read.
    """
    path = EXAMPLES / f"{MODELS[key]}.toml"
    data = parse_toml(read_text(path), source=path.name) if path.is_file() else PLAIN[key]
    return plan_request(data, source=path.name)


def shared_of(request: PlanRequest) -> Shared:
    """What a plan says about the things that are shared."""
    return Shared(
        gpu=load_gpu(request.cluster.gpu).name,
        mode=request.money.mode,
        owned_gpus=request.money.owned_gpus,
        price_usd_per_gpu_hour=request.money.price_usd_per_gpu_hour,
        server_usd_per_gpu=request.money.server_usd_per_gpu,
        grid=load_grid(request.site.grid).name,
        electricity_usd_per_kwh=request.site.electricity_usd_per_kwh,
        pue=site_pue(request.site),
        record=request.reliability.record,
        commitment=request.money.commitment,
        preparation_days=request.money.preparation_days,
    )


def changed(request: PlanRequest, shared: Shared, gpus: int, tokens: float, layout: str = "") -> PlanRequest:
    """The plan with what a person changed. Another machine has its layout searched and its own network.

    `layout`, where given, is that of the phase with most tokens (see `layout_choice`).

    Raises:
        InputError: a value that cannot be.
    """
    data = tomllib.loads(plan_file_text(request))
    was = shared_of(request)
    values: dict[str, object] = {
        f"{table}.{key}": getattr(shared, key)
        for table, keys in TABLES.items()
        for key in keys
        if getattr(shared, key) != getattr(was, key)
    }
    if gpus != request.cluster.gpus:
        values["cluster.gpus"] = gpus
    if tokens != request.tokens:
        values["tokens"] = tokens
    if shared.gpu != was.gpu and (part := even_part(shared.gpu)):
        values["cluster.gpus_per_node"] = part
    if (shared.gpu, gpus) != (was.gpu, request.cluster.gpus):
        for part in (data.get("training", {}), *data.get("phases", [])):
            part.pop("layout", None)
    if layout:
        phases = data.get("phases", [])
        main = max(phases, key=lambda phase: parse_count(phase["tokens"])) if phases else data["training"]
        main["layout"] = layout_choice(layout)
        data.get("training", {}).pop("only", None)  # what is clicked is no search
    return _of_bearable_size(plan_request(data, list(values.items()), source="the dashboard"))


TABLES = {
    "cluster": ("gpu",),
    "money": (
        "mode",
        "owned_gpus",
        "price_usd_per_gpu_hour",
        "server_usd_per_gpu",
        "commitment",
        "preparation_days",
    ),
    "site": ("grid", "electricity_usd_per_kwh", "pue"),
    "reliability": ("record",),
}
"""Where a plan file has what is shared."""

LAYOUT = re.compile(
    r"tp(?P<tp>\d{1,4})_cp(?P<cp>\d{1,4})_pp(?P<pp>\d{1,4})_vp(?P<vp>\d{1,4})_b(?P<micro_batch>\d{1,6})"
    r"_(?P<sharding>none|ddp|zero1|zero2|fsdp|hsdp(?P<shard_degree>\d{1,7}))_(?P<recompute>none|selective|full)"
    r"(?P<sequence>_sp[01])?(_(?P<schedule>gpipe|zb-h1|zb-h2|zb-v))?"
)


def layout_choice(text: str) -> dict[str, object]:
    """A layout as a plan file states it, from its short form.

    Raises:
        ValueError: not a layout.
    """
    found = LAYOUT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    choice: dict[str, object] = {name: int(found[name]) for name in ("tp", "cp", "pp", "vp", "micro_batch")}
    choice |= {"sharding": "hsdp" if found["shard_degree"] else found["sharding"], "recompute": found["recompute"]}
    if found["shard_degree"]:
        choice["shard_degree"] = int(found["shard_degree"])
    if found["sequence"]:
        choice["sequence_parallel"] = found["sequence"].endswith("1")
    if found["schedule"]:
        choice["schedule"] = found["schedule"]
    return choice


def layout_text(layout: ParallelLayout) -> str:
    """The short form of a layout, for an address; `layout_choice` reads it."""
    sequence = "" if layout.sequence_parallel is None else f"_sp{layout.sequence_parallel:d}"
    schedule = "" if layout.schedule == "1f1b" else f"_{layout.schedule}"
    return (
        f"tp{layout.tp}_cp{layout.cp}_pp{layout.pp}_vp{layout.vp}_b{layout.micro_batch}"
        f"_{layout.sharding}{layout.shard_degree or ''}_{layout.recompute}{sequence}{schedule}"
    )


def _of_bearable_size(request: PlanRequest) -> PlanRequest:
    sizes = (request.tokens, request.cluster.gpus, request.replicas, len(request.phases))
    for (name, most), size in zip(LARGEST.items(), sizes, strict=True):
        if size > most:
            raise InputError(
                f"{human(size)} {name} are more than this page plans ({human(most)}); use the command line."
            )
    return request


def read_upload(content: bytes, name: str, profile: str = "") -> PlanRequest:
    """An uploaded plan file, checked; `profile` is the file name of the one brought before, which it may name.

    Raises:
        InputError: too large, not text, not TOML, or not a plan; one sentence.
    """
    shown = name if len(name) <= 60 else f"{name[:57]}..."
    if len(content) > LARGEST_PLAN_BYTES:
        size = significant(len(content) / 1024)
        raise InputError(f"{shown} is {size} KiB; a plan file has at most {LARGEST_PLAN_BYTES // 1024} KiB.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not UTF-8 text (byte {error.start}); a plan file in TOML is needed.") from None
    data = parse_toml(text, source=shown)
    _leave_profile(data, shown, profile)
    _refuse_paths(data, shown)
    request = _of_bearable_size(plan_request(data, source=shown))
    try:
        load_architecture(request.model)
        plan_cluster(request, None)
        load_stack(request.training.stack)
        load_grid(request.site.grid)
    except InputError as error:
        raise InputError(f"{shown}: {for_page(str(error))}") from None
    return request


def _leave_profile(data: dict[str, Any], name: str, profile: str) -> None:
    """Take out the profile that a plan names, where it is the one that every plan of its GPU stands on here."""
    cluster = data.get("cluster")
    if not isinstance(cluster, dict) or not isinstance(asked := cluster.get("profile"), str) or not asked:
        return
    if Path(asked).name != profile:
        raise InputError(f"{name} names the profile '{asked[:60]}'; bring that to the page Profile, then this plan.")
    data["cluster"] = {key: value for key, value in cluster.items() if key != "profile"}


def _refuse_paths(data: object, name: str) -> None:
    """A plan from elsewhere may name the catalogue's parts but no file of the machine that serves the page."""
    if isinstance(data, Mapping):
        for value in data.values():
            _refuse_paths(value, name)
    elif isinstance(data, list):
        for value in data:
            _refuse_paths(value, name)
    elif isinstance(data, str) and data.strip().endswith((".toml", ".json", ".csv")):
        raise InputError(
            f"{name} names the file '{data[:60]}'; an uploaded plan can only use what the catalogue holds."
        )
