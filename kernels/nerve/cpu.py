"""Nerve kernels for the CPU: edges from the nodes of each row, larger simplices from smaller ones.

Memberships are first turned round, to the nodes of each row. Edges then take one walk through the
rows, in order, that counts each pair of nodes in a hash table. From there on a simplex of ``k``
nodes and its rows give those of ``k + 1`` nodes: for each of its rows, each later node that holds
the row gets one more count.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = [
    "count_nodes",
    "count_pairs",
    "extend",
    "fill_nodes",
    "first_bad",
    "gather_rows",
    "work_of",
]

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.int64[::1]
_NODES = types.int32[::1]
_PAIRS = types.int64[:, ::1]


@njit(types.int64(_INTS, _INTS, types.int64), cache=True, nogil=True)
def first_bad(indptr: NDArray[np.int64], rows: NDArray[np.int64], n_rows: int) -> int:
    """Return the first position whose row is out of range or not above the one before, or -1."""
    for node in range(indptr.size - 1):
        above = -1
        for at in range(indptr[node], indptr[node + 1]):
            if rows[at] <= above or rows[at] >= n_rows:
                return at
            above = rows[at]
    return -1


@njit(types.int64(_INTS, types.int64, types.int64, types.int64), cache=True, nogil=True)
def _first_from(rows: NDArray[np.int64], low: int, high: int, row: int) -> int:
    """Return the first position in low..high whose row is at least ``row``."""
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low


@njit(types.void(_INTS, _INTS, types.int64, types.int64, _OUT), cache=True, nogil=True)
def count_nodes(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    start: int,
    stop: int,
    counts: NDArray[np.int64],
) -> None:
    """Count the nodes of each of the rows start..stop."""
    for node in range(indptr.size - 1):
        at = _first_from(rows, indptr[node], indptr[node + 1], start)
        while at < indptr[node + 1] and rows[at] < stop:
            counts[rows[at]] += 1
            at += 1


@njit(types.void(_INTS, _INTS, types.int64, types.int64, _INTS, _NODES), cache=True, nogil=True)
def fill_nodes(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    start: int,
    stop: int,
    row_indptr: NDArray[np.int64],
    nodes: NDArray[np.int32],
) -> None:
    """List the nodes of each of the rows start..stop, ascending."""
    cursor = row_indptr[start:stop].copy()
    for node in range(indptr.size - 1):
        at = _first_from(rows, indptr[node], indptr[node + 1], start)
        while at < indptr[node + 1] and rows[at] < stop:
            row = rows[at] - start
            nodes[cursor[row]] = node
            cursor[row] += 1
            at += 1


@njit(types.int64(_PAIRS, types.int64, types.int64), cache=True, nogil=True)
def _add(table: NDArray[np.int64], key: int, count: int) -> int:
    """Add to the count of a key in a hash table (key, count); return 1 if it is new there, else 0.

    The table's size is a power of two, and a count of 0 marks a free slot.
    """
    mask = table.shape[0] - 1
    mixed = key * -7046029254386353131  # 2**64 over the golden ratio, modulo 2**64
    slot = (mixed ^ (mixed >> 32)) & mask
    while table[slot, 1] != 0 and table[slot, 0] != key:
        slot = (slot + 1) & mask
    new = 1 if table[slot, 1] == 0 else 0
    table[slot, 0] = key
    table[slot, 1] += count
    return new


@njit(_PAIRS(_INTS, _NODES, types.int64, types.int64, types.int64), cache=True, nogil=True)
def count_pairs(
    row_indptr: NDArray[np.int64],
    row_nodes: NDArray[np.int32],
    n_nodes: int,
    start: int,
    stop: int,
) -> NDArray[np.int64]:
    """Return (a * n_nodes + b, rows among start..stop in both) for pairs a < b, in no order.

    Entries with a count of 0 are no pairs.
    """
    table = np.zeros((1024, 2), np.int64)
    used = 0
    for row in range(start, stop):
        for first in range(row_indptr[row], row_indptr[row + 1] - 1):
            for second in range(first + 1, row_indptr[row + 1]):
                key = np.int64(row_nodes[first]) * n_nodes + row_nodes[second]
                used += _add(table, key, 1)
                if 2 * used > table.shape[0]:
                    wider = np.zeros((2 * table.shape[0], 2), np.int64)
                    for slot in range(table.shape[0]):
                        if table[slot, 1] > 0:
                            _add(wider, table[slot, 0], table[slot, 1])
                    table = wider
    return table


# The rest has no signatures: only triangles need it, so it is compiled when they are asked for.
@njit(cache=True, nogil=True)
def work_of(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    row_indptr: NDArray[np.int64],
    work: NDArray[np.int64],
) -> None:
    """Write how many (row, node) pairs `extend` looks at for each simplex, at most."""
    for simplex in range(indptr.size - 1):
        total = 0
        for at in range(indptr[simplex], indptr[simplex + 1]):
            total += row_indptr[rows[at] + 1] - row_indptr[rows[at]]
        work[simplex] = total


@njit(cache=True, nogil=True)
def _copied(found: NDArray[np.int64], n_found: int, n_rows: int) -> NDArray[np.int64]:
    """Return the first ``n_found`` rows in an array with room for ``n_rows``."""
    # A loop: assigning a slice would take numba four more seconds to compile.
    wider = np.empty((n_rows, found.shape[1]), np.int64)
    for row in range(n_found):
        for column in range(found.shape[1]):
            wider[row, column] = found[row, column]
    return wider


@njit(cache=True, nogil=True)
def extend(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    last: NDArray[np.int64],
    row_indptr: NDArray[np.int64],
    row_nodes: NDArray[np.int32],
    n_nodes: int,
    start: int,
    stop: int,
    min_intersection: int,
) -> NDArray[np.int64]:
    """Return (simplex, added node, shared rows) for simplices start..stop, by simplex.

    ``last`` is the largest node of each simplex; only later nodes are added to it.
    """
    shared = np.zeros(n_nodes, np.int64)
    touched = np.empty(n_nodes, np.int64)
    found = np.empty((1024, 3), np.int64)
    n_found = 0
    for simplex in range(start, stop):
        n_touched = 0
        for at in range(indptr[simplex], indptr[simplex + 1]):
            row = rows[at]
            entry = row_indptr[row + 1] - 1
            while entry >= row_indptr[row] and row_nodes[entry] > last[simplex]:
                node = row_nodes[entry]
                if shared[node] == 0:
                    touched[n_touched] = node
                    n_touched += 1
                shared[node] += 1
                entry -= 1
        if n_found + n_touched > found.shape[0]:
            found = _copied(found, n_found, 2 * (n_found + n_touched))
        for i in range(n_touched):
            node = touched[i]
            if shared[node] >= min_intersection:
                found[n_found, 0] = simplex
                found[n_found, 1] = node
                found[n_found, 2] = shared[node]
                n_found += 1
            shared[node] = 0
    return _copied(found, n_found, n_found)


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
