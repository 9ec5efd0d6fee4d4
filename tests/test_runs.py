"""Runs: what is saved is loaded, and a save that fails leaves nothing."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import zarr

from topoact_gpu.errors import DataError, StoreError
from topoact_gpu.graph import MapperGraph
from topoact_gpu.runs import load_run, save_run

RNG = np.random.default_rng(0)
N_ROWS = 40
LENS = RNG.standard_normal((N_ROWS, 2))
REPORT = {
    "parameters": {"lens": "l2norm", "overlap": np.float64(0.3)},
    "stages": {"lens": {"seconds": 0.1, "peak_bytes": np.int64(3)}},
    "clustering": {"eps": float("inf"), "curve": np.arange(3)},
    "knee": None,
}


@pytest.fixture
def graph():
    rows = np.concatenate([np.arange(0, 15), np.arange(10, 30), np.arange(35, 40)])
    return MapperGraph.build(
        np.array([0, 15, 35, 40]),
        rows.astype(np.int64),
        np.array([0, 1, 2]),
        LENS,
        50,
        max_dimension=1,
        min_intersection=1,
        parameters={"lens": "l2norm"},
        provenance={},
    )


def save(path, graph, **options):
    save_run(path, graph, lens_values=LENS, report=REPORT, **options)


def test_round_trip(tmp_path, graph):
    columns = {"label": np.array(["cat", "dog"])[np.arange(N_ROWS) % 2], "y": np.arange(N_ROWS)}
    source = {"path": tmp_path / "acts.zarr", "layer": "b1"}
    save(tmp_path / "r.zarr", graph, columns=columns, names={"y": ["a"]}, source=source)
    run = load_run(tmp_path / "r.zarr")
    for name in ("indptr", "rows", "edges", "jaccard", "node_interval", "node_lens"):
        assert np.array_equal(getattr(run.graph, name), getattr(graph, name))
    assert np.array_equal(run.lens_values, LENS)
    assert run.names == {"label": ["cat", "dog"], "y": ["a"]}
    assert np.array_equal(run.columns["y"], np.arange(N_ROWS))
    assert np.array_equal(run.columns["label"], np.arange(N_ROWS) % 2)
    assert run.source == {"path": str(tmp_path / "acts.zarr"), "layer": "b1"}
    assert run.report["parameters"] == {"lens": "l2norm", "overlap": 0.3}
    assert run.report["clustering"] == {"eps": "inf", "curve": [0, 1, 2]}


def test_a_run_is_a_graph_too(tmp_path, graph):
    save(tmp_path / "r.zarr", graph)
    assert np.array_equal(MapperGraph.load(tmp_path / "r.zarr").edges, graph.edges)
    root = zarr.open_group(tmp_path / "r.zarr", mode="r")
    assert root.attrs["format"] == "topoact-gpu/run"
    assert root.metadata.zarr_format == 3
    assert [p.name for p in tmp_path.iterdir()] == ["r.zarr"]


def test_one_lens_column(tmp_path, graph):
    save_run(tmp_path / "r.zarr", graph, lens_values=LENS[:, 0], report={})
    assert load_run(tmp_path / "r.zarr").lens_values.shape == (N_ROWS, 1)


def test_existing_output(tmp_path, graph):
    path = tmp_path / "r.zarr"
    save(path, graph, source={"layer": "old"})
    with pytest.raises(StoreError, match=r"exists; .*overwrite"):
        save(path, graph)
    assert load_run(path).source == {"layer": "old"}
    save(path, graph, overwrite=True, source={"layer": "new"})
    assert load_run(path).source == {"layer": "new"}
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "t.txt").write_text("precious")
    with pytest.raises(StoreError, match="not overwritten"):
        save(tmp_path / "thesis", graph, overwrite=True)
    with pytest.raises(StoreError, match="no writable folder"):
        save(tmp_path / "thesis" / "t.txt" / "deep" / "r.zarr", graph)


def test_full_disk(tmp_path, graph, monkeypatch):
    from zarr.storage import _local

    real, calls = _local._put, []

    def full(path, value, **options):
        calls.append(path)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, value, **options)

    save(tmp_path / "old.zarr", graph, source={"layer": "old"})
    monkeypatch.setattr(_local, "_put", full)
    with pytest.raises(StoreError, match="the disk is full"):
        save(tmp_path / "r.zarr", graph)
    with pytest.raises(StoreError, match="the disk is full"):
        save(tmp_path / "old.zarr", graph, overwrite=True)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["old.zarr"]
    assert load_run(tmp_path / "old.zarr").source == {"layer": "old"}


def test_columns_must_fit(tmp_path, graph):
    with pytest.raises(DataError, match="each of the 40 rows"):
        save(tmp_path / "r.zarr", graph, columns={"y": np.arange(3)})
    with pytest.raises(DataError, match="lens_values has 3 rows"):
        save_run(tmp_path / "r.zarr", graph, lens_values=np.zeros(3), report={})
    assert list(tmp_path.iterdir()) == []


def test_not_a_run(tmp_path):
    with pytest.raises(StoreError, match="no run at"):
        load_run(tmp_path / "none")
    with pytest.raises(StoreError, match="a run is required"):
        load_run(tmp_path)


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_damaged_chunks(tmp_path, graph, how):
    path = tmp_path / "r.zarr"
    save(path, graph)
    chunk = path / "lens" / "c" / "0" / "0"
    data = chunk.read_bytes()
    chunk.unlink() if how == "missing" else chunk.write_bytes(data[:30])
    with pytest.raises(StoreError, match=r"r\.zarr") as caught:
        load_run(path)
    assert "\n" not in str(caught.value)
