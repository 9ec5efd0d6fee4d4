"""Exact decisions on single pairs of rows, inlined into the scanning kernels.

Rows arrive as stored: float16 as its bits (uint16), everything else as it is. ``norms`` is an
empty float64 array, or for the cosine metric the norm by which each row is divided.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from topoact_gpu.kernels.simd import half_to_float

__all__ = ["Limits", "column_norm", "pair_limits", "pair_square", "pair_square_fast", "value", "within"]


class Limits(NamedTuple):
    """What decides a pair by its squared distance; see :func:`pair_limits`."""

    square: float
    """The definition: within when the column-order sum is at most this."""
    surely: float
    """The fast sum at most this: within."""
    never: float
    """The fast sum above this: not within."""


def pair_limits(square: float, n_cols: int) -> Limits:
    """Limits for the fast sum, whose relative error is proven; equal when nothing is proven.

    Notes
    -----
    Both sums of n non-negative terms, in any order, with or without fused multiply-add, lie
    within ``(n + 2) u`` of the exact one, relatively (Higham 2002, section 4.2); so they lie
    within ``2 (n + 3) u`` of each other. Underflow breaks that: below 2**-900 the fast sum
    decides nothing, and neither does it where the limit itself overflowed.
    """
    if not 2.0**-900 < square < 2.0**1000:
        return Limits(square, -1.0, np.inf)
    slack = (n_cols + 4) * 2.0**-51
    return Limits(square, square * (1 - slack), square * (1 + slack))


def value(rows: NDArray[np.generic], row: int, column: int) -> float:
    """The stored number as float64 (only inside compiled code)."""
    raise TypeError("value() exists in compiled code only")


@overload(value, inline="always")
def _value(rows, row, column):  # type: ignore[no-untyped-def]
    if rows.dtype is types.uint16:
        return lambda rows, row, column: np.float64(half_to_float(rows[row, column]))
    return lambda rows, row, column: np.float64(rows[row, column])


@njit(nogil=True, cache=True)
def pair_square(rows, norms, a, b):  # type: ignore[no-untyped-def]
    """Squared distance by the definition: column order, no fused multiply-add."""
    total = 0.0
    if norms.size:
        for k in range(rows.shape[1]):
            step = value(rows, a, k) / norms[a] - value(rows, b, k) / norms[b]
            total += step * step
    else:
        for k in range(rows.shape[1]):
            step = value(rows, a, k) - value(rows, b, k)
            total += step * step
    return total


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def pair_square_fast(rows, norms, a, b):  # type: ignore[no-untyped-def]
    """The same sum in any order, several columns at a time."""
    total = 0.0
    if norms.size:
        norm_a, norm_b = norms[a], norms[b]
        for k in range(rows.shape[1]):
            step = value(rows, a, k) / norm_a - value(rows, b, k) / norm_b
            total += step * step
    else:
        for k in range(rows.shape[1]):
            step = value(rows, a, k) - value(rows, b, k)
            total += step * step
    return total


@njit(nogil=True, cache=True)
def within(rows, norms, limits, a, b):  # type: ignore[no-untyped-def]
    """Whether rows a and b lie within eps, exactly as the definition says."""
    fast = pair_square_fast(rows, norms, a, b)
    if fast <= limits.surely:
        return True
    if fast > limits.never:
        return False
    return pair_square(rows, norms, a, b) <= limits.square


@njit(nogil=True, cache=True)
def column_norm(rows, row):  # type: ignore[no-untyped-def]
    """Euclidean norm, squares summed in column order in float64."""
    total = 0.0
    for k in range(rows.shape[1]):
        number = value(rows, row, k)
        total += number * number
    return np.sqrt(total)
