"""KeplerCover reproduces KeplerMapper 2.1: the same nodes, names, edges and simplices."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans

import topoact_gpu
from topoact_gpu.cover import KeplerCover
from topoact_gpu.graph import MapperGraph
from topoact_gpu.mapper import Mapper
from topoact_gpu.nodes import minimum_rows, nodes_from_labels

with warnings.catch_warnings():
    # Reading its source, Python finds escapes such as "\d" in plain strings.
    warnings.filterwarnings("ignore", message=".*invalid escape sequence", category=Warning)
    kmapper = pytest.importorskip("kmapper")


def theirs(values, lens, cover, clusterer, min_intersection=1):
    """KeplerMapper's dict for the same parameters."""
    return kmapper.KeplerMapper().map(
        lens,
        values,
        clusterer=clusterer,
        cover=kmapper.Cover(cover.n_cubes, cover.perc_overlap),
        nerve=kmapper.GraphNerve(min_intersection),
    )


def ours(values, lens, cover, clusterer, min_intersection=1) -> MapperGraph:
    """The same graph from our stages: cover, cluster, nodes, nerve."""
    elements = cover.fit(lens)
    labels = []
    for e in range(elements.n_elements):
        rows = elements.element_rows(e)
        enough = rows.size >= minimum_rows(clusterer)
        labels.append(clusterer.fit_predict(values[rows]) if enough else np.full(rows.size, -1))
    return MapperGraph.build(
        *nodes_from_labels(labels, elements),
        lens,
        elements.rows.size,
        min_intersection=min_intersection,
        elements=elements,
    )


def check_equal(graph: MapperGraph, expected: dict) -> None:
    """Compare node for node and edge for edge, names and order included."""
    found = graph.to_kmapper()
    assert list(found["nodes"]) == list(expected["nodes"])
    assert found["nodes"] == expected["nodes"]
    assert found["links"] == expected["links"]
    assert list(found["links"]) == list(expected["links"])
    assert found["simplices"] == expected["simplices"]
    assert graph.n_edges == sum(len(targets) for targets in expected["links"].values())


def random_case(seed, n_columns):
    """Points, lens and cover: skewed or tied lens values, many scales and overlaps."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(int(rng.integers(30, 250)), 3))
    lens = values[:, :n_columns] if seed % 3 else np.round(values[:, :n_columns] * 4)
    lens = np.exp(lens) if seed % 5 == 0 else lens * 10.0 ** rng.integers(-9, 9)
    counts = rng.integers(1, 13, n_columns).tolist()
    overlaps = [0.1, 0.25, 0.5, float(rng.uniform(0, 0.9)), 0.0]
    return values, lens, KeplerCover(counts, [overlaps[(seed + j) % 5] for j in range(n_columns)])


@pytest.mark.parametrize("n_columns", [1, 2])
@pytest.mark.parametrize("seed", range(20))
def test_the_graph_is_keplermappers(seed, n_columns):
    values, lens, cover = random_case(seed, n_columns)
    clusterer = DBSCAN(eps=0.9, min_samples=3)
    expected = theirs(values, lens, cover, clusterer)
    check_equal(ours(values, lens, cover, clusterer), expected)


@pytest.mark.parametrize("n_columns", [1, 2])
@pytest.mark.parametrize("seed", range(20))
def test_the_graph_of_mapper_is_keplermappers(seed, n_columns):
    values, lens, cover = random_case(seed, n_columns)
    clusterer = DBSCAN(eps=0.9, min_samples=3)
    mapper = Mapper(cover=cover, clusterer=clusterer, n_threads=1)
    graph = mapper.fit(values, lens_values=lens).graph_
    check_equal(graph, theirs(values, lens, cover, clusterer))


@pytest.mark.parametrize("n_columns", [1, 2])
def test_our_dbscan_gives_keplermappers_graph(n_columns):
    values, lens, cover = random_case(4, n_columns)
    mapper = Mapper(cover=cover, clusterer=topoact_gpu.DBSCAN(0.9, min_samples=3), n_threads=1)
    graph = mapper.fit(values, lens_values=lens).graph_
    check_equal(graph, theirs(values, lens, cover, DBSCAN(eps=0.9, min_samples=3)))


@pytest.mark.parametrize(
    "clusterer",
    [
        KMeans(3, n_init=1, random_state=0),
        AgglomerativeClustering(n_clusters=None, distance_threshold=2.0),
        DBSCAN(eps=0.5, min_samples=1),
    ],
)
@pytest.mark.filterwarnings("ignore:Number of distinct clusters:UserWarning")
def test_other_clusterers_and_their_smallest_cube(clusterer):
    values, lens, _ = random_case(1, 2)
    cover = KeplerCover(8, 0.3)
    sizes = cover.fit(lens).sizes
    assert (sizes < minimum_rows(clusterer)).any() or minimum_rows(clusterer) == 1
    expected = theirs(values, lens, cover, clusterer)
    check_equal(ours(values, lens, cover, clusterer), expected)
    graph = Mapper(cover=cover, clusterer=clusterer).fit(values, lens_values=lens).graph_
    check_equal(graph, expected)


@pytest.mark.parametrize("min_intersection", [2, 5])
def test_min_intersection(min_intersection):
    case = (*random_case(2, 1)[:2], KeplerCover(6, 0.5), DBSCAN(eps=0.9, min_samples=3))
    check_equal(ours(*case, min_intersection), theirs(*case, min_intersection))


def test_empty_cubes_do_not_count_in_the_names():
    values = np.array([[0.0], [0.1], [0.2], [9.8], [9.9], [10.0]])
    case = (values, values, KeplerCover(10, 0.2), DBSCAN(eps=0.5, min_samples=2))
    expected = theirs(*case)
    assert list(expected["nodes"]) == ["cube0_cluster0", "cube1_cluster0"]
    check_equal(ours(*case), expected)


def test_the_comparison_can_fail():
    values, lens, cover = random_case(1, 1)
    case = (values, lens, cover, DBSCAN(eps=0.9, min_samples=3))
    expected = theirs(*case)
    other = ours(values, lens, KeplerCover(cover.n_cubes, 0.05), case[3])
    with pytest.raises(AssertionError):
        check_equal(other, expected)
    with pytest.raises(AssertionError):
        check_equal(ours(*case, min_intersection=10**6), expected)


def test_keplermapper_draws_our_dict(tmp_path):
    values, lens, cover = random_case(1, 1)
    graph = ours(values, lens, cover, DBSCAN(eps=0.9, min_samples=3))
    page = kmapper.KeplerMapper().visualize(
        graph.to_kmapper(), path_html=str(tmp_path / "page.html")
    )
    assert "cube0_cluster0" in page
