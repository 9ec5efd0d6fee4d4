"""Mapper and DBSCAN with device="cuda" give the CPU's bytes, whatever the rows come as."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from topoact_gpu import (
    DBSCAN,
    BalancedCover,
    Mapper,
    ParameterError,
    UniformCover,
    create_store,
    open_store,
)
from topoact_gpu.cli import app
from topoact_gpu.device import interpreted
from topoact_gpu.runs import load_run

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("poisoned")


def activations(n_rows=130, n_cols=20, dtype="f4", seed=0):
    """Clusters of several sizes after a relu, as activations are; no row of zeros."""
    rng = np.random.default_rng(seed)
    centres = np.maximum(rng.normal(size=(6, n_cols)), 0) * 2
    noise = rng.normal(size=(n_rows, n_cols)) * rng.choice([0.1, 0.3, 0.6], (n_rows, 1))
    X = np.maximum(centres[rng.integers(6, size=n_rows)] + noise, 0)
    X[:, 0] += 0.5
    return X.astype(dtype)


def mapper(device, eps=1.7, metric="euclidean", min_samples=4, **options):
    options = {"cover": UniformCover(4, 0.3)} | options
    clusterer = DBSCAN(eps, metric=metric, min_samples=min_samples)
    return Mapper(clusterer=clusterer, device=device, n_threads=1, **options)


ARRAYS = ("indptr", "rows", "edges", "jaccard", "node_interval", "node_lens")


def check_same(found, expected):
    """Equal bytes: the graph's arrays, the lens, eps."""
    for name in ARRAYS:
        one, other = getattr(found.graph_, name), getattr(expected.graph_, name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        assert one.tobytes() == other.tobytes(), name
    assert found.lens_values_.tobytes() == expected.lens_values_.tobytes()
    assert found.report_["clustering"]["eps"] == expected.report_["clustering"]["eps"]
    for name in ("coverage", "noise"):
        assert found.report_[name] == expected.report_[name]


def check_fits(X, other=None, **options):
    """Fits with both devices, the second to the same rows in another shape; the device's."""
    expected = mapper("cpu", **options).fit(X)
    assert expected.graph_.n_nodes > 2
    found = mapper("cuda", **options).fit(X if other is None else other)
    check_same(found, expected)
    return found


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(("metric", "eps"), [("euclidean", 1.7), ("cosine", 0.06)])
def test_graphs_have_the_cpus_bytes(dtype, metric, eps):
    found = check_fits(activations(dtype=dtype), metric=metric, eps=eps)
    assert len(found.graph_.edges) > 0


@pytest.mark.parametrize("eps", ["knee", "knee-per-interval"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_knees_have_the_cpus_bytes(eps, metric):
    check_fits(activations(), metric=metric, eps=eps)


@pytest.mark.parametrize("name", ["int8", "float16"])
def test_either_filter(monkeypatch, name):
    X = activations()
    expected = mapper("cpu", lens="column:2", cover=BalancedCover(3, 0.4), max_dimension=2).fit(X)
    monkeypatch.setenv("TOPOACT_FILTER", name)
    try:
        found = mapper("cuda", lens="column:2", cover=BalancedCover(3, 0.4), max_dimension=2).fit(X)
    except ParameterError as error:
        assert not interpreted()
        pytest.skip(str(error))
    check_same(found, expected)
    assert found.report_["clustering"]["filter"] == name
    triangles = found.graph_.simplices(2)
    assert triangles.tobytes() == expected.graph_.simplices(2).tobytes()


def strided(X, path):
    wide = np.zeros((2 * len(X), X.shape[1] + 5), X.dtype)
    wide[::2, 3 : 3 + X.shape[1]] = X
    return wide[::2, 3 : 3 + X.shape[1]]


def backwards(X, path):
    return np.ascontiguousarray(X[::-1])[::-1]


def frozen(X, path):
    X = X.copy()
    X.flags.writeable = False
    return X


def memmap(X, path):
    np.save(path / "X.npy", X)
    return np.load(path / "X.npy", mmap_mode="r")


def layer(X, path):
    with create_store(path / "acts.zarr") as store:
        store.create_layer("b1", X.shape[1], X.dtype.name).append(X)
    return open_store(path / "acts.zarr")["b1"]


def tensor(X, path):
    return torch.from_numpy(X.copy())


@pytest.mark.parametrize(
    "kind", [strided, backwards, frozen, memmap, layer, tensor, lambda X, path: X.tolist()],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_any_kind_of_rows(kind, tmp_path):
    X = activations(70, 9, "f8" if "lambda" in kind.__name__ else "f2")
    check_fits(X, kind(X, tmp_path))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    ("eps", "metric"), [(1.4, "euclidean"), (0.05, "cosine"), ("knee", "euclidean")]
)
def test_labels_have_the_cpus_bytes(dtype, eps, metric):
    X = activations(75, 12, dtype)
    ours, theirs = (
        DBSCAN(eps, metric=metric, min_samples=3, device=device, n_threads=1).fit(X)
        for device in ("cuda", "cpu")
    )
    for name in ("labels_", "core_sample_indices_"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
    assert (ours.eps_, ours.n_clusters_) == (theirs.eps_, theirs.n_clusters_)
    assert ours.n_clusters_ > 1


def test_one_row_alone():
    labels = DBSCAN(1.0, device="cuda").fit_predict(np.ones((1, 3)))
    assert labels.tolist() == [-1]
    assert DBSCAN(1.0, min_samples=1, device="cuda").fit_predict([[1.0]]).tolist() == [0]


def test_the_report_says_what_ran():
    told = []
    X = activations(60, 5)
    fitted = mapper("cuda", progress=lambda *what: told.append(what)).fit(X)
    report = json.loads(json.dumps(fitted.report_))
    ran = report["implementation"]
    assert ran["device"] == "cuda"
    assert ran["gpu"] == ("Triton's interpreter" if interpreted() else torch.cuda.get_device_name())
    assert ran["notes"] == []
    assert fitted.graph_.provenance["implementation"] == fitted.report_["implementation"]
    clustering = report["clustering"]
    assert clustering["filter"] in ("int8", "float16")
    for name in ("tested", "settled", "undecided", "within", "tiles", "settled_tiles"):
        assert clustering[f"pairs_{name}"] >= 0
    assert clustering["pairs_tested"] > 0
    done = [(at, total) for stage, at, total in told if stage == "cluster"]
    assert done[0][0] == 0
    assert done[-1][0] == done[-1][1] == clustering["n_intervals"]
    assert sorted(done) == done


@pytest.mark.skipif(not interpreted(), reason="a device is taken by itself")
def test_the_interpreter_is_never_taken_by_itself():
    fitted = mapper("auto").fit(activations(60, 5))
    assert fitted.report_["implementation"]["device"] == "cpu"


@pytest.mark.gpu
def test_a_device_is_taken_by_itself():
    fitted = mapper("auto").fit(activations(60, 5))
    assert fitted.report_["implementation"]["device"] == "cuda"


def test_an_unknown_filter_is_an_error(monkeypatch):
    monkeypatch.setenv("TOPOACT_FILTER", "float32")
    with pytest.raises(ParameterError, match="must be int8 or float16 on this device"):
        DBSCAN(1.0, device="cuda").fit(np.eye(3))


def test_rows_that_are_too_long_for_whole_numbers(monkeypatch):
    """The sums of products would leave int32; the other product takes them."""
    from topoact_gpu.cuda import CudaBackend
    from topoact_gpu.device import Team

    backend = CudaBackend(Team(1))
    assert backend.choose_filter(131_072) == "int8"
    monkeypatch.setattr(backend, "_half_error", lambda n_cols: 0.1)
    assert backend.choose_filter(131_073) == "float16"
    monkeypatch.setattr(backend, "_half_error", lambda n_cols: None)
    with pytest.raises(ParameterError, match="at most 131,072 columns, got 131,073"):
        backend.choose_filter(131_073)
    monkeypatch.setenv("TOPOACT_FILTER", "float16")
    with pytest.raises(ParameterError, match="is not known, so they prove nothing"):
        backend.choose_filter(100)
    assert 127 * 127 * 131_072 < 2**31


def test_the_command_runs_on_a_device(tmp_path):
    layer(activations(60, 5), tmp_path)
    runs = {}
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.zarr"
        words = ["mapper", tmp_path / "acts.zarr", "--device", device, "--intervals", 3]
        words += ["--eps", 1.5, "--min-samples", 3, "--out", out, "--json"]
        result = CliRunner().invoke(app, list(map(str, words)), prog_name="topoact")
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)["report"]
        assert report["implementation"]["device"] == device
        runs[device] = load_run(out)
    for name in ARRAYS:
        one, other = (getattr(run.graph, name) for run in runs.values())
        assert one.tobytes() == other.tobytes()
    assert runs["cuda"].graph.n_nodes > 0
    assert runs["cuda"].report["implementation"]["device"] == "cuda"


def test_a_difference_is_seen():
    X = activations(60, 5)
    first = mapper("cpu").fit(X)
    check_same(first, mapper("cpu").fit(X))
    for other in (mapper("cpu", eps=1.6), mapper("cpu", min_samples=9), mapper("cpu", lens="mean")):
        with pytest.raises(AssertionError):
            check_same(other.fit(X), first)


@pytest.mark.gpu
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_many_rows_on_a_device(metric):
    X = activations(60_000, 200, "f2")
    eps = 4.0 if metric == "euclidean" else 0.05
    for cover in (UniformCover(70, 0.3), UniformCover(2, 0.3)):
        check_fits(X, metric=metric, eps=eps, cover=cover)
