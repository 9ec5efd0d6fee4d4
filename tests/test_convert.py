"""Conversions: the same graph in other programs' forms."""

from __future__ import annotations

import builtins
import json

import igraph
import networkx
import numpy as np
import pytest

from topoact_gpu import DBSCAN, Mapper, convert
from topoact_gpu.cover import KeplerCover, UniformCover
from topoact_gpu.errors import DataError, TopoactError
from topoact_gpu.graph import MapperGraph
from topoact_gpu.nodes import nodes_from_labels


def small_graph(n_columns=1, seed=0):
    rng = np.random.default_rng(seed)
    lens_values = rng.normal(size=(120, n_columns))
    elements = UniformCover(5, 0.6).fit(lens_values)
    cluster = rng.integers(-1, 3, 120)
    labels = [cluster[elements.element_rows(e)] for e in range(elements.n_elements)]
    return MapperGraph.build(
        *nodes_from_labels(labels, elements),
        lens_values,
        elements.rows.size,
        max_dimension=2,
        elements=elements,
    )


@pytest.fixture
def without(monkeypatch):
    """Make an import fail."""

    def forbid(missing):
        real = builtins.__import__

        def fail(name, *args, **kwargs):
            if name.split(".")[0] == missing:
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", fail)

    return forbid


@pytest.mark.parametrize("n_columns", [1, 2])
def test_networkx(n_columns):
    graph = small_graph(n_columns)
    found = graph.to_networkx()
    assert list(found.nodes) == list(range(graph.n_nodes))
    assert [
        [a, b, data["shared"]] for a, b, data in sorted(found.edges(data=True))
    ] == graph.edges.tolist()
    assert [found.edges[a, b]["jaccard"] for a, b, _ in graph.edges] == graph.jaccard.tolist()
    assert [found.nodes[a]["size"] for a in found] == graph.sizes.tolist()
    lens = "lens" if n_columns == 1 else "lens_0"
    assert [found.nodes[a][lens] for a in found] == graph.node_lens[:, 0].tolist()
    assert networkx.number_connected_components(found) == graph.n_components
    assert found.graph == {"n_rows": 120, "coverage": graph.coverage, "noise": graph.noise}


def test_networkx_can_write_it(tmp_path):
    networkx.write_graphml(small_graph().to_networkx(), tmp_path / "graph.graphml")
    networkx.write_gexf(small_graph().to_networkx(), tmp_path / "graph.gexf")


@pytest.mark.parametrize("n_columns", [1, 2])
def test_igraph(n_columns):
    graph = small_graph(n_columns)
    found = graph.to_igraph()
    assert isinstance(found, igraph.Graph)
    assert found.vcount() == graph.n_nodes
    assert found.get_edgelist() == [tuple(edge) for edge in graph.edges[:, :2].tolist()]
    assert found.es["shared"] == graph.edges[:, 2].tolist()
    assert found.es["jaccard"] == graph.jaccard.tolist()
    assert found.vs["size"] == graph.sizes.tolist()
    assert found.vs["component"] == found.connected_components().membership
    assert found["coverage"] == graph.coverage


@pytest.mark.parametrize("name", ["networkx", "igraph"])
def test_a_missing_package_is_named(name, without):
    graph = small_graph()
    without(name)
    with pytest.raises(TopoactError, match=f"needs {name}, which is not installed: pip install"):
        getattr(graph, f"to_{name}")()


def test_node_link_is_what_topoact_reads():
    graph = small_graph()
    found = json.loads(json.dumps(graph.to_node_link()))
    assert set(found) == {"directed", "multigraph", "graph", "nodes", "links"}
    for a, node in enumerate(found["nodes"]):
        assert node["id"] == a
        assert node["membership"] == graph.node_rows(a).tolist()
        assert node["l2NormAvg"] == graph.node_lens[a, 0]
        assert node["top_classes"] == node["top_class_percents"] == []
        assert node["average_activation"] == []
    links = [[e["source"], e["target"], e["intersection"]] for e in found["links"]]
    assert links == graph.edges.tolist()
    assert [e["jaccard"] for e in found["links"]] == graph.jaccard.tolist()
    again = networkx.node_link_graph(found, edges="links")
    assert sorted(again.edges) == [tuple(edge) for edge in graph.edges[:, :2].tolist()]


def test_node_link_classes():
    graph = small_graph()
    labels = np.random.default_rng(1).integers(0, 5, 120)
    names = ["ant", "bee", "cat", "dog", "elk"]
    for given, named in ((names, labels), (dict(enumerate(names)), labels)):
        found = graph.to_node_link(named, label_names=given)
        for a, node in enumerate(found["nodes"]):
            counts = np.bincount(labels[graph.node_rows(a)], minlength=5)
            ranked = sorted(range(5), key=lambda c: (-counts[c], c))[:3]
            ranked = [c for c in ranked if counts[c]]
            assert node["top_classes"] == [names[c] for c in ranked]
            assert node["top_class_percents"] == [100 * counts[c] / counts.sum() for c in ranked]
    words = graph.to_node_link(np.array(names)[labels])
    assert words["nodes"] == found["nodes"]
    numbers = graph.to_node_link(labels.tolist())
    assert all(isinstance(c, int) for node in numbers["nodes"] for c in node["top_classes"])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_node_link_average_activation(dtype, monkeypatch):
    monkeypatch.setattr(convert, "_ROWS_AT_ONCE", 7)
    graph = small_graph()
    activations = (np.random.default_rng(2).normal(size=(120, 6)) * 100).astype(dtype)
    found = json.loads(json.dumps(graph.to_node_link(activations=activations)))
    for a, node in enumerate(found["nodes"]):
        mean = activations[graph.node_rows(a)].astype(float).mean(axis=0)
        np.testing.assert_allclose(node["average_activation"], mean, rtol=1e-12)


def test_node_link_refuses_what_does_not_fit():
    graph = small_graph()
    with pytest.raises(DataError, match=r"labels must be one for each of 120 rows, got shape \(3,"):
        graph.to_node_link([1, 2, 3])
    with pytest.raises(DataError, match="activations must have the graph's 120 rows, got 5"):
        graph.to_node_link(activations=np.zeros((5, 2)))
    for labels, names in (([7] * 120, ["a"]), ([-1] * 120, ["a"]), (["x"] * 120, {"y": "z"})):
        with pytest.raises(DataError, match="label_names must name every label"):
            graph.to_node_link(labels, label_names=names)


def test_kmapper_dict():
    graph = small_graph()
    found = graph.to_kmapper()
    assert list(found["nodes"].values()) == [
        graph.node_rows(a).tolist() for a in range(graph.n_nodes)
    ]
    names = list(found["nodes"])
    assert names[0] == "cube0_cluster0"
    links = [[names.index(a), names.index(b)] for a, bs in found["links"].items() for b in bs]
    assert links == graph.edges[:, :2].tolist()
    assert found["simplices"] == [
        [names[a] for a in simplex]
        for k in range(3)
        for simplex in graph.simplices(k)[:, :-1].tolist()
    ]
    json.dumps(found)


def test_kmapper_meta_data():
    cover = KeplerCover(5, 0.4)
    values = np.random.default_rng(0).normal(size=(60, 2))
    mapper = Mapper("column:0", cover=cover, clusterer=DBSCAN(0.7), min_intersection=2)
    found = mapper.fit(values).graph_.to_kmapper()["meta_data"]
    assert found == {
        "projection": "column:0",
        "n_cubes": 5,
        "perc_overlap": 0.4,
        "clusterer": "DBSCAN",
        "scaler": "None",
        "nerve_min_intersection": 2,
    }


def test_a_graph_without_nodes_converts():
    nothing = np.zeros(1, np.int64)
    graph = MapperGraph.build(nothing, nothing[:0], nothing[:0], np.zeros((4, 1)), 0)
    assert graph.to_networkx().number_of_nodes() == 0
    assert graph.to_igraph().vcount() == 0
    assert graph.to_node_link([0, 0, 1, 1], activations=np.eye(4))["nodes"] == []
    assert graph.to_kmapper()["simplices"] == []
