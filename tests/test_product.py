"""Tile products of every kind, and the test of what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from topoact_gpu.kernels.product.cpu import (
    AVX2,
    BLOCK_ROWS,
    FLOAT32,
    LANES,
    PANEL_ROWS,
    PORTABLE,
    VNNI,
    coding_of,
    dot_block,
    dot_row,
    kinds_to_be_had,
    padded_words,
    products_of,
    survivors,
)
from topoact_gpu.kernels.product.reference import tile_products
from topoact_gpu.kernels.table import aligned


def on_this_cpu(*kinds):
    return [
        pytest.param(
            kind,
            marks=pytest.mark.skipif(kind not in kinds_to_be_had(), reason="not on this CPU"),
        )
        for kind in kinds
    ]


@njit
def block(products, left, right, n_words, start, tile):
    at = left.ctypes.data, right.ctypes.data, start.ctypes.data, tile.ctypes.data
    dot_block(products, at[0], at[1], n_words, at[2], at[3], True)


@njit
def more(products, left, right, n_words, start, tile):
    at = left.ctypes.data, right.ctypes.data, start.ctypes.data, tile.ctypes.data
    dot_block(products, at[0], at[1], n_words, at[2], at[3], False)


@njit
def rows(products, left, right, n_words, start, tile):
    at = left.ctypes.data, right.ctypes.data, start.ctypes.data, tile.ctypes.data
    for lane in range(BLOCK_ROWS):
        place = at[0] + lane * 4, at[2] + lane * 4, at[3] + lane * PANEL_ROWS * 4
        dot_row(products, place[0], at[1], n_words, place[1], place[2])


@njit
def mark(products, tile, left, right, masks):
    at = tile.ctypes.data, left.ctypes.data, right.ctypes.data, masks.ctypes.data
    return survivors(products, at[0], at[1], at[2], at[3], BLOCK_ROWS)


def int8_rows(n_cols, top, seed, extreme):
    rng = np.random.default_rng(seed)
    shapes = (BLOCK_ROWS, n_cols), (PANEL_ROWS, n_cols)
    if not extreme:
        return [rng.integers(-top, top + 1, shape).astype(np.int8) for shape in shapes]
    rows = [rng.choice(np.array([-top, top], np.int8), shape) for shape in shapes]
    rows[0][0], rows[1][0], rows[0][1], rows[1][1] = top, top, -top, top
    return rows


def in_words(rows, offset=0):
    """Word by word, as the products read them."""
    shifted = (rows.astype(np.int16) + offset).astype(np.uint8)
    words = shifted.reshape(len(rows), -1, 4).swapaxes(0, 1)
    return np.ascontiguousarray(words).view(np.int32).ravel()


def int8_operands(kind, n_words, top, seed, extreme):
    """Rows, and what the products read."""
    left, right = int8_rows(4 * n_words, top, seed, extreme)
    offset = coding_of(kind).offset
    start = (-offset * left.sum(1, dtype=np.int64)).astype(np.int32)
    return left, right, (in_words(left), in_words(right, offset), n_words, start)


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("n_words", [2, 4, 16, 126, 2**15])
@pytest.mark.parametrize("kind", on_this_cpu(VNNI, AVX2, PORTABLE))
def test_integer_products_are_exact(kind, n_words, extreme):
    top = coding_of(kind).top
    left, right, operands = int8_operands(kind, n_words, top, n_words, extreme)
    expected = tile_products(left, right)
    assert np.abs(expected).max() < 2**31
    tile = aligned(BLOCK_ROWS * PANEL_ROWS, np.int32)
    for product in (block, rows):
        tile[:] = -1
        product(products_of(kind), *operands, tile)
        np.testing.assert_array_equal(tile.reshape(BLOCK_ROWS, PANEL_ROWS), expected)
    more(products_of(kind), *operands, tile)
    doubled = tile.reshape(BLOCK_ROWS, PANEL_ROWS)
    np.testing.assert_array_equal(doubled, (2 * expected).astype(np.int32))


@pytest.mark.parametrize("kind", on_this_cpu(AVX2))
def test_larger_numbers_would_saturate(kind):
    """What the largest number is for: beyond it sums go wrong, and the check sees that."""
    left, right, operands = int8_operands(kind, 16, 64, 0, extreme=True)
    tile = aligned(BLOCK_ROWS * PANEL_ROWS, np.int32)
    block(products_of(kind), *operands, tile)
    assert (tile.reshape(BLOCK_ROWS, PANEL_ROWS) != tile_products(left, right)).any()


@pytest.mark.parametrize("n_words", [2, 6, 64, 500])
def test_float_products_err_no_more_than_their_bound(n_words):
    rng = np.random.default_rng(n_words)
    left, right = (
        (rng.lognormal(sigma=3, size=(n, n_words)) * rng.choice([-1, 1], (n, n_words))).astype("f4")
        for n in (BLOCK_ROWS, PANEL_ROWS)
    )
    exact = tile_products(left, right)
    bound = n_words * 2.0**-24 * tile_products(np.abs(left), np.abs(right))
    start = np.zeros(BLOCK_ROWS, np.int32)
    operands = np.ascontiguousarray(left.T).ravel(), np.ascontiguousarray(right.T).ravel()
    tile = aligned(BLOCK_ROWS * PANEL_ROWS, np.float32)
    for product in (block, rows):
        tile[:] = np.nan
        product(products_of(FLOAT32), *operands, n_words, start, tile)
        error = np.abs(tile.reshape(BLOCK_ROWS, PANEL_ROWS) - exact)
        assert (error <= bound).all()
        assert error.any()
    more(products_of(FLOAT32), *operands, n_words, start, tile)
    assert (np.abs(tile.reshape(BLOCK_ROWS, PANEL_ROWS) - 2 * exact) <= 4 * bound).all()


def test_words_of_a_row_come_in_pairs():
    assert [padded_words(n, 4) for n in (1, 8, 9, 16)] == [2, 2, 4, 4]
    assert [padded_words(n, 1) for n in (1, 2, 3)] == [2, 2, 4]


def test_the_reference_is_the_matrix_product():
    left, right = int8_rows(40, 127, 0, extreme=False)
    np.testing.assert_array_equal(
        tile_products(left, right), left.astype(int) @ right.T.astype(int)
    )


@given(seed=st.integers(0, 10**6), kind=st.sampled_from([PORTABLE, FLOAT32]), share=st.floats(0, 1))
def test_survivors_are_those_of_numpy(seed, kind, share):
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(8, 4)).astype(np.float32)
    right = rng.normal(size=(4, 48)).astype(np.float32) * 1000
    limits = left.astype(np.float64) @ right.astype(np.float64)
    tile = np.where(rng.random((8, 48)) < share, 1, -1) * rng.exponential(5e3, (8, 48)) + limits
    tile = np.ascontiguousarray(tile.astype(np.float32 if kind == FLOAT32 else np.int32))
    masks = aligned(8 * PANEL_ROWS // LANES, np.uint16)
    any_left = mark(products_of(kind), tile, left, right, masks)
    bits = (masks.reshape(8, 3, 1) >> np.arange(16)) & 1
    found = bits.reshape(8, 48).astype(bool)
    clear = np.abs(tile - limits) > 0.01
    np.testing.assert_array_equal(found[clear], (limits <= tile)[clear])
    assert bool(any_left) == found.any()


@pytest.mark.parametrize("kind", [PORTABLE, FLOAT32])
@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_that_hold_nothing_never_survive(kind, side):
    """Whatever the product is that stands there."""
    left = np.array([[0.5, -1e30, 0.0, 0.0]] * 8, np.float32)
    right = np.zeros((4, 48), np.float32)
    right[1] = 1.0
    if side == "left":
        left[:] = [0.0, np.inf, 0.0, 0.0]
        products = [0.0, 2**31 - 129]
    else:
        right[0], right[1] = np.nan, 0.0
        products = [0.0, 2**31 - 129, np.inf, np.nan]
    for product in products if kind == FLOAT32 else products[:2]:
        tile = np.full((8, 48), product, np.float32 if kind == FLOAT32 else np.int32)
        masks = np.ones(24, np.uint16)
        assert not mark(products_of(kind), tile, left, right, masks)
        assert not masks.any()
