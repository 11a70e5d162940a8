"""GPU, node and network of a run, in a row's words."""

from dataclasses import replace
from pathlib import Path

import pytest

from planner.runs.estimate import estimate_runs
from planner.runs.rows import later_runs
from planner.runs.training_run import TrainingRun, UnreadableRun
from sim.calibration import load_calibration
from tests.planner.rows import read, run


@pytest.mark.parametrize(
    ("text", "gigabits_per_gpu"),
    [
        ("8x400Gb/s", 400),
        ("NVLink4 900GB/s; 8x 400 Gb/s InfiniBand", 400),
        ("1600 Gbps node-node", 200),
        ("400 Gb/s per GPU", 400),
        ("InfiniBand NDR 400Gb/s", 400),
        ("4x RoCE 100Gb/s per node", 50),
        ("25 GbE", 25),
        ("100 Gb Ethernet", 100),
        ("100 Gigabit Ethernet", 100),
        ("200G HDR", 200),
        ("InfiniBand NDR", 400),
        ("3.2 Tbps EFA", 400),
        ("3,200 Gbps EFA", 400),
        ("12.5 Gb/s", 12.5),
        ("12.5 GB/s", 100),
        ("50 GB/s", 400),
        ("NVLink 900 GB/s, 400 Gb/s InfiniBand", 400),
        ("HDR-200 Gb/s", 200),
        ("NVLink (4 GPUs/node) + IB NDR 400Gb/s (rails per node not stated)", 400),
        ("400 Gb/s per GPU, 3,200 Gb/s per node", 400),
        ("p5.48xlarge 3200 Gbps EFA", 400),
        ("NVLink3 600GB/s intra-node, 200Gb/s HDR x4 inter-node", 100),
        ("8 HDR 200 Gb/s per node", 200),
        ("NVLink4 + 8 NICs 400 Gbps each", 400),
        ("25.6 Tb/s switch, 400Gb/s NIC", 400),
        ("4x NDR", 200),
        ("2xEDR", 25),
        ("Slingshot 11, 4 NICs of 200 Gb/s", 100),
        ("100GigE", 100),
        ("4x Omni-Path 100", 50),
        ("InfiniBand NDR400 (1 per 2 GPUs)", 200),
        ("NDR 400 Gb/s (one per 2 GPUs)", 200),
        ("Infiniband HDR 200 (4 ports)", 100),
        ("Slingshot 200 Gb/s, 4 NICs per node", 100),
        ("8x400Gb/s rail-optimised, 3 spine switches", 400),
        ("400 Gb/s, 2 switches per rail", 400),
        ("3200 Gb/s EFA, 32 NICs per node", 400),
        ("3200 Gb/s (8 NICs)", 400),
        ("3.2 Tb/s per node, 8 NICs", 400),
        ("InfiniBand 800 Gb/s per node with 4 NICs", 100),
        ("200 Gb/s HDR, 2 NICs per GPU", 400),
        ("NDR 400 Gb/s; 1 per 2 GPUs", 200),
    ],
)
def test_networks_in_words(tmp_path: Path, text: str, gigabits_per_gpu: float) -> None:
    assert run(tmp_path, interconnect=text).fabric.bandwidth_bytes_per_s == gigabits_per_gpu / 8 * 1e9


def test_how_a_network_was_read_is_said_unless_the_row_says_it(tmp_path: Path) -> None:
    def said(text: str, **cells: str) -> bool:
        return any("interconnect taken as" in note for note in run(tmp_path, interconnect=text, **cells).notes)

    assert said("400 Gb/s")
    assert said("3200 Gbps node-node")
    assert not said("8x400Gb/s")
    assert not said("400 Gb/s per GPU")


@pytest.mark.parametrize("text", ["-400 Gb/s", "0 Gb/s"])
def test_a_speed_that_none_has_is_refused(tmp_path: Path, text: str) -> None:
    [row] = read(tmp_path, {"interconnect": text})
    assert isinstance(row, UnreadableRun)
    assert "a speed above 0 is needed" in row.note


@pytest.mark.parametrize("text", ["NVLink4 900GB/s", "fast", "DGX H100"])
def test_links_inside_a_node_say_nothing_of_the_network(tmp_path: Path, text: str) -> None:
    found = run(tmp_path, interconnect=text)
    assert found.fabric.bandwidth_bytes_per_s == 50e9
    assert any("interconnect's speed not stated" in note for note in found.notes)


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        ({"gpu": "H100-PCIE-80GB"}, "another part"),
        ({"gpu": "GH200", "gpu_mem_gb": ""}, "another part"),
        ({"gpu": "H200 NVL", "gpu_mem_gb": ""}, "another part"),
        ({"gpu": "B200", "gpu_mem_gb": "180", "gpu_power_limit_w": "1000"}, "the rate of products was fitted"),
        ({"gpu": "RTX 4090", "gpu_mem_gb": "24", "gpu_power_limit_w": "450"}, "no published run on GeForce RTX 4090"),
        ({"gpu_mem_gb": "20"}, "gpu_mem_gb 20 stated in place of 80"),
        ({"gpu": "GH200", "gpu_mem_gb": "96"}, "gpu_mem_gb 96 stated in place of 141"),
        ({"gpu": "GB200 NVL72", "gpu_mem_gb": "186", "gpus_per_node": "4"}, "NVLink joins all 72"),
        ({"gpu_power_limit_w": "1e9"}, "gpu_power_limit_w 1e+09 stated"),
        ({"gpu_power_limit_w": "400"}, "held to 400 of its 700 W"),
    ],
)
def test_what_of_a_gpu_is_passed_over_is_noted(tmp_path: Path, cells: dict[str, str], note: str) -> None:
    assert any(note in each for each in run(tmp_path, **cells).notes)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"gpu_power_limit_w": "-700"}, "gpu_power_limit_w' is -700; a number above 0"),
        ({"gpu_power_limit_w": "0.7"}, "takes"),
        ({"gpu_mem_gb": "-80"}, "gpu_mem_gb' is -80; a number above 0"),
    ],
)
def test_a_gpu_that_cannot_be_is_refused(tmp_path: Path, cells: dict[str, str], says: str) -> None:
    [row] = read(tmp_path, cells)
    assert isinstance(row, UnreadableRun)
    assert says in row.note


def test_a_power_limit_slows_the_step_and_is_kept(tmp_path: Path) -> None:
    """Less than the watts saved: the clocks fall slower than the power (`sim.clocks`)."""
    rows = read(tmp_path, *({"gpu_power_limit_w": limit} for limit in ("", "700", "500", "300")))
    free, own, *held = estimate_runs(rows)
    assert free.step_time_s == own.step_time_s
    for limit_w, prediction in zip((500, 300), held, strict=True):
        power_w, step_time_s = prediction.gpu_power_w or 0.0, prediction.step_time_s or 0.0
        assert power_w <= limit_w
        assert 1 < step_time_s / (own.step_time_s or 0.0) < (own.gpu_power_w or 0.0) / power_w
        assert sum(prediction.parts_s.values()) == pytest.approx(step_time_s)
    assert (held[0].step_time_s or 0.0) < (held[1].step_time_s or 0.0)


def test_omni_path_reaches_no_less_than_one_ring_and_no_more_than_two(tmp_path: Path) -> None:
    """39.9 Gb/s of bus bandwidth over one NIC of 100 Gb/s (bigscience experiments/bandwidth); two GPUs share each."""
    words = "4x OmniPath 100Gb/s per node"
    of_two_gbit_per_s = [
        2 * float(run(tmp_path, interconnect=text).case().nic_bytes_per_s[0]) * 8 / 1e9
        for text in (words, words.replace("OmniPath", "InfiniBand"))
    ]
    assert 0.9 * 39.9 <= of_two_gbit_per_s[0] <= 2 * 39.9
    share = load_calibration().constants["omni_path_share"].value
    assert of_two_gbit_per_s[0] == pytest.approx(share * of_two_gbit_per_s[1])


@pytest.mark.parametrize(
    ("cells", "gpu"),
    [
        ({"gpu": "H100-SXM5-80GB"}, "h100-sxm"),
        ({"gpu": "h100 sxm 80 gb"}, "h100-sxm"),
        ({"gpu": "NVIDIA H200 141GB", "gpu_mem_gb": "141"}, "h200-sxm"),
        ({"gpu": "A100 SXM", "gpu_mem_gb": "40", "gpu_power_limit_w": "400"}, "a100-40gb"),
        ({"gpu": "A100 SXM", "gpu_mem_gb": "80", "gpu_power_limit_w": "400"}, "a100-80gb"),
        ({"gpu": "h100", "gpu_mem_gb": "80", "gpu_power_limit_w": "350"}, "h100-sxm"),
        ({"gpu": "H100 96GB HBM2e", "gpu_mem_gb": "96", "gpu_power_limit_w": "500"}, "h100-96gb"),
        ({"gpu": "GB200 NVL72", "gpu_mem_gb": "186", "gpu_power_limit_w": "1200"}, "gb200"),
        ({"gpu": "B200", "gpu_mem_gb": "180", "gpu_power_limit_w": "1000"}, "b200-sxm"),
    ],
)
def test_gpus_in_words(tmp_path: Path, cells: dict[str, str], gpu: str) -> None:
    assert run(tmp_path, **cells).gpu.name == gpu


def test_hoppers_boards_of_four_on_infiniband_are_taken_for_water_cooled_ones(tmp_path: Path) -> None:
    row = {"gpus": "8", "gpus_per_node": "4", "dp": "8", "interconnect": "IB NDR 400Gb/s"}
    four = run(tmp_path, **row, gpu="H200-SXM-141GB", gpu_mem_gb="141")
    assert four.node.name == "hgx-h100-water"
    assert any("water cooled: products 3.3% faster" in note for note in four.notes)
    assert run(tmp_path, gpu="H200-SXM-141GB", gpu_mem_gb="141").node.name == "hgx-h100"


def test_a_run_that_waits_for_its_network_cards_is_predicted() -> None:
    """KempnerForge's 175B on 360 H200s reached 47.7 % MFU with eight sequences a GPU, in 19.09 s, and 8.1 % with one
    (benchmarks/175b_360gpu b62d2e3): 14.05 s, most of them for 346 GB that each GPU sends and receives. It is in no
    table, and what is expected of `nic_at_cpu_share` comes from it; the constant itself is fitted to others."""
    [eight] = [row for row in later_runs() if isinstance(row, TrainingRun) and row.id == "kempner-175b-360"]
    one = replace(eight, layout=replace(eight.layout, micro_batch=1), global_batch=eight.global_batch // 8)
    [found] = estimate_runs([one])
    assert found.step_time_s == pytest.approx(19.09 / 8 * 47.7 / 8.1, rel=0.05)
    [behind_switches] = estimate_runs([replace(one, node=replace(one.node, nics_at_cpu=False))])
    assert (behind_switches.step_time_s or 0) < 0.8 * 14.05


@pytest.mark.parametrize(
    "cells",
    [
        {"interconnect": "RoCE 400Gb/s"},
        {"interconnect": ""},
        {"gpu": "H100 PCIe"},
        {"gpu": "H100 NVL"},
        {"gpu": "GH200"},
        {"gpu": "H800"},
        {"gpu": "A100-SXM4-80GB", "gpu_power_limit_w": "400"},
        {"interconnect": "IB NDR 400Gb/s, air cooled"},
        {"interconnect": "100G Ethernet, no InfiniBand"},
        {"power_scope": "immersion tank"},
    ],
)
def test_other_boards_of_four_are_no_faster(tmp_path: Path, cells: dict[str, str]) -> None:
    row = {"gpus": "8", "gpus_per_node": "4", "dp": "8", "interconnect": "IB NDR 400Gb/s", "gpu": "H100-SXM5-80GB"}
    found = run(tmp_path, **row | cells)
    assert (found.node.gpus_per_node, found.node.clock_gain) == (4, 0)
    assert found.node.nics_at_cpu == found.gpu.kernels.startswith("h")  # Hopper's boards of four have no PCIe switch


@pytest.mark.parametrize(
    ("cells", "slower"),
    [
        ({"date": "2022-02-24"}, 0.03),
        ({"date": "2022-02-25"}, 0.0),
        ({"date": "2022-02"}, 0.0),
        ({"date": "2022-02-24", "interconnect": "4x100Gb/s"}, 0.0),
    ],
)
def test_jean_zay_was_slower_before_its_nodes_were_mended(
    tmp_path: Path, cells: dict[str, str], slower: float
) -> None:
    """bigscience chronicles-prequel.md 9e64ede: 1 to 5 % on 25 February 2022."""
    there = {"interconnect": "Jean Zay: 4x OmniPath 100Gb/s per node", "gpu": "A100-SXM4-80GB"}
    found = run(tmp_path, framework="Megatron-DeepSpeed", **{**there, **cells})
    assert found.node.slowdown == slower
    assert any("Jean Zay" in note for note in found.notes) == (slower > 0)


def test_what_fits_is_judged_by_the_memory_that_the_row_states(tmp_path: Path) -> None:
    """Leonardo's and MareNostrum 5's parts have 64 GB, Grace Hopper's 96: smaller than those of their names."""
    cells = {"model": "llama3.1-8b", "gpus": "8", "tp": "1", "sharding": "zero1", "micro_batch": "1"}
    for gpu, memory in (("H100 64GB", "64"), ("GH200", "96"), ("A100-SXM-64GB", "64")):
        found = run(tmp_path, **cells, gpu=gpu, gpu_mem_gb=memory)
        assert found.gpu.memory_gib == float(memory)
    roomy, small = estimate_runs([run(tmp_path, gpu_mem_gb=memory) for memory in ("80", "20")])
    assert roomy.step_time_s == small.step_time_s
    assert roomy.fits
    assert not small.fits


def test_a_rack_of_trays_is_one_nvlink_domain(tmp_path: Path) -> None:
    """NVL72: Slurm's node is a tray of four, NVLink goes through the rack."""
    gb200 = {"gpu": "GB200 NVL72", "gpu_mem_gb": "186", "gpus": "144", "tp": "8", "global_batch": "144"}
    tray, rack = estimate_runs([run(tmp_path, **gb200, gpus_per_node=stated) for stated in ("4", "72")])
    assert tray.step_time_s == rack.step_time_s


@pytest.mark.parametrize(
    ("gpu", "like", "link_bytes_per_s", "memory_gib"),
    [
        ("A800-SXM4-80GB", "A100 SXM 80 GB", 200e9, 80),
        ("NVIDIA H800", "H100 SXM 80 GB", 200e9, 80),
        ("A100-PCIe-40GB", "A100 SXM 40 GB", 300e9, 40),
        ("A100-SXM-64GB", "A100 SXM 80 GB", 300e9, 64),
        ("GH200 480GB", "H200 SXM 141 GB", 450e9, 141),
    ],
)
def test_parts_by_another_name(
    tmp_path: Path, gpu: str, like: str, link_bytes_per_s: float, memory_gib: float
) -> None:
    found = run(tmp_path, gpu=gpu, gpu_mem_gb="", gpu_power_limit_w="").gpu
    assert (found.label, found.link_bandwidth_bytes_per_s, found.memory_gib) == (like, link_bytes_per_s, memory_gib)


@pytest.mark.parametrize(
    ("text", "gpu", "gbit"),
    [
        ("AWS p4d EFA 400Gbps", "A100-SXM4-80GB", 50),
        ("AWS EFA", "A100-SXM4-80GB", 50),
        ("p5.48xlarge", "H100-SXM5-80GB", 400),
        ("AWS p5 EFA 3200 Gbps", "H100-SXM5-80GB", 400),
        ("Azure ND A100 v4", "A100-SXM4-80GB", 200),
        ("GCP a3-mega", "H100-SXM5-80GB", 200),
        ("Slingshot-11", "A100-SXM4-80GB", 200),
    ],
)
def test_a_clouds_instance_says_what_its_network_carries(tmp_path: Path, text: str, gpu: str, gbit: float) -> None:
    assert run(tmp_path, interconnect=text, gpu=gpu).fabric.bandwidth_bytes_per_s == gbit / 8 * 1e9


def test_the_network_may_say_how_many_gpus_a_node_has(tmp_path: Path) -> None:
    words = {"interconnect": "NVLink (4 GPUs/node) + IB NDR 400Gb/s", "gpus_per_node": ""}
    assert run(tmp_path, **words).gpus_per_node == 4
    assert run(tmp_path, **{**words, "gpus_per_node": "8"}).gpus_per_node == 8
