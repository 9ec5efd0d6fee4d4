"""Time over the floor: ``Mapper.fit`` against the upper triangle's products at sgemm's rate.

The floor of an interval of n rows and d columns is n²/2 pairs times 2 d operations, at the rate of
a general float32 product of two different matrices with the same threads, measured before and after
each sample.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import numpy as np

from benchmarks import cases, environments, gate, measure, peers

OURS = environments.Python(sys.executable)


def floor_operations(lens: np.ndarray, n_cols: int) -> float:
    """Operations of the upper triangle of every interval of the uniform cover."""
    lower, upper = gate.naive_cover(lens, "inside", peers.N_INTERVALS, peers.OVERLAP)
    ordered = np.sort(lens)
    sizes = np.searchsorted(ordered, upper, "right") - np.searchsorted(ordered, lower, "left")
    return float((sizes.astype(np.float64) ** 2).sum() / 2 * 2 * n_cols)


def sgemm_rate(case: cases.Case, threads: int, timeout: float) -> float:
    """Operations a second of a general sgemm with this many threads, in a process of its own."""
    spec = peers.spec_of(case, peers.Entry("sgemm", "sgemm", gate.Rules()), threads, None)
    return measure.run_once(spec, timeout=timeout).said["flops_per_second"]


def entry_for(filter_name: str) -> peers.Entry:
    """Ours with a forced filter; ``auto`` forces nothing."""
    env = () if filter_name == "auto" else (("TOPOACT_FILTER", filter_name),)
    return peers.Entry(f"topoact-gpu, {filter_name}", "topoact", gate.Rules(), None, env)


def run(options) -> int:
    """``python -m benchmarks floor``: returns the number of wrong or failed combinations."""
    wrong = 0
    name = measure.run_name()
    for case_name in options.cases:
        try:
            case = cases.open_case(case_name, options.cache, options.data)
        except cases.MissingDataError as missing:
            print(f"skipped: {missing}")
            continue
        print(f"\n{case.name}: {case.shape[0]:,} x {case.shape[1]} {case.dtype}, eps {case.eps}")
        for threads in options.threads:
            for filter_name in options.filters:
                wrong += not _combination(case, filter_name, threads, name, options)
    return wrong


def _combination(case, filter_name: str, threads: int, run_name: str, options) -> bool:
    entry = entry_for(filter_name)
    operations = floor_operations(case.lens_values(), case.shape[1])
    ratios = []
    for repeat in range(options.repeats):
        before = sgemm_rate(case, threads, options.timeout)
        try:
            record = peers.one_sample(case, entry, OURS, options, threads)
        except measure.ContestantError as error:
            print(f"  {filter_name:12} {threads} threads  FAILED {error}")
            return False
        if problems := record.pop("problems"):
            print(f"  {filter_name:12} {threads} threads  WRONG, no time: {'; '.join(problems)}")
            return False
        rate = (before + sgemm_rate(case, threads, options.timeout)) / 2
        floor_s = operations / rate
        ratios.append(record["wall_s"] / floor_s)
        record |= {"run": run_name, "asked_filter": filter_name, "repeat": repeat}
        record |= {"sgemm_gflops": rate / 1e9, "floor_s": floor_s, "over_floor": ratios[-1]}
        measure.append_result(Path(options.results), "floor", record)
        print(
            f"  {filter_name:12} {threads} threads {record['wall_s']:8.2f} s, "
            f"floor {floor_s:6.2f} s at {rate / 1e9:4.0f} GFLOP/s, "
            f"ratio {ratios[-1]:.2f}, used {record['filter']}"
        )
    print(f"  {filter_name:12} {threads} threads  median ratio {statistics.median(ratios):.2f}")
    return True
