"""What can be measured on this machine, found by trying, and why not what cannot."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from profiler.files import InputError
from profiler.nvml import NvmlSensor, gpu_count
from profiler.options import require_torch
from profiler.power import NotMeasured, RaplSensor


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One ability of this machine."""

    name: str
    works: bool
    detail: str
    needed: bool = False
    """Nothing at all can be measured without it."""


def examine() -> list[Finding]:
    """Everything worth knowing before a run; takes a few seconds, most of them importing PyTorch."""
    try:
        require_torch()
    except ValueError as error:
        return [
            Finding(name="PyTorch and FairScale", works=False, detail=str(error), needed=True),
            *_meters(),
        ]
    return [*_libraries(), *_devices(), *_attention(), _fp8(), _compiler(), *_meters(), _ranks()]


def _libraries() -> Iterator[Finding]:
    from profiler.provenance import version_of

    for package, name in (("torch", "PyTorch"), ("fairscale", "FairScale")):
        yield Finding(name=name, works=True, detail=version_of(package), needed=True)


def _devices() -> Iterator[Finding]:
    import torch

    from profiler.provenance import device_name

    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU-only build"
        yield Finding(name="GPU", works=False, detail=f"none that PyTorch ({built}) can use; small shapes on the CPU")
        yield Finding(name="CPU", works=True, detail=device_name(torch.device("cpu")))
        return
    for index in range(torch.cuda.device_count()):
        gib = torch.cuda.get_device_properties(index).total_memory / 2**30
        name = device_name(torch.device("cuda", index))
        yield Finding(name=f"GPU {index}", works=True, detail=f"{name}, {gib:.0f} GiB, CUDA {torch.version.cuda}")


def _attention() -> Iterator[Finding]:
    for backend in ("flash", "cudnn", "math"):
        try:
            _try_attention(backend)
        except RuntimeError as error:
            reason = str(error).splitlines()[0].split(". ")[0]
            yield Finding(name=f"{backend} attention", works=False, detail=reason)
        else:
            yield Finding(name=f"{backend} attention", works=True, detail="forward and backward, grouped heads")


def _try_attention(backend: str) -> None:
    """One forward and backward pass of a tiny grouped-query attention; raises what torch raises."""
    import warnings

    import torch

    from profiler.llama import causal_attention

    on_gpu = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if on_gpu else ("cpu", torch.float32)
    q, k, v = (torch.randn(1, 16, heads, 128, device=device, dtype=dtype, requires_grad=True) for heads in (4, 2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch lists every kernel's reason as a warning of its own
        causal_attention(q, k, v, backend).sum().backward()  # type: ignore[arg-type]


def _fp8() -> Finding:
    import torch

    from profiler.device_workloads import prepare_shapeless
    from profiler.points import Point

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        prepare_shapeless(Point(workload="matmul", precision="fp8", size=256), device).forward(0)
    except (InputError, RuntimeError) as error:
        return Finding(name="fp8 matmul ceiling", works=False, detail=str(error).splitlines()[0])
    return Finding(name="fp8 matmul ceiling", works=True, detail="scaled per tensor")


def _compiler() -> Finding:
    import torch

    if torch.cuda.is_available():
        works = find_spec("triton") is not None
        return Finding(name="compiled execution", works=works, detail="Triton" if works else "Triton is missing")
    compiler = next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
    detail = compiler or "no C++ compiler on PATH, which torch.compile needs on a CPU"
    return Finding(name="compiled execution", works=compiler is not None, detail=detail)


def _meters() -> Iterator[Finding]:
    try:
        count = gpu_count()
    except NotMeasured as error:
        yield Finding(name="GPU power (NVML)", works=False, detail=f"not measured: {error}")
    else:
        for index in range(count):
            yield _nvml(index)
    try:
        RaplSensor()
    except NotMeasured as error:
        yield Finding(name="CPU power (RAPL)", works=False, detail=f"not measured: {error}")
    else:
        yield Finding(name="CPU power (RAPL)", works=True, detail="whole packages, other programs included")


def _nvml(index: int) -> Finding:
    name = f"GPU {index} power (NVML)"
    try:
        sensor = NvmlSensor(index)
        energy_j, sample, facts = sensor.energy_j(), sensor.sample(), sensor.facts()
    except NotMeasured as error:
        return Finding(name=name, works=False, detail=f"not measured: {error}")
    meters = [
        "energy counter" if energy_j is not None else "no energy counter",
        f"{sample.power_w:.0f} W now" if sample.power_w is not None else "no power reading",
    ]
    if facts.enforced_power_limit_w is not None:
        meters.append(f"limit {facts.enforced_power_limit_w:.0f} W")
    works = energy_j is not None or sample.power_w is not None
    return Finding(name=name, works=works, detail=", ".join(meters))


def _ranks() -> Finding:
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    alone = "one rank: TP is measured as one rank's share; for collectives start torchrun -m profiler run"
    return Finding(name="collectives", works=ranks > 1, detail=f"{ranks} ranks" if ranks > 1 else alone)
