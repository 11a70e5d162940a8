"""The machine of a run: its GPU and its node, in a row's words."""

import re
from dataclasses import replace

from planner.runs.cells import Cells
from profiler.files import InputError, nearest
from sim.calibration import unfitted_note
from sim.hardware import Gpu, Node, load_gpu, load_node, names
from sim.power import least_cap_w

JEAN_ZAY_MENDED = "2022-02-25"
"""The day from which Jean Zay's A100 nodes had their PCI-Express and NUMA set up well: "so all TFLOPs have changed
for the better (1-5%)" (bigscience train/tr11-176B-ml/chronicles-prequel.md 9e64ede, GBS Variations)."""
JEAN_ZAY_SLOWDOWN = 0.03
"""What a step lost before: the middle of that, not fitted."""

LARGEST_MEMORY_GB = 300
ODD_MEMORY = 0.15
"""A stated memory this far off is worth a word; GB and GiB are 7 % apart."""
SAME_LIMIT = 0.02
"""A stated power limit this near to the GPU's own is that."""
OTHER_PARTS = re.compile(r"pci-?e|nvl(?!72)|gh200", re.IGNORECASE)
"""Parts of a family that are slower, or hang on other links, than those in the catalogue."""

EXPORTED = {"a800": ("a100", 200e9), "h800": ("h100", 200e9)}
"""Parts for export by what they are but for NVLink's speed: 400 GB/s both ways (their datasheets)."""

RACK = re.compile(r"nvl\d")
"""Nodes whose NVLink goes beyond a server: what Slurm and recipes call a node is one of a rack's trays of four."""

OTHER_NETWORKS = re.compile(r"roce|ethernet|gbe\b|\b(?:no|without) (?:ib|infiniband)")
"""Words of a network that is not InfiniBand."""

BOARD_WITHOUT_SWITCH = 4
"""HGX boards of four GPUs join each pair by its own links; those of eight have switches (NVIDIA HGX A100/H100)."""


def read_gpu(c: Cells) -> Gpu:
    """The catalogue's GPU by name, alias or family; its memory and a low power limit as the row states."""
    found = _found_gpu(c)
    c.notes += filter(None, [unfitted_note(found)])
    return found


def _found_gpu(c: Cells) -> Gpu:
    text = c.text("gpu")
    wanted = re.sub(r"[^a-z0-9]", "", text.lower())
    if re.search(r"\bmig\b|mig \d", text.lower()):
        raise InputError(f"gpu '{text[:40]}' is a part of one; whole GPUs are predicted.")
    limit_w = c.positive("gpu_power_limit_w")
    memory_gb = c.positive("gpu_mem_gb") or _named_memory_gb(text)
    exported = next((name for name in EXPORTED if name in wanted), "")
    if exported:
        family, link_bytes_per_s = EXPORTED[exported]
        found = _found_gpu(Cells({**c.cells, "gpu": text.lower().replace(exported, family)}))
        c.notes.append(f"gpu '{text[:40]}' taken as {found.label} with NVLink at {link_bytes_per_s / 1e9:.0f} GB/s")
        return replace(found, link_bandwidth_bytes_per_s=link_bytes_per_s)
    catalogue = [load_gpu(name) for name in names("gpus")]
    for gpu in catalogue:
        if wanted in {re.sub(r"[^a-z0-9]", "", x.lower()) for x in (gpu.name, gpu.label, *gpu.aliases)}:
            return _with_memory(c, gpu, memory_gb)
    for family in ("gb200", "b200", "h200", "h100", "a100", "4090"):
        if family in wanted:
            members = [gpu for gpu in catalogue if family in gpu.name.split("-")]
            low_power = limit_w is not None and limit_w <= 0.8 * max(gpu.tdp_w for gpu in members)
            pick = min(
                members,
                key=lambda g: (
                    memory_gb is not None and abs(memory_gb / g.memory_gib - 1) > ODD_MEMORY,
                    abs(g.tdp_w - limit_w) if low_power and limit_w else 0,
                    abs(g.memory_gib - (memory_gb or 80.0)),
                ),
            )
            other = ", another part: its speed and links are not these" if OTHER_PARTS.search(text) else ""
            c.notes.append(f"gpu '{text[:40]}' taken as {pick.label}{other}")
            return _with_memory(c, pick, memory_gb)
    raise InputError(f"gpu '{text[:40]}' is not in the catalogue; {nearest(text, names('gpus'))}")


def _named_memory_gb(text: str) -> float | None:
    named = re.search(r"(?<![\d.])(\d{2,3}) ?gi?b", text.lower())
    return float(named[1]) if named and 0 < float(named[1]) <= LARGEST_MEMORY_GB else None  # GH200's 480: a CPU's


def _with_memory(c: Cells, gpu: Gpu, memory_gb: float | None) -> Gpu:
    """The GPU with the memory that the row states, where that is another part's."""
    if memory_gb is None or abs(memory_gb / gpu.memory_gib - 1) <= ODD_MEMORY:
        return gpu
    c.notes.append(f"gpu_mem_gb {memory_gb:g} stated in place of {gpu.memory_gib:g}: what fits is judged by it")
    return replace(gpu, memory_gib=memory_gb)


def read_power_cap_w(c: Cells, gpu: Gpu) -> float | None:
    """The power limit that the row states, where it is below the GPU's own [W].

    Raises:
        InputError: a limit that it cannot be given.
    """
    limit_w = c.positive("gpu_power_limit_w")
    if limit_w is None or abs(limit_w / gpu.tdp_w - 1) <= SAME_LIMIT:
        return None
    if limit_w > gpu.tdp_w:
        c.notes.append(f"gpu_power_limit_w {limit_w:g} stated; {gpu.label} has {gpu.tdp_w:.0f} W")
        return None
    if limit_w < least_cap_w(gpu):
        raise InputError(
            f"column 'gpu_power_limit_w' is {limit_w:g}; {gpu.label} takes {least_cap_w(gpu):.0f} W at the least."
        )
    c.notes.append(f"{gpu.label} held to {limit_w:g} of its {gpu.tdp_w:.0f} W")
    return limit_w


def read_node(c: Cells, gpu: Gpu) -> Node:
    """The node the GPU is usually sold in; its immersion-cooled form, without fans, where the row says so, and for
    boards of four the water-cooled one where `_water_cooled` finds it."""
    cooled = f"{gpu.node}-immersion"
    immersed = "immersion" in c.text("power_scope").lower()
    node = load_node(cooled if immersed and cooled in names("nodes") else gpu.node)
    if _is_early_jean_zay(c, gpu):
        c.notes.append(f"Jean Zay before {JEAN_ZAY_MENDED}: {JEAN_ZAY_SLOWDOWN:.0%} slower, by its chronicle")
        node = replace(node, slowdown=JEAN_ZAY_SLOWDOWN)
    stated = c.count("gpus_per_node", _gpus_of_a_node(c.text("interconnect")) or node.gpus_per_node)
    if stated == node.gpus_per_node:
        return node
    at_cpu = stated == BOARD_WITHOUT_SWITCH and gpu.kernels.startswith("h")
    board = _water_cooled(c, gpu) if at_cpu and not immersed else None
    if board:
        c.notes.append(
            f"gpus_per_node {stated} stated; taken for {board.label}: products {board.clock_gain:.1%} faster, "
            "network cards on the processors"
        )
        return board
    if at_cpu:
        c.notes.append(f"gpus_per_node {stated} stated; taken for a board with its network cards on the processors")
    if RACK.search(node.name) and node.gpus_per_node % stated == 0:
        c.notes.append(f"gpus_per_node {stated} stated; NVLink joins all {node.gpus_per_node} of {node.label}")
        return node
    share = stated / node.gpus_per_node  # a smaller node carries a smaller host
    return replace(
        node,
        gpus_per_node=stated,
        switched=stated != BOARD_WITHOUT_SWITCH,
        nics_at_cpu=at_cpu,
        host_load_power_w=share * node.host_load_power_w,
        host_idle_power_w=share * node.host_idle_power_w,
    )


def _water_cooled(c: Cells, gpu: Gpu) -> Node | None:
    """The water-cooled board of four that holds a Hopper GPU, where the row's words leave it: InfiniBand between its
    nodes, the part itself and no relative on other links, and no cooling by air."""
    board, network, part = f"{gpu.node}-water", c.text("interconnect").lower(), c.text("gpu").lower()
    other = OTHER_PARTS.search(part) or any(name in part for name in EXPORTED)
    in_air = re.search(r"\bair[- ]?cooled\b|\bin air\b", f"{network} {part} {c.text('notes').lower()}")
    infiniband = re.search(r"\bib\b|infiniband|\d*[nh]dr\d*\b|\bquantum", network) and not OTHER_NETWORKS.search(
        network
    )
    return load_node(board) if board in names("nodes") and infiniband and not (other or in_air) else None


def _gpus_of_a_node(text: str) -> int | None:
    """GPUs of a node where the words of its network count them: `NVLink (4 GPUs/node)`."""
    counted = re.search(r"\b([1-9]\d?) gpus? ?(?:/|per|a|in a|in each) ?(?:node|server|host)", text.lower())
    return int(counted[1]) if counted else None


def _is_early_jean_zay(c: Cells, gpu: Gpu) -> bool:
    there = re.search(r"jean[ -]?zay", f"{c.text('interconnect')} {c.text('notes')}".lower())
    day = re.match(r"20\d\d-\d\d-\d\d", c.text("date"))
    return bool(there and day and day[0] < JEAN_ZAY_MENDED and gpu.kernels == "a100")
