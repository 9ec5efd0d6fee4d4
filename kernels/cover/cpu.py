"""Cover kernels for the CPU: a row's elements are the product of short lists, one for each column.

A *cell* is the stretch between two consecutive interval ends, so all rows of a cell lie in the
same intervals. Rows are visited in ascending order and each element is written by its own
cursor, which leaves the rows of an element ascending without sorting anything.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = [
    "count_rows", "expand_keys", "fill_rows", "find_cells", "group", "group_dense", "group_sparse",
]

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


def find_cells(
    column: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Cell of each row, and whether each cell holds any.

    Parameters
    ----------
    column : float64[n_rows]
    ends : float64[n_ends]
        Ascending interval ends; a row's cell is the number of ends at or below its value.

    Returns
    -------
    cells : int32[n_rows]
    held : bool[n_ends + 1]
    """
    cells = np.searchsorted(ends, column, side="right").astype(np.int32)
    return cells, np.bincount(cells, minlength=ends.size + 1) > 0


_Grouped = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def group(
    cells: NDArray[np.int32], indptr: NDArray[np.int64], items: NDArray[np.int64], n_grid: int
) -> _Grouped:
    """Group the rows by the product elements that hold them.

    Parameters
    ----------
    cells : int32[n_rows, n_columns]
        Cell of each row in each column, numbered through all columns.
    indptr, items : int64
        Cell ``c`` lies in the intervals ``items[indptr[c]:indptr[c + 1]]``, each times the
        number of elements that differ in later columns only: an element is a sum of items.
    n_grid : int
        All elements are below.

    Returns
    -------
    element_id : int64[n_elements]
        The elements that hold rows, ascending.
    starts : int64[n_elements + 1]
    rows : int64[nnz]
        Element ``e`` holds ``rows[starts[e]:starts[e + 1]]``, ascending.
    """
    nnz = int(np.diff(indptr)[cells].prod(axis=1).sum())
    if n_grid <= nnz:
        return group_dense(cells, indptr, items, n_grid, nnz)
    return group_sparse(cells, indptr, items, nnz)


def group_dense(
    cells: NDArray[np.int32],
    indptr: NDArray[np.int64],
    items: NDArray[np.int64],
    n_grid: int,
    nnz: int,
) -> _Grouped:
    """Group with one counter for each element of a grid no larger than the memberships."""
    counts = np.zeros(n_grid, dtype=np.int64)
    count_rows(cells, indptr, items, counts)
    ends = np.cumsum(counts)
    rows = np.empty(nnz, dtype=np.int64)
    fill_rows(cells, indptr, items, ends - counts, rows)
    element_id = np.flatnonzero(counts).astype(np.int64)
    return element_id, np.concatenate([[0], ends[element_id]]).astype(np.int64), rows


def group_sparse(
    cells: NDArray[np.int32], indptr: NDArray[np.int64], items: NDArray[np.int64], nnz: int
) -> _Grouped:
    """Group by sorting the memberships: memory does not depend on the grid."""
    keys, rows = np.empty(nnz, dtype=np.int64), np.empty(nnz, dtype=np.int64)
    expand_keys(cells, indptr, items, keys, rows)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.ones(nnz, dtype=bool)
    first[1:] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(first)
    return keys[starts], np.concatenate([starts, [nnz]]).astype(np.int64), rows[order]
