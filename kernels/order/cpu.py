"""Median splits along the widest coordinate (a k-d tree's leaves, left to right)."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["split_order"]


@njit(nogil=True, cache=True)
def _widest(coordinates, order, low, high):  # type: ignore[no-untyped-def]
    """The coordinate with the largest variance among order[low:high]."""
    best, best_spread = 0, -1.0
    for axis in range(coordinates.shape[1]):
        total, squares = 0.0, 0.0
        for p in range(low, high):
            number = np.float64(coordinates[order[p], axis])
            total += number
            squares += number * number
        spread = squares - total * total / (high - low)
        if spread > best_spread:
            best, best_spread = axis, spread
    return best


@njit(nogil=True, cache=True)
def _select(coordinates, order, low, high, middle, axis):  # type: ignore[no-untyped-def]
    """Partition order[low:high] so that the smaller ones come before place ``middle``."""
    high -= 1
    while low < high:
        pivot = coordinates[order[(low + high) // 2], axis]
        i, j = low, high
        while i <= j:
            while coordinates[order[i], axis] < pivot:
                i += 1
            while coordinates[order[j], axis] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@njit(nogil=True, cache=True)
def split_order(coordinates, panel, block):  # type: ignore[no-untyped-def]
    """Order of rows after median splits down to ``panel`` rows, and those to ``block`` rows.

    Parameters
    ----------
    coordinates : float32[n_rows, n_axes]
        Finite.
    panel, block : int
        Splits fall on multiples of them.

    Returns
    -------
    int32[n_rows]
        A permutation; any permutation is correct, this one only makes the rest fast.

    Notes
    -----
    O(n log n) time, no memory beyond the result.
    """
    n_rows = coordinates.shape[0]
    order = np.arange(n_rows).astype(np.int32)
    stack = np.empty((128, 2), np.int64)
    stack[0] = 0, n_rows
    depth = 1
    while depth:
        depth -= 1
        low, high = stack[depth]
        if high - low <= block:
            continue
        unit = panel if high - low > panel else block
        middle = low + max((high - low) // (2 * unit), 1) * unit
        _select(coordinates, order, low, high, middle, _widest(coordinates, order, low, high))
        stack[depth] = low, middle
        stack[depth + 1] = middle, high
        depth += 2
    return order
