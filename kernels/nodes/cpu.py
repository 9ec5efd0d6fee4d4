"""Node kernels for the CPU: two passes over the memberships each."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["count_nodes", "group_labels", "lens_statistics"]

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_LENS = types.Array(types.float64, 2, "C", readonly=True)
_OUT = types.int64[::1]
_STATISTICS = types.float64[:, :, ::1]


@njit(types.int64(_INTS, _INTS, types.int64), cache=True, nogil=True)
def count_nodes(labels: NDArray[np.int64], indptr: NDArray[np.int64], widest: int) -> int:
    """Count the different labels above -1 of each element; labels are less than ``widest``."""
    seen = np.full(widest, -1, np.int64)
    n_nodes = 0
    for element in range(indptr.size - 1):
        for at in range(indptr[element], indptr[element + 1]):
            label = labels[at]
            if label >= 0 and seen[label] != element:
                seen[label] = element
                n_nodes += 1
    return n_nodes


@njit(types.void(_INTS, _INTS, _INTS, types.int64, _OUT, _OUT, _OUT), cache=True, nogil=True)
def group_labels(
    labels: NDArray[np.int64],
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    widest: int,
    node_indptr: NDArray[np.int64],
    node_rows: NDArray[np.int64],
    node_element: NDArray[np.int64],
) -> None:
    """Write the nodes by element, then label, and their rows in the element's order."""
    counts = np.zeros(widest, np.int64)
    cursor = np.empty(widest, np.int64)
    node = 0
    node_indptr[0] = 0
    for element in range(indptr.size - 1):
        highest = -1
        for at in range(indptr[element], indptr[element + 1]):
            if labels[at] >= 0:
                counts[labels[at]] += 1
                highest = max(highest, labels[at])
        for label in range(highest + 1):
            if counts[label] > 0:
                cursor[label] = node_indptr[node]
                node_indptr[node + 1] = node_indptr[node] + counts[label]
                node_element[node] = element
                node += 1
                counts[label] = 0
        for at in range(indptr[element], indptr[element + 1]):
            label = labels[at]
            if label >= 0:
                node_rows[cursor[label]] = rows[at]
                cursor[label] += 1


@njit(types.void(_INTS, _INTS, _LENS, _STATISTICS), cache=True, nogil=True)
def lens_statistics(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    lens_values: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write mean, standard deviation, least and greatest lens value of each node and column.

    Sums run over the rows in their order, so that they do not depend on anything else.
    """
    for node in range(indptr.size - 1):
        size = indptr[node + 1] - indptr[node]
        for column in range(lens_values.shape[1]):
            total, least, greatest = 0.0, math.inf, -math.inf
            for at in range(indptr[node], indptr[node + 1]):
                value = lens_values[rows[at], column]
                total += value
                least = min(least, value)
                greatest = max(greatest, value)
            mean = total / size if size > 0 else math.nan
            squares = 0.0
            for at in range(indptr[node], indptr[node + 1]):
                apart = lens_values[rows[at], column] - mean
                squares += apart * apart
            out[0, node, column] = mean
            out[1, node, column] = math.sqrt(squares / size) if size > 0 else math.nan
            out[2, node, column] = least if size > 0 else math.nan
            out[3, node, column] = greatest if size > 0 else math.nan
