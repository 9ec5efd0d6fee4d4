"""Which rows lie in the same elements of a cover: rows of one cell are stored side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["Cells", "cells_of", "element_cells"]

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_FEW = 256


class Cells(NamedTuple):
    """Cells of a cover, in an order in which the cells of an element are mostly neighbours."""

    cell: NDArray[np.int32]
    """int32[n_rows]: cell of each row, -1 for rows in no element."""
    n_cells: int


@njit(
    types.int64(
        types.int32[::1], _INTS, types.int64, types.int64, types.int64[::1], types.int64[::1],
        types.int64[::1], types.int64[::1],
    ),
    cache=True, nogil=True,
)  # fmt: skip
def _split(
    cell: NDArray[np.int32],
    rows: NDArray[np.int64],
    element: int,
    n_cells: int,
    seen: NDArray[np.int64],
    part: NDArray[np.int64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> int:
    """Split every cell in what lies in the element and what does not; the new number of cells.

    ``seen`` and ``part``, by old cell (at the end: no cell): the last element that split it, and
    the cell its rows went to. ``first`` and ``last``: elements of each cell.
    """
    for row in rows:
        old = np.int64(cell[row])
        if seen[old] != element:
            seen[old] = element
            part[old] = n_cells
            first[n_cells] = first[old] if old >= 0 else element
            last[n_cells] = element
            n_cells += 1
        cell[row] = part[old]
    return n_cells


def cells_of(indptr: NDArray[np.int64], rows: NDArray[np.int64], n_rows: int) -> Cells:
    """Cells of a cover given by its elements' rows.

    Parameters
    ----------
    indptr, rows : int64
        Element e holds ``rows[indptr[e]:indptr[e + 1]]``.
    n_rows : int

    Returns
    -------
    Cells
        Ordered by first element, then last, then as they were found: along the lens, for
        intervals of one.

    Notes
    -----
    Time and memory are proportional to the memberships. Two rows share a cell exactly when they
    lie in the same elements.

    Examples
    --------
    >>> cells_of(np.array([0, 3, 5]), np.array([0, 1, 2, 2, 3]), 5).cell.tolist()
    [0, 0, 1, 2, -1]
    """
    cell = np.full(n_rows, -1, np.int32)
    n_cells, room = 0, 1024
    seen, part, first, last = (np.full(room, -1, np.int64) for _ in range(4))
    for element in range(len(indptr) - 1):
        own = rows[indptr[element] : indptr[element + 1]]
        needed = n_cells + min(len(own), n_cells + 1) + 1
        if needed > room:
            room = 2 * needed
            seen, part, first, last = (_longer(each, room) for each in (seen, part, first, last))
        n_cells = _split(cell, own, element, n_cells, seen, part, first, last)
    used = np.flatnonzero(np.bincount(cell + 1, minlength=n_cells + 1)[1:])
    order = used[np.lexsort((used, last[used], first[used]))]
    rank = np.full(n_cells + 1, -1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return Cells(rank[cell], len(order))


def _longer(array: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The same numbers with room for more before the last, which stands for no cell."""
    longer = np.full(size, -1, np.int64)
    longer[: len(array) - 1] = array[:-1]
    longer[-1] = array[-1]
    return longer


def element_cells(cells: Cells, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cells of an element's rows, ascending."""
    if len(rows) * _FEW < cells.n_cells:
        return np.unique(cells.cell[rows]).astype(np.int64)
    held = np.zeros(cells.n_cells, np.bool_)
    held[cells.cell[rows]] = True
    return np.flatnonzero(held)
