"""Memory above a warmed-up process that holds the input, with one interval of everything.

The promise is at most 64 + 8 · min_samples bytes a row + 300 MB, at any number of rows and any eps:
nobody within eps, a usual one, everybody within eps.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

from benchmarks import cases, gate, measure, peers

N_COLS = 64
# Naive neighbour lists of more rows than this would fill the memory of a small machine.
CHECKED_ROWS = 60_000


def limit_bytes(n_rows: int, min_samples: int) -> int:
    """The promise."""
    return (64 + 8 * min_samples) * n_rows + 300_000_000


def run(options) -> int:
    """``python -m benchmarks memory``: returns how often the promise or the answer was broken."""
    broken = 0
    name = measure.run_name()
    for n_rows in options.rows:
        case = cases.open_case(f"synthetic-{n_rows}x{N_COLS}", options.cache, options.data)
        for kind, eps in (("nobody", 1e-3), ("usual", case.eps), ("everybody", 1e6)):
            broken += not _measured(dataclasses.replace(case, eps=eps), kind, name, options)
    return broken


def _measured(case: cases.Case, kind: str, run_name: str, options) -> bool:
    out = Path(options.cache) / f"answer-{measure.run_name()}.npz"
    spec = peers.spec_of(case, peers.ENTRIES["topoact"], options.threads, out)
    spec |= {"n_intervals": 1, "overlap": 0.0}
    try:
        sample = measure.run_contestant(spec, timeout=options.timeout)
        answer = gate.Answer.load(out)
    finally:
        out.unlink(missing_ok=True)
    title = f"{case.shape[0]:,} rows, {kind} within eps"
    if problems := _problems(answer, case, kind):
        print(f"  {title}: WRONG: {'; '.join(problems)}")
        return False
    limit = limit_bytes(case.shape[0], peers.MIN_SAMPLES)
    beyond = sample.beyond_input_bytes
    record = peers.describe(sample, answer, case, spec)
    record |= {"run": run_name, "kind": kind, "limit_bytes": limit}
    measure.append_result(Path(options.results), "memory", record)
    verdict = "within" if beyond <= limit else "ABOVE"
    print(f"  {title}: {beyond / 1e6:,.0f} MB, {verdict} the limit of {limit / 1e6:,.0f} MB")
    sys.stdout.flush()
    return beyond <= limit


def _problems(answer: gate.Answer, case: cases.Case, kind: str) -> list[str]:
    """Nobody: no node. Everybody: one node of all rows. Usual: scikit-learn, where it can."""
    n_rows = case.shape[0]
    if kind == "nobody":
        return ["there are nodes"] if answer.n_nodes else []
    if kind == "everybody":
        whole = answer.n_nodes == 1 and np.array_equal(answer.rows, np.arange(n_rows))
        return [] if whole else ["not one node of all rows"]
    if n_rows > CHECKED_ROWS:
        return []
    lens = case.lens_values()
    ends = gate.naive_cover(lens, "inside", 1, 0.0)
    ref = gate.reference(
        case.rows(), lens, ends, eps=case.eps, min_samples=peers.MIN_SAMPLES, n_jobs=2
    )
    return gate.compare_exactly(answer, ref, lens)
