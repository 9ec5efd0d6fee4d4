"""Which product decides the pairs that it can: chosen once, by what this machine has.

Every filter has a proven bound and gives the same labels; the choice is one of speed.

int8-vnni   int8 by AVX-512 VNNI.
int8-avx2   int8 by AVX2.
float32     fused multiply-add in float32; any processor.
int8-plain  int8-vnni's sums without its instructions: slow, for tests.
"""

from __future__ import annotations

import os
from functools import cache

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import ParameterError
from topoact_gpu.kernels.compiled import kernel
from topoact_gpu.kernels.product.cpu import (
    AVX2,
    BLOCK_ROWS,
    FLOAT32,
    PANEL_ROWS,
    PORTABLE,
    VNNI,
    Coding,
    coding_of,
    dot_block,
    kinds_to_be_had,
    products_of,
)
from topoact_gpu.kernels.product.reference import tile_products

__all__ = ["FILTERS", "available_filters", "choose_filter", "coding_for"]

FILTERS = {"int8-vnni": VNNI, "int8-avx2": AVX2, "float32": FLOAT32, "int8-plain": PORTABLE}
"""Fastest first."""
_MOST_INT8_COLUMNS = 2**17
"""127 * 127 * 2**17 is below 2**31."""
_VARIABLE = "TOPOACT_FILTER"


def coding_for(filter_name: str) -> Coding:
    """How rows become words for a filter."""
    return coding_of(FILTERS[filter_name])


@kernel
def _multiply(products, left, right, start, n_words, tile):  # type: ignore[no-untyped-def]
    at = left.ctypes.data, right.ctypes.data, start.ctypes.data, tile.ctypes.data
    dot_block(products, at[0], at[1], n_words, at[2], at[3], True)


def _extremes(n_rows: int, n_cols: int, top: int) -> NDArray[np.int8]:
    """Rows of the largest numbers of either sign, where saturation would show."""
    signs = np.random.default_rng(0).choice(np.array([-top, top], np.int8), (n_rows, n_cols))
    signs[0], signs[1 % n_rows] = top, -top
    return signs


def _in_words(rows: NDArray[np.int8], offset: int) -> NDArray[np.int32]:
    """Rows word by word, as the product reads them."""
    shifted = (rows.astype(np.int16) + offset).astype(np.uint8)
    return np.ascontiguousarray(shifted.reshape(len(rows), -1, 4).swapaxes(0, 1)).view(np.int32)


@cache
def _is_exact(kind: int) -> bool:
    """Whether a kind of int8 product gives the right sums on this processor."""
    coding = coding_of(kind)
    left, right = (_extremes(n, 64, coding.top) for n in (BLOCK_ROWS, PANEL_ROWS))
    start = (-coding.offset * left.sum(1, dtype=np.int64)).astype(np.int32)
    tile = np.empty(BLOCK_ROWS * PANEL_ROWS, np.int32)
    words = _in_words(left, 0).ravel(), _in_words(right, coding.offset).ravel()
    _multiply(products_of(kind), *words, start, 16, tile)
    return bool((tile.reshape(BLOCK_ROWS, PANEL_ROWS) == tile_products(left, right)).all())


def _runs_here(name: str) -> bool:
    kind = FILTERS[name]
    return kind in kinds_to_be_had() and (kind == FLOAT32 or _is_exact(kind))


def available_filters() -> list[str]:
    """Filters that this processor can run, and runs rightly; fastest first."""
    return [name for name in FILTERS if _runs_here(name)]


def choose_filter(n_cols: int) -> str:
    """The filter for rows of this length: TOPOACT_FILTER if it is set, else the fastest there is.

    The variable may also say "int8": the fastest of these. Rows of more than 131,072 columns
    get float32: their int8 sums might overflow.

    Raises
    ------
    ParameterError
        The variable names a filter that is unknown, or not to be had here or for such rows.
    """
    wanted = os.environ.get(_VARIABLE, "")
    too_long = n_cols > _MOST_INT8_COLUMNS
    if not wanted:
        return "float32" if too_long else next(name for name in FILTERS if _runs_here(name))
    fitting = [name for name in FILTERS if name == wanted or name.startswith(f"{wanted}-")]
    if not fitting:
        raise ParameterError(
            f"{_VARIABLE} must be int8 or one of {', '.join(FILTERS)}, got {wanted!r}"
        )
    if wanted != "float32" and too_long:
        raise ParameterError(
            f"{_VARIABLE}={wanted} takes rows of at most {_MOST_INT8_COLUMNS:,} columns, "
            f"got {n_cols:,}; use float32"
        )
    for name in fitting:
        if _runs_here(name):
            return name
    raise ParameterError(
        f"{_VARIABLE}={wanted} needs instructions that this processor does not have; "
        f"use one of {', '.join(available_filters())}"
    )
