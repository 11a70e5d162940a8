"""The machine of a run: its GPU, its node and the network between nodes, in a row's words."""

import re
from dataclasses import replace

from planner.cells import Cells
from profiler.files import InputError, nearest
from sim.hardware import Fabric, Gpu, Node, load_fabric, load_gpu, load_node, names

OMNI_PATH_REACHED = 0.45
"""Share of what NCCL reaches over InfiniBand that it reached over Jean Zay's Omni-Path: 5.0 of 12.5 GB/s from one
node's NIC to the next with NCCL 2.10, where InfiniBand gives 0.88 of the line rate (bigscience
experiments/bandwidth/n4_a100_all_reduce_bench.txt 74c6c3d: bus bandwidth 39.9 Gb/s; its README: "an issue with nccl
that doesn't fully utilize Intel OPA full bandwidth")."""

JEAN_ZAY_MENDED = "2022-02-25"
"""The day from which Jean Zay's A100 nodes had their PCI-Express and NUMA set up well: "so all TFLOPs have changed
for the better (1-5%)" (bigscience train/tr11-176B-ml/chronicles-prequel.md 9e64ede, GBS Variations)."""
JEAN_ZAY_SLOWDOWN = 0.03
"""What a step lost before: the middle of that, not fitted."""

BOARD_WITHOUT_SWITCH = 4
"""HGX boards of four GPUs join each pair by its own links; those of eight have switches (NVIDIA HGX A100/H100)."""


def read_gpu(c: Cells) -> Gpu:
    """The catalogue's GPU by name, alias or family; its memory and a low power limit as the row states."""
    text = c.text("gpu")
    wanted = re.sub(r"[^a-z0-9]", "", text.lower())
    if re.search(r"\bmig\b|mig \d", text.lower()):
        raise InputError(f"gpu '{text[:40]}' is a part of one; whole GPUs are predicted.")
    memory_gb, limit_w = c.number("gpu_mem_gb"), c.number("gpu_power_limit_w")
    catalogue = [load_gpu(name) for name in names("gpus")]
    for gpu in catalogue:
        if wanted in {re.sub(r"[^a-z0-9]", "", x.lower()) for x in (gpu.name, gpu.label, *gpu.aliases)}:
            return gpu
    for family in ("gb200", "b200", "h200", "h100", "a100", "4090"):
        if family in wanted:
            members = [gpu for gpu in catalogue if family in gpu.name.split("-")]
            low_power = limit_w is not None and limit_w <= 0.8 * max(gpu.tdp_w for gpu in members)
            pick = min(
                members,
                key=lambda g: (
                    abs(g.tdp_w - limit_w) if low_power and limit_w else 0,
                    abs(g.memory_gib - (memory_gb or 80.0)),
                ),
            )
            c.notes.append(f"gpu '{text}' taken as {pick.label}")
            return pick
    raise InputError(f"gpu '{text[:40]}' is not in the catalogue; {nearest(text, names('gpus'))}")


def read_node(c: Cells, gpu: Gpu) -> Node:
    """The node the GPU is usually sold in; its immersion-cooled form, without fans, where the row says so."""
    cooled = f"{gpu.node}-immersion"
    immersed = "immersion" in c.text("power_scope").lower()
    node = load_node(cooled if immersed and cooled in names("nodes") else gpu.node)
    if _is_early_jean_zay(c, gpu):
        c.notes.append(f"Jean Zay before {JEAN_ZAY_MENDED}: {JEAN_ZAY_SLOWDOWN:.0%} slower, by its chronicle")
        node = replace(node, slowdown=JEAN_ZAY_SLOWDOWN)
    stated = c.count("gpus_per_node", node.gpus_per_node)
    if stated == node.gpus_per_node:
        return node
    share = stated / node.gpus_per_node  # a smaller node carries a smaller host
    return replace(
        node,
        gpus_per_node=stated,
        switched=stated != BOARD_WITHOUT_SWITCH,
        host_load_power_w=share * node.host_load_power_w,
        host_idle_power_w=share * node.host_idle_power_w,
    )


def read_fabric(c: Cells, gpu: Gpu, gpus_per_node: int) -> Fabric:
    """The fabric in the row's words: `8x400Gb/s` and `1600 Gbps node-node` are per node, the rest per GPU."""
    usual = load_fabric(load_node(gpu.node).fabric)
    text = c.text("interconnect").lower()
    each = re.search(r"(\d+)\s*x\s*(?:[a-z\-]+\s+)?(\d+)\s*gb", text)
    total = re.search(r"(\d+)\s*gb(?:it)?(?:/s|ps)[ a-z]*(?:node-node|inter-node|per node)", text)
    single = re.search(r"(\d+)\s*gb(?:it)?(?:/s|ps)", text.split("nvlink4 900gb/s")[-1])
    gbit_per_gpu = 0.0
    if each:
        gbit_per_gpu = int(each[1]) * int(each[2]) / gpus_per_node
    elif total and "per gpu" not in text:
        gbit_per_gpu = int(total[1]) / gpus_per_node
    elif single:
        gbit_per_gpu = float(single[1])
    if not gbit_per_gpu:
        if c.count("gpus") > gpus_per_node:
            c.notes.append(f"interconnect's speed not stated: {usual.label} (usual for {gpu.label})")
        return usual
    if re.search(r"omni[- ]?path|\bopa\b", text):
        gbit_per_gpu *= OMNI_PATH_REACHED
    return replace(
        usual,
        name="as stated",
        label=f"{gbit_per_gpu:g} Gb/s per GPU",
        bandwidth_bytes_per_s=gbit_per_gpu / 8 * 1e9,
    )


def _is_early_jean_zay(c: Cells, gpu: Gpu) -> bool:
    there = re.search(r"jean[ -]?zay", f"{c.text('interconnect')} {c.text('notes')}".lower())
    day = re.match(r"20\d\d-\d\d-\d\d", c.text("date"))
    return bool(there and day and day[0] < JEAN_ZAY_MENDED and gpu.kernels == "a100")
