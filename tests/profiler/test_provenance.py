"""Which GPU of the catalogue a driver's name means, which ceilings rows hold, and where a run may go on."""

from pathlib import Path

import pytest

from profiler.files import InputError
from profiler.profile import LayerRow, Profile, Provenance
from profiler.provenance import catalogue_name, with_ceilings
from profiler.session import _resumed
from sim.hardware import load_gpu


@pytest.mark.parametrize(
    ("device", "power_limit_w", "name"),
    [
        ("NVIDIA H100 80GB HBM3", 700.0, "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", 500.0, "h100-sxm"),  # capped, yet the same part
        ("NVIDIA H100 96GB HBM2e", 500.0, "h100-96gb"),
        ("NVIDIA H100 96GB HBM2e", None, "h100-96gb"),
        ("NVIDIA H100 96GB HBM3", 700.0, ""),  # the catalogue's 96 GB part draws 500 W
        ("NVIDIA H200", 700.0, "h200-sxm"),
        ("NVIDIA H200 NVL", 600.0, ""),
        ("NVIDIA H100 NVL", 400.0, ""),
        ("NVIDIA H100 PCIe", 350.0, ""),
        ("NVIDIA GH200 480GB", 900.0, ""),
        ("NVIDIA GH200 144G HBM3e", 900.0, ""),
        ("NVIDIA H800", 700.0, ""),
        ("NVIDIA B200", 1000.0, "b200-sxm"),
        ("NVIDIA GB200", 1200.0, "gb200"),
        ("NVIDIA A100-SXM4-80GB", 400.0, "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", 300.0, ""),
        ("NVIDIA GeForce RTX 4090", 450.0, "rtx-4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 150.0, ""),
        ("AMD Instinct MI300X", 750.0, ""),
    ],
)
def test_the_catalogues_name_or_none(device: str, power_limit_w: float | None, name: str) -> None:
    assert catalogue_name(device, power_limit_w) == name
    if name:
        assert load_gpu(name).name == name


def test_ceilings_keep_fp8_apart_and_ignore_what_failed() -> None:
    def row(workload: str, precision: str, flops: float, moved: float, **more: object) -> LayerRow:
        return LayerRow(
            workload=workload, precision=precision, model="", origin="measured", forward_s=1.0,
            forward_flops=flops, forward_bytes=moved, **more,
        )  # type: ignore[arg-type]  # fmt: skip

    rows = [
        row("matmul", "bf16", 700.0, 1.0, size=1),
        row("matmul", "bf16", 600.0, 1.0, size=2),
        row("matmul", "fp8", 1300.0, 1.0, size=1),
        row("matmul", "bf16", 9000.0, 1.0, size=3, status="error"),
        row("copy", "bf16", 0.0, 4.0),
        row("block", "bf16", 99_999.0, 99_999.0),
    ]
    found = with_ceilings(Provenance(device="a GPU", gpu="", origin="measured", method="by hand"), rows)
    assert (found.peak_matmul_flops, found.peak_fp8_matmul_flops, found.copy_bytes_per_s) == (700.0, 1300.0, 4.0)


@pytest.mark.parametrize(
    ("earlier", "now", "same"),
    [("580.159.03", "580.159.04", True), ("580.159.03", "570.86.10", False), ("", "", True)],
)
def test_a_run_goes_on_under_another_patch_of_its_driver(earlier: str, now: str, same: bool, tmp_path: Path) -> None:
    profiles = [
        Profile(
            name="p",
            provenance=Provenance(device="a GPU", gpu="h200-sxm", origin="measured", method="by hand", driver=driver),
        )
        for driver in (earlier, now)
    ]
    profiles[0].write(tmp_path / "p.json")
    if not same:
        with pytest.raises(InputError, match=r"its driver is '580.159.03', this run's is '570.86.10'"):
            _resumed(tmp_path / "p.json", profiles[1])
        return
    resumed = _resumed(tmp_path / "p.json", profiles[1])
    assert resumed.provenance.driver == earlier
    assert (f"resumed with driver {now}" in resumed.provenance.notes) == (now != earlier)
