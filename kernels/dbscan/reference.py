"""DBSCAN as defined, on a dense matrix (naive)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.pairs.reference import within

__all__ = ["dbscan", "labels_from_neighbours"]


def dbscan(
    rows: NDArray[np.generic], eps: float, min_samples: int, metric: str = "euclidean"
) -> NDArray[np.int64]:
    """Labels int64[n_rows]; clusters numbered by their smallest core row, noise -1."""
    return labels_from_neighbours(within(rows, eps, metric), min_samples)


def labels_from_neighbours(
    neighbours: NDArray[np.bool_], min_samples: int
) -> NDArray[np.int64]:
    """Labels from the relation bool[n, n] (a row is its own neighbour)."""
    n_rows = len(neighbours)
    core = neighbours.sum(1) >= min_samples
    labels = np.full(n_rows, -1, np.int64)
    n_clusters = 0
    for seed in range(n_rows):
        if not core[seed] or labels[seed] >= 0:
            continue
        labels[seed], frontier = n_clusters, [seed]
        while frontier:
            for row in np.flatnonzero(neighbours[frontier.pop()] & core & (labels < 0)):
                labels[row] = n_clusters
                frontier.append(int(row))
        n_clusters += 1
    for row in np.flatnonzero(~core):
        owners = labels[neighbours[row] & core]
        if owners.size:
            labels[row] = owners.min()
    return labels
