"""Compile every GPU kernel of a package ahead of time, and say what became of each.

    python -m benchmarks.ahead PACKAGE TARGET

A process of its own, without Triton's interpreter: what is decorated once with either stays so.
No driver is needed. Every module ``<package>.<op>.gpu`` has a function ``ahead()`` that returns a
list of entries (name, kernel, signature, constants, options):

signature   the kernel's arguments and their types ("*fp16", "i32"), "constexpr" for constants.
            "i32:16" is a number that launches know to be a multiple of 16; so are all addresses.
constants   what the "constexpr" ones are.
options     num_warps, num_stages, enable_fp_fusion and the like.

One JSON line for each entry goes to the standard output.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

TENSOR = re.compile(
    r"(?<![\w.])(wgmma\.mma_async|mma)\.sync\.aligned\.m\d+n\d+k\d+"
    r"(?:\.row\.col)?(?:\.satfinite)?\.(\w+\.\w+\.\w+)"
)
SLOW_DOUBLE = re.compile(r"\b(?:div|rcp|sqrt|rsqrt)\S*\.f64\b")
"""What the assembler makes of these has fused multiply-adds of its own."""


def gpu_modules(package: str) -> list[str]:
    """Names of the package's modules that hold kernels."""
    (folder,) = importlib.import_module(package).__path__
    return [f"{package}.{path.parent.name}.gpu" for path in sorted(Path(folder).glob("*/gpu.py"))]


def compiled(package: str, target: int) -> Iterator[dict]:
    """A record for each entry; for a module without ``ahead()`` one that says so."""
    for name in gpu_modules(package):
        module = importlib.import_module(name)
        if not hasattr(module, "ahead"):
            yield {"module": name, "target": target, "name": "", "error": "has no ahead()"}
            continue
        for entry in module.ahead():
            yield {"module": name, "target": target, **compile_entry(entry, target)}


def compile_entry(entry: tuple, target: int) -> dict:
    """Compile one entry and read the result."""
    import triton
    from triton import JITFunction
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.errors import TritonError

    name, kernel, signature, constants, options = entry
    while not isinstance(kernel, JITFunction):
        kernel = kernel.fn  # what tunes or guesses options stands around it
    record = {"name": name, "kernel": [kernel.fn.__module__, kernel.fn.__name__], "error": ""}
    if other := set(signature) ^ set(kernel.arg_names):
        return record | {"error": f"signature and arguments differ: {', '.join(sorted(other))}"}
    types, attributes = argument_types(kernel.arg_names, signature)
    source = ASTSource(kernel, types, constants, attributes)
    try:
        made = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
    except (TritonError, RuntimeError) as error:
        return record | {"error": f"does not compile: {error}"}
    fused = options.get("enable_fp_fusion", True)
    metadata = made.metadata
    return record | {
        "warps": metadata.num_warps,
        "stages": metadata.num_stages,
        "fused": fused,
        "shared_bytes": metadata.shared,
        **read_code(made.asm["ptx"], made.asm["cubin"], fused=fused),
    }


def argument_types(
    names: list[str], signature: dict[str, str]
) -> tuple[dict[str, str], dict[tuple[int], list]]:
    """Types in the kernel's own order, and which arguments are multiples of 16."""
    types = {name: signature[name].removesuffix(":16") for name in names}
    attributes = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if signature[name].startswith("*") or signature[name].endswith(":16")
    }
    return types, attributes


def read_code(ptx: str, cubin: bytes, *, fused: bool) -> dict:
    """Registers, local memory and the instructions that matter.

    The machine code is only disassembled where it can tell something: without a stack there is
    nowhere to spill to.
    """
    usage = run_tool("cuobjdump", "-res-usage", cubin)
    registers, stack = (int(re.search(rf"{key}:(\d+)", usage)[1]) for key in ("REG", "STACK"))
    tensor = Counter(f"{kind.split('.')[0]} {types}" for kind, types in TENSOR.findall(ptx))
    doubles = ptx.count("fma.rn.f64")
    spills = 0
    exact = not fused and ".f64" in ptx
    if stack or exact:
        code = run_tool("nvdisasm", "-c", cubin)
        spills = len(re.findall(r"\b(?:LDL|STL)\b", code))
        if exact and not SLOW_DOUBLE.search(ptx):
            doubles = max(doubles, len(re.findall(r"\bDFMA\b", code)))
    return {
        "registers": registers,
        "stack_bytes": stack,
        "spills": spills,
        "tensor": dict(tensor),
        "double_fma": doubles,
    }


def run_tool(name: str, option: str, cubin: bytes) -> str:
    """What one of the assembler's companions, which come with Triton, says of a binary."""
    from triton import knobs

    tool = getattr(knobs.nvidia, name).path
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True)
    return done.stdout


def main(package: str, target: str) -> None:
    output: Any = sys.stdout
    with redirect_stdout(sys.stderr):  # Triton prints what it can't compile
        for record in compiled(package, int(target)):
            print(json.dumps(record), file=output, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
