"""The machine: GPU, node, fabric, storage and the cluster they make, each read from the catalogue.

Catalogue files carry a source beside every number; a user adds hardware by adding a file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from annotated_types import Ge, Le

from profiler.files import InputError, nearest, read_toml
from profiler.units import GIB, Amount, Count, Positive

CATALOGUE = Path(__file__).parent / "catalogue"

T = TypeVar("T")

MOSTLY = 0.8
"""Share of a node's GPUs from which on leaving out the others is suggested."""

TrainingPrecision = Literal["bf16", "fp16", "fp8"]
"""What the step model has rates for; a profile may hold fp32 too."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One accelerator, by its datasheet. Rates are dense, without sparsity."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    label: str
    memory_gib: Positive
    memory_bandwidth_bytes_per_s: Positive
    peak_bf16_flops: Positive
    peak_fp8_flops: Positive | None = None
    """`None` where the part has no fp8 matrix units."""
    matmul_ceiling_bf16_flops: Positive | None = None
    """What the best matmul shapes reach, measured by others; `None` where nobody published it."""
    matmul_ceiling_fp8_flops: Positive | None = None
    tdp_w: Positive
    idle_power_w: Positive
    matmul_power_w: Positive | None = None
    """Drawn in large matrix products; `None`, here and in the next two, where only another part's was measured
    (`sim.power`)."""
    attention_power_w: Positive | None = None
    memory_power_w: Positive | None = None
    """Drawn in kernels that the memory's bandwidth bounds."""
    link_bandwidth_bytes_per_s: Positive
    """To the other GPUs of its node, one direction (NVLink, or PCIe where there is none)."""
    embodied_kgco2e: Amount
    node: str
    """The node it is usually sold in."""
    kernels: str = ""
    """The calibrated part that describes its kernels (`matmul_*` in sim/catalogue/calibration.toml); empty: the
    H100's."""
    fitted: str = ""
    """Where no kernel of its own was timed but runs on it were fitted: the calibrated rate of its large products
    (`matmul_*`)."""
    aliases: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def memory_bytes(self) -> float:
        """Capacity in bytes."""
        return self.memory_gib * GIB

    def peak_flops(self, precision: TrainingPrecision) -> float:
        """Dense peak of a precision; 16-bit where the part has no fp8 units."""
        return self.peak_fp8_flops if precision == "fp8" and self.peak_fp8_flops else self.peak_bf16_flops

    def matmul_ceiling_flops(self, precision: TrainingPrecision) -> float:
        """The measured matmul ceiling of a precision; the dense peak where nobody measured one."""
        fp8 = precision == "fp8" and self.peak_fp8_flops is not None
        measured = self.matmul_ceiling_fp8_flops if fp8 else self.matmul_ceiling_bf16_flops
        return measured or self.peak_flops(precision)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A server. Power is what it draws beside its GPUs: CPUs, memory, NICs, switches, fans and conversion."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    label: str
    gpus_per_node: Count
    """GPUs of it that train."""
    idle_gpus: Annotated[int, Ge(0)] = 0
    """GPUs of it that are left out: there, paid for and idle."""
    host_idle_power_w: Amount
    host_load_power_w: Amount
    switched: bool = True
    """Whether a switch joins its GPUs, so that any group has each GPU's whole bandwidth. Without one (boards of
    four) the links are shared out among the pairs."""
    switch_reduces: bool = False
    """Whether its switch adds up all-reduces (NVLink SHARP, from the third-generation NVSwitch on)."""
    nics_at_cpu: bool = False
    """Whether its NICs hang on its processors, through which its GPUs reach less of them than through a PCIe switch
    of their own (`nic_at_cpu_share`)."""
    slowdown: Amount = 0.0
    """Share by which every step takes longer on it than it should, as on servers that are set up wrongly."""
    clock_gain: Annotated[float, Ge(0), Le(0.2)] = 0.0
    """Share by which its GPUs multiply faster at the same power limit than in air, because they stay cooler: 0.03 is
    3 %."""
    gpus: tuple[str, ...] = ()
    """Names or aliases of the GPUs that it is built for; nothing is said of any where it names none."""
    rated_power_w: Positive
    """What the supply must be sized for."""
    fabric: str
    """The fabric it is usually wired to."""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.host_idle_power_w > self.host_load_power_w:
            raise InputError(
                f"node '{self.name}': host_idle_power_w is {self.host_idle_power_w:g}, more than host_load_power_w "
                f"({self.host_load_power_w:g})."
            )

    def holds(self, gpu: Gpu) -> bool:
        """Whether it is built for this GPU: names it, or is its usual node."""
        return gpu.node == self.name or any(name in self.gpus for name in (gpu.name, *gpu.aliases))

    def check_holds(self, gpu: Gpu) -> None:
        """Refuse a GPU that is not among those it is built for, where it names any.

        Raises:
            InputError: that GPU.
        """
        if self.gpus and not self.holds(gpu):
            raise InputError(
                f"node '{self.name}' holds {' or '.join(self.gpus)}, and gpu is '{gpu.name}'; its usual node is "
                f"'{gpu.node}'."
            )

    @property
    def gpus_installed(self) -> int:
        """All that it holds."""
        return self.gpus_per_node + self.idle_gpus

    def partly_used(self, gpus: int) -> "Node":
        """With so many of its GPUs in training and the others idle.

        Raises:
            InputError: it holds fewer.
        """
        if not 1 <= gpus <= self.gpus_installed:
            raise InputError(f"gpus_per_node is {gpus}; a {self.label} holds {self.gpus_installed}.")
        return replace(self, gpus_per_node=gpus, idle_gpus=self.gpus_installed - gpus)


@dataclass(frozen=True, kw_only=True)
class Fabric:
    """The network between nodes, as one GPU sees it."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    label: str
    bandwidth_bytes_per_s: Positive
    """Line rate per GPU, one direction."""
    latency_s: Positive
    """One hop of a ring between nodes, software included."""
    pod_gpus: Count | None = None
    """GPUs that reach each other at full rate: one layer of spine switches, or the rails below them. `None`: all."""
    shared_in_node: bool = False
    """Whether its bandwidth is what each GPU of a whole node has of ports that all of them share."""
    omni_path: bool = False
    """Whether it is Omni-Path, over which NCCL reaches less than over InfiniBand (`omni_path_share`)."""
    oversubscription: Positive = 1.0
    """Bandwidth of a pod's NICs over that of its links to other pods; at least 1."""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where checkpoints go."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    label: str
    write_bytes_per_s: Positive
    """Sustained, all clients together."""
    node_write_bytes_per_s: Positive
    """What one node can push."""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """`gpus` GPUs in nodes on a fabric, with storage.

    Raises:
        ValueError: a count that is not positive, or not whole nodes once it exceeds one node.
    """

    gpu: Gpu
    node: Node
    fabric: Fabric
    storage: Storage
    gpus: int

    def __post_init__(self) -> None:
        per_node = self.node.gpus_per_node
        if self.gpus < 1:
            raise InputError(f"gpus is {self.gpus}; at least 1 is needed.")
        if self.gpus > per_node and self.gpus % per_node:
            near = whole_nodes(self.gpus, per_node)
            some = max(math.gcd(self.gpus, n) for n in range(1, per_node + 1))
            few = some >= MOSTLY * per_node
            held = f"nodes of {self.node.label} hold {per_node}"
            if self.node.idle_gpus:
                held = f"{per_node} of the {self.node.gpus_installed} in each {self.node.label} train"
            left = self.node.gpus_installed - some
            partly = f" With cluster.gpus_per_node {some} every node leaves {left} idle." if few else ""
            raise InputError(f"gpus is {self.gpus}; {held}, the nearest whole number is {near}.{partly}")

    @property
    def nodes(self) -> int:
        """Servers, the last one perhaps partly used."""
        return -(-self.gpus // self.node.gpus_per_node)

    @property
    def gpus_per_node(self) -> int:
        """GPUs used in one node."""
        return min(self.gpus, self.node.gpus_per_node)

    @property
    def idle_gpus(self) -> int:
        """GPUs that its nodes leave out; none in a node of which not even those that are to train do."""
        return self.nodes * self.node.idle_gpus if self.gpus >= self.node.gpus_per_node else 0


def whole_nodes(gpus: float, per_node: int) -> int:
    """The nearest number of GPUs that fills whole nodes, one at least."""
    return max(round(gpus / per_node), 1) * per_node


def names(kind: str) -> tuple[str, ...]:
    """What the catalogue holds of a kind: gpus, nodes, fabrics or storage."""
    return tuple(sorted(path.stem for path in (CATALOGUE / kind).glob("*.toml")))


def _load(kind: str, name: str, cls: type[T], what: str) -> T:
    if name.endswith(".toml"):
        return read_toml(Path(name), cls)
    if name not in names(kind):
        raise InputError(f"{what} '{name}' is not in the catalogue; {nearest(name, names(kind))} (or a .toml file).")
    return read_toml(CATALOGUE / kind / f"{name}.toml", cls)


@cache
def load_gpu(name: str) -> Gpu:
    """A GPU by its catalogue name or a TOML file; raises `InputError` when there is none."""
    return _load("gpus", name, Gpu, "gpu")


@cache
def load_node(name: str) -> Node:
    """A node by its catalogue name or a TOML file; raises `InputError` when there is none."""
    return _load("nodes", name, Node, "node")


@cache
def load_fabric(name: str) -> Fabric:
    """A fabric by its catalogue name or a TOML file; raises `InputError` when there is none."""
    return _load("fabrics", name, Fabric, "fabric")


@cache
def load_storage(name: str) -> Storage:
    """Storage by its catalogue name or a TOML file; raises `InputError` when there is none."""
    return _load("storage", name, Storage, "storage")


def build_cluster(
    gpu: str,
    gpus: int,
    *,
    node: str = "",
    gpus_per_node: int | None = None,
    fabric: str = "",
    storage: str = "shared-2tb-s",
) -> Cluster:
    """A cluster of `gpus` GPUs, `gpus_per_node` in each node or all of them; node and fabric default to what the GPU
    is usually sold with.

    Raises:
        InputError: a part that is not known, or two that do not go together.
    """
    part = load_gpu(gpu)
    server = load_node(node or part.node)
    if node:
        server.check_holds(part)
    network = load_fabric(fabric or server.fabric)
    if gpus_per_node is not None:
        server = server.partly_used(gpus_per_node)
    if server.idle_gpus and network.shared_in_node:
        raise InputError(
            f"fabric '{network.name}' is what each GPU of a whole node has, and gpus_per_node leaves some out: give "
            "a fabric's file (TOML) with what each of the others has."
        )
    return Cluster(
        gpu=part,
        node=server,
        fabric=network,
        storage=load_storage(storage),
        gpus=gpus,
    )
