"""The house rules: imports run one way, planning is light, and every number has a source."""

import ast
import csv
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from planner.money.costs import load_rental
from planner.money.tariffs import load_tariff
from planner.priors import catalogue as priors
from profiler.architecture import available_models, load_architecture
from sim.calibration import load_calibration
from sim.campaign.reliability import load_reliability
from sim.hardware import load_fabric, load_gpu, load_node, load_storage
from sim.kernels.attention import attention_curves
from sim.kernels.collectives import collective_curves, tree_curves
from sim.kernels.elementwise import elementwise_curves
from sim.kernels.matmul import matmul_curves
from sim.site.climate import load_climate
from sim.stacks.stack import available_stacks, load_stack

ROOT = Path(__file__).parents[1]
PACKAGES = ("profiler", "sim", "planner", "dashboard")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CATALOGUE = ROOT / "sim" / "catalogue"
KERNELS = sorted((CATALOGUE / "kernels").glob("*.toml"))
PARTS = sorted({*CATALOGUE.glob("*/*.toml")} - {*KERNELS})
TABLES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.csv"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

IMPORT_NAMES = {
    "pillow": "PIL",
    "salib": "SALib",
    "nvidia-ml-py": "pynvml",
    "annotated-types": "annotated_types",
    "vl-convert-python": "vl_convert",
}
EXTRAS = {
    "profiler": {"torch", "fairscale", "pynvml"},
    "dashboard": {"streamlit", "altair", "playwright"},
    "report": {"altair", "jinja2", "vl_convert"},
}


def imports(path: Path) -> set[str]:
    """Top-level names that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").split(".")[0])
    return found


def test_imports_run_from_the_dashboard_to_the_profiler_and_never_back() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 kept, 0 broken" in run.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_product_imports_itself_the_standard_library_and_what_it_declares(path: Path) -> None:
    """No module of the product lives outside its packages: not in tests, not beside the project."""
    requirements = [
        *PROJECT["dependencies"],
        *(r for extra in PROJECT["optional-dependencies"].values() for r in extra),
    ]
    words = {r.split(";")[0].split("[")[0].strip().split(">")[0].split("=")[0] for r in requirements} - {"herdplan"}
    declared = {IMPORT_NAMES.get(word, word) for word in words}
    known = {*sys.stdlib_module_names, *PACKAGES, *declared}
    assert imports(path) <= known


@pytest.mark.parametrize("package", ["profiler", "sim", "planner"])
def test_only_the_dashboard_imports_streamlit_and_only_the_profiler_torch(package: str) -> None:
    torch_lives = {"profiler"}
    for path in (ROOT / package).rglob("*.py"):
        found = imports(path)
        assert "streamlit" not in found, path
        assert package in torch_lives or not found & EXTRAS["profiler"], path


def test_planning_needs_no_torch_no_streamlit_and_no_pandas() -> None:
    program = (
        "import sys, planner.cli, planner.plan, planner.search, planner.runs.estimate, planner.validation\n"
        "from planner.plan import make_plan\n"
        "from planner.plan_file import plan_request\n"
        "make_plan(plan_request({'model': 'llama3.1-8b', 'tokens': '100B', 'cluster': {'gpus': 64}}, source='x'))\n"
        "print(sorted({'torch', 'streamlit', 'fairscale', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    program = "import sys, planner.cli; print(sorted({'torch', 'streamlit', 'pandas', 'numpy'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


LOADERS: dict[str, Any] = {
    "gpus": load_gpu,
    "nodes": load_node,
    "fabrics": load_fabric,
    "storage": load_storage,
    "reliability": load_reliability,
    "climate": load_climate,
}

CURVES: dict[str, Any] = {
    "attention": attention_curves,
    "collectives": collective_curves,
    "collectives-nodes": tree_curves,
    "elementwise": elementwise_curves,
    "matmul": matmul_curves,
}

COVERED = {
    # what one datasheet, table or figure gives, by the name of its source
    "datasheet": {"memory_gib", "memory_bandwidth_bytes_per_s", "peak_bf16_flops", "peak_fp8_flops", "tdp_w",
                  "link_bandwidth_bytes_per_s"},
    "matmul_ceiling": {"matmul_ceiling_bf16_flops", "matmul_ceiling_fp8_flops"},
    "rates": {"count"},
    "restart": {"restart_gpus", "restart_times_s"},
    "climate": {"mean_c", "annual_amplitude_c", "warmest_day", "daily_amplitude_c", "warmest_hour"},
    "fabric": {"gpus_per_node"},  # a node's user guide
}  # fmt: skip


def numbers(data: object, key: str = "") -> set[str]:
    """Keys under which a TOML file holds numbers."""
    if isinstance(data, dict):
        return {name for k, v in data.items() for name in numbers(v, k)}
    if isinstance(data, list):
        return {name for v in data for name in numbers(v, key)}
    return {key} if isinstance(data, int | float) and not isinstance(data, bool) else set()


@pytest.mark.parametrize("path", PARTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_part_loads_and_every_number_in_it_has_a_source(path: Path) -> None:
    part = LOADERS[path.parent.name](path.stem)
    assert part.name == path.stem
    data = tomllib.loads(path.read_text())
    sources: dict[str, str] = data.pop("sources")
    assert all(len(source) >= 7 for source in sources.values())
    covered = set(sources).union(*(COVERED.get(name, set()) for name in sources))
    assert numbers(data) <= covered


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_every_kernel_curve_loads_and_says_what_was_timed_and_how_well_it_fits(path: Path) -> None:
    data = tomllib.loads(path.read_text())
    curves = CURVES[path.stem]()
    assert set(data) == {"sources", "curves"}
    assert set(curves) == set(data["curves"])
    assert any(word in source for source in data["sources"].values() for word in ("commit", "arXiv"))
    for name, curve in curves.items():
        assert curve.evidence.timed, name
        assert curve.evidence.points > 0, name
        assert 0 <= curve.evidence.error_median <= curve.evidence.error_p90 < 0.5, name


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_table_has_a_source_above_it_or_in_every_row(path: Path) -> None:
    lines = path.read_text().splitlines()
    above = [line for line in lines if line.startswith("#")]
    if any("source" in line.lower() for line in above):
        return
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert rows
    assert all(row["source_ref"] for row in rows)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_one_noun_and_a_function_fits_on_a_screen(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_every_constant_model_stack_and_tariff_has_a_source() -> None:
    for name, constant in load_calibration().constants.items():
        assert constant.source, name
        assert constant.meaning, name
    assert all(load_architecture(name).source for name in available_models())
    assert all(load_stack(name).source for name in available_stacks())
    assert all(prior.source for prior in priors().values())
    assert load_tariff("tou-example").source
    assert load_rental("h100-sxm").price_usd_per_gpu_hour.source
    for table in tomllib.loads((ROOT / "planner" / "market" / "costs.toml").read_text()).values():
        for row in table.values() if "source" not in table else [table]:
            assert not isinstance(row, dict) or row.get("source") or row.get("why")


def test_every_data_file_ships_with_its_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    endings = {pattern.rpartition(".")[2] for pattern in patterns if "." in pattern}
    data = {p for package in PACKAGES for p in (ROOT / package).rglob("*") if p.is_file() and p.suffix != ".pyc"}
    unknown = {p for p in data if p.suffix[1:] not in endings | {"py"} and p.name != "py.typed"}
    assert not unknown
