"""Which Triton kernels the host launches, read from the sources without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Kernel", "launched_kernels"]

Kernel = tuple[str, str]
"""Module and name of a function."""


@dataclass
class _Source:
    """What one module defines, imports, and names in code that Python runs."""

    kernels: set[str] = field(default_factory=set)
    imports: dict[str, Kernel] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    indexed: set[str] = field(default_factory=set)
    """Last names of what is taken by index: ``run`` of ``forest.run[grid]``."""


def launched_kernels(folder: Path, package: str) -> set[Kernel]:
    """Kernels of a package that its own code launches.

    A kernel counts when code outside ``@triton.jit`` functions and outside ``ahead`` names it, as
    in ``kernel[grid](...)``. Functions that only kernels call don't, nor what a call is given by
    keyword: those are a kernel's constants.
    """
    sources = {}
    for path in sorted(folder.rglob("*.py")):
        module = ".".join([package, *path.relative_to(folder).with_suffix("").parts])
        sources[module] = _source(module, ast.parse(path.read_text(encoding="utf-8")))
    return set(_launched(sources))


def _source(module: str, tree: ast.Module) -> _Source:
    source = _Source()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and _is_kernel(node):
            source.kernels.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            source.imports |= {a.asname or a.name: (home, a.name) for a in node.names}
    for node in _host_code(tree):
        if isinstance(node, ast.Name):
            source.names.add(node.id)
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
            source.indexed.add(node.value.attr)
    return source


def _is_kernel(node: ast.FunctionDef) -> bool:
    decorators = (ast.unparse(each).partition("(")[0] for each in node.decorator_list)
    return any(name in ("jit", "triton.jit") for name in decorators)


def _host_code(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that Python runs, but for ``ahead`` and for keywords of calls."""
    yield node
    if isinstance(node, ast.FunctionDef) and (_is_kernel(node) or node.name == "ahead"):
        return
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.keyword):
            yield from _host_code(child)


def _launched(sources: dict[str, _Source]) -> Iterator[Kernel]:
    kernels = {(module, name) for module, source in sources.items() for name in source.kernels}
    for module, source in sources.items():
        for name in source.names:
            found = source.imports.get(name, (module, name))
            if found in kernels:
                yield found
        yield from (kernel for kernel in kernels if kernel[1] in source.indexed)
