"""Building blocks of the kernels: tables, pair distances, atomics."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from topoact_gpu.kernels.pairs.cpu import (
    EXACT,
    FAST,
    SINGLE,
    _sum_address,
    pair_limits,
    pair_square,
    within,
)
from topoact_gpu.kernels.pairs.reference import normalised, pair_squares
from topoact_gpu.kernels.simd import (
    atomic_add,
    compare_and_swap,
    half_to_float,
    trailing_zeros,
)
from topoact_gpu.kernels.table import aligned, make_table

DTYPES = [np.float16, np.float32, np.float64]


def make(n_rows, n_cols, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=(n_rows, n_cols)).astype(dtype)


@njit
def _all_squares(table, sum_at, squares):
    for a in range(table.n_rows):
        for b in range(table.n_rows):
            squares[a, b] = pair_square(table, sum_at, a, b)


@njit
def _all_within(table, limits, out):
    for a in range(table.n_rows):
        for b in range(table.n_rows):
            out[a, b] = within(table, limits, a, b)


def all_squares(X, norms=None, how=EXACT):
    squares = np.empty((len(X), len(X)))
    table = make_table(X, norms)
    _all_squares(table, _sum_address(table.kind, norms is not None, how), squares)
    return squares


def norms_of(X):
    """Norms summed in column order."""
    total = np.zeros(len(X))
    for column in X.astype(np.float64).T:
        total += column * column
    return np.sqrt(total)


def test_the_reference_is_the_definition():
    X = make(9, 5, np.float64)
    for a in range(9):
        for b in range(9):
            total = 0.0
            for k in range(5):
                total = total + (float(X[a, k]) - float(X[b, k])) ** 2
            assert pair_squares(X)[a, b] == total


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_cols", [1, 2, 7, 63, 500])
def test_squares_are_the_definitions_bits(dtype, n_cols):
    X = make(30, n_cols, dtype)
    squares = all_squares(X)
    np.testing.assert_array_equal(squares, pair_squares(X))
    fast = all_squares(X, how=FAST)
    np.testing.assert_allclose(fast, squares, rtol=(n_cols + 4) * 2.0**-51)
    cosine = all_squares(X, norms_of(X))
    np.testing.assert_array_equal(cosine, pair_squares(normalised(X)))
    fast = all_squares(X, norms_of(X), FAST)
    np.testing.assert_allclose(fast, cosine, rtol=(n_cols + 4) * 2.0**-51)


def test_the_fast_sum_is_another_function():
    """Also when both come from numba's cache, which does not know them by their flags."""
    X = make(40, 130, np.float64)
    assert (all_squares(X) != all_squares(X, how=FAST)).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("n_cols", [1, 2, 7, 63, 500, 5000])
def test_sums_in_float32_err_no_more_than_their_bound(dtype, n_cols):
    X = (make(12, n_cols, np.float64) * np.geomspace(1e-3, 10, n_cols)).astype(dtype)
    squares, out = pair_squares(X), all_squares(X, how=SINGLE)
    bound = (n_cols + 8) * 2.0**-24 * squares
    assert (np.abs(out - squares) <= bound).all()
    assert n_cols == 1 or (out != squares).any()
    limits = pair_limits(make_table(X), 1.0)
    assert 1 - limits.surely > (n_cols + 8) * 2.0**-24
    assert limits.never - 1 > (n_cols + 8) * 2.0**-24


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e-19, 1e-9, 1e9, 1e17, 1e25, 1e37])
def test_within_where_float32_squares_leave_their_range(scale):
    X = (make(40, 60, np.float64) * scale).astype(np.float32)
    squares = pair_squares(X)
    for limit in (*squares[3, 4:8], 2.0**-60, 2.0**100, 2.0**-61, 1.0, 2.0**127, 2.0**-149):
        out = np.empty(squares.shape, np.bool_)
        _all_within(make_table(X), pair_limits(make_table(X), limit), out)
        np.testing.assert_array_equal(out, squares <= limit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_within_decides_ties_by_the_definition(dtype, scale):
    X = (make(40, 130, np.float64) * scale).astype(dtype)
    squares = pair_squares(X)
    for square in squares[3, 4:12]:
        for limit in (square, np.nextafter(square, 0), np.nextafter(square, np.inf)):
            out = np.empty(squares.shape, np.bool_)
            _all_within(make_table(X), pair_limits(make_table(X), limit), out)
            np.testing.assert_array_equal(out, squares <= limit)


@pytest.mark.parametrize("limit", [0.0, 5e-324, 1e-310, 2.0**-950, 2.0**-890, 1e308, np.inf])
def test_within_at_the_ends_of_float64(limit):
    X = np.vstack([make(20, 9, np.float64) * scale for scale in (1e-162, 1e-155, 1e153, 1e160, 0)])
    out = np.empty((100, 100), np.bool_)
    _all_within(make_table(X), pair_limits(make_table(X), limit), out)
    np.testing.assert_array_equal(out, pair_squares(X) <= limit)


def test_tables_read_any_row_stride():
    X = make(40, 12, np.float32)
    for view in (X[::3], X[::-1], X[:, 2:9], np.broadcast_to(X[0], (5, 12))):
        np.testing.assert_array_equal(all_squares(view), pair_squares(view))
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(all_squares(frozen), pair_squares(X))
    for wrong in (X.T, X.astype(np.int32), X[:, ::2]):
        with pytest.raises(TypeError, match="no table of"):
            make_table(wrong)


@pytest.mark.parametrize("shape", [0, 1, 63, 1000])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_aligned_arrays_start_on_a_cache_line(shape, dtype):
    array = aligned(shape, dtype)
    assert array.shape == (shape,)
    assert array.dtype == dtype
    assert shape == 0 or array.ctypes.data % 64 == 0


@njit
def _halves(bits, out):
    for k in range(bits.size):
        out[k] = half_to_float(bits[k])


def test_every_half_float_is_read_exactly():
    bits = np.arange(2**16).astype(np.uint16)
    expected = bits.view(np.float16).astype(np.float32)
    out = np.empty(2**16, np.float32)
    _halves(bits, out)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(out[finite], expected[finite])
    assert (np.signbit(out[finite]) == np.signbit(expected[finite])).all()


@njit
def _atomics(array):
    before = atomic_add(array, 1, np.int64(5))
    swapped = compare_and_swap(array, 0, np.int64(7), np.int64(9))
    refused = compare_and_swap(array, 0, np.int64(7), np.int64(11))
    return before, swapped, refused


@njit
def _lowest_bit(word):
    return trailing_zeros(word)


def test_atomics_and_bits():
    array = np.array([7, 100])
    assert _atomics(array) == (100, True, False)
    assert array.tolist() == [9, 105]
    assert [_lowest_bit(1 << k) for k in range(63)] == list(range(63))
    assert _lowest_bit(0b101000) == 3
