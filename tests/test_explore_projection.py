"""Projections in the explorer: PCA against its definition, stored ones whole or not at all."""

from __future__ import annotations

import importlib.util
import sys
import types

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from topoact_gpu import DBSCAN, Mapper, UniformCover, create_store
from topoact_gpu.cli.main import app
from topoact_gpu.errors import DataError, ParameterError, StoreError
from topoact_gpu.explore import projection
from topoact_gpu.explore.faults import NotFound
from topoact_gpu.explore.session import Session
from topoact_gpu.runs import load_run


def naive_pca(X):
    """By the eigenvectors of the covariance in float64; the largest loading is positive."""
    X = X.astype(np.float64)
    centred = X - X.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(X))
    order = np.argsort(-values)[:2]
    vectors = vectors[:, order]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(2)])
    return centred @ vectors, values[order] / values.sum()


@pytest.fixture
def path(tmp_path):
    generator = np.random.default_rng(0)
    X = (generator.normal(size=(301, 7)) * [5, 3, 1, 1, 1, 0.5, 0.1] + 40).astype(np.float32)
    with create_store(tmp_path / "acts.zarr") as store:
        layer = store.create_layer("a", 7, "float32")
        layer.append(X, label=np.array(["p", "q", "r"])[np.arange(301) % 3])
    mapper = Mapper("column:0", cover=UniformCover(6, 0.3), clusterer=DBSCAN(2.0))
    mapper.fit(store.layer("a"), run=tmp_path / "run.zarr")
    return tmp_path / "run.zarr"


@pytest.fixture
def run(path):
    return Session([path]).runs[0]


def rows_of(run):
    return run.activations[np.arange(run.header.n_rows)]


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (63, 2), (500, 17), (5000, 4)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_pca_is_the_definition(shape, dtype):
    X = np.random.default_rng(1).normal(size=shape) * np.arange(1, shape[1] + 1) + 3
    X = X.astype(dtype)
    xy, explained = projection.pca(X)
    assert xy.dtype == np.float32
    if shape[0] == 1:
        assert xy.tolist() == [[0.0, 0.0]]
        assert explained == [0.0, 0.0]
        return
    expected, shares = naive_pca(X)
    if shape[0] > 2:
        np.testing.assert_allclose(xy, expected, atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(explained, shares, atol=1e-6)


def test_pca_of_one_column_has_an_empty_axis():
    xy, explained = projection.pca(np.array([[1.0], [3.0]]))
    assert xy.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert explained == [1.0, 0.0]
    assert projection.pca(np.ones((4, 3)))[1] == [0.0, 0.0]


def test_the_table_holds_what_is_known_of_each_point(run):
    meta, arrays = projection.projection_table(run)
    expected, shares = naive_pca(rows_of(run))
    np.testing.assert_allclose(arrays["xy"], expected, atol=1e-3)
    np.testing.assert_allclose(meta["explained"], shares, atol=1e-6)
    assert meta["n_points"] == meta["n_rows"] == 301
    assert arrays["rows"].tolist() == list(range(301))
    assert arrays["class"].tolist() == (np.arange(301) % 3).tolist()
    np.testing.assert_allclose(arrays["lens"], run.lens_values[:, 0], rtol=1e-6)
    for row in range(301):
        holding = [n for n in range(run.graph.n_nodes) if row in run.graph.node_rows(n)]
        assert arrays["node"][row] == (holding[0] if holding else -1)
    assert (arrays["node"] == -1).any()


def test_a_sample_is_seeded_and_ascends(run):
    meta, arrays = projection.projection_table(run, limit=50)
    again = projection.projection_table(run, limit=50)[1]
    whole = projection.projection_table(run)[1]
    assert meta["n_points"] == 50
    assert (np.diff(arrays["rows"]) > 0).all()
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, again[name])
        np.testing.assert_array_equal(values, whole[name][arrays["rows"]])
    for limit in (0, projection.LIMIT + 1):
        with pytest.raises(ParameterError, match="limit must be"):
            projection.projection_table(run, limit=limit)


def test_a_selection_is_projected_alone(run):
    nodes = np.array([1, 0, 1])
    rows = np.union1d(run.graph.node_rows(0), run.graph.node_rows(1))
    meta, arrays = projection.selection_table(run, nodes)
    assert arrays["rows"].tolist() == rows.tolist()
    np.testing.assert_allclose(arrays["xy"], naive_pca(rows_of(run)[rows])[0], atol=1e-3)
    assert meta["n_rows"] == len(rows)
    assert len(projection.selection_table(run, nodes, limit=7)[1]["rows"]) == 7
    with pytest.raises(DataError, match="no rows"):
        projection.selection_table(run, np.zeros(0, np.int64))
    with pytest.raises(ParameterError, match="nodes must be 0 to"):
        projection.selection_table(run, np.array([run.graph.n_nodes]))


def test_stored_projections_are_listed_and_read(path, run):
    assert [m["name"] for m in projection.projections(run)["methods"]] == ["pca"]
    found = projection.project(rows_of(run), "tsne", limit=40, seed=3)
    assert len(found.rows) == 40
    assert found.xy.shape == (40, 2)
    target = projection.save_projection(path, found, 301)
    methods = projection.projections(run)["methods"]
    assert [(m["name"], m["ready"]) for m in methods] == [("pca", True), ("tsne", True)]
    meta, arrays = projection.projection_table(run, "tsne")
    np.testing.assert_array_equal(arrays["rows"], found.rows)
    np.testing.assert_array_equal(arrays["xy"], found.xy)
    assert meta["n_rows"] == 301
    with pytest.raises(StoreError, match="already"):
        projection.save_projection(path, found, 301)
    other = projection.Projected("tsne", found.rows, found.xy + 1)
    projection.save_projection(path, other, 301, overwrite=True)
    np.testing.assert_array_equal(projection.projection_table(run, "tsne")[1]["xy"], other.xy)
    assert load_run(path).graph.n_rows == 301  # the run is as it was
    assert not [p for p in target.parent.iterdir() if "partial" in p.name]


def test_a_write_that_fails_leaves_nothing(path, run, monkeypatch):
    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(projection, "move_into_place", fail)
    found = projection.project(rows_of(run), "pca")
    with pytest.raises(StoreError, match="disk is full"):
        projection.save_projection(path, found, 301)
    assert [p.name for p in (path / "projections").iterdir()] == ["zarr.json"]


def test_a_damaged_projection_is_told_and_not_listed(path, run):
    projection.save_projection(path, projection.project(rows_of(run), "tsne"), 301)
    group = zarr.open_group(path / "projections" / "tsne", mode="r+")
    group.attrs.update({"version": 9})
    fresh = Session([path]).runs[0]
    with pytest.raises(StoreError, match=r"version 9.*topoact project"):
        projection.projection_table(fresh, "tsne")
    assert [m["name"] for m in projection.projections(fresh)["methods"]] == ["pca"]
    with pytest.raises(NotFound, match="no projection 'umap'"):
        projection.projection_table(fresh, "umap")
    with pytest.raises(NotFound, match="no projection"):
        projection.projection_table(fresh, "../graph")


def test_without_rows_there_is_no_pca(path, tmp_path):
    (tmp_path / "acts.zarr").rename(tmp_path / "elsewhere.zarr")
    run = Session([path]).runs[0]
    assert projection.projections(run)["methods"] == []
    for call in (projection.projection_table, projection.selection_table):
        with pytest.raises(NotFound, match="--store"):
            call(run, *([np.array([0])] if call is projection.selection_table else []))
    found = CliRunner().invoke(app, ["project", str(path), "--method", "pca"])
    assert found.exit_code == 2
    assert "--store" in found.stderr
    elsewhere = ["--store", str(tmp_path / "elsewhere.zarr")]
    assert (
        CliRunner().invoke(app, ["project", str(path), "--method", "pca", *elsewhere]).exit_code
        == 0
    )


def test_the_command_stores_what_the_explorer_shows(path):
    def call(*arguments):
        return CliRunner().invoke(app, ["project", str(path), *arguments])

    found = call("--method", "pca", "--json")
    assert found.exit_code == 0, found.stderr
    run = Session([path]).runs[0]
    assert (path / "projections" / "pca").is_dir()
    np.testing.assert_allclose(
        projection.projection_table(run)[1]["xy"], naive_pca(rows_of(run))[0], atol=1e-3
    )
    again = call("--method", "pca")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert call("--method", "pca", "--overwrite", "--dims", "3", "--limit", "60").exit_code == 0
    assert "must be pca, umap, tsne" in call("--method", "mds").stderr
    assert "dims must be 2 or 3" in call("--method", "tsne", "--dims", "9").stderr


def test_umap_is_told_what_it_needs_or_runs(run, monkeypatch):
    X = rows_of(run)
    if importlib.util.find_spec("umap") is None:
        with pytest.raises(ParameterError, match="umap-learn"):
            projection.project(X, "umap")
    module = types.ModuleType("umap")

    class UMAP:
        def __init__(self, n_components, random_state, n_jobs):
            self.n_components = n_components

        def fit_transform(self, values):
            return values[:, : self.n_components]

    module.UMAP = UMAP
    monkeypatch.setitem(sys.modules, "umap", module)
    found = projection.project(X, "umap", limit=20, seed=1)
    np.testing.assert_array_equal(found.xy, X[found.rows, :2])
    with pytest.raises(DataError, match="at least 5 rows"):
        projection.project(X[:3], "umap")
