"""The command line: results on stdout, one clear line for bad input, nothing half-written."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from topoact_gpu import DBSCAN, Mapper, UniformCover
from topoact_gpu.cli import app
from topoact_gpu.runs import load_run
from topoact_gpu.store import create_store, open_store

RNG = np.random.default_rng(0)


def topoact(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="topoact")


def succeed(*arguments):
    result = topoact(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fail(*arguments, match, tmp_path=None):
    """Exit code 2, one line on stderr, nothing on stdout, and no new or changed file."""
    before = tree(tmp_path)
    result = topoact(*arguments)
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("topoact: ")
    assert match in lines[0]
    assert result.stdout == ""
    assert tree(tmp_path) == before
    return lines[0]


def tree(path):
    if path is None:
        return None
    return {p: p.stat().st_mtime_ns for p in sorted(path.rglob("*")) if p.is_file()}


def make(n_rows=60, n_cols=6, dtype="f4"):
    return RNG.standard_normal((n_rows, n_cols)).astype(dtype)


def saved(path, X, **arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        np.save(path, X)
    return path


@pytest.fixture
def acts(tmp_path):
    return tmp_path / "acts.zarr"


# --- import ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i2", "u1", ">f4", "?"])
def test_import_npy(tmp_path, acts, dtype):
    X = (100 * make()).astype(dtype)
    result = succeed("import", saved(tmp_path / "x.npy", X), "--out", acts, "--layer", "b1")
    assert "60 rows × 6 columns" in result.stdout
    layer = open_store(acts)["b1"]
    assert layer.dtype == (np.uint8 if dtype == "?" else X.dtype.newbyteorder("="))
    assert np.array_equal(layer[:], X)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["acts.zarr", "x.npy"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_import_npz(tmp_path, acts, save, order):
    X = np.asarray(make(), order=order)
    pos = RNG.integers(0, 3, 60).astype(np.int8)
    names = np.array(["noun", "verb", "rest"])
    save(tmp_path / "x.npz", a=X, pos=pos, pos_names=names, grid=np.ones((3, 3), int), y=X[:, 0])
    result = succeed(
        "import", tmp_path / "x.npz", "--out", acts, "--layer", "b1", "--json", "--quiet"
    )
    assert json.loads(result.stdout)["row_columns"] == ["pos", "y"]
    layer = open_store(acts)["b1"]
    assert np.array_equal(layer[:], X)
    assert np.array_equal(layer.column("pos"), pos)
    assert layer.names == {"pos": ["noun", "verb", "rest"]}


def test_import_npz_in_blocks(tmp_path, acts, monkeypatch):
    from topoact_gpu.cli import sources

    monkeypatch.setattr(sources, "BLOCK_BYTES", 200)
    X = make()
    np.savez(tmp_path / "x.npz", a=X, b=X + 1)
    succeed("import", tmp_path / "x.npz", "--out", acts, "--layer", "b1", "--key", "b")
    assert np.array_equal(open_store(acts)["b1"][:], X + 1)


def test_import_zarr(tmp_path, acts):
    import zarr

    X = make()
    array = zarr.create_array(tmp_path / "x.zarr", shape=X.shape, dtype=X.dtype, chunks=(7, 6))
    array[:] = X
    succeed("import", tmp_path / "x.zarr", "--out", acts, "--layer", "one")
    group = zarr.create_group(tmp_path / "g.zarr")
    for name, values in {"deep/a": X, "deep/y": X[:, 0], "deep/other": X[:3].astype(int)}.items():
        group.create_array(name, data=values)
    succeed("import", tmp_path / "g.zarr", "--out", acts, "--layer", "two")
    store = open_store(acts)
    assert np.array_equal(store["one"][:], X)
    assert np.array_equal(store["two"][:], X)
    assert np.array_equal(store["two"].column("y"), X[:, 0])


def test_import_parquet(tmp_path, acts):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    X = make()
    label = np.array(["cat", "dog"])[np.arange(60) % 2]
    wide = {f"c{i}": X[:, i] for i in range(6)}
    pq.write_table(pa.table({**wide, "label": label, "n": np.arange(60)}), tmp_path / "w.parquet")
    flat = pa.FixedSizeListArray.from_arrays(X.ravel(), 6)
    pq.write_table(pa.table({"emb": flat, "score": X[:, 0]}), tmp_path / "l.parquet")
    succeed("import", tmp_path / "w.parquet", "--out", acts, "--layer", "wide")
    succeed("import", tmp_path / "l.parquet", "--out", acts, "--layer", "list")
    store = open_store(acts)
    assert np.array_equal(store["wide"][:], X)
    assert np.array_equal(
        np.array(store["wide"].names["label"])[store["wide"].column("label")], label
    )
    assert np.array_equal(store["wide"].column("n"), np.arange(60))
    assert np.array_equal(store["list"][:], X)
    assert np.array_equal(store["list"].column("score"), X[:, 0])
    ragged = pa.table({"emb": [[1.0, 2.0], [3.0]]})
    pq.write_table(ragged, tmp_path / "r.parquet")
    fail(
        "import",
        tmp_path / "r.parquet",
        "--out",
        acts,
        "--layer",
        "r",
        match="same length",
        tmp_path=tmp_path,
    )


LABELS = {
    "npy": lambda path: np.save(path, np.arange(60)),
    "npz": lambda path: np.savez(path, label=np.arange(60), short=np.arange(3)),
    "txt": lambda path: path.write_text("\n".join(map(str, range(60)))),
    "csv": lambda path: path.write_text("label,name\n" + "".join(f"{i},n{i}\n" for i in range(60))),
}


@pytest.mark.parametrize("suffix", LABELS)
def test_labels(tmp_path, acts, suffix):
    X = make()
    X[5, 1] = np.inf
    labels = tmp_path / f"labels.{suffix}"
    LABELS[suffix](labels)
    x = saved(tmp_path / "x.npy", X)
    succeed("import", x, "--out", acts, "--layer", "b1", "--labels", labels, "--drop-nonfinite")
    layer = open_store(acts)["b1"]
    assert np.array_equal(layer.column("label"), np.delete(np.arange(60), 5))
    if suffix == "csv":
        assert layer.names["name"][layer.column("name")[5]] == "n6"


def test_labels_that_do_not_fit(tmp_path, acts):
    x = saved(tmp_path / "x.npy", make())
    np.save(tmp_path / "l.npy", np.arange(59))
    (tmp_path / "l.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "l.md").write_text("a")
    options = ("--out", acts, "--layer", "b1", "--labels")
    fail("import", x, *options, tmp_path / "l.npy", match="60 rows", tmp_path=tmp_path)
    fail("import", x, *options, tmp_path / "l.csv", match="line 3", tmp_path=tmp_path)
    fail("import", x, *options, tmp_path / "l.md", match="labels must be", tmp_path=tmp_path)
    fail("import", x, *options, tmp_path / "none.npy", match="no file", tmp_path=tmp_path)


def test_nonfinite_rows(tmp_path, acts):
    X = make()
    X[[7, 30], [0, 5]] = np.nan, -np.inf
    x = saved(tmp_path / "x.npy", X)
    line = fail("import", x, "--out", acts, "--layer", "b1", match="2 of 60", tmp_path=tmp_path)
    assert "first is row 7" in line
    assert "--drop-nonfinite" in line
    options = ("--out", acts, "--layer", "b1", "--drop-nonfinite")
    result = succeed("import", x, *options)
    assert "dropped 2 of 60 rows" in result.stderr
    assert "first is row 7" in result.stderr
    assert np.array_equal(open_store(acts)["b1"][:], np.delete(X, [7, 30], axis=0))
    succeed("import", x, *options, "--overwrite", "--json")
    np.save(x, np.full((5, 2), np.nan))
    fail(
        "import",
        x,
        "--out",
        acts,
        "--layer",
        "b2",
        "--drop-nonfinite",
        match="5 of 5 rows",
        tmp_path=tmp_path,
    )


BAD_ARRAYS = {
    "no rows": (np.zeros((0, 3)), "at least 2 rows, but has 0 rows"),
    "one row": (np.zeros((1, 3)), "at least 2 rows, but has 1 row"),
    "no columns": (np.zeros((3, 0)), "0 feature(s)"),
    "one dimension": (np.zeros(5), "Expected 2D array"),
    "complex": (np.zeros((3, 3), complex), "Complex data not supported"),
    "text": (np.full((3, 3), "a"), "float16, float32, float64 or integers"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays(tmp_path, acts, name):
    array, message = BAD_ARRAYS[name]
    x = saved(tmp_path / "x.npy", array)
    fail("import", x, "--out", acts, "--layer", "b1", match=message, tmp_path=tmp_path)


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet", "txt", "zarr"])
@pytest.mark.parametrize("content", [None, b"", b"garbage that is no array of any kind"])
def test_bad_files(tmp_path, acts, suffix, content):
    file = tmp_path / f"x.{suffix}"
    if content is not None:
        file.write_bytes(content)
    expected = {None: "no file", b"": "empty"}.get(content, str(file))
    fail("import", file, "--out", acts, "--layer", "b1", match=expected, tmp_path=tmp_path)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_truncated_files(tmp_path, acts, suffix):
    file = tmp_path / f"x.{suffix}"
    saved(file, make(), a=make())
    file.write_bytes(file.read_bytes()[:900])
    fail("import", file, "--out", acts, "--layer", "b1", match="cannot be read", tmp_path=tmp_path)


def test_pickles_are_not_loaded(tmp_path, acts):
    np.save(tmp_path / "x.npy", np.array([[{}]], object), allow_pickle=True)
    fail(
        "import",
        tmp_path / "x.npy",
        "--out",
        acts,
        "--layer",
        "b1",
        match="x.npy",
        tmp_path=tmp_path,
    )


def test_npz_without_a_clear_choice(tmp_path, acts):
    X = make()
    np.savez(tmp_path / "x.npz", first=X, second=X, flat=X[0])
    options = ("import", tmp_path / "x.npz", "--out", acts, "--layer", "b1")
    fail(*options, match="--key", tmp_path=tmp_path)
    fail(*options, "--key", "secnd", match="did you mean 'second'?", tmp_path=tmp_path)
    fail(*options, "--key", "flat", match="two-dimensional", tmp_path=tmp_path)


def test_truncated_zarr_chunk(tmp_path, acts):
    import zarr

    X = make()
    array = zarr.create_array(tmp_path / "x.zarr", shape=X.shape, dtype=X.dtype, chunks=(20, 6))
    array[:] = X
    chunk = tmp_path / "x.zarr/c/1/0"
    chunk.write_bytes(chunk.read_bytes()[:10])
    fail(
        "import",
        tmp_path / "x.zarr",
        "--out",
        acts,
        "--layer",
        "b1",
        match="chunk",
        tmp_path=tmp_path,
    )


def test_existing_layer_and_output(tmp_path, acts):
    x = saved(tmp_path / "x.npy", make())
    succeed("import", x, "--out", acts, "--layer", "b1")
    fail("import", x, "--out", acts, "--layer", "b1", match="--overwrite", tmp_path=tmp_path)
    np.save(x, make(30))
    succeed("import", x, "--out", acts, "--layer", "b1", "--overwrite")
    succeed("import", x, "--out", acts, "--layer", "b2")
    assert open_store(acts)["b1"].n_rows == 30
    assert open_store(acts).layers == ("b1", "b2")
    fail("import", x, "--out", x, "--layer", "b1", match="store is required", tmp_path=tmp_path)
    fail(
        "import",
        acts,
        "--out",
        tmp_path / "o",
        "--layer",
        "b",
        match="store already",
        tmp_path=tmp_path,
    )
    fail("import", x, "--out", acts, "--layer", "a/b", match="layer name", tmp_path=tmp_path)


def test_full_disk(tmp_path, acts, monkeypatch):
    from zarr.storage import _local

    def full(path, value, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    x = saved(tmp_path / "x.npy", make())
    succeed("import", x, "--out", acts, "--layer", "b1")
    monkeypatch.setattr(_local, "_put", full)
    fail("import", x, "--out", acts, "--layer", "b2", match="disk is full", tmp_path=tmp_path)
    fail("import", x, "--out", tmp_path / "new", "--layer", "b", match="full", tmp_path=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["acts.zarr", "x.npy"]
    assert sorted(p.name for p in (acts / "layers").iterdir()) == ["b1", "zarr.json"]


# --- info --------------------------------------------------------------------------------------


def test_info_of_a_store(tmp_path, acts):
    with create_store(acts, model="tiny") as store:
        store.create_layer("b1", 4).append(np.ones((5, 4), np.float16), y=np.arange(5))
    assert "5 rows × 4 columns, float16; row columns: y" in succeed("info", acts).stdout
    found = json.loads(succeed("info", acts, "--json").stdout)
    assert found["attributes"]["model"] == "tiny"
    assert found["layers"]["b1"]["n_rows"] == 5
    assert succeed("info", acts, "--quiet").stdout == ""


def test_info_of_nothing(tmp_path):
    fail("info", tmp_path / "none", match="nothing at")
    fail("info", tmp_path, match="no store, run or graph")


# --- mapper ------------------------------------------------------------------------------------


@pytest.fixture
def blobs(tmp_path):
    """A store whose layer b1 holds three blobs at different norms, labelled."""
    rng = np.random.default_rng(1)
    label = np.arange(300) % 3
    X = (rng.standard_normal((300, 8)) * 0.3 + 3 * label[:, None]).astype("f4")
    path = tmp_path / "acts.zarr"
    with create_store(path) as store:
        layer = store.create_layer("b1", 8, "f4", names={"label": ["cat", "dog", "emu"]})
        layer.append(X, label=label)
    np.save(tmp_path / "x.npy", X)
    return path


def test_mapper_saves_a_run(tmp_path, blobs):
    out = tmp_path / "run.zarr"
    options = ("--layer", "b1", "--intervals", 10, "--eps", 1.5, "--min-samples", 4, "--out", out)
    result = succeed("mapper", blobs, *options)
    for word in ("rows", "nodes", "edges", "components", "loops", "coverage", "noise", "eps"):
        assert word in result.stdout
    loaded = load_run(out)
    layer = open_store(blobs)["b1"]
    expected = Mapper(cover=UniformCover(10, 0.3), clusterer=DBSCAN(1.5, min_samples=4)).fit(layer)
    assert np.array_equal(loaded.graph.edges, expected.graph_.edges)
    assert np.array_equal(loaded.graph.rows, expected.graph_.rows)
    assert np.array_equal(loaded.lens_values, expected.lens_values_)
    assert np.array_equal(loaded.columns["label"], layer.column("label"))
    assert loaded.names == {"label": ["cat", "dog", "emu"]}
    assert loaded.source["layer"] == "b1"
    found = json.loads(succeed("info", out, "--json").stdout)
    assert found["nodes"] == expected.graph_.n_nodes
    assert "eps" in succeed("info", out).stdout


def test_mapper_json_and_quiet(blobs):
    result = succeed("mapper", blobs, "--intervals", 10, "--eps", 1.5, "--json")
    found = json.loads(result.stdout)
    assert found["rows"] == 300
    assert found["columns"] == 8
    assert found["eps"] == 1.5
    assert found["report"]["parameters"]
    assert result.stderr == ""
    result = succeed("mapper", blobs, "--intervals", 10, "--eps", 1.5, "--quiet")
    assert result.stdout == result.stderr == ""


def test_mapper_options(tmp_path, blobs):
    succeed(
        "mapper",
        blobs,
        "--lens",
        "pca:2",
        "--intervals",
        "5,4",
        "--overlap",
        "0.2,0.4",
        "--eps",
        2,
        "--max-dimension",
        2,
        "--threads",
        1,
        "--memory-budget",
        "1GB",
    )
    result = succeed("mapper", blobs, "--metric", "manhattan", "--eps", 2.5, "--intervals", 5)
    assert "2.5" in result.stdout
    succeed("mapper", blobs, "--eps", "knee-per-interval", "--intervals", 5, "--min-samples", 3)
    succeed("mapper", blobs, "--cover", "kepler", "--metric", "cosine", "--eps", 0.5)
    succeed(
        "mapper",
        blobs,
        "--cover",
        "balanced",
        "--intervals",
        5,
        "--seed",
        3,
        "--eps",
        2,
        "--min-intersection",
        2,
        "--device",
        "cpu",
    )
    one = json.loads(succeed("mapper", blobs, "--eps", 2, "--json").stdout)
    two = json.loads(succeed("mapper", tmp_path / "x.npy", "--eps", 2, "--json").stdout)
    assert (one["nodes"], one["edges"]) == (two["nodes"], two["edges"])


BAD_PARAMETERS = {
    "overlap of 1": (("--overlap", "1"), "overlap"),
    "negative overlap": (("--overlap", "-0.1"), "overlap"),
    "no number": (("--overlap", "much"), "--overlap must be numbers"),
    "NaN overlap": (("--overlap", "nan"), "overlap"),
    "no intervals": (("--intervals", "0"), "intervals"),
    "half an interval": (("--intervals", "2.5"), "--intervals must be whole numbers"),
    "eps of 0": (("--eps", "0"), "eps"),
    "negative eps": (("--eps", "-1"), "eps"),
    "NaN eps": (("--eps", "nan"), "eps"),
    "eps in words": (("--eps", "kne"), "did you mean 'knee'?"),
    "min_samples of 0": (("--min-samples", "0"), "min_samples"),
    "unknown lens": (("--lens", "l2nrom"), "l2norm"),
    "lens column": (("--lens", "column:8"), "column"),
    "unknown cover": (("--cover", "unifrom"), "did you mean 'uniform'?"),
    "unknown metric": (("--metric", "euclidian"), "euclidean"),
    "unknown layer": (("--layer", "b2"), "did you mean 'b1'?"),
    "unknown device": (("--device", "gpu5"), "device"),
    "no budget": (("--memory-budget", "plenty"), "memory_budget"),
    "no threads": (("--threads", "0"), "n_threads"),
    "no dimension": (("--max-dimension", "-1"), "max_dimension"),
    "no intersection": (("--min-intersection", "0"), "min_intersection"),
}


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_bad_parameters(tmp_path, blobs, name):
    options, message = BAD_PARAMETERS[name]
    out = tmp_path / "run.zarr"
    given = ("--eps", "2") if "--eps" not in options else ()
    fail("mapper", blobs, *given, *options, "--out", out, match=message, tmp_path=tmp_path)


BAD_ROWS = {
    "constant lens": (np.ones((50, 3)), "at least two values"),
    "one row": (np.ones((1, 3)), "1 sample"),
    "no rows": (np.ones((0, 3)), "0 sample"),
    "no columns": (np.ones((3, 0)), "0 feature"),
    "NaN": (np.where(np.arange(90).reshape(30, 3) == 12, np.nan, 1.0), "row 4"),
    "text": (np.full((5, 2), "a"), "dtype"),
    "one dimension": (np.ones(5), "Reshape"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows(tmp_path, name):
    X, message = BAD_ROWS[name]
    x = saved(tmp_path / "x.npy", X)
    options = ("--eps", 1, "--out", tmp_path / "run.zarr")
    fail("mapper", x, *options, match=message, tmp_path=tmp_path)


def test_bad_stores(tmp_path, blobs):
    out = tmp_path / "run.zarr"
    fail("mapper", tmp_path / "none.zarr", "--out", out, match="no activation store at")
    fail("mapper", tmp_path / "none.npy", "--out", out, match="no file")
    fail("mapper", tmp_path / "x.npy", "--layer", "b1", "--out", out, match="no layers")
    saved(tmp_path / "x.npz", None, a=make())
    fail("mapper", tmp_path / "x.npz", "--out", out, match="import it first")
    with open_store(blobs, mode="a") as store:
        store.create_layer("empty", 3)
    fail("mapper", blobs, "--out", out, match="choose --layer")
    fail("mapper", blobs, "--layer", "empty", "--out", out, match="0 sample", tmp_path=tmp_path)


def test_truncated_chunk_of_a_store(tmp_path, blobs):
    chunk = blobs / "layers/b1/activations/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:1000])
    options = ("--eps", 2, "--out", tmp_path / "run.zarr")
    line = fail("mapper", blobs, *options, match="layer 'b1'", tmp_path=tmp_path)
    assert "chunk 0" in line
    chunk.write_bytes(b"")
    fail("mapper", blobs, *options, match="chunk 0", tmp_path=tmp_path)


def test_existing_run(tmp_path, blobs):
    out = tmp_path / "run.zarr"
    succeed("mapper", blobs, "--eps", 2, "--out", out)
    before = tree(tmp_path)
    succeed("mapper", blobs, "--eps", 2, "--out", out)
    assert tree(tmp_path) == before  # it is complete
    other = "clusterer.eps is 2.0 there, 1.0 here"
    fail("mapper", blobs, "--eps", 1, "--out", out, match=other, tmp_path=tmp_path)
    succeed("mapper", blobs, "--eps", 1, "--out", out, "--overwrite")
    assert load_run(out).report["clustering"]["eps"] == 1
    x = tmp_path / "x.npy"
    fail(
        "mapper",
        blobs,
        "--eps",
        2,
        "--out",
        x,
        "--overwrite",
        match="not overwritten",
        tmp_path=tmp_path,
    )


def test_full_disk_while_saving_a_run(tmp_path, blobs, monkeypatch):
    from zarr.storage import _local

    def full(path, value, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "run.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(_local, "_put", full)
        fail("mapper", blobs, "--eps", 2, "--out", out, match="disk is full")
    assert not out.exists()
    found = json.loads(succeed("mapper", blobs, "--eps", 2, "--out", out, "--json").stdout)
    n_intervals = found["report"]["clustering"]["n_intervals"]
    assert found["report"]["resumed"] == {"lens": True, "intervals": n_intervals}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# --- export ------------------------------------------------------------------------------------


FORMATS = {"node-link": "json", "kmapper": "json", "graphml": "graphml", "gexf": "gexf"}


@pytest.fixture
def run_path(tmp_path, blobs):
    succeed("mapper", blobs, "--intervals", 10, "--eps", 1.5, "--out", tmp_path / "run.zarr")
    return tmp_path / "run.zarr"


@pytest.mark.parametrize("format", [*FORMATS, "csv", "png"])
def test_export(tmp_path, run_path, format):
    if format == "png":
        pytest.importorskip("matplotlib")
    out = tmp_path / f"graph.{FORMATS.get(format, format)}"
    succeed("export", run_path, "--format", format, "--out", out)
    assert out.exists()
    fail(
        "export", run_path, "--format", format, "--out", out, match="--overwrite", tmp_path=tmp_path
    )
    succeed("export", run_path, "--format", format, "--out", out, "--overwrite")


def test_exported_node_link(tmp_path, run_path):
    succeed("export", run_path, "--format", "node-link", "--out", tmp_path / "g.json")
    found = json.loads((tmp_path / "g.json").read_text())
    graph = load_run(run_path).graph
    assert len(found["nodes"]) == graph.n_nodes
    assert len(found["links"]) == graph.n_edges


def test_bad_exports(tmp_path, run_path):
    out = tmp_path / "g.json"
    fail(
        "export",
        run_path,
        "--format",
        "graphm",
        "--out",
        out,
        match="did you mean 'graphml'?",
        tmp_path=tmp_path,
    )
    fail("export", tmp_path / "none", "--out", out, match="none", tmp_path=tmp_path)
    fail("export", tmp_path / "acts.zarr", "--out", out, match="acts.zarr", tmp_path=tmp_path)


# --- demo --------------------------------------------------------------------------------------


def test_demo_twice(tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "demo"
    result = succeed("demo", "--out", out, "--no-browser")
    for word in (
        "10,000",
        "112",
        "nodes",
        "edges",
        "components",
        "loops",
        "coverage",
        "noise",
        "eps",
        "time: ",
        "saved: picture",
        "topoact import X.npy",
    ):
        assert word in result.stdout
    assert (out / "mapper.png").read_bytes()[:4] == b"\x89PNG"
    found = json.loads(succeed("demo", "--out", out, "--no-browser", "--json").stdout)
    assert found["rows"] == 10_000
    assert found["nodes"] == load_run(out / "run.zarr").graph.n_nodes
    assert sorted(p.name for p in out.iterdir()) == ["acts.zarr", "mapper.png", "run.zarr"]


# --- the command itself ------------------------------------------------------------------------


def run(*arguments, **options):
    code = "from topoact_gpu.cli import app; app(prog_name='topoact')"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        **options,
    )


@pytest.mark.parametrize("command", ["import", "info", "mapper", "export", "demo"])
def test_help_has_examples(command):
    assert f"topoact {command}" in succeed(command, "--help").stdout


def test_help_is_quick_and_light():
    code = (
        "import sys; from topoact_gpu.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'zarr', 'numba', 'sklearn', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_usage_errors_are_one_line():
    fail("mapper", match="Missing argument")
    fail("impot", match="Did you mean 'import'")
    fail("info", "x", "--nonsense", match="No such option")
    fail("mapper", "x", "--min-samples", "many", match="valid integer")


def test_version():
    from topoact_gpu import __version__

    assert succeed("--version").stdout == f"topoact-gpu {__version__}\n"


def test_errors_in_a_real_process(tmp_path):
    result = run("import", tmp_path / "none.npy", "--out", tmp_path / "o.zarr", "--layer", "b")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"topoact: there is no file {tmp_path / 'none.npy'}; check the path\n"
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
import time
from topoact_gpu import rows
from topoact_gpu.cli import app

def slow(block):
    print("started", flush=True)
    time.sleep(60)

rows.finite_rows = slow
app(prog_name="topoact")
"""


def test_interrupt_leaves_nothing(tmp_path, acts):
    x = saved(tmp_path / "x.npy", make())
    command = [sys.executable, "-c", INTERRUPTED, "import", x, "--out", acts, "--layer", "b1"]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=30)
    assert process.returncode == 130
    assert message == "topoact: interrupted\n"
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_files_that_cannot_grow(tmp_path, acts):
    """The system refuses a write in a real process, as a full disk would."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from topoact_gpu.cli import app; app(prog_name='topoact')"
    )
    x = saved(tmp_path / "x.npy", make(5000, 20))
    command = [sys.executable, "-c", code, "import", x, "--out", acts, "--layer", "b1"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("options", [(), ("--quiet",)])
def test_progress_only_on_a_terminal(tmp_path, acts, options):
    import pty

    x = saved(tmp_path / "x.npy", make())
    ours, theirs = pty.openpty()
    code = "from topoact_gpu.cli import app; app(prog_name='topoact')"
    command = [sys.executable, "-c", code, "import", x, "--out", acts, "--layer", "b1", *options]
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=theirs, env=terminal(), check=True
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 10_000):
            seen += part
    os.close(ours)
    assert (b"importing rows" in seen) == (not options)
    assert b"importing rows" not in done.stdout


def terminal():
    return {**os.environ, "TERM": "xterm"}
