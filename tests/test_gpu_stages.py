"""Every stage through the GPU backend: the CPU's bytes, and a report that says what ran."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from sklearn.cluster import DBSCAN as Theirs

from topoact_gpu import DBSCAN, Mapper, UniformCover
from topoact_gpu.errors import ParameterError

torch = pytest.importorskip("torch")
cuda = pytest.importorskip("topoact_gpu.cuda")
pytestmark = pytest.mark.usefixtures("poisoned")


def made(n_rows=150, n_cols=5, seed=0):
    """A few clusters, some rows twice."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4, n_cols))[rng.integers(4, size=n_rows)] * 3
    X += rng.normal(size=X.shape)
    X[-10:] = X[:10]
    return X.astype(np.float32)


def fit(device, lens="l2norm", *, X=None, **options):
    """A Mapper whose clusterer is scikit-learn's: ours is slow in the interpreter."""
    given = {"cover": UniformCover(4, 0.3), "clusterer": Theirs(eps=2.0, min_samples=3)}
    return Mapper(lens, device=device, **given | options).fit(made() if X is None else X)


def fit_with_knee(device, metric="euclidean", eps="knee", **options):
    """The same with our clusterer."""
    clusterer = DBSCAN(eps, min_samples=3, metric=metric)
    X = made(60, 3) + 1
    return fit(device, X=X, cover=UniformCover(2, 0.3), clusterer=clusterer, **options)


def same(one, other):
    """Whether lens values, eps and graphs are the same bytes."""
    names = ["indptr", "rows", "edges", "jaccard", "node_interval", "node_lens", "interval_id"]
    arrays = [[getattr(m.graph_, name) for name in names] for m in (one, other)]
    higher = [list(m.graph_.higher) for m in (one, other)]
    eps = [m.report_["clustering"].get("eps") for m in (one, other)]
    pairs = zip(arrays[0] + higher[0], arrays[1] + higher[1], strict=True)
    return (
        one.lens_values_.tobytes() == other.lens_values_.tobytes()
        and eps[0] == eps[1]
        and all(a.tobytes() == b.tobytes() for a, b in pairs)
    )


def ran(mapper):
    """What the report says of each stage."""
    implementation = mapper.report_["implementation"]
    json.dumps(mapper.report_)
    stages = ("lens", "neighbours", "cover", "nerve")
    return {stage: implementation[stage] for stage in stages if stage in implementation}


OWN = dict.fromkeys(("lens", "cover", "nerve"), "own")


@pytest.mark.parametrize(
    ("lens", "said"),
    [
        ("l2norm", "own"),
        ("std", "own"),
        ("density:3", "own"),
        (["max", "density:4"], "own"),
        ("eccentricity", "own, cpu"),
        ("median", "own, cpu"),
        ("column:2", "own, cpu"),
        (["mean", lambda block: block[:, 0]], "own; function, cpu"),
        (np.arange(150.0), "given"),
    ],
    ids=str,
)
def test_same_bytes_as_the_cpu_and_what_ran_is_said(lens, said):
    theirs, ours = fit("cpu", lens), fit("cuda", lens)
    assert same(ours, theirs)
    assert ours.graph_.n_edges > 0
    expected = OWN | ({"neighbours": "own"} if "density" in str(lens) else {})
    assert ran(ours) == expected | {"lens": said}
    assert ran(theirs) == expected | {"lens": said.replace(", cpu", "")}
    assert ours.graph_.provenance["implementation"]["lens"] == said
    assert ours.report_["implementation"]["notes"] == []


def test_the_knee_is_the_same():
    for options in ({}, {"metric": "cosine", "eps": "knee-per-interval"}):
        theirs, ours = (fit_with_knee(device, **options) for device in ("cpu", "cuda"))
        assert same(theirs, ours)
        assert theirs.report_["knee"] == ours.report_["knee"]
        assert ran(ours) == ran(theirs) == OWN | {"neighbours": "own"}


def test_simplices_above_edges_are_the_processors():
    theirs, ours = fit("cpu", max_dimension=3), fit("cuda", max_dimension=3)
    assert same(theirs, ours)
    assert ran(ours) == OWN | {"nerve": "own; own, cpu"}


def test_lens_values_that_are_given():
    values = made()[:, 0].astype(float)
    ours = Mapper(cover=UniformCover(4, 0.3), clusterer=Theirs(eps=2.0), device="cuda")
    assert ran(ours.fit(made(), lens_values=values)) == OWN | {"lens": "given"}


def test_principal_components_are_nearly_the_cpus():
    theirs, ours = fit("cpu", "pca:2"), fit("cuda", "pca:2")
    np.testing.assert_allclose(ours.lens_values_, theirs.lens_values_, rtol=0, atol=1e-12)
    assert ran(ours)["lens"] == ran(theirs)["lens"] == "own"


@pytest.mark.parametrize("lens", ["l2norm", "pca:2", "density:3"])
def test_rows_that_do_not_fit_are_sent_in_parts(monkeypatch, lens):
    held = fit("cuda", lens)
    monkeypatch.setattr(cuda, "_ROWS_SHARE", 0.0)
    whole = cuda.sent_in_parts
    sent = []

    def in_parts(x, device):
        for part in whole(x, device, part_bytes=40 * 4 * 5):
            sent.append(len(part))
            yield part

    monkeypatch.setattr(cuda, "sent_in_parts", in_parts)
    ours = fit("cuda", lens)
    assert ours.report_["implementation"]["notes"] == [
        "rows do not fit in device memory: sent a window at a time"
    ]
    if lens == "pca:2":
        np.testing.assert_allclose(ours.lens_values_, held.lens_values_, rtol=0, atol=1e-12)
    else:
        assert same(ours, held)
    passes = {"l2norm": [40, 40, 40, 30], "pca:2": [40, *[40, 40, 40, 30] * 2], "density:3": []}
    assert sent == passes[lens]


def out_of_memory(real, times):
    """A function that finds no memory so many times."""
    left = [times]

    def tried(*given, **options):
        left[0] -= 1
        if left[0] >= 0:
            raise torch.OutOfMemoryError("none left")
        return real(*given, **options)

    return tried


def test_where_memory_runs_out_blocks_get_smaller(monkeypatch):
    expected = fit("cuda", "density:3")
    real, blocks = cuda.neighbours.neighbour_squares, []

    def watched(*given, **options):
        blocks.append(options["blocks"])
        return real(*given, **options)

    monkeypatch.setattr(cuda.neighbours, "neighbour_squares", out_of_memory(watched, 2))
    ours = fit("cuda", "density:3")
    assert same(ours, expected)
    assert ours.report_["implementation"]["notes"] == [
        f"out of device memory: blocks of neighbours made {parts} times smaller" for parts in (2, 4)
    ]
    assert [each.queries for each in blocks] == [2048 // 4]
    monkeypatch.setattr(cuda.neighbours, "neighbour_squares", out_of_memory(watched, 99))
    with pytest.raises(torch.OutOfMemoryError):
        fit("cuda", "density:3")


def test_where_memory_runs_out_cover_and_nerve_run_on_the_processor(monkeypatch):
    expected = fit("cuda")
    monkeypatch.setattr(cuda.cover, "group", out_of_memory(None, 1))
    monkeypatch.setattr(cuda.nerve, "find_edges", out_of_memory(None, 1))
    ours = fit("cuda")
    assert same(ours, expected)
    assert ran(ours) == {"lens": "own", "cover": "own; own, cpu", "nerve": "own, cpu"}
    assert ours.report_["implementation"]["notes"] == [
        f"out of device memory: {stage} ran on the processor" for stage in ("cover", "nerve")
    ]


class ForeignCover:
    """A cover of somebody else's, which knows nothing of backends."""

    def fit(self, lens_values):
        return UniformCover(4, 0.3).fit(lens_values)


def test_covers_of_others_are_called_as_they_are():
    ours = fit("cuda", cover=ForeignCover())
    assert same(ours, fit("cuda"))
    assert ran(ours)["cover"] == "ForeignCover, cpu"
    assert ran(fit("cpu", cover=ForeignCover()))["cover"] == "ForeignCover"


class FakePCA:
    """What cuML's looks like from outside, with directions turned the other way."""

    def __init__(self, n_components, svd_solver, output_type):
        assert (svd_solver, output_type) == ("full", "numpy")
        self.n_components = n_components

    def fit_transform(self, x):
        assert x.dtype in (torch.float32, torch.float64)
        X = x.cpu().numpy()
        centred = X - X.mean(0)
        directions = np.linalg.svd(centred, full_matrices=False)[2][: self.n_components]
        largest = np.abs(directions).argmax(1)
        directions *= -np.sign(directions[np.arange(self.n_components), largest])[:, None]
        self.components_ = directions
        return centred @ directions.T


class FakeUMAP:
    """The first columns; as cuML's, and as umap-learn's."""

    def __init__(self, n_components, random_state, **options):
        assert options in ({"output_type": "numpy"}, {"n_jobs": 1})
        self.n_components, self.seed = n_components, random_state

    def fit_transform(self, x):
        assert isinstance(x, np.ndarray) or x.dtype == torch.float32
        return np.asarray(x.cpu() if hasattr(x, "cpu") else x)[:, : self.n_components] + self.seed


def fake_module(name, **members):
    module = ModuleType(name)
    vars(module).update(members)
    return module


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_cuml_computes_pca_and_umap_where_it_is(monkeypatch, dtype):
    monkeypatch.setitem(sys.modules, "cuml", fake_module("cuml", PCA=FakePCA, UMAP=FakeUMAP))
    X = made().astype(dtype)
    theirs, ours = fit("cpu", "pca:2", X=X), fit("cuda", "pca:2", X=X)
    np.testing.assert_allclose(ours.lens_values_, theirs.lens_values_, rtol=0, atol=1e-4)
    assert (ran(ours)["lens"], ran(theirs)["lens"]) == ("cuml", "own")
    umap = fit("cuda", "umap:2", X=X, seed=3)
    assert ran(umap)["lens"] == "cuml"
    np.testing.assert_array_equal(umap.lens_values_, X[:, :2].astype(np.float32) + 3)
    both = fit("cuda", ["pca:1", "l2norm"], X=X)
    assert ran(both)["lens"] == "cuml; own"
    assert all(m.report_["implementation"]["notes"] == [] for m in (ours, umap, both))


def test_without_cuml_umap_runs_on_the_processor_and_the_report_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuml", None)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ParameterError, match="needs the package umap-learn"):
        fit("cuda", "umap:2")
    monkeypatch.setitem(sys.modules, "umap", fake_module("umap", UMAP=FakeUMAP))
    theirs, ours = fit("cpu", "umap:2"), fit("cuda", "umap:2")
    assert same(theirs, ours)
    assert (ran(ours)["lens"], ran(theirs)["lens"]) == ("umap-learn, cpu", "umap-learn")
    assert ours.report_["implementation"]["notes"] == [
        "umap ran on the processor, not on the device: cuml is not installed"
    ]


def test_cuml_gets_no_rows_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(cuda, "_ROWS_SHARE", 0.0)
    monkeypatch.setitem(sys.modules, "cuml", fake_module("cuml"))
    monkeypatch.setitem(sys.modules, "umap", fake_module("umap", UMAP=FakeUMAP))
    mapper = fit("cuda", ["umap:1", "pca:1"])
    assert ran(mapper)["lens"] == "umap-learn, cpu; own"
    assert "the rows do not fit" in mapper.report_["implementation"]["notes"][-1]


class FakeFaiss:
    """As much of FAISS as is asked for; it finds neighbours among the first ten targets only."""

    def __init__(self, n_gpus=1):
        self.n_gpus, self.asked = n_gpus, []

    def install(self, monkeypatch):
        module = fake_module(
            "faiss",
            get_num_gpus=lambda: self.n_gpus,
            StandardGpuResources=SimpleNamespace,
            knn_gpu=self.knn_gpu,
        )
        monkeypatch.setitem(sys.modules, "faiss", module)
        contrib = fake_module("faiss.contrib", torch_utils=ModuleType("faiss.contrib.torch_utils"))
        monkeypatch.setitem(sys.modules, "faiss.contrib", contrib)
        monkeypatch.setitem(sys.modules, "faiss.contrib.torch_utils", contrib.torch_utils)
        module.contrib = contrib

    def knn_gpu(self, resources, queries, targets, k):
        assert queries.dtype == targets.dtype == torch.float32
        self.asked.append((len(queries), len(targets), k))
        apart, places = torch.cdist(queries, targets[:10]).topk(k, largest=False)
        return apart, places


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_faiss_only_gives_candidates(monkeypatch, metric):
    expected = fit_with_knee("cuda", metric)
    faiss = FakeFaiss()
    faiss.install(monkeypatch)
    ours = fit_with_knee("cuda", metric)
    assert same(ours, expected)
    assert faiss.asked == [(60, 60, 4)]
    assert ran(ours) == OWN | {"neighbours": "faiss candidates"}


@pytest.mark.parametrize("case", ["no gpu", "too many neighbours", "rows on the host", "no room"])
def test_faiss_is_left_alone_where_it_cannot_help(monkeypatch, case):
    faiss = FakeFaiss(n_gpus=0 if case == "no gpu" else 1)
    faiss.install(monkeypatch)
    if case == "too many neighbours":
        monkeypatch.setattr(cuda, "MOST_FAISS", 3)
    if case == "rows on the host":
        monkeypatch.setattr(cuda, "_ROWS_SHARE", 0.0)
    if case == "no room":
        monkeypatch.setattr(cuda, "_FAISS_SHARE", 0.0)
    assert ran(fit("cuda", "density:3"))["neighbours"] == "own"
    assert faiss.asked == []


def test_the_comparison_can_fail():
    mapper = fit("cuda")
    assert same(mapper, mapper)
    others = [fit("cuda", clusterer=Theirs(eps=1.0)), fit("cuda", "l1norm"), fit("cuda")]
    others[-1].graph_.edges.setflags(write=True)
    others[-1].graph_.edges[0, 2] += 1
    assert not any(same(mapper, other) for other in others)
