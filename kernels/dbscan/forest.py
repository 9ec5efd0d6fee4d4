"""Degrees, union-find and the pending list: the state of one DBSCAN pass.

Lock-free: many threads may report pairs at once, in any order, and the labels are the same.
Each pair within eps must be reported exactly once, unless both its rows are core and in one
component already (:func:`settled`), when it may be left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import helper, kernel
from topoact_gpu.kernels.simd import atomic_add, compare_and_swap

__all__ = [
    "Forest", "empty_forest", "find", "found", "labels_from_forest", "settled", "unite",
]


class Forest(NamedTuple):
    """State for rows numbered 0 .. n-1 in ascending order of their row ids."""

    degree: NDArray[np.int32]
    parent: NDArray[np.int32]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    n_pending: NDArray[np.int64]
    min_samples: int


def empty_forest(n_rows: int, min_samples: int) -> Forest:
    """Every row alone.

    Notes
    -----
    A pair waits on the pending list only when one of its two increments returned a degree
    below ``min_samples``; every increment of a row returns another degree, so a row is
    charged at most ``min_samples - 2`` times: the list can't overflow. It costs
    ``8 (min_samples - 2)`` bytes a row, touched only as far as it fills; no row has more
    than ``n_rows - 1`` pairs, whatever ``min_samples`` is.
    """
    per_row = max(min(min_samples - 2, n_rows - 1), 0)
    capacity = max(n_rows * per_row, 1)
    return Forest(
        np.ones(n_rows, np.int32),
        np.arange(n_rows, dtype=np.int32),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
        np.zeros(1, np.int64),
        min_samples,
    )


@helper
def find(parent, row):  # type: ignore[no-untyped-def]
    """Root of a row, halving the path (a stale store still names an ancestor: harmless)."""
    while True:
        above = parent[row]
        if above == row:
            return row
        top = parent[above]
        if top == above:
            return above
        parent[row] = top
        row = top


@helper
def unite(parent, a, b):  # type: ignore[no-untyped-def]
    """Hang the larger root below the smaller; retry when another thread was first."""
    while True:
        a, b = find(parent, a), find(parent, b)
        if a == b:
            return
        if a > b:
            a, b = b, a
        if compare_and_swap(parent, b, b, a):
            return


@helper
def settled(forest, a, b):  # type: ignore[no-untyped-def]
    """Both rows are known to be core and joined: their pair can't change anything."""
    if forest.degree[a] < forest.min_samples or forest.degree[b] < forest.min_samples:
        return False
    return find(forest.parent, a) == find(forest.parent, b)


@kernel
def found(forest, a, b):  # type: ignore[no-untyped-def]
    """Report a pair within eps."""
    degree_a = atomic_add(forest.degree, a, np.int32(1)) + 1
    degree_b = atomic_add(forest.degree, b, np.int32(1)) + 1
    if degree_a >= forest.min_samples and degree_b >= forest.min_samples:
        unite(forest.parent, a, b)
        return
    place = atomic_add(forest.n_pending, 0, np.int64(1))
    forest.first[place] = a
    forest.second[place] = b


@kernel
def _label(forest, labels):  # type: ignore[no-untyped-def]
    """Fill labels, all -1, after all pairs have been reported; the number of clusters.

    Clusters are numbered by their smallest core row; a border row takes the smallest label
    among the core rows within eps.
    """
    n_rows = forest.degree.size
    minimum = forest.min_samples
    for p in range(forest.n_pending[0]):
        a, b = forest.first[p], forest.second[p]
        if forest.degree[a] >= minimum and forest.degree[b] >= minimum:
            unite(forest.parent, a, b)
    n_clusters = 0
    for row in range(n_rows):
        if forest.degree[row] >= minimum:
            root = find(forest.parent, row)
            # The root is the smallest row of its component, so it came first.
            if root == row:
                labels[row] = n_clusters
                n_clusters += 1
            else:
                labels[row] = labels[root]
    for p in range(forest.n_pending[0]):
        _adopt(forest, labels, forest.first[p], forest.second[p])
        _adopt(forest, labels, forest.second[p], forest.first[p])
    return n_clusters


def labels_from_forest(forest: Forest) -> tuple[NDArray[np.int64], int]:
    """Labels int64[n_rows], -1 for noise, and the number of clusters."""
    labels = np.full(len(forest.degree), -1, np.int64)
    return labels, int(_label(forest, labels))


@helper
def _adopt(forest, labels, core, border):  # type: ignore[no-untyped-def]
    """Give a border row the label of a core row within eps, if that is smaller."""
    minimum = forest.min_samples
    if forest.degree[core] >= minimum and forest.degree[border] < minimum:
        if labels[border] < 0 or labels[core] < labels[border]:
            labels[border] = labels[core]
