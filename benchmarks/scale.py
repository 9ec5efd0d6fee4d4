"""One million rows of 256 columns: wall time, memory, and the floor.

A naive graph of a million rows would take scikit-learn tens of minutes, so some intervals, the
largest among them, are compared bit for bit and the rest of the graph by its laws; ``--checked-
intervals 0`` compares all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks import cases, floor, gate, measure, peers


def run(options) -> int:
    """``python -m benchmarks scale``: returns 1 when the answer is wrong."""
    case = cases.open_case(options.case, options.cache, options.data)
    lens = case.lens_values()
    chosen, ref = _reference(case, lens, options)
    print(
        f"{case.name}: {case.shape[0]:,} x {case.shape[1]} {case.dtype}, eps {case.eps}; "
        f"{len(chosen)} intervals are checked bit for bit"
    )
    operations = floor.floor_operations(lens, case.shape[1])
    name = measure.run_name()
    for repeat in range(options.repeats):
        before = floor.sgemm_rate(case, options.threads, options.timeout)
        sample, answer = _sample(case, options)
        if problems := gate.compare_intervals(answer, ref, chosen, lens):
            print(f"  WRONG, no time: {'; '.join(problems)}")
            return 1
        rate = (before + floor.sgemm_rate(case, options.threads, options.timeout)) / 2
        record = peers.describe(sample, answer, case, _spec(case, options, None))
        record |= {"run": name, "repeat": repeat, "checked_intervals": chosen}
        record |= {"sgemm_gflops": rate / 1e9, "floor_s": operations / rate}
        measure.append_result(Path(options.results), "scale", record)
        print(
            f"  {record['wall_s']:.1f} s wall, {record['cpu_s']:.1f} s CPU, "
            f"{record['beyond_input_bytes'] / 1e6:,.0f} MB beyond the input, "
            f"floor {record['floor_s']:.1f} s at {rate / 1e9:.0f} GFLOP/s, "
            f"{record['nodes']:,} nodes, {record['edges']:,} edges, filter {record['filter']}"
        )
    return 0


def _spec(case: cases.Case, options, out: Path | None) -> dict:
    return peers.spec_of(case, peers.ENTRIES["topoact"], options.threads, out)


def _sample(case: cases.Case, options) -> tuple[measure.Sample, gate.Answer]:
    out = Path(options.cache) / f"answer-{measure.run_name()}.npz"
    try:
        sample = measure.run_contestant(_spec(case, options, out), timeout=options.timeout)
        return sample, gate.Answer.load(out)
    finally:
        out.unlink(missing_ok=True)


def _reference(case: cases.Case, lens: np.ndarray, options) -> tuple[list[int], gate.Reference]:
    """Naive labels of the largest interval and of others drawn with seed 0; kept in the cache."""
    ends = gate.naive_cover(lens, "inside", peers.N_INTERVALS, peers.OVERLAP)
    ordered = np.sort(lens)
    sizes = np.searchsorted(ordered, ends[1], "right") - np.searchsorted(ordered, ends[0], "left")
    chosen = list(range(peers.N_INTERVALS))
    if options.checked_intervals:
        others = np.random.default_rng(0).permutation(np.flatnonzero(sizes))
        drawn = [int(np.argmax(sizes)), *map(int, others)]
        chosen = sorted(list(dict.fromkeys(drawn))[: options.checked_intervals])
    folder = Path(options.cache) / "references"
    folder.mkdir(parents=True, exist_ok=True)
    key = "-".join(map(str, chosen)) if options.checked_intervals else "all"
    path = folder / f"{case.name}-inside-{case.eps}-of-{key}-v2.npz"
    if not path.exists():
        print("  (checking needs naive intervals: scikit-learn, minutes)", file=sys.stderr)
        ref = gate.reference(
            case.rows(), lens, ends, eps=case.eps, min_samples=peers.MIN_SAMPLES,
            n_jobs=options.threads, only=set(chosen),
        )  # fmt: skip
        part = path.with_suffix(".part.npz")
        ref.save(part)
        part.replace(path)
    return chosen, gate.Reference.load(path)
