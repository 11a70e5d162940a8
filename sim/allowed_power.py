"""What GPUs are allowed to draw, and what becomes of a step within it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sim.hardware import Cluster, Gpu
from sim.power import capped_parts_s, capped_power_w, least_cap_w, most_w
from sim.site.energy import SitePower


@dataclass(frozen=True, kw_only=True)
class HeldStep:
    """A step within what is allowed: the seconds of its parts, and a GPU's mean watts."""

    parts_s: Mapping[str, float]
    gpu_power_w: float


@dataclass(frozen=True, kw_only=True)
class AllowedPower:
    """What each GPU may draw at any moment, and on average over a step [W]."""

    cap_w: float = math.inf
    mean_w: float = math.inf

    @property
    def free(self) -> bool:
        """Whether nothing is held back."""
        return math.isinf(self.cap_w) and math.isinf(self.mean_w)

    @property
    def text(self) -> str:
        """What is held back, in words; empty where nothing is."""
        cap = "" if math.isinf(self.cap_w) else f"{self.cap_w:.0f} W a GPU"
        limit = "" if math.isinf(self.mean_w) else "the site's limit"
        return "within " + " and ".join(filter(None, (cap, limit))) if cap or limit else ""

    def held(self, gpu: Gpu, parts_s: Mapping[str, float]) -> HeldStep | None:
        """A step whose parts take `parts_s` undisturbed, at the highest cap that keeps both; `None` where none does.

        Raises:
            InputError: a cap that no such GPU can be given.
        """
        cap_w = min(self.cap_w, gpu.tdp_w)
        found = _capped(gpu, parts_s, cap_w)
        if found.gpu_power_w <= self.mean_w:
            return found

        def keeps(cap_w: float) -> bool:
            return _capped(gpu, parts_s, cap_w).gpu_power_w <= self.mean_w

        least_w = least_cap_w(gpu)
        return _capped(gpu, parts_s, most_w(keeps, least_w, cap_w)) if keeps(least_w) else None


def _capped(gpu: Gpu, parts_s: Mapping[str, float], cap_w: float) -> HeldStep:
    held_s = capped_parts_s(gpu, parts_s, cap_w)
    return HeldStep(parts_s=held_s, gpu_power_w=capped_power_w(gpu, held_s, cap_w))


def allowed_power(
    cap_w: float | None, limit_w: float | None, cluster: Cluster, site: SitePower, spare_nodes: int
) -> AllowedPower:
    """What GPUs may draw under a cap on each and a limit at the site's meter [W]; 0 where the rest takes it all."""
    tdp_w = cluster.gpu.tdp_w

    def keeps(gpu_power_w: float) -> bool:
        meter_w = site.site_power_w(cluster, gpu_power_w, busy=True, spare_nodes=spare_nodes)
        return limit_w is None or meter_w <= limit_w

    mean_w = math.inf if keeps(tdp_w) else most_w(keeps, 0.0, tdp_w)
    return AllowedPower(cap_w=math.inf if cap_w is None or cap_w >= tdp_w else cap_w, mean_w=mean_w)
