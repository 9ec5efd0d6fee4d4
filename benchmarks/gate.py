"""The correctness gate: a naive Mapper that every contestant's answer is compared with.

Nothing here is shared with the engine: intervals by comparison, labels by scikit-learn's DBSCAN on
float64 copies, the nerve by a sparse product.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np

__all__ = [
    "Answer",
    "Reference",
    "Rules",
    "compare",
    "compare_exactly",
    "compare_intervals",
    "naive_cover",
    "reference",
]

# Libraries compute the ends of their intervals in different float orders, some open, some closed.
END_TOLERANCE = 1e-9
# scikit-learn keeps the neighbours of every row; of more rows than this they are not listed.
LISTED_ROWS = 45_000


@dataclass(frozen=True)
class Rules:
    """How a library's Mapper differs from closed intervals whose nodes are clusters.

    Attributes
    ----------
    family : {"inside", "centred"}
        Where the intervals lie: within the lens range, or centred in equal cells and sticking out.
    noise_nodes : bool
        The noise of an interval is a node, too.
    lone_rows : bool
        An interval of one row is a node in spite of ``min_samples``.
    core_cells_only : bool
        An interval exists only if a row lies in its own cell, not just in the overlap.
    any_border : bool
        Rows are clustered in an order of its own, so that a border row within eps of two clusters
        may be in the other one.
    """

    family: str = "inside"
    noise_nodes: bool = False
    lone_rows: bool = False
    core_cells_only: bool = False
    any_border: bool = False


@dataclass(frozen=True)
class Reference:
    """Labels of each interval of a naive cover.

    Attributes
    ----------
    lower, upper : float64[n_intervals]
    indptr : int64[n_intervals + 1]
    rows, labels : int64[nnz]
        Ascending rows of each interval and scikit-learn's label of each.
    core : bool[nnz]
        Whether the row is a core row of its interval.
    """

    lower: np.ndarray
    upper: np.ndarray
    indptr: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    core: np.ndarray

    def save(self, path: Path) -> None:
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Reference:
        with np.load(path) as archive:
            return cls(**{name: archive[name] for name in archive.files})


@dataclass(frozen=True)
class Answer:
    """A Mapper graph as plain arrays.

    Attributes
    ----------
    indptr : int64[n_nodes + 1]
    rows : int64[nnz]
        Ascending row ids of each node.
    edges : int64[n_edges, 2 or 3]
        Source < target, and for ours the shared count; sorted.
    node_interval : int64[n_nodes] or int64[0]
        The interval of each node, where the library says.
    """

    indptr: np.ndarray
    rows: np.ndarray
    edges: np.ndarray
    node_interval: np.ndarray

    @classmethod
    def of(cls, nodes: list, edges: object, node_interval: object = ()) -> Answer:
        """From lists of rows, dropping empty nodes and sorting rows and edges."""
        parts = [np.sort(np.asarray(node, np.int64)) for node in nodes]
        kept = [i for i, part in enumerate(parts) if len(part)]
        number = np.full(len(parts), -1)
        number[kept] = np.arange(len(kept))
        pairs = np.asarray(edges, np.int64).reshape(-1, 2)
        pairs = np.sort(number[pairs], axis=1)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        indptr = np.concatenate([[0], np.cumsum([len(parts[i]) for i in kept])]).astype(np.int64)
        rows = np.concatenate([parts[i] for i in kept]) if kept else np.empty(0, np.int64)
        interval = np.asarray(node_interval, np.int64)
        return cls(indptr, rows, pairs, interval[kept] if len(interval) else interval)

    def save(self, path: Path) -> None:
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Answer:
        with np.load(path) as archive:
            return cls(**{name: archive[name] for name in archive.files})

    @property
    def n_nodes(self) -> int:
        return len(self.indptr) - 1


def naive_cover(
    lens: np.ndarray, family: str, n_intervals: int, overlap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals of a uniform cover; closed.

    ``inside`` has length R / (n - (n - 1) p) and lies within the range; ``centred`` has length
    R / (n (1 - p)) about the middles of n equal cells, in KeplerMapper's float order.
    """
    low, high = float(np.min(lens)), float(np.max(lens))
    if family == "inside":
        length = (high - low) / (n_intervals - (n_intervals - 1) * overlap)
        lower = low + np.arange(n_intervals) * length * (1 - overlap)
        upper = lower + length
        upper[-1] = high
        return lower, upper
    inset = ((high - low) - (n_intervals - 1) / n_intervals * (high - low)) / 2
    centres = np.linspace(low + inset, high - inset, num=n_intervals)
    radius = (high - low) / (2 * n_intervals * (1 - overlap))
    return centres - radius, centres + radius


def reference(
    rows: np.ndarray,
    lens: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    *,
    eps: float,
    min_samples: int,
    n_jobs: int = 1,
    only: set[int] | None = None,
) -> Reference:
    """Cluster each interval with scikit-learn's DBSCAN on a float64 copy.

    ``only`` names the intervals to cluster; the others stay empty.
    """
    from sklearn.cluster import DBSCAN

    taken, labels, cores = [], [], []
    for i, (low, high) in enumerate(zip(*ends, strict=True)):
        ids = np.flatnonzero((lens >= low) & (lens <= high))
        if only is not None and i not in only:
            ids = ids[:0]
        taken.append(ids)
        core = np.zeros(len(ids), bool)
        found = ids
        if len(ids):
            points = np.asarray(rows[ids], np.float64)
            if len(ids) > LISTED_ROWS:
                found, core = blockwise_dbscan(points, eps, min_samples)
            else:
                clusterer = DBSCAN(eps=eps, min_samples=min_samples, n_jobs=n_jobs)
                found = clusterer.fit_predict(points)
                core[clusterer.core_sample_indices_] = True
        labels.append(found)
        cores.append(core)
    indptr = np.concatenate([[0], np.cumsum([len(ids) for ids in taken])]).astype(np.int64)
    flat = [np.concatenate(part).astype(np.int64) for part in (taken, labels)]
    return Reference(*ends, indptr, *flat, np.concatenate(cores))


def blockwise_dbscan(
    points: np.ndarray, eps: float, min_samples: int, block: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """DBSCAN without neighbour lists, which would fill the memory: int64 labels, bool core rows.

    The neighbours of a block of rows are found twice, in float64: for the degrees, and for the
    components. Numbering is scikit-learn's.
    """
    n = len(points)
    squares = (points**2).sum(1)

    def blocks():
        for start in range(0, n, block):
            part = slice(start, min(start + block, n))
            d2 = squares[part, None] + squares - 2 * points[part] @ points.T
            d2[np.arange(part.stop - start), np.arange(start, part.stop)] = 0
            yield part, d2 <= eps * eps

    core = np.concatenate([within.sum(1) >= min_samples for _, within in blocks()])
    component = np.where(core, np.arange(n), -1)
    reached = []
    for part, within in blocks():
        within &= core
        # A row that isn't core has few neighbours, so those may be listed.
        reached += [
            (i + part.start, np.flatnonzero(within[i])) for i in np.flatnonzero(~core[part])
        ]
        for i in np.flatnonzero(core[part]):
            neighbours = component[within[i]]
            lowest = neighbours.min()
            if np.any(neighbours != lowest):
                component[np.isin(component, neighbours)] = lowest
    named = component.copy()
    for i, neighbours in reached:
        if len(neighbours):
            named[i] = component[neighbours].min()
    # A component is named by its smallest core row, so names are in the order of the labels.
    names = np.unique(component[core])
    return np.where(named >= 0, np.searchsorted(names, named), -1), core


def expected_nodes(ref: Reference, rules: Rules, lens: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Nodes a library should find: (interval, ascending rows), by interval, then label."""
    kept = _kept_intervals(ref, rules, lens)
    nodes = []
    for i in np.flatnonzero(kept):
        rows = ref.rows[ref.indptr[i] : ref.indptr[i + 1]]
        labels = ref.labels[ref.indptr[i] : ref.indptr[i + 1]]
        if len(rows) == 1 and rules.lone_rows:
            nodes.append((int(i), rows))
            continue
        first = -1 if rules.noise_nodes else 0
        for label in np.unique(labels[labels >= first]):
            nodes.append((int(i), rows[labels == label]))
    return nodes


def _kept_intervals(ref: Reference, rules: Rules, lens: np.ndarray) -> np.ndarray:
    n = len(ref.lower)
    if not rules.core_cells_only:
        return np.ones(n, bool)
    low, high = lens.min(), lens.max()
    cell = np.minimum(n - 1, np.floor(n * (lens - low) / (high - low))).astype(int)
    kept = np.zeros(n, bool)
    kept[cell] = True
    return kept


def naive_nerve(indptr: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs of nodes that share rows: int64[n_edges, 3] (source, target, shared), sorted."""
    from scipy.sparse import csr_array

    n_rows = int(rows.max()) + 1 if len(rows) else 1
    ones = np.ones(len(rows), np.int64)
    holds = csr_array((ones, rows, indptr), shape=(len(indptr) - 1, n_rows))
    shared = (holds @ holds.T).tocoo()
    upper = shared.row < shared.col
    edges = np.column_stack([shared.row[upper], shared.col[upper], shared.data[upper]])
    return edges[np.lexsort((edges[:, 1], edges[:, 0]))].astype(np.int64)


def touched_intervals(ref: Reference, lens: np.ndarray) -> np.ndarray:
    """Intervals with a row so near an inner end that libraries may differ about it."""
    ordered = np.sort(lens)
    slack = END_TOLERANCE * max(1.0, float(ordered[-1] - ordered[0]))
    ends = np.concatenate([ref.lower, ref.upper])
    near = np.searchsorted(ordered, ends + slack, "right") > np.searchsorted(ordered, ends - slack)
    # The outermost ends hold the smallest and the largest row in every library's cover.
    near[0] = near[-1] = False
    n = len(ref.lower)
    return near[:n] | near[n:]


def compare(answer: Answer, ref: Reference, rules: Rules, lens: np.ndarray) -> list[str]:
    """What is wrong with a library's graph; an empty list when it is right.

    Nodes are compared as a multiset of row sets, edges with the naive nerve of the library's own
    nodes. A difference is excused only in an interval with a row at one of its ends.
    """
    problems = []
    own = naive_nerve(answer.indptr, answer.rows)[:, :2]
    if not np.array_equal(own, answer.edges[:, :2]):
        problems.append(f"{len(answer.edges)} edges, the nerve of its nodes has {len(own)}")
    expected = expected_nodes(ref, rules, lens)
    found = [answer.rows[a:b] for a, b in pairwise(answer.indptr)]
    missing = [expected[i] for i in _unmatched([rows for _, rows in expected], found)]
    surplus = [found[i] for i in _unmatched(found, [rows for _, rows in expected])]
    if rules.any_border and _only_borders_moved(missing, surplus, ref):
        missing, surplus = [], []
    touched = np.flatnonzero(touched_intervals(ref, lens))
    for kind, nodes in (("missing", [rows for _, rows in missing]), ("surplus", surplus)):
        wrong = [node for node in nodes if not _within_one(node, ref, touched, lens)]
        if wrong:
            rows = sum(map(len, wrong))
            problems.append(f"{len(wrong)} {kind} nodes with {rows} memberships")
    if problems:
        problems.append(f"{answer.n_nodes} nodes, {len(expected)} expected")
    return problems


def _unmatched(left: list[np.ndarray], right: list[np.ndarray]) -> list[int]:
    """Positions in ``left`` that have no equal partner in ``right``."""

    def key(node: np.ndarray) -> bytes:
        return blake2b(np.ascontiguousarray(node, np.int64), digest_size=16).digest()

    spare = Counter(map(key, right))
    rest = []
    for position, node in enumerate(left):
        name = key(node)
        if spare[name]:
            spare[name] -= 1
        else:
            rest.append(position)
    return rest


def _only_borders_moved(missing: list, surplus: list[np.ndarray], ref: Reference) -> bool:
    """Whether nodes differ only in which cluster of their interval took a border row."""
    moved: Counter = Counter()
    rest = list(surplus)
    for interval, rows in missing:
        part = slice(ref.indptr[interval], ref.indptr[interval + 1])
        cores = ref.rows[part][ref.core[part]]
        core = np.intersect1d(rows, cores)
        twin = next((n for n in rest if np.array_equal(np.intersect1d(n, cores), core)), None)
        if twin is None:
            return False
        rest = [node for node in rest if node is not twin]
        moved.update((interval, int(row)) for row in rows)
        moved.subtract((interval, int(row)) for row in twin)
    return not rest and not any(moved.values())


def _within_one(node: np.ndarray, ref: Reference, intervals: np.ndarray, lens: np.ndarray) -> bool:
    low, high = lens[node].min(), lens[node].max()
    slack = END_TOLERANCE * max(1.0, float(lens.max() - lens.min()))
    return bool(
        np.any((ref.lower[intervals] <= low + slack) & (ref.upper[intervals] >= high - slack))
    )


def compare_exactly(answer: Answer, ref: Reference, lens: np.ndarray) -> list[str]:
    """What differs, bit for bit, from the naive graph: nodes in order, their rows, the edges."""
    nodes = expected_nodes(ref, Rules(), lens)
    sizes = [len(rows) for _, rows in nodes]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    rows = np.concatenate([rows for _, rows in nodes]) if nodes else np.empty(0, np.int64)
    expected = {
        "indptr": indptr,
        "rows": rows,
        "node_interval": np.array([i for i, _ in nodes], np.int64),
        "edges": naive_nerve(indptr, rows),
    }
    return [
        f"{name} differs: {getattr(answer, name).shape}, expected {array.shape}"
        for name, array in expected.items()
        if not np.array_equal(getattr(answer, name), array)
    ]


def compare_intervals(
    answer: Answer, ref: Reference, intervals: list[int], lens: np.ndarray
) -> list[str]:
    """Check a graph too large for a naive one: some intervals bit for bit, the rest by its laws.

    ``ref`` holds labels of ``intervals`` only. Everywhere: every node lies within its interval,
    nodes of one interval share no row, nodes come by interval, edges are the naive nerve.
    """
    problems = []
    if not np.array_equal(naive_nerve(answer.indptr, answer.rows), answer.edges):
        problems.append("edges are not the nerve of the nodes")
    if np.any(np.diff(answer.node_interval) < 0):
        problems.append("nodes are not ordered by interval")
    owner = np.repeat(answer.node_interval, np.diff(answer.indptr))
    values = lens[answer.rows]
    if np.any((values < ref.lower[owner]) | (values > ref.upper[owner])):
        problems.append("a node has rows outside its interval")
    if len(np.unique(owner * len(lens) + answer.rows)) != len(answer.rows):
        problems.append("two nodes of one interval share a row")
    for i in intervals:
        expected = [rows for j, rows in expected_nodes(ref, Rules(), lens) if j == i]
        found = [
            answer.rows[answer.indptr[node] : answer.indptr[node + 1]]
            for node in np.flatnonzero(answer.node_interval == i)
        ]
        if len(found) != len(expected) or not all(map(np.array_equal, found, expected)):
            problems.append(f"interval {i}: {len(found)} nodes, {len(expected)} expected")
    return problems
