"""What to say beside clusters of several GPU types, whose figures may not compare."""

from collections.abc import Sequence
from itertools import combinations
from statistics import median

from planner.machine import node_note
from planner.market.prices import recent
from planner.plan_file import PlanRequest


def cluster_notes(request: PlanRequest, gpus: Sequence[str]) -> tuple[str, ...]:
    """Which GPUs come in another node than the one asked for, and whose rents are not of the same vendors.

    Raises:
        InputError: no such GPU or node.
    """
    money, types = request.money, list(dict.fromkeys(gpus))
    published = money.mode != "own" and money.price_usd_per_gpu_hour is None and not money.vendor
    pairs = combinations(types, 2) if published else ()
    rents = [_rent_note(*pair, money.commitment) for pair in pairs]
    return tuple(filter(None, [node_note(request.cluster, types), *rents]))


def _rent_note(one: str, other: str, kind: str) -> str:
    """A word where the published medians rank two GPUs otherwise than the vendors that rent both do."""
    first, second = ({q.vendor: q.usd for q in recent(gpu, kind)} for gpu in (one, other))
    ratios = {vendor: second[vendor] / first[vendor] for vendor in sorted(first.keys() & second.keys())}
    if not ratios:
        return ""
    medians, both = median(second.values()) / median(first.values()), median(ratios.values())
    if (medians - 1) * (both - 1) >= 0:
        return ""
    if both < 1:
        return _rent_note(other, one, kind)
    low, high = (100 * (limit(ratios.values()) - 1) for limit in (min, max))
    span = f"{low:.0f} to {high:.0f} %" if len(ratios) > 1 else f"{low:.0f} %"
    return (
        f"{other}'s rent is the median of {len(second)} vendors, {one}'s of {len(first)}; those that rent out both "
        f"({', '.join(ratios)}) ask {span} more for {other}: money.vendor compares like with like"
    )
