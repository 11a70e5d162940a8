"""What of a machine belongs to its GPU."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sim.hardware import load_gpu, load_node

if TYPE_CHECKING:
    from planner.plan_file import ClusterRequest


def of_another_gpu(gpu: str, gpus_per_node: int | None, node: str = "") -> dict[str, Any]:
    """Keys of a plan's cluster that another GPU does not take over, as `gpu` has them: what ships of its profiles,
    its usual node and fabric unless `node` is built for it too, and part of each node as before, where its own holds
    more.

    Raises:
        InputError: no such GPU or node.
    """
    kept = bool(node) and load_node(node).holds(load_gpu(gpu))
    held = load_node(node).gpus_per_node if kept else _holds(gpu)
    part = gpus_per_node if gpus_per_node is not None and gpus_per_node < held else None
    return {**({} if kept else {"node": "", "fabric": ""}), "profile": "", "gpus_per_node": part}


def comes_in_its_node(asked: "ClusterRequest", gpu: str) -> bool:
    """Whether a GPU comes in the node that the cluster asked for names, or names none: it is built for the GPU, or
    says of none and was asked for with this one.

    Raises:
        InputError: no such GPU or node.
    """
    if not asked.node:
        return True
    node, own = load_node(asked.node), load_gpu(gpu).name == load_gpu(asked.gpu).name
    return node.holds(load_gpu(gpu)) or (own and not node.gpus)


def node_note(asked: "ClusterRequest", gpus: Sequence[str]) -> str:
    """What to say of the GPUs that come in another node than the one asked for; nothing where all come in it.

    Raises:
        InputError: no such GPU or node.
    """
    others = [gpu for gpu in dict.fromkeys(gpus) if not comes_in_its_node(asked, gpu)]
    said = f"node '{asked.node}' does not name {' or '.join(others)} among its GPUs: planned in the usual one"
    return said if others else ""


def on_cluster(asked: "ClusterRequest", gpu: str, gpus: int) -> "ClusterRequest":
    """The cluster asked for with so many of a GPU, which another one, or one that the node is not built for, fills as
    `of_another_gpu` says. Of usual nodes that no power of two fills the even part trains, where `gpus` fills that and
    not whole nodes.

    Raises:
        InputError: no such GPU or node.
    """
    others = of_another_gpu(gpu, asked.gpus_per_node, asked.node)
    if load_gpu(gpu).name == load_gpu(asked.gpu).name and comes_in_its_node(asked, gpu):
        others = {} if asked.node else {"gpus_per_node": others["gpus_per_node"]}
    found, part = replace(asked, gpu=gpu, gpus=gpus, **others), even_part(gpu)
    if not part or found.node or found.gpus_per_node or gpus < part or gpus % _holds(gpu) == 0 or gpus % part:
        return found
    return replace(found, gpus_per_node=part)


def even_part(gpu: str) -> int | None:
    """The most GPUs of a node that are a power of two, as layouts are made of, where all of them are none: 64 of 72.

    Raises:
        InputError: no such GPU.
    """
    holds = _holds(gpu)
    part = 2 ** (holds.bit_length() - 1)
    return None if part == holds else part


def usual_part(gpu: str) -> int:
    """GPUs of its usual node that train where nothing is said: the even part, or all.

    Raises:
        InputError: no such GPU.
    """
    return even_part(gpu) or _holds(gpu)


def _holds(gpu: str) -> int:
    return load_node(load_gpu(gpu).node).gpus_per_node
