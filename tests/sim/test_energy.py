"""Power adds up, and comes out at what was measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.files import InputError
from profiler.units import HOUR_S, JOULES_PER_MWH
from sim.hardware import build_cluster
from sim.site.energy import PARTS, SitePower

MLPERF = build_cluster("h100-sxm", 512, node="hgx-h100-immersion")
"""The 64-node submission to MLPerf Training v4.0."""


@given(
    gpu_w=st.floats(0, 2000),
    pue=st.floats(1, 3),
    share=st.floats(0, 1),
    busy=st.booleans(),
    spares=st.integers(0, 1000),
)
def test_parts_add_up_to_the_meter(gpu_w: float, pue: float, share: float, busy: bool, spares: int) -> None:
    site = SitePower(pue=pue, above_node_share=share)
    parts = site.parts_w(MLPERF, gpu_w, busy=busy, spare_nodes=spares)
    assert tuple(parts.by_part()) == PARTS
    assert sum(parts.by_part().values()) == pytest.approx(parts.total_w)
    assert site.site_power_w(MLPERF, gpu_w, busy=busy, spare_nodes=spares) == parts.total_w
    it_w = parts.gpu_w + parts.host_w + parts.network_w + parts.storage_w
    assert parts.it_w == pytest.approx(it_w)
    assert parts.total_w == pytest.approx(pue * it_w)
    assert min(parts.by_part().values()) >= 0


def test_node_power_of_the_mlperf_submission() -> None:
    """MLPerf Training v4.0, GPT-3 on 64 immersed nodes: mean 6.85 kW at the wall, 5.84 to 7.22 (p5 to p95),
    floor 2.37.

    The log does not split the node; 625 W per GPU, 89 % of its 700 W, is what the host leaves of the mean.
    """
    bare = SitePower(pue=1, above_node_share=0)
    for gpu_w in (600.0, 625.0, 650.0):
        node_w = bare.site_power_w(MLPERF, gpu_w, busy=True) / MLPERF.nodes
        assert 5843 < node_w < 7224
    assert bare.site_power_w(MLPERF, 625.0, busy=True) / 64 == pytest.approx(6850, rel=0.02)
    idle_w = bare.site_power_w(MLPERF, MLPERF.gpu.idle_power_w, busy=False) / MLPERF.nodes
    assert idle_w == pytest.approx(2370, rel=0.02)


def test_405b_takes_about_thirty_gigawatt_hours() -> None:
    """30.84 M GPU-hours at the measured 856 W per GPU (node share included) and PUE 1.09 are 28.8 GWh."""
    gpu_w = 856.0 - MLPERF.node.host_load_power_w / 8
    power_w = SitePower(above_node_share=0).site_power_w(MLPERF, gpu_w, busy=True)
    energy_j = power_w * 30.84e6 / MLPERF.gpus * HOUR_S
    assert energy_j / JOULES_PER_MWH / 1000 == pytest.approx(28.8, rel=0.005)


def test_spares_idle() -> None:
    """A spare node draws its idle power, and switches and storage stand behind it as behind any other."""
    site = SitePower()
    spare_w = site.site_power_w(MLPERF, 600.0, busy=True, spare_nodes=1) - site.site_power_w(MLPERF, 600.0, busy=True)
    node, gpu = MLPERF.node, MLPERF.gpu
    above_w = 0.10 * 0.76 * node.rated_power_w
    assert spare_w == pytest.approx((8 * gpu.idle_power_w + node.host_idle_power_w + above_w) * 1.09)


def test_gpus_that_a_node_leaves_out_idle() -> None:
    """Over a whole cluster: as much as if each of them were a GPU of the job that draws its idle power."""
    site, some = SitePower(), build_cluster("gb200", 512, gpus_per_node=64)
    whole = build_cluster("gb200", 576)
    mean_w = (512 * 1000.0 + 64 * some.gpu.idle_power_w) / 576
    for spares in (0, 2):
        assert site.site_power_w(some, 1000.0, busy=True, spare_nodes=spares) == pytest.approx(
            site.site_power_w(whole, mean_w, busy=True, spare_nodes=spares)
        )


def test_what_is_above_the_nodes_is_a_tenth_of_them_and_stays_when_they_stop() -> None:
    """ElasticTree (NSDI 2010): a switch draws nearly the same at any traffic."""
    site = SitePower()
    works = site.parts_w(MLPERF, 625.0, busy=True)
    stops = site.parts_w(MLPERF, MLPERF.gpu.idle_power_w, busy=False)
    above_w = works.network_w + works.storage_w
    assert above_w == pytest.approx(0.10 * (works.gpu_w + works.host_w), rel=0.15)
    assert (stops.network_w, stops.storage_w) == (works.network_w, works.storage_w)
    leaf_w_per_gpu = 686 / 64  # MLPerf Training v4.1, one leaf switch
    assert works.network_w / MLPERF.gpus == pytest.approx(2.5 * leaf_w_per_gpu, rel=0.15)


@pytest.mark.parametrize(("kind", "value"), [("pue", 0.9), ("pue", float("nan")), ("above_node_share", -0.1)])
def test_impossible_sites_are_refused(kind: str, value: float) -> None:
    with pytest.raises(InputError, match=kind):
        SitePower(**{kind: value})
