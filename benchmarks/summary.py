"""Summaries and features: classes of every node and edge, checked against sparse products."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.nerve import N_INTERVALS, memberships

MEMBERSHIPS_A_ROW = 1.9


def run(options) -> int:
    """``python -m benchmarks summary``: returns the number of wrong cases."""
    # Before anything that starts threads is imported.
    os.environ.update(dict.fromkeys(measure.THREAD_VARIABLES, str(options.threads)))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    name, wrong = measure.run_name(), 0
    for n_nodes in (490, 10_010):
        graph, known = made(options.rows, options.classes, n_nodes)
        wrong += not _case("classes", graph, known, name, options)
        rng = np.random.default_rng(1)
        X = rng.standard_normal((graph.n_rows, options.columns), np.float32).astype(np.float16)
        wrong += not _case("classes and rows", graph, known | {"activations": X}, name, options)
    _features(name, options)
    return wrong


def made(n_rows: int, n_classes: int, n_nodes: int):
    """A graph of a chain of intervals, and classes, predictions and confidence of its rows."""
    from topoact_gpu.graph import MapperGraph

    indptr, rows, n_rows = memberships(round(MEMBERSHIPS_A_ROW * n_rows), n_nodes)
    rng = np.random.default_rng(0)
    lens = np.arange(n_rows) / n_rows
    interval = np.repeat(np.arange(N_INTERVALS), (len(indptr) - 1) // N_INTERVALS)
    graph = MapperGraph.build(indptr, rows, interval, lens, len(rows))
    # classes that come and go along the lens, so that some are significant
    classes = (rng.normal(lens, 0.2) * n_classes).astype(np.int64) % n_classes
    known = {
        "classes": classes,
        "predictions": np.where(rng.random(n_rows) < 0.8, classes, (classes + 1) % n_classes),
        "confidence": rng.random(n_rows),
        "lens_values": lens,
    }
    return graph, known


def problems(graph, known: dict, found) -> list[str]:
    """What a summary says wrongly, by sparse products and scipy."""
    from scipy.sparse import csr_array

    n_classes, said = int(known["classes"].max()) + 1, []
    holds = csr_array(
        (np.ones(len(graph.rows)), graph.rows, graph.indptr), shape=(graph.n_nodes, graph.n_rows)
    )
    one_hot = csr_array(
        (np.ones(graph.n_rows), known["classes"], np.arange(graph.n_rows + 1)),
        shape=(graph.n_rows, n_classes),
    )
    counts = (holds @ one_hot).toarray()
    own = csr_array((found.class_count, found.class_id, found.class_indptr), shape=counts.shape)
    if not np.array_equal(own.toarray(), counts):
        said.append("histograms of nodes")
    if not np.allclose(found.top_share[:, 0], counts.max(axis=1) / counts.sum(axis=1)):
        said.append("largest shares")
    errors = holds @ (known["classes"] != known["predictions"]).astype(float) / graph.sizes
    if not np.allclose(found.error_rate, errors):
        said.append("misclassified shares")
    if not _lifts_hold(graph, known, found, counts):
        said.append("chances")
    if "activations" in known:
        means = holds @ known["activations"].astype(np.float64) / graph.sizes[:, None]
        if not np.allclose(found.mean_activation, means, atol=1e-6):
            said.append("mean rows")
    return said


def _lifts_hold(graph, known: dict, found, counts: np.ndarray) -> bool:
    """Chances of the most frequent classes, corrected as scipy does."""
    from scipy.stats import false_discovery_control, hypergeom

    node, code = np.nonzero(counts)
    base = np.bincount(known["classes"])
    k, drawn = counts[node, code], graph.sizes[node]
    p = hypergeom.sf(k - 1, graph.n_rows, base[code], drawn)
    corrected = np.zeros(counts.shape)
    corrected[node, code] = false_discovery_control(np.clip(p, 0, 1))
    first = corrected[np.arange(graph.n_nodes), found.top_class[:, 0]]
    return bool(np.allclose(found.top_p[:, 0], first, rtol=1e-5, atol=1e-12))


def _case(kind: str, graph, known: dict, run_name: str, options) -> bool:
    from topoact_gpu.summary import summarise

    first = summarise(graph, **known, n_threads=options.threads)
    if wrong := problems(graph, known, first):
        print(f"  {graph.n_nodes:,} nodes, {kind}: WRONG ({', '.join(wrong)}), no time")
        return False
    seconds = []
    for repeat in range(options.repeats):
        start = time.perf_counter()
        summarise(graph, **known, n_threads=options.threads)
        seconds.append(time.perf_counter() - start)
        columns = known["activations"].shape[1] if "activations" in known else 0
        record = {
            "case": f"{kind}-{graph.n_nodes}", "kind": kind, "rows": graph.n_rows,
            "classes": options.classes, "columns": columns,
        }  # fmt: skip
        _append(record, graph, run_name, repeat, seconds[-1], options)
    _say(kind, graph, seconds)
    return True


def _features(run_name: str, options) -> None:
    """Branches, loops and hubs of 10,000 nodes with 50,000 edges."""
    from topoact_gpu.features import find_features

    graph = neighbours_graph(10_000, 0.0179)
    find_features(graph)
    seconds = []
    for repeat in range(options.repeats):
        start = time.perf_counter()
        find_features(graph)
        seconds.append(time.perf_counter() - start)
        record = {"case": "features", "kind": "features", "rows": graph.n_rows, "classes": 0,
                  "columns": 0}  # fmt: skip
        _append(record, graph, run_name, repeat, seconds[-1], options)
    _say("features", graph, seconds)


def neighbours_graph(n_nodes: int, radius: float):
    """Points of a square, joined where they are near: each pair shares a row of its own.

    The lens is the first coordinate, so that edges join intervals beside each other, as a cover's.
    """
    from scipy.spatial import cKDTree

    from topoact_gpu.graph import MapperGraph

    points = np.random.default_rng(0).random((n_nodes, 2))
    points = points[np.argsort(points[:, 0])]
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray").astype(np.int64)
    single = np.arange(n_nodes)
    nodes = np.concatenate([pairs.ravel(), single])
    rows = np.concatenate([np.repeat(np.arange(len(pairs)), 2), len(pairs) + single])
    order = np.lexsort((rows, nodes))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(nodes, minlength=n_nodes))])
    along = points[:, 0]
    lens = np.concatenate([along[pairs].mean(axis=1), along])
    interval = np.floor(N_INTERVALS * along).astype(np.int64)
    return MapperGraph.build(indptr, rows[order], interval, lens, len(rows))


def _append(record: dict, graph, run_name: str, repeat: int, wall: float, options) -> None:
    shape = {"nodes": graph.n_nodes, "edges": graph.n_edges, "memberships": len(graph.rows)}
    common = {"run": run_name, "repeat": repeat, "threads": options.threads, "wall_s": wall}
    place = {"machine": measure.machine()}
    measure.append_result(Path(options.results), "summary", record | shape | common | place)


def _say(kind: str, graph, seconds: list[float]) -> None:
    middle, low, high = measure.spread(seconds)
    print(
        f"  {kind}, {graph.n_rows:,} rows, {graph.n_nodes:,} nodes, {graph.n_edges:,} edges: "
        f"{middle:.3f} s ({low:.3f} to {high:.3f})"
    )
