"""Power from the GPU to the site's meter."""

from collections.abc import Mapping
from dataclasses import dataclass

from profiler.files import InputError
from profiler.units import Amount
from sim.hardware import Cluster

PARTS = ("gpu", "host", "network", "storage", "cooling")
"""The parts of site power, in the order they are added."""

INTENSIVE_SHARE = 0.76
"""What a node draws in compute-intensive work over its rating: eight H100 (arXiv:2506.14551)."""

NETWORK_SHARE = 0.31
"""Network over everything above the nodes. A leaf switch for 64 GPUs measured 686 W (MLPerf Training v4.1), 10.7 W a
GPU; a fat tree of three levels has 2.5 switches for each leaf (k²/2 + k²/2 + k²/4 over k²/2), so 27 W a GPU of the
86 W that 10 % of the measured 856 W are."""


@dataclass(frozen=True, kw_only=True)
class PowerParts:
    """Where the power of a site goes, in watts; the parts add up to the meter."""

    gpu_w: float
    host_w: float
    """CPUs, memory, NICs, fans and conversion losses inside the nodes."""
    network_w: float
    """Switches and their optics."""
    storage_w: float
    """Storage, data loading and management beside the nodes."""
    cooling_w: float
    """Everything that PUE counts beside the machines: cooling, distribution, lights."""

    @property
    def it_w(self) -> float:
        """The machines alone, which PUE is counted on."""
        return self.gpu_w + self.host_w + self.network_w + self.storage_w

    @property
    def total_w(self) -> float:
        """What the site's meter reads."""
        return self.it_w + self.cooling_w

    def by_part(self) -> Mapping[str, float]:
        """Watts by the names of `PARTS`."""
        values = (self.gpu_w, self.host_w, self.network_w, self.storage_w, self.cooling_w)
        return dict(zip(PARTS, values, strict=True))


@dataclass(frozen=True, kw_only=True)
class SitePower:
    """What a site adds to its nodes.

    Raises:
        InputError: a PUE below 1, or a negative share.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    pue: Amount = 1.09
    """Site power over IT power. Google's fleet 1.09 and Meta 1.08 (company reports, 2023-2024); Uptime
    Institute surveys put the industry at 1.58 (2023), 1.56 (2024) and 1.54 (2025)."""
    above_node_share: Amount = 0.10
    """Switches, optics and storage over what nodes draw in compute-intensive work: about 10 % by public analyses
    of a 100,000-GPU H100 cluster."""

    def __post_init__(self) -> None:
        if not self.pue >= 1:
            raise InputError(f"pue is {self.pue}; a site draws at least what its machines draw, so 1 or more.")
        if not self.above_node_share >= 0:
            raise InputError(f"above_node_share is {self.above_node_share}; 0 or more is needed.")

    def parts_w(self, cluster: Cluster, gpu_power_w: float, *, busy: bool, spare_nodes: int = 0) -> PowerParts:
        """Power by part while every GPU of the job draws `gpu_power_w` [W].

        `busy` tells whether the hosts work (training, writing a checkpoint) or idle. Spare nodes are powered
        and idle, as are the GPUs that a node leaves out. What is above the nodes draws the same whatever they do: a
        switch at full traffic draws less than 8 % more than at none (Heller et al., "ElasticTree", NSDI 2010); of
        storage it is assumed.
        """
        node, gpu = cluster.node, cluster.gpu
        idle_gpus = spare_nodes * node.gpus_installed + cluster.idle_gpus
        gpu_w = cluster.gpus * gpu_power_w + idle_gpus * gpu.idle_power_w
        host_node_w = node.host_load_power_w if busy else node.host_idle_power_w
        host_w = cluster.nodes * host_node_w + spare_nodes * node.host_idle_power_w
        above_w = self.above_node_share * INTENSIVE_SHARE * node.rated_power_w * (cluster.nodes + spare_nodes)
        return PowerParts(
            gpu_w=gpu_w,
            host_w=host_w,
            network_w=NETWORK_SHARE * above_w,
            storage_w=(1 - NETWORK_SHARE) * above_w,
            cooling_w=(self.pue - 1) * (gpu_w + host_w + above_w),
        )

    def site_power_w(self, cluster: Cluster, gpu_power_w: float, *, busy: bool, spare_nodes: int = 0) -> float:
        """Power at the site's meter [W]; see `parts_w`."""
        return self.parts_w(cluster, gpu_power_w, busy=busy, spare_nodes=spare_nodes).total_w
