"""The package as a whole: quick to import, public names there, nothing installed by accident."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from importlib.metadata import entry_points, metadata, packages_distributions, version
from pathlib import Path

import pytest

import topoact_gpu

PUBLIC = [
    *("Mapper", "DBSCAN", "UniformCover", "KeplerCover", "BalancedCover", "ExplicitCover"),
    *("MapperGraph", "open_store", "create_store", "load_sample"),
]
HEAVY = [
    *("torch", "triton", "cupy", "cuml", "faiss", "dask", "fastapi", "matplotlib", "networkx"),
    *("numba", "numpy", "scipy", "sklearn", "zarr", "rich", "typer"),
]

MEASURE = """
import json, sys, time
start = time.perf_counter()
import topoact_gpu
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "modules": sorted(sys.modules)}))
"""


def run_python(script: str, folder: Path) -> str:
    """Run a script in a fresh interpreter that does not see the checkout."""
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def imports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    return [json.loads(run_python(MEASURE, folder)) for _ in range(3)]


def test_import_is_quick(imports):
    assert statistics.median(one["seconds"] for one in imports) < 0.5


def test_import_loads_nothing_heavy(imports):
    assert set(HEAVY) & set(imports[0]["modules"]) == set()


def test_estimators_load_nothing_optional(tmp_path):
    script = "import sys\nfrom topoact_gpu import Mapper, DBSCAN\nMapper(); DBSCAN()\n"
    loaded = run_python(f"{script}print(*sys.modules)", tmp_path).split()
    optional = {"torch", "triton", "cupy", "cuml", "faiss", "dask", "fastapi", "matplotlib"}
    assert optional & set(loaded) == set()


def test_no_global_module_named_kernels(tmp_path):
    script = """
import importlib.util
import topoact_gpu.kernels.simd
print(importlib.util.find_spec("kernels"))
"""
    assert run_python(script, tmp_path).strip() == "None"
    assert "topoact-gpu" not in packages_distributions().get("kernels", [])


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name(name):
    value = getattr(topoact_gpu, name)
    assert value.__name__ == name
    assert name in topoact_gpu.__all__
    assert name in dir(topoact_gpu)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Maper'"):
        _ = topoact_gpu.Maper


def test_type_checker_sees_the_same_names():
    source = Path(topoact_gpu.__file__).read_text(encoding="utf-8")
    for name, module in topoact_gpu._HOME.items():
        assert f"from .{module} import {name} as {name}\n" in source


def test_version_matches_the_installed_distribution():
    assert version("topoact-gpu") == topoact_gpu.__version__


def test_base_install_is_small():
    required = metadata("topoact-gpu").get_all("Requires-Dist")
    base = {line.split(">")[0].split("=")[0].strip() for line in required if "extra ==" not in line}
    assert base == {
        *("numpy", "scipy", "scikit-learn", "numba", "zarr", "kneed", "rich", "typer"),
    }


def test_torch_is_always_bounded():
    required = metadata("topoact-gpu").get_all("Requires-Dist")
    for package, bound in {"torch": "<2.14", "torchvision": "<0.29"}.items():
        lines = [line for line in required if re.match(rf"{package}\b", line)]
        assert lines
        assert all(bound in line and "extra ==" in line for line in lines)


def test_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="topoact")
    assert command.value == "topoact_gpu.cli:app"
