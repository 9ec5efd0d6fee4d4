"""Features of a Mapper graph: its branches, loops and hubs, found by themselves and named."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.lift import corrected, upper_tail

if TYPE_CHECKING:
    from topoact_gpu.graph import MapperGraph
    from topoact_gpu.summary import Summary

__all__ = ["Feature", "Features", "find_branches", "find_features", "find_hubs", "find_loops"]

_Ints = NDArray[np.int64]
_N_TRIED = 200
"""Loops that are pulled tight and ranked by their rows: the longest as the forest closes them."""
_MOST_TRIANGLES = 5_000_000
_PAIRS_AT_ONCE = 1 << 20
_BITS, _SHORT = 512, (1 << 64) - 1
_NAMED, _LEAST_SHARE = 2, 0.05


@dataclass(frozen=True)
class Feature:
    """Something to look at.

    Attributes
    ----------
    id : str
        ``branch-0``, ``loop-0``, ``hub-0``, ... by rank.
    kind : "branch", "loop" or "hub"
    name : str
        The classes that set it apart, by lift; without any, such as "branch 1".
    nodes : tuple of int
        Of a branch from its end to the junction, of a loop around it, of a hub the one.
    rank : int
        From 0.
    score : float
    """

    id: str
    kind: str
    name: str
    nodes: tuple[int, ...]
    rank: int
    score: float


@dataclass(frozen=True)
class Features:
    """The strongest of each kind, by rank."""

    branches: tuple[Feature, ...]
    loops: tuple[Feature, ...]
    hubs: tuple[Feature, ...]


def find_features(
    graph: MapperGraph, summary: Summary | None = None, *, limit: int = 20
) -> Features:
    """Find branches, loops and hubs.

    Parameters
    ----------
    graph : MapperGraph
    summary : Summary, optional
        For their names.
    limit : int
        At most so many of each kind.

    Returns
    -------
    Features

    Notes
    -----
    Time is about linear in nodes, edges and triangles; loops see below.

    Examples
    --------
    >>> from topoact_gpu import MapperGraph
    >>> rows = np.array([0, 1, 1, 2, 2, 3, 3, 0])  # four nodes in a circle
    >>> graph = MapperGraph.build(np.arange(0, 9, 2), np.array([0, 1, 1, 2, 2, 3, 0, 3]),
    ...                           np.arange(4), np.arange(4.0), 8)
    >>> find_features(graph).loops[0].nodes
    (0, 1, 2, 3)
    """
    adjacency = _Adjacency(graph)
    branches = find_branches(graph, adjacency=adjacency)[:limit]
    loops = find_loops(graph, adjacency=adjacency)[:limit]
    hubs = find_hubs(graph, adjacency=adjacency)[:limit]
    names = iter(_names([nodes for nodes, _ in (*branches, *loops, *hubs)], summary))
    return Features(
        _named("branch", branches, names),
        _named("loop", loops, names),
        _named("hub", hubs, names),
    )


_Found = list[tuple[list[int], float]]


def _named(kind: str, found: _Found, names: Iterable[str]) -> tuple[Feature, ...]:
    pairs = zip(found, names, strict=False)
    return tuple(
        Feature(f"{kind}-{rank}", kind, name or f"{kind} {rank + 1}", tuple(nodes), rank, score)
        for rank, ((nodes, score), name) in enumerate(pairs)
    )


class _Adjacency:
    """The edges of a graph, as lists of neighbours."""

    def __init__(self, graph: MapperGraph) -> None:
        self.graph, self.n_nodes = graph, graph.n_nodes
        self.ends = np.ascontiguousarray(graph.edges[:, :2])
        both = np.concatenate([self.ends, self.ends[:, ::-1]])
        edge = np.tile(np.arange(graph.n_edges), 2)
        order = np.lexsort((both[:, 1], both[:, 0]))
        self.near = np.ascontiguousarray(both[order, 1])
        self.edge_of = np.ascontiguousarray(edge[order])
        self.degree = np.bincount(both[:, 0], minlength=graph.n_nodes).astype(np.int64)
        self.indptr = np.concatenate([[0], np.cumsum(self.degree)]).astype(np.int64)

    @cached_property
    def forest(self) -> tuple[_Ints, _Ints, _Ints]:
        """Parent, edge to it, and depth of each node in a breadth-first forest."""
        from topoact_gpu.kernels.features import cpu

        parent, parent_edge, queue = (np.empty(self.n_nodes, dtype=np.int64) for _ in range(3))
        depth = np.full(self.n_nodes, -1, dtype=np.int64)
        cpu.spanning_forest(self.indptr, self.near, self.edge_of, parent, parent_edge, depth, queue)
        return parent, parent_edge, depth

    def neighbours(self, node: int) -> list[int]:
        """Neighbours of a node, ascending."""
        found: list[int] = self.near[self.indptr[node] : self.indptr[node + 1]].tolist()
        return found


def _score(graph: MapperGraph, nodes: Sequence[int]) -> float:
    """Nodes times the share of all rows that they hold."""
    held = [graph.rows[graph.indptr[a] : graph.indptr[a + 1]] for a in nodes]
    n_rows = np.unique(np.concatenate(held)).size if held else 0
    return len(nodes) * n_rows / max(graph.n_rows, 1)


def _ranked(graph: MapperGraph, found: Iterable[list[int]]) -> _Found:
    """Nodes and score, the strongest first, of equal ones that with the lowest nodes."""
    scored = [(nodes, _score(graph, nodes)) for nodes in found]
    return sorted(scored, key=lambda each: (-each[1], each[0]))


def find_branches(graph: MapperGraph, *, adjacency: _Adjacency | None = None) -> _Found:
    """Find the arms of a graph.

    Parameters
    ----------
    graph : MapperGraph

    Returns
    -------
    list of (nodes, score)
        From a node with one neighbour along nodes with two, up to the first junction (a node with
        three or more), which is left out. A component that is one line is one branch. The score,
        by which they are sorted, is the number of nodes times the share of all rows in them.
    """
    edges = adjacency or _Adjacency(graph)
    degree, found, ended = edges.degree.tolist(), [], set()
    for leaf in np.flatnonzero(edges.degree == 1).tolist():
        if leaf in ended:
            continue
        arm, before, node = [leaf], leaf, edges.neighbours(leaf)[0]
        while degree[node] == 2:
            arm.append(node)
            one, other = edges.neighbours(node)
            before, node = node, other if one == before else one
        if degree[node] == 1:
            arm.append(node)
            ended.add(node)
        found.append(arm)
    return _ranked(graph, found)


def find_hubs(graph: MapperGraph, *, adjacency: _Adjacency | None = None) -> _Found:
    """Find the junctions at which much comes together.

    Parameters
    ----------
    graph : MapperGraph

    Returns
    -------
    list of ([node], score)
        Nodes with three neighbours or more. The score, by which they are sorted, is the degree
        less 2, times 1 + s: s is the chance that two memberships elsewhere in the component lie
        in different parts of it once the node is taken away (0: it holds nothing apart).
    """
    from topoact_gpu.kernels.features import cpu

    edges = adjacency or _Adjacency(graph)
    n = edges.n_nodes
    number = np.full(n, -1, dtype=np.int64)
    scratch = [np.empty(n, dtype=np.int64) for _ in range(4)]
    below, apart, squares, total = (np.zeros(n) for _ in range(4))
    weight = graph.sizes.astype(np.float64)
    cpu.split_squares(
        edges.indptr, edges.near, weight, number, *scratch, below, apart, squares, total
    )
    split = 1 - np.divide(squares, total**2, out=np.ones(n), where=total > 0)
    score = (edges.degree - 2) * (1 + split)
    hubs = np.flatnonzero(edges.degree >= 3)
    order = hubs[np.lexsort((hubs, -graph.sizes[hubs], -score[hubs]))]
    return [([int(node)], float(score[node])) for node in order]


def find_loops(graph: MapperGraph, *, adjacency: _Adjacency | None = None) -> _Found:
    """Find loops that are independent of each other and not filled by triangles of the graph.

    Parameters
    ----------
    graph : MapperGraph

    Returns
    -------
    list of (nodes, score)
        Nodes in order around the loop, from the lowest one towards its lower neighbour. The score,
        by which they are sorted, is the number of nodes times the share of all rows in them. At
        most 200.

    Notes
    -----
    Every edge beyond a breadth-first forest closes a cycle. Cycles that are sums of triangles and
    of shorter cycles are left out: edges are worth what triangles say, in the order of the lengths
    of their cycles; what the remaining triangles say is taken away after. The 200 longest are
    pulled tight: a shortest way round for their edge, and through its ends the shortest cycles
    that triangles make the same, or do not fill. Of these and those of the forest the shortest
    that are independent are kept: independence is tested over GF(2) on 512 random bits for each
    cycle (more where many triangles depend on each other), drawn with a fixed seed. Triangles of
    the graph count as filled even where no row lies in all three nodes. Beyond 5,000,000 triangles
    those of later edges are not looked at: loops may then be filled.
    """
    edges = adjacency or _Adjacency(graph)
    lengths = _cycle_lengths(edges)
    loose = np.flatnonzero(lengths > 2)
    if not loose.size:
        return []
    order = loose[np.argsort(lengths[loose], kind="stable")]
    worth, own = _worths(edges, order)
    longest = own[np.argsort(-lengths[own], kind="stable")][:_N_TRIED].tolist()
    cycles = [_forest_cycle(edges, edge) for edge in longest]
    tight = _Tight(edges, worth, lengths)
    cycles += [cycle for edge in longest for cycle in tight.cycles(edge)]
    return _ranked(graph, _independent(edges, cycles, worth, len(longest)))


def _cycle_lengths(edges: _Adjacency) -> _Ints:
    """Nodes of the cycle that each edge closes with the forest; 2 for an edge of the forest."""
    from topoact_gpu.kernels.features import cpu

    parent, _, depth = edges.forest
    lengths = np.empty(len(edges.ends), dtype=np.int64)
    cpu.cycle_lengths(edges.ends, parent, depth, lengths)
    return lengths


def _worths(edges: _Adjacency, order: _Ints) -> tuple[list[int], _Ints]:
    """What each edge is worth, as random bits, and the edges that are loops of their own.

    The worth of a cycle is the sum (exclusive or) over its edges: 0 where triangles fill it.
    """
    from topoact_gpu.kernels.features import cpu

    n_edges, triangles = len(edges.ends), _triangles(edges)
    filled_by = np.full(n_edges, -1, dtype=np.int64)
    filled_by[order] = -2
    left = (filled_by[triangles] == -2).sum(axis=1).astype(np.int64)
    by_edge = np.argsort(triangles.ravel(), kind="stable")
    counts = np.bincount(triangles.ravel(), minlength=n_edges)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    sequence = np.empty(order.size, dtype=np.int64)
    cpu.resolve(triangles, indptr, by_edge // 3, order, filled_by, sequence, left)
    n_bits = _BITS
    while True:
        worth = _first_worths(triangles, filled_by, sequence, n_bits)
        relations = _relations(triangles, worth)
        if 2 * len(relations) <= n_bits:
            break
        n_bits *= 8
    worth = [_reduced(bits, relations) for bits in worth]
    own = np.flatnonzero(filled_by == -3)
    return worth, own[[worth[edge] != 0 for edge in own.tolist()]]


def _first_worths(triangles: _Ints, filled_by: _Ints, sequence: _Ints, n_bits: int) -> list[int]:
    """Bits of each edge, as the triangles say that settled them."""
    bits, worth = random.Random(0), [0] * filled_by.size
    fillers = filled_by[sequence]
    sides = (
        triangles[np.maximum(fillers, 0)] if triangles.size else np.zeros((fillers.size, 3), int)
    )
    settled = zip(sequence.tolist(), fillers.tolist(), sides.tolist(), strict=True)
    for edge, filler, (a, b, c) in settled:
        if filler == -3:
            worth[edge] = bits.getrandbits(n_bits)
        else:
            worth[edge] = worth[a] ^ worth[b] ^ worth[c]  # of the edge itself it is still 0
    return worth


def _relations(triangles: _Ints, worth: list[int]) -> dict[int, int]:
    """Independent sums of edges that other triangles say are worth nothing, by highest bit."""
    short = np.array([bits & _SHORT for bits in worth], dtype=np.uint64)
    sides = short[triangles]
    wrong = triangles[(sides[:, 0] ^ sides[:, 1] ^ sides[:, 2]) != 0]
    leading: dict[int, int] = {}
    for value in sorted({worth[a] ^ worth[b] ^ worth[c] for a, b, c in wrong.tolist()}):
        value = _reduced(value, leading)
        if value:
            leading[value.bit_length()] = value
    return leading


def _reduced(value: int, leading: dict[int, int]) -> int:
    """What is left of a value when none of the leading bits is set any more."""
    for place in sorted(leading, reverse=True) if value and leading else ():
        if value >> (place - 1) & 1:
            value ^= leading[place]
    return value


def _triangles(edges: _Adjacency) -> _Ints:
    """Triangles of the graph as their three edges, int64[n, 3]."""
    n, (source, target) = edges.n_nodes, edges.ends.T
    keys = source * n + target  # ascending, as the edges are sorted
    first = np.searchsorted(source, np.arange(n + 1))
    later = np.diff(first)[target]  # edges onwards from the target of each edge
    parts, n_found, start = [np.empty((0, 3), dtype=np.int64)], 0, 0
    ends = np.cumsum(later)
    while start < keys.size and n_found < _MOST_TRIANGLES:
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, "right")), start + 1)
        one = np.repeat(np.arange(start, stop), later[start:stop])
        offset = np.arange(one.size) - np.repeat(ends[start:stop] - later[start:stop] - before,
                                                 later[start:stop])  # fmt: skip
        two = first[target[one]] + offset
        wanted = source[one] * n + target[two]
        three = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
        closed = keys[three] == wanted
        parts.append(np.stack([one, two, three], axis=1)[closed])
        n_found, start = n_found + int(closed.sum()), stop
    return np.ascontiguousarray(np.concatenate(parts))


def _forest_cycle(edges: _Adjacency, edge: int) -> list[int]:
    """Nodes around the cycle that an edge closes with the forest."""
    parent, _, depth = edges.forest
    a, b = edges.ends[edge].tolist()
    left, right = [a], [b]
    while a != b:
        if depth[a] >= depth[b]:
            a = int(parent[a])
            left.append(a)
        else:
            b = int(parent[b])
            right.append(b)
    return left + right[-2::-1]


class _Tight:
    """Shorter cycles for an edge than the forest's."""

    def __init__(self, edges: _Adjacency, worth: list[int], lengths: _Ints) -> None:
        n = edges.n_nodes
        self.edges, self.lengths = edges, lengths
        self.worth = np.array([bits & _SHORT for bits in worth], dtype=np.uint64)
        self.nowhere = np.full(n, -1, dtype=np.int64)
        self.label, self.parent = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.int64)
        self.queue, self.cycle = (np.empty(2 * n, dtype=np.int64) for _ in range(2))

    def cycles(self, edge: int) -> list[list[int]]:
        """Nodes around each that is found."""
        from topoact_gpu.kernels.features import cpu

        edges, length = self.edges, int(self.lengths[edge])
        start, goal = edges.ends[edge].tolist()
        graph = (edges.indptr, edges.near, edges.edge_of)
        n = cpu.detour(*graph, start, goal, edge, length - 2, self.nowhere, self.queue)
        found = [self.queue[self.queue.size - n :].tolist()]
        for end, wanted in itertools.product((start, goal), (self.worth[edge], np.uint64(0))):
            n = cpu.loop_through(
                *graph, self.worth, end, wanted, length, self.label, self.nowhere,
                self.parent, self.queue, self.cycle,
            )  # fmt: skip
            found.append(self.cycle[:n].tolist())
        return [nodes for nodes in found if nodes]


def _independent(
    edges: _Adjacency, cycles: list[list[int]], worth: list[int], n: int
) -> list[list[int]]:
    """The shortest cycles of which none is a sum of others and triangles; at most ``n``."""
    kept: list[list[int]] = []
    leading: dict[int, int] = {}  # highest bit: a worth that has it, reduced by those above
    for nodes in sorted((_turned(cycle) for cycle in cycles), key=lambda c: (len(c), c)):
        value = 0
        for a, b in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
            value ^= worth[_edge_between(edges, a, b)]
        value = _reduced(value, leading)
        if value:
            leading[value.bit_length()] = value
            kept.append(nodes)
        if len(kept) == n:
            break
    return kept


def _turned(cycle: list[int]) -> list[int]:
    """The same cycle from its lowest node towards the lower of its neighbours."""
    at = cycle.index(min(cycle))
    forth = cycle[at:] + cycle[:at]
    back = [forth[0], *forth[:0:-1]]
    return min(forth, back)


def _edge_between(edges: _Adjacency, a: int, b: int) -> int:
    low, high = edges.indptr[a], edges.indptr[a + 1]
    return int(edges.edge_of[low + np.searchsorted(edges.near[low:high], b)])


def _names(found: list[list[int]], summary: Summary | None) -> list[str]:
    """The classes that set each list of nodes apart from all nodes; empty where none does.

    Counted in memberships. A class must be over-represented (hypergeometric, corrected over all
    lists and classes, below 0.05) and have 5% of the list's; of these the two of the largest lift.
    """
    if summary is None or not summary.class_id.size or not found:
        return [""] * len(found)
    from scipy.sparse import csr_array

    n_classes, n_nodes = summary.base_count.size, summary.size.size
    held = csr_array(
        (summary.class_count, summary.class_id, summary.class_indptr), shape=(n_nodes, n_classes)
    )
    indptr = np.cumsum([0, *(len(nodes) for nodes in found)])
    ids = np.concatenate([np.asarray(nodes, dtype=np.int64) for nodes in found])
    chosen = csr_array((np.ones(ids.size, np.int64), ids, indptr), shape=(len(found), n_nodes))
    table: Any = csr_array(chosen @ held)
    table.sort_indices()
    base = np.bincount(summary.class_id, weights=summary.class_count, minlength=n_classes)
    base = base.astype(np.int64)
    owner = np.repeat(np.arange(len(found)), np.diff(table.indptr))
    drawn = np.bincount(owner, weights=table.data, minlength=len(found)).astype(np.int64)
    share = table.data / drawn[owner]
    lift = share / (base[table.indices] / base.sum())
    p = corrected(upper_tail(table.data, drawn[owner], base[table.indices], int(base.sum())))
    names: list[list[str]] = [[] for _ in found]
    good = (p < 0.05) & (lift > 1) & (share >= _LEAST_SHARE)
    for at in np.lexsort((table.indices, -lift)).tolist():
        if good[at] and len(names[owner[at]]) < _NAMED:
            names[owner[at]].append(summary.class_name(int(table.indices[at])))
    return [", ".join(own) for own in names]
