"""Building blocks of the kernels: tables, pair distances, tile products, survivors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from topoact_gpu.kernels.pairs.cpu import pair_limits, pair_square, pair_square_fast, within
from topoact_gpu.kernels.pairs.reference import normalised, pair_squares
from topoact_gpu.kernels.simd import (
    BLOCK_ROWS,
    HAS_VNNI,
    LANES,
    PANEL_ROWS,
    atomic_add,
    compare_and_swap,
    dot_block,
    dot_row,
    half_to_float,
    survivors,
    trailing_zeros,
)
from topoact_gpu.kernels.table import aligned, make_table

DTYPES = [np.float16, np.float32, np.float64]
needs_vnni = pytest.mark.skipif(not HAS_VNNI, reason="needs AVX-512 VNNI")


def make(n_rows, n_cols, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=(n_rows, n_cols)).astype(dtype)


@njit
def _all_squares(table, squares, fast):
    for a in range(table.n_rows):
        for b in range(table.n_rows):
            squares[a, b] = pair_square(table, a, b)
            fast[a, b] = pair_square_fast(table, a, b)


@njit
def _all_within(table, limits, out):
    for a in range(table.n_rows):
        for b in range(table.n_rows):
            out[a, b] = within(table, limits, a, b)


def all_squares(X, norms=None):
    squares, fast = np.empty((2, len(X), len(X)))
    _all_squares(make_table(X, norms), squares, fast)
    return squares, fast


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
    squares, fast = all_squares(X)
    np.testing.assert_array_equal(squares, pair_squares(X))
    np.testing.assert_allclose(fast, squares, rtol=(n_cols + 4) * 2.0**-51)
    cosine, _ = all_squares(X, norms_of(X))
    np.testing.assert_array_equal(cosine, pair_squares(normalised(X)))


def test_the_fast_sum_is_another_function():
    """Also when both come from numba's cache, which does not know them by their flags."""
    squares, fast = all_squares(make(40, 130, np.float64))
    assert (squares != fast).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_within_decides_ties_by_the_definition(dtype, scale):
    X = (make(40, 130, np.float64) * scale).astype(dtype)
    squares = pair_squares(X)
    for square in squares[3, 4:12]:
        for limit in (square, np.nextafter(square, 0), np.nextafter(square, np.inf)):
            out = np.empty(squares.shape, np.bool_)
            _all_within(make_table(X), pair_limits(limit, X.shape[1]), out)
            np.testing.assert_array_equal(out, squares <= limit)


@pytest.mark.parametrize("limit", [0.0, 5e-324, 1e-310, 2.0**-950, 2.0**-890, 1e308, np.inf])
def test_within_at_the_ends_of_float64(limit):
    X = np.vstack([make(20, 9, np.float64) * scale for scale in (1e-162, 1e-155, 1e153, 1e160, 0)])
    out = np.empty((100, 100), np.bool_)
    _all_within(make_table(X), pair_limits(limit, 9), out)
    np.testing.assert_array_equal(out, pair_squares(X) <= limit)


def test_tables_read_any_row_stride():
    X = make(40, 12, np.float32)
    for view in (X[::3], X[::-1], X[:, 2:9], np.broadcast_to(X[0], (5, 12))):
        squares, _ = all_squares(view)
        np.testing.assert_array_equal(squares, pair_squares(view))
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(all_squares(frozen)[0], pair_squares(X))
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


@njit
def _block(left, right, n_quads, start, tile):
    dot_block(
        left.ctypes.data, right.ctypes.data, n_quads, start.ctypes.data, tile.ctypes.data, True
    )


@njit
def _block_more(left, right, n_quads, start, tile):
    dot_block(
        left.ctypes.data, right.ctypes.data, n_quads, start.ctypes.data, tile.ctypes.data, False
    )


@njit
def _rows(left, right, n_quads, start, tile):
    for lane in range(8):
        dot_row(
            left.ctypes.data + lane * 4,
            right.ctypes.data,
            n_quads,
            start.ctypes.data + lane * 4,
            tile.ctypes.data + lane * 48 * 4,
        )


def operands(n_quads, seed, extreme):
    """Left and right rows as int8 matrices, and in the layouts that the products read."""
    rng = np.random.default_rng(seed)
    shapes = (BLOCK_ROWS, 4 * n_quads), (PANEL_ROWS, 4 * n_quads)
    if extreme:
        rows = [rng.choice(np.array([-127, 127], np.int8), shape) for shape in shapes]
        rows[0][0], rows[1][0], rows[0][1], rows[1][1] = 127, 127, -127, 127
    else:
        rows = [rng.integers(-127, 128, shape).astype(np.int8) for shape in shapes]
    left, right = (r.reshape(len(r), n_quads, 4).transpose(1, 0, 2) for r in rows)
    words = np.ascontiguousarray(left).view(np.int32)
    panel = np.ascontiguousarray((right.astype(np.int16) + 128).astype(np.uint8))
    start = (-128 * rows[0].sum(1, dtype=np.int64)).astype(np.int32)
    return *rows, words, panel, start


@needs_vnni
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("n_quads", [2, 4, 16, 126, 2**15])
def test_tile_products_are_exact(n_quads, extreme):
    left, right, words, panel, start = operands(n_quads, n_quads, extreme)
    expected = left.astype(np.int64) @ right.astype(np.int64).T
    assert np.abs(expected).max() < 2**31
    tile = aligned(BLOCK_ROWS * PANEL_ROWS, np.int32)
    for product in (_block, _rows):
        tile[:] = -1
        product(words, panel, n_quads, start, tile)
        np.testing.assert_array_equal(tile.reshape(BLOCK_ROWS, PANEL_ROWS), expected)
    _block_more(words, panel, n_quads, start, tile)
    doubled = tile.reshape(BLOCK_ROWS, PANEL_ROWS)
    np.testing.assert_array_equal(doubled, (2 * expected).astype(np.int32))


@njit
def _survivors_int(tile, left, right, masks):
    return survivors(
        tile.ctypes.data, 48, left.ctypes.data, right.ctypes.data, masks.ctypes.data, 8, True
    )


@njit
def _survivors_float(tile, left, right, masks):
    return survivors(
        tile.ctypes.data, 48, left.ctypes.data, right.ctypes.data, masks.ctypes.data, 8, False
    )


@given(seed=st.integers(0, 10**6), integers=st.booleans(), share=st.floats(0, 1))
def test_survivors_are_those_of_numpy(seed, integers, share):
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(8, 4)).astype(np.float32)
    right = rng.normal(size=(4, 48)).astype(np.float32) * 1000
    limits = left.astype(np.float64) @ right.astype(np.float64)
    tile = np.where(rng.random((8, 48)) < share, 1, -1) * rng.exponential(5e3, (8, 48)) + limits
    tile = np.ascontiguousarray(tile.astype(np.int32 if integers else np.float32))
    masks = aligned(8 * PANEL_ROWS // LANES, np.uint16)
    any_left = (_survivors_int if integers else _survivors_float)(tile, left, right, masks)
    bits = (masks.reshape(8, 3, 1) >> np.arange(16)) & 1
    found = bits.reshape(8, 48).astype(bool)
    clear = np.abs(tile - limits) > 0.01
    np.testing.assert_array_equal(found[clear], (limits <= tile)[clear])
    assert bool(any_left) == found.any()


def test_rows_that_hold_nothing_never_survive():
    left = np.array([[0.5, np.inf, 0.0, 0.0]] * 8, np.float32)
    right = np.zeros((4, 48), np.float32)
    right[1] = 1.0
    masks = np.ones(24, np.uint16)
    assert not _survivors_int(np.full((8, 48), 2**31 - 1, np.int32), left, right, masks)
    assert not masks.any()
