"""Products of 8 left rows and a panel of 48 right rows, and the test of what they say.

Rows are made of *words* of 32 bits: four int8 columns, or one float32 column. Four ways to
multiply them (``kind``):

VNNI      16 lanes of vpdpbusd (AVX-512): bytes up to 127, right ones with 128 added.
AVX2      8 lanes of vpmaddubsw, which sums two products in 16 bits; two words are added there
          before they go to 32 bits, so bytes are at most 63, right ones with 64 added:
          4 * 63 * 127 < 2**15, nothing saturates.
FLOAT32   fused multiply-add; any processor.
PORTABLE  VNNI's sums and layout in plain vector instructions, so that they are tested everywhere.

Integer sums are exact. What is compiled for a kind is called by address, so that a kernel need not
be compiled again for each.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cfunc, njit, types
from numba.extending import intrinsic

from topoact_gpu.kernels.product.emit import (
    AVX2,
    BLOCK_ROWS,
    FLOAT32,
    LANES,
    PANEL_ROWS,
    PORTABLE,
    VNNI,
    mark_tile,
    multiply_rows,
)
from topoact_gpu.kernels.simd import HAS_AVX2, HAS_VNNI, call_address

__all__ = [
    "AVX2",
    "BLOCK_ROWS",
    "FLOAT32",
    "LANES",
    "PANEL_ROWS",
    "PORTABLE",
    "VNNI",
    "Coding",
    "Products",
    "coding_of",
    "dot_block",
    "dot_row",
    "kinds_to_be_had",
    "padded_words",
    "products_of",
    "survivors",
]


class Coding(NamedTuple):
    """How a row becomes words. Bytes of a right word: ``(word ^ flip) - add``, undone on the left.

    No byte borrows from its neighbour: flipped bytes lie in 128 +- top, and ``add`` holds
    128 - offset in each byte.
    """

    kind: int
    columns: int
    """In one word."""
    top: int
    """Largest int8 number used."""
    offset: int
    """Added to right bytes."""
    flip: np.int32
    add: np.int32


def _bytes(number: int) -> np.int32:
    return np.array([number] * 4, np.uint8).view(np.int32)[0]


_CODINGS = {
    VNNI: Coding(VNNI, 4, 127, 128, _bytes(128), _bytes(0)),
    AVX2: Coding(AVX2, 4, 63, 64, _bytes(128), _bytes(64)),
    FLOAT32: Coding(FLOAT32, 1, 0, 0, _bytes(0), _bytes(0)),
    PORTABLE: Coding(PORTABLE, 4, 127, 128, _bytes(128), _bytes(0)),
}


def coding_of(kind: int) -> Coding:
    """The coding that goes with a kind of product."""
    return _CODINGS[kind]


def padded_words(n_cols: int, columns: int) -> int:
    """Words of a row, an even number of them: the loops take two at a time."""
    return -(-n_cols // (2 * columns)) * 2


class Products(NamedTuple):
    """Addresses of what is compiled for one kind."""

    block: int
    row: int
    mark: int


_MULTIPLY = types.void(*([types.int64] * 5), types.boolean)
_MARK = types.int64(*([types.int64] * 5))
_KEPT: list[Any] = []
"""What the addresses point to."""


@cache
def products_of(kind: int) -> Products:
    """The products of a kind, compiled when they are first wanted."""
    compiled = _multiplier(kind, BLOCK_ROWS), _multiplier(kind, 1), _marker(kind == FLOAT32)
    _KEPT.append(compiled)
    return Products(*(function.address for function in compiled))


def _multiplier(kind: int, n_rows: int) -> Any:
    @cfunc(_MULTIPLY, cache=True)
    def multiply(left, right, n_words, start, tile, fresh):  # type: ignore[no-untyped-def]
        multiply_rows(left, right, n_words, start, tile, fresh, kind, n_rows)

    return multiply


def _marker(floats: bool) -> Any:
    @cfunc(_MARK, cache=True)
    def mark(tile, left, right, masks, n_rows):  # type: ignore[no-untyped-def]
        return mark_tile(tile, left, right, masks, n_rows, floats)

    return mark


@intrinsic
def _call_multiply(typingctx, address, left, right, n_words, start, tile, fresh):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        call_address(context, builder, sig, args)
        return context.get_dummy_value()

    return types.void(types.int64, *_MULTIPLY.args), codegen


@intrinsic
def _call_mark(typingctx, address, tile, left, right, masks, n_rows):  # type: ignore[no-untyped-def]
    return types.int64(types.int64, *_MARK.args), call_address


@njit(inline="always")
def dot_block(products, left, right, n_words, start, tile, fresh):  # type: ignore[no-untyped-def]
    """Products of 8 left rows and 48 right rows over ``n_words`` words, into ``tile``.

    ``left`` [n_words, 8] and ``right`` [n_words, 48]: words of 32 bits; ``start`` int32[8]: what
    undoes the offset of the right bytes (minus the offset times the sum of the left bytes;
    zeros for floats); ``tile`` int32 | float32 [8 * 48]. All are addresses (int64): arrays
    would be counted in and out at every call. ``n_words`` is even; ``fresh`` False adds to what
    the tile holds.
    """
    _call_multiply(products.block, left, right, n_words, start, tile, fresh)


@njit(inline="always")
def dot_row(products, left, right, n_words, start, tile):  # type: ignore[no-untyped-def]
    """The same for one row of the left operand (its first word's address)."""
    _call_multiply(products.row, left, right, n_words, start, tile, True)


@njit(inline="always")
def survivors(products, tile, left, right, masks, n_rows):  # type: ignore[no-untyped-def]
    """Mark the pairs of an n_rows x 48 tile of products that may lie within eps; any mask set.

    ``left`` float32[n_rows, 4] and ``right`` float32[4, 48] from quantise: a pair survives when
    ``sum_t left[i, t] * right[t, j] <= tile[i, j]``. ``masks`` uint16[n_rows * 3], 16 pairs
    each. All are addresses.
    """
    return _call_mark(products.mark, tile, left, right, masks, n_rows)


def kinds_to_be_had() -> tuple[int, ...]:
    """Kinds of product that this processor has the instructions for, fastest first."""
    wanted = ((VNNI, HAS_VNNI), (AVX2, HAS_AVX2), (FLOAT32, True), (PORTABLE, True))
    return tuple(kind for kind, there in wanted if there)
