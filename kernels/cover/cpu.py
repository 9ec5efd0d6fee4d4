"""Cover kernels for the CPU: a row's elements are the product of short lists, one for each column.

A *cell* is the stretch between two consecutive interval ends, so all rows of a cell lie in the
same intervals. Rows are visited in ascending order and each element is written by its own
cursor, which leaves the rows of an element ascending without sorting anything.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["count_rows", "expand_keys", "fill_rows"]

_CELLS = types.Array(types.int32, 2, "C", readonly=True)
_INTS = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.int64[::1]
_NOTHING = np.empty(0, np.int64)


@njit(types.void(_CELLS, _INTS, _INTS, _OUT, _OUT, _OUT, _OUT), cache=True, nogil=True)
def _visit(
    cells: NDArray[np.int32],
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    digits: NDArray[np.int64],
    cursor: NDArray[np.int64],
    rows: NDArray[np.int64],
    keys: NDArray[np.int64],
) -> None:
    """Visit the elements of each row, ascending.

    One function for all three uses, since compiling it takes longer than most covers: with
    ``keys`` write (element, row); else move the element's cursor on, and with ``rows`` write the
    row where it was. ``digits`` is zeros, one for each column.
    """
    n_columns = digits.size
    n_written = 0
    for row in range(cells.shape[0]):
        n_left = 1
        for column in range(n_columns):
            n_left *= indptr[cells[row, column] + 1] - indptr[cells[row, column]]
        while n_left > 0:
            n_left -= 1
            element = 0
            for column in range(n_columns):
                element += items[indptr[cells[row, column]] + digits[column]]
            if keys.size > 0:
                keys[n_written] = element
                rows[n_written] = row
                n_written += 1
            else:
                if rows.size > 0:
                    rows[cursor[element]] = row
                cursor[element] += 1
            column = n_columns - 1  # the last column turns fastest
            while column >= 0:
                cell = cells[row, column]
                digits[column] += 1
                if digits[column] < indptr[cell + 1] - indptr[cell]:
                    break
                digits[column] = 0
                column -= 1


def count_rows(
    cells: NDArray[np.int32],
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Add each row to the counter of every element that holds it."""
    digits = np.zeros(cells.shape[1], np.int64)
    _visit(cells, indptr, items, digits, counts, _NOTHING, _NOTHING)


def fill_rows(
    cells: NDArray[np.int32],
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    cursor: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """Write each row at the cursor of every element that holds it, and move the cursor on."""
    _visit(cells, indptr, items, np.zeros(cells.shape[1], np.int64), cursor, rows, _NOTHING)


def expand_keys(
    cells: NDArray[np.int32],
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    keys: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """Write (element, row) for every membership, row by row: for grids larger than the data."""
    _visit(cells, indptr, items, np.zeros(cells.shape[1], np.int64), _NOTHING, rows, keys)
