"""The hardware catalogue: parts by name or file, and clusters of whole nodes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.files import InputError
from sim.calibration import load_calibration
from sim.case_columns import rate_columns
from sim.clocks import speed_at_power
from sim.hardware import (
    Cluster,
    build_cluster,
    load_fabric,
    load_gpu,
    load_node,
    load_storage,
    names,
)
from sim.stacks.stack import load_stack
from tests.sim.nodes import own_node

PUBLISHED = {
    # NVIDIA datasheets: dense bf16 TFLOP/s, memory [decimal GB], TB/s, W, NVLink GB/s in one direction
    "a100-40gb": (312, 40, 1.555, 400, 300),
    "a100-80gb": (312, 80, 2.039, 400, 300),
    "h100-sxm": (989.4, 80, 3.35, 700, 450),
    "h200-sxm": (989.4, 141, 4.8, 700, 450),
    "b200-sxm": (2250, 180, 8.0, 1000, 900),
    "gb200": (2500, 186, 8.0, 1200, 900),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_gpus_are_their_datasheets(name: str) -> None:
    gpu = load_gpu(name)
    tflops, memory_gb, tb_per_s, watts, link_gb_per_s = PUBLISHED[name]
    assert gpu.peak_bf16_flops == pytest.approx(tflops * 1e12, rel=0.01)
    assert gpu.memory_gib == pytest.approx(memory_gb, rel=0.08)  # vendors print GB and mean either
    assert gpu.memory_bandwidth_bytes_per_s == pytest.approx(tb_per_s * 1e12, rel=0.05)
    assert gpu.tdp_w == watts
    assert gpu.link_bandwidth_bytes_per_s == pytest.approx(link_gb_per_s * 1e9)


@pytest.mark.parametrize("name", names("gpus"))
def test_gpus_are_physical(name: str) -> None:
    gpu = load_gpu(name)
    assert gpu.name == name
    assert 0 < gpu.idle_power_w < gpu.tdp_w
    assert gpu.peak_fp8_flops is None or gpu.peak_fp8_flops == pytest.approx(2 * gpu.peak_bf16_flops, rel=0.01)
    assert load_fabric(load_node(gpu.node).fabric).bandwidth_bytes_per_s <= gpu.link_bandwidth_bytes_per_s


def test_fp8_from_hopper_on() -> None:
    without = {name for name in names("gpus") if load_gpu(name).peak_fp8_flops is None}
    assert without == {"a100-40gb", "a100-80gb"}


@pytest.mark.parametrize("name", names("fabrics"))
def test_a_fabric_is_as_fast_as_its_name(name: str) -> None:
    fabric, gigabits = load_fabric(name), int(name.split("g")[0])
    sharing, of = (8, "node") if name.endswith("-node") else (1, "GPU")
    assert fabric.bandwidth_bytes_per_s == gigabits / 8 * 1e9 / sharing
    assert fabric.label.startswith(f"{gigabits} Gb/s")
    assert f" per {of}" in fabric.label
    assert f"{fabric.bandwidth_bytes_per_s * 8 / 1e9:g} Gb/s per GPU" in fabric.label


@pytest.mark.parametrize("name", names("storage"))
def test_storage_outruns_a_node(name: str) -> None:
    storage = load_storage(name)
    assert storage.node_write_bytes_per_s < storage.write_bytes_per_s


@given(gpus=st.integers(1, 100_000))
def test_clusters_are_whole_nodes_or_part_of_one(gpus: int) -> None:
    if gpus > 8 and gpus % 8:
        near = round(gpus / 8) * 8
        with pytest.raises(InputError, match=f"the nearest whole number is {near}"):
            build_cluster("h100-sxm", gpus)
        return
    cluster = build_cluster("h100-sxm", gpus)
    assert (cluster.nodes - 1) * 8 < gpus <= cluster.nodes * 8
    assert cluster.gpus_per_node * cluster.nodes == gpus
    assert (cluster.node.name, cluster.fabric.name) == ("hgx-h100", "400g")


@pytest.mark.parametrize("gpus", [0, -8])
def test_no_gpus_is_refused(gpus: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        build_cluster("h100-sxm", gpus)


@pytest.mark.parametrize(
    ("load", "wrong", "meant"),
    [
        (load_gpu, "h100", "h100-"),
        (load_gpu, "a100-sxm-80", "a100-80gb"),
        (load_node, "hgx-h10", "hgx-h100"),
        (load_fabric, "400", "400g"),
        (load_storage, "shared", "shared-"),
    ],
)
def test_an_unknown_part_names_the_known(load: object, wrong: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"'{wrong}' is not in the catalogue; allowed: .*did you mean '{meant}"):
        load(wrong)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["../gpus/h100-sxm", "/etc/passwd", "", "h100-sxm.toml/"])
def test_names_are_names_and_not_paths(name: str) -> None:
    with pytest.raises(InputError, match="is not in the catalogue"):
        load_gpu(name)


GPU = """
name = "mine"
label = "Mine"
memory_gib = 80.0
memory_bandwidth_bytes_per_s = 3e12
peak_bf16_flops = 1e15
tdp_w = 700.0
idle_power_w = 70.0
link_bandwidth_bytes_per_s = 1e11
embodied_kgco2e = 100.0
node = "hgx-h100"
"""


def test_a_part_can_be_added_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GPU)
    cluster = build_cluster(str(path), 16)
    assert isinstance(cluster, Cluster)
    assert (cluster.gpu.label, cluster.nodes, cluster.gpu.peak_fp8_flops) == ("Mine", 2, None)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("memory_gib = -1.0", "key 'memory_gib' is -1.0"),
        ("tdp_w = nan", "key 'tdp_w' is nan"),
        ("price = 3", "key 'price' is not known"),
        ('tdp_w = "much"', "key 'tdp_w' is 'much'"),
    ],
)
def test_a_bad_part_file_is_one_sentence(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    key = line.split(" ", maxsplit=1)[0]
    path.write_text("\n".join([*(x for x in GPU.splitlines() if not x.startswith(key)), line]))
    with pytest.raises(InputError) as error:
        load_gpu(str(path))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_part_of_each_node_may_be_left_idle() -> None:
    """64 of a rack's 72, so that powers of two divide: NVLink and nodes are those of 64, what is installed stays."""
    with pytest.raises(InputError, match=r"is 504\. With cluster\.gpus_per_node 64 every node leaves 8 idle"):
        build_cluster("gb200", 512)
    cluster = build_cluster("gb200", 512, gpus_per_node=64)
    assert (cluster.nodes, cluster.gpus_per_node, cluster.node.gpus_installed) == (8, 64, 72)
    assert build_cluster("gb200", 576, gpus_per_node=72) == build_cluster("gb200", 576)
    for wrong in (0, 73):
        with pytest.raises(InputError, match=f"gpus_per_node is {wrong}; a GB200 NVL72 rack holds 72"):
            build_cluster("gb200", 512, gpus_per_node=wrong)
    with pytest.raises(InputError, match=r"nearest whole number is 96\.$"):  # half of each node is not suggested
        build_cluster("h100-sxm", 100)


def test_a_port_that_a_whole_node_shares_is_not_that_of_some_of_its_gpus() -> None:
    assert build_cluster("h100-sxm", 16, fabric="100g-node")
    with pytest.raises(InputError, match="fabric '100g-node' is what each GPU of a whole node has"):
        build_cluster("h100-sxm", 16, gpus_per_node=4, fabric="100g-node")


def test_a_water_cooled_board_multiplies_faster_and_copies_as_fast() -> None:
    """At one power limit, by what cooler GPUs leak less; memory, links and what stays below the limit do not mind.
    5 % of the power left to clocks is 3.3 % of speed."""
    gpu, constants = load_gpu("h200-sxm"), load_calibration().values()
    water = load_node("hgx-h100-water")
    air = replace(water, clock_gain=0.0)
    for precision in ("bf16", "fp8"):
        cold, warm = (
            rate_columns(gpu, node, 4, load_fabric("400g"), load_stack("megatron-core"), precision, constants)
            for node in (water, air)
        )
        faster = {name for name in warm if cold[name] != warm[name]}
        gain = float(speed_at_power(np.array([1.05]))[0])
        assert all(cold[name] == pytest.approx(gain * warm[name], rel=1e-3) for name in faster)
        assert faster == {"matmul_flops_per_s", "matmul_16bit_flops_per_s"}
        assert cold["matmul_flops_per_s"] < cold["ceiling_flops"]


def test_network_cards_on_the_processors_give_less_and_nvlink_as_much() -> None:
    gpu, constants = load_gpu("h200-sxm"), load_calibration().values()
    at_cpu = load_node("hgx-h100-water")
    behind_switch = replace(at_cpu, nics_at_cpu=False)
    less, full = (
        rate_columns(gpu, node, 4, load_fabric("400g"), load_stack("kempnerforge"), "bf16", constants)
        for node in (at_cpu, behind_switch)
    )
    assert {name for name in full if less[name] != full[name]} == {"nic_bytes_per_s"}
    assert 0.6 < less["nic_bytes_per_s"] / full["nic_bytes_per_s"] < 0.85  # .72 by one run, GH200 at most .88


def test_every_gpu_has_a_node_that_is_built_for_it_and_no_node_takes_another() -> None:
    for name in names("gpus"):
        gpu = load_gpu(name)
        assert load_node(gpu.node).holds(gpu)
        assert gpu.name in load_node(gpu.node).gpus
    assert build_cluster("h200-sxm", 64, node="hgx-h100-water").gpus == 64
    with pytest.raises(InputError, match=r"node 'hgx-h100' holds h100-sxm or h200-sxm, and gpu is 'b200-sxm'; its"):
        build_cluster("b200-sxm", 64, node="hgx-h100")


def test_a_nodes_own_file_may_leave_its_gpus_unsaid(tmp_path: Path) -> None:
    own = own_node(tmp_path, "hgx-h100", "gpus = ")
    text = own.read_text()
    assert build_cluster("b200-sxm", 64, node=str(own)).node.gpus == ()
    for wrong in (3.0, -0.1):  # percent, and a loss
        bad = tmp_path / f"{wrong}.toml"
        bad.write_text(f"clock_gain = {wrong}\n{text}")
        with pytest.raises(InputError, match="clock_gain"):
            load_node(str(bad))
    idle = tmp_path / "idle.toml"
    idle.write_text(text.replace("host_idle_power_w = 1900.0", "host_idle_power_w = 2500.0"))
    with pytest.raises(InputError, match=r"host_idle_power_w is 2500, more than host_load_power_w \(2400\)"):
        load_node(str(idle))
