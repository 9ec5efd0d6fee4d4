"""Nerve kernels for the CPU: larger simplices from smaller ones, nodes first.

Memberships are first turned round, to the nodes of each row. From there on a simplex of ``k``
nodes and its rows give those of ``k + 1`` nodes: for each of its rows, each later node that holds
the row gets one more count. The counters are an array with a place for every node, so that no
search is needed, and only the places that were touched are looked at and cleared.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import helper
from topoact_gpu.kernels.sorting import sort

__all__ = ["SCRATCH", "extend", "fill_nodes", "gather_rows"]

SCRATCH = 64
"""Room that `extend` needs beyond one place for each node."""
_AT_ONCE = SCRATCH
_INTS = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.int64[::1]
_NODES = types.int32[::1]
_TABLE = types.int64[:, ::1]


@njit(types.void(_INTS, _INTS, types.int64, types.int64, _OUT, _NODES), cache=True, nogil=True)
def fill_nodes(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    start: int,
    stop: int,
    cursor: NDArray[np.int64],
    nodes: NDArray[np.int32],
) -> None:
    """List the nodes of each of the rows start..stop, ascending, and move their cursors on."""
    for node in range(indptr.size - 1):
        at, high = indptr[node], indptr[node + 1]
        while at < high:
            middle = (at + high) // 2
            if rows[middle] < start:
                at = middle + 1
            else:
                high = middle
        while at < indptr[node + 1] and rows[at] < stop:
            nodes[cursor[rows[at]]] = node
            cursor[rows[at]] += 1
            at += 1


# What only `extend` calls needs no signature and no way in from Python: both take time to compile.
@helper
def _count_later(
    rows: NDArray[np.int64],
    start: int,
    stop: int,
    last: int,
    row_indptr: NDArray[np.int64],
    row_nodes: NDArray[np.int32],
    scratch: NDArray[np.int64],
) -> int:
    """Count the nodes after ``last`` of rows[start:stop], which all lie in ``last``.

    Counts go to scratch[0], the nodes that have one to the front of scratch[1]; returns how many.
    """
    n_touched = 0
    for low in range(start, stop, _AT_ONCE):
        # First without a branch, so that the rows' cache misses overlap: where a row's nodes end,
        # if the last of them is a later one.
        n_ends = 0
        for at in range(low, min(low + _AT_ONCE, stop)):
            entry = row_indptr[rows[at] + 1] - 1
            scratch[2, n_ends] = entry
            n_ends += 1 if row_nodes[entry] > last else 0
        for i in range(n_ends):
            entry = scratch[2, i]
            node = row_nodes[entry]
            while node > last:
                scratch[1, n_touched] = node
                n_touched += 1 if scratch[0, node] == 0 else 0
                scratch[0, node] += 1
                entry -= 1
                node = row_nodes[entry]
    return n_touched


@njit(
    types.int64(_INTS, _INTS, _INTS, _INTS, _NODES, _TABLE, types.int64, _OUT, _TABLE),
    cache=True,
    nogil=True,
)
def extend(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    last: NDArray[np.int64],
    row_indptr: NDArray[np.int64],
    row_nodes: NDArray[np.int32],
    scratch: NDArray[np.int64],
    min_intersection: int,
    span: NDArray[np.int64],
    found: NDArray[np.int64],
) -> int:
    """Write (simplex, added node, shared rows) for simplices span[0]..span[1], sorted.

    Parameters
    ----------
    indptr, rows : int64
        The rows of each simplex.
    last : int64[n_simplices]
        The largest node of each; only later nodes are added to it.
    row_indptr, row_nodes : int64[n_rows + 1], int32[nnz]
        The nodes of each row, ascending.
    scratch : int64[3, n]
        At least SCRATCH more numbers than nodes; the first row is zeros, here and afterwards.
    min_intersection : int
        Extensions that share fewer rows are left out.
    span : int64[2]
        ``span[0]`` is moved to the first simplex whose extensions did not fit in ``found``.
    found : int64[n, 3]
        At least as long as there are nodes.

    Returns
    -------
    int
        How many rows of ``found`` were written.
    """
    n_found = 0
    while span[0] < span[1]:
        simplex = span[0]
        n_touched = _count_later(
            rows, indptr[simplex], indptr[simplex + 1], last[simplex], row_indptr, row_nodes,
            scratch,
        )  # fmt: skip
        fits = n_found + n_touched <= found.shape[0]
        if fits:
            sort(scratch, n_touched)
        for i in range(n_touched):
            node = scratch[1, i]
            if fits and scratch[0, node] >= min_intersection:
                found[n_found, 0] = simplex
                found[n_found, 1] = node
                found[n_found, 2] = scratch[0, node]
                n_found += 1
            scratch[0, node] = 0
        if not fits:
            return n_found
        span[0] += 1
    return n_found


# Without a signature: only triangles need it, so it is compiled when they are asked for.
@njit(cache=True, nogil=True)
def gather_rows(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    first: NDArray[np.int64],
    added: NDArray[np.int64],
    out_indptr: NDArray[np.int64],
    row_indptr: NDArray[np.int64],
    row_nodes: NDArray[np.int32],
    out: NDArray[np.int64],
    start: int,
    stop: int,
) -> None:
    """Write the rows of the simplices that `extend` found from simplices start..stop.

    Simplex ``s`` was extended by the nodes ``added[first[s]:first[s + 1]]``, giving the simplices
    with those numbers; the rows of simplex ``e`` go to ``out[out_indptr[e]:out_indptr[e + 1]]``.
    """
    for simplex in range(start, stop):
        low, high = first[simplex], first[simplex + 1]
        if low == high:
            continue
        cursor = out_indptr[low:high].copy()
        for at in range(indptr[simplex], indptr[simplex + 1]):
            row = rows[at]
            extension = low
            # Both lists ascend: one walk through them finds what they have in common.
            for entry in range(row_indptr[row], row_indptr[row + 1]):
                node = row_nodes[entry]
                while extension < high and added[extension] < node:
                    extension += 1
                if extension == high:
                    break
                if added[extension] == node:
                    out[cursor[extension - low]] = row
                    cursor[extension - low] += 1
