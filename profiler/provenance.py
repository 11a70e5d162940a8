"""Where and with what a profile is taken: device, driver, libraries, limits."""

import os
import platform
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from profiler.nvml import NvmlSensor
from profiler.power import NotMeasured, PowerMeter, RaplSensor
from profiler.profile import LayerRow, Provenance
from profiler.world import World

METHOD = {
    "cuda": "CUDA events over repeated passes on rotating inputs, after warm-up; medians with deciles",
    "cpu": "host clock over repeated passes on rotating inputs, after warm-up; medians with deciles",
}
SHARE_NOTE = (
    "TP above 1 is one rank's share in a world of one (heads, FFN and vocabulary divided): "
    "no tensor-parallel collective is inside these times."
)
TRUE_NOTE = "TP above 1 ran on real ranks: rows with a collective layout hold their collectives' time."
FLOPS_NOTE = (
    "FLOPs are model FLOPs of matrix products, attention causal, recomputation not counted; "
    "bytes are the least traffic; energy is that of one forward with its backward."
)
OPTIMIZER_NOTE = "optimizer is fused AdamW on fp32 master weights plus their copy to the model's precision."


def open_meter(device: torch.device) -> PowerMeter:
    """The power meter of `device`, or one that says why there is none."""
    try:
        if device.type == "cuda":
            return PowerMeter(NvmlSensor(device.index or 0, gpu_uuid(device)))
        return PowerMeter(RaplSensor())
    except NotMeasured as error:
        return PowerMeter(None, str(error))


def gpu_uuid(device: torch.device) -> str | None:
    """NVML's name of a CUDA device, which CUDA_VISIBLE_DEVICES may have renumbered."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def device_name(device: torch.device) -> str:
    """The name a driver or kernel gives the device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    name = found.group(1) if found else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{name} ({threads} thread{'s' if threads > 1 else ''})"


def describe(world: World, meter: PowerMeter) -> Provenance:
    """Everything about this run but its rows' results. Measures idle power for two seconds."""
    kind = world.device.type
    provenance = Provenance(
        device=device_name(world.device),
        gpu=catalogue_name(device_name(world.device)) if kind == "cuda" else "",
        origin="measured",
        method=METHOD[kind],
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["herdplan-profile", *sys.argv[1:]]),
        herdplan=version_of("herdplan"),
        host=platform.node(),
        torch=str(torch.__version__),
        cuda=str(torch.version.cuda or ""),
        fairscale=version_of("fairscale"),
        nccl=".".join(str(part) for part in torch.cuda.nccl.version()) if kind == "cuda" else "",
        python=platform.python_version(),
        ranks=world.ranks,
        idle_power_w=meter.idle_power_w(),
        memory_bytes=_memory_bytes(world.device),
        notes=(FLOPS_NOTE, OPTIMIZER_NOTE, SHARE_NOTE if world.ranks == 1 else TRUE_NOTE),
    )
    return _with_gpu_facts(provenance, meter)


def _with_gpu_facts(provenance: Provenance, meter: PowerMeter) -> Provenance:
    if not isinstance(meter.sensor, NvmlSensor):
        return provenance
    try:
        facts = meter.sensor.facts()
    except NotMeasured:
        return provenance
    return replace(
        provenance,
        driver=facts.driver,
        power_limit_w=facts.enforced_power_limit_w,
        sm_clock_max_mhz=facts.sm_clock_max_mhz,
        memory_clock_mhz=facts.memory_clock_mhz,
    )


def with_ceilings(provenance: Provenance, rows: Iterable[LayerRow]) -> Provenance:
    """Fill in the two measured ceilings: the fastest matmul and the fastest copy among `rows`."""
    measured = [row for row in rows if row.forward_s]
    matmul = [r.forward_flops / r.forward_s for r in measured if r.workload == "matmul" and r.forward_s]
    copy = [r.forward_bytes / r.forward_s for r in measured if r.workload == "copy" and r.forward_s]
    return replace(
        provenance,
        peak_matmul_flops=max(matmul, default=None),
        copy_bytes_per_s=max(copy, default=None),
    )


def catalogue_name(device: str) -> str:
    """herdplan's name for a GPU from the driver's, such as "h100-sxm"; empty for one it does not know."""
    rules = (
        (r"\bGB200\b", "gb200"),
        (r"\bB200\b", "b200-sxm"),
        (r"\bH200\b(?!.*NVL)", "h200-sxm"),
        (r"\bH100 80GB HBM3\b", "h100-sxm"),
        (r"\bA100-SXM4-80GB\b", "a100-80gb"),
        (r"\bA100-SXM4-40GB\b", "a100-40gb"),
        (r"\bRTX 4090\b(?! Laptop)", "rtx-4090"),
    )
    return next((name for pattern, name in rules if re.search(pattern, device)), "")


def version_of(package: str) -> str:
    """Installed version of a package, or an empty string."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _memory_bytes(device: torch.device) -> float | None:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError):
        return None
