"""Summaries as tables: columns that pandas takes, for nodes, edges, classes and intervals."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.convert import edge_columns, node_columns
from topoact_gpu.summary import N_TOP, Summary

if TYPE_CHECKING:
    from topoact_gpu.graph import MapperGraph

__all__ = ["edge_table", "summary_table", "summary_tables"]


def summary_table(graph: MapperGraph, summary: Summary) -> dict[str, NDArray[Any]]:
    """The summary of the nodes as columns, ready for ``pandas.DataFrame(...)``.

    Returns
    -------
    dict of str to [n_nodes]
        ``node``, what `topoact_gpu.convert.node_columns` gives, and the rest of the summary that
        is one value a node: ``degree``, ``purity``, ``entropy``, ``error_rate``, ``confidence``,
        ``top_class_1`` (a name; empty: none), ``top_share_1``, ``top_lift_1``, ``top_p_1``, ...,
        ``lift_class_1``, ..., ``exemplar`` (a row; -1: none), ``tokens`` (text only).
    """
    table: dict[str, NDArray[Any]] = {"node": np.arange(graph.n_nodes), **node_columns(graph)}
    table["degree"] = summary.degree
    return table | _statistics(summary, "")


def edge_table(graph: MapperGraph, summary: Summary) -> dict[str, NDArray[Any]]:
    """The summary of the edges as columns: those of `convert.edge_columns` and as for nodes."""
    table: dict[str, NDArray[Any]] = dict(edge_columns(graph))
    for name in ("lens", "lens_min", "lens_max"):
        values = getattr(summary, f"edge_{name}")
        for j in range(values.shape[1]):
            table[name if values.shape[1] == 1 else f"{name}_{j}"] = values[:, j]
    return table | _statistics(summary, "edge_")


def summary_tables(graph: MapperGraph, summary: Summary) -> dict[str, dict[str, NDArray[Any]]]:
    """All tables of a summary, each as columns.

    Returns
    -------
    dict of str to dict of str to array
        ``nodes`` and ``edges``: see `summary_table` and `edge_table`. ``classes``: the histograms
        of the nodes, a line for each class in a node (``node``, ``class``, ``name``, ``count``).
        ``coverage``: a line for each class (``class``, ``name``, ``rows``, ``covered``,
        ``coverage``). ``intervals``: a line for each (``interval``, ``offered`` (-1: unknown),
        ``taken``, ``noise``).
    """
    n_classes = summary.base_count.size
    names = np.array([summary.class_name(c) for c in range(n_classes)], dtype=np.str_)
    unknown = np.full(summary.interval_id.size, -1, dtype=np.int64)
    return {
        "nodes": summary_table(graph, summary),
        "edges": edge_table(graph, summary),
        "classes": {
            "node": np.repeat(np.arange(graph.n_nodes), np.diff(summary.class_indptr)),
            "class": summary.class_id,
            "name": names[summary.class_id],
            "count": summary.class_count,
        },
        "coverage": {
            "class": np.arange(n_classes),
            "name": names,
            "rows": summary.base_count,
            "covered": summary.class_covered,
            "coverage": summary.class_coverage,
            "noise": summary.class_noise,
        },
        "intervals": {
            "interval": summary.interval_id,
            "offered": unknown if summary.interval_offered is None else summary.interval_offered,
            "taken": summary.interval_taken,
            "noise": summary.interval_noise,
        },
    }


def _statistics(summary: Summary, prefix: str) -> dict[str, NDArray[Any]]:
    """What nodes and edges have in common, one column each."""
    get = {f.name: getattr(summary, f.name) for f in fields(summary)}
    names = ("purity", "entropy", "error_rate", "confidence")
    table: dict[str, NDArray[Any]] = {name: get[prefix + name] for name in names}
    known = np.array([*(summary.class_name(c) for c in range(summary.base_count.size)), ""])
    for kind in ("top", "lift"):
        for rank in range(N_TOP):
            table[f"{kind}_class_{rank + 1}"] = known[get[f"{prefix}{kind}_class"][:, rank]]
            for name in ("share", "lift", "p"):
                table[f"{kind}_{name}_{rank + 1}"] = get[f"{prefix}{kind}_{name}"][:, rank]
    table["exemplar"] = get[f"{prefix}exemplar"][:, 0]
    if get[f"{prefix}token"] is not None:
        table["tokens"] = _token_text(summary, get[f"{prefix}token"])
    return table


def _token_text(summary: Summary, tokens: NDArray[np.int32]) -> NDArray[Any]:
    """The most frequent words of each node in one string."""
    names = summary.token_names
    return np.array(
        [
            " ".join(names[code] if names else str(code) for code in own if code >= 0)
            for own in tokens.tolist()
        ],
        dtype=np.str_,
    )
