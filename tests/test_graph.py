"""MapperGraph: its counts against definitions, and its way to disk and back."""

from __future__ import annotations

import itertools
import json
import shutil

import networkx
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from topoact_gpu.cover import UniformCover
from topoact_gpu.errors import ParameterError, StoreError
from topoact_gpu.graph import FORMAT, MapperGraph, read_graph_group, write_graph_group
from topoact_gpu.nodes import nodes_from_labels

ARRAYS = (
    *("indptr", "rows", "edges", "jaccard", "node_interval", "interval_id"),
    *("node_lens", "lens_std", "lens_min", "lens_max"),
)


def random_graph(seed=0, n_rows=400, n_columns=1, max_dimension=3, n_clusters=4):
    """A graph of random clusters, some rows being noise."""
    rng = np.random.default_rng(seed)
    lens_values = rng.normal(size=(n_rows, n_columns))
    cover = UniformCover(6, 0.7)
    elements = cover.fit(lens_values)
    cluster = rng.integers(-1, n_clusters, n_rows)
    labels = [cluster[elements.element_rows(e)] for e in range(elements.n_elements)]
    return MapperGraph.build(
        *nodes_from_labels(labels, elements),
        lens_values,
        elements.rows.size,
        max_dimension=max_dimension,
        elements=elements,
        parameters={
            "lens": "l2norm",
            "cover": UniformCover(6, 0.7).to_dict(),
            "eps": np.float64(2),
        },
        provenance={"versions": {"numpy": np.__version__}},
    )


def graph_of(nodes, n_rows, **kwargs):
    """A graph of nodes given as lists of rows, each in an interval of its own."""
    indptr = np.cumsum([0] + [len(node) for node in nodes])
    rows = np.array([row for node in nodes for row in node], dtype=np.int64)
    interval = np.arange(len(nodes))
    lens_values = np.arange(float(n_rows))
    return MapperGraph.build(indptr, rows, interval, lens_values, rows.size, **kwargs)


def contents(graph: MapperGraph) -> dict[str, object]:
    """Everything a graph holds, arrays as dtype, shape and bytes."""
    arrays = {name: getattr(graph, name) for name in ARRAYS}
    arrays |= {f"higher {k}": simplices for k, simplices in enumerate(graph.higher)}
    held: dict[str, object] = {
        name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()
    }
    names = ("n_rows", "n_offered", "parameters", "provenance", "coverage", "noise", "n_loops")
    return held | {name: getattr(graph, name) for name in names}


EMPTY = graph_of([], 5, max_dimension=2)


@given(st.lists(st.sets(st.integers(0, 9), min_size=1), max_size=8))
def test_counts_equal_their_definitions(sets):
    graph = graph_of([sorted(node) for node in sets], 10)
    wanted = networkx.Graph()
    wanted.add_nodes_from(range(len(sets)))
    pairs = itertools.combinations(range(len(sets)), 2)
    wanted.add_edges_from((a, b) for a, b in pairs if sets[a] & sets[b])
    assert graph.n_nodes == len(sets)
    assert {tuple(edge) for edge in graph.edges[:, :2].tolist()} == set(wanted.edges)
    assert graph.coverage == len(set().union(*sets)) / 10
    assert graph.noise == 0.0
    components = sorted(networkx.connected_components(wanted), key=min)
    assert graph.n_components == len(components)
    numbers = graph.components().tolist()
    assert numbers == [next(i for i, c in enumerate(components) if a in c) for a in wanted]
    assert graph.n_loops == len(networkx.cycle_basis(wanted))
    for row in range(10):
        assert graph.row_nodes(row).tolist() == [a for a, node in enumerate(sets) if row in node]
    for a, node in enumerate(sets):
        assert graph.node_rows(a).tolist() == sorted(node)
        lens = np.array(sorted(node), dtype=float)
        assert graph.lens_min[a, 0] == lens.min()
        assert graph.lens_max[a, 0] == lens.max()
        assert graph.node_lens[a, 0] == pytest.approx(lens.mean())
        assert graph.lens_std[a, 0] == pytest.approx(lens.std())


def test_noise_is_the_share_of_offered_pairs_without_a_node():
    graph = random_graph()
    assert graph.noise == 1 - graph.rows.size / graph.n_offered
    assert 0 < graph.noise < 1
    assert graph_of([], 3).noise == 0.0


def test_a_graph_without_nodes():
    assert (EMPTY.n_nodes, EMPTY.n_edges, EMPTY.n_components, EMPTY.n_loops) == (0, 0, 0, 0)
    assert EMPTY.coverage == 0.0
    assert EMPTY.row_nodes(2).size == 0
    assert "n_nodes=0" in repr(EMPTY)


def test_simplices_by_dimension():
    graph = random_graph()
    assert graph.simplices(0).tolist() == [[a, n] for a, n in enumerate(graph.sizes.tolist())]
    assert graph.simplices(1) is graph.edges
    assert graph.simplices(2).shape[1] == 4
    assert graph.simplices(3).shape[1] == 5
    for k in (4, -1):
        with pytest.raises(ParameterError, match=f"dimension 0 to 3, got k={k}"):
            graph.simplices(k)


def test_arrays_cannot_be_changed_by_accident():
    graph = random_graph()
    with pytest.raises(ValueError, match="read-only"):
        graph.rows[0] = 1
    graph.components()[0] = 5
    assert graph.components()[0] == 0


@pytest.mark.parametrize("index", [-1, 10**6, 1.0, True, "0"])
def test_index_out_of_range(index):
    graph = random_graph()
    with pytest.raises(ParameterError, match="node must be a whole number from 0 to"):
        graph.node_rows(index)
    with pytest.raises(ParameterError, match="row must be a whole number from 0 to 399"):
        graph.row_nodes(index)


@pytest.mark.parametrize(
    "graph", [random_graph(), random_graph(1, n_columns=2, max_dimension=1), EMPTY]
)
def test_round_trip_keeps_every_byte(graph, tmp_path):
    graph.save(tmp_path / "graph.zarr")
    again = MapperGraph.load(tmp_path / "graph.zarr")
    assert contents(again) == contents(graph)
    again.save(tmp_path / "again.zarr")
    assert contents(MapperGraph.load(str(tmp_path / "again.zarr"))) == contents(graph)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.zarr", "graph.zarr"]


def test_the_comparison_of_contents_can_fail():
    assert contents(random_graph(0)) != contents(random_graph(1))
    one, other = random_graph(0), random_graph(0)
    other.parameters["eps"] = 3
    assert contents(one) != contents(other)


def test_many_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("topoact_gpu.array_group._CHUNK_BYTES", 100)
    graph = random_graph()
    graph.save(tmp_path / "graph.zarr")
    assert contents(MapperGraph.load(tmp_path / "graph.zarr")) == contents(graph)


def test_a_run_is_read_through_its_graph(tmp_path):
    graph = random_graph()
    run = zarr.create_group(tmp_path / "run.zarr", zarr_format=3)
    write_graph_group(run.create_group("graph"), graph)
    run.attrs.update({"format": "topoact-gpu/run", "version": 1})
    assert contents(MapperGraph.load(tmp_path / "run.zarr")) == contents(graph)
    assert contents(read_graph_group(run["graph"])) == contents(graph)


def test_an_existing_output_is_kept_unless_told(tmp_path):
    path = tmp_path / "graph.zarr"
    random_graph(0).save(path)
    with pytest.raises(StoreError, match="exists"):
        random_graph(1).save(path)
    assert contents(MapperGraph.load(path)) == contents(random_graph(0))
    random_graph(1).save(path, overwrite=True)
    assert contents(MapperGraph.load(path)) == contents(random_graph(1))
    assert [p.name for p in tmp_path.iterdir()] == ["graph.zarr"]


def test_what_is_not_ours_is_never_overwritten(tmp_path):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.txt").write_text("words")
    with pytest.raises(StoreError, match="not overwritten"):
        random_graph().save(precious, overwrite=True)
    assert (precious / "chapter.txt").read_text() == "words"


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    def fail(group, graph):
        group.create_array("indptr", data=np.arange(3))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("topoact_gpu.graph.write_graph_group", fail)
    with pytest.raises(StoreError, match="disk is full"):
        random_graph().save(tmp_path / "graph.zarr")
    assert list(tmp_path.iterdir()) == []


def check_unreadable(path, match):
    """Loading raises a StoreError of one line."""
    with pytest.raises(StoreError, match=match) as caught:
        MapperGraph.load(path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "graph.zarr"
    random_graph().save(path)
    return path


def change_attributes(path, **changes):
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"].update(changes)
    (path / "zarr.json").write_text(json.dumps(metadata))


def test_missing_and_foreign(tmp_path):
    check_unreadable(tmp_path / "none.zarr", "no graph or run at")
    (tmp_path / "text").write_text("hello")
    check_unreadable(tmp_path / "text", "must be a graph or run of topoact-gpu, it is neither")
    zarr.create_group(tmp_path / "other.zarr")
    check_unreadable(tmp_path / "other.zarr", "it is neither")


def test_another_format(saved):
    change_attributes(saved, format="topoact-gpu/activations")
    check_unreadable(saved, "it is a 'topoact-gpu/activations'")


@pytest.mark.parametrize("version", [2, 99, None, "1"])
def test_a_newer_version(saved, version):
    change_attributes(saved, version=version)
    check_unreadable(saved, "this topoact-gpu reads up to 1; upgrade it")


def test_a_run_without_a_graph(tmp_path):
    run = zarr.create_group(tmp_path / "run.zarr", zarr_format=3)
    run.attrs.update({"format": "topoact-gpu/run", "version": 1})
    check_unreadable(tmp_path / "run.zarr", "incomplete or damaged")
    run.create_array("graph", data=np.arange(3))
    check_unreadable(tmp_path / "run.zarr", "incomplete or damaged")
    run.attrs["version"] = 7
    check_unreadable(tmp_path / "run.zarr", "has version 7")


def test_attributes_that_are_gone(saved):
    metadata = json.loads((saved / "zarr.json").read_text())
    for name in ("checksums", "n_rows", "max_dimension"):
        kept = {k: v for k, v in metadata["attributes"].items() if k != name}
        (saved / "zarr.json").write_text(json.dumps({**metadata, "attributes": kept}))
        check_unreadable(saved, "incomplete or damaged")


def test_json_that_is_cut_short(saved):
    text = (saved / "zarr.json").read_text()
    (saved / "zarr.json").write_text(text[: len(text) // 2])
    check_unreadable(saved, "it is neither")


@pytest.mark.parametrize("name", [*ARRAYS, "higher_2"])
def test_a_chunk_that_is_cut_short_or_missing(saved, name):
    chunk = next(path for path in (saved / name).rglob("*") if path.name in "0123456789")
    chunk = chunk if chunk.is_file() else next(p for p in chunk.rglob("*") if p.is_file())
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    check_unreadable(saved, "damaged")
    chunk.unlink()  # zarr itself reads zeros here
    check_unreadable(saved, "damaged")


def test_a_missing_array(saved):
    shutil.rmtree(saved / "jaccard")
    check_unreadable(saved, "incomplete or damaged")


def test_arrays_that_do_not_belong_together(saved, tmp_path):
    graph = random_graph()
    wrong = MapperGraph(**{**vars_of(graph), "jaccard": graph.jaccard[:-1]})
    wrong.save(tmp_path / "wrong.zarr")
    check_unreadable(tmp_path / "wrong.zarr", "do not belong together")


def vars_of(graph):
    names = (*ARRAYS, "higher", "n_rows", "n_offered", "parameters", "provenance")
    return {name: getattr(graph, name) for name in names}


def test_format_is_written(saved):
    attributes = zarr.open_group(saved, mode="r").attrs
    assert attributes["format"] == FORMAT
    assert attributes["version"] == 1


def test_rows_of_the_intervals_are_kept(tmp_path):
    graph = random_graph()
    assert graph.interval_offered.sum() == graph.n_offered
    graph.save(tmp_path / "graph.zarr")
    assert np.array_equal(
        MapperGraph.load(tmp_path / "graph.zarr").interval_offered, graph.interval_offered
    )
    without = graph_of([[0, 1]], 2)
    without.save(tmp_path / "without.zarr")
    assert MapperGraph.load(tmp_path / "without.zarr").interval_offered is None
