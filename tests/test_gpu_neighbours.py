"""Neighbour distances of the GPU backend: the definition's bytes, in blocks of any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.device import Team
from topoact_gpu.kernels.launch import on_device, on_host, torch_device
from topoact_gpu.kernels.neighbours import cpu
from topoact_gpu.kernels.quantise.frame import make_frame
from topoact_gpu.kernels.table import make_table

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("topoact_gpu.kernels.neighbours.gpu")
source = pytest.importorskip("topoact_gpu.source")
pytestmark = pytest.mark.usefixtures("poisoned")

SMALL = gpu.Blocks(7, 13, 50)
LARGE = {"f2": 60000.0, "f4": 1e30, "f8": 1e150}


def frame_of(X, norms=None):
    table = make_table(X, norms)
    largest = 1.0 if norms is not None else float(np.abs(X.astype(np.float64)).max(initial=0))
    return table, make_frame(table, np.arange(len(X)), largest, 0)


def on_cpu(X, queries, targets, k, norms=None):
    table, frame = frame_of(X, norms)
    with Team(1) as team:
        return cpu.neighbour_squares(
            table, queries, targets, k, mean=frame.mean, unit=frame.unit, team=team
        )


def arguments(X, queries, targets, k, norms=None, host=False):
    device, frame = torch_device(), frame_of(X, norms)[1]
    norms = None if norms is None else on_device(norms, device)
    x = on_device(X, device)
    rows = source.HostSource(x.cpu(), norms, device) if host else source.DeviceSource(x, norms)
    ids = (on_device(np.asarray(each, np.int64), device) for each in (queries, targets))
    return (rows.rows, *ids, k), {"mean": on_device(frame.mean, device), "unit": frame.unit}


def on_the_device(X, queries, targets, k, norms=None, host=False, **options):
    given, named = arguments(X, queries, targets, k, norms, host)
    return on_host(gpu.neighbour_squares(*given, **named, **options))


def check(X, queries, targets, k, *, norms=None, **options):
    found = on_the_device(X, queries, targets, k, norms, **options)
    expected = on_cpu(X, queries, targets, k, norms)
    assert (found.dtype, found.shape) == (np.float64, (len(queries), k))
    assert found.tobytes() == expected.tobytes()


def norms_of(X):
    total = np.zeros(len(X))
    for column in X.astype(np.float64).T:
        total += column * column
    return np.sqrt(total)


@st.composite
def tables(draw):
    """Rows with ties and duplicates, of any size of number, some far from the others."""
    kind = draw(st.sampled_from(["f2", "f4", "f8"]))
    n_rows, n_cols = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 3, 9]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    numbers = draw(st.sampled_from(["grid", "normal", "few", "far"]))
    X = rng.normal(size=(n_rows, n_cols))
    if numbers == "grid":
        X = rng.integers(0, 3, (n_rows, n_cols)).astype(float)
    elif numbers == "few":
        X = X[rng.integers(0, 1 + n_rows // 8, n_rows)]
    elif numbers == "far":
        X[rng.random(n_rows) < 0.2] *= 1000
    scale = draw(st.sampled_from([1.0, 1.0, LARGE[kind] / 4000, {"f2": 2.0**-22}.get(kind, 1e-30)]))
    return (X * scale).astype(kind)


def watched_pairs(monkeypatch):
    """A list that gets the number of pairs at each call that measures some."""
    measured = []
    real = gpu.pair_squares

    def watched(rows, pairs):
        measured.append(len(pairs))
        return real(rows, pairs)

    monkeypatch.setattr(gpu, "pair_squares", watched)
    return measured


@settings(max_examples=40)
@given(
    tables(),
    st.sampled_from([1, 2, 5, "all but one", "all"]),
    st.sampled_from([SMALL, gpu.Blocks(100, 100, 10**6), None]),
    st.booleans(),
    st.integers(0, 9),
)
def test_same_bytes_as_the_cpu(shuffled, X, k, blocks, host, seed):
    rng = np.random.default_rng(seed)
    queries, targets = (np.flatnonzero(rng.random(len(X)) < share) for share in (0.3, 0.9))
    k = {"all but one": max(len(targets) - 1, 1), "all": max(len(targets), 1)}.get(k, k)
    norms = norms_of(X) if seed % 2 and (norms_of(X) > 0).all() else None
    with shuffled(seed):
        check(X, queries, targets, k, norms=norms, blocks=blocks, host=host)


@pytest.mark.parametrize(("n_rows", "k"), [(2, 1), (63, 62), (1000, 1)])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_odd_sizes(shuffled, n_rows, k, metric):
    X = np.random.default_rng(n_rows).normal(size=(n_rows, 5)).astype(np.float32)
    norms = norms_of(X) if metric == "cosine" else None
    queries = np.arange(0, n_rows, 1 + n_rows // 20)
    with shuffled(n_rows):
        check(X, queries, np.arange(n_rows), k, norms=norms, blocks=gpu.Blocks(33, 63, 1000))


@pytest.mark.parametrize("blocks", [(1, 1, 1), (1, 7, 1), (7, 1, 7), (99, 99, 1)])
def test_blocks_of_any_size(blocks):
    X = np.random.default_rng(3).integers(0, 3, (12, 3)).astype(np.float16)
    check(X, np.arange(0, 12, 2), np.arange(12), 3, blocks=gpu.Blocks(*blocks))


def test_subnormal_halves():
    rng = np.random.default_rng(0)
    X = rng.integers(-9, 9, (40, 7)).astype(np.float16) * np.float16(2**-24)
    assert (np.abs(X) < np.finfo("f2").tiny).all()
    check(X, np.arange(40), np.arange(40), 3)


@pytest.mark.parametrize("exponent", [-540, -537, 509, 511])
def test_squares_that_under_or_overflow(exponent):
    X = np.random.default_rng(1).normal(size=(40, 24)) * 2.0**exponent
    with np.errstate(over="ignore"):
        found = on_cpu(X, np.arange(3), np.arange(40), 39)
        check(X, np.arange(0, 40, 4), np.arange(40), 3, blocks=SMALL)
    assert (np.isinf(found).any(), (found < 1e-300).all()) == (exponent > 0, exponent < 0)


@pytest.mark.parametrize("huge", [2.0**100, 1e100, 1e300])
def test_rows_beside_huge_ones(huge):
    rows = np.full((18, 12), 2.6e-23)
    rows[6:] *= -1
    rows[12:] *= np.random.default_rng(0).normal(size=(6, 12))
    X = np.vstack([rows, np.full((1, 12), huge), np.full((1, 12), -huge)])
    with np.errstate(over="ignore"):
        check(X, np.arange(0, 18, 2), np.arange(20), 3, blocks=SMALL)


def test_a_tight_cluster_far_from_the_mean():
    """Its products cannot tell its rows apart: every pair in it is measured."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(30, 4)) * 1e-7 + 1, rng.normal(size=(30, 4)) - 3])
    check(X, np.arange(0, 60, 3), np.arange(60), 4, blocks=SMALL)


def test_queries_with_enough_duplicates_are_done(monkeypatch):
    X = np.zeros((300, 2), np.float32)
    X[290:] = np.random.default_rng(0).normal(size=(10, 2))
    measured = watched_pairs(monkeypatch)
    check(X, np.arange(240, 300), np.arange(300), 2, blocks=gpu.Blocks(60, 30, 10**6))
    assert sum(measured) < 5000  # all pairs of duplicates are 14,450


def test_few_pairs_are_measured(monkeypatch):
    X = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    measured = watched_pairs(monkeypatch)
    check(X, np.arange(50), np.arange(1000), 5, blocks=gpu.Blocks(50, 100, 10**6))
    assert 250 <= sum(measured) < 50 * 5 * (1 + math.log(10)) * 1.1


def test_no_queries_or_no_targets():
    X, none = np.eye(4, dtype=np.float32), np.empty(0, np.int64)
    for queries, targets in ((none, np.arange(4)), (np.arange(4), none), (none, none)):
        check(X, queries, targets, 2)


def test_targets_in_any_order_and_one_that_is_only_itself():
    X = np.random.default_rng(0).normal(size=(30, 3))
    rng = np.random.default_rng(1)
    check(X, rng.permutation(30)[:20], rng.permutation(30), 3, blocks=SMALL)
    check(X, np.array([5]), np.array([5]), 1)


@pytest.mark.parametrize("found", ["right", "nothing", "wrong", "twice", "itself", "no places"])
def test_candidates_of_others_change_no_byte(monkeypatch, found):
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    X[50:] = X[:10]
    queries, targets = np.arange(0, 60, 2), np.arange(3, 60)

    def search(own, others, number):
        apart = torch.cdist(own.double(), others.double())
        places = torch.topk(apart, number, largest=found == "wrong").indices
        if found == "nothing":
            places[:] = -1
        if found == "twice":
            places[:, 1:] = places[:, :1]
        if found == "itself":
            places[:, 0] = torch.from_numpy(queries)[: len(places)] - 3
        if found == "no places":
            places[:, 0] = len(others) + 5
        return places

    given, named = arguments(X, queries, targets, 3)
    limits = gpu.start_limits(*given, **named, search=search)
    assert torch.isinf(limits).all() == (found in ("nothing", "twice"))
    monkeypatch.setattr(gpu, "_with_more", None)  # nothing is looked for among the products
    check(X, queries, targets, 3, limits=limits, blocks=gpu.Blocks(100, 13, 50))


def test_products_are_float32_whatever_is_set(monkeypatch):
    before = torch.get_float32_matmul_precision()
    seen = []
    real = torch.mm

    def watched(*given):
        settings = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
        seen.append(tuple(each.fp32_precision for each in settings))
        return real(*given)

    monkeypatch.setattr(torch, "mm", watched)
    try:
        torch.set_float32_matmul_precision("medium")
        check(np.eye(5), np.arange(5), np.arange(5), 2)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {("ieee", "ieee")}


@pytest.mark.parametrize("n_cols", [1, 3, 64, 1000])
@pytest.mark.parametrize("rows", ["normal", "same sign", "near", "sizes", "tiny", "lost"])
def test_the_bound_holds_for_products_in_any_order(monkeypatch, rows, n_cols):
    """Both sides, against distances in a longer type; products are added column by column."""
    rng = np.random.default_rng(n_cols)
    X = rng.normal(size=(24, n_cols))
    if rows == "same sign":
        X = np.abs(X) + 1
    if rows == "near":
        X = X[:1] + 1e-4 * X
    if rows == "sizes":
        X *= 10.0 ** rng.integers(-6, 1, (24, 1))
    if rows == "tiny":
        X[1:] *= 2.0**-68
    if rows == "lost":  # each square is lost beside the first
        X = np.full((24, n_cols), 2.0**-12)
        X[:, 0] = 1
    X = (X / np.abs(X).max()).astype(np.float32)
    mean = X[:9].astype(np.float64).mean(0) if rows == "normal" else np.zeros(n_cols)
    frame = gpu._Frame.of(on_device(mean, torch_device()), 1.0)
    device_rows = source.DeviceSource(on_device(X, torch_device()), None).rows
    z, squares = (on_host(each) for each in frame.centred(device_rows(torch.arange(24))))
    np.testing.assert_allclose(squares, (z.astype(np.float64) ** 2).sum(1), rtol=1e-14)
    products = np.zeros((24, 24), np.float32)
    for column in z.T:
        products += np.multiply.outer(column, column)
    bound = (squares * (1 + frame.slack)).astype(np.float32) - 2 * products
    low = bound - (2 * frame.slack * squares).astype(np.float32)
    wide = X.astype(np.longdouble)
    apart = ((wide[:, None] - wide) ** 2).sum(-1)
    own = squares[:, None]
    assert (bound + own * (1 + frame.slack) + frame.tiny >= apart).all()
    assert (low + own * (1 - frame.slack) - frame.tiny <= apart).all()


def test_the_comparison_can_fail():
    X = np.random.default_rng(1).normal(size=(20, 3))
    given = np.arange(20), np.arange(20), 2
    assert on_the_device(X + 1e-9 * X**2, *given).tobytes() != on_cpu(X, *given).tobytes()
    backwards = np.ascontiguousarray(X[:, ::-1])
    assert on_the_device(backwards, *given).tobytes() != on_cpu(X, *given).tobytes()


@pytest.mark.gpu
@pytest.mark.parametrize("k", [5, 2000])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_many_rows_on_a_device(kind, k):
    X = np.random.default_rng(0).normal(size=(30_011, 130)).astype(kind)
    X[100:300] = X[:200]
    check(X, np.arange(0, 30_011, 60), np.arange(30_011), k)
