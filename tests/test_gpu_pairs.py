"""Listed pairs on a device: the definition's bytes, and its decisions on every tie."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.kernels.launch import on_device, on_host, torch_device
from topoact_gpu.kernels.pairs.limits import fits_single, rough_limits
from topoact_gpu.kernels.pairs.reference import normalised
from topoact_gpu.kernels.pairs.reference import pair_squares as all_squares

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("topoact_gpu.kernels.pairs.gpu")
pytestmark = pytest.mark.usefixtures("poisoned")

DTYPES = ["f2", "f4", "f8"]


def make(n_rows, n_cols, dtype, seed=0, scale=1.0):
    X = np.random.default_rng(seed).normal(size=(n_rows, n_cols)) * scale
    return X.clip(-6e4, 6e4).astype(dtype) if dtype == "f2" else X.astype(dtype)


def norms_of(X):
    """Norms summed in column order."""
    total = np.zeros(len(X))
    for column in X.astype(np.float64).T:
        total += column * column
    return np.sqrt(total)


def rows_of(X, row_of=None, *, cosine=False):
    device = torch_device()
    row_of = np.arange(len(X)) if row_of is None else row_of
    norms = on_device(norms_of(X), device) if cosine else None
    return gpu.Rows(on_device(X, device), on_device(row_of, device), norms)


def every_pair(n):
    """int32[n * (n + 1) / 2, 2]: each with itself and all before it."""
    return np.argwhere(np.tril(np.ones((n, n), bool))).astype(np.int32)


def of_pairs(matrix):
    """Its entries for every pair."""
    return matrix[tuple(every_pair(len(matrix)).T)]


def squares_of(X, **options):
    pairs = on_device(every_pair(len(X)), torch_device())
    return on_host(gpu.pair_squares(rows_of(X, **options), pairs))


def decisions(X, squares, limit_of=None, **options):
    """Which pairs are within, each row's limit being squares[limit_of[row]]."""
    rows = rows_of(X, **options)
    limit_of = np.zeros(len(X), np.int32) if limit_of is None else limit_of
    limits = gpu.limits_for(
        list(map(float, squares)),
        on_device(limit_of, torch_device()),
        rows.x,
        normed=rows.norms is not None,
    )
    found = gpu.within(rows, limits, on_device(every_pair(len(X)), torch_device()))
    return on_host(found), limits


def check_decisions(X, limit, **options):
    """As the definition decides."""
    with np.errstate(over="ignore"):
        found, limits = decisions(X, [limit], **options)
    rows = normalised(X) if options.get("cosine") else X
    np.testing.assert_array_equal(found, of_pairs(all_squares(rows)) <= limit)
    return limits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_cols", [1, 2, 63, 64, 65, 300])
def test_squares_are_the_definitions_bytes(shuffled, dtype, n_cols):
    X = make(9, n_cols, dtype)
    with shuffled(n_cols):
        assert squares_of(X).tobytes() == of_pairs(all_squares(X)).tobytes()
        if n_cols <= 65:
            cosine = of_pairs(all_squares(normalised(X)))
            assert squares_of(X, cosine=True).tobytes() == cosine.tobytes()


def test_another_order_has_other_bytes():
    X = make(7, 64, "f8")
    found = squares_of(X).tobytes()
    assert found == of_pairs(all_squares(X)).tobytes()
    assert found != of_pairs(all_squares(X[:, ::-1])).tobytes()
    assert found != of_pairs(((X[:, None] - X) ** 2).sum(2)).tobytes()


@settings(max_examples=40)
@given(
    dtype=st.sampled_from(DTYPES),
    n_cols=st.sampled_from([1, 2, 7, 40, 129]),
    scale=st.sampled_from([1.0, 1e-3, 2.0**-22, 1e3]),
    whole=st.booleans(),
    pick=st.floats(0, 1),
    ulps=st.integers(-1, 1),
    cosine=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_ties_fall_as_defined(dtype, n_cols, scale, whole, pick, ulps, cosine, seed):
    X = make(9, n_cols, "f8", seed, 2.0)
    X = np.round(X) if whole else X
    X[:, 0] += 5 * cosine
    X = (X * scale).astype(dtype)
    if cosine and (norms_of(X) == 0).any():
        return
    squares = np.unique(all_squares(normalised(X) if cosine else X))
    limit = squares[int(pick * (len(squares) - 1))]
    limit = np.nextafter(limit, np.inf * ulps) if ulps else limit
    check_decisions(X, max(float(limit), 0.0), cosine=cosine)


def test_both_ways_to_decide_are_taken():
    """Ties reach the definition; a few pairs near the limit do, the others don't."""
    X = make(12, 60, "f4")
    squares = of_pairs(all_squares(X))
    limit = float(np.sort(squares)[40])
    asked, original = [], gpu.pair_squares

    def pair_squares(rows, pairs):
        asked.append(len(pairs))
        return original(rows, pairs)

    with mock.patch.object(gpu, "pair_squares", pair_squares):
        assert check_decisions(X, limit).single
    surely, never = rough_limits(limit, 60, single=True)
    assert asked == [((squares > surely) & (squares <= never)).sum()]
    assert 1 <= asked[0] < 5
    assert not check_decisions(X.astype("f8"), limit).single
    assert not check_decisions(X, 0.5, cosine=True).single


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e-19, 1e9, 1e17, 1e37])
def test_where_float32_squares_leave_their_range(scale):
    X = make(6, 60, "f4", scale=scale)
    squares = all_squares(X)
    for limit in (squares[3, 5], 2.0**-60, 2.0**100, 2.0**-61, 1.0, 2.0**127):
        limits = check_decisions(X, float(limit))
        assert limits.single == fits_single(float(limit), 60)


@pytest.mark.parametrize("limit", [0.0, 5e-324, 1e-310, 2.0**-950, 2.0**-890, 1e308, np.inf])
def test_at_the_ends_of_float64(limit):
    scales = (1e-162, 1e-155, 1e153, 1e160, 0, 1.7e307)
    X = np.vstack([make(2, 9, "f8", scale=scale) for scale in scales])
    check_decisions(X, limit)
    check_decisions(np.full((3, 2), 1.7e308) * [[1], [-1], [0]], limit)


def test_limits_of_several_intervals():
    """Ordinary ones beside one that overflows and one that is 0; pairs of one interval each."""
    X = make(12, 12, "f4")
    squares = [20.0, np.inf, 0.0, 30.0]
    limit_of = np.arange(12, dtype=np.int32) // 3
    found, _ = decisions(X, squares, limit_of)
    expected = of_pairs(all_squares(X) <= np.array(squares)[limit_of][:, None])
    same = of_pairs(limit_of[:, None] == limit_of)
    np.testing.assert_array_equal(found[same], expected[same])


def test_places_and_strides_do_not_show():
    wide = make(30, 20, "f2")
    device = torch_device()
    X = np.ascontiguousarray(wide[::3, 4:17])
    row_of = np.array([9, 0, -1, 3, 3, 7])
    pairs = np.array([[0, 1], [3, 4], [5, 0], [0, 0]], np.int32)
    rows = gpu.Rows(on_device(wide, device)[::3, 4:17], on_device(row_of, device), None)
    found = on_host(gpu.pair_squares(rows, on_device(pairs, device)))
    ids = row_of[pairs]
    assert found.tobytes() == all_squares(X)[ids[:, 0], ids[:, 1]].tobytes()


@pytest.mark.parametrize("n_pairs", [0, 1, 7, 8, 9, 33])
def test_any_number_of_pairs(n_pairs):
    X = make(9, 5, "f4")
    pairs = np.random.default_rng(n_pairs).integers(0, 9, (n_pairs, 2)).astype(np.int32)
    rows, given_pairs = rows_of(X), on_device(pairs, torch_device())
    expected = all_squares(X)[pairs[:, 0], pairs[:, 1]]
    squares = on_host(gpu.pair_squares(rows, given_pairs))
    assert squares.tobytes() == expected.tobytes()
    limit_of = torch.zeros(9, dtype=torch.int32, device=rows.x.device)
    limits = gpu.limits_for([8.0], limit_of, rows.x, normed=False)
    found = gpu.within(rows, limits, given_pairs)
    assert found.dtype == torch.bool
    np.testing.assert_array_equal(on_host(found), expected <= 8.0)


def test_a_wrong_decision_is_seen():
    X = make(9, 5, "f4")
    check_decisions(X, 8.0)
    found, _ = decisions(X, [8.0])
    squares = of_pairs(all_squares(X))
    near = squares[squares > 8.0].min()
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(found, squares <= near)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cosine", [False, True])
def test_many_pairs_on_a_device(dtype, cosine):
    X = make(1500, 257, dtype)
    squares = of_pairs(all_squares(normalised(X) if cosine else X))
    assert squares_of(X, cosine=cosine).tobytes() == squares.tobytes()
    for limit in np.sort(squares)[[2000, 10**6]]:
        check_decisions(X, float(limit), cosine=cosine)
