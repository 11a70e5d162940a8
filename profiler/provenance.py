"""Where and with what a profile is taken: device, driver, libraries, limits."""

import os
import platform
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from profiler.nvml import NvmlSensor, gpu_count
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
OPTIMIZER_NOTE = (
    "optimizer is AdamW on fp32 master weights, with gradients brought to fp32 before and weights back to the "
    "model's precision after; grad_norm includes clipping."
)
CONTEXT_NOTE = (
    "attention of N tokens of a longer context is a context-parallel rank's: the first and last of its 2·CP "
    "chunks of queries against all keys; the causal mask leaves half of queries × keys, and FLOPs count that half."
)
H100_96GB_LIMIT_W = 550.0
"""The catalogue's 96 GB H100 is the 500 W part with HBM2e; a board that draws more is another."""


def open_meter(device: torch.device) -> PowerMeter:
    """The power meter of `device`, or one that says why there is none."""
    try:
        if device.type == "cuda":
            return PowerMeter(_gpu_sensor(device))
        return PowerMeter(RaplSensor())
    except NotMeasured as error:
        return PowerMeter(None, str(error))


def _gpu_sensor(device: torch.device) -> NvmlSensor:
    """The meters of a CUDA device, which CUDA_VISIBLE_DEVICES may number otherwise than NVML does."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if "MIG" in visible:
        raise NotMeasured("this process runs on a MIG instance, and a GPU's meters count all its instances together")
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    if uuid is None and visible:
        raise NotMeasured("this PyTorch does not say which of NVML's GPUs CUDA_VISIBLE_DEVICES chose")
    try:
        return NvmlSensor(device.index or 0, None if uuid is None else f"GPU-{uuid}")
    except NotMeasured:
        if uuid is None or torch.cuda.device_count() > 1 or gpu_count() > 1:
            raise
        return NvmlSensor(0)  # a virtual machine's only GPU may go by two names


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
    """Everything about this run but its idle power and its rows' results."""
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
        memory_bytes=_memory_bytes(world.device),
        notes=(FLOPS_NOTE, OPTIMIZER_NOTE, CONTEXT_NOTE, SHARE_NOTE if world.ranks == 1 else TRUE_NOTE),
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
        gpu=catalogue_name(provenance.device, facts.enforced_power_limit_w),
        driver=facts.driver,
        power_limit_w=facts.enforced_power_limit_w,
        sm_clock_max_mhz=facts.sm_clock_max_mhz,
        memory_clock_mhz=facts.memory_clock_mhz,
    )


def with_ceilings(provenance: Provenance, rows: Iterable[LayerRow]) -> Provenance:
    """Fill in the measured ceilings: the fastest matmul, fp8 matmul and copy among `rows`."""
    timed = [(row, row.forward_s) for row in rows if row.status == "ok" and row.forward_s]
    matmul = {r: r.forward_flops / s for r, s in timed if r.workload == "matmul"}
    copy = [r.forward_bytes / s for r, s in timed if r.workload == "copy"]
    return replace(
        provenance,
        peak_matmul_flops=max((rate for r, rate in matmul.items() if r.precision != "fp8"), default=None),
        peak_fp8_matmul_flops=max((rate for r, rate in matmul.items() if r.precision == "fp8"), default=None),
        copy_bytes_per_s=max(copy, default=None),
    )


def catalogue_name(device: str, power_limit_w: float | None = None) -> str:
    """herdplan's name for a GPU from the driver's, such as "h100-sxm"; empty for one it does not know.

    Boards that share a chip but not its memory or power (PCIe, NVL, GH200, H100s of other sizes) have no name.
    """
    rules = (
        (r"\bGB200\b", "gb200"),
        (r"\bB200\b", "b200-sxm"),
        (r"\bH200\b(?!.*(NVL|PCIe))", "h200-sxm"),
        (r"\bH100 80GB HBM3\b", "h100-sxm"),
        (r"\bH100\b(?!.*(NVL|PCIe)).*\b96GB\b", "h100-96gb"),
        (r"\bA100-SXM4-80GB\b", "a100-80gb"),
        (r"\bA100-SXM4-40GB\b", "a100-40gb"),
        (r"\bRTX 4090\b(?! Laptop)", "rtx-4090"),
    )
    name = next((name for pattern, name in rules if re.search(pattern, device)), "")
    other_96gb = name == "h100-96gb" and power_limit_w is not None and power_limit_w > H100_96GB_LIMIT_W
    return "" if other_96gb else name


def version_of(package: str) -> str:
    """Installed version of a package, or an empty string; of herdplan run from its folder that of the folder."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
        if package != "herdplan" or not project.is_file():
            return ""
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _memory_bytes(device: torch.device) -> float | None:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError):
        return None
