"""The network between the nodes of a run, in a row's words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from planner.runs.cells import Cells
from profiler.files import InputError
from sim.hardware import Fabric, Gpu, load_fabric, load_node

GENERATIONS_GBIT = {
    **{"edr": 100.0, "hdr100": 100.0, "hdr": 200.0, "hdr200": 200.0, "ndr200": 200.0, "ndr": 400.0, "ndr400": 400.0},
    **{
        "xdr": 800.0,
        "opa100": 100.0,
        "slingshot-11": 200.0,
        "slingshot 11": 200.0,
        "omni-path 100": 100.0,
        "omnipath 100": 100.0,
    },
}
"""Names of a port's speed (InfiniBand Trade Association roadmap; Intel Omni-Path 100)."""

INSTANCES_GBIT = {
    **{r"\bp4de?\b": 400.0, r"\bp5(?:e|en)?\b": 3200.0, r"\bnd\w* ?a100|ndm?_?a100|\bnd96am?sr": 1600.0},
    **{r"\bnd\w* ?h[12]00|\bnd96isr": 3200.0, r"\ba3[- ]?high": 800.0, r"\ba3[- ]?mega": 1600.0},
    **{r"\ba3[- ]?ultra": 3200.0},
}
"""What the network of a cloud's instance carries, all its ports together (AWS, Azure and Google Cloud's lists)."""

FASTEST_PORT_GBIT = 800.0
"""More than any one GPU's port; a faster speed is a whole node's."""

KINDS = (
    r"(?:ib|infiniband|roce(?:v2)?|rdma|ethernet|efa|omni[- ]?path|opa|slingshot|[ehnx]dr|nics?|rails?|ports?|links?)"
)
SPEED = re.compile(
    r"(?:(?<![\w.])(?P<ports>\d{1,2})(?:\s*[x×]\s*(?!large)(?:[A-Za-z][A-Za-z\-]*\s+)*"
    rf"|\s+(?:{KINDS}\s+(?:of\s+)?)+))?"
    r"(?P<number>(?:(?<!\w)-)?\d{1,7}(?:,\d{3})*(?:\.\d{1,3})?)\s*"
    r"(?P<prefix>[gt])(?P<unit>(?-i:[bB])(?:it|yte)?s?(?:/s|ps|E)?|b?E|igE|igabit(?:/s)?)?(?![A-Za-z])"
    rf"(?:\s*(?:{KINDS}\s*)*[x×]\s*(?P<times>\d{{1,2}})\b)?",
    re.IGNORECASE,
)
INSIDE = re.compile(r"nvlink|nvswitch|pcie|pci-e", re.IGNORECASE)
OUTSIDE = re.compile(r"\b(?:ib|infiniband|roce|rdma|ethernet|efa|omni|opa|slingshot|[ehnx]dr)", re.IGNORECASE)
PORTS = re.compile(rf"[^;+]{{0,24}}?\b(?P<ports>\d{{1,2}}) {KINDS}(?! ?of\b)", re.IGNORECASE)
"""What follows the speed of one port where it says how many a node has: `200 Gb/s, 4 NICs per node`."""
EACH_GPU = re.compile(rf"[^;+]{{0,24}}?\b(?P<ports>\d{{1,2}}) {KINDS} (?:per|for each|a) gpu", re.IGNORECASE)
"""What follows the speed of one port of which every GPU has several."""
SHARED_PORT = re.compile(r"[^+]*?\b(?:1|one) (?:per|for|to) (?P<gpus>\d) gpus", re.IGNORECASE)
"""What follows the speed of a port that GPUs share."""
PER_GPU = re.compile(r"per gpu", re.IGNORECASE)
WHOLE_NODE = re.compile(r"[ \w]*?(?:node-node|inter-node|(?:per |/|a )(?:node|host|server|instance))", re.IGNORECASE)
"""What follows the speed of all of a node's ports."""
NO_PORT = re.compile(r"[ \w]*?(?:switch|bisection|aggregate|backplane)", re.IGNORECASE)
"""What follows a speed that is no port's."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """A speed that a text states."""

    gbit: float
    ports: int | None
    """So many of them in a node; `None` where it is not said."""
    of_a_node: bool
    """Of all of a node's ports together."""
    gpus_per_port: int = 1
    """So many GPUs share a port."""

    def gbit_per_gpu(self, gpus_per_node: int) -> float:
        """One GPU's part of it [Gb/s]."""
        if self.ports:
            return self.ports * self.gbit / gpus_per_node
        return self.gbit / (gpus_per_node if self.of_a_node else self.gpus_per_port)


def read_fabric(c: Cells, gpu: Gpu, gpus_per_node: int) -> Fabric:
    """The fabric in the row's words: `8x400Gb/s` and `1600 Gbps node-node` are per node, the rest per GPU.

    Raises:
        InputError: a speed that none can have.
    """
    usual = load_fabric(load_node(gpu.node).fabric)
    text = c.text("interconnect")
    speed = _instance_speed(text, gpu) or _fabric_speed(text)
    between = c.count("gpus") > gpus_per_node
    if speed is None:
        if between:
            c.notes.append(f"interconnect's speed not stated: {usual.label} (usual for {gpu.label})")
        return usual
    if not 0 < speed.gbit <= 1e6:
        raise InputError(f"interconnect is '{text[:40]}'; a speed above 0 is needed, such as 400 Gb/s.")
    gbit_per_gpu = speed.gbit_per_gpu(gpus_per_node)
    if between and speed.ports != gpus_per_node and not PER_GPU.search(text):
        c.notes.append(f"interconnect taken as {gbit_per_gpu:g} Gb/s per GPU")
    return replace(
        usual,
        name="as stated",
        label=f"{gbit_per_gpu:g} Gb/s per GPU",
        bandwidth_bytes_per_s=gbit_per_gpu / 8 * 1e9,
        omni_path=bool(re.search(r"omni[- ]?path|\bopa\b", text.lower())),
    )


def _fabric_speed(text: str) -> Speed | None:
    """The speed of the network between nodes that a text states; one that counts a node's ports before others."""
    speeds = list(_speeds(text))
    if not speeds:
        return _named_speed(text)
    speed = next((one for one in speeds if one.ports), speeds[0])
    return replace(speed, of_a_node=False) if PER_GPU.search(text) and not speed.ports else speed


def _instance_speed(text: str, gpu: Gpu) -> Speed | None:
    """All the ports of a cloud's instance, where the text names it. EFA is AWS's, and its A100s are in p4d."""
    lower = text.lower()
    named = next((gbit for pattern, gbit in INSTANCES_GBIT.items() if re.search(pattern, lower)), None)
    if named is None and gpu.kernels == "a100" and re.search(r"\befa", lower):
        named = INSTANCES_GBIT[r"\bp4de?\b"]
    return _speed(named, None, " per node") if named else None


def _named_speed(text: str) -> Speed | None:
    names = "|".join(sorted(GENERATIONS_GBIT, key=len, reverse=True))
    named = re.search(rf"(?:\b(\d{{1,2}})\s*[x×]\s*|(?<![a-z]))({names})(?![a-z\d])", text.lower())
    if not named:
        return None
    return _speed(GENERATIONS_GBIT[named[2]], named[1], text[named.end() :])


def _speed(gbit: float, ports: str | None, after: str) -> Speed:
    """A speed with what is said before and after it; ports that are named behind a whole node's speed make it up."""
    of_a_node = bool(WHOLE_NODE.match(after)) or gbit > FASTEST_PORT_GBIT
    each, shared = EACH_GPU.match(after), SHARED_PORT.match(after)
    behind = None if of_a_node or each else PORTS.match(after)
    count = ports or (behind["ports"] if behind else None)
    return Speed(
        gbit=gbit * (int(each["ports"]) if each else 1),
        ports=int(count) if count else None,
        of_a_node=of_a_node,
        gpus_per_port=int(shared["gpus"]) if shared else 1,
    )


def _speeds(text: str) -> Iterator[Speed]:
    """The speeds in a text, those of links inside a node aside. Bytes are told from bits by a capital B."""
    for clause in re.split(r"[+;]|,(?!\d{3})|\band\b", text):
        for found in SPEED.finditer(clause):
            before, after = clause[: found.start()], clause[found.end() :]
            if _is_inside(before, after) or NO_PORT.match(after):
                continue
            number = float(found["number"].replace(",", ""))
            bits = 8.0 if re.match(r"B(?!E|it)", found["unit"] or "") else 1.0
            thousands = 1000.0 if found["prefix"] in "tT" else 1.0
            behind = text[text.find(clause) + found.end() :]
            yield _speed(number * bits * thousands, found["ports"] or found["times"], behind)


def _is_inside(before: str, after: str) -> bool:
    """Whether the last link named before a speed is one inside a node; where none is, whether the next is alone."""
    inside = [found.start() for found in INSIDE.finditer(before)]
    outside = [found.start() for found in OUTSIDE.finditer(before)]
    if inside or outside:
        return max(inside, default=-1) > max(outside, default=-1) and not OUTSIDE.match(after.strip())
    return bool(INSIDE.search(after)) and not OUTSIDE.search(after)
