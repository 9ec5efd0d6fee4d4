"""Summary of a Mapper graph: what its nodes and edges hold, from all of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.device import Team, resolve_threads
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.groups import (
    ClassTable,
    Groups,
    class_table,
    column_means,
    every_block,
    largest,
    mean_rows,
    nearest_rows,
    row_distances,
)
from topoact_gpu.kernels.nerve import levels
from topoact_gpu.labels import as_classes
from topoact_gpu.nodes import lens_statistics
from topoact_gpu.rows import as_rows
from topoact_gpu.selection import (
    Context,
    CountTable,
    LensCounts,
    RowSummary,
    contexts,
    exemplars_of,
    mean_of,
    misclassified,
    summarise_rows,
    texts_by_input,
    token_table,
    typical_per_class,
)

if TYPE_CHECKING:
    from topoact_gpu.graph import MapperGraph

__all__ = [
    "N_TOP",
    "SIGNIFICANT",
    "Context",
    "CountTable",
    "LensCounts",
    "RowSummary",
    "Summary",
    "contexts",
    "exemplars_of",
    "mean_of",
    "summarise",
    "summarise_rows",
    "texts_by_input",
    "token_table",
    "typical_per_class",
]

N_TOP = 3
"""Classes that are listed of each node and edge, by share and by lift."""
SIGNIFICANT = 0.05
"""A class is listed by lift where its corrected chance is below this and its lift above 1."""
_N_TOKENS = 10
_SHOWN = 5

_Ints = NDArray[np.int64]
_Codes = NDArray[np.int32]
_Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """What the nodes and edges of a graph hold, from the full membership.

    NaN stands for unknown, -1 for none. Shares, chances and lifts are those of
    `topoact_gpu.groups.ClassTable`: of rows whose class is known, tested against the hypergeometric
    distribution, and corrected (Benjamini-Hochberg) over all (node, class) pairs with a row, and
    apart from them over all (edge, class) pairs. Every array of a node has a twin ``edge_...``
    for the rows that the edge's nodes share.

    Attributes
    ----------
    n_rows : int
    label : str or None
        Name of the row column that holds the classes.
    class_names : list of str
        One for each class; empty where they have none.
    size, degree, component : int64[n]
        Rows, edges and connected component of each node.
    class_indptr, class_id, class_count : int64[n + 1], int32[nnz], int64[nnz]
        Histogram of each node: classes ascending, and their rows.
    base_count, class_covered : int64[n_classes]
        Rows of each class, and those that lie in any node.
    top_class : int32[n, 3]
        Classes with the largest share, of equal ones the lowest; ``top_share``, ``top_lift`` and
        ``top_p`` (float64[n, 3]) beside them.
    lift_class : int32[n, 3]
        Of the classes with corrected p < 0.05 and lift above 1 those with the largest lift;
        ``lift_share``, ``lift_lift`` and ``lift_p`` beside them.
    purity, entropy : float64[n]
        The largest share; entropy of the shares in bits.
    error_rate : float64[n]
        Misclassified share of the rows whose class and prediction are known.
    confidence : float64[n]
        Mean over the rows that have one.
    mean_activation : float32[n, n_cols] or None
        Mean row, summed in float64.
    overall_activation : float32[n_cols] or None
        Mean of all rows.
    exemplar : int64[n, n_exemplars]
        Rows nearest to the node's mean row, the nearest first, of equal ones the lowest; no two
        of the same input. All -1 without activations.
    exemplar_distance : float64[n, n_exemplars]
        Euclidean.
    token : int32[n, 10], token_count : int64[n, 10], token_lift : float64[n, 10]
        Most frequent words; None without words.
    edge_lens, edge_lens_min, edge_lens_max : float64[e, k]
        Mean, least and greatest lens value; NaN where the lens values were not given.
    interval_id : int64[i]
        Numbers of the cover elements that hold rows.
    interval_offered : int64[i] or None
        Rows of each element; None where the graph does not say.
    interval_taken : int64[i]
        Rows of the element that lie in one of its nodes.
    interval_noise : float64[i]
        Share of the offered rows that no node took.
    coverage, noise : float
    n_components, n_loops : int
    class_coverage : float64[n_classes]
        Share of the rows of each class that lie in any node.
    class_noise : float64[n_classes]
        Share of the (row, element) pairs of each class that no node took; NaN where it is not
        known how many elements each row was offered to.
    coverage_floor : float
    warnings : list of str
        What is worth knowing: coverage under the floor, what could not be computed.
    """

    n_rows: int
    label: str | None
    class_names: list[str]
    size: _Ints
    degree: _Ints
    component: _Ints
    class_indptr: _Ints
    class_id: _Codes
    class_count: _Ints
    base_count: _Ints
    class_covered: _Ints
    top_class: _Codes
    top_share: _Floats
    top_lift: _Floats
    top_p: _Floats
    lift_class: _Codes
    lift_share: _Floats
    lift_lift: _Floats
    lift_p: _Floats
    purity: _Floats
    entropy: _Floats
    error_rate: _Floats
    confidence: _Floats
    exemplar: _Ints
    exemplar_distance: _Floats
    edge_size: _Ints
    edge_class_indptr: _Ints
    edge_class_id: _Codes
    edge_class_count: _Ints
    edge_top_class: _Codes
    edge_top_share: _Floats
    edge_top_lift: _Floats
    edge_top_p: _Floats
    edge_lift_class: _Codes
    edge_lift_share: _Floats
    edge_lift_lift: _Floats
    edge_lift_p: _Floats
    edge_purity: _Floats
    edge_entropy: _Floats
    edge_error_rate: _Floats
    edge_confidence: _Floats
    edge_exemplar: _Ints
    edge_exemplar_distance: _Floats
    edge_lens: _Floats
    edge_lens_min: _Floats
    edge_lens_max: _Floats
    interval_id: _Ints
    interval_taken: _Ints
    interval_noise: _Floats
    coverage: float
    noise: float
    n_components: int
    n_loops: int
    class_coverage: _Floats
    class_noise: _Floats
    coverage_floor: float
    warnings: list[str] = field(default_factory=list)
    interval_offered: _Ints | None = None
    mean_activation: NDArray[np.float32] | None = None
    overall_activation: NDArray[np.float32] | None = None
    edge_mean_activation: NDArray[np.float32] | None = None
    token: _Codes | None = None
    token_count: _Ints | None = None
    token_lift: _Floats | None = None
    edge_token: _Codes | None = None
    edge_token_count: _Ints | None = None
    edge_token_lift: _Floats | None = None
    token_names: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return (
            f"Summary(label={self.label!r}, {self.size.size:,} nodes, {self.edge_size.size:,} "
            f"edges, {self.base_count.size:,} classes, coverage={self.coverage:.3f})"
        )

    def class_name(self, code: int) -> str:
        """Name of a class: its own, else its number; empty for -1."""
        if code < 0:
            return ""
        return self.class_names[code] if self.class_names else str(code)

    def shares(self, code: int) -> _Floats:
        """Share of a class in each node, float64[n]; NaN for a node without a known class."""
        owner = np.repeat(np.arange(self.size.size), np.diff(self.class_indptr))
        known = np.bincount(owner, weights=self.class_count, minlength=self.size.size)
        found = self.class_id == code
        share = np.zeros(self.size.size)
        share[owner[found]] = self.class_count[found]
        with np.errstate(invalid="ignore"):
            return share / known

    def lifts(self, code: int) -> _Floats:
        """Lift of a class in each node, float64[n]; NaN where its share is."""
        base = self.base_count[code] / max(int(self.base_count.sum()), 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.shares(code) / base


def summarise(
    graph: MapperGraph,
    *,
    classes: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    label: str | None = None,
    predictions: ArrayLike | None = None,
    confidence: ArrayLike | None = None,
    lens_values: ArrayLike | None = None,
    offers: ArrayLike | None = None,
    words: ArrayLike | None = None,
    word_names: Sequence[str] | None = None,
    activations: Any = None,
    edge_activations: bool = False,
    inputs: ArrayLike | None = None,
    n_exemplars: int = 12,
    coverage_floor: float = 0.8,
    n_threads: int | None = None,
) -> Summary:
    """Summarise the nodes and edges of a graph from all of their rows.

    Parameters
    ----------
    graph : MapperGraph
    classes : int[n_rows], optional
        Class of each row; negative: unknown.
    class_names : sequence of str, optional
        One for each class.
    label : str, optional
        What the classes are called; kept.
    predictions : int[n_rows], optional
        Predicted class in the same codes; a number beyond all classes is none of them, a negative
        one unknown. See `topoact_gpu.labels.predicted_classes`.
    confidence : float[n_rows], optional
        NaN: unknown.
    lens_values : float64[n_rows] or [n_rows, k], optional
        For the edges; the nodes' are in the graph.
    offers : int[n_rows], optional
        How many cover elements hold each row, for the noise of classes.
    words : int[n_rows], optional
        Code of each row's token; negative: none.
    word_names : sequence of str, optional
    activations : array-like of shape (n_rows, n_cols), optional
        Anything `topoact_gpu.rows.as_rows` takes; read twice, in blocks.
    edge_activations : bool
        Mean rows and exemplars of the edges too: n_edges x n_cols more numbers.
    inputs : int[n_rows], optional
        The input that each row is from, for exemplars without repeats.
    n_exemplars : int
    coverage_floor : float
        Less coverage than this is a warning, of the graph and of each class.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    Summary

    Raises
    ------
    DataError
        Something does not have a value for each row.

    Notes
    -----
    Time and memory follow the memberships (and the bytes of the activations), not nodes times
    classes.

    Examples
    --------
    >>> from topoact_gpu import MapperGraph
    >>> graph = MapperGraph.build(np.array([0, 3, 5]), np.array([0, 1, 2, 2, 3]),
    ...                           np.array([0, 1]), np.arange(5.0), 5)
    >>> found = summarise(graph, classes=[0, 0, 1, 1, 1], class_names=["cat", "dog"])
    >>> found.top_class[:, 0].tolist(), found.purity.round(2).tolist(), found.coverage
    ([0, 1], [0.67, 1.0], 0.8)
    """
    n_rows = graph.n_rows
    codes = None if classes is None else as_classes(classes, n_rows, class_names)
    if not isinstance(n_exemplars, int | np.integer) or n_exemplars < 1:
        raise ParameterError(f"n_exemplars must be a whole number above 0, got {n_exemplars!r}")
    columns = _columns(graph, codes, predictions, confidence)
    tokens = None if words is None else as_classes(words, n_rows, word_names, what="words")
    with Team(resolve_threads(n_threads)) as team:
        nodes, edges = Groups(graph.indptr, graph.rows), _edge_groups(graph, team)
        found: dict[str, Any] = {}
        for prefix, groups in (("", nodes), ("edge_", edges)):
            held = _classes_of(groups, codes, len(class_names or ()), team)
            held |= {name: column_means(groups, values, team) for name, values in columns.items()}
            if tokens is not None:
                held |= _tokens_of(groups, tokens, team)
            found |= {prefix + name: values for name, values in held.items()}
        found |= _activations_of(
            graph, nodes, edges, activations, inputs, int(n_exemplars), team, edge_activations
        )
    found |= _edge_lens(edges, lens_values, graph)
    found |= _class_coverage(graph, codes, len(class_names or ()))
    found["class_noise"] = _class_noise(graph, codes, offers, found["base_count"].size)
    found |= _structure(graph)
    summary = Summary(
        n_rows=n_rows,
        label=label,
        class_names=list(class_names or ()),
        token_names=list(word_names or ()),
        edge_size=edges.sizes,
        coverage_floor=float(coverage_floor),
        **found,
    )
    summary.warnings.extend(_coverage_warnings(summary))
    return summary


def _columns(
    graph: MapperGraph,
    codes: _Ints | None,
    predictions: ArrayLike | None,
    confidence: ArrayLike | None,
) -> dict[str, _Floats]:
    """Row columns of which each node has a mean; NaN where they are not known."""
    unknown = np.full(graph.n_rows, np.nan)
    errors, sure = unknown, unknown
    if codes is not None and predictions is not None:
        errors = misclassified(
            codes, as_classes(predictions, graph.n_rows, what="predictions", limit=None)
        )
    if confidence is not None:
        sure = np.asarray(confidence, dtype=np.float64)
        if sure.shape != (graph.n_rows,):
            raise DataError(
                f"confidence must have one value for each of the {graph.n_rows:,} rows, but has "
                f"shape {sure.shape}"
            )
    return {"error_rate": errors, "confidence": sure}


def _edge_groups(graph: MapperGraph, team: Team) -> Groups:
    """The rows that the two nodes of each edge share."""
    held = levels.row_nodes(graph.indptr, graph.rows, graph.n_rows, team)
    nodes = levels.vertices(graph.indptr, graph.rows)
    shared = levels.with_rows(nodes, graph.edges[:, :2], graph.edges, held, team)
    return Groups(shared.indptr, shared.rows)


def _classes_of(groups: Groups, codes: _Ints | None, n_named: int, team: Team) -> dict[str, Any]:
    """Histogram, top classes, purity and entropy of each group, by their names in `Summary`."""
    codes = np.full(1 + int(groups.rows.max(initial=-1)), -1) if codes is None else codes
    base = np.bincount(codes[codes >= 0], minlength=n_named)
    table = class_table(groups, codes, base, team)
    striking = np.where((table.p < SIGNIFICANT) & (table.lift > 1), table.lift, np.nan)
    return {
        "class_indptr": table.indptr,
        "class_id": table.ids,
        "class_count": table.counts,
        "purity": table.purity,
        "entropy": table.entropy,
        **_at_places("top", table, largest(table.indptr, table.share, N_TOP)),
        **_at_places("lift", table, largest(table.indptr, striking, N_TOP)),
    }


def _at_places(prefix: str, table: ClassTable, places: _Ints) -> dict[str, Any]:
    """Class, share, lift and chance at places of a table; -1 and NaN at -1."""
    found = places >= 0
    ids = np.full(places.shape, -1, dtype=np.int32)
    ids[found] = table.ids[places[found]]
    held: dict[str, Any] = {f"{prefix}_class": ids}
    for name in ("share", "lift", "p"):
        values = np.full(places.shape, np.nan)
        values[found] = getattr(table, name)[places[found]]
        held[f"{prefix}_{name}"] = values
    return held


def _tokens_of(groups: Groups, words: _Ints, team: Team) -> dict[str, Any]:
    """The most frequent words of each group."""
    table = class_table(groups, words, np.bincount(words[words >= 0]), team)
    places = largest(table.indptr, table.counts.astype(np.float64), _N_TOKENS)
    found = places >= 0
    ids = np.full(places.shape, -1, dtype=np.int32)
    counts, lift = np.zeros(places.shape, dtype=np.int64), np.full(places.shape, np.nan)
    ids[found], counts[found] = table.ids[places[found]], table.counts[places[found]]
    lift[found] = table.lift[places[found]]
    return {"token": ids, "token_count": counts, "token_lift": lift}


def _activations_of(
    graph: MapperGraph,
    nodes: Groups,
    edges: Groups,
    activations: Any,
    inputs: ArrayLike | None,
    n: int,
    team: Team,
    edge_activations: bool,
) -> dict[str, Any]:
    """Mean rows and exemplars; without activations there are none."""
    found = _no_exemplars("", len(nodes), n) | _no_exemplars("edge_", len(edges), n)
    if activations is None:
        return found
    own = None if inputs is None else as_classes(inputs, graph.n_rows, what="inputs", limit=None)
    source = as_rows(activations)
    if source.n_rows != graph.n_rows:
        raise DataError(
            f"activations must have the graph's {graph.n_rows:,} rows, got {source.n_rows:,}"
        )
    # all rows come first: the longest group is begun first, and the threads end together
    whole = Groups(np.array([0, graph.n_rows]), np.arange(graph.n_rows))
    own_groups = [nodes, edges] if edge_activations else [nodes]
    centres = mean_rows(_joined([whole, *own_groups]), every_block(source), source.n_cols, team)
    found["overall_activation"] = centres[0].astype(np.float32)
    groups, centres = _joined(own_groups), centres[1:]
    distances = row_distances(groups, every_block(source), centres, team)
    rows, distances = nearest_rows(groups, distances, n, team, inputs=own)
    for prefix, part in (("", slice(len(nodes))), ("edge_", slice(len(nodes), len(groups)))):
        if prefix == "" or edge_activations:
            found[f"{prefix}mean_activation"] = centres[part].astype(np.float32)
            found[f"{prefix}exemplar"] = rows[part]
            found[f"{prefix}exemplar_distance"] = distances[part]
    return found


def _no_exemplars(prefix: str, n_groups: int, n: int) -> dict[str, Any]:
    return {
        f"{prefix}exemplar": np.full((n_groups, n), -1, dtype=np.int64),
        f"{prefix}exemplar_distance": np.full((n_groups, n), np.nan),
    }


def _joined(parts: list[Groups]) -> Groups:
    """Several lists of groups, one after another."""
    sizes = np.concatenate([part.sizes for part in parts])
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Groups(indptr, np.concatenate([part.rows for part in parts]))


def _edge_lens(edges: Groups, lens_values: ArrayLike | None, graph: MapperGraph) -> dict[str, Any]:
    """Mean, least and greatest lens value of each edge."""
    names = ("edge_lens", "edge_lens_min", "edge_lens_max")
    if lens_values is None:
        shape = (len(edges), graph.node_lens.shape[1])
        return {name: np.full(shape, np.nan) for name in names}
    values = np.asarray(lens_values, dtype=np.float64)
    if values.shape[:1] != (graph.n_rows,):
        raise DataError(
            f"lens_values must have one row for each of the {graph.n_rows:,} rows, but has shape "
            f"{values.shape}"
        )
    statistics = lens_statistics(edges.indptr, edges.rows, values.reshape(graph.n_rows, -1))
    mean, _, least, greatest = statistics
    return dict(zip(names, (mean, least, greatest), strict=True))


def _class_coverage(graph: MapperGraph, codes: _Ints | None, n_named: int) -> dict[str, Any]:
    """Rows of each class, and how many of them lie in any node."""
    codes = np.full(graph.n_rows, -1) if codes is None else codes
    covered = np.zeros(graph.n_rows, dtype=bool)
    covered[graph.rows] = True
    base = np.bincount(codes[codes >= 0], minlength=n_named)
    within = np.bincount(codes[(codes >= 0) & covered], minlength=base.size)
    with np.errstate(invalid="ignore"):
        return {"base_count": base, "class_covered": within, "class_coverage": within / base}


def _class_noise(
    graph: MapperGraph, codes: _Ints | None, offers: ArrayLike | None, n_classes: int
) -> _Floats:
    """Share of the (row, element) pairs of each class that no node took."""
    if codes is None or offers is None:
        return np.full(n_classes, np.nan)
    offers = np.asarray(offers)
    if offers.shape != (graph.n_rows,):
        raise DataError(
            f"offers must have a number for each of the {graph.n_rows:,} rows, got {offers.shape}"
        )
    known, taken = codes >= 0, codes[graph.rows]
    offered = np.bincount(codes[known], offers[known], minlength=n_classes)
    with np.errstate(invalid="ignore"):
        return 1 - np.bincount(taken[taken >= 0], minlength=n_classes) / offered


def _structure(graph: MapperGraph) -> dict[str, Any]:
    """What the graph itself says: sizes, degrees, components, and rows of each interval."""
    ends = np.bincount(graph.edges[:, :2].ravel(), minlength=graph.n_nodes)
    place = np.searchsorted(graph.interval_id, graph.node_interval)
    taken = np.zeros(graph.interval_id.size, dtype=np.int64)
    np.add.at(taken, place, graph.sizes)
    offered = graph.interval_offered
    noise = np.full(taken.size, np.nan) if offered is None else 1 - taken / np.maximum(offered, 1)
    return {
        "size": graph.sizes,
        "degree": ends.astype(np.int64),
        "component": graph.components(),
        "interval_id": np.asarray(graph.interval_id),
        "interval_offered": offered,
        "interval_taken": taken,
        "interval_noise": noise,
        "coverage": graph.coverage,
        "noise": graph.noise,
        "n_components": graph.n_components,
        "n_loops": graph.n_loops,
    }


def _coverage_warnings(summary: Summary) -> list[str]:
    """Coverage under the floor, of the graph and of classes."""
    floor, found = summary.coverage_floor, []
    if summary.coverage < floor:
        found.append(
            f"only {100 * summary.coverage:.1f}% of the rows are in a node, below "
            f"{100 * floor:g}%: raise eps or overlap, or lower min_samples"
        )
    low = np.flatnonzero(summary.class_coverage < floor)
    if low.size and summary.base_count.size > 1:
        worst = low[np.argsort(summary.class_coverage[low], kind="stable")][:_SHOWN]
        shown = ", ".join(
            f"{summary.class_name(c)} {100 * summary.class_coverage[c]:.1f}%" for c in worst
        )
        found.append(
            f"{low.size:,} of {summary.base_count.size:,} classes have less than "
            f"{100 * floor:g}% of their rows in a node: {shown}"
        )
    return found
