"""Everything that can be measured on one GPU, in one script; not run on one yet.

    python benchmarks/gpu.py              # on a machine with torch, Triton and a CUDA device
    TRITON_INTERPRET=1 python benchmarks/gpu.py --small    # the same steps, tiny, without one

Nothing is downloaded and no data are read: rows are made on the device, with a seed. Parts:

    tests    the suite's tests of GPU kernels, on the device
    filter   the pair filter, int8 and float16, beside torch.mm and torch._int_mm
    whole    Mapper.fit from host memory, with the time that bytes and products need beside it
    equal    the same bytes from the CPU and the GPU
    cuml     cuML's DBSCAN, where it is installed

No time is printed before the answer it belongs to was checked, where a check is to be had. Every
figure is a JSON line in ``benchmarks/results/gpu.jsonl`` with the device's name.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script from a checkout that nobody installed
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import triton  # noqa: E402

from benchmarks import measure  # noqa: E402
from topoact_gpu import DBSCAN, Mapper, UniformCover  # noqa: E402
from topoact_gpu.device import interpreted  # noqa: E402
from topoact_gpu.kernels.dbscan.schedule import in_launches, upper_tiles  # noqa: E402
from topoact_gpu.kernels.launch import torch_device  # noqa: E402
from topoact_gpu.kernels.product.accumulator import accumulator_of, product_error  # noqa: E402
from topoact_gpu.kernels.product.gpu import Shape, empty_verdicts, judge_tiles  # noqa: E402
from topoact_gpu.kernels.quantise.gpu import HALF, INT8, Packed, pack_rows  # noqa: E402
from topoact_gpu.kernels.quantise.reach import reaches  # noqa: E402

PARTS = ("tests", "filter", "whole", "equal", "cuml")
N_CLASSES = 1000
TEST_SECONDS = 150


@dataclass(frozen=True)
class Sizes:
    """What is measured; small for a test of the script itself."""

    filter_rows: int = 16_384
    filter_columns: tuple[int, ...] = (128, 512, 2048)
    whole_rows: tuple[int, ...] = (1_000_000, 10_000_000)
    equal_rows: int = 100_000
    columns: int = 512
    intervals: int = 70
    shape: Shape = field(default_factory=Shape)


SMALL = Sizes(128, (40,), (150,), 120, 24, 3, Shape(32, 4, 2))


class Report:
    """Prints a table and appends JSON lines."""

    def __init__(self, results: Path | None) -> None:
        self.results, self.run = results, measure.run_name()
        name = "Triton's interpreter" if interpreted() else torch.cuda.get_device_name()
        self.about = {"gpu": name, "torch": torch.__version__, "triton": triton.__version__}

    def add(self, part: str, line: str, **figures: Any) -> None:
        """One figure: a line for people, a record for the file."""
        print(f"{part:7} {line}", flush=True)
        if self.results is not None:
            record = {"part": part, "run": self.run, **self.about, **figures}
            measure.append_result(self.results, "gpu", record)


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; the number of those that failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="sizes for Triton's interpreter")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--no-results", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    if not interpreted() and not torch.cuda.is_available():
        parser.error("no CUDA device; set TRITON_INTERPRET=1 and give --small to run without one")
    report = Report(None if options.no_results else options.results)
    print(", ".join(f"{name} {value}" for name, value in report.about.items()))
    sizes = SMALL if options.small else Sizes()
    steps: dict[str, Callable[[Sizes, Report], bool]] = {
        "tests": run_tests, "filter": filter_rates, "whole": whole_fits, "equal": equal_bytes,
        "cuml": cuml_dbscan,
    }  # fmt: skip
    failed = [name for name in options.parts.split(",") if not _attempt(steps[name], sizes, report)]
    print(f"failed: {', '.join(failed)}" if failed else "all parts done")
    return len(failed)


def _attempt(step: Callable[[Sizes, Report], bool], sizes: Sizes, report: Report) -> bool:
    """Run a part; whatever it raises is shown, and the others still run."""
    start = time.perf_counter()
    try:
        fine = step(sizes, report)
    except Exception as error:  # noqa: BLE001 - of any kind: it is shown and counted
        print(f"{step.__name__} failed: {type(error).__name__}: {error}", flush=True)
        fine = False
    print(f"        {step.__name__}: {time.perf_counter() - start:.1f} s", flush=True)
    return fine


# Timing


def seconds_of(work: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of a warm call, the device idle before and after."""
    work()
    taken = []
    for _ in range(repeats):
        _wait()
        start = time.perf_counter()
        work()
        _wait()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _wait() -> None:
    if not interpreted():
        torch.cuda.synchronize()


def _peak_bytes() -> int:
    return 0 if interpreted() else torch.cuda.max_memory_allocated()


def _forget_peak() -> None:
    if not interpreted():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


# Data


def activations(n_rows: int, n_cols: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    """Synthetic activations on the device: rectified Gaussian classes of lognormal scales.

    The recipe of `benchmarks.cases.make_synthetic`, drawn by the device's generator.
    """
    device = torch_device()
    generator = torch.Generator(device).manual_seed(0)
    scale = torch.exp(0.35 * torch.randn(N_CLASSES, 1, device=device, generator=generator))
    centres = torch.randn(N_CLASSES, n_cols, device=device, generator=generator).relu() * scale
    out = torch.empty((n_rows, n_cols), dtype=dtype, device=device)
    for low in range(0, n_rows, 100_000):
        own = out[low : low + 100_000]
        label = torch.randint(0, N_CLASSES, (len(own),), device=device, generator=generator)
        noise = torch.randn(own.shape, device=device, generator=generator)
        own.copy_((centres[label] + 0.25 * scale[label] * noise).relu())
    return out


def usual_eps(x: torch.Tensor, neighbour: int = 5) -> float:
    """1.1 times the median distance to the 5th neighbour within 2,000 rows."""
    sample = x[:: max(len(x) // 2000, 1)][:2000].to(torch.float64)
    apart = torch.cdist(sample, sample)
    fifth = apart.kthvalue(min(neighbour + 1, len(sample)), dim=1).values
    return round(1.1 * float(fifth.median()), 4)


# Parts


def run_tests(sizes: Sizes, report: Report) -> bool:
    """The tests of GPU kernels; on a device they run there."""
    if interpreted():
        print("        (the interpreter's tests are part of the suite)")
        return True
    files = sorted(str(path) for path in (ROOT / "tests").glob("test_*gpu*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-W", "default", *files]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TEST_SECONDS
        )
    except subprocess.TimeoutExpired:
        report.add("tests", f"not done in {TEST_SECONDS} s", seconds=TEST_SECONDS, passed=False)
        return False
    tail = "\n".join(done.stdout.splitlines()[-25:])
    if done.returncode:
        print(tail)
    report.add("tests", tail.splitlines()[-1] if tail else "", passed=done.returncode == 0)
    return done.returncode == 0


def filter_rates(sizes: Sizes, report: Report) -> bool:
    """Operations a second of the pair filter, and of torch's products of the same shapes."""
    right = True
    for n_cols in sizes.filter_columns:
        x = activations(sizes.filter_rows, n_cols)
        eps = usual_eps(x)
        rates = _torch_rates(x)
        for kind in (INT8, HALF):
            right &= _filter_rate(kind, x, eps, rates, sizes.shape, report)
        for name, rate in rates.items():
            report.add(
                "filter", f"{name:12} d {n_cols:5}: {rate / 1e12:8.1f} TFLOP/s", kind=name,
                n_cols=n_cols, n_rows=len(x), tflops=rate / 1e12,
            )  # fmt: skip
    return right


def _torch_rates(x: torch.Tensor) -> dict[str, float]:
    """Operations a second of torch's own products of all rows with all rows."""
    operations = 2.0 * len(x) ** 2 * x.shape[1]
    half = x.to(torch.float16)
    rates = {"torch.mm": operations / seconds_of(lambda: half @ half.T)}
    if not interpreted():
        whole = torch.randint(-127, 128, x.shape, dtype=torch.int8, device=x.device)
        rates["torch._int_mm"] = operations / seconds_of(lambda: torch._int_mm(whole, whole.T))
    return rates


def _packed(kind: str, x: torch.Tensor, eps: float, block: int) -> Packed | None:
    """Rows as the filter wants them; None where this device's float16 products prove nothing."""
    n, n_cols = x.shape
    unit = 2.0 ** -np.ceil(np.log2(float(x.abs().max())))
    wide = x.to(torch.float64)
    reach = torch.tensor(reaches(eps, eps * eps, unit, n_cols), dtype=torch.float64)
    error = 0.0
    if kind == HALF:
        capability = None if interpreted() else torch.cuda.get_device_capability()
        accumulator = accumulator_of(capability)
        if accumulator is None:
            return None
        error = product_error(n_cols, accumulator)
    return pack_rows(
        kind, x, torch.arange(n, device=x.device), mean=(wide * unit).mean(0),
        unit=torch.tensor([unit], dtype=torch.float64, device=x.device), norms=None,
        reach=reach[:, None].expand(2, n).contiguous().to(x.device), block=block,
        product_error=error,
    )  # fmt: skip


def _filter_rate(
    kind: str, x: torch.Tensor, eps: float, rates: dict[str, float], shape: Shape, report: Report
) -> bool:
    packed = _packed(kind, x, eps, shape.block)
    if packed is None:
        report.add("filter", f"{kind}: this device's accumulator is not documented", kind=kind)
        return True
    n_blocks = len(x) // shape.block
    (tiles,) = in_launches(upper_tiles(0, n_blocks), n_blocks * (n_blocks + 1) // 2)
    launch = torch.from_numpy(tiles).to(x.device)
    verdicts = empty_verdicts(len(launch), shape, x.device)
    none = torch.full((n_blocks,), -1, dtype=torch.int32, device=x.device)

    def judge() -> Any:
        return judge_tiles(verdicts, packed, launch, none, n_cols=x.shape[1])

    judged = judge()
    n_wrong = _wrong_verdicts(x, eps, judged.table, judged.kept, shape.block)
    if n_wrong:
        report.add("filter", f"{kind} WRONG: {n_wrong:,} verdicts", kind=kind, n_wrong=n_wrong)
        return False
    n_pairs = len(launch) * shape.block**2
    open_share = float((judged.table == 2).sum()) / n_pairs
    kept = len(judged.table) / len(launch)
    rate = 2.0 * n_pairs * x.shape[1] / seconds_of(judge)
    report.add(
        "filter",
        f"{kind:12} d {x.shape[1]:5}: {rate / 1e12:8.1f} TFLOP/s, "
        f"{rate / rates['torch.mm']:.0%} of torch.mm; {open_share:.2e} of the pairs undecided, "
        f"{kept:.0%} of the tiles kept",
        kind=kind, n_cols=x.shape[1], n_rows=len(x), tflops=rate / 1e12,
        of_torch_mm=rate / rates["torch.mm"], undecided=open_share, tiles_kept=kept,
    )  # fmt: skip
    return True


def _wrong_verdicts(
    x: torch.Tensor, eps: float, table: torch.Tensor, kept: torch.Tensor, block: int
) -> int:
    """Verdicts that float64 distances contradict, in up to 64 tiles; ties count for neither."""
    n_wrong = 0
    for tile in range(0, len(table), max(len(table) // 64, 1)):
        i, j = (int(b) * block for b in kept[tile])
        left, right = (x[at : at + block].to(torch.float64) for at in (i, j))
        apart = (left[:, None] - right[None]).square().sum(2).sqrt()
        above = torch.ones(block, block, dtype=torch.bool, device=x.device)
        above = above if i != j else above.triu(1)
        verdict = table[tile]
        n_wrong += int(((verdict == 1) & (apart > eps * (1 + 1e-12)) & above).sum())
        n_wrong += int(((verdict == 0) & (apart < eps * (1 - 1e-12)) & above).sum())
    return n_wrong


def _mapper(sizes: Sizes, eps: float, device: str) -> Mapper:
    return Mapper(
        "l2norm", cover=UniformCover(sizes.intervals, 0.3), clusterer=DBSCAN(eps), device=device
    )


def whole_fits(sizes: Sizes, report: Report) -> bool:
    """Mapper.fit of float16 rows in host memory, and what bytes and products alone need."""
    for n_rows in sizes.whole_rows:
        made = activations(n_rows, sizes.columns)
        eps = usual_eps(made)
        X = made.cpu().numpy()
        del made
        _forget_peak()
        mapper = _mapper(sizes, eps, "cuda")
        if n_rows <= 2_000_000:
            mapper.fit(X)  # compiles what is not compiled yet
        start = time.perf_counter()
        mapper.fit(X)
        taken = time.perf_counter() - start
        clustering = mapper.report_["clustering"]
        floor = _floor(X, clustering["pairs_total"])
        records = mapper.report_["stages"].items()
        stages = {name: round(record["seconds"], 3) for name, record in records}
        report.add(
            "whole",
            f"{n_rows:,} x {sizes.columns}: {taken:.3f} s (floor: {floor['bytes_s']:.3f} s of "
            f"bytes, {floor['products_s']:.3f} s of products), peak {_peak_bytes() / 1e9:.1f} GB, "
            f"{mapper.graph_.n_nodes:,} nodes; {stages}",
            n_rows=n_rows, n_cols=sizes.columns, seconds=taken, eps=eps, stages=stages, **floor,
            peak_bytes=_peak_bytes(), n_nodes=mapper.graph_.n_nodes, clustering=clustering,
            implementation=mapper.report_["implementation"],
        )  # fmt: skip
    return True


def _floor(X: np.ndarray, n_pairs: int) -> dict[str, float]:
    """Seconds that sending the rows and multiplying all pairs take at the rates of this device."""
    if interpreted():
        return {"bytes_s": 0.0, "products_s": 0.0}
    pinned = torch.empty(2**28, dtype=torch.uint8, pin_memory=True)
    target = torch.empty_like(pinned, device=torch_device())
    per_byte = seconds_of(lambda: target.copy_(pinned, non_blocking=True)) / len(pinned)
    square = torch.randn(8192, 8192, dtype=torch.float16, device=torch_device())
    rate = 2.0 * 8192**3 / seconds_of(lambda: square @ square)
    products_s = 2.0 * n_pairs * X.shape[1] / rate
    return {"bytes_s": X.nbytes * per_byte, "products_s": products_s, "mm_tflops": rate / 1e12}


def equal_bytes(sizes: Sizes, report: Report) -> bool:
    """The same graph, byte for byte, from the CPU and the GPU."""
    made = activations(sizes.equal_rows, sizes.columns)
    eps, X = usual_eps(made), made.cpu().numpy()
    seconds, graphs = {}, {}
    for device in ("cpu", "cuda"):
        mapper = _mapper(sizes, eps, device).fit(X)
        start = time.perf_counter()
        mapper.fit(X)
        seconds[device], graphs[device] = time.perf_counter() - start, mapper
    equal = _same(graphs["cpu"], graphs["cuda"])
    report.add(
        "equal",
        f"{len(X):,} x {X.shape[1]}: {'equal bytes' if equal else 'DIFFERENT'}; "
        f"CPU {seconds['cpu']:.3f} s, GPU {seconds['cuda']:.3f} s",
        n_rows=len(X), n_cols=X.shape[1], equal=equal, seconds=seconds,
    )  # fmt: skip
    return equal


def _same(one: Mapper, other: Mapper) -> bool:
    """Whether lens values and graphs are the same bytes."""
    pairs = [(one.lens_values_, other.lens_values_)]
    for name in ("indptr", "rows", "edges", "node_interval"):
        pairs.append((getattr(one.graph_, name), getattr(other.graph_, name)))
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def cuml_dbscan(sizes: Sizes, report: Report) -> bool:
    """cuML's DBSCAN and ours on the same float32 rows."""
    if interpreted() or importlib.util.find_spec("cuml") is None:
        report.add("cuml", "not installed", installed=False)
        return True
    from cuml.cluster import DBSCAN as Other

    x = activations(sizes.equal_rows, sizes.columns, torch.float32)
    eps, X = usual_eps(x), x.cpu().numpy()
    theirs = seconds_of(lambda: Other(eps=eps, min_samples=5).fit(x), 2)
    ours = seconds_of(lambda: DBSCAN(eps, device="cuda").fit(X), 2)
    report.add(
        "cuml", f"{len(X):,} x {X.shape[1]}: cuML {theirs:.3f} s, ours {ours:.3f} s",
        n_rows=len(X), n_cols=X.shape[1], seconds={"cuml": theirs, "ours": ours},
    )  # fmt: skip
    return True


if __name__ == "__main__":
    raise SystemExit(main())
