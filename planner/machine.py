"""What of a machine belongs to its GPU."""

from typing import Any

from sim.hardware import load_gpu, load_node


def of_another_gpu(gpu: str, gpus_per_node: int | None) -> dict[str, Any]:
    """Keys of a plan's cluster that another GPU does not take over, as `gpu` has them: its usual node and fabric and
    what ships of its profiles; part of each node as before, where its own node holds more.

    Raises:
        InputError: no such GPU.
    """
    holds = load_node(load_gpu(gpu).node).gpus_per_node
    part = gpus_per_node if gpus_per_node is not None and gpus_per_node < holds else None
    return {"node": "", "fabric": "", "profile": "", "gpus_per_node": part}


def even_part(gpu: str) -> int | None:
    """The most GPUs of a node that are a power of two, as layouts are made of, where all of them are none: 64 of 72.

    Raises:
        InputError: no such GPU.
    """
    holds = load_node(load_gpu(gpu).node).gpus_per_node
    part = 2 ** (holds.bit_length() - 1)
    return None if part == holds else part
