"""Registers, memory and instructions of the GPU kernels, compiled ahead of time.

Each kernel is held to what it must be: nothing spilled, shared memory that the chip has, tensor
cores where a tile is multiplied, float64 sums without fused multiply-adds where it says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks import measure, table
from benchmarks.launches import launched_kernels

PACKAGE = "topoact_gpu.kernels"
TARGETS = (80, 90)
SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}
INSTRUCTION = {80: "mma", 90: "wgmma"}
SUMS = {"int8": "s32.s8.s8", "half": "f32.f16.f16"}


def compile_package(
    package: str = PACKAGE, targets: Iterable[int] = TARGETS, path: Path = measure.ROOT
) -> list[dict]:
    """Records of all entries for all targets (see `benchmarks.ahead`), a process for each target.

    Parameters
    ----------
    package : str
        Found from ``path``, or installed.
    """
    variables = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    variables["PYTHONPATH"] = os.pathsep.join(map(str, dict.fromkeys([path, measure.ROOT])))
    words = [sys.executable, "-P", "-m", "benchmarks.ahead", package]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen([*words, str(target)], env=variables, **pipes))
            for target in targets
        ]
        said = [child.communicate() for child in children]
    for child, (_, errors) in zip(children, said, strict=True):
        if child.returncode:
            raise RuntimeError(f"compiling {package} ended with {child.returncode}: {errors}")
    return [json.loads(line) for output, _ in said for line in output.splitlines()]


def faults(record: dict) -> list[str]:
    """What is wrong with a compiled kernel, in words."""
    if record["error"]:
        return [record["error"]]
    found, target, tensor = [], record["target"], record["tensor"]
    if record["spills"]:
        found.append(f"spills: {record['spills']} loads and stores of local memory")
    if record["shared_bytes"] > SHARED_BYTES[target]:
        found.append(
            f"{record['shared_bytes']:,} bytes of shared memory, the chip has "
            f"{SHARED_BYTES[target]:,}"
        )
    if "tile" in record["name"]:
        wanted = [sums for kind, sums in SUMS.items() if kind in record["name"]] or [*SUMS.values()]
        if not any(f"{INSTRUCTION[target]} {sums}" in tensor for sums in wanted):
            found.append(f"a tile without {INSTRUCTION[target]} {' or '.join(wanted)}: {tensor}")
    if any(" f16." in instruction for instruction in tensor):
        found.append("adds up in float16")
    if not record["fused"] and record["double_fma"]:
        found.append(f"{record['double_fma']} fused multiply-adds of float64")
    return found


def all_faults(records: list[dict], package: str = PACKAGE, path: Path = measure.ROOT) -> list[str]:
    """Faults of all kernels, and kernels that are launched but listed nowhere."""
    found = [
        f"{record['module']}: {record['name']} (sm_{record['target']}): {fault}"
        for record in records
        for fault in faults(record)
    ]
    listed = {tuple(record["kernel"]) for record in records if "kernel" in record}
    launched = launched_kernels(package_folder(package, path), package)
    return found + [
        f"{module}: {name} is launched, but ahead() does not list it"
        for module, name in sorted(launched - listed)
    ]


def package_folder(package: str, path: Path = measure.ROOT) -> Path:
    """Where a package's sources are."""
    there = path.joinpath(*package.split("."))
    if there.is_dir():
        return there.resolve()
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"no package {package} in {path}, nor is one installed")
    return Path(spec.submodule_search_locations[0])


def run(options) -> int:
    """``python -m benchmarks registers``: returns how many faults there are."""
    records = compile_package(targets=options.targets)
    about = {"run": measure.run_name(), "machine": measure.machine()}
    about["versions"] = {"triton": version("triton")}
    lines = []
    for record in records:
        if not record["error"]:
            case = f"{record['module'].split('.')[-2]}: {record['name']}"
            lines.append(about | {"case": f"{case} (sm_{record['target']})"} | record)
            measure.append_result(options.results, "registers", lines[-1])
    print(table.registers(lines))
    wrong = all_faults(records)
    print("\n".join(wrong) or "nothing is wrong with any of them")
    return len(wrong)
