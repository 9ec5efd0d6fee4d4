"""Imports run one way: a module may import from its own layer and from the layers above it here.

Parsed, not run, so that an import inside a function counts as well. What only the type checker
reads (``if TYPE_CHECKING:``) does not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import topoact_gpu

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "topoact_gpu"

LAYERS = (
    {"errors", "_numba_cache"},
    {"device", "files", "array_group", "timing", "room", "progress", "remote"},
    {"kernels"},
    {
        "rows",
        "resident",
        "ledger",
        "streamed",
        "buckets",
        "bucketed",
        "source",
        "device_rows",
        "interop",
        "libraries",
    },
    {"backend"},
    {"cpu", "prepare", "near", "intervals", "gpus"},
    {"cuda"},
    {"worker"},
    {"distributed"},
    {"devices", "clusters"},
    {"activations"},
    {"store", "lens", "cover", "neighbours", "knee", "nerve", "nodes", "sample", "cluster"},
    {"lift", "groups", "labels", "selection"},
    {"graph", "convert", "plot", "summary", "summary_tables", "summary_group", "features"},
    {"capturing", "capture_state", "capture_writer"},
    {"runs", "export"},
    {"job", "planning", "run_summary"},
    {"pipeline"},
    {"identity"},
    {"mapper"},
    {"explore"},
    {"cli"},
)
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
KERNELS_MAY_IMPORT = {"errors", "_numba_cache", "device", "kernels"}
HEAVY = {
    *("torch", "triton", "cupy", "cuml", "faiss", "umap", "dask", "distributed"),
    *("fastapi", "starlette", "uvicorn"),
    *("matplotlib", "networkx", "igraph", "kmapper", "pandas", "pyarrow"),
    *("torchvision", "timm", "transformers", "tokenizers", "skimage", "PIL"),
}
# Where a public name lives: importing it from the package is importing that module.
HOME = topoact_gpu._HOME


def wrong_arrows(sources: dict[str, str]) -> list[str]:
    """List the imports that run the wrong way.

    Parameters
    ----------
    sources : dict of str to str
        Module name (``"topoact_gpu.cli.main"``) to source text. A name ending in ``.__init__`` is
        a package.
    """
    arrows = {
        (source, target)
        for name, text in sources.items()
        for target in imported_modules(name, text)
        if (source := module_of(name)) and source != target
    }
    faults = [fault for source, target in sorted(arrows) if (fault := judge(source, target))]
    return faults + [f"{first} and {second} import each other" for first, second in cycles(arrows)]


def judge(source: str, target: str) -> str | None:
    """Say what is wrong with one arrow, or None."""
    for module in (source, target):
        if module not in RANK:
            return f"{module} has no layer: add it to LAYERS in {Path(__file__).name}"
    if source == "kernels" and target not in KERNELS_MAY_IMPORT:
        return f"kernels may not import {target}"
    if RANK[target] > RANK[source]:
        return f"{source} may not import {target}, which stands on it"
    return None


def cycles(arrows: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Find pairs of modules that import each other, directly or through others."""
    reached = set(arrows)
    while more := {(a, d) for a, b in reached for c, d in arrows if b == c} - reached:
        reached |= more
    return sorted((a, b) for a, b in reached if a < b and (b, a) in reached)


def module_of(name: str) -> str:
    """``topoact_gpu.kernels.dbscan.cpu`` → ``kernels``; the package itself → empty."""
    parts = name.removesuffix(".__init__").split(".")
    return parts[1] if len(parts) > 1 else ""


def imported_modules(name: str, text: str) -> Iterator[str]:
    """Yield the first-level modules of the package that ``text`` imports."""
    for target in imported_names(name, text):
        parts = target.split(".")
        if parts[0] == PACKAGE and len(parts) > 1 and parts[1] != "__version__":
            yield HOME.get(parts[1], parts[1])


def imported_names(name: str, text: str) -> Iterator[str]:
    """Yield every imported name in full, relative ones resolved."""
    package = name.split(".")[:-1]  # of a module its package; "x.__init__" is in the package x
    for node in runtime_nodes(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the tree, passing over ``if TYPE_CHECKING:``."""
    yield node
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        children = iter(node.orelse)
    for child in children:
        yield from runtime_nodes(child)


def read_package() -> dict[str, str]:
    """Read every source of the package, the kernels under their installed name."""
    found = {}
    for folder, prefix in (
        (ROOT / "topoact_gpu", PACKAGE),
        (ROOT / "kernels", f"{PACKAGE}.kernels"),
    ):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([prefix, *parts])] = path.read_text(encoding="utf-8")
    return found


def test_every_arrow_runs_the_right_way():
    sources = read_package()
    assert "topoact_gpu.kernels.__init__" in sources
    assert wrong_arrows(sources) == []


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("cover", "from .mapper import Mapper", "cover may not import mapper"),
        ("cover", "from topoact_gpu.graph import x", "cover may not import graph"),
        ("cover", "import topoact_gpu.cli.main", "cover may not import cli"),
        ("cover", "from . import runs", "cover may not import runs"),
        ("cover", "from topoact_gpu import Mapper", "cover may not import mapper"),
        ("cover", "def f():\n    from .mapper import Mapper", "cover may not import mapper"),
        ("cover", "from .brand_new import x", "brand_new has no layer"),
        ("brand_new", "from .errors import x", "brand_new has no layer"),
        ("activations.inputs", "from ..store import x", "activations may not import store"),
        (
            "activations.images",
            "from topoact_gpu.cover import x",
            "activations may not import cover",
        ),
        ("kernels.nerve.cpu", "from topoact_gpu.rows import Rows", "kernels may not import rows"),
        ("kernels.nerve.cpu", "from ...files import x", "kernels may not import files"),
        ("kernels.__init__", "from ..store import x", "kernels may not import store"),
        ("errors", "from .device import x", "errors may not import device"),
        ("activations.layers", "from ..store import x", "activations may not import store"),
        ("cli.__init__", "from ..brand_new import x", "brand_new has no layer"),
    ],
)
def test_a_wrong_arrow_is_seen(name, text, fault):
    (found,) = wrong_arrows({f"{PACKAGE}.{name}": text})
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mapper", "from .cover import UniformCover"),
        ("cover", "from topoact_gpu.kernels.cover import cpu"),
        ("kernels.dbscan.cpu", "from topoact_gpu.kernels.simd import x\nfrom ..order import cpu"),
        ("kernels.dbscan.cpu", "from topoact_gpu.errors import DataError"),
        ("store", "from . import __version__"),
        ("activations.inputs", "from ..rows import x\nfrom .images import y"),
        ("cli.__init__", "from .main import app"),
        ("cover", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .mapper import M"),
        ("cover", "import numpy\nfrom collections import abc"),
    ],
)
def test_a_right_arrow_passes(name, text):
    assert wrong_arrows({f"{PACKAGE}.{name}": text}) == []


def test_a_circle_in_one_layer_is_seen():
    sources = {
        f"{PACKAGE}.store": "from .lens import x",
        f"{PACKAGE}.lens": "def f():\n    from .cover import x",
        f"{PACKAGE}.cover": "from .store import x",
    }
    assert "cover and lens import each other" in wrong_arrows(sources)


def heavy_at_import(sources: dict[str, str]) -> list[str]:
    """List heavy modules that a file imports outside a function."""
    return [
        f"{name} imports {target} when it is imported"
        for name, text in sources.items()
        for statement in ast.parse(text).body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        for target in imported_names(name, ast.unparse(statement))
        if target.split(".")[0] in HEAVY
    ]


GPU_ONLY = {
    *(f"{PACKAGE}.{name}" for name in ("cuda", "device_rows", "gpus", "source")),
    f"{PACKAGE}.kernels.dbscan.groups",
}


def is_gpu_only(name: str) -> bool:
    """Whether a module is loaded only when a GPU is used."""
    return name in GPU_ONLY or name.endswith(".gpu")


def test_heavy_modules_load_where_they_are_used():
    others = {name: text for name, text in read_package().items() if not is_gpu_only(name)}
    assert heavy_at_import(others) == []


def test_what_loads_torch_is_itself_loaded_where_it_is_used():
    for name, text in read_package().items():
        if is_gpu_only(name):
            continue
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                for target in imported_names(name, ast.unparse(statement)):
                    assert not is_gpu_only(target.rpartition(".")[0]), (name, target)


def test_a_heavy_import_is_seen():
    found = heavy_at_import({"a": "try:\n    import torch\nexcept ImportError:\n    pass"})
    assert found == ["a imports torch when it is imported"]
    assert heavy_at_import({"a": "def f():\n    import torch"}) == []
