"""The definition: nodes form a simplex when enough rows lie in all of them."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

__all__ = ["simplices"]


def simplices(
    indptr: NDArray[np.int64], rows: NDArray[np.int64], dimension: int, min_intersection: int
) -> list[tuple[int, ...]]:
    """List the simplices of one dimension by intersecting every choice of ``dimension + 1`` nodes.

    Parameters
    ----------
    indptr : int64[n_nodes + 1]
        Node ``a`` holds ``rows[indptr[a]:indptr[a + 1]]``.
    rows : int64[nnz]
        Row ids, unique within a node.
    dimension : int
        1 for edges, 2 for triangles.
    min_intersection : int
        Rows that all nodes of a simplex must share.

    Returns
    -------
    list of tuple of int
        ``dimension + 1`` nodes, ascending, and the number of rows that they share; sorted.
    """
    nodes = [set(rows[start:stop].tolist()) for start, stop in itertools.pairwise(indptr.tolist())]
    found = []
    for chosen in itertools.combinations(range(len(nodes)), dimension + 1):
        shared = len(set.intersection(*(nodes[a] for a in chosen)))
        if shared >= min_intersection:
            found.append((*chosen, shared))
    return found
