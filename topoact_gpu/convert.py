"""Conversions: a MapperGraph as networkx, igraph, TopoAct and KeplerMapper know graphs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.errors import DataError, TopoactError
from topoact_gpu.rows import as_rows

if TYPE_CHECKING:
    from topoact_gpu.graph import MapperGraph

__all__ = [
    "edge_columns",
    "node_columns",
    "to_igraph",
    "to_kmapper",
    "to_networkx",
    "to_node_link",
]

_TOP_CLASSES = 3
_ROWS_AT_ONCE = 16_384


def node_columns(graph: MapperGraph) -> dict[str, NDArray[Any]]:
    """Return what is known of each node, by name.

    Returns
    -------
    dict of str to [n_nodes]
        ``size`` (rows), ``interval``, ``component``, and mean, standard deviation, least and
        greatest lens value: ``lens``, ``lens_std``, ``lens_min``, ``lens_max`` for one lens
        column, ``lens_0``, ``lens_1``, ..., ``lens_std_0``, ... for more.
    """
    columns: dict[str, NDArray[Any]] = {
        "size": graph.sizes,
        "interval": graph.node_interval,
        "component": graph.components(),
    }
    for name in ("lens", "lens_std", "lens_min", "lens_max"):
        values = graph.node_lens if name == "lens" else getattr(graph, name)
        for j in range(values.shape[1]):
            columns[name if values.shape[1] == 1 else f"{name}_{j}"] = values[:, j]
    return columns


def edge_columns(graph: MapperGraph) -> dict[str, NDArray[Any]]:
    """Return ``source``, ``target``, ``shared`` (rows) and ``jaccard``, each [n_edges]."""
    source, target, shared = graph.edges.T
    return {"source": source, "target": target, "shared": shared, "jaccard": graph.jaccard}


def to_networkx(graph: MapperGraph) -> Any:
    """Convert to networkx.

    Parameters
    ----------
    graph : MapperGraph

    Returns
    -------
    networkx.Graph
        Nodes 0, 1, ... with the attributes of `node_columns`; edges with ``shared`` and
        ``jaccard``; graph attributes ``n_rows``, ``coverage`` and ``noise``. All are plain
        numbers; the rows of a node are ``graph.node_rows(node)``.

    Raises
    ------
    TopoactError
        networkx is not installed.
    """
    try:
        import networkx
    except ImportError as error:
        raise TopoactError(
            "to_networkx needs networkx, which is not installed: pip install 'topoact-gpu[plot]'"
        ) from error
    result = networkx.Graph(**_graph_attributes(graph))
    columns = {name: values.tolist() for name, values in node_columns(graph).items()}
    for node in range(graph.n_nodes):
        result.add_node(node, **{name: values[node] for name, values in columns.items()})
    edges = edge_columns(graph).values()
    for source, target, shared, jaccard in zip(*(v.tolist() for v in edges), strict=True):
        result.add_edge(source, target, shared=shared, jaccard=jaccard)
    return result


def to_igraph(graph: MapperGraph) -> Any:
    """Convert to igraph.

    Parameters
    ----------
    graph : MapperGraph

    Returns
    -------
    igraph.Graph
        The attributes are those of `to_networkx`.

    Raises
    ------
    TopoactError
        igraph is not installed.
    """
    try:
        import igraph
    except ImportError as error:
        raise TopoactError(
            "to_igraph needs igraph, which is not installed: pip install igraph"
        ) from error
    edges = {name: values.tolist() for name, values in edge_columns(graph).items()}
    result = igraph.Graph(
        graph.n_nodes,
        edges=graph.edges[:, :2].tolist(),
        edge_attrs={name: edges[name] for name in ("shared", "jaccard")},
        vertex_attrs={name: values.tolist() for name, values in node_columns(graph).items()},
    )
    for name, value in _graph_attributes(graph).items():
        result[name] = value
    return result


def _graph_attributes(graph: MapperGraph) -> dict[str, Any]:
    return {"n_rows": graph.n_rows, "coverage": graph.coverage, "noise": graph.noise}


def to_node_link(
    graph: MapperGraph,
    labels: ArrayLike | None = None,
    *,
    label_names: Mapping[Any, str] | ArrayLike | None = None,
    activations: Any = None,
) -> dict[str, Any]:
    """Convert to the node-link dict that TopoAct's page reads as JSON.

    Parameters
    ----------
    graph : MapperGraph
    labels : [n_rows], optional
        Class of each row; fills ``top_classes`` and ``top_class_percents``.
    label_names : mapping or sequence of str, optional
        Name of each class; by default the label itself.
    activations : array-like [n_rows, n_cols], optional
        Anything that `topoact_gpu.rows.as_rows` takes; fills ``average_activation``.

    Returns
    -------
    dict
        ``nodes``: ``id``; ``membership``, the rows; ``top_classes``, up to three classes by
        descending share (equal shares by class), and ``top_class_percents``, their shares in
        percent; ``l2NormAvg``, the mean of the first lens column, whichever lens it was;
        ``average_activation``, the mean row. What was not given is an empty list. ``links``:
        ``source``, ``target``, ``intersection`` (shared rows), and ``jaccard``, which TopoAct
        does not have.

    Raises
    ------
    DataError
        ``labels`` or ``activations`` do not have ``n_rows`` rows, or a label has no name.
    """
    tops = _top_classes(graph, labels, label_names)
    means = _average_activations(graph, activations)
    nodes = [
        {
            "id": node,
            "membership": graph.node_rows(node).tolist(),
            "top_classes": tops[node][0],
            "top_class_percents": tops[node][1],
            "l2NormAvg": float(graph.node_lens[node, 0]),
            "average_activation": means[node],
        }
        for node in range(graph.n_nodes)
    ]
    edges = edge_columns(graph).values()
    links = [
        {"source": source, "target": target, "intersection": shared, "jaccard": jaccard}
        for source, target, shared, jaccard in zip(*(v.tolist() for v in edges), strict=True)
    ]
    return {"directed": False, "multigraph": False, "graph": {}, "nodes": nodes, "links": links}


def _top_classes(
    graph: MapperGraph, labels: ArrayLike | None, label_names: Any
) -> list[tuple[list[Any], list[float]]]:
    """Return the most frequent classes of each node and their percentages."""
    if labels is None:
        return [([], [])] * graph.n_nodes
    labels = np.asarray(labels)
    if labels.shape != (graph.n_rows,):
        raise DataError(
            f"labels must be one for each of {graph.n_rows:,} rows, got shape {labels.shape}"
        )
    classes, codes = np.unique(labels, return_inverse=True)
    names = _class_names(classes.tolist(), label_names)
    tops = []
    for node in range(graph.n_nodes):
        rows = graph.node_rows(node)
        found, counts = np.unique(codes[rows], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_TOP_CLASSES]
        percents = 100 * counts[order] / max(rows.size, 1)
        tops.append(([names[c] for c in found[order]], percents.tolist()))
    return tops


def _class_names(classes: list[Any], label_names: Any) -> list[Any]:
    """Return the name of each class."""
    if label_names is None:
        return classes
    try:
        if isinstance(label_names, Mapping):
            return [label_names[c] for c in classes]
        names = np.asarray(label_names).tolist()
        if min(classes, default=0) < 0:
            raise IndexError(min(classes))
        return [names[int(c)] for c in classes]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise DataError(
            f"label_names must name every label, it has none for one ({error}); add it"
        ) from error


def _average_activations(graph: MapperGraph, activations: Any) -> list[list[float]]:
    """Return the mean row of each node, summed in float64."""
    if activations is None:
        return [[]] * graph.n_nodes
    source = as_rows(activations)
    if source.n_rows != graph.n_rows:
        raise DataError(
            f"activations must have the graph's {graph.n_rows:,} rows, got {source.n_rows:,}"
        )
    means = []
    for node in range(graph.n_nodes):
        rows = graph.node_rows(node)
        total = np.zeros(source.n_cols)
        for start in range(0, rows.size, _ROWS_AT_ONCE):
            total += source.take(rows[start : start + _ROWS_AT_ONCE]).sum(axis=0, dtype=np.float64)
        means.append((total / max(rows.size, 1)).tolist())
    return means


def to_kmapper(graph: MapperGraph) -> dict[str, Any]:
    """Convert to the dict that ``kmapper.KeplerMapper.map`` gives.

    Parameters
    ----------
    graph : MapperGraph

    Returns
    -------
    dict
        ``nodes``: name to rows; ``links``: name to the names of later nodes it shares rows with;
        ``simplices``: lists of names; ``meta_data`` and ``meta_nodes``. A node is called
        ``cube{c}_cluster{k}``: the ``k``-th node of the ``c``-th cover element that holds rows.
    """
    names = _kmapper_names(graph)
    nodes: dict[str, list[int]] = defaultdict(list)
    for node, name in enumerate(names):
        nodes[name] = graph.node_rows(node).tolist()
    links: dict[str, list[str]] = defaultdict(list)
    for source, target in graph.edges[:, :2].tolist():
        links[names[source]].append(names[target])
    simplices = [[name] for name in names]
    for level in (graph.edges, *graph.higher):
        simplices += [[names[node] for node in simplex] for simplex in level[:, :-1].tolist()]
    return {
        "nodes": nodes,
        "links": links,
        "simplices": simplices,
        "meta_data": _kmapper_meta(graph),
        "meta_nodes": defaultdict(list),
    }


def _kmapper_names(graph: MapperGraph) -> list[str]:
    """Name nodes by the rank of their element among those with rows, and their rank in it."""
    cube = np.searchsorted(graph.interval_id, graph.node_interval)
    first = np.searchsorted(graph.node_interval, graph.node_interval)
    cluster = np.arange(graph.n_nodes) - first
    pairs = zip(cube.tolist(), cluster.tolist(), strict=True)
    return [f"cube{c}_cluster{k}" for c, k in pairs]


def _kmapper_meta(graph: MapperGraph) -> dict[str, Any]:
    """Return the entries that KeplerMapper's own page shows."""
    parameters = graph.parameters
    cover = parameters.get("cover")
    cover = cover if isinstance(cover, dict) else {}
    clusterer = parameters.get("clusterer", "DBSCAN")
    clusterer = clusterer.get("name") if isinstance(clusterer, dict) else clusterer
    return {
        "projection": str(parameters.get("lens", "custom")),
        "n_cubes": cover.get("n_cubes", cover.get("n_intervals")),
        "perc_overlap": cover.get("perc_overlap", cover.get("overlap")),
        "clusterer": str(clusterer),
        "scaler": "None",
        "nerve_min_intersection": parameters.get("min_intersection", 1),
    }
