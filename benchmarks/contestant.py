"""The process of one contestant: load, warm up, say ready, run, say done, save the answer.

Runs in the contestant's own environment, so it imports nothing but numpy and `benchmarks.peers`.
The spec (JSON) holds: ``name`` (in `benchmarks.peers.CONTESTANTS`), ``rows`` and ``lens`` (paths
of ``.npy`` files), ``dtype`` (what the rows are handed over as), ``eps``, ``min_samples``,
``n_intervals``, ``overlap``, ``threads``, and ``out`` (where the answer goes).
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

WARM_ROWS = 8000
WARM_INTERVALS = 4


def main() -> None:
    spec = json.loads(sys.argv[1])
    channel = _private_channel()
    _use_first_cpus(spec["threads"])
    from benchmarks import peers

    run = peers.CONTESTANTS[spec["name"]]
    rows = np.load(spec["rows"]).astype(spec["dtype"], copy=False)
    lens = np.load(spec["lens"])
    _warm_up(run, rows, lens, spec)
    reset = _reset_high_water()
    channel.send({"versions": peers.versions(spec["name"])})
    sys.stdin.readline()
    start = time.perf_counter()
    result = run(rows, lens, spec)
    channel.send({"wall_s": time.perf_counter() - start, "high_water_reset": reset})
    sys.stdin.readline()
    answer, said = result()
    if spec.get("out") and answer is not None:
        answer.save(Path(spec["out"]))
    channel.send(said)


class _Channel:
    def __init__(self, file_number: int) -> None:
        self.file = os.fdopen(file_number, "w")

    def send(self, message: dict) -> None:
        self.file.write(json.dumps(message) + "\n")
        self.file.flush()


def _private_channel() -> _Channel:
    """Keep the pipe for messages, and let libraries print to standard error."""
    channel = _Channel(os.dup(1))
    os.dup2(2, 1)
    return channel


def _use_first_cpus(n_threads: int) -> None:
    """Nobody gets more CPUs than threads, whatever a library starts."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[: max(1, n_threads)])


def _warm_up(run, rows: np.ndarray, lens: np.ndarray, spec: dict) -> None:
    """The same work on `WARM_ROWS` rows, so that compiling and loading is not timed."""
    chosen = np.random.default_rng(0).choice(len(rows), min(WARM_ROWS, len(rows)), replace=False)
    chosen.sort()
    small = {**spec, "n_intervals": min(spec.get("n_intervals", 1), WARM_INTERVALS)}
    result = run(rows[chosen], lens[chosen], small)
    result()
    del result
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        return


def _reset_high_water() -> bool:
    """Reset the kernel's mark of peak memory; False where that isn't allowed."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
