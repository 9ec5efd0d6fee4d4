"""Fit a layer of a store in a process of its own, watched from outside.

``python -m benchmarks.fit_store '{"store": ..., ...}'``: warms up on a few rows of the same store,
says ``ready``, waits for a line, fits, and prints what came out as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cases, measure

SAMPLE_SECONDS = 0.004


def make_store(case: cases.Case, cache: Path) -> Path:
    """The rows of a case as the only layer of a store; made once."""
    from topoact_gpu import create_store

    path = cache / f"{case.name}.zarr"
    if not path.exists():
        with create_store(path.with_suffix(".partial")) as store:
            rows = case.rows()
            layer = store.create_layer("layer", rows.shape[1], rows.dtype)
            for low in range(0, len(rows), 100_000):
                layer.append(rows[low : low + 100_000])
        path.with_suffix(".partial").rename(path)
    return path


def watched(spec: dict[str, Any], timeout: float = 3600.0) -> dict[str, Any]:
    """Run a fit; its answer, and the resident memory of its processes before and at most."""
    command = [sys.executable, "-m", "benchmarks.fit_store", json.dumps(spec)]
    environment = measure.thread_environment(1)
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdin
    assert child.stdout
    line = child.stdout.readline()
    if line.strip() != "ready":
        raise RuntimeError(f"the fit did not get ready: {line}")
    idle, seen = measure.tree_memory(child.pid), []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            seen.append(measure.tree_memory(child.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output, _ = child.communicate("go\n", timeout=timeout)
    finally:
        done.set()
        watcher.join()
    if child.returncode:
        raise RuntimeError(f"the fit ended with {child.returncode}")
    return json.loads(output) | {"idle_bytes": idle, "peak_bytes": max(seen, default=idle)}


def digest(graph) -> str:
    """A checksum of a graph's arrays."""
    crc = 0
    for name in ("indptr", "rows", "edges", "node_interval", "node_lens"):
        crc = zlib.crc32(np.ascontiguousarray(getattr(graph, name)).tobytes(), crc)
    return f"{crc:08x}"


def mapper_of(spec: dict[str, Any], **more: Any):
    """The estimator that a spec asks for."""
    from topoact_gpu import DBSCAN, Mapper, UniformCover

    return Mapper(
        cover=UniformCover(spec["n_intervals"], spec["overlap"]),
        clusterer=DBSCAN(spec["eps"], min_samples=spec.get("min_samples", 5)),
        memory_budget=spec.get("budget"),
        n_threads=spec.get("threads"),
        **more,
    )


def _warm_up(spec: dict[str, Any], layer) -> None:
    """Compile and load whatever the fit uses, on rows that are soon forgotten."""
    from topoact_gpu import pipeline  # noqa: F401
    from topoact_gpu.mapper import Mapper

    rows = layer.read_block(0, 3000)
    mapper_of(spec | {"n_intervals": 4, "budget": None}).fit(rows)
    import tempfile

    from topoact_gpu import create_store

    with tempfile.TemporaryDirectory() as folder:
        with create_store(Path(folder) / "a.zarr") as store:
            small = store.create_layer("layer", rows.shape[1], rows.dtype)
            small.append(rows)
        fit = mapper_of(spec | {"n_intervals": 4, "budget": "16777216"})
        assert isinstance(fit, Mapper)
        fit.fit(small)


def main() -> None:
    from topoact_gpu import open_store

    spec = json.loads(sys.argv[1])
    layer = open_store(spec["store"]).layer("layer")
    _warm_up(spec, layer)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    fitted = mapper_of(spec).fit(layer)
    seconds = time.perf_counter() - start
    graph = fitted.graph_
    answer = {
        "seconds": seconds, "digest": digest(graph), "n_nodes": graph.n_nodes,
        "n_edges": graph.n_edges, "rows": fitted.report_["implementation"]["rows"],
        "stages": {k: v["seconds"] for k, v in fitted.report_["stages"].items()},
    }  # fmt: skip
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
