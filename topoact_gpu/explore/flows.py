"""From the nodes of one layer to those of another: which rows go where, and what stays apart.

Rows of two layers correspond where they are the same input and place. Captured layers with an
aligned sampling, and tokens, are the same row by row; otherwise the place of a row in the image
decides: it belongs to the cell of the coarser layer that holds the centre of its own cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.activations.receptive import ReceptiveField
from topoact_gpu.activations.sampling import parse_sampling
from topoact_gpu.errors import DataError, ParameterError, TopoactError, nearest_name
from topoact_gpu.graph import MapperGraph

from .faults import Conflict
from .projection import rows_of
from .run_view import RunView
from .session import Session

__all__ = ["Pairs", "flow_counts", "flows", "match_rows", "overlap", "separation"]

LIMIT = 10_000
_PLACES = ("y", "x")

Ints = NDArray[np.int64]


class Pairs(NamedTuple):
    """Rows of two runs that are the same input and place.

    Attributes
    ----------
    first, second : int64[n_pairs]
        Ascending by ``first``, then ``second``. A row stands in several pairs where the other
        layer is finer, and in none where the other has nothing there.
    """

    first: Ints
    second: Ints


def match_rows(first: RunView, second: RunView) -> Pairs:
    """Find the rows of two runs that correspond.

    Raises
    ------
    Conflict
        They cannot be matched; the message says why.
    """
    key = ("pairs", second.id)
    found: Pairs = Pairs(*first.once(key, lambda: tuple(_match(first, second))))
    return found


def _match(first: RunView, second: RunView) -> Pairs:
    n_first, n_second = first.header.n_rows, second.header.n_rows
    if first.store_id is None or first.store_id != second.store_id:
        raise Conflict(
            f"rows flow between runs of one store, but {first.name} is of {_where(first)} and "
            f"{second.name} of {_where(second)}; open runs of the same store"
        )
    if first.source.get("layer") == second.source.get("layer"):
        if n_first != n_second:
            raise Conflict(
                f"{first.name} has {n_first:,} rows and {second.name} {n_second:,} of the same "
                "layer, to which rows were added in between; compute both again"
            )
        return _same(n_first)
    a, b = first.columns, second.columns
    if "position" in a and "position" in b and "input" in a and "input" in b:
        return _by_keys([a["input"], a["position"]], [b["input"], b["position"]])
    if n_first == n_second and (_aligned(first, second) or _alike(first, second)):
        return _same(n_first)
    return _by_place(first, second)


def _where(run: RunView) -> str:
    return "no store" if run.store is None else run.store.path.name


def _same(n_rows: int) -> Pairs:
    ids = np.arange(n_rows)
    return Pairs(ids, ids)


def _aligned(first: RunView, second: RunView) -> bool:
    """Whether both layers were drawn at the same places of the same inputs, in the same order."""
    if "input" not in first.columns or "input" not in second.columns:
        return False
    samplings = {_sampling(first), _sampling(second)}
    if len(samplings) != 1 or None in samplings:
        return False
    if not parse_sampling(str(samplings.pop())).aligned:
        return False
    return bool(np.array_equal(first.columns["input"], second.columns["input"]))


def _sampling(run: RunView) -> str | None:
    layer = run.layer
    found = None if layer is None else layer.attributes.get("sampling")
    try:
        return str(parse_sampling(found)) if isinstance(found, str) else None
    except ParameterError:
        return None


def _alike(first: RunView, second: RunView) -> bool:
    """Whether every column that both have says the same of each row, and there is one.

    Not for layers that were captured: there, the sampling decides.
    """
    if _sampling(first) is not None or _sampling(second) is not None:
        return False
    a, b = first.columns, second.columns
    if set(a) != set(b) or not a:
        return False
    return all(_equal(first, second, name) for name in a)


def _equal(first: RunView, second: RunView, name: str) -> bool:
    a, b = first.columns[name], second.columns[name]
    names, others = first.names.get(name), second.names.get(name)
    if names != others:
        if names is None or others is None:
            return False
        a, b = np.array(names)[a], np.array(others)[b]
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _by_place(first: RunView, second: RunView) -> Pairs:
    fields: list[ReceptiveField] = []
    for run in (first, second):
        field = _field(run)
        missing = [name for name in ("input", *_PLACES) if name not in run.columns]
        if missing:
            raise Conflict(
                f"the rows of {first.name} and {second.name} cannot be matched: {run.name} has "
                f"{run.header.n_rows:,} rows and no column {', '.join(missing)} that says which "
                "input and place each is; capture the layers together with an aligned sampling "
                "(random:K)"
            )
        if field is None:
            raise Conflict(
                f"the rows of {first.name} and {second.name} are not drawn at the same places, "
                f"and the store does not say where those of {run.name} lie in the image; "
                "capture them together with an aligned sampling (random:K)"
            )
        fields.append(field)
    a, b = fields
    turned = a.stride_y * a.stride_x > b.stride_y * b.stride_x
    fine, coarse = (second, first) if turned else (first, second)
    found = _to_coarser(fine, coarse, *((b, a) if turned else (a, b)))
    pairs = Pairs(found.second, found.first) if turned else found
    order = np.lexsort((pairs.second, pairs.first))
    return Pairs(pairs.first[order], pairs.second[order])


def _field(run: RunView) -> ReceptiveField | None:
    layer = run.layer
    found = None if layer is None else layer.attributes.get("receptive_field")
    try:
        return ReceptiveField(**found) if isinstance(found, dict) else None
    except TypeError:
        return None


def _to_coarser(
    fine: RunView, coarse: RunView, field: ReceptiveField, around: ReceptiveField
) -> Pairs:
    """Each row of a finer layer, and the row of the coarser one whose cell holds its centre."""
    keys = [fine.columns["input"]]
    for axis, name in enumerate(_PLACES):
        place = fine.columns[name].astype(np.int64)
        keys.append(
            _cells(place, _cell(field, axis), _cell(around, axis), _last(coarse, around, axis))
        )
    # rows without a place, such as class tokens, correspond to those of the same number
    nowhere = fine.columns["y"] < 0
    for at, name in enumerate(_PLACES, 1):
        keys[at] = np.where(nowhere, fine.columns[name], keys[at])
    return _by_keys(keys, [coarse.columns[name] for name in ("input", *_PLACES)])


def _last(run: RunView, field: ReceptiveField, axis: int) -> int:
    """The last position of a layer's grid, as far as the store tells: those drawn may be fewer."""
    length, stride = ((field.height, field.stride_y), (field.width, field.stride_x))[axis]
    return max(int(run.columns[_PLACES[axis]].max(initial=0)), -(-length // stride) - 1)


def _cell(field: ReceptiveField, axis: int) -> tuple[float, int]:
    """Centre of the cell of position 0, and the length of cells, in pixels."""
    stride = (field.stride_y, field.stride_x)[axis]
    if field.kind == "whole":
        return stride / 2.0, stride
    return (field.offset_y, field.offset_x)[axis] + (field.size_y, field.size_x)[axis] / 2.0, stride


def _cells(place: Ints, own: tuple[float, int], other: tuple[float, int], last: int) -> Ints:
    """The cells of another grid that hold the centres of cells of this one."""
    centres = own[0] + place * own[1]
    found = np.floor((centres - other[0]) / other[1] + 0.5).astype(np.int64)
    return np.clip(found, 0, last)


def _by_keys(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> Pairs:
    """Pairs of rows whose keys are equal; of equal keys in ``second`` the first row is taken."""
    ours, theirs = _as_numbers(first, second)
    if np.array_equal(ours, theirs):
        return _same(len(ours))
    order = np.argsort(theirs, kind="stable")
    at = np.searchsorted(theirs[order], ours)
    inside = at < len(order)
    hit = np.zeros(len(ours), bool)
    hit[inside] = theirs[order[at[inside]]] == ours[inside]
    return Pairs(np.flatnonzero(hit), order[at[hit]])


def _as_numbers(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> tuple[Ints, Ints]:
    """Keys of several columns as one number each."""
    n_first = len(first[0])
    total: Ints = np.zeros(n_first + len(second[0]), np.int64)
    for a, b in zip(first, second, strict=True):
        values, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
        total = np.unique(total * len(values) + codes, return_inverse=True)[1].astype(np.int64)
    return total[:n_first], total[n_first:]


def _memberships(graph: MapperGraph) -> Any:
    """Sparse int64 [n_nodes, n_rows] of ones."""
    from scipy.sparse import csr_array

    ones = np.ones(len(graph.rows), np.int64)
    return csr_array((ones, graph.rows, graph.indptr), shape=(graph.n_nodes, graph.n_rows))


def flow_counts(first: MapperGraph, second: MapperGraph, pairs: Pairs, nodes: Ints) -> Ints:
    """Count how many pairs of rows lead from each node to each.

    Parameters
    ----------
    first, second : MapperGraph
    pairs : Pairs
    nodes : int64[n]
        Nodes of ``first``, ascending.

    Returns
    -------
    int64[n_flows, 3]
        (source, target, pairs), sorted by (source, target); target -1: the row of ``second`` is
        in no node.

    Notes
    -----
    A product of sparse matrices: work is the sum over pairs of the nodes of one row times those of
    the other.
    """
    from scipy.sparse import csr_array

    shape = (first.n_rows, second.n_rows)
    ones = np.ones(len(pairs.first), np.int64)
    links = csr_array((ones, (pairs.first, pairs.second)), shape=shape)
    leaving = _memberships(first)[nodes] @ links
    # one more target holds the rows that are in no node
    targets = _memberships(second)
    nowhere = np.ones(second.n_rows, np.int64)
    nowhere[second.rows] = 0
    found = (leaving @ targets.T).tocoo()
    lost = leaving @ nowhere
    sources, lonely = nodes[found.row], np.flatnonzero(lost)
    counts = np.concatenate(
        [
            np.stack([sources, found.col, found.data], axis=1),
            np.stack([nodes[lonely], np.full(len(lonely), -1), lost[lonely]], axis=1),
        ]
    ).astype(np.int64)
    counts = counts[counts[:, 2] > 0]
    return counts[np.lexsort((counts[:, 1], counts[:, 0]))]


def flows(
    first: RunView, second: RunView, nodes: Ints | None = None, limit: int = 200
) -> dict[str, Any]:
    """Where the rows of nodes lie in another run.

    Parameters
    ----------
    first, second : RunView
    nodes : int64[n], optional
        Of ``first``; all of them where omitted.
    limit : int
        Most flows to list, the largest first; likewise targets.

    Returns
    -------
    dict
        ``n_rows``: rows of the nodes, each once. ``n_matched``: those that the other run has.
        ``flows``: ``source``, ``target``, ``count`` of pairs of rows; a row that lies in several
        nodes counts in each. ``targets``: ``node``, ``count`` of the rows, each once, that lie in
        it, and their share of those matched.

    Raises
    ------
    Conflict
        The rows cannot be matched.
    """
    if not 1 <= limit <= LIMIT:
        raise ParameterError(f"limit must be 1 to {LIMIT:,} flows, got {limit:,}")
    graph, other = first.graph, second.graph
    chosen = np.arange(graph.n_nodes) if nodes is None else np.unique(nodes).astype(np.int64)
    rows = rows_of(graph, chosen)
    pairs = match_rows(first, second)
    counts = flow_counts(graph, other, pairs, chosen)
    counts = counts[np.argsort(-counts[:, 2], kind="stable")][:limit]
    inside = np.isin(pairs.first, rows, assume_unique=False)
    matched = np.unique(pairs.first[inside])
    targets = _targets(other, Pairs(pairs.first[inside], pairs.second[inside]), len(matched))
    return {
        "n_rows": len(rows),
        "n_matched": len(matched),
        "flows": [
            {"source": source, "target": target, "count": count}
            for source, target, count in counts.tolist()
        ],
        "targets": targets[:limit],
    }


def _targets(graph: MapperGraph, pairs: Pairs, n_matched: int) -> list[dict[str, Any]]:
    """Nodes that hold rows of the second part of pairs, and how many of the first, each once."""
    from scipy.sparse import csr_array

    if not n_matched:
        return []
    ids, rows = np.unique(pairs.first, return_inverse=True)
    links = csr_array(
        (np.ones(len(rows), np.int64), (pairs.second, rows)), shape=(graph.n_rows, len(ids))
    )
    reached = (_memberships(graph) @ links).astype(bool)
    counts = np.asarray(reached.sum(axis=1)).ravel()
    order = np.argsort(-counts, kind="stable")
    return [
        {"node": int(node), "count": int(counts[node]), "share": float(counts[node] / n_matched)}
        for node in order
        if counts[node]
    ]


def overlap(graph: MapperGraph, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """How much two classes lie in the same nodes.

    Parameters
    ----------
    graph : MapperGraph
    first, second : bool[n_rows]
        Whether a row is of the class.

    Returns
    -------
    float
        Sum over nodes of the smaller share, where a class's shares are of its memberships and
        sum to 1. NaN where a class is in no node.

    Examples
    --------
    >>> from topoact_gpu import DBSCAN, Mapper, UniformCover
    >>> X = np.linspace(0, 1, 50)[:, None]
    >>> graph = Mapper("column:0", cover=UniformCover(5, 0.2), clusterer=DBSCAN(0.1)).fit(X).graph_
    >>> low = X[:, 0] < 0.2
    >>> round(overlap(graph, low, low), 6), overlap(graph, low, X[:, 0] > 0.8)
    (1.0, 0.0)
    """
    totals = [_memberships(graph) @ held.astype(np.int64) for held in (first, second)]
    if not all(total.sum() for total in totals):
        return float("nan")
    a, b = (total / total.sum() for total in totals)
    return float(np.minimum(a, b).sum())


def separation(
    session: Session, store: str, classes: Sequence[int], label: str | None = None
) -> dict[str, Any]:
    """How far two classes lie together in each layer that has a run.

    Parameters
    ----------
    session : Session
    store : str
        Its id.
    classes : (int, int)
        By their place among the names of the first run that has the column.
    label : str, optional

    Returns
    -------
    dict
        ``layers``, in the network's order: ``layer``, ``run``, ``overlap`` (see `overlap`).

    Raises
    ------
    ParameterError, DataError
    """
    view = session.store(store)
    runs = [run for run in session.runs if run.store_id == store]
    order = {name: at for at, (name, *_) in enumerate(view.shapes)}
    runs = sorted(
        (run for run in runs if run.source.get("layer") in order),
        key=lambda run: order[run.source["layer"]],
    )
    named = [(run, found) for run in runs if (found := _label_of(run, label)) is not None]
    if not named:
        known = {c.name for run in runs for c in run.column_kinds() if c.kind == "category"}
        raise DataError(
            f"no run of {view.name} has the classes {label or ''}{nearest_name(label or '', known)}"
        )
    wanted = _class_names(named[0][0].class_codes(named[0][1])[1], classes)
    layers = []
    for run, column in named:
        codes, names = run.class_codes(column)
        held = [codes == (names.index(name) if name in names else -2) for name in wanted]
        layers.append(
            {
                "layer": run.source["layer"],
                "run": run.id,
                "overlap": overlap(run.graph, held[0], held[1]),
            }
        )
    return {"layers": layers}


def _label_of(run: RunView, label: str | None) -> str | None:
    try:
        return run.checked_label(label)
    except TopoactError:
        return None


def _class_names(names: list[str], classes: Sequence[int]) -> list[str]:
    if len(classes) != 2:
        raise ParameterError(f"classes must be two ids, got {len(classes)}")
    for each in classes:
        if not 0 <= each < len(names):
            raise ParameterError(f"classes must be ids from 0 to {len(names) - 1}, got {each}")
    return [names[each] for each in classes]
