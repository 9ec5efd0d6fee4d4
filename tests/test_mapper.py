"""Mapper against a naive composition of its stages, and what it reports."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from sklearn.cluster import DBSCAN as Theirs
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans

from topoact_gpu import (
    DBSCAN,
    BalancedCover,
    Mapper,
    ParameterError,
    UniformCover,
    create_store,
    open_store,
)
from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team, single_threaded_blas
from topoact_gpu.errors import DataError
from topoact_gpu.kernels.dbscan.filters import FILTERS, available_filters
from topoact_gpu.kernels.lens.reference import row_lens
from topoact_gpu.lens import compute_lens, parse_lens
from topoact_gpu.resident import resident
from topoact_gpu.rows import as_rows


def activations(n_rows=3000, n_cols=130, seed=0):
    """Clusters after a relu, as activations are."""
    rng = np.random.default_rng(seed)
    centres = np.maximum(rng.normal(size=(12, n_cols)), 0) * 2
    noise = 0.4 * rng.normal(size=(n_rows, n_cols))
    return np.maximum(centres[rng.integers(12, size=n_rows)] + noise, 0).astype(np.float16)


def naive_nodes(X, lens, cover, eps, min_samples):
    """Rows of each node: the cover's definition and scikit-learn, interval by interval."""
    elements = cover.fit(lens)
    nodes = []
    for low, high in zip(elements.lower[:, 0], elements.upper[:, 0], strict=True):
        ids = np.flatnonzero((lens[:, 0] >= low) & (lens[:, 0] <= high))
        labels = Theirs(eps=eps, min_samples=min_samples).fit_predict(X[ids].astype(np.float64))
        nodes += [ids[labels == k].tolist() for k in range(labels.max(initial=-1) + 1)]
    return nodes


def naive_edges(nodes):
    sets = [set(node) for node in nodes]
    return [
        [a, b, len(sets[a] & sets[b])]
        for a in range(len(sets))
        for b in range(a + 1, len(sets))
        if sets[a] & sets[b]
    ]


@pytest.mark.parametrize("eps", [3.0, 5.2, 6.0])
@pytest.mark.parametrize("chosen", FILTERS)
def test_graph_is_the_naive_one_with_every_filter(monkeypatch, chosen, eps):
    if chosen not in available_filters():
        pytest.skip(f"{chosen} is not to be had here")
    monkeypatch.setenv("TOPOACT_FILTER", chosen)
    X = activations()
    mapper = Mapper(cover=UniformCover(6, 0.3), clusterer=DBSCAN(eps), n_threads=2).fit(X)
    nodes = naive_nodes(X, mapper.lens_values_, UniformCover(6, 0.3), eps, 5)
    graph = mapper.graph_
    assert [graph.node_rows(i).tolist() for i in range(graph.n_nodes)] == nodes
    assert graph.edges.tolist() == naive_edges(nodes)
    assert mapper.report_["clustering"]["filter"] == chosen


def test_an_unknown_filter_is_refused(monkeypatch):
    monkeypatch.setenv("TOPOACT_FILTER", "fastest")
    with pytest.raises(ParameterError, match="TOPOACT_FILTER"):
        DBSCAN(1.0).fit(np.eye(3))


def graph_bytes(mapper):
    graph = mapper.graph_
    parts = (graph.indptr, graph.rows, graph.edges, graph.jaccard, graph.node_interval)
    return b"".join(part.tobytes() for part in (*parts, graph.node_lens, mapper.lens_values_))


def test_same_bytes_for_threads_budgets_and_kinds_of_input(tmp_path):
    X = activations()
    np.save(tmp_path / "X.npy", X)
    stored = zarr.create_array(tmp_path / "X.zarr", data=X, chunks=(700, 130))
    kinds = [X, np.asfortranarray(X), np.load(tmp_path / "X.npy", mmap_mode="r"), stored]
    results = {
        graph_bytes(
            Mapper(
                cover=UniformCover(6, 0.3),
                clusterer=DBSCAN(5.2),
                n_threads=n_threads,
                memory_budget=budget,
            ).fit(kind)
        )
        for kind in kinds
        for n_threads, budget in ((1, None), (3, "17MB"))
    }
    assert len(results) == 1


def test_report_is_complete_and_json():
    mapper = Mapper(cover=UniformCover(6, 0.3)).fit(activations())
    report = json.loads(json.dumps(mapper.report_))
    for name in ("parameters", "versions", "implementation", "stages", "clustering", "knee"):
        assert report[name]
    clustering = report["clustering"]
    assert (
        clustering["eps"]
        == report["knee"]["eps"]
        == max(d for d in report["knee"]["distances"] if d <= clustering["eps"])
    )
    assert clustering["pairs_tested"] + clustering["pairs_settled"] > 0
    assert clustering["pairs_undecided"] <= clustering["pairs_tested"]
    assert set(report["stages"]) >= {"lens", "cover", "knee", "cluster", "nerve"}


def test_eps_of_each_interval():
    mapper = Mapper(cover=UniformCover(4, 0.3), clusterer=DBSCAN("knee-per-interval")).fit(
        activations()
    )
    assert len(mapper.report_["knee"]["per_interval"]) == 4


def test_other_clusterers_run_on_each_interval():
    X = activations(400)
    clusterer = AgglomerativeClustering(n_clusters=2)
    graph = Mapper(cover=UniformCover(3, 0.2), clusterer=clusterer).fit(X).graph_
    assert graph.n_nodes == 6
    assert graph.coverage == 1.0


def test_given_lens_values_are_named_so():
    X = activations(500)
    mapper = Mapper(cover=UniformCover(3, 0.2), clusterer=DBSCAN(5.0))
    mapper.fit(X, lens_values=X[:, 0].astype(float))
    assert mapper.graph_.parameters["lens"] == "given"


def test_the_lens_may_be_an_array():
    X = activations(500)
    values = X[:, :2].astype(float)
    mapper = Mapper(values, cover=UniformCover(3), clusterer=DBSCAN(5.0)).fit(X)
    np.testing.assert_array_equal(mapper.lens_values_, values)
    given = Mapper(cover=UniformCover(3), clusterer=DBSCAN(5.0)).fit(X, lens_values=values)
    assert graph_bytes(given) == graph_bytes(mapper)


def test_where_the_mapper_says_nothing_the_clusterer_decides():
    inner = DBSCAN(5.0, n_threads=1, memory_budget="64MB")
    X = activations(500)
    implementation = Mapper(cover=UniformCover(3), clusterer=inner).fit(X).report_["implementation"]
    assert implementation["n_threads"] == 1
    assert implementation["budget_bytes"] == 64_000_000
    outer = Mapper(cover=UniformCover(3), clusterer=inner, n_threads=2).fit(X)
    assert outer.report_["implementation"]["n_threads"] == 2


def test_progress_reaches_its_end():
    told = []
    Mapper(cover=UniformCover(4), clusterer=DBSCAN(5.0), progress=lambda *x: told.append(x)).fit(
        activations(500)
    )
    assert ("cluster", 4, 4) in told


@pytest.mark.parametrize("name", ["l2norm", "l1norm", "linf", "mean", "max", "std"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_row_lenses_are_their_definition(name, dtype):
    X = np.random.default_rng(3).normal(size=(1003, 17)).astype(dtype)
    with resident(as_rows(X), 10**9) as data, single_threaded_blas(), Team(2) as team:
        values = compute_lens(name, data, CpuBackend(team))
    np.testing.assert_array_equal(values[:, 0], row_lens(X, name))


def test_computed_lenses():
    X = np.random.default_rng(4).normal(size=(600, 5)) * [9, 3, 1, 1, 1]
    with resident(as_rows(X), 10**9) as data, single_threaded_blas(), Team(2) as team:
        pca = compute_lens("pca:2", data, CpuBackend(team))
        centred = X - X.mean(0)
        expected = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        np.testing.assert_allclose(np.abs(pca), np.abs(expected), atol=1e-9)
        apart = np.sqrt(((X[:, None] - X) ** 2).sum(-1))
        eccentricity = compute_lens("eccentricity", data, CpuBackend(team))[:, 0]
        np.testing.assert_allclose(eccentricity, apart.mean(1), rtol=1e-9)
        density = compute_lens("density:4", data, CpuBackend(team))[:, 0]
        np.testing.assert_allclose(density, -np.log(np.sort(apart, 1)[:, 4]), rtol=1e-9)
        both = compute_lens(["column:1", lambda block: block[:, 0]], data, CpuBackend(team))
        np.testing.assert_array_equal(both, X[:, [1, 0]])
        median = compute_lens("median", data, CpuBackend(team))[:, 0]
        np.testing.assert_array_equal(median, np.median(X, axis=1))


@pytest.mark.parametrize(
    ("lens", "message"),
    [
        ("l2nrom", "did you mean 'l2norm'"),
        ("pca:0", "at least 1"),
        ("column", "number"),
        ("max:2", "no number"),
    ],
)
def test_lens_names_are_checked(lens, message):
    with pytest.raises(ParameterError, match=message):
        parse_lens(lens)


@pytest.mark.parametrize("seed", range(6))
def test_two_lenses_give_the_naive_graph(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, 3))
    lens = X[:, :2] if seed % 2 else np.round(X[:, :2] * 3)
    cover = [UniformCover((4, 3), 0.3), BalancedCover(3, (0.2, 0.4))][seed % 2]
    graph = Mapper(cover=cover, clusterer=DBSCAN(0.7), max_dimension=2).fit(
        X, lens_values=lens).graph_  # fmt: skip
    elements = cover.fit(lens)
    nodes, interval = [], []
    for number, low, high in zip(elements.element_id, elements.lower, elements.upper, strict=True):
        ids = np.flatnonzero(((lens >= low) & (lens <= high)).all(1))
        labels = Theirs(eps=0.7).fit_predict(X[ids])
        nodes += [ids[labels == k].tolist() for k in range(labels.max() + 1)]
        interval += [number] * (labels.max() + 1)
    assert [graph.node_rows(i).tolist() for i in range(graph.n_nodes)] == nodes
    assert graph.node_interval.tolist() == interval
    assert graph.edges.tolist() == naive_edges(nodes)
    sets = [set(node) for node in nodes]
    triangles = [
        [a, b, c, len(sets[a] & sets[b] & sets[c])]
        for a, b, _ in graph.edges.tolist()
        for c in range(b + 1, len(sets))
        if sets[a] & sets[b] & sets[c]
    ]
    assert graph.simplices(2).tolist() == triangles


def test_any_kind_of_rows_gives_the_same_graph(tmp_path):
    X = activations(600, 20)
    expected = graph_bytes(Mapper(cover=UniformCover(4), clusterer=DBSCAN(2.0)).fit(X))
    with create_store(tmp_path / "acts.zarr") as store:
        store.create_layer("block", 20).append(X)
    kinds = [open_store(tmp_path / "acts.zarr").layer("block"), X.tolist(), X.astype(np.float64)]
    try:
        import torch

        kinds.append(torch.from_numpy(X))
    except ImportError:
        pass
    for kind in kinds:
        mapper = Mapper(cover=UniformCover(4), clusterer=DBSCAN(2.0)).fit(kind)
        assert graph_bytes(mapper) == expected


def test_whole_numbers_count_as_floats():
    X = np.random.default_rng(0).integers(-9, 9, (300, 4))
    mappers = [Mapper(cover=UniformCover(4), clusterer=DBSCAN(4.0)) for _ in range(4)]
    results = {
        graph_bytes(mapper.fit(X.astype(dtype)))
        for mapper, dtype in zip(mappers, ["i1", "i8", "f4", "f8"], strict=True)
    }
    assert len(results) == 1


@pytest.mark.parametrize(
    "clusterer",
    [
        KMeans(2, n_init=1, random_state=0),
        HDBSCAN(min_cluster_size=5, copy=True),
        AgglomerativeClustering(n_clusters=None, distance_threshold=4.0),
        DBSCAN(12.0, metric="manhattan"),
    ],
    ids=lambda clusterer: type(clusterer).__name__,
)
def test_other_clusterers_are_called_as_they_are(clusterer):
    from sklearn.base import clone

    X = activations(400, 20).astype(np.float64)
    cover = UniformCover(3, 0.3)
    mapper = Mapper(cover=cover, clusterer=clusterer, n_threads=2).fit(X)
    nodes, elements = [], cover.fit(mapper.lens_values_)
    for at in range(elements.n_elements):
        ids = elements.element_rows(at)
        labels = clone(clusterer).fit_predict(X[ids])
        nodes += [ids[labels == k].tolist() for k in np.unique(labels[labels >= 0])]
    graph = mapper.graph_
    assert [graph.node_rows(i).tolist() for i in range(graph.n_nodes)] == nodes
    assert mapper.report_["implementation"]["dbscan"] != "own"
    json.dumps(mapper.report_)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lens": "l2nrom"}, "did you mean 'l2norm'"),
        ({"cover": 70}, "cover must be a cover"),
        ({"clusterer": "dbscan"}, "clusterer must have fit_predict"),
        ({"clusterer": DBSCAN(0)}, "eps must be"),
        ({"clusterer": DBSCAN("elbow")}, "knee-per-interval"),
        ({"clusterer": DBSCAN(1.0, n_threads=0)}, "n_threads must be"),
        ({"min_intersection": 0}, "min_intersection must be"),
        ({"max_dimension": 0}, "max_dimension must be"),
        ({"max_dimension": 1.5}, "max_dimension must be"),
        ({"memory_budget": "much"}, "memory_budget must be"),
        ({"n_threads": -1}, "n_threads must be"),
    ],
)
def test_wrong_parameters_get_one_clear_error(parameters, message):
    with pytest.raises(ParameterError, match=message):
        Mapper(**parameters).fit(activations(50, 5))


@pytest.mark.parametrize("lens", ["l2norm", "linf", "column:0"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_counted(lens, bad):
    X = activations(100, 5)
    X[[41, 60, 60], [0, 1, 2]] = bad
    message = "2 of 100 rows have NaN or inf; the first is row 41"
    with pytest.raises(DataError, match=message):
        Mapper(lens, clusterer=DBSCAN(1.0)).fit(X)
    with pytest.raises(DataError, match=message):
        Mapper(clusterer=AgglomerativeClustering()).fit(X, lens_values=np.arange(100.0))


def test_rows_without_a_direction_are_an_error_with_cosine():
    X = activations(100, 5) + np.float16(0.1)
    X[[30, 70]] = 0
    with pytest.raises(DataError, match="2 of 100 have none; the first is row 30"):
        Mapper(clusterer=DBSCAN(0.1, metric="cosine")).fit(X)


@pytest.mark.parametrize("n_rows", [0, 1])
def test_too_few_rows(n_rows):
    with pytest.raises(DataError, match="minimum of 2 is required"):
        Mapper(clusterer=DBSCAN(1.0)).fit(np.ones((n_rows, 3)))


def test_min_intersection_thins_the_edges():
    X = activations(800, 20)
    base, thin = (
        Mapper(cover=UniformCover(6, 0.4), clusterer=DBSCAN(2.5), min_intersection=k).fit(X).graph_
        for k in (1, 20)
    )
    kept = base.edges[base.edges[:, 2] >= 20]
    assert 0 < len(kept) < base.n_edges
    assert thin.edges.tolist() == kept.tolist()


def test_a_noisy_circle_has_one_loop():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 3000)
    X = np.column_stack([np.cos(angle), np.sin(angle)]) + rng.normal(scale=0.03, size=(3000, 2))
    graph = Mapper("column:0", cover=UniformCover(8, 0.3), clusterer=DBSCAN(0.2)).fit(X).graph_
    assert graph.n_loops == 1
    assert len(set(graph.components().tolist())) == 1
