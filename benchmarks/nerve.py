"""The nerve alone: millions of memberships to edges, checked against a sparse product."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from benchmarks import gate, measure

N_INTERVALS = 70


def memberships(n_memberships: int, n_nodes: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Clusters of a chain of intervals: each row in one node, nine in ten in one of the next too.

    Returns
    -------
    indptr : int64[n_nodes + 1]
    rows : int64[about n_memberships]
    n_rows : int
    """
    rng = np.random.default_rng(0)
    n_rows = round(n_memberships / 1.9)
    a_interval = n_nodes // N_INTERVALS
    interval = np.arange(n_rows) * (N_INTERVALS - 1) // n_rows
    first = interval * a_interval + rng.integers(0, a_interval, n_rows)
    second = (interval + 1) * a_interval + rng.integers(0, a_interval, n_rows)
    both = np.flatnonzero(rng.random(n_rows) < 0.9)
    nodes = np.concatenate([first, second[both]])
    rows = np.concatenate([np.arange(n_rows), both])
    rows = rows[np.lexsort((rows, nodes))]
    counts = np.bincount(nodes, minlength=N_INTERVALS * a_interval)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), rows.astype(np.int64), n_rows


def run(options) -> int:
    """``python -m benchmarks nerve``: returns the number of wrong cases."""
    # Before anything that starts threads is imported.
    os.environ.update(dict.fromkeys(measure.THREAD_VARIABLES, str(options.threads)))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    name = measure.run_name()
    wrong = 0
    for n_nodes in (4_900, 100_100):
        made = memberships(options.memberships, n_nodes)
        wrong += not _case(made, name, options)
    return wrong


def _case(made: tuple[np.ndarray, np.ndarray, int], run_name: str, options) -> bool:
    from topoact_gpu.nerve import nerve

    indptr, rows, n_rows = made
    n_nodes = len(indptr) - 1
    nerve(*memberships(10_000, 140), n_threads=options.threads)
    first = nerve(indptr, rows, n_rows, n_threads=options.threads)
    if not np.array_equal(first.edges, gate.naive_nerve(indptr, rows)):
        print(f"  {n_nodes:,} nodes: WRONG, no time")
        return False
    seconds = []
    for repeat in range(options.repeats):
        start = time.perf_counter()
        found = nerve(indptr, rows, n_rows, n_threads=options.threads)
        seconds.append(time.perf_counter() - start)
        record = {
            "run": run_name, "repeat": repeat, "threads": options.threads, "nodes": n_nodes,
            "memberships": len(rows), "edges": len(found.edges), "wall_s": seconds[-1],
            "machine": measure.machine(),
        }  # fmt: skip
        measure.append_result(Path(options.results), "nerve", record)
    middle, low, high = measure.spread(seconds)
    print(
        f"  {len(rows):,} memberships of {n_nodes:,} nodes: {len(found.edges):,} edges in "
        f"{middle:.3f} s ({low:.3f} to {high:.3f})"
    )
    return True
