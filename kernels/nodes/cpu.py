"""Node kernels for the CPU: two passes over the memberships each."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["group_labels", "lens_statistics"]

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_LENS = types.Array(types.float64, 2, "C", readonly=True)
_OUT = types.int64[::1]
_TABLE = types.int64[:, ::1]
_FLOATS = types.float64[:, ::1]


@njit(types.int64(_INTS, _INTS, _INTS, _TABLE, _OUT, _OUT, _OUT), cache=True, nogil=True)
def group_labels(
    labels: NDArray[np.int64],
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    scratch: NDArray[np.int64],
    node_indptr: NDArray[np.int64],
    node_rows: NDArray[np.int64],
    node_element: NDArray[np.int64],
) -> int:
    """Write the nodes by element, then label, and their rows in the element's order.

    Parameters
    ----------
    labels : int64[nnz]
        Negative is noise.
    indptr, rows : int64
        The elements' rows.
    scratch : int64[2, widest]
        Wider than the greatest label; zeros.
    node_indptr, node_rows, node_element : int64
        Written; ``node_indptr`` starts with 0, all have room for as many nodes as there are
        labels above -1.

    Returns
    -------
    int
        The number of nodes.
    """
    node = 0
    for element in range(indptr.size - 1):
        highest = -1
        for at in range(indptr[element], indptr[element + 1]):
            if labels[at] >= 0:
                scratch[0, labels[at]] += 1
                highest = max(highest, labels[at])
        for label in range(highest + 1):
            if scratch[0, label] > 0:
                scratch[1, label] = node_indptr[node]
                node_indptr[node + 1] = node_indptr[node] + scratch[0, label]
                node_element[node] = element
                node += 1
                scratch[0, label] = 0
        for at in range(indptr[element], indptr[element + 1]):
            if labels[at] >= 0:
                node_rows[scratch[1, labels[at]]] = rows[at]
                scratch[1, labels[at]] += 1
    return node


@njit(
    types.void(_INTS, _INTS, _LENS, _FLOATS, _FLOATS, _FLOATS, _FLOATS),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def lens_statistics(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    lens_values: NDArray[np.float64],
    mean: NDArray[np.float64],
    square: NDArray[np.float64],
    least: NDArray[np.float64],
    greatest: NDArray[np.float64],
) -> None:
    """Write mean, mean square around it, least and greatest lens value of each node and column.

    Sums run over the rows in their order, so that they do not depend on anything else. A node
    without rows gets 0 / 0, infinity and minus infinity.
    """
    for node in range(indptr.size - 1):
        start, stop = indptr[node], indptr[node + 1]
        for column in range(lens_values.shape[1]):
            total, low, high = 0.0, np.inf, -np.inf
            for at in range(start, stop):
                value = lens_values[rows[at], column]
                total += value
                low = low if low < value else value
                high = high if high > value else value
            average, squares = total / (stop - start), 0.0
            for at in range(start, stop):
                apart = lens_values[rows[at], column] - average
                squares += apart * apart
            mean[node, column], square[node, column] = average, squares / (stop - start)
            least[node, column], greatest[node, column] = low, high
