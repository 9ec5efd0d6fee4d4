"""Median splits along the widest coordinate (a k-d tree's leaves, left to right)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import helper, kernel

__all__ = ["split_order"]


@helper
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


@helper
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


@kernel
def _split(coordinates, panel, block, order, stack):  # type: ignore[no-untyped-def]
    """Split order, which holds all rows, again and again; ``stack`` int64[128, 2] is scratch."""
    n_rows = coordinates.shape[0]
    stack[0, 0], stack[0, 1] = 0, n_rows
    depth = 1
    while depth:
        depth -= 1
        low, high = stack[depth, 0], stack[depth, 1]
        if high - low <= block:
            continue
        unit = panel if high - low > panel else block
        middle = low + max((high - low) // (2 * unit), 1) * unit
        _select(coordinates, order, low, high, middle, _widest(coordinates, order, low, high))
        stack[depth, 0], stack[depth, 1] = low, middle
        stack[depth + 1, 0], stack[depth + 1, 1] = middle, high
        depth += 2


def split_order(coordinates: NDArray[np.float32], panel: int, block: int) -> NDArray[np.int32]:
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
    order = np.arange(len(coordinates), dtype=np.int32)
    _split(coordinates, panel, block, order, np.empty((128, 2), np.int64))
    return order
