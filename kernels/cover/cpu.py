"""Cover kernels for the CPU: a row finds its cell by bisection, its elements by a short list.

A *cell* is the stretch between two consecutive interval ends, so all rows of a cell lie in the
same intervals. Rows are visited in ascending order and each element is written by its own
cursor, which leaves the rows of an element ascending without sorting anything.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["assign_cells", "count_rows", "expand_keys", "fill_rows", "n_memberships"]

_CELLS = types.Array(types.int32, 2, "C", readonly=True)
_INTS = types.Array(types.int64, 1, "C", readonly=True)
_FLOATS = types.Array(types.float64, 1, "C", readonly=True)


@njit(types.void(_FLOATS, _FLOATS, types.int32[:]), cache=True, nogil=True)
def assign_cells(
    values: NDArray[np.float64], ends: NDArray[np.float64], cells: NDArray[np.int32]
) -> None:
    """Write the number of ends <= value for each value; ends are ascending, at least one."""
    for row in range(values.size):
        value = values[row]
        base = 0
        left = ends.size
        while left > 1:
            half = left // 2
            # No branch for the predictor to miss: this compiles to a conditional move.
            base += half if ends[base + half - 1] <= value else 0
            left -= half
        cells[row] = base + (1 if ends[base] <= value else 0)


@njit(types.int64(_CELLS, _INTS), cache=True, nogil=True)
def n_memberships(cells: NDArray[np.int32], indptr: NDArray[np.int64]) -> int:
    """Count the (row, element) pairs."""
    total = 0
    for row in range(cells.shape[0]):
        pairs = 1
        for column in range(cells.shape[1]):
            cell = cells[row, column]
            pairs *= indptr[cell + 1] - indptr[cell]
        total += pairs
    return total


@njit(
    types.int64(_CELLS, types.int64, _INTS, _INTS, types.int64[::1], types.int64[::1]),
    cache=True,
    nogil=True,
)
def _row_elements(
    cells: NDArray[np.int32],
    row: int,
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    digits: NDArray[np.int64],
    elements: NDArray[np.int64],
) -> int:
    """Write the element numbers of one row to ``elements``, ascending; return how many."""
    n_columns = cells.shape[1]
    n_found = 1
    for column in range(n_columns):
        cell = cells[row, column]
        digits[column] = 0
        n_found *= indptr[cell + 1] - indptr[cell]
    for found in range(n_found):
        element = 0
        for column in range(n_columns):
            element += items[indptr[cells[row, column]] + digits[column]]
        elements[found] = element
        for column in range(n_columns - 1, -1, -1):  # the last column turns fastest
            digits[column] += 1
            cell = cells[row, column]
            if digits[column] < indptr[cell + 1] - indptr[cell]:
                break
            digits[column] = 0
    return n_found


@njit(types.int64(_CELLS, _INTS), cache=True, nogil=True)
def _most_elements(cells: NDArray[np.int32], indptr: NDArray[np.int64]) -> int:
    """Return the largest number of elements that one row lies in."""
    most = 1
    for row in range(cells.shape[0]):
        pairs = 1
        for column in range(cells.shape[1]):
            cell = cells[row, column]
            pairs *= indptr[cell + 1] - indptr[cell]
        most = max(most, pairs)
    return most


@njit(types.void(_CELLS, _INTS, _INTS, types.int64[::1]), cache=True, nogil=True)
def count_rows(
    cells: NDArray[np.int32],
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Add each row to the counter of every element that holds it."""
    digits = np.zeros(cells.shape[1], np.int64)
    elements = np.empty(_most_elements(cells, indptr), np.int64)
    for row in range(cells.shape[0]):
        n_found = _row_elements(cells, row, indptr, items, digits, elements)
        for found in range(n_found):
            counts[elements[found]] += 1


@njit(types.void(_CELLS, _INTS, _INTS, types.int64[::1], types.int64[::1]), cache=True, nogil=True)
def fill_rows(
    cells: NDArray[np.int32],
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    cursor: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """Write each row at the cursor of every element that holds it, and move the cursor on."""
    digits = np.zeros(cells.shape[1], np.int64)
    elements = np.empty(_most_elements(cells, indptr), np.int64)
    for row in range(cells.shape[0]):
        n_found = _row_elements(cells, row, indptr, items, digits, elements)
        for found in range(n_found):
            element = elements[found]
            rows[cursor[element]] = row
            cursor[element] += 1


@njit(types.void(_CELLS, _INTS, _INTS, types.int64[::1], types.int64[::1]), cache=True, nogil=True)
def expand_keys(
    cells: NDArray[np.int32],
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    keys: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """Write (element, row) for every membership, row by row: for grids larger than the data."""
    digits = np.zeros(cells.shape[1], np.int64)
    elements = np.empty(_most_elements(cells, indptr), np.int64)
    cursor = 0
    for row in range(cells.shape[0]):
        n_found = _row_elements(cells, row, indptr, items, digits, elements)
        for found in range(n_found):
            keys[cursor] = elements[found]
            rows[cursor] = row
            cursor += 1
