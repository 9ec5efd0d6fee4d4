"""Exports: files that other programs read back to the same graph, and pictures."""

from __future__ import annotations

import csv
import json

import matplotlib
import networkx
import numpy as np
import pytest

from topoact_gpu import plot
from topoact_gpu.cover import UniformCover
from topoact_gpu.errors import ParameterError, StoreError
from topoact_gpu.export import FORMATS, export_graph
from topoact_gpu.graph import MapperGraph
from topoact_gpu.nodes import nodes_from_labels

matplotlib.use("agg")


def small_graph(n_columns=1, n_rows=150, n_intervals=6, n_clusters=3):
    rng = np.random.default_rng(0)
    lens_values = rng.normal(size=(n_rows, n_columns))
    elements = UniformCover(n_intervals, 0.4).fit(lens_values)
    cluster = rng.integers(-1, n_clusters, n_rows)
    labels = [cluster[elements.element_rows(e)] for e in range(elements.n_elements)]
    nodes = nodes_from_labels(labels, elements)
    return MapperGraph.build(*nodes, lens_values, elements.rows.size, elements=elements)


def empty_graph():
    nothing = np.zeros(1, np.int64)
    return MapperGraph.build(nothing, nothing[:0], nothing[:0], np.zeros((4, 1)), 0)


@pytest.mark.parametrize("n_columns", [1, 2])
@pytest.mark.parametrize("format", ["graphml", "gexf"])
def test_xml_is_what_networkx_reads(format, n_columns, tmp_path):
    graph = small_graph(n_columns)
    export_graph(graph, tmp_path / "graph.xml", format)
    read = getattr(networkx, f"read_{format}")
    found = read(tmp_path / "graph.xml", node_type=int)
    wanted = graph.to_networkx()
    for node, data in wanted.nodes(data=True):
        for name, value in data.items():
            assert found.nodes[node][name] == value
    assert sorted(found.edges) == sorted(wanted.edges)
    for a, b, data in wanted.edges(data=True):
        for name, value in data.items():
            assert found.edges[a, b][name] == value
        if format == "gexf":
            assert found.edges[a, b]["weight"] == data["jaccard"]


def test_json_files(tmp_path):
    graph = small_graph()
    labels = np.arange(150) % 4
    export_graph(graph, tmp_path / "a.json", "node-link", labels=labels, activations=np.eye(150))
    found = json.loads((tmp_path / "a.json").read_text())
    assert found == graph.to_node_link(labels, activations=np.eye(150))
    export_graph(graph, tmp_path / "b.json", "kmapper")
    assert json.loads((tmp_path / "b.json").read_text()) == graph.to_kmapper()


def read_table(path):
    with path.open(newline="") as file:
        head, *lines = csv.reader(file)
    return {name: [float(line[i]) for line in lines] for i, name in enumerate(head)}


@pytest.mark.parametrize("n_columns", [1, 2])
def test_csv_tables(n_columns, tmp_path, monkeypatch):
    monkeypatch.setattr("topoact_gpu.export._MEMBERSHIPS_AT_ONCE", 7)
    graph = small_graph(n_columns)
    export_graph(graph, tmp_path / "tables", "csv")
    nodes = read_table(tmp_path / "tables" / "nodes.csv")
    assert nodes["node"] == list(range(graph.n_nodes))
    assert nodes["size"] == graph.sizes.tolist()
    lens = "lens" if n_columns == 1 else "lens_0"
    assert nodes[lens] == graph.node_lens[:, 0].tolist()
    edges = read_table(tmp_path / "tables" / "edges.csv")
    assert list(edges) == ["source", "target", "shared", "jaccard"]
    assert edges["shared"] == graph.edges[:, 2].tolist()
    assert edges["jaccard"] == graph.jaccard.tolist()
    members = read_table(tmp_path / "tables" / "memberships.csv")
    assert members["row"] == graph.rows.tolist()
    assert members["node"] == np.repeat(np.arange(graph.n_nodes), graph.sizes).tolist()


@pytest.mark.parametrize("format", FORMATS)
def test_existing_output_and_empty_graph(format, tmp_path):
    path = tmp_path / "out"
    empty, small = empty_graph(), small_graph()
    export_graph(empty, path, format, summary=empty.summarise())
    with pytest.raises(StoreError, match="exists"):
        export_graph(small, path, format, summary=small.summarise())
    export_graph(small, path, format, overwrite=True, summary=small.summarise())
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_csv_keeps_other_files_and_does_not_replace_a_file(tmp_path):
    (tmp_path / "mine.txt").write_text("words")
    export_graph(small_graph(), tmp_path, "csv", overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {
        "mine.txt",
        "nodes.csv",
        "edges.csv",
        "memberships.csv",
    }
    with pytest.raises(StoreError, match="is a file, a directory is required"):
        export_graph(small_graph(), tmp_path / "mine.txt", "csv", overwrite=True)


def test_unknown_format(tmp_path):
    with pytest.raises(ParameterError, match=r"format must be one of node-link, .*, got 'svg'"):
        export_graph(small_graph(), tmp_path / "out", "svg")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_nothing(tmp_path):
    with pytest.raises(ParameterError, match="color must be one number for each of"):
        export_graph(small_graph(), tmp_path / "graph.png", "png", color=[1.0])
    assert list(tmp_path.iterdir()) == []


def test_png_is_a_picture_and_the_same_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        export_graph(small_graph(), tmp_path / name, "png")
    first = (tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert first == (tmp_path / "b.png").read_bytes()
    picture = matplotlib.image.imread(tmp_path / "a.png")
    assert picture.shape[:2] == (1125, 1800)
    assert picture.std() > 0.05


@pytest.mark.parametrize("n_columns", [1, 2, 3])
def test_plot_shows_every_node_and_edge(n_columns):
    graph = small_graph(n_columns)
    _, ax = plot.new_figure((6, 4))
    assert graph.plot(ax=ax, color=np.arange(graph.n_nodes)) is ax
    lines, nodes = ax.collections[:2]
    assert len(lines.get_segments()) == graph.n_edges
    assert len(nodes.get_offsets()) == graph.n_nodes
    assert sorted(nodes.get_array()) == list(range(graph.n_nodes))
    title = ax.get_title(loc="left")
    assert title.startswith(f"{graph.n_nodes} nodes  ·  {graph.n_edges:,} edges")
    assert title.endswith(f"coverage {100 * graph.coverage:.1f}%")


def test_plot_opens_a_figure_of_its_own():
    from matplotlib import pyplot

    ax = small_graph().plot()
    assert pyplot.fignum_exists(ax.figure.number)
    pyplot.close(ax.figure)


@pytest.mark.parametrize("color", [[1.0], "red", [[1.0]]])
def test_plot_refuses_other_colors(color):
    with pytest.raises(ParameterError, match="color must be one number for each of"):
        small_graph().plot(color=color)


@pytest.mark.parametrize("n_columns", [1, 2])
def test_layout_keeps_nodes_apart(n_columns):
    graph = small_graph(n_columns, n_rows=2000, n_intervals=12, n_clusters=6)
    positions = plot.layout(graph)
    assert positions.tobytes() == plot.layout(graph).tobytes()
    assert np.isfinite(positions).all()
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0.2
    assert np.median(apart.min(axis=1)) > 0.6


def test_layout_of_a_loop_has_two_sides():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 4000)
    elements = UniformCover(12, 0.3).fit(np.cos(angle))
    upper = (np.sin(angle) > 0).astype(np.int64)
    labels = [upper[elements.element_rows(e)] for e in range(elements.n_elements)]
    labels[0][:] = labels[-1][:] = 0
    nodes = nodes_from_labels(labels, elements)
    graph = MapperGraph.build(*nodes, np.cos(angle), elements.rows.size)
    assert graph.n_loops == 1
    y = plot.layout(graph)[:, 1]
    side = [int(upper[graph.node_rows(a)[0]]) for a in range(1, graph.n_nodes - 1)]
    inner = y[1:-1] - y.mean()
    above = [bool(v) for v in inner > 0]
    assert above in ([bool(s) for s in side], [not s for s in side])


def test_layout_of_equal_lens_values_and_one_node():
    lens = np.array([0.0, 1.0, 1.0, 1.0])
    indptr = np.array([0, 1, 2, 3])
    graph = MapperGraph.build(indptr, np.array([1, 2, 3]), np.zeros(3, np.int64), lens, 3)
    positions = plot.layout(graph)
    assert len({tuple(p) for p in positions.tolist()}) == 3
    assert plot.layout(empty_graph()).shape == (0, 2)


def test_five_thousand_nodes():
    group = np.random.default_rng(0).integers(0, 72, 100_000)
    lens = np.random.default_rng(1).uniform(size=100_000)
    elements = UniformCover(70, 0.4).fit(lens)
    labels = [group[elements.element_rows(e)] for e in range(70)]
    graph = MapperGraph.build(*nodes_from_labels(labels, elements), lens, elements.rows.size)
    assert graph.n_nodes > 5000
    assert np.isfinite(plot.layout(graph)).all()
