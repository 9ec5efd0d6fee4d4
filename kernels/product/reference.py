"""Tile products by the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["aligned_products", "tile_products"]


def tile_products(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Products of every left row with every right row.

    Parameters
    ----------
    left : int8 | float32 [n_left, n_cols]
    right : the same [n_right, n_cols]

    Returns
    -------
    int64 | float64 [n_left, n_right]
        Whole numbers exactly; floats summed in column order, each step rounded.
    """
    wide = np.float64 if left.dtype.kind == "f" else np.int64
    products: NDArray[Any] = np.zeros((len(left), len(right)), wide)
    for column in range(left.shape[1]):
        products += left[:, column, None].astype(wide) * right[:, column].astype(wide)
    return products


def aligned_products(
    left: NDArray[np.float16], right: NDArray[np.float16], n_terms: int, extra_bits: int
) -> NDArray[np.float32]:
    """Products of rows as a tensor core adds them up; :mod:`.accumulator` has the rules.

    Parameters
    ----------
    left, right : float16[n_rows, n_cols]
        Finite.
    n_terms : int
        Columns that are added at once, in their order.
    extra_bits : int

    Returns
    -------
    float32[n_rows]
        Of left[i] and right[i].
    """
    scale = _scale(left, -14) + _scale(right, -14)
    products = left.astype(np.float64) * right.astype(np.float64)
    total = np.zeros(len(left))
    for first in range(0, left.shape[1], n_terms):
        block = slice(first, first + n_terms)
        addends = np.column_stack([total, products[:, block]])
        scales = np.column_stack([_scale(total.astype(np.float32), -126), scale[:, block]])
        unit = np.where(addends == 0, -(2**30), scales).max(1) - 23 - extra_bits
        unit = np.maximum(unit, -1000)  # all of them 0
        whole = np.trunc(np.ldexp(addends, -unit[:, None])).sum(1)
        beyond = np.maximum(np.frexp(whole)[1] - 24, 0)
        total = np.ldexp(np.trunc(np.ldexp(whole, -beyond)), beyond + unit)
    return total.astype(np.float32)


def _scale(numbers: NDArray[Any], least: int) -> NDArray[np.int32]:
    """Exponents; subnormal numbers have that of the least normal one."""
    exponents: NDArray[np.int32] = np.frexp(numbers.astype(np.float64))[1]
    return np.maximum(exponents - 1, least)
