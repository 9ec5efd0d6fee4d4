"""Every GPU kernel compiles ahead of time for two chips, and to what it has to be.

No driver is needed. The checks are tried on a package made here, whose kernels are as they should
not be.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("triton")

from benchmarks import __main__ as command
from benchmarks import measure, registers, table
from benchmarks.launches import launched_kernels

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton has wheels for Linux only")
FOLDER = measure.ROOT / "kernels"

TILES = """
import triton
import triton.language as tl

@triton.jit
def multiply(left, right, out, n, d, SIDE: tl.constexpr, STEP: tl.constexpr, SUM: tl.constexpr):
    i = tl.program_id(0) * SIDE + tl.arange(0, SIDE)
    j = tl.program_id(1) * SIDE + tl.arange(0, SIDE)
    k = tl.arange(0, STEP)
    total = tl.zeros((SIDE, SIDE), SUM)
    for low in range(0, d, STEP):
        a = tl.load(left + i[:, None] * d + low + k[None])
        b = tl.load(right + j[None] * d + low + k[:, None])
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=SUM)
    tl.store(out + i[:, None] * n + j[None], total)

@triton.jit
def add_squares(x, out, d):
    at = tl.program_id(0) * 32 + tl.arange(0, 32)
    total = tl.zeros((32,), tl.float64)
    for k in range(d):
        step = tl.load(x + at * d + k).to(tl.float64)
        total = total + step * step
    tl.store(out + at, total)

def entry(name, dtype, sum_, side=64, **options):
    constants = {"SIDE": side, "STEP": 64, "SUM": sum_}
    types = dict.fromkeys(constants, "constexpr") | {"n": "i32", "d": "i32:16"}
    types |= {"out": "*i32" if sum_ == tl.int32 else "*fp32", "left": dtype, "right": dtype}
    return name, multiply, types, constants, options

def squares(**options):
    return "squares", add_squares, {"x": "*fp32", "out": "*fp64", "d": "i32"}, {}, options

def launch():
    multiply[(1, 1)](None)
    return add_squares[(1,)]
"""
GOOD = """
def ahead():
    return [entry("tile int8", "*i8", tl.int32), entry("tile half", "*fp16", tl.float32),
            squares(enable_fp_fusion=False)]
"""
BAD = """
@triton.jit
def fused(x, out, d):
    at = tl.arange(0, 32)
    step = tl.load(x + at)
    tl.store(out + at, tl.fma(step, step, step))

@triton.jit
def wrong(x, out, d):
    tl.store(out, tl.dot(tl.load(x), d))

@triton.jit
def forgotten(x):
    tl.store(x, 1)

def launch_more():
    forgotten[(1,)](None)

def ahead():
    types = {"x": "*fp64", "out": "*fp64", "d": "i32"}
    return [
        entry("tile half, few registers", "*fp16", tl.float32, side=128, maxnreg=128),
        entry("tile half of float32", "*fp32", tl.float32),
        ("fused", fused, types, {}, {"enable_fp_fusion": False}),
        ("wrong", wrong, types, {}, {}),
        ("short", wrong, {"x": "*fp64"}, {}, {}),
        squares(),
    ]
"""


def test_every_kernel_compiles_to_what_it_must_be():
    records = registers.compile_package()
    assert registers.all_faults(records) == []
    reported = {(record["module"].split(".")[-2], record["target"]) for record in records}
    modules = FOLDER.glob("*/gpu.py")  # some only call others' kernels
    there = {path.parent.name for path in modules if "@triton.jit" in path.read_text("utf-8")}
    assert reported == {(op, target) for op in there for target in registers.TARGETS}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Records of the package made here, by operation and entry, for sm_90; and its faults."""
    path = tmp_path_factory.mktemp("made")
    for op, text in {"good": TILES + GOOD, "bad": TILES + BAD, "none": "x = 1\n"}.items():
        folder = path / "made_kernels" / op
        folder.mkdir(parents=True)
        (folder / "gpu.py").write_text(text)
        (folder / "__init__.py").touch()
    (path / "made_kernels" / "__init__.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(path / "cache"))
        patch.setenv("TRITON_INTERPRET", "1")  # must not reach the compiling process
        records = registers.compile_package("made_kernels", path=path)
    by_name = {
        (record["target"], record["module"].split(".")[1], record["name"]): record
        for record in records
    }
    return SimpleNamespace(
        records=by_name, faults=registers.all_faults(records, "made_kernels", path)
    )


@pytest.mark.parametrize(("target", "instruction"), [(80, "mma"), (90, "wgmma")])
def test_good_kernels_pass(compiled, target, instruction):
    whole, half, squares = (
        compiled.records[target, "good", name] for name in ("tile int8", "tile half", "squares")
    )
    assert list(whole["tensor"]) == [f"{instruction} s32.s8.s8"]
    assert list(half["tensor"]) == [f"{instruction} f32.f16.f16"]
    for record in (whole, half, squares):
        assert registers.faults(record) == []
        assert 16 <= record["registers"] <= 255
        assert record["stack_bytes"] == record["spills"] == 0
    assert 2 * 64 * 64 <= whole["shared_bytes"] < half["shared_bytes"]
    assert (squares["double_fma"], squares["tensor"], squares["warps"]) == (0, {}, 4)


@pytest.mark.parametrize("target", registers.TARGETS)
def test_bad_kernels_are_seen(compiled, target):
    def faults(name):
        return ";".join(registers.faults(compiled.records[target, "bad", name]))

    assert faults("tile half, few registers").startswith("spills: ")
    assert "a tile without " in faults("tile half of float32")
    assert "fused multiply-adds of float64" in faults("fused")
    assert faults("wrong").startswith("does not compile: ")
    assert faults("short") == "signature and arguments differ: d, out"
    assert faults("squares") == ""  # may fuse, and does
    assert compiled.records[target, "bad", "squares"]["double_fma"] > 0
    assert registers.faults(compiled.records[target, "none", ""]) == ["has no ahead()"]


def test_all_faults_are_listed(compiled):
    assert "made_kernels.none.gpu:  (sm_80): has no ahead()" in compiled.faults
    forgotten = [fault for fault in compiled.faults if "is launched" in fault]
    assert forgotten == [
        "made_kernels.bad.gpu: forgotten is launched, but ahead() does not list it"
    ]
    assert not any("good" in fault for fault in compiled.faults)


RECORD = {
    "module": "topoact_gpu.kernels.pairs.gpu", "name": "tile int8", "target": 90, "error": "",
    "kernel": ["topoact_gpu.kernels.pairs.gpu", "scan"], "registers": 120, "stack_bytes": 0,
    "spills": 0, "shared_bytes": 2**16, "warps": 8, "stages": 3, "fused": True, "double_fma": 0,
    "tensor": {"wgmma s32.s8.s8": 4},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"shared_bytes": 227 * 1024}, ""),
        ({"shared_bytes": 227 * 1024 + 1}, "232,449 bytes of shared memory"),
        (
            {"shared_bytes": 163 * 1024 + 1, "target": 80, "name": "pack"},
            "166,913 bytes of shared memory",
        ),
        ({"tensor": {"mma s32.s8.s8": 4}}, "a tile without wgmma s32.s8.s8"),
        ({"tensor": {"wgmma f32.f16.f16": 4}}, "a tile without wgmma s32.s8.s8"),
        ({"tensor": {"wgmma f32.f16.f16": 4}, "name": "tile half"}, ""),
        ({"tensor": {"wgmma f32.f16.f16": 4}, "name": "a tile"}, ""),
        ({"tensor": {}, "name": "a tile"}, "a tile without wgmma s32.s8.s8 or f32.f16.f16"),
        ({"tensor": {}, "name": "pack"}, ""),
        ({"tensor": {"wgmma f16.f16.f16": 4}, "name": "pack"}, "adds up in float16"),
        ({"double_fma": 2}, ""),
        ({"double_fma": 2, "fused": False}, "2 fused multiply-adds"),
        ({"spills": 3}, "spills: 3"),
        ({"error": "has no ahead()"}, "has no ahead()"),
    ],
)
def test_one_fault_at_a_time(change, fault):
    found = registers.faults(RECORD | change)
    assert len(found) == bool(fault)
    assert "".join(found).startswith(fault)


def test_launches_are_found_in_the_sources(tmp_path):
    kernels = (
        "import triton\n@triton.jit\ndef scan(x):\n    helper(x)\n"
        "@triton.jit(debug=True)\ndef helper(x):\n    pass\n"
        "@triton.autotune([])\n@jit\ndef tuned(x):\n    pass\n"
        "@njit\ndef compiled(x):\n    pass\n"
    )
    hosts = {
        "from .gpu import scan as s\ndef f():\n    s[(1,)](0)": {"scan"},
        "from made.op.gpu import tuned\nrun = {'tuned': tuned}": {"tuned"},
        "from made.op import gpu\ngpu.helper[(1,)](0)": {"helper"},
        "from .gpu import scan, helper\nscan[(1,)](0, COMBINE=helper)": {"scan"},
        "from .gpu import scan\ndef ahead():\n    return [scan]": set(),
        "from .gpu import scan\n@triton.jit\ndef more(x):\n    scan(x)": set(),
        "from .gpu import compiled\ncompiled(0)\n'a'.scan()": set(),
    }
    (tmp_path / "op").mkdir()
    (tmp_path / "op" / "gpu.py").write_text(kernels)
    for text, names in hosts.items():
        (tmp_path / "op" / "host.py").write_text(text)
        assert launched_kernels(tmp_path, "made") == {("made.op.gpu", name) for name in names}


def test_the_command_writes_lines_and_a_table(tmp_path, monkeypatch, capsys):
    other = RECORD | {"target": 80, "registers": 98, "tensor": {"mma s32.s8.s8": 8}}
    monkeypatch.setattr(registers, "compile_package", lambda **_: [other, RECORD])
    monkeypatch.setattr(registers, "launched_kernels", lambda *_: {tuple(RECORD["kernel"])})
    arguments = ["--results", str(tmp_path)]
    assert command.main(["registers", *arguments]) == 0
    shown = capsys.readouterr().out
    row = "| pairs: tile int8 | 98 / 120 | 0 / 0 | 64 / 64 | 8 | mma s32.s8.s8 / wgmma s32.s8.s8 |"
    assert row in shown
    (line, _) = (tmp_path / "registers.jsonl").read_text().splitlines()
    assert json.loads(line)["case"] == "pairs: tile int8 (sm_80)"
    assert set(json.loads(line)["versions"]) == {"triton"}
    own = tmp_path / "own.md"
    own.write_text("# Benchmarks\n")
    arguments += ["--readme", str(tmp_path / "README.md"), "--own-readme", str(own)]
    assert command.main(["table", *arguments]) == 0
    assert row in own.read_text()
    assert row not in (tmp_path / "README.md").read_text()
    monkeypatch.setattr(registers, "launched_kernels", lambda *_: {("a", "b")})
    assert command.main(["registers", "--results", str(tmp_path / "other")]) == 1
    assert "a: b is launched, but ahead() does not list it" in capsys.readouterr().out


def test_only_the_newest_run_is_shown():
    about = {"machine": {"commit": "abc", "modified": True}, "versions": {"triton": "3.7.1"}}
    old = RECORD | about | {"run": "1", "name": "gone"}
    text = table.registers([old, RECORD | about | {"run": "2"}])
    assert "gone" not in text
    assert "Compiled, not run: triton 3.7.1, commit abc with changes." in text
    assert table.registers([]) == ""


def test_a_process_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="No module named 'no_such_package'"):
        registers.compile_package("no_such_package", (90,), tmp_path)
    with pytest.raises(ValueError, match="no package"):
        registers.package_folder("no_such_package", tmp_path)
