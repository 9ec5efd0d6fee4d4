"""Branches, loops and hubs of graphs whose shape is known."""

from __future__ import annotations

import itertools
import time

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.features import find_branches, find_features, find_hubs, find_loops
from topoact_gpu.graph import MapperGraph
from topoact_gpu.kernels.features import reference
from topoact_gpu.summary import summarise


def graph_of_edges(n_nodes, pairs, sizes=None):
    """A graph in which each edge has one row of its own; further rows fill the nodes up."""
    pairs = sorted({(min(a, b), max(a, b)) for a, b in pairs if a != b})
    nodes = [[] for _ in range(n_nodes)]
    n_rows = 0
    for a, b in pairs:
        nodes[a].append(n_rows)
        nodes[b].append(n_rows)
        n_rows += 1
    for node, size in enumerate(sizes if sizes is not None else [1] * n_nodes):
        more = max(size - len(nodes[node]), 0)
        nodes[node] += range(n_rows, n_rows + more)
        n_rows += more
    rows = np.array([row for node in nodes for row in node], dtype=np.int64)
    indptr = np.cumsum([0, *map(len, nodes)])
    graph = MapperGraph.build(indptr, rows, np.arange(n_nodes), np.arange(float(n_rows)), rows.size)
    assert graph.edges[:, :2].tolist() == [list(pair) for pair in pairs]
    return graph


def path(*nodes):
    return list(itertools.pairwise(nodes))


def test_a_star_has_arms_and_a_hub():
    # arms 1-2-3, 4-5 and 6 around 0
    graph = graph_of_edges(7, path(0, 1, 2, 3) + path(0, 4, 5) + path(0, 6), [5] * 7)
    found = find_features(graph)
    assert [f.nodes for f in found.branches] == [(3, 2, 1), (5, 4), (6,)]
    assert [f.rank for f in found.branches] == [0, 1, 2]
    assert found.loops == ()
    assert [f.nodes for f in found.hubs] == [(0,)]
    assert found.branches[0].id == "branch-0"
    assert found.branches[0].name == "branch 1"
    assert found.branches[0].score > found.branches[1].score


def test_rows_outweigh_length():
    graph = graph_of_edges(6, path(0, 1, 2, 3) + path(1, 4) + path(1, 5), [5, 5, 5, 5, 90, 5])
    assert find_branches(graph)[0][0] == [4]


def test_a_line_is_one_branch_and_a_single_node_none():
    graph = graph_of_edges(5, path(0, 1, 2, 3))
    assert [nodes for nodes, _ in find_branches(graph)] == [[0, 1, 2, 3]]
    assert find_hubs(graph) == []
    pair = graph_of_edges(2, path(0, 1))
    assert [nodes for nodes, _ in find_branches(pair)] == [[0, 1]]


def test_two_loops():
    # a ring of six and one of four share the edge 0-1
    graph = graph_of_edges(8, path(0, 1, 2, 3, 4, 5, 0) + path(1, 6, 7, 0))
    loops = [nodes for nodes, _ in find_loops(graph)]
    assert sorted(loops) == [[0, 1, 2, 3, 4, 5], [0, 1, 6, 7]]
    assert loops[0] == [0, 1, 2, 3, 4, 5]


def test_triangles_are_filled():
    graph = graph_of_edges(3, path(0, 1, 2, 0))
    assert graph.n_loops == 1
    assert find_loops(graph) == []
    # a ring of triangles: two rings of eight nodes, one inside the other
    ring = [(i, (i + 1) % 8) for i in range(8)]
    inner = [(8 + i, 8 + (i + 1) % 8) for i in range(8)]
    between = [(i, 8 + i) for i in range(8)] + [(i, 8 + (i + 1) % 8) for i in range(8)]
    annulus = graph_of_edges(16, ring + inner + between)
    assert annulus.n_loops == 17
    ((nodes, _),) = find_loops(annulus)
    assert len(nodes) == 8


def test_squares_are_not():
    side = 6
    flat = [(r * side + c, r * side + c + 1) for r in range(side) for c in range(side - 1)]
    down = [(r * side + c, (r + 1) * side + c) for r in range(side - 1) for c in range(side)]
    graph = graph_of_edges(side * side, flat + down)
    loops = find_loops(graph)
    assert len(loops) == graph.n_loops == 25
    assert all(len(nodes) == 4 for nodes, _ in loops)


@settings(max_examples=60)
@given(st.integers(1, 9), st.data())
def test_loops_against_the_cycle_space(n_nodes, data):
    pairs = data.draw(st.sets(st.tuples(st.integers(0, n_nodes - 1), st.integers(0, n_nodes - 1))))
    graph = graph_of_edges(n_nodes, pairs)
    edges = [tuple(edge) for edge in graph.edges[:, :2].tolist()]
    known = networkx.Graph(edges)
    triangles = [c for c in networkx.enumerate_all_cliques(known) if len(c) == 3]
    filled = rank_of([cycle_edges(c, edges) for c in triangles])
    loops = [nodes for nodes, _ in find_loops(graph)]
    # independent of the triangles and of each other, and with them all there is
    both = [cycle_edges(c, edges) for c in triangles + loops]
    assert rank_of(both) == filled + len(loops) == graph.n_loops
    for nodes in loops:
        assert len(set(nodes)) == len(nodes) >= 4
        assert nodes[0] == min(nodes)


def cycle_edges(cycle, edges):
    """A cycle as the set of the numbers of its edges."""
    around = zip(cycle, [*cycle[1:], cycle[0]], strict=True)
    return {edges.index((min(a, b), max(a, b))) for a, b in around}


def rank_of(sets):
    """Rank over GF(2)."""
    leading = {}
    for each in sets:
        left = set(each)
        while left and max(left) in leading:
            left ^= leading[max(left)]
        if left:
            leading[max(left)] = left
    return len(leading)


@settings(max_examples=60)
@given(st.integers(3, 9), st.data())
def test_hubs_against_the_definition(n_nodes, data):
    pairs = data.draw(st.sets(st.tuples(st.integers(0, n_nodes - 1), st.integers(0, n_nodes - 1))))
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=n_nodes, max_size=n_nodes))
    graph = graph_of_edges(n_nodes, pairs, sizes)
    edges = [tuple(edge) for edge in graph.edges[:, :2].tolist()]
    found = {nodes[0]: score for nodes, score in find_hubs(graph)}
    for node in range(n_nodes):
        degree = sum(node in edge for edge in edges)
        assert (node in found) == (degree >= 3)
        if degree >= 3:
            parts = reference.parts_without(n_nodes, edges, node)
            weights = np.array([graph.sizes[list(part)].sum() for part in parts])
            split = 1 - ((weights / weights.sum()) ** 2).sum()
            assert found[node] == pytest.approx((degree - 2) * (1 + split))


def test_a_bridge_splits_more_than_a_crossing():
    clique = [(a, b) for a in range(4) for b in range(a)]
    graph = graph_of_edges(9, [*clique, (3, 4), (4, 5), (4, 6), (6, 7), (7, 8)], [10] * 9)
    assert find_hubs(graph)[0][0] in ([3], [4])
    assert [nodes for nodes, _ in find_hubs(graph)][-1] in ([0], [1], [2])


def test_names_are_the_classes_that_set_apart():
    graph = graph_of_edges(4, path(0, 1, 2) + path(1, 3), [100, 100, 100, 100])
    classes = np.ones(graph.n_rows, np.int64)
    classes[np.setdiff1d(graph.node_rows(2), graph.node_rows(1))] = 0
    names = ["<i>cat</i>", "dog"]
    summary = summarise(graph, classes=classes, class_names=names)
    found = {f.nodes: f.name for f in find_features(graph, summary).branches}
    assert found[(2,)] == "<i>cat</i>"
    assert found[(0,)] == "dog"
    bare = find_features(graph, summarise(graph, classes=np.zeros(graph.n_rows, np.int64)))
    assert bare.branches[0].name == "branch 1"


def test_an_empty_graph():
    found = find_features(graph_of_edges(0, []))
    assert (found.branches, found.loops, found.hubs) == ((), (), ())


def test_a_limit():
    graph = graph_of_edges(9, [(0, i) for i in range(1, 9)])
    assert len(find_features(graph, limit=3).branches) == 3


@pytest.mark.slow
def test_ten_thousand_nodes():
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 10_000, (50_000, 2)).tolist()
    graph = graph_of_edges(10_000, pairs)
    find_features(graph_of_edges(4, path(0, 1, 2, 3, 0)))  # compiled
    start = time.perf_counter()
    found = find_features(graph)
    assert time.perf_counter() - start < 10
    assert len(found.loops) == 20
